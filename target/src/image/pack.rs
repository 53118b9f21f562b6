//! Moving blocks from the end of a file into gaps before them, so that the file can be cut off.
//!
//! A block is copied to its new place, the copy is made durable, and only then the table says where it is: a table entry is
//! written whole or not at all, so after a crash each block is found in one of two places that hold the same. Blocks are moved
//! in batches with two syncs each. Nothing is put where a block of the same batch has been.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};

use super::BlockFile;
use super::error::OpenError;
use super::tools::Progress;
use crate::limits::PACK_BATCH_BYTES;

/// Bytes copied at a time.
const STEP: u64 = 1 << 20;

/// Why the blocks of a file were not moved to the end. What was moved until then is moved.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file is not sound, or cannot be changed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The host failed.
    #[error("moving blocks: {0}")]
    Host(#[from] io::Error),
    /// Progress said to stop.
    #[error("stopped")]
    Stopped,
}

/// A block in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Where it is.
    pub(super) at: u64,
    /// Its length.
    pub(super) len: u64,
    /// What the format knows it by.
    pub(super) id: u64,
}

/// Room between the parts of a file.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Start and end of each.
    free: BTreeMap<u64, u64>,
    /// For a length: before this byte nothing of that length fits any more. Gaps only get smaller.
    searched: BTreeMap<u64, u64>,
}

impl Gaps {
    /// What is not in `taken`, from `start` to the end of the last of these.
    pub(super) fn between(start: u64, mut taken: Vec<Range<u64>>) -> Self {
        taken.sort_by_key(|range| range.start);
        let mut gaps = BTreeMap::new();
        let mut at = start;
        for range in taken {
            if at < range.start {
                gaps.insert(at, range.start);
            }
            at = at.max(range.end);
        }
        Self { free: gaps, searched: BTreeMap::new() }
    }

    /// Takes `len` bytes of the first gap before `limit` in which `align` finds a start for them.
    fn take(&mut self, len: u64, limit: u64, align: impl Fn(u64) -> u64) -> Option<u64> {
        let from = self.searched.get(&len).copied().unwrap_or(0).min(limit);
        let (gap, place) = self.free.range(from..limit).find_map(|(start, end)| {
            let place = align(*start);
            (place.checked_add(len)? <= *end).then_some((*start..*end, place))
        })?;
        self.searched.insert(len, gap.start);
        self.free.remove(&gap.start);
        if gap.start < place {
            self.free.insert(gap.start, place);
        }
        if place + len < gap.end {
            self.free.insert(place + len, gap.end);
        }
        Some(place)
    }
}

/// Moves the last of `items` into `gaps` as long as there is a gap before them, and hands each batch that is durable in its new
/// place to `publish`, which writes the table. `align` answers the first place at or after a byte where a block may start.
///
/// # Errors
/// [`PackError::Host`], [`PackError::Stopped`].
pub(super) fn pack(
    file: &dyn BlockFile,
    mut items: Vec<Item>,
    mut gaps: Gaps,
    align: impl Fn(u64) -> u64,
    publish: impl Fn(&[Item]) -> io::Result<()>,
    progress: Progress<'_>,
) -> Result<(), PackError> {
    items.sort_by_key(|item| item.at);
    let mut buffer = vec![0; usize::try_from(STEP).unwrap_or(0)];
    let mut done = 0;
    loop {
        let (mut moved, mut bytes) = (Vec::new(), 0);
        while bytes < PACK_BATCH_BYTES
            && let Some(item) = items.last().copied()
            && let Some(to) = gaps.take(item.len, item.at, &align)
        {
            items.pop();
            copy(file, item.at..item.at + item.len, to, &mut buffer)?;
            moved.push(Item { at: to, ..item });
            bytes += item.len;
            done += item.len;
            // What is copied and not published is nothing yet.
            if let ControlFlow::Break(()) = progress(done) {
                return Err(PackError::Stopped);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        file.sync_data()?;
        publish(&moved)?;
        file.sync_data()?;
    }
}

/// Copies what of `range` lies in the file and is no hole; the rest of the new place reads as zero.
fn copy(file: &dyn BlockFile, range: Range<u64>, to: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.punch_hole(to..to + (range.end - range.start))?;
    let mut at = range.start;
    while at < range.end {
        let Some(data) = file.next_data(at)?.filter(|data| data.start < range.end) else { return Ok(()) };
        at = data.start.max(at);
        let end = data.end.min(range.end);
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..len).unwrap_or_default();
            file.read_exact_at(part, at)?;
            file.write_all_at(part, to + (at - range.start))?;
            at += u64::try_from(len).unwrap_or(u64::MAX / 2);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    #[test]
    fn the_last_blocks_go_into_the_first_gaps_that_fit() {
        let file = MemoryFile::with_len(100);
        for (at, byte) in [(30, 1), (60, 2), (80, 3)] {
            file.write_all_at(&[byte; 10], at).unwrap();
        }
        file.write_all_at(&[9; 20], 10).unwrap();
        let items = [30, 60, 80].map(|at| Item { at, len: 10, id: at }).to_vec();
        let gaps = Gaps::between(8, items.iter().map(|i| i.at..i.at + i.len).collect());
        let published = std::sync::Mutex::new(Vec::new());
        let publish = |moved: &[Item]| {
            published.lock().unwrap().extend(moved.iter().map(|item| (item.id, item.at)));
            Ok(())
        };
        let align = |at: u64| at.next_multiple_of(10);
        pack(&file, items, gaps, align, publish, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(*published.lock().unwrap(), [(80, 10), (60, 20)]);
        let mut bytes = [0; 30];
        file.read_exact_at(&mut bytes, 10).unwrap();
        assert_eq!((bytes[0], bytes[9], bytes[10], bytes[20]), (3, 3, 2, 1));
    }

    #[test]
    fn what_is_already_packed_stays() {
        let items = vec![Item { at: 0, len: 10, id: 0 }, Item { at: 10, len: 10, id: 1 }];
        let gaps = Gaps::between(0, vec![0..10, 10..20]);
        let file = MemoryFile::with_len(20);
        pack(&file, items, gaps, |at| at, |_| panic!("moved"), &mut |_| ControlFlow::Continue(())).unwrap();
    }
}
