//! How large an image will be, before it is made.

use super::copy::{CopyError, data_runs};
use super::tools::Progress;
use super::{BlockStatus, Disk};

/// Bytes read at a time.
const STEP: u64 = 1 << 20;

/// The length of a file of some format and kind, as a function of the blocks that have space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSize {
    /// Bytes of the disk in one block; not zero.
    pub block_size: u64,
    /// Bytes of a file without blocks. A kind that gives space to all from the start has it here.
    pub empty: u64,
    /// Bytes of a file with one block.
    pub first: u64,
    /// Bytes that each further block adds.
    pub each: u64,
}

impl FileSize {
    /// Of a file that always has the same length, for a disk of which `block_size` bytes are looked at together.
    #[must_use]
    pub fn constant(block_size: u64, len: u64) -> Self {
        Self { block_size, empty: len, first: len, each: 0 }
    }

    /// Bytes of a file with `blocks` blocks.
    #[must_use]
    pub fn len(&self, blocks: u64) -> u64 {
        match blocks.checked_sub(1) {
            None => self.empty,
            Some(more) => self.first.saturating_add(self.each.saturating_mul(more)),
        }
    }
}

/// What of a disk is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Blocks with a byte that is not zero.
    pub blocks: u64,
    /// Bytes in pieces of 4096 that are not all zero.
    pub data: u64,
}

/// Counts what a copy of `disk` would write to an image of blocks of `block_size` bytes.
///
/// # Errors
/// [`CopyError::Read`], or [`CopyError::Stopped`].
pub fn content(disk: &dyn Disk, block_size: u64, progress: Progress<'_>) -> Result<Content, CopyError> {
    let size = disk.geometry().size;
    let mut buf = vec![0; usize::try_from(STEP).unwrap_or(0)];
    let mut content = Content::default();
    // The first block that was not counted yet.
    let mut next_block = 0;
    let mut at = 0;
    while at < size {
        let (status, mut len) = disk.block_status(at, size - at).map_err(CopyError::Read)?;
        if status == BlockStatus::Mapped {
            len = len.min(STEP - at % STEP);
            let part = buf.get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
            disk.read_at(part, at).map_err(CopyError::Read)?;
            for run in data_runs(part) {
                let (start, end) = (at + to_u64(run.start), at + to_u64(run.end));
                content.data += end - start;
                let (first, last) = ((start / block_size).max(next_block), (end - 1) / block_size);
                content.blocks += (last + 1).saturating_sub(first);
                next_block = next_block.max(last + 1);
            }
        }
        at += len;
        if progress(at).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    Ok(content)
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
