//! Full file systems, failing writes and syncs, and how many syncs there are.

use std::io::ErrorKind;

use super::*;
use crate::image::DiskError;

const BAT: u64 = 3 * MIB;

fn probe(blocks: u64) -> (Arc<MemoryFile>, Arc<ProbeFile>, Arc<dyn Disk>) {
    let file = created(&options(blocks * MIB, MIB));
    let probe = ProbeFile::new(&file);
    let disk = probe.open();
    (file, probe, disk)
}

fn try_write(disk: &dyn Disk, block: u64) -> Result<(), DiskError> {
    disk.write_at(&[IoSlice::new(&[block.to_le_bytes()[0] | 1; 512])], block * MIB)
}

#[test]
fn a_write_needs_no_sync_and_a_flush_of_any_number_of_new_blocks_one() {
    let (_, probe, disk) = probe(2000);
    assert_eq!(probe.syncs(), 0, "opening a clean file changes nothing");
    try_write(&*disk, 0).unwrap();
    assert_eq!(probe.syncs(), 3, "the first change starts a session: log, header, header");
    for count in [1, 10, 600, 1] {
        for block in 0..count {
            try_write(&*disk, (block * 7 + count * 3) % 2000).unwrap();
        }
        assert_eq!(probe.syncs(), 0);
        disk.flush().unwrap();
        assert_eq!(probe.syncs(), 1);
    }
    disk.flush().unwrap();
    assert_eq!(probe.syncs(), 0, "nothing was written since the last flush");
    try_write(&*disk, 3).unwrap();
    disk.flush().unwrap();
    assert_eq!(probe.syncs(), 1, "a block that has its place");
    disk.write_zeroes(3 * MIB, MIB, true).unwrap();
    assert_eq!(probe.syncs(), 0);
    disk.flush().unwrap();
    assert_eq!(probe.syncs(), 1);
    disk.close().unwrap();
    assert_eq!(probe.syncs(), 3, "pages in place, header, header");
}

#[test]
fn blocks_in_recycled_places_cost_a_flush_one_sync_too() {
    let (_, probe, disk) = probe(64);
    try_write(&*disk, 0).unwrap();
    disk.flush().unwrap();
    disk.write_zeroes(0, MIB, true).unwrap();
    disk.flush().unwrap();
    try_write(&*disk, 1).unwrap();
    disk.flush().unwrap();
    probe.syncs();
    try_write(&*disk, 2).unwrap();
    assert_eq!(bytes_at(&*probe, 4 * MIB, 1), [3], "the place of block 0");
    disk.flush().unwrap();
    assert_eq!(probe.syncs(), 1);
}

#[test]
fn a_file_that_cannot_grow_fails_the_write_and_leaves_the_disk_usable() {
    let (file, probe, disk) = probe(64);
    try_write(&*disk, 0).unwrap();
    probe.set(Some(Fault::SetLen(ErrorKind::StorageFull)));
    // The space that the file has grown by already is still there.
    let full = (1..64).find(|block| try_write(&*disk, *block).is_err()).unwrap();
    assert!(matches!(try_write(&*disk, full), Err(DiskError::NoSpace)));
    assert_eq!(read(&*disk, full * MIB, 512), [0; 512]);
    try_write(&*disk, 0).unwrap();
    disk.flush().unwrap();
    probe.set(None);
    try_write(&*disk, full).unwrap();
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
    assert_eq!(read(&*open(&file), full * MIB, 1), [full.to_le_bytes()[0] | 1]);
}

#[test]
fn payload_that_finds_no_room_leaves_the_block_without_a_place() {
    let (file, probe, disk) = probe(64);
    try_write(&*disk, 0).unwrap();
    probe.set(Some(Fault::Write(4 * MIB, u64::MAX, ErrorKind::StorageFull)));
    assert!(matches!(try_write(&*disk, 1), Err(DiskError::NoSpace)));
    assert_eq!(read(&*disk, MIB, 512), [0; 512]);
    disk.flush().unwrap();
    probe.set(Some(Fault::Write(4 * MIB, u64::MAX, ErrorKind::Other)));
    assert!(matches!(try_write(&*disk, 1), Err(DiskError::Write(_))), "payload does not poison");
    probe.set(None);
    try_write(&*disk, 1).unwrap();
    disk.close().unwrap();
    let disk = open(&file);
    assert_eq!(read(&*disk, MIB, 512), [1; 512]);
}

#[test]
fn a_log_or_a_table_without_room_fails_flushes_until_there_is_room_again() {
    for (from, to, flush_fails) in [(MIB, 2 * MIB, true), (BAT, BAT + MIB, false)] {
        let (file, probe, disk) = probe(64);
        try_write(&*disk, 0).unwrap();
        disk.flush().unwrap();
        probe.set(Some(Fault::Write(from, to, ErrorKind::StorageFull)));
        for block in 1..20 {
            try_write(&*disk, block).unwrap();
            // The log has room for what the table has not.
            assert_eq!(disk.flush().is_err(), flush_fails);
        }
        probe.set(None);
        disk.flush().unwrap();
        let disk = open(&killed(&file));
        for block in 0..20 {
            assert_eq!(read(&*disk, block * MIB, 1), [block.to_le_bytes()[0] | 1]);
        }
    }
}

