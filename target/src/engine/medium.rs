//! The medium of a unit while it is served: a [`Disk`] that another can take the place of, between two operations.
//!
//! Operations go to the disk that is in; while one is being exchanged they wait, none fails, and each runs on one disk from its
//! beginning to its end. The exchange begins when no operation is left on the old disk, and it alone has it then, so it can close it,
//! change its file and open that again.
//!
//! Not here: which commands may meet the new content (the device), and files (who exchanges).

use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::image::{BlockStatus, Disk, DiskError, Geometry};

/// Why a disk was not exchanged. The old one is in and serves.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError<E> {
    /// Operations did not leave the old disk in time.
    #[error("operations on the medium did not end within {0:?}; it is as it was")]
    Busy(Duration),
    /// There is no disk any more.
    #[error("the medium is closed")]
    Closed,
    /// The work itself failed.
    #[error(transparent)]
    Work(E),
}

/// What the work on an old disk gives: the disk to serve from now on, which may be the old one opened again, and what came of it.
pub type Exchanged<T, E> = (Option<Arc<dyn Disk>>, Result<T, E>);

/// A place for a disk.
#[derive(Debug)]
pub struct Medium {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    disk: Option<Arc<dyn Disk>>,
    /// Shape of the disk that is or was in.
    geometry: Geometry,
    depth: usize,
    /// Operations on the disk.
    users: usize,
    /// Somebody exchanges the disk, or waits to.
    exchanging: bool,
}

/// An operation on the disk that is in.
struct Use<'a> {
    medium: &'a Medium,
    disk: Option<Arc<dyn Disk>>,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        // Gone before the count says so: who exchanges the disk must be the last to have it.
        self.disk = None;
        let mut state = self.medium.lock();
        state.users -= 1;
        if state.users == 0 && state.exchanging {
            self.medium.changed.notify_all();
        }
    }
}

impl Use<'_> {
    fn disk(&self) -> Result<&dyn Disk, DiskError> {
        self.disk.as_deref().ok_or_else(|| DiskError::Read(closed()))
    }
}

fn closed() -> io::Error {
    io::Error::other("the image is closed")
}

impl Medium {
    /// With this disk in it.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        let (geometry, depth) = (disk.geometry(), disk.chain_depth());
        let state = State { disk: Some(disk), geometry, depth, users: 0, exchanging: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Use<'_> {
        let mut state = self.lock();
        while state.exchanging {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.users += 1;
        Use { medium: self, disk: state.disk.clone() }
    }

    fn try_enter(&self) -> Option<Use<'_>> {
        let mut state = self.lock();
        if state.exchanging {
            return None;
        }
        state.users += 1;
        Some(Use { medium: self, disk: state.disk.clone() })
    }

    /// Waits until no operation is on the disk, and hands it to `work`, which answers with the disk to serve from then on. Operations
    /// that come meanwhile wait. Blocks.
    ///
    /// # Errors
    /// [`ExchangeError`]. After [`ExchangeError::Work`] the disk that `work` answered with is in; without one the medium is closed.
    pub fn exchange<T, E>(
        &self,
        patience: Duration,
        work: impl FnOnce(Arc<dyn Disk>) -> Exchanged<T, E>,
    ) -> Result<T, ExchangeError<E>> {
        let old = self.take(patience).map_err(|busy| ExchangeError::Busy(busy.0))?;
        let mut reopens = Reopens(self);
        let Some(old) = old else { return Err(ExchangeError::Closed) };
        let (disk, result) = work(old);
        reopens.put(disk);
        result.map_err(ExchangeError::Work)
    }

    /// Takes the disk out when no operation is on it. From then on operations wait, until [`Reopens`] is dropped.
    fn take(&self, patience: Duration) -> Result<Option<Arc<dyn Disk>>, TooLong> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.exchanging {
            state = self.wait(state, until, patience)?;
        }
        state.exchanging = true;
        while state.users > 0 {
            state = match self.wait(state, until, patience) {
                Ok(state) => state,
                Err(late) => {
                    self.lock().exchanging = false;
                    self.changed.notify_all();
                    return Err(late);
                }
            };
        }
        Ok(state.disk.take())
    }

    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        until: Instant,
        patience: Duration,
    ) -> Result<MutexGuard<'a, State>, TooLong> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TooLong(patience));
        }
        Ok(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }
}

struct TooLong(Duration);

/// Lets operations go on when it is dropped, also when the work panicked.
struct Reopens<'a>(&'a Medium);

impl Reopens<'_> {
    fn put(&mut self, disk: Option<Arc<dyn Disk>>) {
        let mut state = self.0.lock();
        if let Some(disk) = &disk {
            (state.geometry, state.depth) = (disk.geometry(), disk.chain_depth());
        }
        state.disk = disk;
    }
}

impl Drop for Reopens<'_> {
    fn drop(&mut self) {
        self.0.lock().exchanging = false;
        self.0.changed.notify_all();
    }
}

/// How long a close waits for operations on the disk.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

impl Disk for Medium {
    /// The shape of the disk that is in, or was in last. It changes only in an exchange.
    fn geometry(&self) -> Geometry {
        self.lock().geometry
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.enter().disk()?.read_at(buf, offset)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        match self.try_enter() {
            Some(entered) => entered.disk()?.read_cached_at(buf, offset),
            None => Ok(false),
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        self.enter().disk()?.write_at(bufs, offset)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        self.enter().disk()?.write_zeroes(offset, len, may_deallocate)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.enter().disk()?.flush()
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        self.enter().disk()?.block_status(offset, len)
    }

    fn holds(&self, offset: u64, len: u64) -> Result<(bool, u64), DiskError> {
        self.enter().disk()?.holds(offset, len)
    }

    fn chain_depth(&self) -> usize {
        self.lock().depth
    }

    /// Closes the disk and lets go of it, and so of its file and the locks on that.
    fn close(&self) -> Result<(), DiskError> {
        let result = self.exchange(CLOSE_PATIENCE, |disk| (None, disk.close()));
        match result {
            // Closed before.
            Ok(()) | Err(ExchangeError::Closed) => Ok(()),
            Err(ExchangeError::Work(error)) => Err(error),
            Err(error @ ExchangeError::Busy(_)) => {
                Err(DiskError::Write(io::Error::new(io::ErrorKind::TimedOut, error.to_string())))
            }
        }
    }
}

#[cfg(test)]
mod tests;
