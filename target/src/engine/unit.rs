//! A logical unit with its medium: the device's state machine behind a lock, and the disk that its operations run on.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use super::buffers::Buffers;
use super::config::UnitConfig;
use super::lane::Lane;
use super::latch::Drains;
use super::operation::Job;
use super::range_lock::RangeLock;
use super::reservations::{RecordKeeper, UnitFollower};
use super::server::Shared;
use super::session_task;
use crate::device::{
    Aborted, AbortedTask, ChangeRefusal, Completion, Interrupted, LogicalUnit, Resumed, Step, TaskId,
};
use crate::image::Disk;
use crate::limits::UNIT_OPERATIONS_MAX;
use crate::store::ParameterStore;

/// A logical unit that several sessions share.
pub(super) struct Unit {
    state: Mutex<LogicalUnit>,
    /// What it was made from.
    pub(super) config: Arc<UnitConfig>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) keeper: RecordKeeper,
    pub(super) parameters: Arc<dyn ParameterStore>,
    pub(super) ranges: RangeLock,
    drains: Drains,
    joined: Once,
    /// Of the fence that waits.
    deadline: Mutex<Option<(TaskId, Instant)>>,
    /// To be called when a change of another gateway is in force.
    pub(super) followed: Mutex<HashMap<TaskId, Box<dyn FnOnce() + Send>>>,
    /// One for each operation that may run on the medium at a time.
    pub(super) threads: Arc<Semaphore>,
    /// An operation on the medium panicked: reads may go on, nothing else.
    pub(super) defective: AtomicBool,
    /// Short writes.
    pub(super) lane: Lane<Job>,
    pub(super) buffers: Arc<Buffers>,
}

/// What a session sees: LUN number to logical unit.
pub(super) type LunView = BTreeMap<u16, Arc<Unit>>;

/// Tasks whose operation on the medium is still running.
pub(super) type Draining = Vec<(AbortedTask, oneshot::Receiver<()>)>;

/// What a fence waits for.
#[derive(Debug, Default)]
pub(super) struct FenceWaits {
    /// Operations of nexuses that are shut out; they end as they would have.
    pub(super) shut_out: Vec<oneshot::Receiver<()>>,
    /// Commands that were aborted.
    pub(super) aborted: Draining,
    /// Ends when the fence is over, whatever became of it.
    pub(super) over: Option<oneshot::Receiver<()>>,
}

/// Tasks that an abort ended, and those whose operation on the medium must be waited for.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Their sessions can drop them at once.
    pub(super) gone: Vec<AbortedTask>,
    /// Each is over when its receiver ends.
    pub(super) draining: Draining,
    /// Commands that waited for one that ended.
    pub(super) resumed: Vec<(Arc<Unit>, Resumed, FenceWaits)>,
}

/// Commands that a change by the operator interrupted.
#[derive(Debug)]
pub(super) struct Finishing {
    /// To be answered now.
    pub(super) refused: Vec<AbortedTask>,
    /// Each ends when a command has left the medium.
    pub(super) finishing: Vec<oneshot::Receiver<()>>,
    /// Commands that waited for one that was interrupted.
    pub(super) resumed: Vec<(Arc<Unit>, Resumed, FenceWaits)>,
    /// The answer of the refused ones, when the medium is what changes.
    pub(super) answer: Completion,
}

impl Ended {
    /// Adds what another logical unit ended.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.gone.append(&mut other.gone);
        self.draining.append(&mut other.draining);
        self.resumed.append(&mut other.resumed);
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit")
            .field("state", &self.state)
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}

impl Unit {
    pub(super) fn new(
        unit: LogicalUnit,
        config: Arc<UnitConfig>,
        keeper: RecordKeeper,
        buffers: Arc<Buffers>,
    ) -> Self {
        let (disk, parameters) = (config.disk.clone(), config.parameters.clone());
        let (state, ranges, drains) = (Mutex::new(unit), RangeLock::default(), Drains::default());
        let threads = Arc::new(Semaphore::new(UNIT_OPERATIONS_MAX));
        let (deadline, lane) = (Mutex::default(), Lane::new(UNIT_OPERATIONS_MAX));
        let (joined, followed) = (Once::new(), Mutex::default());
        Self {
            state,
            config,
            disk,
            keeper,
            parameters,
            ranges,
            drains,
            joined,
            deadline,
            followed,
            threads,
            defective: AtomicBool::new(false),
            lane,
            buffers,
        }
    }

    /// Hears from now on of what other gateways make of the reservations. Once, however many targets export it.
    pub(super) fn join(self: &Arc<Self>, shared: &Arc<Shared>) {
        self.joined.call_once(|| {
            let (shared, unit) = (Arc::downgrade(shared), Arc::downgrade(self));
            let runtime = tokio::runtime::Handle::current();
            self.keeper.join(Arc::new(UnitFollower { shared, unit, runtime }));
        });
    }

