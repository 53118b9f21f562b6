//! qcow2, read-only, through the library `imago`.
//!
//! The library reads the host's file by itself, so it gets a handle of it and not the seam. What it does not look at, or what a
//! hostile file could make it do, is settled before: the header is read and judged here, and an image with encryption, an
//! external data file, a backing file, or features that are not known is refused by name. Should the library panic all the
//! same, that becomes an error, and the disk answers nothing more.
//!
//! Deliberately not here: writing (the library orders no write of a reference count before the table that needs it, so a power
//! cut could let two clusters share a place), creating, checking, and chains.
//!
//! ```text
//!  0 "QFI\xfb"  4 version   8 backing file's name: offset, 16 length    20 cluster bits   24 size
//! 32 encryption 36 entries of the first table, 40 where it is            48 where the reference counts are, 56 clusters of them
//! version 3: 72 incompatible features   96 bits of a count   100 header length   104 compression
//! ```

use std::fmt;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping};

use super::{
    Access, BlockFile, BlockStatus, CheckReport, CreateError, CreateOptions, Disk, DiskError, Environment,
    FileSize, Format, Geometry, ImageInfo, Lineage, OpenError, OpenErrorKind,
};

/// What a qcow2 file starts with. Version 1 has the same mark and is another format.
pub(super) const SIGNATURE: &[u8; 4] = b"QFI\xfb";

const HEADER_LEN: usize = 112;
/// Largest disk: what the formats that can be written hold.
const SIZE_MAX: u64 = 64 << 40;
/// Bytes of the first table and of the table of reference counts; the bounds of QEMU.
const L1_LEN_MAX: u64 = 32 << 20;
const REFCOUNT_TABLE_LEN_MAX: u64 = 8 << 20;
/// Longest name of a backing file (specification: 1023).
const NAME_LEN_MAX: u32 = 1023;

/// Bits of the incompatible features.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 2;
const EXTERNAL_DATA: u64 = 4;
const COMPRESSION: u64 = 8;
const EXTENDED_L2: u64 = 16;

fn damaged(field: &'static str, detail: String) -> OpenError {
    OpenError::damaged(Format::Qcow2, field, detail)
}

fn unsupported(field: &'static str, detail: impl Into<String>) -> OpenError {
    OpenError::unsupported(Format::Qcow2, field, detail.into())
        .advise("convert it first, for example with qemu-img convert -O vhdx")
}

fn number<const LEN: usize>(bytes: &[u8], at: usize) -> [u8; LEN] {
    bytes.get(at..at + LEN).and_then(|field| field.try_into().ok()).unwrap_or([0; LEN])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(number(bytes, at))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(number(bytes, at))
}

/// A header of which every field makes sense.
struct Header {
    version: u32,
    cluster_size: u64,
    size: u64,
    dirty: bool,
    snapshots: u32,
}

