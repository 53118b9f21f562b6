//! Ready To Transfer (RFC 7143 §11.8).

use super::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, R2tSn, StatSn};

/// R2T header, opcode 31h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2t {
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag that the Data-Out PDUs must carry; never reserved.
    pub ttt: TargetTransferTag,
    /// The next StatSN; not consumed.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// R2TSN.
    pub r2t_sn: R2tSn,
    /// Buffer offset in bytes.
    pub buffer_offset: u32,
    /// Desired Data Transfer Length in bytes: above 0, at most MaxBurstLength.
    pub desired_data_transfer_length: u32,
}
