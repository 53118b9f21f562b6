//! Runs a [`MediaOp`] against a [`Disk`]. Called on a thread that may block.

use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::range_lock::{Held, Use};
use super::unit::Unit;
use crate::device::{AccessState, MediaFailure, MediaOp, MediaReply};
use crate::image::{BlockStatus, Disk, DiskError};
use crate::limits::COPY_CHUNK;
use crate::store::StoreError;

/// Bytes that long operations handle at a time: large enough that the per-call cost vanishes, small enough to stay in a cache.
const CHUNK: usize = 1 << 20;

/// Looks into the image's metadata for one GET LBA STATUS, after which it tells what it has.
const STATUS_LOOKS_MAX: usize = 64 << 10;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MediaError {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the server ends")]
    Stopped,
    #[error(
        "a defect of this program, told above, ended it or one before; the LUN takes no more writes until `serve` is started again"
    )]
    Panicked,
    #[error("this process does not serve the LUN any more")]
    NotServed(AccessState),
}

impl MediaError {
    /// What the device is told.
    pub(super) const fn failure(&self) -> MediaFailure {
        match self {
            Self::Disk(DiskError::Read(_)) => MediaFailure::Read,
            Self::Disk(DiskError::Write(_) | DiskError::Poisoned) | Self::Stopped | Self::Panicked => {
                MediaFailure::Write
            }
            Self::Disk(DiskError::NoSpace) => MediaFailure::NoSpace,
            Self::Disk(DiskError::ReadOnly) => MediaFailure::ReadOnly,
            Self::Disk(DiskError::Corrupt(_)) => MediaFailure::Damaged,
            Self::Store(_) => MediaFailure::Save,
            Self::NotServed(access) => MediaFailure::NotServed(*access),
        }
    }
}

/// Carries out one operation.
///
/// # Errors
/// What the disk, or the store of parameters, reports.
pub(super) fn run(unit: &Unit, op: MediaOp) -> Result<MediaReply, MediaError> {
    // What was changed half is as unsafe to build upon as metadata that could not be written (`DiskError::Poisoned`).
    if unit.defective.load(Ordering::Acquire) && (op.changes_medium() || matches!(op, MediaOp::Flush)) {
        return Err(MediaError::Panicked);
    }
    // A command that is never answered would hold up its nexus, every fence and the end of the server.
    catch_unwind(AssertUnwindSafe(|| attempt(unit, op))).unwrap_or_else(|_| {
        unit.defective.store(true, Ordering::Release);
        Err(MediaError::Panicked)
    })
}

