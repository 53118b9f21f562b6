//! Ranges of a medium that operations change, so that one that reads before it writes (COMPARE AND WRITE, ORWRITE) is atomic against
//! every other write.
//!
//! Writes share a range among themselves: the disk keeps each logical block whole. Operations that must be alone exclude
//! everything that overlaps. Who comes first goes first, so a stream of writes cannot keep an operation out for ever. Reads take
//! no part.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How an operation uses a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Beside other shared ones.
    Shared,
    /// Alone.
    Alone,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    range: Range<u64>,
    mode: Use,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    /// Those that hold their range and those that wait, in the order in which they came.
    queue: VecDeque<Entry>,
    /// How many of them want to be alone.
    alone: usize,
}

impl Entries {
    /// Whether nothing that came earlier is in the way of `ticket`.
    fn may_go(&self, ticket: u64) -> bool {
        let Some(own) = self.queue.iter().find(|entry| entry.ticket == ticket) else { return true };
        if self.alone == 0 {
            return true;
        }
        let earlier = self.queue.iter().take_while(|entry| entry.ticket != ticket);
        let mut both = earlier.filter(|entry| entry.mode == Use::Alone || own.mode == Use::Alone);
        !both.any(|entry| entry.range.start < own.range.end && own.range.start < entry.range.end)
    }
}

/// The ranges of one medium.
#[derive(Debug, Default)]
pub(super) struct RangeLock {
    entries: Mutex<Entries>,
    changed: Condvar,
}

/// A range that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    lock: &'a RangeLock,
    ticket: u64,
}

impl RangeLock {
    /// Waits for its turn, and takes the range. Blocks.
    pub(super) fn hold(&self, range: Range<u64>, mode: Use) -> Held<'_> {
        let mut entries = self.entries();
        let ticket = entries.next;
        entries.next += 1;
        entries.alone += usize::from(mode == Use::Alone);
        entries.queue.push_back(Entry { ticket, range, mode });
        while !entries.may_go(ticket) {
            entries = self.changed.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
        Held { lock: self, ticket }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut entries = self.lock.entries();
        if let Some(at) = entries.queue.iter().position(|entry| entry.ticket == self.ticket)
            && let Some(entry) = entries.queue.remove(at)
        {
            entries.alone -= usize::from(entry.mode == Use::Alone);
        }
        drop(entries);
        self.lock.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts entries into the queue without waiting, and says which may go.
    fn may_go(entries: &[(Range<u64>, Use)]) -> Vec<bool> {
        let mut all = Entries::default();
        for (ticket, (range, mode)) in (0..).zip(entries) {
            all.alone += usize::from(*mode == Use::Alone);
            all.queue.push_back(Entry { ticket, range: range.clone(), mode: *mode });
        }
        (0..).zip(entries).map(|(ticket, _)| all.may_go(ticket)).collect()
    }

    #[test]
    fn shared_uses_overlap_and_one_alone_excludes_what_overlaps() {
        use Use::{Alone, Shared};
        assert_eq!(may_go(&[(0..8, Shared), (4..12, Shared)]), [true, true]);
        assert_eq!(may_go(&[(0..8, Shared), (4..12, Alone)]), [true, false]);
        assert_eq!(may_go(&[(0..8, Alone), (4..12, Shared), (8..12, Shared)]), [true, false, true]);
        assert_eq!(may_go(&[(0..8, Alone), (8..16, Alone)]), [true, true]);
    }

    #[test]
    fn what_comes_later_does_not_overtake_what_waits() {
        use Use::{Alone, Shared};
        assert_eq!(may_go(&[(0..8, Shared), (0..8, Alone), (0..8, Shared)]), [true, false, false]);
    }

    #[test]
    fn counters_that_are_read_and_written_in_turns_lose_nothing() {
        let (lock, counter) = (RangeLock::default(), Mutex::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _held = lock.hold(0..512, Use::Alone);
                        let seen = *counter.lock().unwrap();
                        std::thread::yield_now();
                        *counter.lock().unwrap() = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*counter.lock().unwrap(), 800);
        assert!(lock.entries().queue.is_empty() && lock.entries().alone == 0);
    }
}
