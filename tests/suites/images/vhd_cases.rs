//! Every kind of VHD file that is known to exist, and every way in which one may be wrong.

use std::io::{self, IoSlice};
use std::sync::Arc;

use lunkeep_target::image::{
    Access, BlockFile, BlockStatus, CreateOptions, Disk, DiskError, Format, MemoryFile, OpenError,
    OpenErrorKind,
};
use lunkeep_tests::crash::{content, stamp};
use lunkeep_tests::faulty_file::{FaultyFile, Operation};
use lunkeep_tests::test_environment::TestEnvironment;

use super::vhd_file::{Block, FOOTER_SUM, HEADER_SUM, VhdFile, seal};

fn open(file: &MemoryFile, access: Access) -> Result<Arc<dyn Disk>, OpenError> {
    Format::Vhd.open(Arc::new(file.clone()), access, &TestEnvironment::shared())
}

/// Opens the very file, not a copy.
fn open_shared(file: &Arc<MemoryFile>, access: Access) -> Arc<dyn Disk> {
    Format::Vhd.open(Arc::clone(file) as _, access, &TestEnvironment::shared()).unwrap()
}

fn errors_and_leaks(file: &MemoryFile, repair: bool) -> (u64, u64) {
    let file: Arc<dyn BlockFile> = Arc::new(file.clone());
    let report = Format::Vhd.check(&file, repair, &TestEnvironment::shared()).unwrap();
    (report.errors, report.leaks)
}

#[track_caller]
fn assert_refused(file: &MemoryFile, words: &[&str]) {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let error = open(file, access).expect_err("opened").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error:?} lacks one of {words:?}");
    }
}

fn write(disk: &dyn Disk, bytes: &[u8], at: u64) {
    disk.write_at(&[IoSlice::new(bytes)], at).unwrap();
}

fn patch(file: &MemoryFile, at: u64, bytes: &[u8]) {
    file.write_all_at(bytes, at).unwrap();
}

/// Changes the footer copy and the footer at the end alike.
fn patch_footers(vhd: &VhdFile, edit: impl Fn(&mut [u8; 512])) -> MemoryFile {
    let file = vhd.build();
    let mut footer = vhd.footer();
    edit(&mut footer);
    seal(&mut footer, FOOTER_SUM);
    patch(&file, 0, &footer);
    patch(&file, vhd.footer_at, &footer);
    file
}

fn patch_header(vhd: &VhdFile, edit: impl Fn(&mut [u8])) -> MemoryFile {
    let file = vhd.build();
    let mut header = [0; 1024];
    file.read_exact_at(&mut header, vhd.header_at).unwrap();
    edit(&mut header);
    seal(&mut header, HEADER_SUM);
    patch(&file, vhd.header_at, &header);
    file
}

/// Three blocks, as Windows 7 lays them: back to back, payload aligned to sectors only.
fn windows_7() -> VhdFile {
    VhdFile::dynamic(64 << 10).with(2, 0x800, 0xaa).with(0, 0x1a00, 0xbb).with(15, 0x2c00, 0xcc)
}

#[test]
fn the_layout_of_windows_7_is_read_and_new_blocks_are_aligned() {
    let file = Arc::new(windows_7().build());
    assert_eq!(errors_and_leaks(&file, false), (0, 0));
    let disk = open_shared(&file, Access::ReadWrite);
    assert_eq!((disk.geometry().physical_block, disk.geometry().allocation_unit), (512, 4096));
    let mut expected = vec![0; 64 << 10];
    for (block, fill) in [(2, 0xaa), (0, 0xbb), (15, 0xcc)] {
        expected[block * 4096..][..4096].fill(fill);
    }
    assert_eq!(content(&*disk).unwrap(), expected);
    assert_eq!(disk.block_status(0, 64 << 10).unwrap(), (BlockStatus::Mapped, 4096));
    assert_eq!(disk.block_status(4096, 64 << 10).unwrap(), (BlockStatus::Deallocated, 4096));
    write(&*disk, &[0xdd; 512], 5 * 4096 + 512);
    expected[5 * 4096 + 512..][..512].fill(0xdd);
    assert_eq!(content(&*disk).unwrap(), expected);
    disk.close().unwrap();
    let mut entry = [0; 4];
    file.read_exact_at(&mut entry, 1536 + 20).unwrap();
    let payload = u64::from(u32::from_be_bytes(entry)) * 512 + 512;
    assert!(payload.is_multiple_of(4096), "{payload:#x}");
    assert_eq!(file.len().unwrap(), payload + 4096 + 512, "the footer follows the last block at once");
    assert_eq!(errors_and_leaks(&file, false), (0, 0));
    assert_eq!(content(&*open_shared(&file, Access::ReadOnly)).unwrap(), expected);
}

