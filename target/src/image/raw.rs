//! Raw: the file's bytes are the disk's. Holes of the file are deallocated blocks.
//!
//! A length that is not a multiple of the logical block is rounded down: the bytes behind are never touched.

use std::io::IoSlice;
use std::sync::Arc;

use super::Health;
use super::{
    Access, Allocation, BlockFile, BlockStatus, CheckReport, CreateError, CreateOptions, Disk, DiskError,
    Environment, FileSize, FlushGate, Format, Geometry, ImageInfo, Lineage, OpenError, Severity,
};

/// What file systems and devices allocate in at best; smaller pieces are zeroed, not freed.
const UNIT: u32 = 4096;

/// Opens a raw disk with 512-byte logical blocks.
///
/// # Errors
/// [`OpenError`] when the file is smaller than one block, or the host fails.
pub fn open(
    file: Arc<dyn BlockFile>,
    access: Access,
    _env: &Arc<dyn Environment>,
    _lineage: &Lineage,
) -> Result<Arc<dyn Disk>, OpenError> {
    open_with_blocks(file, access, 512)
}

/// Opens a raw disk with logical blocks of `logical_block` bytes: 512 or 4096. The file does not know; whoever serves it has to.
///
/// # Errors
/// [`OpenError`] when the file is smaller than one block, the block size is neither, or the host fails.
pub fn open_with_blocks(
    file: Arc<dyn BlockFile>,
    access: Access,
    logical_block: u32,
) -> Result<Arc<dyn Disk>, OpenError> {
    if logical_block != 512 && logical_block != 4096 {
        return Err(OpenError::unsupported(
            Format::Raw,
            "logical block size",
            format!("{logical_block} bytes; it is 512 or 4096"),
        ));
    }
    let size = usable_size(&*file, logical_block)?;
    let geometry = Geometry {
        size,
        logical_block,
        physical_block: UNIT,
        allocation_unit: UNIT,
        thin: true,
        read_only: access == Access::ReadOnly,
    };
    Ok(Arc::new(RawDisk::new(file, geometry, access)))
}

/// Makes the empty `file` a raw disk. A fixed one has its space reserved.
///
/// # Errors
/// [`CreateError`] for an option that raw has no place for, a size that is not a multiple of 512, or when the host
/// cannot write.
pub fn create(
    file: &dyn BlockFile,
    options: &CreateOptions,
    _env: &dyn Environment,
) -> Result<(), CreateError> {
    measure(options)?;
    file.set_len(options.size)?;
    if options.allocation == Allocation::Fixed {
        file.reserve(0..options.size)?;
    }
    file.sync_data()?;
    Ok(())
}

/// How long the file of a new disk will be.
///
/// # Errors
/// [`CreateError`] when an option has a value that a raw disk cannot have.
pub fn measure(options: &CreateOptions) -> Result<FileSize, CreateError> {
    let refuse = |option, value: u64, rule| Err(CreateError::option(Format::Raw, option, value, rule));
    if options.size == 0 || !options.size.is_multiple_of(512) {
        return refuse("size", options.size, "a raw disk is a multiple of 512 bytes, at least one");
    }
    if options.size > i64::MAX.unsigned_abs() {
        return refuse("size", options.size, "a file cannot be larger than 9223372036854775807 bytes");
    }
    if let Some(size) = options.block_size {
        return refuse("block size", size, "a raw disk has no blocks");
    }
    if let Some(size) = options.logical_sector.filter(|s| *s != 512) {
        return refuse(
            "sector size",
            size.into(),
            "a raw disk cannot record it; give it when the disk is served",
        );
    }
    if let Some(size) = options.physical_sector.filter(|s| *s != UNIT) {
        return refuse("physical sector size", size.into(), "a raw disk cannot record it; it is always 4096");
    }
    Ok(FileSize::constant(u64::from(UNIT), options.size))
}

/// Makes the disk `size` bytes long.
///
/// # Errors
/// [`OpenError`] for a size that is no multiple of 512, or when the host fails, as for a device.
pub fn resize(file: &Arc<dyn BlockFile>, size: u64, _env: &Arc<dyn Environment>) -> Result<(), OpenError> {
    if size == 0 || !size.is_multiple_of(512) {
        let detail = format!("{size} bytes; it is a multiple of 512, and not zero");
        return Err(OpenError::unsupported(Format::Raw, "size", detail));
    }
    let failed = |e| OpenError::io(Format::Raw, "file", e);
    let old = usable_size(&**file, 512)?;
    let len = file.len().map_err(failed)?;
    if size > old && len > old {
        // Bytes that were no part of the disk become one.
        file.zero_range(old..len.min(size)).map_err(failed)?;
        file.sync_data().map_err(failed)?;
    }
    file.set_len(size).map_err(failed)?;
    file.sync_data().map_err(failed)
}

/// Describes a raw disk.
///
/// # Errors
/// [`OpenError`] when the file is smaller than one block, or the host fails.
pub fn inspect(file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    let size = usable_size(&**file, 512)?;
    let len = file.len().map_err(|e| OpenError::io(Format::Raw, "file", e))?;
    let mut info = ImageInfo::new(Format::Raw, size, len);
    info.physical_sector = UNIT;
    info.warnings.extend(rest_of(len));
    Ok(info)
}

/// Checks a raw disk: only its length can be odd.
///
/// # Errors
/// [`OpenError`] when the file is smaller than one block, or the host fails.
pub fn check(
    file: &Arc<dyn BlockFile>,
    _repair: bool,
    _env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    usable_size(&**file, 512)?;
    let len = file.len().map_err(|e| OpenError::io(Format::Raw, "file", e))?;
    let mut report = CheckReport::default();
    if let Some(warning) = rest_of(len) {
        report.found(Severity::Note, warning);
    }
    Ok(report)
}

