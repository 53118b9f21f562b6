//! The largest disks: opened at once, in little memory.

use super::super::disk::Vhdx;
use super::*;
use crate::limits::MAX_VHDX_BAT_PAGES;

const SIZE: u64 = 64 << 40;

/// Counts what is read.
fn opened(file: &Arc<MemoryFile>) -> Vhdx {
    Vhdx::open(Arc::clone(file) as Arc<dyn BlockFile>, Access::ReadWrite, &env(), &Lineage::none()).unwrap()
}

#[test]
fn a_disk_of_64_tib_is_created_opened_and_written_at_its_far_end() {
    for (block, sector) in [(1, 512), (1, 4096), (32, 512), (256, 4096)] {
        let block = block * MIB;
        let file = created(&CreateOptions { logical_sector: Some(sector), ..options(SIZE, block) });
        let disk = opened(&file);
        assert_eq!(disk.bat.resident(), 0, "opening reads nothing of the table");
        let places = [0, 4 << 30, (4 << 30) - 4096, SIZE / 2 - 4096, SIZE - 4096];
        for (n, at) in (1..).zip(places) {
            write(&disk, at, &[n; 4096]);
        }
        disk.flush().unwrap();
        assert!(disk.bat.resident() <= places.len());
        let crashed = opened(&killed(&file));
        for disk in [&disk, &crashed] {
            for (n, at) in (1..).zip(places) {
                assert_eq!(read(disk, at, 4096), [n; 4096]);
            }
        }
        disk.close().unwrap();
        assert_eq!(complaints(&file), [""; 0]);
        assert!(file.allocated() < 2 << 20, "{} bytes for five writes", file.allocated());
    }
}

#[test]
fn memory_stays_bounded_when_every_page_of_a_large_table_is_changed() {
    // 64 TiB of 1 MiB blocks: 131072 pages of 512 entries. One block in each of 10000 of them.
    const STEP: u64 = 512 * MIB;
    let pages = 10_000;
    assert!(pages > 2 * MAX_VHDX_BAT_PAGES as u64);
    let file = created(&options(SIZE, MIB));
    let disk = opened(&file);
    for page in 0..pages {
        write(&disk, page * STEP, &page.to_le_bytes().repeat(64));
        if page % 512 == 0 {
            assert!(disk.bat.resident() <= MAX_VHDX_BAT_PAGES + 1024, "{}", disk.bat.resident());
        }
    }
    disk.close().unwrap();
    let disk = opened(&file);
    for page in 0..pages {
        assert_eq!(read(&disk, page * STEP, 8), page.to_le_bytes());
    }
    assert!(disk.bat.resident() <= MAX_VHDX_BAT_PAGES);
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn with_a_table_too_long_to_read_new_blocks_keep_clear_of_a_last_block_cut_short() {
    // 16 MiB blocks and 64 TiB: a table of 32 MiB.
    let block = 16 * MIB;
    let file = created(&options(SIZE, block));
    let disk = opened(&file);
    write(&disk, 0, &vec![7; 16 << 20]);
    disk.close().unwrap();
    let end = file.len().unwrap();
    file.set_len(end - 15 * MIB).unwrap();
    let disk = opened(&file);
    write(&disk, block, &[8; 4096]);
    write(&disk, 15 * MIB, &[9; 4096]);
    assert_eq!(read(&disk, block, 4096), [8; 4096]);
    assert_eq!(read(&disk, 2 * MIB, 4096), [0; 4096]);
    disk.close().unwrap();
    assert!(check(&file).is_sound());
}
