//! NOP-Out and NOP-In (RFC 7143 §11.18, §11.19).

use super::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// NOP-Out header, opcode 00h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// I bit.
    pub immediate: bool,
    /// Logical unit, copied from the NOP-In that is answered.
    pub lun: Lun,
    /// Task tag when an answer is wanted; reserved otherwise.
    pub itt: InitiatorTaskTag,
    /// Tag of the NOP-In that is answered; reserved otherwise.
    pub ttt: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// NOP-In header, opcode 20h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Logical unit, to be copied into the NOP-Out.
    pub lun: Lun,
    /// Task tag of the NOP-Out that is answered; reserved otherwise.
    pub itt: InitiatorTaskTag,
    /// Tag when an answer is wanted; reserved otherwise.
    pub ttt: TargetTransferTag,
    /// StatSN: consumed only when a NOP-Out is answered.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}