fn rest_of(len: u64) -> Option<String> {
    let rest = len % 512;
    (rest != 0).then(|| {
        format!("the length of {len} bytes is not a multiple of 512; the last {rest} bytes are not part of the disk")
    })
}

fn usable_size(file: &dyn BlockFile, block: u32) -> Result<u64, OpenError> {
    let len = file.len().map_err(|e| OpenError::io(Format::Raw, "file", e))?;
    let size = len - len % u64::from(block);
    if size == 0 {
        return Err(OpenError::damaged(
            Format::Raw,
            "file",
            format!("its {len} bytes are less than one block of {block}"),
        ));
    }
    if size != len {
        tracing::warn!(
            len,
            size,
            "a raw disk's length is not a multiple of its block size; the rest is left out"
        );
    }
    Ok(size)
}

/// A disk whose byte `n` is byte `n` of the file. Fixed disks of other formats are such disks too.
#[derive(Debug)]
pub(super) struct RawDisk {
    file: Arc<dyn BlockFile>,
    geometry: Geometry,
    health: Health,
    gate: FlushGate,
}

impl RawDisk {
    /// The first `geometry.size` bytes of `file`, which is at least that long.
    pub(super) fn new(file: Arc<dyn BlockFile>, geometry: Geometry, access: Access) -> Self {
        Self { file, geometry, health: Health::new(access), gate: FlushGate::default() }
    }
}

impl Disk for RawDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.health.readable()?;
        self.file.read_exact_at(buf, offset).map_err(DiskError::Read)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        self.health.readable()?;
        self.file.read_cached_at(buf, offset).map_err(DiskError::Read)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        self.health.writable()?;
        self.file.write_all_vectored_at(bufs, offset).map_err(DiskError::of_write)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        self.health.writable()?;
        let range = offset..offset.saturating_add(len);
        if may_deallocate && self.geometry.thin {
            self.file.punch_hole(range)
        } else {
            self.file.zero_range(range)
        }
        .map_err(DiskError::of_write)
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.health.access() == Access::ReadOnly {
            return self.health.readable();
        }
        self.health.writable()?;
        self.gate.flush(|| {
            self.health.writable()?;
            self.file.sync_data().map_err(|e| {
                // The host may have dropped the pages it could not write; a second sync would answer success.
                // Not "no space": what was to be written is gone with the error.
                self.health.poison();
                DiskError::Write(e)
            })
        })
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        self.health.readable()?;
        let block = u64::from(self.geometry.logical_block);
        let data = self.file.next_data(offset).map_err(DiskError::Read)?;
        let (status, until) = match data {
            None => (BlockStatus::Deallocated, u64::MAX),
            // A block that holds some data is mapped as a whole, from its start to its end.
            Some(data) if data.start / block * block > offset => {
                (BlockStatus::Deallocated, data.start / block * block)
            }
            Some(data) => (BlockStatus::Mapped, data.end.div_ceil(block).saturating_mul(block)),
        };
        Ok((status, until.saturating_sub(offset).clamp(block.min(len), len)))
    }

    fn close(&self) -> Result<(), DiskError> {
        let flushed = self.flush();
        self.health.close();
        flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{MemoryFile, OpenErrorKind};

    fn disk(len: u64, block: u32) -> Arc<dyn Disk> {
        open_with_blocks(Arc::new(MemoryFile::with_len(len)), Access::ReadWrite, block).unwrap()
    }

    #[test]
    fn a_length_that_is_no_multiple_of_the_block_is_rounded_down() {
        assert_eq!(disk(5000, 512).geometry().size, 4608);
        assert_eq!(disk(5000, 4096).geometry().size, 4096);
        let file: Arc<dyn BlockFile> = Arc::new(MemoryFile::with_len(5000));
        assert!(inspect(&file).unwrap().warnings[0].contains("392 bytes"));
        let error = open_with_blocks(Arc::new(MemoryFile::with_len(511)), Access::ReadOnly, 512).unwrap_err();
        assert_eq!(error.kind(), OpenErrorKind::Damaged);
    }

    #[test]
    fn status_follows_holes_in_whole_blocks() {
        let disk = disk(1 << 20, 512);
        disk.write_at(&[IoSlice::new(&[1; 512])], 16384).unwrap();
        assert_eq!(disk.block_status(0, 1 << 20).unwrap(), (BlockStatus::Deallocated, 16384));
        assert_eq!(disk.block_status(16384, 1 << 20).unwrap(), (BlockStatus::Mapped, 4096));
        assert_eq!(disk.block_status(16384, 512).unwrap(), (BlockStatus::Mapped, 512));
        disk.write_zeroes(16384, 4096, true).unwrap();
        assert_eq!(disk.block_status(0, 1 << 20).unwrap(), (BlockStatus::Deallocated, 1 << 20));
    }

    #[test]
    fn a_closed_or_read_only_disk_takes_no_writes() {
        let file = Arc::new(MemoryFile::with_len(4096));
        let read_only = open_with_blocks(Arc::clone(&file) as _, Access::ReadOnly, 512).unwrap();
        assert!(matches!(read_only.write_at(&[IoSlice::new(&[1; 512])], 0), Err(DiskError::ReadOnly)));
        assert!(matches!(read_only.write_zeroes(0, 512, true), Err(DiskError::ReadOnly)));
        read_only.flush().unwrap();
        let disk = open_with_blocks(file, Access::ReadWrite, 512).unwrap();
        disk.close().unwrap();
        assert!(disk.write_at(&[IoSlice::new(&[1; 512])], 0).is_err());
        assert!(disk.read_at(&mut [0; 512], 0).is_err());
    }
}
