//! A logical unit with its medium: the device's state machine behind a lock, and the disk that its operations run on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunkeep_common::scsi::Lun;
use tokio::sync::oneshot;

use super::latch::Drains;
use crate::device::{Aborted, AbortedTask, LogicalUnit, TaskId};
use crate::image::Disk;

/// A logical unit that several sessions share.
#[derive(Debug)]
pub(super) struct Unit {
    state: Mutex<LogicalUnit>,
    pub(super) disk: Arc<dyn Disk>,
    drains: Drains,
}

/// What a session sees: LUN number to logical unit.
pub(super) type LunView = BTreeMap<u16, Arc<Unit>>;

/// Tasks whose operation on the medium is still running.
pub(super) type Draining = Vec<(AbortedTask, oneshot::Receiver<()>)>;

/// Tasks that an abort ended, and those whose operation on the medium must be waited for.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Their sessions can drop them at once.
    pub(super) gone: Vec<AbortedTask>,
    /// Each is over when its receiver ends.
    pub(super) draining: Draining,
}

impl Ended {
    /// Adds what another logical unit ended.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.gone.append(&mut other.gone);
        self.draining.append(&mut other.draining);
    }
}

impl Unit {
    pub(super) fn new(unit: LogicalUnit, disk: Arc<dyn Disk>) -> Self {
        Self { state: Mutex::new(unit), disk, drains: Drains::default() }
    }

    /// The device's state machine.
    pub(super) fn lock(&self) -> MutexGuard<'_, LogicalUnit> {
        // The state machine does not panic; should it, the state is what its last complete step left.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an abort and notes, under the same lock, which tasks must be waited for.
    pub(super) fn abort(&self, abort: impl FnOnce(&mut LogicalUnit) -> Aborted) -> Ended {
        let mut unit = self.lock();
        let aborted = abort(&mut unit);
        let draining =
            aborted.draining.into_iter().map(|task| (task, self.drains.wait_for(task.task))).collect();
        // Nothing has to wait for a read: what it brings is dropped when it comes.
        let gone = aborted.gone.into_iter().chain(aborted.reading).collect();
        Ended { gone, draining }
    }

    /// An aborted task left the medium.
    pub(super) fn left_medium(&self, task: TaskId) {
        self.drains.left(task);
    }
}

/// The logical unit that a LUN addresses in a view.
pub(super) fn resolve(view: &LunView, lun: Lun) -> Option<&Arc<Unit>> {
    view.get(&lun.number()?)
}
