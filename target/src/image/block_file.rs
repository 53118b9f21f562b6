//! The seam to the host's files. The engine implements it over a real file, tests over memory that can lose what was not
//! synced.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;

/// A file of the host, addressed by offset. All methods take `&self` and may run at the same time.
///
/// Bytes that were never written, or lie in a hole, read as zero. Nothing is durable before [`BlockFile::sync_data`]
/// returned: after a power cut each write since then may be there, absent or torn at sector boundaries, in any order.
pub trait BlockFile: Send + Sync + fmt::Debug {
    /// Length in bytes.
    ///
    /// # Errors
    /// What the host reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes at all.
    ///
    /// # Errors
    /// As [`BlockFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end of the file, otherwise what the host reports.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Like [`BlockFile::read_exact_at`], but only when that cannot block (page cache). `Ok(false)` means "not without
    /// blocking": `buf` is then unspecified.
    ///
    /// # Errors
    /// As [`BlockFile::read_exact_at`].
    fn read_cached_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Writes all of `bufs`, one after another, at `offset`, growing the file where needed.
    ///
    /// # Errors
    /// What the host reports; then any part may have been written.
    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// As [`BlockFile::write_all_vectored_at`].
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_vectored_at(&[IoSlice::new(buf)], offset)
    }

    /// A handle of the host's file, for a library that reads it by itself. `Ok(None)`: it is no file of the host.
    ///
    /// # Errors
    /// What the host reports.
    fn host_file(&self) -> io::Result<Option<File>> {
        Ok(None)
    }

    /// Makes the file `len` bytes long; new bytes read as zero.
    ///
    /// # Errors
    /// What the host reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when everything written before the call is on stable storage, the file's length included.
    ///
    /// # Errors
    /// What the host reports. After an error nothing is known about what was written since the last success.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes a range read as zero and keeps its space where the host can. The range lies within the file.
    ///
    /// # Errors
    /// What the host reports.
    fn zero_range(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes a range read as zero and gives its space back where the host can. The range lies within the file.
    ///
    /// # Errors
    /// What the host reports.
    fn punch_hole(&self, range: Range<u64>) -> io::Result<()>;

    /// Reserves space for a range without changing what it reads as, where the host can.
    ///
    /// # Errors
    /// What the host reports, such as a full disk.
    fn reserve(&self, range: Range<u64>) -> io::Result<()>;

    /// The next range at or after `offset` that may hold data; `None` when only holes follow. A host that cannot tell
    /// answers with everything up to the end.
    ///
    /// # Errors
    /// What the host reports.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;
}
