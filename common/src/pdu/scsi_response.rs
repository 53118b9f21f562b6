//! SCSI Response (RFC 7143 §11.4).

use super::InitiatorTaskTag;
use crate::scsi::Status;
use crate::serial::{CmdSn, DataSn, StatSn};

/// iSCSI service response (RFC 7143 §11.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceResponse {
    /// 00h, command completed at target.
    CommandCompleted,
    /// 01h, target failure.
    TargetFailure,
    /// 80h to FFh, vendor specific.
    Vendor(u8),
}

/// Difference between expected and actual transfer length (RFC 7143 §11.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residual {
    /// Neither O nor U.
    #[default]
    None,
    /// O bit: so many bytes were not transferred because the expected length was too small.
    Overflow(u32),
    /// U bit: so many bytes of the expected length were not transferred.
    Underflow(u32),
}

/// SCSI Response header, opcode 21h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// Residual of the write, or only, direction.
    pub residual: Residual,
    /// Residual of the read half of a bidirectional command.
    pub bidirectional_residual: Residual,
    /// iSCSI response.
    pub response: ServiceResponse,
    /// SCSI status; meaningful with [`ServiceResponse::CommandCompleted`] only.
    pub status: Status,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// SNACK Tag, or 0.
    pub snack_tag: u32,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// ExpDataSN: Data-In and R2T PDUs sent for the command.
    pub exp_data_sn: DataSn,
}
