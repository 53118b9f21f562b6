//! A session joined to its logical units: carries out what the session's state machine asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use lunkeep_common::name::{Cid, InitiatorPort, TargetPort, Tsih};
use lunkeep_common::pdu::InitiatorTaskTag;
use lunkeep_common::pdu::logout::LogoutResult;
use lunkeep_common::scsi::Lun;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::media;
use super::reservations;
use super::server::Shared;
use super::task_management;
use super::unit::{Ended, FenceWaits, LunView, Unit, resolve};
use crate::device::{Command, Completion, MediaFailure, MediaOp, MediaReply, NexusId, Step, TaskId, absent};
use crate::image::DiskError;
use crate::session::{Event, ScsiRequest, Session, TaskHandle, TaskResult};

/// Reads up to this length are tried in place before a thread is asked: a page-cache hit costs less than the switch.
const INLINE_READ_MAX: u32 = 64 << 10;

/// Buffer space is counted in units of this many bytes.
const BUFFER_UNIT: u32 = 4 << 10;

/// A session as the engine holds it.
#[derive(Debug)]
pub(super) struct SessionHandle {
    pub(super) nexus: NexusId,
    pub(super) tsih: Tsih,
    pub(super) initiator: InitiatorPort,
    /// `None` in a discovery session.
    pub(super) target: Option<TargetPort>,
    pub(super) luns: LunView,
    /// The LUNs of `luns` on the wire, for REPORT LUNS.
    inventory: Vec<Lun>,
    machine: Mutex<Session>,
    /// Something is ready to be sent.
    pub(super) wake: Notify,
    /// The session's connections must end.
    pub(super) cancel: CancellationToken,
    /// Turns true when nothing of the session is left: its tasks are over, its nexus is gone from every unit.
    pub(super) closed: watch::Sender<bool>,
    buffers: Arc<Semaphore>,
    buffer_units: u32,
    shared: Weak<Shared>,
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
            inventory: new.luns.keys().filter_map(|&number| Lun::from_number(number)).collect(),
            luns: new.luns,
            machine: Mutex::new(new.machine),
            wake: Notify::new(),
            cancel: new.cancel,
            closed: watch::Sender::new(false),
            buffers: Arc::new(Semaphore::new(buffer_units as usize)),
            buffer_units,
            shared: new.shared,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out everything that the session asks for now.
    pub(super) fn pump(self: &Arc<Self>, shared: &Arc<Shared>) {
        loop {
            let event = self.lock().poll_event();
            match event {
                None => return,
                Some(Event::Command(request)) => self.begin(&request),
                Some(Event::DataOut { task, lun, data }) => self.data_out(task, lun, data),
                Some(Event::Abandon { task, lun }) => self.abandon(task, lun),
                Some(Event::TaskManagement { cid, itt, function, scope }) => {
                    task_management::start(shared, self, cid, itt, function, scope);
                }
                Some(Event::Logout { cid, itt, .. }) => self.log_out(shared, cid, itt),
            }
        }
    }

    fn begin(self: &Arc<Self>, request: &ScsiRequest) {
        let task = TaskId(request.task.0);
        let command = Command {
            nexus: self.nexus,
            task,
            cdb: &request.cdb,
            attribute: request.attribute,
            expected_in: request.expected_in,
            expected_out: request.expected_out,
            luns: &self.inventory,
        };
        let Some(unit) = resolve(&self.luns, request.lun) else {
            return self.complete(task, absent::answer(request.lun, &request.cdb, &self.inventory));
        };
        let (step, waits) = unit.step(|unit| unit.begin(command));
        self.take_step(unit, task, step, waits);
    }

    fn data_out(self: &Arc<Self>, handle: TaskHandle, lun: Lun, data: Vec<Bytes>) {
        let Some(unit) = resolve(&self.luns, lun) else { return };
        let task = TaskId(handle.0);
        let (step, waits) = unit.step(|unit| unit.data_out(task, data));
        self.take_step(unit, task, step, waits);
    }

    /// The session ended a task by itself; nothing of it is on the medium yet, since its data never became complete.
    fn abandon(&self, handle: TaskHandle, lun: Lun) {
        if let Some(unit) = resolve(&self.luns, lun) {
            drop(unit.abort(|unit| unit.abort_task(self.nexus, TaskId(handle.0))));
        }
    }

