//! Giving a differencing disk another parent without changing what it reads as.
//!
//! First the child takes over whatever the new parent says differently: it reads the same through either parent from then on.
//! Only then its locator is changed. So a stop at any point leaves the content as it was.

use std::io::IoSlice;
use std::ops::Range;

use super::copy::CopyError;
use super::tools::Progress;
use super::{BlockStatus, Disk, DiskError};

/// Bytes read at a time.
const STEP: u64 = 1 << 20;
/// Bytes are taken over in pieces of this size.
const PIECE: usize = 4096;

/// Writes to `child`, which is open with its old parent, what it leaves to that parent and what `parent` says differently.
/// Answers how many bytes that were. Nothing is flushed.
///
/// # Errors
/// [`CopyError`]; the child reads as before then.
pub fn take_over(child: &dyn Disk, parent: &dyn Disk, progress: Progress<'_>) -> Result<u64, CopyError> {
    let size = child.geometry().size;
    let mut buffers = (buffer(), buffer());
    let (mut at, mut taken) = (0, 0);
    while at < size {
        let (own, len) = child.holds(at, size - at).map_err(CopyError::Read)?;
        let len = if own {
            len
        } else {
            let (here, len) = child.block_status(at, len).map_err(CopyError::Read)?;
            let (there, len) = status(parent, at, len).map_err(CopyError::Read)?;
            if (here, there) == (BlockStatus::Deallocated, BlockStatus::Deallocated) {
                len
            } else {
                let len = len.min(STEP - at % STEP);
                taken += take_range(child, parent, at..at + len, (&mut buffers.0, &mut buffers.1))?;
                len
            }
        };
        at += len;
        if progress(at).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    Ok(taken)
}

fn buffer() -> Vec<u8> {
    vec![0; usize::try_from(STEP).unwrap_or(0)]
}

/// As [`Disk::block_status`]; what lies past the disk's end is zero.
fn status(disk: &dyn Disk, at: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
    match disk.geometry().size.checked_sub(at) {
        None | Some(0) => Ok((BlockStatus::Deallocated, len)),
        Some(there) => disk.block_status(at, there.min(len)),
    }
}

fn take_range(
    child: &dyn Disk,
    parent: &dyn Disk,
    range: Range<u64>,
    (ours, theirs): (&mut [u8], &mut [u8]),
) -> Result<u64, CopyError> {
    let len = usize::try_from(range.end - range.start).unwrap_or(0);
    let ours = ours.get_mut(..len).unwrap_or_default();
    let theirs = theirs.get_mut(..len).unwrap_or_default();
    child.read_at(ours, range.start).map_err(CopyError::Read)?;
    let there = parent.geometry().size.clamp(range.start, range.end) - range.start;
    let (known, past) = theirs.split_at_mut(usize::try_from(there).unwrap_or(len));
    if !known.is_empty() {
        parent.read_at(known, range.start).map_err(CopyError::Read)?;
    }
    past.fill(0);
    let (mut at, mut taken) = (range.start, 0);
    for (ours, theirs) in ours.chunks(PIECE).zip(theirs.chunks(PIECE)) {
        let len = u64::try_from(ours.len()).unwrap_or(0);
        if ours != theirs {
            // Written, also when they are zeros: zeroing may find that the old parent shows zeros here and do nothing.
            child.write_at(&[IoSlice::new(ours)], at).map_err(CopyError::Write)?;
            taken += len;
        }
        at += len;
    }
    Ok(taken)
}