#[test]
fn a_table_elsewhere_with_more_entries_than_blocks_is_followed() {
    let mut vhd = VhdFile::dynamic(40_000 / 512 * 512);
    (vhd.header_at, vhd.table_at, vhd.entries) = (0x600, 0x2800, 500);
    let vhd = vhd.with(9, 0x13e00, 0x11).with(1, 0x1000, 0x22);
    let disk = open(&vhd.build(), Access::ReadWrite).unwrap();
    let seen = content(&*disk).unwrap();
    assert_eq!(seen.len(), 39_936);
    assert!(seen[4096..8192].iter().all(|b| *b == 0x22));
    assert!(seen[36_864..].iter().all(|b| *b == 0x11), "the last block is shorter than a block");
    for block in 0..10 {
        write(&*disk, &[block; 512], u64::from(block) * 4096);
    }
    disk.close().unwrap();
}

#[test]
fn a_missing_footer_is_taken_from_the_copy_and_put_back_by_a_writer() {
    let vhd = windows_7();
    let whole = vhd.build();
    for damage in [&[0; 512][..], b"xx"] {
        let file = vhd.build();
        patch(&file, vhd.footer_at + 8, damage.get(..504.min(damage.len())).unwrap());
        let file = Arc::new(file);
        assert_eq!(errors_and_leaks(&file, false).0, 0);
        let reader = open_shared(&file, Access::ReadOnly);
        assert_eq!(content(&*reader).unwrap(), content(&*open(&whole, Access::ReadOnly).unwrap()).unwrap());
        open_shared(&file, Access::ReadWrite).close().unwrap();
        let mut end = [0; 512];
        file.read_exact_at(&mut end, file.len().unwrap() - 512).unwrap();
        assert_eq!(end, vhd.footer(), "bytes that we know nothing of are kept");
    }
    // And the other way round: the copy from the footer.
    let file = Arc::new(vhd.build());
    patch(&file, 100, b"damage");
    open_shared(&file, Access::ReadWrite).close().unwrap();
    let mut start = [0; 512];
    file.read_exact_at(&mut start, 0).unwrap();
    assert_eq!(start, vhd.footer());
}

#[test]
fn wrong_checksums_are_refused_by_name() {
    let vhd = windows_7();
    let file = vhd.build();
    patch(&file, 300, &[1]);
    patch(&file, vhd.footer_at + 300, &[1]);
    assert_refused(&file, &["VHD", "footer checksum", "0x"]);
    let file = vhd.build();
    patch(&file, vhd.header_at + 900, &[1]);
    assert_refused(&file, &["VHD", "dynamic header checksum"]);
    let file: Arc<dyn BlockFile> = Arc::new(file);
    assert_eq!(Format::Vhd.check(&file, false, &TestEnvironment::shared()).unwrap().errors, 1);
}

