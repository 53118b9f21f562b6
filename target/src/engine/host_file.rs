//! A file or block device of the host as a [`BlockFile`].
//!
//! What a file system cannot do (punch holes, zero ranges, read without waiting) is found out by trying, remembered per
//! file, and done the next best way. An error that means "no space left" keeps its kind, so that the disk can tell it
//! from a broken medium.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev};

use super::{host_lock, lock_holder};
use crate::image::{Access, BlockFile, FileKey};

/// Buffers that the kernel takes in one call (`UIO_MAXIOV`).
const MAX_BUFFERS: usize = 1024;

/// Zeros are written in pieces of this size where the host can neither punch nor zero.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Why a file of the host could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    /// The host refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A lock on the file is held.
    #[error("{} is in use: {} has it open{}", path.display(), holder.as_deref().unwrap_or("another process"), match access {
        Access::ReadOnly => " for writing; stop that one first",
        Access::ReadWrite => "; stop that one first, or open the image read-only in both",
    })]
    InUse {
        /// The file.
        path: PathBuf,
        /// What it was to be opened for.
        access: Access,
        /// Who has it, where the host tells.
        holder: Option<String>,
    },
    /// A directory, a pipe or the like.
    #[error("{} is neither a file nor a block device", path.display())]
    NotABlockFile {
        /// The path.
        path: PathBuf,
    },
}

/// An open, locked file or block device.
#[derive(Debug)]
pub struct HostFile {
    file: File,
    path: PathBuf,
    /// Length, when it cannot change: a block device.
    device_len: Option<u64>,
    cannot_read_without_waiting: AtomicBool,
    cannot_punch: AtomicBool,
    cannot_zero: AtomicBool,
}

impl HostFile {
    /// Opens and locks an existing file. Several may read it at the same time, or one write.
    ///
    /// # Errors
    /// [`HostFileError`], which names the file.
    pub fn open(path: &Path, access: Access) -> Result<Self, HostFileError> {
        let io = |source| HostFileError::Io { path: path.to_owned(), source };
        // Asked before opening: opening a pipe would wait for its other end.
        let kind = fs::metadata(path).map_err(io)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(HostFileError::NotABlockFile { path: path.to_owned() });
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        if kind.is_block_device() && access == Access::ReadWrite {
            // Without O_CREAT this asks the kernel for a device that nothing else uses, a mount for example (open(2)).
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let file = options.open(path).map_err(io)?;
        Self::locked(file, path, access)
    }

    /// Makes a new, empty file and locks it for writing. It must not exist.
    ///
    /// # Errors
    /// [`HostFileError`], which names the file.
    pub fn create_new(path: &Path) -> Result<Self, HostFileError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| HostFileError::Io { path: path.to_owned(), source })?;
        Self::locked(file, path, Access::ReadWrite)
    }

    /// Takes over an open file, such as a temporary one, and locks it.
    ///
    /// # Errors
    /// [`HostFileError`], which calls the file `path`.
    pub fn locked(mut file: File, path: &Path, access: Access) -> Result<Self, HostFileError> {
        let io = |source| HostFileError::Io { path: path.to_owned(), source };
        if !host_lock::take(&file, access).map_err(|e| io(e.into()))? {
            let holder = lock_holder::name(&file);
            return Err(HostFileError::InUse { path: path.to_owned(), access, holder });
        }
        let kind = file.metadata().map_err(io)?.file_type();
        let device_len = if kind.is_file() { None } else { Some(file.seek(SeekFrom::End(0)).map_err(io)?) };
        Ok(Self {
            file,
            path: path.to_owned(),
            device_len,
            cannot_read_without_waiting: AtomicBool::new(false),
            cannot_punch: AtomicBool::new(false),
            cannot_zero: AtomicBool::new(false),
        })
    }

    /// The name it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is, whatever its names.
    ///
    /// # Errors
    /// What the host reports.
    pub fn key(&self) -> io::Result<FileKey> {
        self.file.metadata().map(|m| FileKey { device: m.dev(), inode: m.ino() })
    }

    /// Lets others read the file beside us from now on: it is written no more.
    ///
    /// # Errors
    /// What the host reports.
    pub fn share(&self) -> io::Result<()> {
        self.relock(Access::ReadOnly)
    }

    /// Takes the file back from those who might read it, to write it again.
    ///
    /// # Errors
    /// What the host reports; `ResourceBusy` when somebody else has it open.
    pub fn own(&self) -> io::Result<()> {
        self.relock(Access::ReadWrite)
    }

    fn relock(&self, access: Access) -> io::Result<()> {
        if host_lock::take(&self.file, access)? { Ok(()) } else { Err(io::ErrorKind::ResourceBusy.into()) }
    }

    /// Makes the name of a new or renamed file durable: syncs the folder it is in.
    ///
    /// # Errors
    /// What the host reports.
    pub fn sync_folder_of(path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    /// Tries `flags` unless the host is known not to have it. `Ok(false)`: it has not.
    fn allocate(&self, unable: &AtomicBool, flags: FallocateFlags, range: &Range<u64>) -> io::Result<bool> {
        if unable.load(Ordering::Relaxed) {
            return Ok(false);
        }
        loop {
            match fallocate(&self.file, flags, range.start, range.end.saturating_sub(range.start)) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => {
                    unable.store(true, Ordering::Relaxed);
                    return Ok(false);
                }
                // A device whose blocks are larger than the range's alignment: only this range cannot.
                Err(Errno::INVAL) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let step = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(ZEROS.len());
            self.file.write_all_at(ZEROS.get(..step).unwrap_or_default(), at)?;
            at += u64::try_from(step).unwrap_or(range.end);
        }
        Ok(())
    }

    fn zero(
        &self,
        range: Range<u64>,
        first: (&AtomicBool, FallocateFlags),
        second: (&AtomicBool, FallocateFlags),
    ) -> io::Result<()> {
        if range.is_empty()
            || self.allocate(first.0, first.1, &range)?
            || self.allocate(second.0, second.1, &range)?
        {
            return Ok(());
        }
        self.write_zeros(range)
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        host_lock::release(&self.file);
    }
}

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);

