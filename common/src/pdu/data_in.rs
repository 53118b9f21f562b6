//! SCSI Data-In (RFC 7143 §11.7).

use super::scsi_response::Residual;
use super::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::{Lun, Status};
use crate::serial::{CmdSn, DataSn, StatSn};

/// Status that the last Data-In carries in place of a SCSI Response (RFC 7143 §11.7.3): never CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataInStatus {
    /// SCSI status.
    pub status: Status,
    /// Residual.
    pub residual: Residual,
}

/// SCSI Data-In header, opcode 25h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// F bit: last PDU of this sequence.
    pub is_final: bool,
    /// A bit: the target asks for a DataACK SNACK (error recovery level 1 and up).
    pub acknowledge: bool,
    /// S bit with its status; StatSN is meaningful only then.
    pub status: Option<DataInStatus>,
    /// Logical unit; set when `acknowledge` is.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag for the DataACK; reserved when `acknowledge` is not set.
    pub ttt: TargetTransferTag,
    /// StatSN; 0 on the wire and here when there is no status.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// DataSN.
    pub data_sn: DataSn,
    /// Buffer offset in bytes.
    pub buffer_offset: u32,
}
