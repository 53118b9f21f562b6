//! What is done with open disks, whatever their format: merging, compacting, comparing, mapping, digests.
//!
//! Each is built from reads, writes and zeroing of the disks, so a stop at any point leaves images that are sound.

use std::io::IoSlice;
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::copy::CopyError;
use super::{BlockStatus, Disk, DiskError};

/// Bytes read at a time.
const STEP: u64 = 1 << 20;
/// Piece of a digest and of compaction.
const PIECE: usize = 4096;

/// Told after each step up to which byte all is done; may end the work.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// A run of equal status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Whether it takes space.
    pub mapped: bool,
    /// Whether the file itself says so, and not a parent.
    pub own: bool,
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn buffer() -> Vec<u8> {
    vec![0; usize::try_from(STEP).unwrap_or(0)]
}

fn part(buf: &mut [u8], len: u64) -> &mut [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
    buf.get_mut(..len).unwrap_or_default()
}

/// Calls `see` with every run of `disk`, in order; neighbours differ.
///
/// # Errors
/// What the disk reports.
pub fn map(disk: &dyn Disk, mut see: impl FnMut(Extent)) -> Result<(), DiskError> {
    let size = disk.geometry().size;
    let mut run: Option<Extent> = None;
    let mut at = 0;
    while at < size {
        let (status, len) = disk.block_status(at, size - at)?;
        let (own, len) = disk.holds(at, len)?;
        let mapped = status == BlockStatus::Mapped;
        match &mut run {
            Some(run) if run.mapped == mapped && run.own == own => run.length += len,
            _ => run.replace(Extent { offset: at, length: len, mapped, own }).into_iter().for_each(&mut see),
        }
        at += len;
    }
    run.into_iter().for_each(see);
    Ok(())
}

/// Writes to `parent` what `child` says differently, so that it reads as the child does. `child` reads through this very
/// `parent`. A sector that the child leaves to the parent is not touched, so at every moment the child reads as before.
/// Nothing is flushed.
///
/// # Errors
/// [`CopyError`]; then it may be done again.
pub fn merge(child: &dyn Disk, parent: &dyn Disk, progress: Progress<'_>) -> Result<(), CopyError> {
    let size = child.geometry().size.min(parent.geometry().size);
    let mut buf = buffer();
    let mut at = 0;
    while at < size {
        let (own, len) = child.holds(at, size - at).map_err(CopyError::Read)?;
        let end = at + len;
        if !own {
            at = end;
        }
        while at < end {
            let (status, len) = child.block_status(at, end - at).map_err(CopyError::Read)?;
            let len = if status == BlockStatus::Deallocated { len } else { len.min(STEP - at % STEP) };
            let zero = status == BlockStatus::Deallocated || {
                let bytes = part(&mut buf, len);
                child.read_at(bytes, at).map_err(CopyError::Read)?;
                is_zero(bytes)
            };
            if zero {
                parent.write_zeroes(at, len, true).map_err(CopyError::Write)?;
            } else {
                let bytes = part(&mut buf, len);
                parent.write_at(&[IoSlice::new(bytes)], at).map_err(CopyError::Write)?;
            }
            at += len;
            if progress(at).is_break() {
                return Err(CopyError::Stopped);
            }
        }
    }
    Ok(())
}