impl BlockFile for HostFile {
    fn len(&self) -> io::Result<u64> {
        match self.device_len {
            Some(len) => Ok(len),
            None => self.file.metadata().map(|m| m.len()),
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        if self.cannot_read_without_waiting.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let len = buf.len();
        match preadv2(&self.file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT) {
            // Short: the rest is not in the cache, or past the end, which the blocking read will tell.
            Ok(n) => Ok(n == len),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.cannot_read_without_waiting.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for bufs in bufs.chunks(MAX_BUFFERS) {
            let mut rest: Vec<IoSlice<'_>> = bufs.to_vec();
            let mut rest = rest.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match pwritev(&self.file, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        IoSlice::advance_slices(&mut rest, n);
                        offset = offset.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
                    }
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }

    fn host_file(&self) -> io::Result<Option<File>> {
        self.file.try_clone().map(Some)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.device_len {
            None => self.file.set_len(len),
            Some(fixed) if fixed == len => Ok(()),
            Some(fixed) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("a block device of {fixed} bytes cannot be made {len} bytes long"),
            )),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        loop {
            match fdatasync(&self.file) {
                Err(Errno::INTR) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }

    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        self.zero(range, (&self.cannot_zero, ZERO), (&self.cannot_punch, PUNCH))
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        self.zero(range, (&self.cannot_punch, PUNCH), (&self.cannot_zero, ZERO))
    }

    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        if self.device_len.is_some() || range.is_empty() {
            return Ok(());
        }
        // Where the host cannot reserve, writes find out about a full disk as without it.
        self.allocate(&AtomicBool::new(false), FallocateFlags::KEEP_SIZE, &range).map(|_| ())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        if offset >= len {
            return Ok(None);
        }
        let seek = |from| rustix::fs::seek(&self.file, from);
        let start = match seek(rustix::fs::SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(offset..len)),
            Err(e) => return Err(e.into()),
        };
        let end = match seek(rustix::fs::SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => len,
            Err(e) => return Err(e.into()),
        };
        // Another thread may punch between the two questions; then the answer only has to be usable.
        Ok(Some(start..end.max(start.saturating_add(1)).min(len)).filter(|r| !r.is_empty()))
    }
}

#[cfg(test)]
mod tests;
