//! A session joined to its logical units: carries out what the session's state machine asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lunkeep_common::login::target_side::LoginRefusal;
use lunkeep_common::name::{Cid, InitiatorPort, TargetPort, Tsih};
use lunkeep_common::pdu::InitiatorTaskTag;
use lunkeep_common::pdu::logout::{LogoutReason, LogoutResult};
use lunkeep_common::scsi::{Lun, Sense};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::copy;
use super::erase;
use super::operation::BUFFER_UNIT;
use super::reservations;
use super::server::Shared;
use super::task_management;
use super::unit::{Draining, Ended, FenceWaits, LunView, Unit};
use super::view::View;
use crate::device::{
    self, Command, Completion, CopyTotals, LogicalUnit, MediaFailure, NexusId, Resumed, Step, TaskId, absent,
};
use crate::limits::COPIES_PER_SESSION_MAX;
use crate::session::{
    Event, LogoutEnds, LostTask, NewConnection, ScsiRequest, Session, TaskHandle, TaskResult,
};

/// A session as the engine holds it.
#[derive(Debug)]
pub(super) struct SessionHandle {
    pub(super) nexus: NexusId,
    pub(super) tsih: Tsih,
    pub(super) initiator: InitiatorPort,
    /// `None` in a discovery session.
    pub(super) target: Option<TargetPort>,
    pub(super) view: View,
    machine: Mutex<Session>,
    links: Mutex<Vec<Arc<Link>>>,
    /// Events are carried out one at a time, in their order, whichever connection brought them.
    pumping: Mutex<()>,
    /// The session's connections must end.
    pub(super) cancel: CancellationToken,
    /// Turns true when nothing of the session is left: its tasks are over, its nexus is gone from every unit.
    pub(super) closed: watch::Sender<bool>,
    pub(super) buffers: Arc<Semaphore>,
    /// One for each third-party copy that it may run at a time.
    pub(super) copies: Arc<Semaphore>,
    pub(super) buffer_units: u32,
    pub(super) shared: Weak<Shared>,
}

/// A connection of a session, for the others.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) cid: Cid,
    /// Something is ready to be sent.
    pub(super) wake: Notify,
    /// This connection must end.
    pub(super) cancel: CancellationToken,
    /// Turns true when nothing of the connection is left that could touch a medium.
    pub(super) closed: watch::Sender<bool>,
}

/// What a session is made of.
pub(super) struct NewSession {
    pub(super) nexus: NexusId,
    pub(super) tsih: Tsih,
    pub(super) initiator: InitiatorPort,
    pub(super) target: Option<TargetPort>,
    pub(super) luns: LunView,
    pub(super) machine: Session,
    pub(super) cancel: CancellationToken,
    pub(super) buffer_bytes: u32,
    pub(super) shared: Weak<Shared>,
}

