//! Replay of the log: bringing in place what a crash left in the ring (MS-VHDX 2.3.2).
//!
//! The *active sequence* is the run of entries with consecutive numbers that ends highest and holds the entry that its last
//! entry names as the tail. It is applied from the tail on: what is before is in place already, and the pages it speaks of
//! may have become something else since.
//!
//! Everything is checked before anything is changed, memory does not grow with the log, and work is bounded: a forged ring
//! in which every sector claims to start a long entry is given up.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::log_entry::{Change, EntryHeader, Ring, SECTOR, SECTOR_LEN, is_forbidden};
use super::overlay::Overlay;
use crate::image::{BlockFile, Format, OpenError};
use crate::limits::{MAX_VHDX_FILE_LEN, MAX_VHDX_LOG_LEN, MAX_VHDX_OVERLAY_PAGES};

/// Checksums are computed over at most this many times the bytes of the ring. Honest rings need little more than once.
const WORK_FACTOR: u64 = 16;

/// The part of the log that is to be applied.
#[derive(Debug)]
pub(super) struct Replay {
    ring: Ring,
    /// From the tail to the newest, with their places in the ring.
    entries: Vec<(u32, EntryHeader)>,
    /// The file must have at least this length afterwards.
    last_length: u64,
}

impl Replay {
    /// Finds and checks what is to be replayed of the log `log` in `ring`, which lies within `file`.
    pub(super) fn find(file: &dyn BlockFile, ring: Ring, log: Uuid) -> Result<Self, OpenError> {
        if u64::from(ring.len) > MAX_VHDX_LOG_LEN {
            return Err(OpenError::unsupported(
                Format::Vhdx,
                "log",
                format!(
                    "it has changes to replay and is {} bytes long; at most {MAX_VHDX_LOG_LEN} are replayed",
                    ring.len
                ),
            ));
        }
        let mut search = Search { file, ring, log, budget: WORK_FACTOR * u64::from(ring.len) };
        let Some(mut entries) = search.active_sequence()? else {
            return Err(damaged(format!(
                "the header says that log {log} has to be replayed, but the ring holds no valid sequence of it"
            ))
            .advise("the file was damaged or copied while in use; restore it from a copy"));
        };
        let Some((_, last)) = entries.last().copied() else {
            return Err(damaged("the active sequence is empty".to_owned()));
        };
        let file_len = file.len().map_err(failed)?;
        if file_len < last.flushed_length {
            return Err(damaged(format!(
                "the file is {file_len} bytes long, but the log tells that it had {} bytes on stable storage",
                last.flushed_length
            ))
            .advise("the file was cut off; restore it from a copy"));
        }
        if last.last_length > MAX_VHDX_FILE_LEN {
            return Err(damaged(format!("it asks for a file of {} bytes", last.last_length)));
        }
        if let Some(tail) = entries.iter().position(|(pos, _)| *pos == last.tail) {
            entries.drain(..tail);
        }
        let replay = Self { ring, entries, last_length: last.last_length };
        replay.check(file, file_len)?;
        Ok(replay)
    }

    fn check(&self, file: &dyn BlockFile, file_len: u64) -> Result<(), OpenError> {
        let end = self.last_length.max(file_len);
        for (pos, entry) in &self.entries {
            let mut wrong = None;
            let visited = entry.visit(file, self.ring, *pos, |change| {
                let range = change.range();
                if is_forbidden(&range, self.ring) || range.end > end {
                    wrong = Some(range);
                }
                Ok(())
            });
            let broken = visited.map_err(failed)?.err().or_else(|| {
                wrong.map(|r| {
                    format!(
                        "it changes bytes {} to {}, which lie in the headers, in the log or past the end",
                        r.start, r.end
                    )
                })
            });
            if let Some(broken) = broken {
                return Err(damaged(format!("entry {} at {pos}: {broken}", entry.sequence)));
            }
        }
        Ok(())
    }

