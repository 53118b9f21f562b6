//! Logout Request and Logout Response (RFC 7143 §11.14, §11.15).

use super::InitiatorTaskTag;
use crate::name::Cid;
use crate::serial::{CmdSn, StatSn};

/// Why an initiator logs out (RFC 7143 §11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogoutReason {
    /// Close the session.
    CloseSession = 0,
    /// Close one connection.
    CloseConnection = 1,
    /// Remove one connection for recovery.
    RemoveForRecovery = 2,
}

/// Answer to a logout (RFC 7143 §11.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogoutResult {
    /// Closed.
    Closed = 0,
    /// CID not found.
    CidNotFound = 1,
    /// Connection recovery is not supported.
    RecoveryNotSupported = 2,
    /// Cleanup failed.
    CleanupFailed = 3,
}

/// Logout Request header, opcode 06h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// I bit.
    pub immediate: bool,
    /// Reason.
    pub reason: LogoutReason,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// The connection to close; meaningful unless the session is closed.
    pub cid: Cid,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// Logout Response header, opcode 26h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// Result.
    pub response: LogoutResult,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Time2Wait in seconds.
    pub time2wait: u16,
    /// Time2Retain in seconds.
    pub time2retain: u16,
}
