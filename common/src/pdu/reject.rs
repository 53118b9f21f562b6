//! Reject (RFC 7143 §11.17). The data segment is the header of the PDU that is rejected.

use crate::serial::{CmdSn, DataSn, StatSn};

/// Why a PDU is rejected (RFC 7143 §11.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RejectReason {
    /// Data (payload) digest error.
    DataDigestError = 0x02,
    /// SNACK reject.
    SnackReject = 0x03,
    /// Protocol error.
    ProtocolError = 0x04,
    /// Command not supported.
    CommandNotSupported = 0x05,
    /// Immediate command reject: too many immediate commands.
    ImmediateCommandReject = 0x06,
    /// Task in progress.
    TaskInProgress = 0x07,
    /// Invalid data ACK.
    InvalidDataAck = 0x08,
    /// Invalid PDU field.
    InvalidPduField = 0x09,
    /// Long operation reject: out of resources now.
    LongOperationReject = 0x0a,
    /// Deprecated: negotiation reset.
    NegotiationReset = 0x0b,
    /// Waiting for logout.
    WaitingForLogout = 0x0c,
}

/// Reject header, opcode 3Fh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Reason.
    pub reason: RejectReason,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// DataSN or R2TSN that the target expects next, for a rejected DataACK.
    pub data_sn: DataSn,
}
