//! Login Request and Login Response (RFC 7143 §11.12, §11.13).
//!
//! | bytes | request | response |
//! |---|---|---|
//! | 0 | 43h | 23h |
//! | 1 | T (80h), C (40h), CSG (0Ch), NSG (03h) | the same |
//! | 2 | Version-max | Version-max |
//! | 3 | Version-min | Version-active |
//! | 8-13 | ISID | ISID |
//! | 14-15 | TSIH | TSIH |
//! | 16-19 | Initiator Task Tag | Initiator Task Tag |
//! | 20-21 | CID | |
//! | 24-27 | CmdSN | StatSN |
//! | 28-31 | ExpStatSN | ExpCmdSN |
//! | 32-35 | | MaxCmdSN |
//! | 36 | | Status-Class |
//! | 37 | | Status-Detail |

use super::error::PduError;
use super::fields::{self, CONTINUE, FINAL, Fields, IMMEDIATE, bit, u16_at, u32_at};
use super::{Bhs, InitiatorTaskTag};
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
    /// NSG; meaningful when `transit` is set, and equal to `current_stage` after decoding otherwise.
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
    /// NSG; meaningful when `transit` is set, and equal to `current_stage` after decoding otherwise.
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

impl Stage {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::SecurityNegotiation,
            1 => Self::OperationalNegotiation,
            3 => Self::FullFeaturePhase,
            _ => return None,
        })
    }
}

impl LoginStatus {
    /// Every status of RFC 7143 §11.13.5.
    pub const ALL: [Self; 18] = [
        Self::Success,
        Self::TargetMovedTemporarily,
        Self::TargetMovedPermanently,
        Self::InitiatorError,
        Self::AuthenticationFailure,
        Self::AuthorizationFailure,
        Self::NotFound,
        Self::TargetRemoved,
        Self::UnsupportedVersion,
        Self::TooManyConnections,
        Self::MissingParameter,
        Self::CantIncludeInSession,
        Self::SessionTypeNotSupported,
        Self::SessionDoesNotExist,
        Self::InvalidDuringLogin,
        Self::TargetError,
        Self::ServiceUnavailable,
        Self::OutOfResources,
    ];

    /// The status of a class (high byte) and detail (low byte).
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|&status| status as u16 == code)
    }

    /// Status-Class and Status-Detail.
    #[must_use]
    pub const fn code(self) -> u16 {
        self as u16
    }
}

/// T, C, CSG and NSG, which both PDUs have in byte 1.
struct Flags {
    transit: bool,
    continues: bool,
    current_stage: Stage,
    next_stage: Stage,
}

impl Flags {
    fn decode(pdu: &'static str, byte: u8) -> Result<Self, PduError> {
        let stage = |field, bits: u8| {
            Stage::from_bits(bits).ok_or(PduError::UndefinedValue { pdu, field, value: bits.into() })
        };
        let contradiction = |rule| Err(PduError::Contradiction { pdu, rule });
        let (transit, continues) = (byte & FINAL != 0, byte & CONTINUE != 0);
        let current_stage = stage("CSG", byte >> 2 & 3)?;
        if current_stage == Stage::FullFeaturePhase {
            return contradiction("CSG is FullFeaturePhase, where no login goes on (11.12.3)");
        }
        if transit && continues {
            return contradiction("T and C are both set (11.12.2)");
        }
        let next_stage = if transit { stage("NSG", byte & 3)? } else { current_stage };
        if transit && next_stage as u8 <= current_stage as u8 {
            return contradiction("NSG does not come after CSG (11.12.3)");
        }
        Ok(Self { transit, continues, current_stage, next_stage })
    }

    fn encode(&self) -> u8 {
        bit(self.transit, FINAL)
            | bit(self.continues, CONTINUE)
            | (self.current_stage as u8) << 2
            | bit(self.transit, self.next_stage as u8)
    }
}

fn isid(bhs: &Bhs) -> Isid {
    Isid([bhs[8], bhs[9], bhs[10], bhs[11], bhs[12], bhs[13]])
}

impl LoginRequest {
    /// Opcode on the wire, without the I bit.
    pub const OPCODE: u8 = 0x03;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined stage; CSG that is FullFeaturePhase; T and C together; NSG that does not come after CSG.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        let Flags { transit, continues, current_stage, next_stage } = Flags::decode("Login Request", bhs[1])?;
        Ok(Self {
            transit,
            continues,
            current_stage,
            next_stage,
            version_max: bhs[2],
            version_min: bhs[3],
            isid: isid(bhs),
            tsih: Tsih(u16_at(bhs, 14)),
            itt: fields::itt(bhs),
            cid: Cid(u16_at(bhs, 20)),
            cmd_sn: CmdSn(u32_at(bhs, 24)),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        let &Self { transit, continues, current_stage, next_stage, .. } = self;
        let flags = Flags { transit, continues, current_stage, next_stage };
        Fields::new(Self::OPCODE | IMMEDIATE, flags.encode())
            .u8(2, self.version_max)
            .u8(3, self.version_min)
            .bytes(8, self.isid.0)
            .u16(14, self.tsih.0)
            .itt(self.itt)
            .u16(20, self.cid.0)
            .u32(24, self.cmd_sn.0)
            .u32(28, self.exp_stat_sn.0)
            .build()
    }
}

impl LoginResponse {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x23;