impl SessionHandle {
    pub(super) fn new(new: NewSession) -> Self {
        let buffer_units = (new.buffer_bytes / BUFFER_UNIT).max(1);
        Self {
            nexus: new.nexus,
            tsih: new.tsih,
            initiator: new.initiator,
            target: new.target,
            view: View::new(new.luns),
            machine: Mutex::new(new.machine),
            links: Mutex::default(),
            pumping: Mutex::default(),
            cancel: new.cancel,
            closed: watch::Sender::new(false),
            buffers: Arc::new(Semaphore::new(buffer_units as usize)),
            copies: Arc::new(Semaphore::new(COPIES_PER_SESSION_MAX.into())),
            buffer_units,
            shared: new.shared,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are logged in.
    pub(super) fn connections(&self) -> usize {
        self.links().len()
    }

    /// The connection with this CID.
    pub(super) fn link(&self, cid: Cid) -> Option<Arc<Link>> {
        self.links().iter().find(|link| link.cid == cid).cloned()
    }

    /// Adds a connection, unless one with its CID is there or the session takes no more.
    ///
    /// # Errors
    /// What the initiator is told.
    pub(super) fn connect(&self, connection: NewConnection) -> Result<Arc<Link>, LoginRefusal> {
        let mut links = self.links();
        let mut machine = self.lock();
        if machine.is_ending() {
            return Err(LoginRefusal::SessionDoesNotExist);
        }
        if !machine.admits(connection.cid) || machine.has_connection(connection.cid) {
            return Err(LoginRefusal::TooManyConnections);
        }
        Ok(self.add(&mut links, &mut machine, connection))
    }

    /// The first connection of a session that was just made.
    pub(super) fn lead(&self, connection: NewConnection) -> Arc<Link> {
        let mut links = self.links();
        self.add(&mut links, &mut self.lock(), connection)
    }

    fn add(&self, links: &mut Vec<Arc<Link>>, machine: &mut Session, connection: NewConnection) -> Arc<Link> {
        let link = Arc::new(Link {
            cid: connection.cid,
            wake: Notify::new(),
            cancel: self.cancel.child_token(),
            closed: watch::Sender::new(false),
        });
        machine.add_connection(connection, Instant::now());
        links.push(link.clone());
        link
    }

    /// The connection has no socket any more: ends or keeps its tasks, and the session with its last connection.
    pub(super) async fn disconnect(self: &Arc<Self>, shared: &Arc<Shared>, link: &Arc<Link>) {
        let ending = {
            let mut machine = self.lock();
            if self.cancel.is_cancelled() {
                machine.end();
            }
            machine.is_ending()
        };
        let lost = self.lock().remove_connection(link.cid, Instant::now());
        self.outlast(shared, self.abort(shared, lost)).await;
        self.links().retain(|other| !Arc::ptr_eq(other, link));
        link.closed.send_replace(true);
        if ending {
            self.cancel.cancel();
        }
        if self.close_if_over(shared).await {
            return;
        }
        self.wake();
        if self.lock().poll_retention().is_some() {
            shared.tasks.spawn(keep(self.clone(), shared.clone()));
        }
    }

    /// Ends the session when neither a connection is left nor anything to come back for.
    async fn close_if_over(&self, shared: &Arc<Shared>) -> bool {
        {
            let mut machine = self.lock();
            if !machine.is_over() {
                return false;
            }
            machine.end();
        }
        self.outlast(shared, self.detach(shared)).await;
        shared.sessions.remove(self);
        if !self.closed.send_replace(true) {
            tracing::info!(initiator = %self.initiator, "session ended");
        }
        true
    }

    /// Ends tasks that were lost with their connection. What remains can still touch a medium.
    fn abort(&self, shared: &Arc<Shared>, lost: Vec<LostTask>) -> Draining {
        let mut ended = Ended::default();
        for LostTask { task, lun } in lost {
            for unit in self.view.now().resolve_task(lun) {
                ended.merge(unit.abort(&self.shared, |unit| unit.abort_task(self.nexus, TaskId(task.0))));
            }
        }
        task_management::drop_gone(shared, ended)
    }

    /// Waits, however long it takes, until tasks have left the medium. While one has not, the initiator must not come back: what it
    /// writes then could be overwritten by what it wrote before.
    async fn outlast(&self, shared: &Shared, draining: Draining) {
        let left = task_management::settled(shared, draining);
        tokio::pin!(left);
        if tokio::time::timeout(shared.settings.drain_timeout, &mut left).await.is_err() {
            tracing::error!(
                initiator = %self.initiator,
                "operations on the medium outlive their connection; the initiator cannot come back before they end"
            );
            left.await;
        }
    }

    /// Wakes the connections that have something to send.
    pub(super) fn wake(&self) {
        let links = self.links();
        if let [only] = links.as_slice() {
            return only.wake.notify_one();
        }
        drop(links);
        let ready: Vec<_> = self.lock().ready().collect();
        self.links().iter().filter(|link| ready.contains(&link.cid)).for_each(|link| link.wake.notify_one());
    }

    /// Wakes the connections other than this one that have something to send.
    pub(super) fn wake_others(&self) {
        if self.links().len() > 1 {
            self.wake();
        }
    }

    /// Carries out everything that the session asks for now.
    pub(super) fn pump(self: &Arc<Self>, shared: &Arc<Shared>) {
        let _one_at_a_time = self.pumping.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let event = self.lock().poll_event();
            match event {
                None => return,
                Some(Event::Command(request)) => self.begin(&request),
                Some(Event::DataOut { task, lun, data }) => self.data_out(task, lun, data),
                Some(Event::Abandon { task, lun, sense }) => self.abandon(shared, task, lun, sense),
                Some(Event::TaskManagement { cid, itt, function, scope }) => {
                    task_management::start(shared, self, cid, itt, function, scope);
                }
                Some(Event::Logout { cid, itt, reason, subject }) => {
                    self.log_out(shared, cid, itt, reason, subject);
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, request: &ScsiRequest) {
        let task = TaskId(request.task.0);
        let seen = self.view.now();
        if device::reports_luns(&request.cdb) {
            return self.begin_report_luns(request, task);
        }
        let Some(unit) = seen.resolve(request.lun) else {
            return self.complete(task, absent::answer(request.lun, &request.cdb, &seen.inventory));
        };
        unit.step(
            &self.shared,
            task,
            |unit| unit.begin(self.command(request, &seen.inventory)),
            |step, waits| self.take_step(unit, task, step, waits),
        );
    }

    /// REPORT LUNS tells the whole inventory, so the nexus need not be told on any unit any more that it changed. A change that comes
    /// meanwhile waits, and is told of again.
    fn begin_report_luns(self: &Arc<Self>, request: &ScsiRequest, task: TaskId) {
        let seen = self.view.hold();
        seen.units.values().for_each(|unit| unit.lock().inventory_told(self.nexus));
        let Some(unit) = seen.resolve(request.lun) else {
            let answer = absent::answer(request.lun, &request.cdb, &seen.inventory);
            drop(seen);
            return self.complete(task, answer);
        };
        let unit = unit.clone();
        let mut taken = None;
        let begin = |unit: &mut LogicalUnit| unit.begin(self.command(request, &seen.inventory));
        unit.step(&self.shared, task, begin, |step, waits| taken = Some((step, waits)));
        drop(seen);
        if let Some((step, waits)) = taken {
            self.take_step(&unit, task, step, waits);
        }
    }

    fn command<'a>(&self, request: &'a ScsiRequest, luns: &'a [Lun]) -> Command<'a> {
        Command {
            nexus: self.nexus,
            task: TaskId(request.task.0),
            cdb: &request.cdb,
            attribute: request.attribute,
            expected_in: request.expected_in,
            expected_out: request.expected_out,
            now_ms: now_ms(),
            luns,
        }
    }

    fn data_out(self: &Arc<Self>, handle: TaskHandle, lun: Lun, data: Vec<Bytes>) {
        // Without a unit the task was answered when that was taken out.
        let seen = self.view.now();
        let Some(unit) = seen.resolve(lun) else { return };
        let task = TaskId(handle.0);
        unit.step(
            &self.shared,
            task,
            |unit| unit.data_out(task, data),
            |step, waits| self.take_step(unit, task, step, waits),
        );
    }

    /// The initiator broke a task. It may be changing the medium already: then it is answered when that is over.
    fn abandon(self: &Arc<Self>, shared: &Arc<Shared>, handle: TaskHandle, lun: Lun, sense: Sense) {
        let task = TaskId(handle.0);
        let (seen, mut ended) = (self.view.now(), Ended::default());
        for unit in seen.resolve_task(lun) {
            ended.merge(unit.abort(&self.shared, |unit| unit.abort_task(self.nexus, task)));
        }
        // It is answered here.
        ended.gone.clear();
        let draining = task_management::drop_gone(shared, ended);
        // Also what the session found wrong is laid out as the unit's control mode page says (D_SENSE).
        let completion = seen.resolve(lun).map_or_else(
            || Completion::check_condition(sense.clone()),
            |unit| unit.lock().check_condition(sense.clone()),
        );
        if draining.is_empty() {
            return self.complete(task, completion);
        }
        let session = self.clone();
        shared.tasks.spawn(async move {
            for (_, left) in draining {
                // An error means that the unit is gone, and the task with it.
                let _ = left.await;
            }
            session.complete(task, completion);
        });
    }

    pub(super) fn take_step(self: &Arc<Self>, unit: &Arc<Unit>, task: TaskId, step: Step, waits: FenceWaits) {
        match step {
            Step::DataOut(wanted) => self.lock().solicit(TaskHandle(task.0), wanted),
            Step::Media(op) => self.start_media(unit, task, op),
            Step::Fence(fence) => {
                // Without the server there is nobody left to answer.
                if let Some(shared) = self.shared.upgrade() {
                    reservations::start_fence(&shared, unit, task, *fence, waits);
                }
            }
            Step::Record(change) => {
                if let Some(shared) = self.shared.upgrade() {
                    reservations::record(&shared, unit, task, *change);
                }
            }
            Step::Erase(erase) => erase::start(&self.shared, self.nexus, unit, *erase),
            Step::Copy(copy) => copy::start(self, unit, task, *copy),
            Step::Waiting => {}
            Step::Done(completion) => self.complete(task, completion),
            Step::Aborted => unit.left_medium(task),
        }
    }

    pub(super) fn complete(&self, task: TaskId, completion: Completion) {
        let Completion { status, sense, sense_format, data_in } = completion;
        let result = TaskResult { status, sense, sense_format, data_in };
        self.lock().complete(TaskHandle(task.0), result);
        self.wake();
    }

    fn log_out(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        cid: Cid,
        itt: InitiatorTaskTag,
        reason: LogoutReason,
        subject: Cid,
    ) {
        let (session, shared) = (self.clone(), shared.clone());
        shared.clone().tasks.spawn(async move {
            let own = subject == cid;
            let drained = match reason {
                LogoutReason::CloseSession => task_management::settle(&shared, session.detach(&shared)).await,
                LogoutReason::CloseConnection => {
                    let lost = session.lock().end_tasks_of(subject);
                    task_management::settle(&shared, session.abort(&shared, lost)).await
                }
                LogoutReason::RemoveForRecovery => session.lock().suspend_connection(subject, Instant::now()),
            };
            if !own && let Some(link) = session.link(subject) {
                link.cancel.cancel();
                // The sender lives as long as `link`.
                let _ = link.closed.subscribe().wait_for(|&closed| closed).await;
            }
            let response = if drained { LogoutResult::Closed } else { LogoutResult::CleanupFailed };
            let ends = {
                // Whether it is the last is asked in one step with the end: nothing may join in between.
                let mut machine = session.lock();
                let last = own && machine.is_last(cid);
                let ends = match reason {
                    LogoutReason::CloseSession => LogoutEnds::Session,
                    LogoutReason::CloseConnection if last => LogoutEnds::Session,
                    _ if own => LogoutEnds::Connection,
                    _ => LogoutEnds::OtherConnection,
                };
                machine.logout_done(cid, itt, response, ends);
                ends
            };
            session.wake();
            if !drained && reason != LogoutReason::RemoveForRecovery {
                // Its tasks are aborted and never answered: there is no way on for what was to be logged out.
                match (ends, session.link(cid)) {
                    (LogoutEnds::Connection, Some(link)) => link.cancel.cancel(),
                    (LogoutEnds::Session, _) => session.cancel.cancel(),
                    _ => {}
                }
            }
        });
    }

    /// Takes the nexus off every unit. What remains can still touch a medium.
    fn detach(&self, shared: &Arc<Shared>) -> Draining {
        let mut ended = Ended::default();
        for unit in self.view.end() {
            ended.merge(unit.abort(&self.shared, |unit| unit.detach(self.nexus)));
        }
        task_management::drop_gone(shared, ended)
    }
}

/// Tasks whose turn has come go on, each in its own session. Not within the caller: with a long line of tasks each of which ends at
/// once, one would be within the other.
pub(super) fn go_on(shared: &Weak<Shared>, unit: &Arc<Unit>, resumed: Vec<(Resumed, FenceWaits)>) {
    let (weak, unit) = (shared.clone(), unit.clone());
    let work = async move {
        for (Resumed { nexus, task, step }, waits) in resumed {
            let session = weak.upgrade().and_then(|shared| shared.sessions.of_nexus(nexus));
            match (session, step) {
                (Some(session), step) => session.take_step(&unit, task, step, waits),
                (None, Step::Erase(erase)) => erase::start(&weak, nexus, &unit, *erase),
                (None, Step::Media(_)) => {
                    // It was aborted when its session ended, and that it never ran is the end of it.
                    let over = |unit: &mut LogicalUnit| unit.media_done(task, Err(MediaFailure::Read));
                    unit.step(&weak, task, over, |_, _| unit.left_medium(task));
                }
                (None, Step::Copy(_)) => {
                    let over = |unit: &mut LogicalUnit| {
                        unit.copy_done(task, CopyTotals::default(), Err(Completion::good()))
                    };
                    unit.step(&weak, task, over, |_, _| unit.left_medium(task));
                }
                (None, _) => unit.left_medium(task),
            }
        }
    };
    match shared.upgrade() {
        // Shutdown waits for what the tracker knows.
        Some(shared) => drop(shared.tasks.spawn(work)),
        None => drop(tokio::spawn(work)),
    }
}

/// Waits for an initiator to come back for what its lost connections left, and ends what nobody comes back for.
async fn keep(session: Arc<SessionHandle>, shared: Arc<Shared>) {
    loop {
        let Some(until) = session.lock().poll_retention() else { return };
        tokio::select! {
            () = tokio::time::sleep_until(until.into()) => {}
            () = session.cancel.cancelled() => session.lock().end(),
        }
        let lost = session.lock().handle_retention(Instant::now());
        session.outlast(&shared, session.abort(&shared, lost)).await;
        if session.close_if_over(&shared).await || session.cancel.is_cancelled() {
            return;
        }
    }
}

/// The host's clock: a host whose clock is before 1970 has none.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
