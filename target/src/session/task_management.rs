//! Task management function requests (RFC 7143 §11.5, §11.6).

use lunkeep_common::name::Cid;
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::pdu::{InitiatorTaskTag, TaskManagementRequest};

use super::Session;
use super::event::{Event, ManagementScope};
use super::transmit::Item;

impl Session {
    pub(super) fn receive_task_management(
        &mut self,
        cid: Cid,
        request: &TaskManagementRequest,
    ) -> Result<(), RejectReason> {
        use TaskManagementFunction as Function;
        self.begin_request(cid, request.itt)?;
        let scope = match request.function {
            Function::AbortTask => match self.referenced_task(request) {
                Ok(scope) => scope,
                Err(response) => return self.answer_at_once(cid, request.itt, response),
            },
            Function::AbortTaskSet | Function::ClearTaskSet | Function::LogicalUnitReset => {
                ManagementScope::LogicalUnit(request.lun)
            }
            Function::TargetWarmReset | Function::TargetColdReset => ManagementScope::Target,
            // RFC 7143 §11.6.1: reassignment needs error recovery level 2.
            Function::TaskReassign => {
                return self.answer_at_once(cid, request.itt, TaskManagementResult::ReassignmentNotSupported);
            }
            // NormACA is not offered in INQUIRY, so no ACA is ever in effect.
            Function::ClearAca | Function::Other(_) => {
                return self.answer_at_once(cid, request.itt, TaskManagementResult::NotSupported);
            }
        };
        self.events.push_back(Event::TaskManagement {
            cid,
            itt: request.itt,
            function: request.function,
            scope,
        });
        Ok(())
    }

    /// The engine carried out a task management function.
    pub fn task_management_done(&mut self, cid: Cid, itt: InitiatorTaskTag, response: TaskManagementResult) {
        if self.requests.remove(&itt).is_some() {
            self.push(cid, Item::TaskManagementResponse { itt, response });
        }
    }

    /// RFC 7143 §11.5.4, §11.6.1: a task that is not there was never seen, or is done.
    fn referenced_task(
        &self,
        request: &TaskManagementRequest,
    ) -> Result<ManagementScope, TaskManagementResult> {
        let handle = self.by_itt.get(&request.referenced_task_tag);
        let task =
            handle.and_then(|handle| self.tasks.get(handle)).ok_or(TaskManagementResult::TaskDoesNotExist)?;
        Ok(ManagementScope::Task { task: task.handle, lun: task.lun })
    }

    fn answer_at_once(
        &mut self,
        cid: Cid,
        itt: InitiatorTaskTag,
        response: TaskManagementResult,
    ) -> Result<(), RejectReason> {
        self.task_management_done(cid, itt, response);
        Ok(())
    }
}
