//! What a user of the disk sees, and what is in the file.

use std::io::IoSlice;

use super::*;
use crate::image::{Allocation, BlockStatus, OpenErrorKind, create_options::CreateOptions};

#[test]
fn a_new_disk_reads_as_zero_and_what_is_written_reads_back_after_a_reopen() {
    for (block, sector) in [(1, 512), (2, 4096), (32, 512), (256, 4096)] {
        let block = block * MIB;
        let wanted = CreateOptions { logical_sector: Some(sector), ..options(3 * block + 8192, block) };
        let file = created(&wanted);
        let disk = open(&file);
        assert_eq!(disk.geometry().size, 3 * block + 8192);
        assert_eq!((disk.geometry().logical_block, disk.geometry().physical_block), (sector, 4096));
        assert!(read(&*disk, block - 4096, 8192).iter().all(|b| *b == 0));
        let payload: Vec<u8> = (0..12_288_u32).map(|n| (n / 7 + 1).to_le_bytes()[0]).collect();
        // Over a block boundary, cut into uneven buffers.
        let (a, b) = payload.split_at(5000);
        disk.write_at(&[IoSlice::new(a), IoSlice::new(&[]), IoSlice::new(b)], block - 4096).unwrap();
        write(&*disk, 3 * block + 4096, &payload[..4096]);
        assert_eq!(read(&*disk, block - 4096, 12_288), payload);
        disk.close().unwrap();
        assert_eq!(complaints(&file), [""; 0]);
        let disk = open(&file);
        assert_eq!(read(&*disk, block - 4096, 12_288), payload);
        assert_eq!(read(&*disk, 3 * block + 4096, 4096), payload[..4096]);
        assert!(read(&*disk, block + 8192, 4096).iter().all(|b| *b == 0));
    }
}

#[test]
fn blocks_beyond_the_first_chunk_do_not_fall_on_bitmap_entries() {
    let block = 32 * MIB;
    let file = created(&options(20 << 30, block));
    let disk = open(&file);
    // 128 blocks of 32 MiB, 4 GiB, make a chunk.
    let places: Vec<u64> = (126..=130).chain(255..=258).chain([639]).collect();
    for n in &places {
        write(&*disk, n * block, &n.to_le_bytes().repeat(64));
    }
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
    let entry = |index: u64| u64::from_le_bytes(bytes_at(&*file, 3 * MIB + index * 8, 8).try_into().unwrap());
    assert_eq!((entry(128), entry(257)), (0, 0), "the entries of the bitmaps stay empty");
    assert_ne!(entry(129), 0);
    let disk = open(&file);
    for n in places {
        assert_eq!(read(&*disk, n * block, 8), n.to_le_bytes());
    }
}

#[test]
fn a_clean_file_is_not_touched_by_opening_reading_and_closing() {
    let file = created(&options(8 * MIB, MIB));
    let before = bytes_at(&*file, 0, 4 << 20);
    let disk = open(&file);
    read(&*disk, 0, 4096);
    disk.flush().unwrap();
    disk.write_zeroes(0, 8 * MIB, false).unwrap();
    disk.write_zeroes(0, 8 * MIB, true).unwrap();
    disk.close().unwrap();
    assert_eq!(bytes_at(&*file, 0, 4 << 20), before);
}

#[test]
fn a_first_write_changes_the_identifiers_that_tell_of_it() {
    let file = created(&options(8 * MIB, MIB));
    let ids = || super::super::inspect(&(Arc::clone(&file) as Arc<dyn BlockFile>)).unwrap().ids;
    let before = ids();
    let disk = open(&file);
    write(&*disk, 0, &[1; 512]);
    disk.close().unwrap();
    let after = ids();
    assert_ne!(before["data write"], after["data write"]);
    assert_ne!(before["file write"], after["file write"]);
    assert_eq!(before["virtual disk"], after["virtual disk"]);
}