#[test]
fn a_failed_write_of_metadata_or_a_failed_sync_ends_writing_and_not_reading() {
    for fault in [
        Fault::Write(MIB, 2 * MIB, ErrorKind::Other),
        Fault::Write(BAT, BAT + MIB, ErrorKind::Other),
        Fault::Sync,
    ] {
        let (file, probe, disk) = probe(64);
        try_write(&*disk, 0).unwrap();
        disk.flush().unwrap();
        try_write(&*disk, 1).unwrap();
        probe.set(Some(fault));
        let flushed = disk.flush();
        // Once the log has it, pages that cannot be put in place do not fail the flush.
        assert_eq!(flushed.is_ok(), matches!(fault, Fault::Write(BAT, ..)), "{fault:?}");
        probe.set(None);
        assert!(matches!(try_write(&*disk, 0), Err(DiskError::Poisoned)));
        assert!(matches!(disk.flush(), Err(DiskError::Poisoned)), "a second sync would answer success");
        assert!(matches!(disk.write_zeroes(0, MIB, true), Err(DiskError::Poisoned)));
        assert_eq!(read(&*disk, 0, 1), [1]);
        assert!(disk.close().is_err());
        // What was flushed is there at the next start.
        let disk = open(&file);
        assert_eq!(read(&*disk, 0, 1), [1]);
        if flushed.is_ok() {
            assert_eq!(read(&*disk, MIB, 1), [1]);
        }
    }
}

#[test]
fn a_session_that_cannot_start_changes_nothing() {
    for (fault, poisons) in [
        (Fault::Write(MIB, 2 * MIB, ErrorKind::StorageFull), false),
        (Fault::Write(64 << 10, 192 << 10, ErrorKind::StorageFull), true),
        (Fault::Sync, true),
    ] {
        let (file, probe, disk) = probe(64);
        probe.set(Some(fault));
        try_write(&*disk, 0).unwrap_err();
        assert_eq!(read(&*disk, 0, 1), [0]);
        probe.set(None);
        assert_eq!(try_write(&*disk, 0).is_err(), poisons, "{fault:?}");
        drop(disk);
        assert!(check(&file).is_sound());
        open(&file).close().unwrap();
    }
}

#[test]
fn an_entry_past_the_end_of_the_file_never_shows_the_bytes_of_a_block_that_comes_to_lie_there() {
    // 512 entries in a page: block 600 is in the second page, 5 in the first.
    for (block, same_page) in [(600, false), (5, true)] {
        let file = created(&options(1024 * MIB, MIB));
        let past = 6 * MIB;
        file.write_all_at(&((past | 6).to_le_bytes()), BAT + block * 8).unwrap();
        assert!(!check(&file).is_sound());
        let disk = open(&file);
        assert!(matches!(disk.read_at(&mut [0; 512], block * MIB), Err(DiskError::Corrupt(_))));
        for n in 0..5 {
            let written = try_write(&*disk, n);
            // In its own page nothing can be given a place: where the others are cannot be trusted.
            assert_eq!(matches!(written, Err(DiskError::Corrupt(_))), same_page, "{written:?}");
        }
        if !same_page {
            assert!(file.len().unwrap() > past);
            assert_ne!(bytes_at(&*file, past, 1), [0], "another block is there now");
        }
        assert!(matches!(disk.read_at(&mut [0; 512], block * MIB), Err(DiskError::Corrupt(_))));
        assert!(matches!(try_write(&*disk, block), Err(DiskError::Corrupt(_))));
        assert!(matches!(disk.write_zeroes(block * MIB, MIB, true), Err(DiskError::Corrupt(_))));
        disk.close().unwrap();
        for n in (0..5).filter(|_| !same_page) {
            assert_eq!(read(&*open(&file), n * MIB, 1), [n.to_le_bytes()[0] | 1]);
        }
    }
}

#[test]
fn blocks_over_other_parts_of_the_file_are_neither_read_nor_written() {
    for place in [0, MIB, 2 * MIB, 3 * MIB] {
        let file = created(&options(4 * MIB, MIB));
        file.write_all_at(&((place | 6).to_le_bytes()), BAT).unwrap();
        let before = bytes_at(&*file, 0, 4 << 20);
        let disk = open(&file);
        assert!(matches!(disk.read_at(&mut [0; 512], 0), Err(DiskError::Corrupt(_))));
        assert!(matches!(try_write(&*disk, 0), Err(DiskError::Corrupt(_))));
        assert!(matches!(disk.write_zeroes(0, 512, false), Err(DiskError::Corrupt(_))));
        disk.close().unwrap();
        // The headers tell of a session; what the entry points at is as it was.
        assert_eq!(bytes_at(&*file, 2 * MIB, 2 << 20), before[2 << 20..]);
        assert!(complaints(&file).iter().any(|c| c.contains("block 0 is at")), "{place}");
    }
}

#[test]
fn the_check_names_blocks_that_share_a_place() {
    let file = created(&options(8 * MIB, MIB));
    let disk = open(&file);
    for block in 0..4 {
        try_write(&*disk, block).unwrap();
    }
    disk.close().unwrap();
    let put = |index: u64, entry: u64| file.write_all_at(&entry.to_le_bytes(), BAT + index * 8).unwrap();
    put(5, (6 * MIB) | 6);
    put(6, (5 * MIB) | 3);
    put(7, 4);
    put(4, 8 | 2);
    let found = complaints(&file);
    let expected = [
        "block 4: reserved bits 0x8 are set",
        "block 5 is at 6291456, where another block is",
        "block 6 is at 5242880, where another block is",
        "block 7 has the unknown state 4",
    ];
    assert_eq!(found, expected);
}