    fn take_step(self: &Arc<Self>, unit: &Arc<Unit>, task: TaskId, step: Step, waits: FenceWaits) {
        match step {
            Step::DataOut(wanted) => self.lock().solicit(TaskHandle(task.0), wanted),
            Step::Media(op) => self.start_media(unit, task, op),
            Step::Fence(fence) => {
                // Without the server there is nobody left to answer.
                if let Some(shared) = self.shared.upgrade() {
                    reservations::start_fence(&shared, unit, task, *fence, waits);
                }
            }
            Step::Waiting => {}
            Step::Done(completion) => self.complete(task, completion),
            Step::Aborted => unit.left_medium(task),
        }
    }

    pub(super) fn complete(&self, task: TaskId, completion: Completion) {
        let Completion { status, sense, data_in } = completion;
        self.lock().complete(TaskHandle(task.0), TaskResult { status, sense, data_in });
        self.wake.notify_one();
    }

    /// Runs an operation: in place when the page cache has the answer, otherwise on a thread that may block, as soon as the
    /// session has buffer space for it.
    fn start_media(self: &Arc<Self>, unit: &Arc<Unit>, task: TaskId, op: MediaOp) {
        let units = self.units_for(&op);
        let permit = self.buffers.clone().try_acquire_many_owned(units).ok();
        if let (Some(_), &MediaOp::Read { offset, len }) = (&permit, &op)
            && len <= INLINE_READ_MAX
            && let Some(data) = media::read_cached(&*unit.disk, offset, len)
        {
            return self.finish_media(unit, task, Ok(MediaReply::Data(data)), permit);
        }
        let (session, unit) = (self.clone(), unit.clone());
        match permit {
            Some(permit) => session.run_media(unit, task, op, permit),
            None => {
                tokio::spawn(async move {
                    // The semaphore is never closed.
                    if let Ok(permit) = session.buffers.clone().acquire_many_owned(units).await {
                        session.run_media(unit, task, op, permit);
                    }
                });
            }
        }
    }

    fn run_media(self: Arc<Self>, unit: Arc<Unit>, task: TaskId, op: MediaOp, permit: OwnedSemaphorePermit) {
        tokio::task::spawn_blocking(move || {
            let result = media::run(&*unit.disk, op);
            self.finish_media(&unit, task, result, Some(permit));
        });
    }

    fn finish_media(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        task: TaskId,
        result: Result<MediaReply, DiskError>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let result = result.map(|reply| held(reply, permit)).map_err(|error| {
            tracing::error!(%error, initiator = %self.initiator, "an operation on the medium failed");
            failure(&error)
        });
        let (step, waits) = unit.step(|unit| unit.media_done(task, result));
        unit.left_medium(task);
        self.take_step(unit, task, step, waits);
    }

    /// Buffer units that an operation needs; never more than the session has, so that it can always run alone.
    fn units_for(&self, op: &MediaOp) -> u32 {
        match op {
            MediaOp::Read { len, .. } => len.div_ceil(BUFFER_UNIT).clamp(1, self.buffer_units),
            _ => 0,
        }
    }

    fn log_out(self: &Arc<Self>, shared: &Arc<Shared>, cid: Cid, itt: InitiatorTaskTag) {
        let (session, shared) = (self.clone(), shared.clone());
        shared.clone().tasks.spawn(async move {
            let drained = session.end_tasks(&shared).await;
            let response = if drained { LogoutResult::Closed } else { LogoutResult::CleanupFailed };
            session.lock().logout_done(cid, itt, response);
            session.wake.notify_one();
        });
    }

    /// Takes the nexus off every unit and waits until none of its tasks can touch a medium; false when that took too long.
    pub(super) async fn end_tasks(&self, shared: &Shared) -> bool {
        let mut ended = Ended::default();
        for unit in self.luns.values() {
            ended.merge(unit.abort(|unit| unit.detach(self.nexus)));
        }
        task_management::settle(shared, task_management::drop_gone(shared, ended)).await
    }
}

/// Ties the data of a read to its buffer permit: the space is free again when the last byte has left.
fn held(reply: MediaReply, permit: Option<OwnedSemaphorePermit>) -> MediaReply {
    struct Held(Bytes, #[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    match reply {
        MediaReply::Data(data) => MediaReply::Data(Bytes::from_owner(Held(data, permit))),
        other => other,
    }
}

/// What the device is told about a failure of the disk.
fn failure(error: &DiskError) -> MediaFailure {
    match error {
        DiskError::Read(_) => MediaFailure::Read,
        DiskError::Write(_) | DiskError::Poisoned => MediaFailure::Write,
        DiskError::NoSpace => MediaFailure::NoSpace,
        DiskError::ReadOnly => MediaFailure::ReadOnly,
        DiskError::Corrupt(_) => MediaFailure::Damaged,
    }
}
