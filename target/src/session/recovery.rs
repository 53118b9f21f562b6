//! Recovery within a connection and across connections: SNACK, data that does not come, tasks that wait for a new connection
//! (RFC 7143 §7.2, §7.8, §7.9, §11.16).
//!
//! | error recovery level | what is kept | what is recovered |
//! |---|---|---|
//! | 0 | nothing | nothing: a damaged PDU ends its command or its connection |
//! | 1 | statuses, and data of answered reads, until ExpStatSN passes them | Data-In, R2T and status by SNACK, Data-Out by recovery R2T |
//! | 2 | also the tasks of a lost connection, for Time2Wait + Time2Retain | tasks, by TASK REASSIGN on another connection |
//!
//! Memory is bounded: statuses by [`STATUSES_RETAINED_MAX`](crate::limits::STATUSES_RETAINED_MAX) per connection, and each keeps
//! the data of one read at most, which stays counted in the session's buffers.

use std::time::{Duration, Instant};

use lunkeep_common::login::SessionParameters;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::snack::{SnackKind, SnackRequest};
use lunkeep_common::pdu::task_management::TaskManagementResult;
use lunkeep_common::pdu::{InitiatorHeader, InitiatorTaskTag, TaskManagementRequest};
use lunkeep_common::scsi::{Asc, Lun, Sense, SenseKey};
use lunkeep_common::serial::{DataSn, StatSn};

use super::data_out::Recovery;
use super::task::Task;
use super::transmit::Item;
use super::{Session, SessionKind, TaskHandle};
use crate::limits;

/// A task that ended with its connection; the device must abort it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostTask {
    /// The task.
    pub task: TaskHandle,
    /// Its logical unit.
    pub lun: Lun,
}

impl Session {
    /// Whether PDUs can be recovered within a connection.
    pub(super) fn recovers(&self) -> bool {
        self.parameters.error_recovery_level >= 1
    }

    /// How long the tasks of a lost connection are kept; `None` when they are not (RFC 7143 §7.5, §13.15, §13.16).
    fn retention(&self) -> Option<Duration> {
        let SessionParameters { error_recovery_level, default_time2wait, default_time2retain, .. } =
            &self.parameters;
        let keeps =
            *error_recovery_level >= 2 && *default_time2retain > 0 && self.kind == SessionKind::Normal;
        keeps.then(|| Duration::from_secs(u64::from(*default_time2wait) + u64::from(*default_time2retain)))
    }

    pub(super) fn receive_snack(&mut self, cid: Cid, snack: &SnackRequest) -> Result<(), RejectReason> {
        let pending = self
            .connection(cid)
            .map_or(0, |connection| connection.queue.iter().filter(|item| item.is_repetition()).count());
        if pending >= limits::REPETITIONS_QUEUED_MAX {
            return Err(RejectReason::SnackReject);
        }
        match snack.kind {
            SnackKind::Status => self.repeat_status(cid, snack),
            SnackKind::DataOrR2t => self.repeat_data(cid, snack),
            SnackKind::DataAck => self.acknowledge_data(snack),
            SnackKind::RData => self.resegment(cid, snack),
        }
    }

    /// RFC 7143 §11.16.1: what was not sent, or was acknowledged, must not be asked for.
    fn repeat_status(&mut self, cid: Cid, snack: &SnackRequest) -> Result<(), RejectReason> {
        let connection = self.connection(cid).ok_or(RejectReason::ProtocolError)?;
        let from = StatSn(snack.beg_run);
        let until = if snack.run_length == 0 { connection.stat_sn } else { from.plus(snack.run_length) };
        if from < connection.acknowledged || until > connection.stat_sn {
            return Err(RejectReason::ProtocolError);
        }
        self.requeue(cid, Item::StatusAgain { next: from, until });
        Ok(())
    }

    fn repeat_data(&mut self, cid: Cid, snack: &SnackRequest) -> Result<(), RejectReason> {
        let handle = self.find_task(cid, snack.itt).ok_or(RejectReason::ProtocolError)?;
        let task = self.task_or_answered(handle).ok_or(RejectReason::ProtocolError)?;
        let (beg_run, run_length) = (snack.beg_run, snack.run_length);
        let item = if task.write {
            let run = task.out.run(beg_run, run_length).ok_or(RejectReason::ProtocolError)?;
            Item::R2tAgain { task: handle, run }
        } else {
            let data_in = task.answer.as_ref().map(|answer| &answer.data_in);
            let run = data_in.and_then(|data| data.run(beg_run, run_length));
            Item::DataAgain { task: handle, run: run.ok_or(RejectReason::ProtocolError)? }
        };
        self.requeue(cid, item);
        Ok(())
    }

