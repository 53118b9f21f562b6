//! Login Request and Login Response (RFC 7143 §11.12, §11.13).

use super::InitiatorTaskTag;
use crate::name::{Cid, Isid, Tsih};
use crate::serial::{CmdSn, StatSn};

/// Stage of the connection (RFC 7143 §11.12.3); 2 is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// SecurityNegotiation.
    SecurityNegotiation = 0,
    /// LoginOperationalNegotiation.
    OperationalNegotiation = 1,
    /// FullFeaturePhase; only as a next stage.
    FullFeaturePhase = 3,
}

/// Login status, class in the high byte and detail in the low one (RFC 7143 §11.13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum LoginStatus {
    /// Login goes on or is done.
    Success = 0x0000,
    /// The target moved for now.
    TargetMovedTemporarily = 0x0101,
    /// The target moved for good.
    TargetMovedPermanently = 0x0102,
    /// Miscellaneous initiator error.
    InitiatorError = 0x0200,
    /// Wrong name or secret.
    AuthenticationFailure = 0x0201,
    /// The initiator may not use this target.
    AuthorizationFailure = 0x0202,
    /// No such target.
    NotFound = 0x0203,
    /// The target is gone for good.
    TargetRemoved = 0x0204,
    /// No common version.
    UnsupportedVersion = 0x0205,
    /// Too many connections on this session.
    TooManyConnections = 0x0206,
    /// A mandatory key is missing.
    MissingParameter = 0x0207,
    /// The target does not include this connection in the session.
    CantIncludeInSession = 0x0208,
    /// The session type is not supported.
    SessionTypeNotSupported = 0x0209,
    /// The session named by the TSIH does not exist.
    SessionDoesNotExist = 0x020a,
    /// The request is invalid in this stage.
    InvalidDuringLogin = 0x020b,
    /// Target error.
    TargetError = 0x0300,
    /// The service is not available now.
    ServiceUnavailable = 0x0301,
    /// No resources now.
    OutOfResources = 0x0302,
}

/// Login Request header, opcode 03h; always immediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// T bit: ready for the next stage.
    pub transit: bool,
    /// C bit: the text goes on in the next request.
    pub continues: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG; meaningful when `transit` is set.
    pub next_stage: Stage,
    /// Version-max.
    pub version_max: u8,
    /// Version-min.
    pub version_min: u8,
    /// ISID.
    pub isid: Isid,
    /// TSIH; 0 for a new session.
    pub tsih: Tsih,
    /// Initiator task tag, the same throughout the login.
    pub itt: InitiatorTaskTag,
    /// CID.
    pub cid: Cid,
    /// CmdSN, the session's first when it is new.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// Login Response header, opcode 23h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// T bit: the next stage begins.
    pub transit: bool,
    /// C bit: the text goes on in the next response.
    pub continues: bool,
    /// CSG.
    pub current_stage: Stage,
    /// NSG; meaningful when `transit` is set.
    pub next_stage: Stage,
    /// Version-max.
    pub version_max: u8,
    /// Version-active.
    pub version_active: u8,
    /// ISID, as the request had it.
    pub isid: Isid,
    /// TSIH; set in the final response.
    pub tsih: Tsih,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// StatSN; valid with status class 0 only.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Status class and detail.
    pub status: LoginStatus,
}
