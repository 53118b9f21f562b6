//! Erasing the whole medium: what FORMAT UNIT and SANITIZE ask the engine for, and how far it is.
//!
//! It is work of the logical unit, not of the task that asked for it: no task management function ends it (SBC-3 §4.11.2). While
//! it runs, only commands that look at neither medium nor reservations are processed, so no fence can be answered meanwhile. That it
//! runs is made durable first; when the process ends before it does, the unit comes back with the erasure failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use bytes::Bytes;
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::parameters::{EraseKind, SavedParameters};
use super::step::TaskId;

/// How far an erasure is, and whether it should stop; shared between the unit and the thread that erases.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    done: AtomicU16,
    stop: AtomicBool,
}

impl Progress {
    /// `done` of `total` bytes are erased.
    pub fn set(&self, done: u64, total: u64) {
        let parts = u128::from(done) * 65536 / u128::from(total.max(1));
        self.0.done.store(u16::try_from(parts).unwrap_or(u16::MAX), Ordering::Relaxed);
    }

    /// Parts of 65536 that are done (SPC-4 §4.5.2.4.4).
    #[must_use]
    pub fn get(&self) -> u16 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Asks the thread to give up, with the erasure failed: the process ends.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it should give up.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }
}

/// A pattern to overwrite the medium with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverwritePattern {
    /// One logical block.
    pub block: Bytes,
    /// Passes, at least one.
    pub passes: u8,
    /// Every second pass writes the complement; the last one writes the pattern itself when the number of passes is odd.
    pub invert: bool,
}

/// An erasure to carry out: note `before`, erase, note `after`.
#[derive(Clone, Debug)]
pub struct Erase {
    /// What to overwrite everything with. `None`: overwrite with zeros what has a place, then give the places up.
    pub pattern: Option<OverwritePattern>,
    /// To be told how far it is.
    pub progress: Progress,
    /// To be made durable before anything is erased.
    pub before: SavedParameters,
    /// To be made durable when all is erased and that is stable.
    pub after: SavedParameters,
}

/// What erasing means for other commands.
#[derive(Debug, Default)]
pub(super) enum EraseState {
    #[default]
    Idle,
    Running {
        kind: EraseKind,
        progress: Progress,
        /// The task that waits for it, and whether it waits for its beginning only.
        waiting: Option<(TaskId, bool)>,
    },
    Failed(EraseKind),
}

impl EraseState {
    /// Why commands that need the medium cannot be processed.
    pub(super) fn refusal(&self) -> Option<Sense> {
        Some(match self {
            Self::Idle => return None,
            Self::Running { kind: EraseKind::Format, progress, .. } => {
                Sense::new(SenseKey::NotReady, Asc::FORMAT_IN_PROGRESS).with_progress(progress.get())
            }
            Self::Running { kind: EraseKind::Sanitize { .. }, progress, .. } => {
                Sense::new(SenseKey::NotReady, Asc::SANITIZE_IN_PROGRESS).with_progress(progress.get())
            }
            Self::Failed(EraseKind::Format) => Sense::new(SenseKey::MediumError, Asc::FORMAT_FAILED),
            Self::Failed(EraseKind::Sanitize { .. }) => {
                Sense::new(SenseKey::MediumError, Asc::SANITIZE_FAILED)
            }
        })
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}