fn attempt(unit: &Unit, op: MediaOp) -> Result<MediaReply, MediaError> {
    // It may have waited for a thread for a long time.
    check_served(unit)?;
    let disk = &*unit.disk;
    let hold = |offset: u64, len: u64, mode: Use| unit.ranges.hold(offset..offset + len, mode);
    let reply = match op {
        MediaOp::Read { offset, len } => read(unit, offset, len)?,
        MediaOp::ReadForCopy { offset, len, granule } => read_for_copy(unit, offset, len, granule.into())?,
        MediaOp::Write { offset, data, force_unit_access } => {
            let held = hold(offset, total(&data), Use::Shared);
            check_served(unit)?;
            write(disk, offset, &data)?;
            stable(disk, held, force_unit_access)?
        }
        MediaOp::WriteAndVerify { offset, data, compare } => {
            let _held = hold(offset, total(&data), Use::Alone);
            check_served(unit)?;
            write(disk, offset, &data)?;
            disk.flush()?;
            let len = total(&data);
            verify(disk, offset, len, compare.then_some(data))?
        }
        MediaOp::CompareAndWrite { offset, expected, write: data, force_unit_access } => {
            let held = hold(offset, total(&data), Use::Alone);
            check_served(unit)?;
            match verify(disk, offset, total(&expected), Some(expected))? {
                MediaReply::Done => {
                    write(disk, offset, &data)?;
                    stable(disk, held, force_unit_access)?
                }
                miscompare => miscompare,
            }
        }
        MediaOp::OrWrite { offset, data, force_unit_access } => {
            let held = hold(offset, total(&data), Use::Alone);
            check_served(unit)?;
            or_write(disk, offset, data)?;
            stable(disk, held, force_unit_access)?
        }
        MediaOp::Verify { offset, len, compare } => verify(disk, offset, len, compare)?,
        MediaOp::WriteSame { offset, len, pattern, unmap } => {
            let _held = hold(offset, len, Use::Shared);
            write_same(disk, offset, len, &pattern, unmap)?
        }
        MediaOp::Unmap { ranges } => {
            for (offset, len) in ranges {
                check_served(unit)?;
                // LBPRZ is one: what was unmapped reads as zero, also where the medium cannot give the space back
                // (SBC-3 §4.7.4.4).
                let _held = hold(offset, len, Use::Shared);
                disk.write_zeroes(offset, len, true)?;
            }
            MediaReply::Done
        }
        MediaOp::Prefetch { offset, len } => verify(disk, offset, len, None)?,
        MediaOp::BlockStatus { offset, len, parts } => block_status(disk, offset, len, parts)?,
        MediaOp::Save(parameters) => {
            unit.parameters.save(&parameters)?;
            MediaReply::Done
        }
        MediaOp::Flush => {
            disk.flush()?;
            MediaReply::Done
        }
    };
    Ok(reply)
}

/// Whether this process still serves the unit.
///
/// # Errors
/// When it does not.
pub(super) fn check_served(unit: &Unit) -> Result<(), MediaError> {
    match unit.keeper.access() {
        AccessState::Active => Ok(()),
        access => Err(MediaError::NotServed(access)),
    }
}

fn total(data: &[Bytes]) -> u64 {
    data.iter().map(|part| part.len() as u64).sum()
}

/// Ends a write. What makes it stable needs its range no more.
fn stable(disk: &dyn Disk, held: Held<'_>, force_unit_access: bool) -> Result<MediaReply, DiskError> {
    drop(held);
    if force_unit_access {
        disk.flush()?;
    }
    Ok(MediaReply::Done)
}

/// A read that the page cache can answer at once; `None` when it would block.
pub(super) fn read_cached(unit: &Unit, offset: u64, len: u32) -> Option<Bytes> {
    let mut data = unit.buffers.take(len as usize);
    // An error here is met again, and reported, by the blocking read that follows.
    matches!(unit.disk.read_cached_at(data.as_mut(), offset), Ok(true)).then(|| data.freeze())
}

fn read(unit: &Unit, offset: u64, len: u32) -> Result<MediaReply, DiskError> {
    let mut data = unit.buffers.take(len as usize);
    unit.disk.read_at(data.as_mut(), offset)?;
    Ok(MediaReply::Data(data.freeze()))
}

fn read_for_copy(unit: &Unit, offset: u64, len: u64, granule: u64) -> Result<MediaReply, DiskError> {
    let disk = &*unit.disk;
    let (status, same) = disk.block_status(offset, len)?;
    let whole = same - same % granule;
    if status == BlockStatus::Deallocated && whole > 0 {
        return Ok(MediaReply::Hole(whole));
    }
    // Up to the next hole; where granules are part hole and part data, one of them.
    let data = same.next_multiple_of(granule).min(len).min(COPY_CHUNK.into());
    read(unit, offset, u32::try_from(data).unwrap_or(COPY_CHUNK))
}

fn write(disk: &dyn Disk, offset: u64, data: &[Bytes]) -> Result<(), DiskError> {
    let slices: Vec<_> = data.iter().map(|part| IoSlice::new(part)).collect();
    disk.write_at(&slices, offset)
}

