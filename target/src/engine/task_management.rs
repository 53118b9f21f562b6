//! Task management functions across logical units and sessions (SAM-5 §7; RFC 7143 §4.2.3, §11.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use lunkeep_common::name::Cid;
use lunkeep_common::pdu::InitiatorTaskTag;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::scsi::Lun;

use super::config::ColdResetPolicy;
use super::reservations;
use super::server::Shared;
use super::session_task::SessionHandle;
use super::unit::{Draining, Ended};
use crate::device::{AbortedTask, NexusId, Reset, TaskId};
use crate::session::{ManagementScope, TaskHandle, TaskResult};

/// Begins a function: aborts what it is about now, in the order in which the request arrived, and answers when no task that
/// it ended can touch the medium any more.
pub(super) fn start(
    shared: &Arc<Shared>,
    session: &Arc<SessionHandle>,
    cid: Cid,
    itt: InitiatorTaskTag,
    function: TaskManagementFunction,
    scope: ManagementScope,
) {
    if function == TaskManagementFunction::TargetColdReset && !may_reset_cold(shared, session) {
        tracing::warn!(initiator = %session.initiator, "a TARGET COLD RESET was refused: it could end reservations of others");
        let refused = TaskManagementResult::AuthorizationFailed;
        session.lock().task_management_done(cid, itt, refused);
        return session.wake();
    }
    let ended = abort(session, function, scope).map(|ended| {
        tell_others(shared, session, &ended);
        drop_gone(shared, ended)
    });
    let (session, shared) = (session.clone(), shared.clone());
    shared.clone().tasks.spawn(async move {
        let response = match ended {
            None => TaskManagementResult::LunDoesNotExist,
            Some(draining) => {
                let settled = settle(&shared, draining).await;
                if settled { TaskManagementResult::FunctionComplete } else { TaskManagementResult::Rejected }
            }
        };
        session.lock().task_management_done(cid, itt, response);
        session.wake();
        after_response(&shared, &session, function, response);
    });
}

fn may_reset_cold(shared: &Shared, session: &SessionHandle) -> bool {
    match shared.settings.cold_reset {
        ColdResetPolicy::Everyone => true,
        ColdResetPolicy::Nobody => false,
        ColdResetPolicy::Harmless => {
            session.view.now().units.values().all(|unit| unit.lock().power_on_is_harmless(session.nexus))
        }
    }
}

/// Aborts what the function is about; `None` when its LUN does not exist.
fn abort(
    session: &Arc<SessionHandle>,
    function: TaskManagementFunction,
    scope: ManagementScope,
) -> Option<Ended> {
    use TaskManagementFunction as Function;
    let (nexus, seen) = (session.nexus, session.view.now());
    let mut ended = Ended::default();
    match scope {
        ManagementScope::Task { task, lun } => {
            let task = TaskId(task.0);
            for unit in seen.resolve_task(lun) {
                ended.merge(unit.abort(&session.shared, |unit| unit.abort_task(nexus, task)));
            }
            if ended.draining.is_empty() {
                // The device is done with it, but its answer may not have left.
                ended.gone.push(AbortedTask { task, nexus, status: None });
            }
        }
        ManagementScope::LogicalUnit(lun) => {
            let unit = seen.resolve(lun)?;
            ended = unit.abort(&session.shared, |unit| match function {
                Function::AbortTaskSet => unit.abort_task_set(nexus),
                Function::ClearTaskSet => unit.clear_task_set(nexus),
                _ => unit.reset(Reset::LogicalUnit, nexus),
            });
        }
        ManagementScope::Target => {
            let cold = function == Function::TargetColdReset;
            let reset = if cold { Reset::TargetCold } else { Reset::TargetWarm };
            for unit in seen.units.values() {
                ended.merge(unit.abort(&session.shared, |unit| unit.reset(reset, nexus)));
            }
        }
    }
    Some(ended)
}

/// Tells the sessions whose tasks another nexus ended, where they agreed on FastAbort and get no status for them.
fn tell_others(shared: &Shared, session: &SessionHandle, ended: &Ended) {
    let mut told: BTreeMap<(NexusId, Lun), Vec<Cid>> = BTreeMap::new();
    let tasks = ended.gone.iter().chain(ended.draining.iter().map(|(task, _)| task));
    for task in tasks.filter(|task| task.nexus != session.nexus && task.status.is_none()) {
        let Some(other) = shared.sessions.of_nexus(task.nexus) else { continue };
        let Some((lun, cid)) = other.lock().allegiance(TaskHandle(task.task.0)) else { continue };
        let cids = told.entry((task.nexus, lun)).or_default();
        if !cids.contains(&cid) {
            cids.push(cid);
        }
    }
    for ((nexus, lun), cids) in told {
        if let Some(other) = shared.sessions.of_nexus(nexus) {
            other.lock().tasks_terminated(lun, &cids);
            other.wake();
        }
    }
}

/// Drops the tasks that are over from their sessions, and goes on with those that waited for them. What remains is for [`settle`].
pub(super) fn drop_gone(shared: &Arc<Shared>, ended: Ended) -> Draining {
    ended.gone.iter().for_each(|task| drop_task(shared, task));
    for (unit, resumed, waits) in ended.resumed {
        reservations::resume(shared, &unit, resumed, waits);
    }
    ended.draining
}

/// Waits for tasks to leave the medium, and drops them from their sessions. False when that took too long.
pub(super) async fn settle(shared: &Shared, draining: Draining) -> bool {
    tokio::time::timeout(shared.settings.drain_timeout, settled(shared, draining)).await.is_ok()
}

/// As [`settle`], however long it takes.
pub(super) async fn settled(shared: &Shared, draining: Draining) {
    for (task, left) in draining {
        // An error means that the sender is gone with its unit, and then so is the task.
        let _ = left.await;
        drop_task(shared, &task);
    }
}

/// Drops a task from its session, or ends it with the status that the device gave (TASK ABORTED, when TAS is one).
pub(super) fn drop_task(shared: &Shared, aborted: &AbortedTask) {
    let Some(session) = shared.sessions.of_nexus(aborted.nexus) else { return };
    let handle = TaskHandle(aborted.task.0);
    match aborted.status {
        None => session.lock().abort_task(handle),
        Some(status) => session.lock().complete(handle, TaskResult::without_data(status)),
    }
    session.wake();
}

/// TARGET COLD RESET ends every session of the target once it is answered (RFC 7143 §11.5.1).
fn after_response(
    shared: &Arc<Shared>,
    session: &Arc<SessionHandle>,
    function: TaskManagementFunction,
    response: TaskManagementResult,
) {
    if function == TaskManagementFunction::TargetColdReset
        && response == TaskManagementResult::FunctionComplete
    {
        let target = |session: &SessionHandle| session.target.as_ref().map(|port| port.name.clone());
        let own = target(session);
        let same_target = shared.sessions.all().into_iter().filter(|other| target(other) == own);
        same_target.for_each(|other| other.cancel.cancel());
    }
}