    fn visit(
        &self,
        file: &dyn BlockFile,
        mut change: impl FnMut(Change<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        for (pos, entry) in &self.entries {
            entry.visit(file, self.ring, *pos, &mut change)?.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Number of entries that are applied.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Applies the log in place and makes that durable. Stopping anywhere and starting anew gives the same file.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn apply(&self, file: &dyn BlockFile) -> io::Result<()> {
        if file.len()? < self.last_length {
            file.set_len(self.last_length)?;
        }
        self.visit(file, |change| match change {
            Change::Page(offset, bytes) => file.write_all_at(bytes, offset),
            Change::Zero(range) if range.is_empty() => Ok(()),
            Change::Zero(range) => file.zero_range(range),
        })?;
        file.sync_data()
    }

    /// The file as it will be after the replay, without changing it.
    ///
    /// # Errors
    /// What the host reports; `OutOfMemory` when the log changes more pages than are held in memory.
    pub(super) fn overlay(&self, file: &Arc<dyn BlockFile>) -> io::Result<Overlay> {
        let mut overlay = Overlay::new(Arc::clone(file), self.last_length, MAX_VHDX_OVERLAY_PAGES)?;
        self.visit(file.as_ref(), |change| overlay.add(&change))?;
        Ok(overlay)
    }
}

struct Search<'a> {
    file: &'a dyn BlockFile,
    ring: Ring,
    log: Uuid,
    /// Bytes that may still be summed.
    budget: u64,
}

type Run = Vec<(u32, EntryHeader)>;

impl Search<'_> {
    fn active_sequence(&mut self) -> Result<Option<Run>, OpenError> {
        let mut best: Option<Run> = None;
        let mut pos = 0;
        while pos < self.ring.len {
            let run = self.run_from(pos)?;
            let Some((_, last)) = run.last().copied() else {
                pos += SECTOR;
                continue;
            };
            // Every later start within this run leads to the same last entry, so the run is passed as a whole.
            let length: u64 = run.iter().map(|(_, entry)| u64::from(entry.length)).sum();
            let next = u32::try_from(u64::from(pos) + length).unwrap_or(u32::MAX);
            let holds_tail = run.iter().any(|(at, _)| *at == last.tail);
            let newest = best.as_ref().and_then(|run| run.last()).map_or(0, |(_, entry)| entry.sequence);
            if holds_tail && last.sequence > newest {
                best = Some(run);
            }
            pos = next;
        }
        Ok(best)
    }

    /// The longest run of entries with consecutive numbers from `pos` on, round the ring at most once.
    fn run_from(&mut self, pos: u32) -> Result<Run, OpenError> {
        let (mut run, mut at, mut length) = (Run::new(), pos, 0_u64);
        while let Some(entry) = self.entry_at(at)? {
            length += u64::from(entry.length);
            let follows =
                run.last().is_none_or(|(_, last)| last.sequence.checked_add(1) == Some(entry.sequence));
            if !follows || length > u64::from(self.ring.len) {
                break;
            }
            run.push((at, entry));
            at = self.ring.advance(at, entry.length);
        }
        Ok(run)
    }

    fn entry_at(&mut self, pos: u32) -> Result<Option<EntryHeader>, OpenError> {
        let mut sector = [0; SECTOR_LEN];
        self.ring.read(self.file, pos, &mut sector).map_err(failed)?;
        let Some(entry) = EntryHeader::decode(&sector, self.ring, self.log) else {
            return Ok(None);
        };
        self.budget = self.budget.checked_sub(entry.length.into()).ok_or_else(|| {
            damaged("its entries overlap so often that it cannot be an honest log".to_owned())
        })?;
        Ok(entry.is_whole(self.file, self.ring, pos).map_err(failed)?.then_some(entry))
    }
}

fn damaged(detail: String) -> OpenError {
    OpenError::damaged(Format::Vhdx, "log", detail)
}

fn failed(error: io::Error) -> OpenError {
    OpenError::io(Format::Vhdx, "log", error)
}
