//! Runs a [`MediaOp`] against a [`Disk`]. Called on a thread that may block.

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};

use crate::device::{MediaOp, MediaReply};
use crate::image::{Disk, DiskError};

/// Bytes that long operations handle at a time: large enough that the per-call cost vanishes, small enough to stay in a cache.
const CHUNK: usize = 1 << 20;

/// Carries out one operation.
///
/// # Errors
/// What the disk reports.
pub(super) fn run(disk: &dyn Disk, op: MediaOp) -> Result<MediaReply, DiskError> {
    match op {
        MediaOp::Read { offset, len } => read(disk, offset, len),
        MediaOp::Write { offset, data, force_unit_access } => write(disk, offset, &data, force_unit_access),
        MediaOp::Verify { offset, len, compare } => verify(disk, offset, len, compare),
        MediaOp::WriteSame { offset, len, pattern, unmap } => write_same(disk, offset, len, &pattern, unmap),
        MediaOp::Unmap { ranges } => unmap(disk, &ranges),
        MediaOp::Flush => disk.flush().map(|()| MediaReply::Done),
    }
}

/// A read that the page cache can answer at once; `None` when it would block.
pub(super) fn read_cached(disk: &dyn Disk, offset: u64, len: u32) -> Option<Bytes> {
    let mut data = BytesMut::zeroed(len as usize);
    // An error here is met again, and reported, by the blocking read that follows.
    matches!(disk.read_cached_at(&mut data, offset), Ok(true)).then(|| data.freeze())
}

fn read(disk: &dyn Disk, offset: u64, len: u32) -> Result<MediaReply, DiskError> {
    let mut data = BytesMut::zeroed(len as usize);
    disk.read_at(&mut data, offset)?;
    Ok(MediaReply::Data(data.freeze()))
}

fn write(
    disk: &dyn Disk,
    offset: u64,
    data: &[Bytes],
    force_unit_access: bool,
) -> Result<MediaReply, DiskError> {
    let slices: Vec<_> = data.iter().map(|part| IoSlice::new(part)).collect();
    disk.write_at(&slices, offset)?;
    if force_unit_access {
        disk.flush()?;
    }
    Ok(MediaReply::Done)
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

/// LBPRZ is one: what was unmapped reads as zero, also where the medium cannot give the space back (SBC-3 §4.7.4.4).
fn unmap(disk: &dyn Disk, ranges: &[(u64, u64)]) -> Result<MediaReply, DiskError> {
    ranges.iter().try_for_each(|&(offset, len)| disk.write_zeroes(offset, len, true))?;
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