fn or_write(disk: &dyn Disk, offset: u64, data: Vec<Bytes>) -> Result<(), DiskError> {
    let mut at = offset;
    let mut merged = Vec::new();
    for part in data {
        merged.extend_from_slice(&part);
    }
    for chunk in merged.chunks_mut(CHUNK) {
        let mut there = vec![0; chunk.len()];
        disk.read_at(&mut there, at)?;
        chunk.iter_mut().zip(&there).for_each(|(new, old)| *new |= old);
        at += chunk.len() as u64;
    }
    disk.write_at(&[IoSlice::new(&merged)], offset)
}

/// At most `parts` parts; neighbours of the same status are one part.
fn block_status(disk: &dyn Disk, offset: u64, len: u64, parts: usize) -> Result<MediaReply, DiskError> {
    let mut all: Vec<(u64, bool)> = Vec::new();
    let mut at = 0;
    for _ in 0..STATUS_LOOKS_MAX {
        if at == len {
            break;
        }
        let (status, length) = disk.block_status(offset + at, len - at)?;
        let mapped = status == BlockStatus::Mapped;
        let full = all.len() == parts;
        match all.last_mut() {
            Some((last, same)) if *same == mapped => *last += length,
            _ if full => break,
            _ => all.push((length, mapped)),
        }
        at += length;
    }
    Ok(MediaReply::Status(all))
}

fn verify(
    disk: &dyn Disk,
    offset: u64,
    len: u64,
    compare: Option<Vec<Bytes>>,
) -> Result<MediaReply, DiskError> {
    let expected = compare.map(|parts| parts.concat());
    let mut buffer = vec![0; CHUNK.min(usize::try_from(len).unwrap_or(CHUNK))];
    let mut done = 0;
    while done < len {
        let step = buffer.len().min(usize::try_from(len - done).unwrap_or(CHUNK));
        let chunk = &mut buffer[..step];
        disk.read_at(chunk, offset + done)?;
        if let Some(at) = expected.as_ref().and_then(|expected| first_difference(chunk, expected, done)) {
            return Ok(MediaReply::Miscompare { at: done + at });
        }
        done += step as u64;
    }
    Ok(MediaReply::Done)
}

/// Position of the first byte of `chunk` that differs from `expected`, which repeats; `chunk` begins `start` bytes into it.
fn first_difference(chunk: &[u8], expected: &[u8], start: u64) -> Option<u64> {
    let mut from = usize::try_from(start % expected.len().max(1) as u64).ok()?;
    let mut at = 0;
    while at < chunk.len() && !expected.is_empty() {
        let step = (expected.len() - from).min(chunk.len() - at);
        let (found, wanted) = (&chunk[at..at + step], &expected[from..from + step]);
        if found != wanted {
            let inside = found.iter().zip(wanted).position(|(a, b)| a != b)?;
            return Some((at + inside) as u64);
        }
        at += step;
        from = 0;
    }
    None
}

fn write_same(
    disk: &dyn Disk,
    offset: u64,
    len: u64,
    pattern: &[u8],
    unmap: bool,
) -> Result<MediaReply, DiskError> {
    if pattern.iter().all(|&byte| byte == 0) {
        disk.write_zeroes(offset, len, unmap)?;
        return Ok(MediaReply::Done);
    }
    let repeats = (CHUNK / pattern.len()).max(1);
    let chunk = pattern.repeat(repeats);
    let mut done = 0;
    while done < len {
        let step = chunk.len().min(usize::try_from(len - done).unwrap_or(CHUNK));
        disk.write_at(&[IoSlice::new(&chunk[..step])], offset + done)?;
        done += step as u64;
    }
    Ok(MediaReply::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_shorter_than_the_chunk_repeats() {
        assert_eq!(first_difference(b"abcabc", b"abc", 0), None);
        assert_eq!(first_difference(b"cabca", b"abc", 2), None);
        assert_eq!(first_difference(b"abcabX", b"abc", 0), Some(5));
        assert_eq!(first_difference(b"Xbc", b"abc", 3), Some(0));
    }
}