impl Header {
    fn read(file: &dyn BlockFile) -> Result<Self, OpenError> {
        let failed = |e| OpenError::io(Format::Qcow2, "header", e);
        let len = file.len().map_err(failed)?;
        let mut bytes = [0; HEADER_LEN];
        if len < 72 {
            return Err(damaged("file", format!("its {len} bytes are less than a header")));
        }
        let there = usize::try_from(len).unwrap_or(HEADER_LEN).min(HEADER_LEN);
        file.read_exact_at(bytes.get_mut(..there).unwrap_or_default(), 0).map_err(failed)?;
        if !bytes.starts_with(SIGNATURE) {
            return Err(damaged("signature", "the file does not start with \"QFI\\xfb\"".to_owned()));
        }
        let version = be32(&bytes, 4);
        if !matches!(version, 2 | 3) {
            return Err(unsupported("version", format!("{version}; only 2 and 3 are known")));
        }
        let (features, compression) = if version == 3 { (be64(&bytes, 72), bytes[104]) } else { (0, 0) };
        if version == 3 && !(104..=len).contains(&be32(&bytes, 100).into()) {
            return Err(damaged("header length", format!("{} bytes", be32(&bytes, 100))));
        }
        Self::judge_features(file, &bytes, features, compression)?;
        let cluster_bits = be32(&bytes, 20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged("cluster bits", format!("{cluster_bits}; they are 9 to 21")));
        }
        let cluster_size = 1 << cluster_bits;
        let size = be64(&bytes, 24);
        if size == 0 || size > SIZE_MAX {
            return Err(unsupported("size", format!("{size} bytes; up to 64 TiB and not zero is read")));
        }
        let inside = |field: &'static str, at: u64, length: u64, most: u64| {
            let fits = at.is_multiple_of(cluster_size)
                && at >= cluster_size
                && length <= most
                && at.checked_add(length).is_some_and(|end| end <= len);
            if fits {
                return Ok(());
            }
            Err(damaged(field, format!("{length} bytes at {at:#x}, in a file of {len} bytes")))
        };
        let l1_entries = u64::from(be32(&bytes, 36));
        // One entry for each table of clusters, which takes one cluster of 8-byte entries.
        let needed = size.div_ceil(cluster_size * (cluster_size / 8));
        if l1_entries < needed {
            return Err(damaged("first table", format!("{l1_entries} entries; the size needs {needed}")));
        }
        inside("first table", be64(&bytes, 40), l1_entries * 8, L1_LEN_MAX)?;
        let refcounts = u64::from(be32(&bytes, 56)) * cluster_size;
        inside("reference counts", be64(&bytes, 48), refcounts, REFCOUNT_TABLE_LEN_MAX.max(cluster_size))?;
        if version == 3 && be32(&bytes, 96) > 6 {
            return Err(damaged("reference counts", format!("of 2^{} bits each", be32(&bytes, 96))));
        }
        Ok(Self { version, cluster_size, size, dirty: features & DIRTY != 0, snapshots: be32(&bytes, 60) })
    }

    fn judge_features(
        file: &dyn BlockFile,
        bytes: &[u8],
        features: u64,
        compression: u8,
    ) -> Result<(), OpenError> {
        let encryption = be32(bytes, 32);
        if encryption != 0 {
            return Err(unsupported("encryption", format!("the content is encrypted (method {encryption})")));
        }
        if features & CORRUPT != 0 {
            return Err(damaged("features", "the image is marked as corrupt".to_owned())
                .advise("repair it with qemu-img check -r all"));
        }
        for (bit, what) in [(EXTERNAL_DATA, "an external data file"), (EXTENDED_L2, "subclusters")] {
            if features & bit != 0 {
                return Err(unsupported("features", format!("the image has {what}")));
            }
        }
        if compression != 0 {
            return Err(unsupported("compression", format!("of type {compression}; only deflate is read")));
        }
        let known = DIRTY | COMPRESSION;
        if features & !known != 0 {
            return Err(unsupported("features", format!("bits {:#x} are not known", features & !known)));
        }
        let (name_at, name_len) = (be64(bytes, 8), be32(bytes, 16));
        if name_at != 0 {
            let mut name = vec![0; usize::try_from(name_len.min(NAME_LEN_MAX)).unwrap_or(0)];
            file.read_exact_at(&mut name, name_at)
                .map_err(|e| OpenError::io(Format::Qcow2, "backing file", e))?;
            return Err(OpenError::unsupported(
                Format::Qcow2,
                "backing file",
                format!(
                    "the image needs {:?}; only qcow2 images without one are read",
                    String::from_utf8_lossy(&name)
                ),
            )
            .advise("make one image of both with qemu-img convert"));
        }
        Ok(())
    }
}

/// An open qcow2 image.
struct Image {
    inner: FormatAccess<File>,
    /// As the header has it; a part of a sector at the end is filled up with zeros.
    size: u64,
    cluster_size: u32,
    /// Whether the library panicked.
    broken: AtomicBool,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Runs `work` of the library. A panic is an error, and says so.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> Result<io::Result<T>, &'static str> {
    catch_unwind(AssertUnwindSafe(work)).map_err(
        |_| "the library that reads qcow2 failed on it and gave up; the image is most likely damaged",
    )
}

/// Opens a qcow2 image for reading.
///
/// # Errors
/// [`OpenError`] when it is to be written, has a feature that is not read, is damaged, or is no file of the host.
pub fn open(
    file: Arc<dyn BlockFile>,
    access: Access,
    _env: &Arc<dyn Environment>,
    _lineage: &Lineage,
) -> Result<Arc<dyn Disk>, OpenError> {
    if access == Access::ReadWrite {
        return Err(OpenError::new(
            OpenErrorKind::NotWritable,
            Some(Format::Qcow2),
            "format",
            "qcow2 images are read and not written",
        )
        .advise("open it read-only, or convert it"));
    }
    let header = Header::read(&*file)?;
    let failed = |e| OpenError::io(Format::Qcow2, "file", e);
    let Some(handle) = file.host_file().map_err(failed)? else {
        return Err(unsupported("file", "it is no file of the host"));
    };
    let opened = guarded(|| Qcow2::<File>::builder(handle.try_into()?).open(DenyImplicitOpenGate::default()));
    let inner = match opened {
        Ok(Ok(inner)) => FormatAccess::new(inner),
        Ok(Err(e)) => return Err(damaged("image", e.to_string())),
        Err(gave_up) => return Err(damaged("image", gave_up.to_owned())),
    };
    if inner.size() != header.size {
        return Err(damaged("size", format!("{} bytes in the header, {} read", header.size, inner.size())));
    }
    let cluster_size = u32::try_from(header.cluster_size).unwrap_or(1 << 21);
    Ok(Arc::new(Image { inner, size: header.size, cluster_size, broken: AtomicBool::new(false) }))
}