/// Gives back the space of what is zero in `disk`: whole units to the image, smaller pieces to the host. Nothing is flushed.
///
/// # Errors
/// [`CopyError`]; then it may be done again.
pub fn compact(disk: &dyn Disk, progress: Progress<'_>) -> Result<(), CopyError> {
    let geometry = disk.geometry();
    let unit = u64::from(geometry.allocation_unit).max(PIECE as u64);
    let mut buf = buffer();
    let mut start = 0;
    while start < geometry.size {
        let end = geometry.size.min((start / unit + 1) * unit);
        // Zero pieces of this unit that take space, neighbours joined.
        let mut zero: Vec<(u64, u64)> = Vec::new();
        let mut at = start;
        while at < end {
            let (status, len) = disk.block_status(at, end - at).map_err(CopyError::Read)?;
            let (own, len) = disk.holds(at, len).map_err(CopyError::Read)?;
            let stop = at + len;
            if status == BlockStatus::Deallocated || !own {
                if status == BlockStatus::Deallocated {
                    join(&mut zero, at, len);
                }
                at = stop;
                continue;
            }
            while at < stop {
                let bytes = part(&mut buf, (stop - at).min(STEP));
                disk.read_at(bytes, at).map_err(CopyError::Read)?;
                for piece in bytes.chunks(PIECE) {
                    let len = u64::try_from(piece.len()).unwrap_or(0);
                    if is_zero(piece) {
                        join(&mut zero, at, len);
                    }
                    at += len;
                }
            }
        }
        for (at, len) in zero {
            disk.write_zeroes(at, len, true).map_err(CopyError::Write)?;
        }
        start = end;
        if progress(start).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    Ok(())
}

fn join(runs: &mut Vec<(u64, u64)>, at: u64, len: u64) {
    match runs.last_mut() {
        Some((start, so_far)) if *start + *so_far == at => *so_far += len,
        _ => runs.push((at, len)),
    }
}

/// Where the two disks differ first; what one has past the other's end counts when it is not zero.
///
/// # Errors
/// [`CopyError::Read`], or [`CopyError::Stopped`].
pub fn compare(a: &dyn Disk, b: &dyn Disk, progress: Progress<'_>) -> Result<Option<u64>, CopyError> {
    let size = a.geometry().size.max(b.geometry().size);
    let (mut left, mut right) = (buffer(), buffer());
    let mut at = 0;
    while at < size {
        let status = |disk: &dyn Disk| match disk.geometry().size.checked_sub(at) {
            None | Some(0) => Ok((BlockStatus::Deallocated, size - at)),
            Some(there) => disk.block_status(at, there).map_err(CopyError::Read),
        };
        let ((one, one_len), (other, other_len)) = (status(a)?, status(b)?);
        let mut len = one_len.min(other_len);
        if (one, other) != (BlockStatus::Deallocated, BlockStatus::Deallocated) {
            len = len.min(STEP);
            let fill = |disk: &dyn Disk, status, bytes: &mut [u8]| match status {
                BlockStatus::Mapped => disk.read_at(bytes, at).map_err(CopyError::Read),
                BlockStatus::Deallocated => {
                    bytes.fill(0);
                    Ok(())
                }
            };
            let (left, right) = (part(&mut left, len), part(&mut right, len));
            fill(a, one, left)?;
            fill(b, other, right)?;
            if let Some(first) = left.iter().zip(right.iter()).position(|(a, b)| a != b) {
                return Ok(Some(at + u64::try_from(first).unwrap_or(0)));
            }
        }
        at += len;
        if progress(at).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    Ok(None)
}

/// SHA-256 over, for every piece of 4096 bytes that is not all zero, its offset as eight bytes, the least significant first,
/// and its bytes (the last one filled up with zeros); then the size of the disk in the same form. Holes cost nothing.
///
/// # Errors
/// [`CopyError::Read`], or [`CopyError::Stopped`].
pub fn digest(disk: &dyn Disk, progress: Progress<'_>) -> Result<[u8; 32], CopyError> {
    let size = disk.geometry().size;
    let mut hash = Sha256::new();
    let mut buf = buffer();
    let mut at = 0;
    while at < size {
        let (status, len) = disk.block_status(at, size - at).map_err(CopyError::Read)?;
        // Pieces start at multiples of their size: a hole that ends within one is read with the rest.
        let hole = (at + len) / PIECE as u64 * PIECE as u64;
        if status == BlockStatus::Deallocated && (at + len == size || hole > at) {
            at = if at + len == size { size } else { hole };
        } else {
            let step = STEP.min(size - at).min(len.next_multiple_of(PIECE as u64));
            let bytes = part(&mut buf, step);
            disk.read_at(bytes, at).map_err(CopyError::Read)?;
            for piece in bytes.chunks(PIECE) {
                if !is_zero(piece) {
                    hash.update(at.to_le_bytes());
                    hash.update(piece);
                    hash.update(vec![0; PIECE - piece.len()]);
                }
                at += u64::try_from(piece.len()).unwrap_or(0);
            }
        }
        if progress(at).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    hash.update(size.to_le_bytes());
    Ok(hash.finalize().into())
}

/// Gives up what lies behind `size`, so that the disk can be made that small. `Ok(Some(offset))`: there is data, at `offset`,
/// and nothing was changed. The disk is flushed.
///
/// # Errors
/// [`CopyError`].
pub fn shrinkable(disk: &dyn Disk, size: u64, progress: Progress<'_>) -> Result<Option<u64>, CopyError> {
    let end = disk.geometry().size;
    let mut buf = buffer();
    let mut at = size;
    while at < end {
        let (status, len) = disk.block_status(at, end - at).map_err(CopyError::Read)?;
        let len = if status == BlockStatus::Deallocated { len } else { len.min(STEP) };
        if status == BlockStatus::Mapped {
            let bytes = part(&mut buf, len);
            disk.read_at(bytes, at).map_err(CopyError::Read)?;
            if let Some(first) = bytes.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + u64::try_from(first).unwrap_or(0)));
            }
        }
        at += len;
        if progress(at).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    if size < end {
        disk.write_zeroes(size, end - size, true).map_err(CopyError::Write)?;
    }
    disk.flush().map_err(CopyError::Write)?;
    Ok(None)
}
