//! Task Management Function Request and Response (RFC 7143 §11.5, §11.6).

use super::InitiatorTaskTag;
use crate::scsi::Lun;
use crate::serial::{CmdSn, DataSn, StatSn};

/// Function code (RFC 7143 §11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskManagementFunction {
    /// 1
    AbortTask,
    /// 2
    AbortTaskSet,
    /// 3
    ClearAca,
    /// 4
    ClearTaskSet,
    /// 5
    LogicalUnitReset,
    /// 6
    TargetWarmReset,
    /// 7
    TargetColdReset,
    /// 8
    TaskReassign,
    /// 9 and others: RFC 7144 functions and codes without a meaning here.
    Other(u8),
}

/// Response code (RFC 7143 §11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TaskManagementResult {
    /// Function complete.
    FunctionComplete = 0,
    /// Task does not exist.
    TaskDoesNotExist = 1,
    /// LUN does not exist.
    LunDoesNotExist = 2,
    /// Task still allegiant.
    TaskStillAllegiant = 3,
    /// Task allegiance reassignment not supported.
    ReassignmentNotSupported = 4,
    /// Task management function not supported.
    NotSupported = 5,
    /// Function authorization failed.
    AuthorizationFailed = 6,
    /// Function rejected.
    Rejected = 255,
}

/// Task Management Function Request header, opcode 02h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// I bit.
    pub immediate: bool,
    /// Function.
    pub function: TaskManagementFunction,
    /// Logical unit, for the functions that have one.
    pub lun: Lun,
    /// Initiator task tag of this request.
    pub itt: InitiatorTaskTag,
    /// Task to abort or reassign; reserved otherwise.
    pub referenced_task_tag: InitiatorTaskTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// CmdSN of the task to abort (RefCmdSN).
    pub ref_cmd_sn: CmdSn,
    /// ExpDataSN for TASK REASSIGN.
    pub exp_data_sn: DataSn,
}

/// Task Management Function Response header, opcode 22h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// Result.
    pub response: TaskManagementResult,
    /// Initiator task tag of the request.
    pub itt: InitiatorTaskTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}