#[test]
fn zeroing_whole_blocks_frees_their_space_and_parts_give_theirs_to_the_host() {
    let file = created(&options(4 * MIB + 4096, MIB));
    let disk = open(&file);
    for block in 0..5 {
        write(
            &*disk,
            block * MIB,
            &vec![block.to_le_bytes()[0] + 1; if block == 1 { 1 << 20 } else { 4096 }],
        );
    }
    disk.flush().unwrap();
    // Half of the first, all of the second, all of the short last one.
    disk.write_zeroes(MIB / 2, MIB + MIB / 2, true).unwrap();
    disk.write_zeroes(4 * MIB, 4096, true).unwrap();
    assert_eq!(read(&*disk, 0, 1), [1]);
    assert_eq!(read(&*disk, MIB, 1), [0]);
    assert_eq!(read(&*disk, 4 * MIB, 1), [0]);
    assert_eq!(disk.block_status(0, 4 * MIB).unwrap(), (BlockStatus::Mapped, MIB));
    assert_eq!(disk.block_status(MIB, 3 * MIB).unwrap(), (BlockStatus::Deallocated, MIB));
    assert_eq!(disk.block_status(4 * MIB, 512).unwrap(), (BlockStatus::Deallocated, 512));
    let taken = file.allocated();
    disk.flush().unwrap();
    assert!(file.allocated() < taken, "the space went back to the host");
    disk.close().unwrap();
    // The place of the last block was at the end of the file, that of the second in its midst.
    assert_eq!(complaints(&file), ["1 MiB of the file are referred to by nothing"]);
    let entry = |index: u64| bytes_at(&*file, 3 * MIB + index * 8, 8);
    assert_eq!(entry(1), 2_u64.to_le_bytes(), "zero, with an offset of zero");
}

#[test]
fn zeroing_parts_of_a_block_zeroes_them_and_nothing_else() {
    let file = created(&options(4 * MIB, MIB));
    let disk = open(&file);
    write(&*disk, 0, &vec![7; 3 << 20]);
    disk.write_zeroes(512, 2 * MIB, true).unwrap();
    let content = read(&*disk, 0, 3 << 20);
    let zero = 512..512 + (2 << 20);
    assert!(content.iter().enumerate().all(|(at, byte)| (*byte == 0) == zero.contains(&at)));
    assert_eq!(disk.block_status(MIB, MIB).unwrap().0, BlockStatus::Deallocated);
    disk.write_zeroes(0, 512, false).unwrap();
    assert_eq!(read(&*disk, 0, 512), [0; 512]);
    disk.write_zeroes(3 * MIB, MIB, false).unwrap();
    assert_eq!(disk.block_status(3 * MIB, MIB).unwrap().0, BlockStatus::Deallocated);
}

