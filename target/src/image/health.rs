//! Whether a disk still takes reads and writes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Access, DiskError};

/// The few facts that end a disk's use: opened read-only, poisoned, closed.
#[derive(Debug)]
pub struct Health {
    access: Access,
    poisoned: AtomicBool,
    closed: AtomicBool,
}

impl Health {
    /// A disk that was just opened.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { access, poisoned: AtomicBool::new(false), closed: AtomicBool::new(false) }
    }

    /// Whether the disk may be read.
    ///
    /// # Errors
    /// [`DiskError::Read`] after it was closed.
    pub fn readable(&self) -> Result<(), DiskError> {
        if self.closed.load(Ordering::Acquire) { Err(DiskError::Read(closed())) } else { Ok(()) }
    }

    /// Whether the disk may be changed or flushed.
    ///
    /// # Errors
    /// [`DiskError::Write`] after it was closed, [`DiskError::ReadOnly`], [`DiskError::Poisoned`].
    pub fn writable(&self) -> Result<(), DiskError> {
        if self.closed.load(Ordering::Acquire) {
            Err(DiskError::Write(closed()))
        } else if self.access == Access::ReadOnly {
            Err(DiskError::ReadOnly)
        } else if self.poisoned.load(Ordering::Acquire) {
            Err(DiskError::Poisoned)
        } else {
            Ok(())
        }
    }

    /// What the disk was opened for.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether the disk takes no more writes because one of metadata failed.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// From now on the disk takes no writes: metadata, or what a sync left of it, is in an unknown state.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// From now on the disk takes nothing. Answers whether it was open.
    pub fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }
}

fn closed() -> io::Error {
    io::Error::other("the image is closed")
}
