//! Many flushes at the same time, few syncs: each caller needs a sync that *starts* after its call, so a running one helps
//! nobody who came later, but all who wait while it runs share the next one.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::DiskError;

/// Joins flushes that wait at the same time. At most one sync runs at any time.
#[derive(Debug, Default)]
pub struct FlushGate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// The round that the next sync serves; made by the first caller that needs it.
    next: Option<Arc<Round>>,
}

#[derive(Debug, Default)]
struct Round {
    outcome: OnceLock<Outcome>,
}

/// What those who waited for another caller's sync are told; `io::Error` cannot be cloned.
#[derive(Debug)]
enum Outcome {
    Done,
    NoSpace,
    ReadOnly,
    Failed(io::ErrorKind, String),
    Poisoned,
}

impl Outcome {
    fn of(result: &Result<(), DiskError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(DiskError::NoSpace) => Self::NoSpace,
            Err(DiskError::ReadOnly) => Self::ReadOnly,
            Err(DiskError::Read(e) | DiskError::Write(e)) => Self::Failed(e.kind(), e.to_string()),
            Err(DiskError::Poisoned | DiskError::Corrupt(_)) => Self::Poisoned,
        }
    }

    fn to_result(&self) -> Result<(), DiskError> {
        match self {
            Self::Done => Ok(()),
            Self::NoSpace => Err(DiskError::NoSpace),
            Self::ReadOnly => Err(DiskError::ReadOnly),
            Self::Failed(kind, text) => Err(DiskError::Write(io::Error::new(*kind, text.clone()))),
            Self::Poisoned => Err(DiskError::Poisoned),
        }
    }
}

/// Ends a round even when `sync` panics, so that nobody waits for ever.
struct Running<'a> {
    gate: &'a FlushGate,
    round: Arc<Round>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.round.outcome.set(Outcome::Poisoned);
        self.gate.lock().running = false;
        self.gate.changed.notify_all();
    }
}

impl FlushGate {
    /// Returns when a `sync` that started after this call has ended: this caller's, or another's.
    ///
    /// # Errors
    /// What that `sync` returned.
    pub fn flush(&self, sync: impl FnOnce() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let mut state = self.lock();
        let round = Arc::clone(state.next.get_or_insert_default());
        loop {
            if let Some(outcome) = round.outcome.get() {
                return outcome.to_result();
            }
            if !state.running {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        state.next = None;
        drop(state);
        let running = Running { gate: self, round };
        let result = sync();
        let _ = running.round.outcome.set(Outcome::of(&result));
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn flushes_that_wait_during_a_sync_share_the_next_one() {
        let gate = FlushGate::default();
        let syncs = AtomicU32::new(0);
        let (entered_tx, entered_rx) = mpsc::channel();
        let (go_tx, go_rx) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (gate, syncs) = (&gate, &syncs);
            scope.spawn(move || {
                gate.flush(|| {
                    entered_tx.send(()).unwrap();
                    go_rx.recv().unwrap();
                    syncs.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
            });
            entered_rx.recv().unwrap();
            for _ in 0..8 {
                scope.spawn(move || {
                    gate.flush(|| {
                        syncs.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                    .unwrap();
                });
            }
            // All eight hold the round of the next sync, beside the gate and this look.
            while gate.lock().next.as_ref().map_or(0, Arc::strong_count) < 9 {
                thread::yield_now();
            }
            assert_eq!(
                syncs.load(Ordering::SeqCst),
                0,
                "a flush must not return on a sync that began before it"
            );
            go_tx.send(()).unwrap();
        });
        assert_eq!(syncs.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn those_who_share_a_failed_sync_all_see_the_failure() {
        let gate = FlushGate::default();
        let barrier = Barrier::new(4);
        let failures = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    if matches!(gate.flush(|| Err(DiskError::NoSpace)), Err(DiskError::NoSpace)) {
                        failures.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(failures.load(Ordering::SeqCst), 4);
        gate.flush(|| Ok(())).unwrap();
    }
}
