//! VHDX files with wrong fields and right checksums.

use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use lunkeep_target::image::{Access, BlockFile, CreateOptions, Disk, Format, MemoryFile};

use crate::crash::stamp;
use crate::test_environment::TestEnvironment;

const MIB: u64 = 1 << 20;
/// The ring of the files made here.
const LOG: u64 = MIB;
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];

/// Structures that a patch may change: where they are (a patch goes to each place) and how long they are.
pub const STRUCTURES: [(&str, &[u64], u64); 10] = [
    ("identifier", &[0], 520),
    ("both headers", &HEADERS, 80),
    ("first header", &[HEADERS[0]], 80),
    ("both region tables", &REGION_TABLES, 80),
    ("first region table", &[REGION_TABLES[0]], 80),
    ("metadata table", &[2 * MIB], 192),
    ("metadata items", &[2 * MIB + (64 << 10)], 40),
    ("block allocation table", &[3 * MIB], 72),
    ("first log entry", &[LOG], 4096),
    ("second log entry", &[LOG + 4096], 8192),
];

/// A change of up to eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Index in [`STRUCTURES`].
    pub structure: usize,
    /// Where in the structure.
    pub offset: u64,
    /// The new bytes, as many as the width.
    pub value: u64,
    /// How many bytes: 1 to 8.
    pub width: usize,
}

/// A disk of eight and a half 1 MiB blocks, of which two are written. `closed` or left with two entries in its log.
#[must_use]
pub fn base(closed: bool) -> MemoryFile {
    static FILES: OnceLock<[MemoryFile; 2]> = OnceLock::new();
    let make = |closed: bool| {
        let file = Arc::new(MemoryFile::default());
        let env = TestEnvironment::shared();
        let options = CreateOptions { block_size: Some(MIB), ..CreateOptions::dynamic(8 * MIB + MIB / 2) };
        Format::Vhdx.create(&*file, &options, &*env).expect("a valid image");
        let disk = Format::Vhdx.open(Arc::clone(&file) as _, Access::ReadWrite, &env).expect("it opens");
        for block in [0, 3] {
            disk.write_at(&[IoSlice::new(&stamp(block, 1, 4096))], block * MIB).expect("memory");
        }
        disk.flush().expect("memory");
        if closed {
            disk.close().expect("memory");
        }
        drop(disk);
        Arc::into_inner(file).expect("the disk is gone")
    };
    FILES.get_or_init(|| [make(false), make(true)])[usize::from(closed)].clone()
}

/// Changes the file as `patch` says.
pub fn apply(file: &MemoryFile, patch: Patch) {
    let Some((_, places, length)) = STRUCTURES.get(patch.structure) else { return };
    let bytes = patch.value.to_le_bytes();
    let width = patch.width.clamp(1, 8).min(usize::try_from(length - patch.offset % length).unwrap_or(8));
    for place in *places {
        file.write_all_at(&bytes[..width], place + patch.offset % length).expect("memory");
    }
}

/// Makes the checksums of headers, region tables and log entries right.
pub fn repair_checksums(file: &MemoryFile) {
    let len = file.len().expect("memory");
    let structures = [(HEADERS, 4096_usize), (REGION_TABLES, 64 << 10)];
    for (offset, length) in structures.into_iter().flat_map(|(places, length)| places.map(|at| (at, length)))
    {
        if offset + length as u64 <= len {
            sum(file, offset, length);
        }
    }
    for entry in [LOG, LOG + 4096] {
        let mut start = [0; 12];
        if entry + 12 <= len && file.read_exact_at(&mut start, entry).is_ok() && start.starts_with(b"loge") {
            let length = u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]]));
            if (64..=MIB - 4096).contains(&length) && entry + length <= len {
                sum(file, entry, usize::try_from(length).unwrap_or(0));
            }
        }
    }
}

fn sum(file: &MemoryFile, offset: u64, length: usize) {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).expect("within the file");
    bytes[4..8].fill(0);
    file.write_all_at(&crc32c::crc32c(&bytes).to_le_bytes(), offset + 4).expect("memory");
}

/// Does everything with the file that can be done with an image. Nothing may panic; and if the check finds it sound and it
/// opens for writing, then what is written is there after a close, and the file is still sound.
///
/// # Panics
/// When one of these is not so.
pub fn exercise(file: &MemoryFile) {
    let env = TestEnvironment::shared();
    let shared: Arc<dyn BlockFile> = Arc::new(file.clone());
    let inspected = Format::Vhdx.inspect(&shared);
    let sound = Format::Vhdx.check(&shared, false, &env).is_ok_and(|report| report.is_sound());
    assert!(inspected.is_ok() || !sound, "{inspected:?}, but sound");
    if let Ok(disk) = Format::Vhdx.open(Arc::clone(&shared), Access::ReadOnly, &env) {
        look(&*disk, sound);
    }
    let _ = Format::Vhdx.check(&(Arc::new(file.clone()) as Arc<dyn BlockFile>), true, &env);
    let Ok(disk) = Format::Vhdx.open(Arc::clone(&shared), Access::ReadWrite, &env) else { return };
    look(&*disk, sound);
    let written = change(&*disk);
    let closed = disk.close();
    drop(disk);
    if !sound {
        return;
    }
    assert!(closed.is_ok(), "{closed:?}");
    let report = Format::Vhdx.check(&shared, false, &env).expect("it was sound");
    assert!(report.is_sound(), "{report:?}");
    let disk = Format::Vhdx.open(shared, Access::ReadWrite, &env).expect("it was sound");
    for (offset, bytes) in written {
        let mut buf = vec![0; bytes.len()];
        disk.read_at(&mut buf, offset).expect("it was sound");
        assert!(buf == bytes, "what was written at {offset} is gone");
    }
}

