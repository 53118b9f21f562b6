//! Copies the content of one disk to another and leaves out what reads as zero.

use std::io::IoSlice;
use std::ops::{ControlFlow, Range};

use super::{BlockStatus, Disk, DiskError};

/// Bytes read at a time.
const STEP: u64 = 1 << 20;
/// Zeros are left out in pieces of this size: what file systems allocate in.
const PIECE: usize = 4096;

/// How a copy ended without being done.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source could not be read.
    #[error("reading: {0}")]
    Read(#[source] DiskError),
    /// The destination could not be written.
    #[error("writing: {0}")]
    Write(#[source] DiskError),
    /// `progress` said to stop.
    #[error("stopped")]
    Stopped,
}

/// Copies all of `from` to `to`, which is at least as large and reads as zero everywhere. After each step `progress` is told
/// up to which byte all is done, and may stop the copy. Nothing is flushed.
///
/// # Errors
/// [`CopyError`]; `to` then holds a part.
pub fn copy(
    from: &dyn Disk,
    to: &dyn Disk,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(), CopyError> {
    let size = from.geometry().size;
    let mut buf = vec![0; usize::try_from(STEP).unwrap_or(0)];
    let mut at = 0;
    while at < size {
        let (status, len) = from.block_status(at, size - at).map_err(CopyError::Read)?;
        let end = at + len;
        if status == BlockStatus::Deallocated {
            at = end;
        }
        while at < end {
            let step = STEP.min(end - at);
            let part = buf.get_mut(..usize::try_from(step).unwrap_or(0)).unwrap_or_default();
            from.read_at(part, at).map_err(CopyError::Read)?;
            for run in data_runs(part) {
                let offset = at + u64::try_from(run.start).unwrap_or(0);
                let bytes = part.get(run).unwrap_or_default();
                to.write_at(&[IoSlice::new(bytes)], offset).map_err(CopyError::Write)?;
            }
            at += step;
            if progress(at).is_break() {
                return Err(CopyError::Stopped);
            }
        }
        if progress(at).is_break() {
            return Err(CopyError::Stopped);
        }
    }
    Ok(())
}

/// Runs of pieces that are not all zero.
pub(super) fn data_runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let zero =
        |at: usize| bytes.get(at..bytes.len().min(at + PIECE)).is_none_or(|p| p.iter().all(|b| *b == 0));
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && zero(at) {
            at += PIECE;
        }
        let start = at;
        while at < bytes.len() && !zero(at) {
            at += PIECE;
        }
        (start < bytes.len()).then(|| start..at.min(bytes.len()))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::image::raw::open_with_blocks;
    use crate::image::{Access, MemoryFile};

    fn raw(len: u64) -> (Arc<MemoryFile>, Arc<dyn Disk>) {
        let file = Arc::new(MemoryFile::with_len(len));
        let disk = open_with_blocks(Arc::clone(&file) as _, Access::ReadWrite, 512).unwrap();
        (file, disk)
    }

    #[test]
    fn only_what_is_not_zero_is_written() {
        let size = (3 << 20) + 512;
        let ((_, from), (to_file, to)) = (raw(size), raw(size));
        for (at, byte) in [(0, 1), (8192 + 512, 2), ((1 << 20) - 512, 3), (1 << 20, 0), (size - 512, 4)] {
            from.write_at(&[IoSlice::new(&[byte; 512])], at).unwrap();
        }
        let mut last = 0;
        copy(&*from, &*to, &mut |at| {
            assert!(at >= last);
            last = at;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(last, size);
        let read = |disk: &dyn Disk| {
            let mut bytes = vec![1; usize::try_from(size).unwrap()];
            disk.read_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(read(&*from) == read(&*to));
        assert_eq!(to_file.allocated(), 4 * 4096);
    }

    #[test]
    fn a_copy_that_is_stopped_says_so() {
        let ((_, from), (_, to)) = (raw(1 << 20), raw(1 << 20));
        assert!(matches!(copy(&*from, &*to, &mut |_| ControlFlow::Break(())), Err(CopyError::Stopped)));
    }
}