impl Image {
    fn ask<T>(&self, work: impl FnOnce() -> io::Result<T>) -> Result<T, DiskError> {
        let gave_up = |why: &str| DiskError::Corrupt(why.to_owned());
        if self.broken.load(Ordering::Acquire) {
            return Err(gave_up("the library that reads qcow2 failed on it before"));
        }
        guarded(work)
            .map_err(|why| {
                self.broken.store(true, Ordering::Release);
                gave_up(why)
            })?
            .map_err(DiskError::Read)
    }
}

impl Disk for Image {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size.next_multiple_of(512),
            logical_block: 512,
            physical_block: 4096,
            allocation_unit: self.cluster_size,
            thin: true,
            read_only: true,
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let there = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (known, past) = buf.split_at_mut(there);
        past.fill(0);
        if known.is_empty() { Ok(()) } else { self.ask(|| self.inner.read(known, offset)) }
    }

    fn write_at(&self, _bufs: &[IoSlice<'_>], _offset: u64) -> Result<(), DiskError> {
        Err(DiskError::ReadOnly)
    }

    fn write_zeroes(&self, _offset: u64, _len: u64, _may_deallocate: bool) -> Result<(), DiskError> {
        Err(DiskError::ReadOnly)
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        if offset >= self.size {
            return Ok((BlockStatus::Deallocated, len));
        }
        let (status, length) = self.ask(|| {
            let (mapping, length) = self.inner.get_mapping(offset, len)?;
            let zero = matches!(mapping, Mapping::Zero { .. } | Mapping::Eof { .. });
            Ok((if zero { BlockStatus::Deallocated } else { BlockStatus::Mapped }, length))
        })?;
        // Whole sectors, and never nothing.
        let length = if offset + length >= self.size { len } else { length / 512 * 512 };
        match length.min(len) {
            0 => Ok((BlockStatus::Mapped, len.min(512))),
            length => Ok((status, length)),
        }
    }

    fn close(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

fn not_made() -> CreateError {
    CreateError::option(
        Format::Qcow2,
        "format",
        "qcow2",
        "such images are read and not made; use vhdx, vhd or raw",
    )
}

/// Refuses: qcow2 is not written.
///
/// # Errors
/// Always.
pub fn create(
    _file: &dyn BlockFile,
    _options: &CreateOptions,
    _env: &dyn Environment,
) -> Result<(), CreateError> {
    Err(not_made())
}

/// Refuses: qcow2 is not written.
///
/// # Errors
/// Always.
pub fn measure(_options: &CreateOptions) -> Result<FileSize, CreateError> {
    Err(not_made())
}

/// Refuses: qcow2 is not written.
///
/// # Errors
/// Always.
pub fn resize(_file: &Arc<dyn BlockFile>, _size: u64, _env: &Arc<dyn Environment>) -> Result<(), OpenError> {
    Err(unsupported("size", "qcow2 images are read and not changed"))
}

/// Describes a qcow2 image.
///
/// # Errors
/// As [`open`].
pub fn inspect(file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    let header = Header::read(&**file)?;
    let len = file.len().map_err(|e| OpenError::io(Format::Qcow2, "file", e))?;
    let mut info = ImageInfo::new(Format::Qcow2, header.size.next_multiple_of(512), len);
    info.subformat = Some(format!("version {}", header.version));
    info.block_size = Some(header.cluster_size);
    info.physical_sector = 4096;
    info.total_blocks = Some(header.size.div_ceil(header.cluster_size));
    if header.dirty {
        info.warnings.push(
            "it was not closed: its reference counts may be wrong, which reading does not need".to_owned(),
        );
    }
    if header.snapshots > 0 {
        info.warnings.push(format!("it has {} internal snapshots, which are not read", header.snapshots));
    }
    Ok(info)
}

/// Refuses: the library checks nothing.
///
/// # Errors
/// Always.
pub fn check(
    file: &Arc<dyn BlockFile>,
    _repair: bool,
    _env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    Header::read(&**file)?;
    Err(OpenError::unsupported(Format::Qcow2, "check", "qcow2 images are not checked here")
        .advise("use qemu-img check"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_library_becomes_an_error() {
        let panics = || -> io::Result<()> { panic!("as the library might") };
        assert!(guarded(panics).unwrap_err().contains("gave up"));
        assert!(guarded(|| Ok(())).unwrap().is_ok());
    }
}