    /// DataACK names its Data-In by the tag, not by the task (RFC 7143 §11.16.4).
    fn acknowledge_data(&mut self, snack: &SnackRequest) -> Result<(), RejectReason> {
        let tasks = self.tasks.values_mut().chain(self.answered.values_mut());
        let mut transfers = tasks.filter_map(|task| task.answer.as_mut()).map(|answer| &mut answer.data_in);
        let transfer = transfers.find(|data| data.awaits_acknowledgment(snack.ttt));
        // Its task may have ended since: then there is nothing left to acknowledge.
        let plausible = transfer.is_none_or(|transfer| transfer.acknowledge(DataSn(snack.beg_run)));
        plausible.then_some(()).ok_or(RejectReason::InvalidDataAck)
    }

    /// R-Data: all that is not acknowledged comes again, in pieces of the present length (RFC 7143 §11.16.3).
    fn resegment(&mut self, cid: Cid, snack: &SnackRequest) -> Result<(), RejectReason> {
        let handle = self.find_task(cid, snack.itt).ok_or(RejectReason::ProtocolError)?;
        if snack.ttt.0 == 0 || snack.beg_run != 0 || snack.run_length != 0 {
            return Err(RejectReason::InvalidPduField);
        }
        let task = self.task_or_answered(handle).ok_or(RejectReason::ProtocolError)?;
        let answered = task.answered.is_some();
        let answer = task.answer.as_mut().ok_or(RejectReason::ProtocolError)?;
        answer.data_in.rewind();
        answer.snack_tag = snack.ttt.0;
        if answered {
            self.requeue(cid, Item::AnswerAgain(handle));
        }
        Ok(())
    }

    /// A task of this connection, answered or not, by its tag.
    fn find_task(&self, cid: Cid, itt: InitiatorTaskTag) -> Option<TaskHandle> {
        let open = self.by_itt.get(&itt).and_then(|handle| self.tasks.get(handle));
        let task =
            open.or_else(|| self.answered_by_itt.get(&itt).and_then(|handle| self.answered.get(handle)))?;
        (task.cid == cid && task.suspended_until.is_none()).then_some(task.handle)
    }

    pub(super) fn task_or_answered(&mut self, handle: TaskHandle) -> Option<&mut Task> {
        match self.tasks.get_mut(&handle) {
            Some(task) => Some(task),
            None => self.answered.get_mut(&handle),
        }
    }

    /// Keeps an answered task until its status is acknowledged.
    pub(super) fn keep_answered(&mut self, handle: TaskHandle, stat_sn: StatSn) {
        let Some(mut task) = self.end_task(handle) else { return };
        task.answered = Some(stat_sn);
        task.takes_place = false;
        if let Some(earlier) = self.answered_by_itt.insert(task.itt, handle) {
            self.answered.remove(&earlier);
        }
        self.answered.insert(handle, task);
    }

    pub(super) fn forget_answered(&mut self, handle: TaskHandle) {
        if let Some(task) = self.answered.remove(&handle)
            && self.answered_by_itt.get(&task.itt) == Some(&handle)
        {
            self.answered_by_itt.remove(&task.itt);
        }
    }

    /// Takes the ExpStatSN of a PDU: what is before it needs no keeping.
    pub(super) fn acknowledge_status(&mut self, cid: Cid, exp_stat_sn: StatSn) {
        let Some(connection) = self.connection_mut(cid) else { return };
        connection.acknowledge(exp_stat_sn);
        let acknowledged = connection.acknowledged;
        let over = |task: &&Task| {
            task.cid == cid
                && task.suspended_until.is_none()
                && task.answered.is_some_and(|stat_sn| stat_sn < acknowledged)
        };
        let over: Vec<_> = self.answered.values().filter(over).map(|task| task.handle).collect();
        over.into_iter().for_each(|handle| self.forget_answered(handle));
        self.advance_fences();
    }

