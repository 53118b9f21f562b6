//! Waiting for operations on the medium that an abort must outlive.

use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::oneshot;

/// Tells those who wait that a task left the medium.
#[derive(Debug, Default)]
pub(super) struct Drains(Mutex<Vec<(crate::device::TaskId, oneshot::Sender<()>)>>);

impl Drains {
    /// A receiver that ends when `task` leaves the medium. Call this while the logical unit is locked, so that the task cannot
    /// leave in between.
    pub(super) fn wait_for(&self, task: crate::device::TaskId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((task, sender));
        receiver
    }

    /// The task left the medium.
    pub(super) fn left(&self, task: crate::device::TaskId) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, sender) in waiting.extract_if(.., |(waited, _)| *waited == task) {
            // Nobody waits any more when a time limit passed: that is theirs to report.
            let _ = sender.send(());
        }
    }
}