/// Offsets at the start, the middle and the end.
fn places(disk: &dyn Disk) -> [u64; 3] {
    let geometry = disk.geometry();
    let block = u64::from(geometry.logical_block);
    [0, geometry.size / 2 / block * block, geometry.size - block]
}

fn look(disk: &dyn Disk, sound: bool) {
    let geometry = disk.geometry();
    let mut buf = vec![0; geometry.logical_block as usize];
    for at in places(disk) {
        let read = disk.read_at(&mut buf, at);
        assert!(read.is_ok() || !sound, "{read:?}");
        if let Ok((_, len)) = disk.block_status(at, geometry.size - at) {
            assert!(len > 0 && len <= geometry.size - at);
        }
        let _ = disk.read_cached_at(&mut buf, at);
    }
    // Across the start of each of the first blocks.
    let mut buf = vec![0; 8192];
    for at in (MIB - 4096..geometry.size.min(9 * MIB).saturating_sub(8192)).step_by(1 << 20) {
        let _ = disk.read_at(&mut buf, at);
    }
}

fn change(disk: &dyn Disk) -> Vec<(u64, Vec<u8>)> {
    let geometry = disk.geometry();
    let unit = u64::from(geometry.allocation_unit);
    let _ = disk.write_zeroes(3 * MIB / unit * unit, unit.min(geometry.size), true);
    let _ = disk.flush();
    let _ = disk.write_zeroes(geometry.size / 4 / 4096 * 4096, 4096.min(geometry.size / 2), true);
    let mut written = Vec::new();
    for at in places(disk) {
        let bytes = stamp(at, 2, geometry.logical_block as usize);
        if disk.write_at(&[IoSlice::new(&bytes)], at).is_ok() {
            let mut buf = vec![0; bytes.len()];
            disk.read_at(&mut buf, at).expect("it was just written");
            assert!(buf == bytes, "a write at {at} does not read back");
            written.push((at, bytes));
        }
    }
    let _ = disk.flush();
    written
}

/// Byte 0: whether the file was closed, and whether its length changes. Then patches of eleven bytes: structure, offset,
/// value.
pub fn open(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let file = base(how & 1 != 0);
    for patch in rest.chunks_exact(11).take(8) {
        let (structure, offset) = (patch[0], u16::from_le_bytes([patch[1], patch[2]]));
        let value = patch[3..].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let structure = usize::from(structure & 15);
        apply(
            &file,
            Patch { structure, offset: offset.into(), value, width: 1 + usize::from(patch[0] >> 5) },
        );
    }
    if how & 2 != 0 {
        let len = file.len().unwrap_or(0) * u64::from(how >> 2) / 64;
        file.set_len(len).expect("memory");
    }
    if how & 128 == 0 {
        repair_checksums(&file);
    }
    exercise(&file);
}

/// The first inputs.
#[must_use]
pub fn open_seeds() -> Vec<(String, Vec<u8>)> {
    let patch = |structure: u8, offset: u16, width: u8, value: u64| {
        let mut bytes = vec![structure | (width - 1) << 5];
        bytes.extend(offset.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let seed =
        |name: &str, how: u8, patches: &[Vec<u8>]| (name.to_owned(), [vec![how], patches.concat()].concat());
    vec![
        seed("closed", 1, &[]),
        seed("dirty", 0, &[]),
        seed("short", 2 | 20 << 2, &[]),
        seed("log_offset", 0, &[patch(1, 72, 8, 2 << 20)]),
        seed("log_guid", 1, &[patch(1, 48, 8, 7)]),
        seed("region_overlap", 1, &[patch(3, 32, 8, 2 << 20)]),
        seed("bat_entry", 1, &[patch(7, 8, 8, 4 << 20 | 6), patch(7, 16, 8, u64::MAX)]),
        seed("disk_size", 1, &[patch(6, 8, 8, 64 << 40)]),
        seed("block_size", 1, &[patch(6, 0, 4, 256 << 20), patch(6, 32, 4, 4096)]),
        seed("log_target", 0, &[patch(9, 64 + 16, 8, 64 << 10)]),
        seed("log_zero", 0, &[patch(9, 64, 4, 0x6f72_657a), patch(9, 64 + 8, 8, 1 << 20)]),
    ]
}