    /// Asks again for data that a task misses: its sequence ended with a hole, or nothing came in time.
    pub(super) fn recover_data(&mut self, handle: TaskHandle, timed_out: bool) {
        let Some(task) = self.tasks.get_mut(&handle) else { return };
        task.data_deadline = None;
        if task.out.recoveries() >= limits::RECOVERIES_MAX {
            let itt = task.itt.0;
            if self.logs_mistake() {
                tracing::warn!(itt, "gave up a command whose data does not come");
            }
            return self
                .fail_task(handle, Sense::new(SenseKey::AbortedCommand, Asc::PROTOCOL_SERVICE_CRC_ERROR));
        }
        let cid = task.cid;
        let tags: Vec<_> = task.out.outstanding_tags().collect();
        match task.out.recover(timed_out) {
            None => {}
            Some(Recovery::Repeat(request)) => self.requeue(cid, Item::R2t { task: handle, request }),
            Some(Recovery::Renew { given_up }) => {
                task.solicited = task.solicited.saturating_sub(u64::from(given_up));
                self.stale_tags.extend(tags);
                self.trim_stale_tags();
                self.release_room(u64::from(given_up));
                self.progress(handle);
            }
        }
    }

    /// Tasks of a connection whose data is overdue.
    pub(super) fn recover_overdue(&mut self, cid: Cid, now: Instant) {
        if !self.recovers() {
            return;
        }
        let overdue = |task: &&Task| {
            task.cid == cid && task.awaits_data() && task.data_deadline.is_some_and(|at| at <= now)
        };
        let mut overdue: Vec<_> = self.tasks.values().filter(overdue).map(|task| task.handle).collect();
        overdue.sort_unstable();
        overdue.into_iter().for_each(|handle| self.recover_data(handle, true));
    }

    /// The first time at which data of a connection's tasks is overdue.
    pub(super) fn next_overdue(&mut self, cid: Cid, now: Instant) -> Option<Instant> {
        if !self.recovers() {
            return None;
        }
        let deadline = now + self.settings.recovery_interval;
        let waiting = self.tasks.values_mut().filter(|task| task.cid == cid && task.awaits_data());
        waiting.map(|task| *task.data_deadline.get_or_insert(deadline)).min()
    }

    /// A connection is gone: closed by either side, cut, or replaced. What was logged out before has no tasks any more; else they
    /// wait for TASK REASSIGN where that was agreed, or end. Returns those that ended, for the device to abort.
    pub fn remove_connection(&mut self, cid: Cid, now: Instant) -> Vec<LostTask> {
        let Some(at) = self.connections.iter().position(|connection| connection.cid == cid) else {
            return Vec::new();
        };
        let connection = self.connections.remove(at);
        self.requests.retain(|_, request| request.cid != cid);
        self.drop_held(cid);
        let lost = match self.retention() {
            Some(retention) if !connection.finished && !self.ending => {
                self.suspend_tasks(cid, now + retention);
                Vec::new()
            }
            // It asked for this itself, by logout for recovery.
            _ if self.lost.iter().any(|&(lost, _)| lost == cid) && !self.ending => Vec::new(),
            _ => self.end_tasks_of(cid),
        };
        self.advance_fences();
        lost
    }

    /// Ends the tasks of a connection that is logged out. Returns them, for the device to abort.
    pub fn end_tasks_of(&mut self, cid: Cid) -> Vec<LostTask> {
        self.lost.retain(|&(lost, _)| lost != cid);
        let lost: Vec<_> = self
            .tasks
            .values()
            .filter(|task| task.cid == cid)
            .map(|task| LostTask { task: task.handle, lun: task.lun })
            .collect();
        lost.iter().for_each(|lost| self.forget_task(lost.task));
        let answered: Vec<_> =
            self.answered.values().filter(|task| task.cid == cid).map(|task| task.handle).collect();
        answered.into_iter().for_each(|handle| self.forget_answered(handle));
        lost
    }

    /// Readies the tasks of a connection for another one ("remove the connection for recovery"). False when that was not agreed.
    pub fn suspend_connection(&mut self, cid: Cid, now: Instant) -> bool {
        let Some(retention) = self.retention() else { return false };
        self.drop_held(cid);
        self.suspend_tasks(cid, now + retention);
        true
    }

