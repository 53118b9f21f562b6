//! SCSI Data-Out (RFC 7143 §11.7).

use super::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{DataSn, StatSn};

/// SCSI Data-Out header, opcode 05h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// F bit: last PDU of this sequence.
    pub is_final: bool,
    /// Logical unit; meaningful when the target transfer tag is not reserved.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag of the R2T that asked for the data; reserved for unsolicited data.
    pub ttt: TargetTransferTag,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// DataSN.
    pub data_sn: DataSn,
    /// Buffer offset in bytes.
    pub buffer_offset: u32,
}