#[test]
fn sectors_with_a_clear_bit_read_as_zero_until_they_are_written() {
    let mut vhd = windows_7();
    vhd.blocks[1] = Block { number: 0, at: 0x1a00, bitmap: vec![0b0101_1111], payload: vec![0xbb; 4096] };
    let file = Arc::new(vhd.build());
    let disk = open_shared(&file, Access::ReadWrite);
    let sectors = |disk: &dyn Disk| {
        let bytes = content(disk).unwrap();
        (0..8).map(|s| (bytes[s * 512], bytes[s * 512 + 511])).collect::<Vec<_>>()
    };
    let (old, zero, new) = ((0xbb, 0xbb), (0, 0), (0x77, 0x77));
    assert_eq!(sectors(&*disk), [zero, old, zero, old, old, old, old, old]);
    let mut one = [1; 1024];
    disk.read_at(&mut one, 512).unwrap();
    assert!(one[..512].iter().all(|b| *b == 0xbb) && one[512..].iter().all(|b| *b == 0));
    write(&*disk, &[0x77; 512], 1024);
    assert_eq!(sectors(&*disk), [zero, old, new, old, old, old, old, old]);
    let bits = |file: &MemoryFile| {
        let mut bits = [0];
        file.read_exact_at(&mut bits, 0x1a00).unwrap();
        bits[0]
    };
    assert_eq!(bits(&file), 0b0101_1111, "a bit must not be there before its data is durable");
    disk.flush().unwrap();
    assert_eq!(bits(&file), 0b0111_1111, "only what was written is here");
    disk.close().unwrap();
    assert_eq!(sectors(&*open_shared(&file, Access::ReadOnly)), [zero, old, new, old, old, old, old, old]);
}

#[test]
fn blocks_where_no_block_can_be_are_refused() {
    let table = 1536;
    for (entry, words) in [
        (0u32, "footer copy"),
        (1, "dynamic header"),
        (3, "block table"),
        (0x2c00 / 512, "blocks"),
        ((0x1a00 + 512) / 512, "overlap"),
        ((0x1a00 - 512) / 512, "overlap"),
        (0x3e00 / 512, "data ends at"),
        (u32::MAX - 1, "data ends at"),
    ] {
        let file = windows_7().build();
        patch(&file, table + 4 * 7, &entry.to_be_bytes());
        assert_refused(&file, &["VHD block table", words]);
        assert!(errors_and_leaks(&file, false).0 > 0);
        assert!(errors_and_leaks(&file, true).0 > 0, "what cannot be repaired stays an error");
    }
}

#[test]
fn tables_that_cannot_be_are_refused_without_being_read() {
    let big = VhdFile { entries: 1 << 30, ..windows_7() };
    assert_refused(&big.build(), &["table offset", "1073741824 entries"]);
    let set = |at: usize, value: &'static [u8]| {
        patch_header(&windows_7(), move |h| h[at..at + value.len()].copy_from_slice(value))
    };
    assert_refused(&set(16, &[0xff; 8]), &["table offset"]);
    assert_refused(&set(16, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), &["table offset"]);
    assert_refused(&set(16, &[0; 8]), &["table offset"]);
    assert_refused(&set(16, &[0, 0, 0, 0, 0, 0, 2, 0]), &["overlaps the dynamic header"]);
    assert_refused(&set(28, &[0, 0, 0, 15]), &["table entries", "15 blocks"]);
    assert_refused(&set(32, &[0, 0, 0x30, 0]), &["block size", "12288"]);
    assert_refused(&patch_footers(&windows_7(), |f| f[16..24].fill(0x7f)), &["data offset"]);
    assert_refused(&patch_footers(&windows_7(), |f| f[48..56].fill(0)), &["current size"]);
    assert_refused(&patch_footers(&windows_7(), |f| f[55] = 1), &["current size"]);
    // Within the file, but more blocks than are served: a sparse file of a few GiB says so.
    let small =
        VhdFile { block_size: 512, entries: 1 << 30, footer_at: 8 << 30, ..VhdFile::dynamic(64 << 10) };
    let file = small.build();
    let footer = VhdFile { size: 512 << 30, ..small }.footer();
    patch(&file, 0, &footer);
    patch(&file, 8 << 30, &footer);
    assert_refused(&file, &["block size", "at most"]);
}

