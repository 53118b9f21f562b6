//! SNACK Request (RFC 7143 §11.16).

use super::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::StatSn;

/// What is asked for again (RFC 7143 §11.16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SnackKind {
    /// Data-In or R2T PDUs.
    DataOrR2t = 0,
    /// Status PDUs.
    Status = 1,
    /// Positive acknowledgement of Data-In.
    DataAck = 2,
    /// Data-In again, cut anew.
    RData = 3,
}

/// SNACK Request header, opcode 10h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnackRequest {
    /// Kind.
    pub kind: SnackKind,
    /// Logical unit, for DataACK.
    pub lun: Lun,
    /// Initiator task tag; reserved for Status and DataACK.
    pub itt: InitiatorTaskTag,
    /// Target transfer tag for DataACK, SNACK Tag for R-Data.
    pub ttt: TargetTransferTag,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// BegRun.
    pub beg_run: u32,
    /// RunLength; 0 is everything from BegRun on.
    pub run_length: u32,
}
