//! Task management function requests (RFC 7143 §11.5, §11.6).

use lunkeep_common::login::TaskReporting;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::async_message::AsyncEvent;
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::pdu::{InitiatorTaskTag, TaskManagementRequest};
use lunkeep_common::scsi::Lun;
use lunkeep_common::window::Arrival;

use super::event::{Event, ManagementScope};
use super::transmit::{Item, Message};
use super::{Session, TaskHandle};

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
            Function::TaskReassign => {
                let response = self.reassign(cid, request);
                self.answer_at_once(cid, request.itt, response)?;
                self.resume_reassigned();
                return Ok(());
            }
            // NormACA is not offered in INQUIRY, so no ACA is ever in effect.
            Function::ClearAca | Function::Other(_) => {
                return self.answer_at_once(cid, request.itt, TaskManagementResult::NotSupported);
            }
        };
        if !matches!(request.function, Function::AbortTask) {
            self.fenced.insert(request.itt);
        }
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
        let fenced = self.fenced.remove(&itt);
        if self.requests.remove(&itt).is_none() {
            return;
        }
        let item = Item::TaskManagementResponse { itt, response };
        // RFC 7143 §4.2.2.3.4: the response to a function that ends several tasks is fenced.
        if fenced { self.push_fenced(cid, item) } else { self.push(cid, item) }
    }

    /// Tells the initiator that another nexus ended its tasks on a logical unit, where FastAbort was agreed (RFC 7143 §4.2.3.4,
    /// §11.9.1): on each connection that one of them was on.
    pub fn tasks_terminated(&mut self, lun: Lun, cids: &[Cid]) {
        if self.parameters.task_reporting == TaskReporting::FastAbort {
            for &cid in cids {
                self.push(cid, Item::Message(Message { lun, ..Message::new(AsyncEvent::TasksTerminated) }));
            }
        }
    }

    /// The logical unit and connection of a task that has not been answered.
    #[must_use]
    pub fn allegiance(&self, task: TaskHandle) -> Option<(Lun, Cid)> {
        self.tasks.get(&task).map(|task| (task.lun, task.cid))
    }

    /// RFC 7143 §11.5.4, §11.6.1: a task that is not there was never seen, or is done.
    fn referenced_task(
        &mut self,
        request: &TaskManagementRequest,
    ) -> Result<ManagementScope, TaskManagementResult> {
        let handle = self.by_itt.get(&request.referenced_task_tag);
        let Some(task) = handle.and_then(|handle| self.tasks.get(handle)) else {
            // A command that is still to come, before this request in order, counts as received and aborted.
            let missing = request.ref_cmd_sn;
            let due = missing >= self.window.exp_cmd_sn() && missing < request.cmd_sn;
            if due && self.window.arrive(missing, false) != Arrival::OutOfWindow {
                // Its place is given back when its turn comes; when that is now, at once.
                self.held.remove(&missing);
                self.early_data.remove(&request.referenced_task_tag);
                if self.window.exp_cmd_sn() > missing {
                    self.window.reopen();
                }
                return Err(TaskManagementResult::FunctionComplete);
            }
            return Err(TaskManagementResult::TaskDoesNotExist);
        };
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