    /// The device's state machine, which knows whether this process serves the unit now.
    pub(super) fn lock(&self) -> MutexGuard<'_, LogicalUnit> {
        // The state machine does not panic; should it, the state is what its last complete step left.
        let mut unit = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        unit.set_access(self.keeper.access());
        unit
    }

    /// Does something that a task can end with, then `then` with what came of it. Only after that, so that answers leave in the order of
    /// the tasks, those go on whose turn has come.
    pub(super) fn with<T, R>(
        self: &Arc<Self>,
        shared: &Weak<Shared>,
        change: impl FnOnce(&mut LogicalUnit) -> T,
        then: impl FnOnce(T) -> R,
    ) -> R {
        let mut unit = self.lock();
        let done = change(&mut unit);
        // One that comes later does not wait for what has ended here.
        let has_dormant = unit.has_dormant();
        drop(unit);
        let result = then(done);
        if has_dormant {
            let resumed = self.with_waits(self.lock().resume());
            session_task::go_on(shared, self, resumed);
        }
        result
    }

    /// Runs an abort and notes, under the same lock, which tasks must be waited for.
    pub(super) fn abort(
        self: &Arc<Self>,
        shared: &Weak<Shared>,
        abort: impl FnOnce(&mut LogicalUnit) -> Aborted,
    ) -> Ended {
        let noted = |unit: &mut LogicalUnit| {
            let mut aborted = abort(unit);
            let draining = std::mem::take(&mut aborted.draining).into_iter();
            let draining = draining.map(|task| (task, self.drains.wait_for(task.task))).collect();
            let resumed = self.with_waits(unit.after_abort());
            (aborted, draining, resumed)
        };
        let (aborted, draining, resumed) = self.with(shared, noted, |noted| noted);
        // Nothing has to wait for a read: what it brings is dropped when it comes.
        let gone = aborted.gone.into_iter().chain(aborted.reading).collect();
        let resumed = resumed.into_iter().map(|(resumed, waits)| (self.clone(), resumed, waits)).collect();
        Ended { gone, draining, resumed }
    }

    /// Runs what interrupts commands, and notes under the same lock when those that finish have left the medium.
    pub(super) fn interrupt(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        interrupt: impl FnOnce(&mut LogicalUnit) -> Result<Interrupted, ChangeRefusal>,
    ) -> Result<Finishing, ChangeRefusal> {
        let noted = |unit: &mut LogicalUnit| {
            let Interrupted { refused, finishing } = interrupt(unit)?;
            let finishing = finishing.into_iter().map(|task| self.drains.wait_for(task)).collect();
            let resumed = self.with_waits(unit.after_abort()).into_iter();
            let resumed = resumed.map(|(resumed, waits)| (self.clone(), resumed, waits)).collect();
            Ok(Finishing { refused, finishing, resumed, answer: unit.interrupted() })
        };
        self.with(&Arc::downgrade(shared), noted, |noted| noted)
    }

    /// Takes a step of the state machine. What a fence must wait for is noted under the same lock, so that no task can leave
    /// the medium unseen in between.
    pub(super) fn step(
        self: &Arc<Self>,
        shared: &Weak<Shared>,
        task: TaskId,
        step: impl FnOnce(&mut LogicalUnit) -> Step,
        then: impl FnOnce(Step, FenceWaits),
    ) {
        let noted = |unit: &mut LogicalUnit| {
            let step = step(unit);
            let waits = self.waits_of(task, &step);
            (step, waits)
        };
        self.with(shared, noted, |(step, waits)| then(step, waits));
    }

    /// As [`Unit::step`], for what gives several.
    pub(super) fn steps(
        self: &Arc<Self>,
        shared: &Weak<Shared>,
        steps: impl FnOnce(&mut LogicalUnit) -> Vec<Resumed>,
        then: impl FnMut((Resumed, FenceWaits)),
    ) {
        let noted = |unit: &mut LogicalUnit| self.with_waits(steps(unit));
        self.with(shared, noted, |steps| steps.into_iter().for_each(then));
    }

    fn with_waits(&self, steps: Vec<Resumed>) -> Vec<(Resumed, FenceWaits)> {
        let noted = |resumed: Resumed| {
            let waits = self.waits_of(resumed.task, &resumed.step);
            (resumed, waits)
        };
        steps.into_iter().map(noted).collect()
    }

    fn waits_of(&self, task: TaskId, step: &Step) -> FenceWaits {
        let Step::Fence(fence) = step else { return FenceWaits::default() };
        FenceWaits {
            shut_out: fence.drain.iter().map(|&task| self.drains.wait_for(task)).collect(),
            aborted: fence
                .aborted
                .draining
                .iter()
                .map(|&task| (task, self.drains.wait_for(task.task)))
                .collect(),
            over: Some(self.drains.wait_for(task)),
        }
    }

    /// When the fence of `task` must be over; the time begins with the first call for it.
    pub(super) fn fence_deadline(&self, task: TaskId, limit: Duration) -> Instant {
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        match *deadline {
            Some((of, until)) if of == task => until,
            _ => deadline.insert((task, Instant::now() + limit)).1,
        }
    }

    /// A task left the medium.
    pub(super) fn left_medium(&self, task: TaskId) {
        self.drains.left(task);
    }
}
