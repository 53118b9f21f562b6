//! SIGINT and SIGTERM, and when two of them are one.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that follows another one within this time is the same one: timeout(1), for example, signals the process and then its
/// group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// The signals that end `serve`.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    repetition: Repetition,
}

impl Signals {
    /// From now on the signals come here and do not end the process.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            repetition: Repetition::default(),
        })
    }

    /// Returns with the next of the two that does not repeat the last.
    pub(super) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if self.repetition.is_new(Instant::now()) {
                return;
            }
        }
    }
}

/// When the last signal came.
#[derive(Debug, Default)]
struct Repetition(Option<Instant>);

impl Repetition {
    /// Whether a signal at `now` is another one than the last.
    fn is_new(&mut self, now: Instant) -> bool {
        self.0.replace(now).is_none_or(|last| now.saturating_duration_since(last) >= SAME_SIGNAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_close_together_are_one() {
        let start = Instant::now();
        let mut repetition = Repetition::default();
        let news: Vec<_> =
            [0, 1, 400, 900, 1399].map(|at| repetition.is_new(start + Duration::from_millis(at))).into();
        assert_eq!(news, [true, false, false, true, false]);
    }
}