#[test]
fn a_footer_of_511_bytes_is_read() {
    for kind in [2, 3] {
        let mut vhd = windows_7();
        vhd.kind = kind;
        if kind == 2 {
            vhd.footer_at = 64 << 10;
        }
        let file = vhd.build();
        file.set_len(vhd.footer_at + 511).unwrap();
        let file = Arc::new(file);
        assert_eq!(open_shared(&file, Access::ReadOnly).geometry().size, 64 << 10);
        assert_eq!(errors_and_leaks(&file, false).0, 0);
        let disk = open_shared(&file, Access::ReadWrite);
        let bytes = stamp(20, 1, 4096);
        write(&*disk, &bytes, 20_480);
        disk.close().unwrap();
        let seen = content(&*open_shared(&file, Access::ReadOnly)).unwrap();
        assert_eq!(seen[20_480..24_576], bytes);
    }
}

#[test]
fn only_virtual_pc_shows_its_geometry_and_not_when_it_is_the_largest() {
    let size = |creator: &[u8; 4], chs: [u8; 4]| {
        let vhd = VhdFile { creator: *creator, chs, ..windows_7() };
        open(&vhd.build(), Access::ReadOnly).unwrap().geometry().size
    };
    let small = [0, 1, 4, 17];
    assert_eq!(size(b"vpc ", small), 4 * 17 * 512);
    assert_eq!(size(b"vpc ", [0xff, 0xff, 16, 255]), 64 << 10);
    for creator in
        [b"win ", b"qemu", b"qem2", b"d2v\0", b"tap\0", b"CTXS", b"wa\0\0", b"vbox", b"dutl", b"lnkp"]
    {
        assert_eq!(size(creator, small), 64 << 10, "{creator:?}");
    }
}

#[test]
fn an_original_size_of_before_a_resize_means_nothing() {
    let vhd = VhdFile { original_size: 1 << 40, ..windows_7() };
    assert_eq!(open(&vhd.build(), Access::ReadWrite).unwrap().geometry().size, 64 << 10);
}

#[test]
fn a_disk_of_a_sleeping_machine_is_read_but_not_written() {
    let file = VhdFile { saved_state: 1, ..windows_7() }.build();
    open(&file, Access::ReadOnly).unwrap();
    let error = open(&file, Access::ReadWrite).unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::NotWritable);
    assert!(error.to_string().contains("saved state"), "{error}");
}

#[test]
fn a_differencing_disk_is_refused_with_the_name_of_its_parent() {
    let vhd = VhdFile {
        kind: 4,
        parent: Some(".\\parent disk.vhd"),
        footer_at: 4096,
        ..VhdFile::dynamic(64 << 10)
    };
    assert_refused(&vhd.build(), &["parent disk.vhd", "this is a differencing disk"]);
    let file: Arc<dyn BlockFile> = Arc::new(vhd.build());
    let info = Format::Vhd.inspect(&file).unwrap();
    assert_eq!(info.subformat.as_deref(), Some("differencing"));
    assert_eq!(info.parent.unwrap().names, [".\\parent disk.vhd"]);
}

#[test]
fn a_fixed_disk_that_was_cut_off_is_refused() {
    let vhd = VhdFile { kind: 2, footer_at: 60 << 10, ..windows_7() };
    assert_refused(&vhd.build(), &["current size", "65536", "61440"]);
}

#[test]
fn what_a_crash_left_behind_the_last_block_never_comes_to_light() {
    let vhd = windows_7();
    let file = Arc::new(vhd.build());
    // Payload that never got an entry, and another footer behind it.
    patch(&file, vhd.footer_at, &[0x99; 100_000]);
    patch(&file, vhd.footer_at + 100_000, &vhd.footer());
    assert_eq!(errors_and_leaks(&file, false), (0, 1));
    assert_eq!(errors_and_leaks(&file, true), (0, 0));
    let disk = open_shared(&file, Access::ReadWrite);
    for block in [1, 3, 4, 5, 6] {
        write(&*disk, &[1; 512], block * 4096);
    }
    let seen = content(&*disk).unwrap();
    assert!(seen.iter().all(|b| *b != 0x99));
    disk.close().unwrap();
}

