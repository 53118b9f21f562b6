//! Writing the log: the ring's head and tail.
//!
//! An entry goes through four stages: written, durable (synced), in place (its pages were written where they belong) and
//! settled (that was synced too). Its room may be used again once an entry that is *durable* names a later tail: replay
//! starts from the tail of the newest entry that survives, so what that names must still be there. It is not enough that
//! the pages have settled.
//!
//! One sector is always kept free, so that an entry without pages, which only moves the tail, can be written to a full ring.

use std::collections::VecDeque;
use std::io;

use uuid::Uuid;

use super::log_entry::{self, EntryHeader, PageImage, Ring, SECTOR, length_for};
use crate::image::BlockFile;

/// Entries carry at most this many pages, however long the log.
const PAGES_MAX: u32 = 1024;

/// The writing end of a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    ring: Ring,
    log: Uuid,
    /// Number of the next entry.
    sequence: u64,
    /// Where the next entry goes.
    head: u32,
    /// Bytes from the tail that the newest durable entry names to the head.
    used: u32,
    /// Entries that have not settled, the oldest first.
    live: VecDeque<Live>,
    /// Entries whose tail is not durable yet: room that becomes free with it.
    unsynced: VecDeque<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    pos: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Written,
    Durable,
    InPlace,
}

impl LogWriter {
    /// An empty log named `log` in `ring`, whose first entry has the number `sequence`.
    pub(super) fn new(ring: Ring, log: Uuid, sequence: u64) -> Self {
        let (live, unsynced) = (VecDeque::new(), VecDeque::new());
        Self { ring, log, sequence, head: 0, used: 0, live, unsynced }
    }

    /// The most pages an entry may carry: a quarter of the ring, so that several entries fit.
    pub(super) fn pages_max(&self) -> usize {
        let sectors = self.ring.len / SECTOR / 4;
        let pages = (1..=PAGES_MAX).rev().find(|pages| length_for(*pages) / SECTOR <= sectors);
        usize::try_from(pages.unwrap_or(1)).unwrap_or(1)
    }

    /// Whether an entry with `pages` pages can be written now.
    pub(super) fn has_room(&self, pages: usize) -> bool {
        let length = u32::try_from(pages).map_or(u32::MAX, length_for);
        u64::from(self.used) + u64::from(length) + u64::from(SECTOR) <= u64::from(self.ring.len)
    }

    /// Writes an entry with `pages`; the caller has made sure of the room. `flushed_length` is a length of the file that is
    /// durable, `last_length` one that has room for everything allocated.
    ///
    /// # Errors
    /// What the host reports; then the log is as before and the entry may be tried again.
    pub(super) fn append<'a>(
        &mut self,
        file: &dyn BlockFile,
        pages: impl ExactSizeIterator<Item = &'a PageImage>,
        flushed_length: u64,
        last_length: u64,
    ) -> io::Result<()> {
        let tail = self.live.front().map_or(self.head, |entry| entry.pos);
        let header = EntryHeader {
            length: 0,
            tail,
            sequence: self.sequence,
            descriptors: 0,
            log: self.log,
            flushed_length,
            last_length,
        };
        let bytes = log_entry::encode(header, pages);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let sequence =
            self.sequence.checked_add(1).ok_or_else(|| io::Error::other("the log's numbers are used up"))?;
        self.ring.write(file, self.head, &bytes)?;
        self.live.push_back(Live { pos: self.head, stage: Stage::Written });
        self.unsynced.push_back(tail);
        self.head = self.ring.advance(self.head, length);
        self.used = self.used.saturating_add(length);
        self.sequence = sequence;
        Ok(())
    }

    /// Tells that a sync of the file has returned that started after the last call of any method here.
    pub(super) fn synced(&mut self) {
        while self.live.front().is_some_and(|entry| entry.stage == Stage::InPlace) {
            self.live.pop_front();
        }
        for entry in &mut self.live {
            if entry.stage == Stage::Written {
                entry.stage = Stage::Durable;
            }
        }
        if let Some(tail) = self.unsynced.drain(..).next_back() {
            self.used = if self.head > tail { self.head - tail } else { self.ring.len - tail + self.head };
        }
    }

    /// Tells that the pages of every durable entry were written in place.
    pub(super) fn in_place(&mut self) {
        for entry in &mut self.live {
            if entry.stage == Stage::Durable {
                entry.stage = Stage::InPlace;
            }
        }
    }
}
