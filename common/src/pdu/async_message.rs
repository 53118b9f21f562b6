//! Asynchronous Message (RFC 7143 §11.9).

use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// What happened (RFC 7143 §11.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncEvent {
    /// 0: a SCSI asynchronous event; sense data follows.
    ScsiEvent,
    /// 1: the target asks for a logout within `parameter3` seconds.
    LogoutRequested,
    /// 2: the target drops connection `parameter1`.
    ConnectionDropped,
    /// 3: the target drops all connections of the session.
    SessionDropped,
    /// 4: the target asks for parameter negotiation.
    NegotiationRequested,
    /// 5: all active tasks of the logical unit end (RFC 7143 §4.2.3.4, FastAbort).
    TasksTerminated,
    /// 255 and others.
    Vendor(u8),
}

/// Asynchronous Message header, opcode 32h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Event.
    pub event: AsyncEvent,
    /// AsyncVCode.
    pub vendor_code: u8,
    /// Logical unit.
    pub lun: Lun,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Parameter1.
    pub parameter1: u16,
    /// Parameter2: Time2Wait in seconds for events 2 and 3.
    pub parameter2: u16,
    /// Parameter3: seconds.
    pub parameter3: u16,
}