#[test]
fn a_leak_between_blocks_is_reported_and_used_again_as_zeros() {
    let vhd = VhdFile::dynamic(64 << 10).with(0, 0x800, 0xaa).with(1, 0x8000 - 512, 0xbb);
    let file = Arc::new(vhd.build());
    patch(&file, 0x1a00, &[0x99; 0x6400]);
    assert_eq!(errors_and_leaks(&file, false), (0, 1));
    let len = file.len().unwrap();
    let disk = open_shared(&file, Access::ReadWrite);
    write(&*disk, &[1; 512], 3 * 4096 + 512);
    assert!(content(&*disk).unwrap().iter().all(|b| *b != 0x99));
    disk.close().unwrap();
    assert!(file.len().unwrap() <= len + 4096, "the new block went between the others");
}

fn counted() -> (Arc<FaultyFile>, Arc<dyn Disk>) {
    let file = MemoryFile::default();
    let options = CreateOptions { block_size: Some(4096), ..CreateOptions::dynamic(1 << 20) };
    Format::Vhd.create(&file, &options, &*TestEnvironment::shared()).unwrap();
    let file = Arc::new(FaultyFile::new(file));
    let disk =
        Format::Vhd.open(Arc::clone(&file) as _, Access::ReadWrite, &TestEnvironment::shared()).unwrap();
    file.take_syncs();
    (file, disk)
}

#[test]
fn a_write_syncs_nothing_and_a_flush_twice_at_most() {
    let (file, disk) = counted();
    for block in 0..100u64 {
        write(&*disk, &[1; 512], block * 8192);
    }
    assert_eq!(file.take_syncs(), 0);
    disk.flush().unwrap();
    assert_eq!(file.take_syncs(), 2, "with new blocks");
    for block in 0..100u64 {
        write(&*disk, &[2; 512], block * 8192);
    }
    disk.flush().unwrap();
    assert_eq!(file.take_syncs(), 1, "without");
    disk.write_zeroes(0, 8192, true).unwrap();
    disk.flush().unwrap();
    assert_eq!(file.take_syncs(), 1, "with freed blocks");
}

