//! What a session asks the engine to do.

use bytes::Bytes;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::InitiatorTaskTag;
use lunkeep_common::pdu::logout::LogoutReason;
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::pdu::task_management::TaskManagementFunction;
use lunkeep_common::scsi::{Lun, Sense};

use super::TaskHandle;

/// A SCSI command that is due in command order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiRequest {
    /// The task it became.
    pub task: TaskHandle,
    /// Logical unit.
    pub lun: Lun,
    /// The whole CDB, 16 bytes or longer.
    pub cdb: Bytes,
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Bytes that the initiator is ready to receive.
    pub expected_in: u32,
    /// Bytes that the initiator is ready to send.
    pub expected_out: u32,
}

/// What a task management function is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagementScope {
    /// One task of this session.
    Task {
        /// The task.
        task: TaskHandle,
        /// Its logical unit.
        lun: Lun,
    },
    /// A logical unit.
    LogicalUnit(Lun),
    /// The whole target.
    Target,
}

/// What must happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Hand a command to the device; then `solicit`, `complete` or wait for the medium.
    Command(ScsiRequest),
    /// All the data that the device wanted for a task.
    DataOut {
        /// The task.
        task: TaskHandle,
        /// Its logical unit.
        lun: Lun,
        /// Its data in order.
        data: Vec<Bytes>,
    },
    /// The initiator broke a task by what it sent: have the device forget it, then `complete` it with CHECK CONDITION.
    Abandon {
        /// The task.
        task: TaskHandle,
        /// Its logical unit.
        lun: Lun,
        /// What was wrong.
        sense: Sense,
    },
    /// Carry out a task management function and call `task_management_done`.
    TaskManagement {
        /// Where the answer goes.
        cid: Cid,
        /// Tag of the request.
        itt: InitiatorTaskTag,
        /// The function.
        function: TaskManagementFunction,
        /// What it is about.
        scope: ManagementScope,
    },
    /// The initiator logs out: end the tasks of the session or connection, or with `RemoveForRecovery` only the connection, then
    /// call `logout_done`.
    Logout {
        /// The connection that asks.
        cid: Cid,
        /// Tag of the request.
        itt: InitiatorTaskTag,
        /// Session or connection.
        reason: LogoutReason,
        /// The connection that it is about; with `CloseSession` the one that asks.
        subject: Cid,
    },
}
