//! SCSI Command (RFC 7143 §11.3).

use super::InitiatorTaskTag;
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// Task attribute, ATTR (RFC 7143 §11.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskAttribute {
    /// 0, which targets treat as SIMPLE.
    Untagged = 0,
    /// 1
    Simple = 1,
    /// 2
    Ordered = 2,
    /// 3
    HeadOfQueue = 3,
    /// 4
    Aca = 4,
}

/// SCSI Command header, opcode 01h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// I bit: outside the command window's order.
    pub immediate: bool,
    /// F bit: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R bit: the command is expected to return data.
    pub read: bool,
    /// W bit: the command is expected to take data.
    pub write: bool,
    /// ATTR.
    pub attribute: TaskAttribute,
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Expected Data Transfer Length in bytes: of the write half when both R and W are set.
    pub expected_data_transfer_length: u32,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// The first sixteen bytes of the CDB.
    pub cdb: [u8; 16],
}