#[test]
fn a_full_host_fails_the_write_and_the_disk_stays_usable() {
    let (file, disk) = counted();
    write(&*disk, &[1; 4096], 0);
    disk.flush().unwrap();
    let rules: [fn(&Operation) -> bool; 3] = [
        |op| matches!(op, Operation::Write(_)),
        |op| matches!(op, Operation::SetLen(_)),
        |op| matches!(op, Operation::Zero(_)),
    ];
    for rule in rules {
        file.fail(move |op| rule(op).then_some(io::ErrorKind::StorageFull));
        let mut failures = 0;
        for block in 1..200u64 {
            match disk.write_at(&[IoSlice::new(&[2; 512])], block * 4096) {
                Err(DiskError::NoSpace) => failures += 1,
                Ok(()) => {}
                Err(e) => panic!("{e}"),
            }
        }
        file.heal();
        println!("{failures} writes failed");
    }
    write(&*disk, &[3; 512], 255 * 4096);
    file.fail(|op| matches!(op, Operation::Write(_)).then_some(io::ErrorKind::StorageFull));
    assert!(matches!(disk.flush(), Err(DiskError::NoSpace)), "the table could not be written");
    file.heal();
    disk.flush().unwrap();
    let expected = content(&*disk).unwrap();
    assert_eq!(expected[255 * 4096], 3);
    disk.close().unwrap();
    let file = file.content();
    assert_eq!(errors_and_leaks(&file, false).0, 0);
    assert_eq!(content(&*open(&file, Access::ReadOnly).unwrap()).unwrap(), expected);
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more_but_reads_go_on() {
    let (file, disk) = counted();
    write(&*disk, &[1; 512], 0);
    file.fail(|op| (*op == Operation::Sync).then_some(io::ErrorKind::Other));
    assert!(matches!(disk.flush(), Err(DiskError::Write(_))));
    file.heal();
    assert!(matches!(disk.flush(), Err(DiskError::Poisoned)), "a second sync could lie");
    assert!(matches!(disk.write_at(&[IoSlice::new(&[1; 512])], 0), Err(DiskError::Poisoned)));
    assert!(matches!(disk.write_zeroes(0, 4096, true), Err(DiskError::Poisoned)));
    assert_eq!(content(&*disk).unwrap()[0], 1);
    assert!(disk.close().is_err());
}

#[test]
fn an_unmapped_block_reads_as_zero_and_its_place_is_used_again_after_a_flush_only() {
    let (file, disk) = counted();
    for block in 0..4u64 {
        write(&*disk, &[7; 4096], block * 4096);
    }
    disk.flush().unwrap();
    disk.write_zeroes(4096, 8192, true).unwrap();
    let seen = content(&*disk).unwrap();
    assert!(seen[4096..12_288].iter().all(|b| *b == 0) && seen[12_288] == 7);
    assert_eq!(disk.block_status(4096, 1 << 20).unwrap(), (BlockStatus::Deallocated, 8192));
    let old_places_hold_7 = |file: &FaultyFile| {
        let content = file.content();
        let mut bytes = vec![0; usize::try_from(content.len().unwrap()).unwrap()];
        content.read_exact_at(&mut bytes, 0).unwrap();
        bytes.chunks(512).filter(|sector| **sector == [7; 512]).count()
    };
    write(&*disk, &[9; 4096], 40_960);
    assert_eq!(old_places_hold_7(&file), 4 * 8, "the place is the durable table's still");
    disk.flush().unwrap();
    assert_eq!(old_places_hold_7(&file), 2 * 8, "punched");
    let len = file.len().unwrap();
    write(&*disk, &[9; 4096], 81_920);
    write(&*disk, &[9; 4096], 90_112);
    assert_eq!(file.len().unwrap(), len, "used again");
    disk.write_zeroes(40_960, 4096, true).unwrap();
    disk.close().unwrap();
    assert_eq!(file.len().unwrap(), len - 8192, "the last block is gone from the file");
    assert_eq!(errors_and_leaks(&file.content(), false), (0, 0));
}

/// Sets every field to every value that could hurt. Nothing may panic or take much memory; what opens must be readable.
#[test]
fn no_value_of_any_field_makes_the_parser_fall_over() {
    let vhd = windows_7();
    let values = [
        0u64,
        1,
        2,
        511,
        512,
        513,
        0x7fff_ffff,
        0x8000_0000,
        u64::from(u32::MAX) - 1,
        u64::from(u32::MAX),
        u64::MAX >> 1,
        u64::MAX - 511,
        u64::MAX,
    ];
    let mut tried = 0;
    let mut look = |file: &MemoryFile| {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            if let Ok(disk) = open(file, access) {
                let size = disk.geometry().size;
                let mut buf = [0; 512];
                disk.read_at(&mut buf, 0).unwrap();
                disk.read_at(&mut buf, size - 512).unwrap();
            }
        }
        let shared: Arc<dyn BlockFile> = Arc::new(file.clone());
        let _ = Format::Vhd.inspect(&shared);
        let _ = Format::Vhd.check(&shared, true, &TestEnvironment::shared());
        tried += 1;
    };
    for value in values {
        for at in (8..84).step_by(4) {
            for wide in [4, 8] {
                let bytes = &value.to_be_bytes()[8 - wide..];
                look(&patch_footers(&vhd, |f| f[at..at + wide].copy_from_slice(bytes)));
                look(&patch_header(&vhd, |h| h[at..at + wide].copy_from_slice(bytes)));
            }
        }
        for entry in 0..16 {
            let file = vhd.build();
            patch(&file, 1536 + entry * 4, &value.to_be_bytes()[4..]);
            look(&file);
        }
    }
    for len in (0..5000).step_by(257).chain([1535, 1536, 2047, 2048]) {
        let file = vhd.build();
        file.set_len(len).unwrap();
        look(&file);
    }
    println!("{tried} files");
}
