//! The seam to the medium: a virtual disk, addressed by byte.

use std::fmt;
use std::io::{self, IoSlice};

/// Shape of a virtual disk. It does not change while the disk is open, unless that says otherwise (`engine::Medium`, which gives way to
/// another disk).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size in bytes, a multiple of `logical_block`.
    pub size: u64,
    /// Logical block size in bytes: 512 or 4096.
    pub logical_block: u32,
    /// Physical block size in bytes: 512 or 4096, at least `logical_block`.
    pub physical_block: u32,
    /// Bytes in one unit of allocation: the granularity that [`Disk::write_zeroes`] can give up.
    pub allocation_unit: u32,
    /// Whether blocks can be deallocated (thin provisioning).
    pub thin: bool,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// Whether a range of a disk takes up space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockStatus {
    /// Backed by space in an image.
    Mapped,
    /// Not backed; reads as zero.
    Deallocated,
}

/// Why an operation on a disk failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The host could not read.
    #[error("cannot read the image: {0}")]
    Read(#[source] io::Error),
    /// The host could not write or sync.
    #[error("cannot write the image: {0}")]
    Write(#[source] io::Error),
    /// The host's file system is full. The disk stays usable.
    #[error("no space left for the image")]
    NoSpace,
    /// The image was opened read-only.
    #[error("the image is read-only")]
    ReadOnly,
    /// An earlier failure to write metadata makes further writes unsafe.
    #[error("an earlier write to the image failed; it takes no more writes until it is opened anew")]
    Poisoned,
    /// The image's metadata contradicts itself.
    #[error("the image is damaged: {0}")]
    Corrupt(String),
}

impl DiskError {
    /// What a failed write, sync, growth or punch of the host means for the disk's user.
    #[must_use]
    pub fn of_write(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Write(error),
        }
    }
}

/// A virtual disk.
///
/// The caller guarantees for every range that it lies within [`Geometry::size`], and that offsets and lengths are multiples of
/// [`Geometry::logical_block`]. Every method may be called from many threads at the same time and may block; two
/// writes that overlap in time and place leave, per logical block, the bytes of one of them.
pub trait Disk: Send + Sync + fmt::Debug {
    /// The disk's shape.
    fn geometry(&self) -> Geometry;

    /// Fills `buf` from `offset`. Blocks that were never written, and deallocated blocks, read as zero.
    ///
    /// # Errors
    /// [`DiskError::Read`], [`DiskError::Corrupt`].
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError>;

    /// Like [`Disk::read_at`], but only when that cannot block. `Ok(false)`: `buf` is unspecified, use `read_at`.
    ///
    /// # Errors
    /// As [`Disk::read_at`].
    fn read_cached_at(&self, _buf: &mut [u8], _offset: u64) -> Result<bool, DiskError> {
        Ok(false)
    }

    /// Writes all of `bufs`, one after another, at `offset`. Later reads see the bytes; they are durable after the next
    /// [`Disk::flush`].
    ///
    /// # Errors
    /// [`DiskError::Write`], [`DiskError::NoSpace`], [`DiskError::ReadOnly`], [`DiskError::Poisoned`].
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError>;

    /// Makes a range read as zero. With `may_deallocate` the space below it may be given back: whole allocation units to the
    /// image, smaller parts to the host. Without it the range keeps its space where the host can do that.
    ///
    /// # Errors
    /// As [`Disk::write_at`].
    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError>;

    /// Returns when every write, zeroing and unmapping that returned before the call is on stable storage.
    ///
    /// # Errors
    /// As [`Disk::write_at`].
    fn flush(&self) -> Result<(), DiskError>;

    /// The status at `offset`, and for how many bytes from there it holds, at most `len`; never zero.
    ///
    /// # Errors
    /// As [`Disk::read_at`].
    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError>;

    /// Whether what `offset` reads as is this file's own to say, and not a parent's, and for how many bytes that holds, at most
    /// `len`; never zero.
    ///
    /// # Errors
    /// As [`Disk::read_at`].
    fn holds(&self, _offset: u64, len: u64) -> Result<(bool, u64), DiskError> {
        Ok((true, len))
    }

    /// How many files the disk consists of: one, and its parents.
    fn chain_depth(&self) -> usize {
        1
    }

    /// Flushes and leaves the image in the state of a clean shutdown. Later operations fail.
    ///
    /// # Errors
    /// As [`Disk::flush`].
    fn close(&self) -> Result<(), DiskError>;
}