    /// Reads the header.
    ///
    /// # Errors
    /// Those of [`LoginRequest::decode`], and an undefined Status-Class and Status-Detail.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        const NAME: &str = "Login Response";
        let Flags { transit, continues, current_stage, next_stage } = Flags::decode(NAME, bhs[1])?;
        let code = u16_at(bhs, 36);
        Ok(Self {
            transit,
            continues,
            current_stage,
            next_stage,
            version_max: bhs[2],
            version_active: bhs[3],
            isid: isid(bhs),
            tsih: Tsih(u16_at(bhs, 14)),
            itt: fields::itt(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            status: LoginStatus::from_code(code).ok_or(PduError::UndefinedValue {
                pdu: NAME,
                field: "Status-Class and Status-Detail",
                value: code.into(),
            })?,
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        let &Self { transit, continues, current_stage, next_stage, .. } = self;
        let flags = Flags { transit, continues, current_stage, next_stage };
        Fields::new(Self::OPCODE, flags.encode())
            .u8(2, self.version_max)
            .u8(3, self.version_active)
            .bytes(8, self.isid.0)
            .u16(14, self.tsih.0)
            .itt(self.itt)
            .u32(24, self.stat_sn.0)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u16(36, self.status.code())
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    fn request() -> LoginRequest {
        LoginRequest {
            transit: true,
            continues: false,
            current_stage: Stage::OperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            version_max: 2,
            version_min: 1,
            isid: Isid([0x80, 0x01, 0x02, 0x03, 0x04, 0x05]),
            tsih: Tsih(0x0607),
            itt: InitiatorTaskTag(0x1011_1213),
            cid: Cid(0x1415),
            cmd_sn: CmdSn(0x2021_2223),
            exp_stat_sn: StatSn(0x3031_3233),
        }
    }

    #[test]
    fn a_request_stands_at_the_offsets_of_the_standard() {
        let wire = bhs("43870201 0 80010203 04050607 10111213 14150000 20212223 30313233 0 0 0 0");
        assert_eq!(request().encode(), wire);
        assert_eq!(LoginRequest::decode(&wire), Ok(request()));
    }

    #[test]
    fn a_response_stands_at_the_offsets_of_the_standard() {
        let response = LoginResponse {
            transit: false,
            continues: true,
            current_stage: Stage::OperationalNegotiation,
            next_stage: Stage::OperationalNegotiation,
            version_max: 2,
            version_active: 1,
            isid: Isid([0x80, 0x01, 0x02, 0x03, 0x04, 0x05]),
            tsih: Tsih(0x0607),
            itt: InitiatorTaskTag(0x1011_1213),
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            status: LoginStatus::SessionDoesNotExist,
        };
        let wire = bhs("23440201 0 80010203 04050607 10111213 0 20212223 30313233 40414243 020a0000 0 0");
        assert_eq!(response.encode(), wire);
        assert_eq!(LoginResponse::decode(&wire), Ok(response));
        let mut unknown = wire;
        unknown[37] = 0xee;
        assert_eq!(
            LoginResponse::decode(&unknown),
            Err(undefined("Login Response", "Status-Class and Status-Detail", 0x02ee))
        );
    }

    #[test]
    fn only_forward_steps_between_defined_stages_pass() {
        let flags = |byte| {
            let mut wire = request().encode();
            wire[1] = byte;
            LoginRequest::decode(&wire).map(|r| (r.current_stage, r.next_stage))
        };
        use Stage::*;
        assert_eq!(flags(0x81), Ok((SecurityNegotiation, OperationalNegotiation)));
        assert_eq!(flags(0x83), Ok((SecurityNegotiation, FullFeaturePhase)));
        assert_eq!(flags(0x87), Ok((OperationalNegotiation, FullFeaturePhase)));
        assert_eq!(flags(0x02), Ok((SecurityNegotiation, SecurityNegotiation)), "NSG is ignored without T");
        assert_eq!(flags(0x82), Err(undefined("Login Request", "NSG", 2)));
        assert_eq!(flags(0x08), Err(undefined("Login Request", "CSG", 2)));
        for backwards in [0x80, 0x84, 0x85, 0x0c, 0x8f, 0xc1] {
            assert!(matches!(flags(backwards), Err(PduError::Contradiction { .. })), "{backwards:#x}");
        }
    }

    #[test]
    fn every_login_status_survives() {
        for status in LoginStatus::ALL {
            assert_eq!(LoginStatus::from_code(status.code()), Some(status));
        }
        assert_eq!((0..=u16::MAX).filter(|&code| LoginStatus::from_code(code).is_some()).count(), 18);
    }
}