    fn suspend_tasks(&mut self, cid: Cid, until: Instant) {
        self.lost.retain(|&(lost, _)| lost != cid);
        self.lost.push((cid, until));
        for task in self.answered.values_mut().filter(|task| task.cid == cid) {
            task.suspended_until = Some(until);
        }
        let own: Vec<_> =
            self.tasks.values().filter(|task| task.cid == cid).map(|task| task.handle).collect();
        for handle in own {
            let Some(task) = self.tasks.get_mut(&handle) else { continue };
            task.suspended_until = Some(until);
            task.answering = false;
            let tags: Vec<_> = task.out.outstanding_tags().collect();
            let given_up = u64::from(task.out.give_up_requests());
            task.solicited = task.solicited.saturating_sub(given_up);
            self.stale_tags.extend(tags);
            self.release_room(given_up);
            self.progress(handle);
        }
        self.trim_stale_tags();
    }

    /// Commands that wait for their turn and came on a connection that is gone: the initiator sends them again.
    fn drop_held(&mut self, cid: Cid) {
        let (window, early_data) = (&mut self.window, &mut self.early_data);
        self.held.retain(|&cmd_sn, (owner, _, pdu)| {
            let stays = *owner != cid;
            if !stays {
                window.forget(cmd_sn);
                if let InitiatorHeader::ScsiCommand(command) = &pdu.header {
                    early_data.remove(&command.itt);
                }
            }
            stays
        });
    }

    /// When [`Session::handle_retention`] wants to be called.
    #[must_use]
    pub fn poll_retention(&self) -> Option<Instant> {
        let tasks = self.tasks.values().chain(self.answered.values()).filter_map(|task| task.suspended_until);
        tasks.chain(self.lost.iter().map(|&(_, until)| until)).min()
    }

    /// Ends what nobody came for in time. Returns the tasks, for the device to abort.
    pub fn handle_retention(&mut self, now: Instant) -> Vec<LostTask> {
        self.lost.retain(|&(_, until)| until > now);
        let over = |task: &&Task| task.suspended_until.is_some_and(|until| until <= now);
        let answered: Vec<_> = self.answered.values().filter(over).map(|task| task.handle).collect();
        answered.into_iter().for_each(|handle| self.forget_answered(handle));
        let lost: Vec<_> = self
            .tasks
            .values()
            .filter(over)
            .map(|task| LostTask { task: task.handle, lun: task.lun })
            .collect();
        lost.iter().for_each(|lost| self.forget_task(lost.task));
        lost
    }

    /// TASK REASSIGN: the task goes on where the initiator says that it stopped (RFC 7143 §7.2.2, §11.5.6).
    pub(super) fn reassign(&mut self, cid: Cid, request: &TaskManagementRequest) -> TaskManagementResult {
        if self.parameters.error_recovery_level < 2 {
            return TaskManagementResult::ReassignmentNotSupported;
        }
        let itt = request.referenced_task_tag;
        let handle = self.by_itt.get(&itt).or_else(|| self.answered_by_itt.get(&itt)).copied();
        let Some(handle) = handle else { return TaskManagementResult::TaskDoesNotExist };
        let Some(task) = self.task_or_answered(handle) else { return TaskManagementResult::TaskDoesNotExist };
        if task.lun != request.lun {
            return TaskManagementResult::LunDoesNotExist;
        }
        if task.suspended_until.is_none() {
            return TaskManagementResult::TaskStillAllegiant;
        }
        task.suspended_until = None;
        task.cid = cid;
        task.answering = false;
        task.answered = None;
        if let Some(answer) = task.answer.as_mut() {
            // RFC 7143 §11.5.6: 0 leaves the number as it is, and an impossible one is ignored.
            if request.exp_data_sn.0 != 0 {
                answer.data_in.acknowledge(request.exp_data_sn);
            }
            answer.data_in.rewind();
            answer.snack_tag = 0;
        }
        if let Some(task) = self.answered.remove(&handle) {
            self.answered_by_itt.remove(&itt);
            self.by_itt.insert(itt, handle);
            self.tasks.insert(handle, task);
        }
        self.reassigned.push(handle);
        TaskManagementResult::FunctionComplete
    }

    /// Lets reassigned tasks go on, after the response that says so was queued.
    pub(super) fn resume_reassigned(&mut self) {
        for handle in std::mem::take(&mut self.reassigned) {
            self.progress(handle);
        }
    }
}