#[test]
fn a_fixed_disk_never_gives_space_up() {
    let wanted = CreateOptions { allocation: Allocation::Fixed, ..options(4 * MIB + 512, MIB) };
    let file = created(&wanted);
    let len = file.len().unwrap();
    assert_eq!(len, 4 * MIB + 5 * MIB);
    let disk = open(&file);
    assert!(!disk.geometry().thin);
    write(&*disk, 0, &vec![7; 2 << 20]);
    disk.write_zeroes(0, MIB, true).unwrap();
    assert_eq!(read(&*disk, 0, 512), [0; 512]);
    assert_eq!(disk.block_status(0, 4 * MIB + 512).unwrap(), (BlockStatus::Mapped, 4 * MIB + 512));
    disk.close().unwrap();
    assert_eq!(file.len().unwrap(), len);
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn space_given_up_is_used_again_after_two_flushes_and_reads_as_zero() {
    let file = created(&options(64 * MIB, MIB));
    let disk = open(&file);
    write(&*disk, 0, &vec![7; 1 << 20]);
    disk.flush().unwrap();
    disk.write_zeroes(0, MIB, true).unwrap();
    // Freed but not flushed: the place must not be used.
    write(&*disk, MIB, &[8; 512]);
    assert_eq!(bytes_at(&*file, 4 * MIB, 1), [7]);
    disk.flush().unwrap();
    disk.flush().unwrap();
    write(&*disk, 2 * MIB, &[9; 512]);
    disk.flush().unwrap();
    write(&*disk, 3 * MIB + 512, &[9; 512]);
    assert_eq!(
        bytes_at(&*file, 4 * MIB, 1024),
        [[0; 512], [9; 512]].concat(),
        "the place of the first block"
    );
    assert!(read(&*disk, 3 * MIB + 1024, 8192).iter().all(|b| *b == 0));
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn a_closed_disk_takes_nothing_and_a_read_only_one_no_writes() {
    let file = created(&options(4 * MIB, MIB));
    let disk = open(&file);
    write(&*disk, 0, &[1; 512]);
    disk.close().unwrap();
    assert!(disk.read_at(&mut [0; 512], 0).is_err());
    assert!(disk.write_at(&[IoSlice::new(&[0; 512])], 0).is_err());
    assert!(disk.flush().is_err());
    disk.close().unwrap();
    let disk = try_open(&file, Access::ReadOnly).unwrap();
    assert!(disk.geometry().read_only);
    assert_eq!(read(&*disk, 0, 512), [1; 512]);
    assert!(disk.write_at(&[IoSlice::new(&[0; 512])], 0).is_err());
    assert!(disk.write_zeroes(0, MIB, true).is_err());
    disk.flush().unwrap();
    disk.close().unwrap();
}

#[test]
fn ranges_past_the_disk_are_refused() {
    let disk = open(&created(&options(4 * MIB + 512, MIB)));
    assert!(disk.read_at(&mut [0; 1024], 4 * MIB).is_err());
    assert!(disk.read_at(&mut [0; 512], u64::MAX - 511).is_err());
    assert!(disk.write_at(&[IoSlice::new(&[0; 1024])], 4 * MIB).is_err());
    assert!(disk.write_zeroes(0, 5 * MIB, true).is_err());
    assert!(disk.write_zeroes(u64::MAX, 512, true).is_err());
}

#[test]
fn reads_that_need_no_waiting_are_answered_from_the_cache() {
    let file = created(&options(4 * MIB, MIB));
    let disk = open(&file);
    let mut buf = [9; 512];
    assert!(!disk.read_cached_at(&mut buf, 0).unwrap(), "the table's page is not in memory yet");
    write(&*disk, 0, &[1; 512]);
    assert!(disk.read_cached_at(&mut buf, 0).unwrap());
    assert_eq!(buf, [1; 512]);
    assert!(disk.read_cached_at(&mut buf, 2 * MIB).unwrap());
    assert_eq!(buf, [0; 512]);
}

#[test]
fn a_last_block_that_the_file_cuts_short_reads_as_zero_there_and_can_be_written() {
    let file = created(&options(16 * MIB, 4 * MIB));
    let disk = open(&file);
    write(&*disk, 4 * MIB, &vec![7; 4 << 20]);
    disk.close().unwrap();
    file.set_len(5 * MIB + 512).unwrap();
    let notes: Vec<_> = check(&file).findings.into_iter().map(|f| f.message).collect();
    assert!(notes.iter().any(|n| n.contains("cut short")), "{notes:?}");
    assert_eq!(complaints(&file), [""; 0]);
    let disk = open(&file);
    let content = read(&*disk, 4 * MIB, 4 << 20);
    assert!(content.iter().enumerate().all(|(at, b)| *b == if at < (1 << 20) + 512 { 7 } else { 0 }));
    disk.write_zeroes(5 * MIB, 1024, false).unwrap();
    // A new block must not fall into the part that the file does not have yet.
    write(&*disk, 0, &[8; 512]);
    write(&*disk, 7 * MIB, &[9; 512]);
    assert_eq!(read(&*disk, 0, 1024), [[8; 512], [0; 512]].concat());
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn options_that_the_format_does_not_allow_are_named() {
    let base = options(MIB, MIB);
    for (option, wanted) in [
        ("size", CreateOptions { size: 0, ..base }),
        ("size", CreateOptions { size: 100, ..base }),
        ("size", CreateOptions { size: (64 << 40) + 512, ..base }),
        ("size", CreateOptions { logical_sector: Some(4096), size: MIB + 512, ..base }),
        ("block size", options(MIB, MIB / 2)),
        ("block size", options(MIB, 3 * MIB)),
        ("block size", options(MIB, 512 * MIB)),
        ("sector size", CreateOptions { logical_sector: Some(1024), ..base }),
        ("physical sector size", CreateOptions { physical_sector: Some(0), ..base }),
        (
            "physical sector size",
            CreateOptions { logical_sector: Some(4096), physical_sector: Some(512), ..base },
        ),
    ] {
        let file = MemoryFile::default();
        let error = super::super::create(&file, &wanted, &TestEnvironment).unwrap_err();
        assert!(error.to_string().contains(&format!("with {option} ")), "{error}");
        assert_eq!(file.len().unwrap(), 0);
    }
    let file = MemoryFile::with_len(1);
    super::super::create(&file, &base, &TestEnvironment).unwrap_err();
}

#[test]
fn inspect_tells_what_the_image_is() {
    let file = created(&options(1 << 40, 2 * MIB));
    let disk = open(&file);
    write(&*disk, 5 * MIB, &[1; 512]);
    disk.flush().unwrap();
    let inspect =
        |file: &Arc<MemoryFile>| super::super::inspect(&(Arc::clone(file) as Arc<dyn BlockFile>)).unwrap();
    let open_one = inspect(&killed(&file));
    assert!(open_one.log.unwrap().contains("not closed"));
    assert_eq!(open_one.allocated_blocks, Some(1));
    disk.close().unwrap();
    let info = inspect(&file);
    assert_eq!(info.subformat.as_deref(), Some("dynamic"));
    assert_eq!((info.virtual_size, info.block_size), (1 << 40, Some(2 * MIB)));
    assert_eq!((info.allocated_blocks, info.total_blocks), (Some(1), Some(1 << 19)));
    assert_eq!(info.log.as_deref(), Some("clean"));
    assert!(info.creator.unwrap().starts_with("Lunkeep "));
    assert_eq!(info.warnings, [""; 0]);
}

#[test]
fn what_is_no_vhdx_file_is_said_to_be_none() {
    for len in [0, 8, MIB - 1, 4 * MIB] {
        let error = try_open(&Arc::new(MemoryFile::with_len(len)), Access::ReadOnly).unwrap_err();
        assert_eq!(error.kind(), OpenErrorKind::Damaged, "{error}");
    }
}

#[test]
fn places_that_nothing_uses_are_found_at_the_first_change_and_used_again() {
    let file = created(&options(64 * MIB, MIB));
    let disk = open(&file);
    for block in 0..8 {
        write(&*disk, block * MIB, &[7; 4096]);
    }
    disk.close().unwrap();
    // Blocks 2 to 5 are forgotten, as a program that loses space does.
    let bat = 3 * MIB;
    for block in 2..6 {
        file.write_all_at(&[0; 8], bat + block * 8).unwrap();
    }
    assert_eq!(complaints(&file), ["4 MiB of the file are referred to by nothing"]);
    let len = file.len().unwrap();
    let disk = open(&file);
    write(&*disk, 0, &[8; 512]);
    // Punched after the first flush, clean after the second.
    disk.flush().unwrap();
    write(&*disk, 0, &[9; 512]);
    disk.flush().unwrap();
    for block in 20..24 {
        write(&*disk, block * MIB + 4096, &[1; 512]);
        assert_eq!(read(&*disk, block * MIB, 4096), [0; 4096], "nothing old comes to light");
    }
    disk.close().unwrap();
    assert_eq!(file.len().unwrap(), len, "in the places of the forgotten blocks");
    assert_eq!(complaints(&file), [""; 0]);
    let disk = open(&file);
    for block in 20..24 {
        assert_eq!(read(&*disk, block * MIB + 4096, 512), [1; 512]);
    }
}
