//! Power cuts while blocks are moved, a table moves, or a disk gets another parent: what it reads as is the old or the new, and it
//! is sound.

use std::io::IoSlice;
use std::sync::Arc;

use lunkeep_target::image::{
    Access, BlockFile, BlockStatus, CreateOptions, Format, Lineage, MemoryFile, ParentRecord, rebase,
};
use lunkeep_tests::chain::Folder;
use lunkeep_tests::crash::{content, stamp};
use lunkeep_tests::crash_file::{CrashFile, Syncs};
use lunkeep_tests::test_environment::TestEnvironment;

use super::operations::{go_on, image, judge, read, search};

const MIB: u64 = 1 << 20;

const FORMATS: [(Format, u64); 2] = [(Format::Vhd, 4096), (Format::Vhdx, MIB)];

/// A base with a stamp in each unit, and a child with gaps between its blocks: units 0 to 3 were written and unmapped.
fn gappy(format: Format, unit: u64, child: bool) -> (MemoryFile, Lineage) {
    let env = TestEnvironment::shared();
    let options = CreateOptions { block_size: Some(unit), ..CreateOptions::dynamic(8 * unit) };
    let units: Vec<u64> = (0..8).map(|n| n * unit / 512).collect();
    let base = Arc::new(image(format, &options, if child { &units } else { &[] }));
    let folder = Folder::default();
    folder.put("base", Arc::clone(&base) as _);
    let (file, lineage) = if child {
        (Arc::new(folder.child_of(format, "base", Some(unit), &env)), folder.lineage("child"))
    } else {
        (base, Lineage::none())
    };
    let disk = format.open_in(Arc::clone(&file) as _, Access::ReadWrite, &env, &lineage).unwrap();
    for n in 0..8 {
        disk.write_at(&[IoSlice::new(&stamp(n, 9, 512))], n * unit + 512).unwrap();
        disk.flush().unwrap();
    }
    disk.close().unwrap();
    drop(disk);
    // A block of a VHD child is never given up.
    if !child || format == Format::Vhdx {
        let disk = format.open_in(Arc::clone(&file) as _, Access::ReadWrite, &env, &lineage).unwrap();
        disk.write_zeroes(0, 4 * unit, true).unwrap();
        disk.close().unwrap();
    }
    ((*file).clone(), lineage)
}

fn packed(format: Format, unit: u64, syncs: Syncs) -> Result<usize, String> {
    let env = TestEnvironment::shared();
    let (before, lineage) = gappy(format, unit, false);
    let shared: Arc<dyn BlockFile> = Arc::new(before.clone());
    let old = read(format, &shared, &lineage, Access::ReadOnly)?;
    let crash = Arc::new(CrashFile::new(&before, syncs));
    let file: Arc<dyn BlockFile> = Arc::clone(&crash) as _;
    format.compact(&file, &env, &mut go_on).map_err(|e| e.to_string())?;
    let (long, short) = (before.len().unwrap(), file.len().unwrap());
    assert!(short <= long - 3 * unit, "{format}: {short} bytes of {long}");
    let report = format.check(&file, false, &env).unwrap();
    assert_eq!((report.errors, report.leaks), (0, 0), "{format}: {:?}", report.findings);
    assert!(read(format, &file, &lineage, Access::ReadOnly)? == old);
    search(&crash, |image| judge(format, image, &lineage, &[&old]))
}

#[test]
fn a_power_cut_while_blocks_are_moved_changes_nothing_that_the_disk_reads_as() {
    for (format, unit) in FORMATS {
        let count = packed(format, unit, Syncs::Honest);
        println!("{format}: {count:?}");
        assert!(count.is_ok(), "{format}: {count:?}");
    }
}

#[test]
fn blocks_that_are_moved_without_syncs_are_found_out() {
    for (format, unit) in FORMATS {
        assert!(packed(format, unit, Syncs::None).is_err(), "{format}");
    }
}

/// The one sync that counts: between the copies and the table.
#[test]
fn a_table_that_is_written_before_the_copies_are_durable_is_found_out() {
    for (format, unit) in FORMATS {
        let without = |remainder| packed(format, unit, Syncs::AllBut { divisor: 1000, remainder });
        assert!((0..30).any(|number| without(number).is_err()), "{format}");
    }
}

#[test]
fn blocks_and_bitmaps_of_a_child_are_moved_and_it_reads_as_before() {
    for (format, unit) in FORMATS {
        let env = TestEnvironment::shared();
        let (file, lineage) = gappy(format, unit, true);
        let file: Arc<dyn BlockFile> = Arc::new(file);
        let before = file.len().unwrap();
        let old = read(format, &file, &lineage, Access::ReadOnly).unwrap();
        format.compact(&file, &env, &mut go_on).unwrap();
        assert!(format == Format::Vhd || file.len().unwrap() <= before - 3 * MIB, "{format}");
        judge(format, super::operations::copy(&*file), &lineage, &[&old]).unwrap();
    }
}

/// Grows beyond what the table has room for, and looks at every power cut.
fn table_moved(child: bool, syncs: Syncs) -> Result<usize, String> {
    let (format, env) = (Format::Vhdx, TestEnvironment::shared());
    let size = 132 << 30;
    let (before, lineage) = gappy(format, MIB, child);
    let shared: Arc<dyn BlockFile> = Arc::new(before.clone());
    let old = read(format, &shared, &lineage, Access::ReadOnly)?;
    let crash = Arc::new(CrashFile::new(&before, syncs));
    let file: Arc<dyn BlockFile> = Arc::clone(&crash) as _;
    format.resize(&file, size, &env).map_err(|e| e.to_string())?;
    let look = |image: MemoryFile, sizes: &[u64]| -> Result<(), String> {
        let file: Arc<dyn BlockFile> = Arc::new(image);
        let report = format.check_in(&file, false, &env, &lineage).map_err(|e| e.to_string())?;
        if !report.is_sound() {
            return Err(format!("check: {:?}", report.findings));
        }
        for access in [Access::ReadOnly, Access::ReadWrite, Access::ReadOnly] {
            let disk = format
                .open_in(Arc::clone(&file), access, &env, &lineage)
                .map_err(|e| format!("{access:?}: {e}"))?;
            let now = disk.geometry().size;
            let mut seen = vec![1; old.len()];
            disk.read_at(&mut seen, 0).map_err(|e| e.to_string())?;
            if seen != old || !sizes.contains(&now) {
                return Err(format!("{access:?}: other content, or {now} bytes"));
            }
            if now == size {
                let status = disk.block_status(8 * MIB, MIB).map_err(|e| e.to_string())?;
                if status != (BlockStatus::Deallocated, MIB) {
                    return Err(format!("the new part is {status:?}"));
                }
                if access == Access::ReadWrite {
                    disk.write_at(&[IoSlice::new(&[3; 512])], size - 512).map_err(|e| e.to_string())?;
                    disk.write_zeroes(size - MIB, MIB, true).map_err(|e| e.to_string())?;
                }
            }
            disk.close().map_err(|e| e.to_string())?;
        }
        Ok(())
    };
    look(super::operations::copy_sparse(&*file), &[size])?;
    search(&crash, |image| look(image, &[8 * MIB, size]))
}

#[test]
fn a_power_cut_while_a_vhdx_gets_a_longer_table_leaves_the_old_size_or_the_new_one() {
    for child in [false, true] {
        let count = table_moved(child, Syncs::Honest);
        println!("{count:?}");
        assert!(count.is_ok(), "child: {child}: {count:?}");
    }
}

#[test]
fn a_table_that_moves_without_syncs_is_found_out() {
    assert!(table_moved(false, Syncs::None).is_err());
}

/// A child of "old", to be given the parent "new", which says other things.
struct Rebase {
    format: Format,
    folder: Folder,
    child: MemoryFile,
    record: ParentRecord,
    reads: Vec<u8>,
}

fn to_be_rebased(format: Format, unit: u64) -> Rebase {
    let env = TestEnvironment::shared();
    let options = CreateOptions { block_size: Some(unit), ..CreateOptions::dynamic(3 * unit + 1024) };
    let folder = Folder::default();
    folder.put("old", Arc::new(image(format, &options, &[0, 3, unit / 512])));
    // Another identity than that of the old one.
    for _ in 0..7 {
        env.random_guid().unwrap();
    }
    let new: Arc<dyn BlockFile> = Arc::new(image(format, &options, &[0, 5, 2 * unit / 512]));
    folder.put("new", Arc::clone(&new));
    let child = Arc::new(folder.child_of(format, "old", Some(unit), &env));
    folder.put("child", Arc::clone(&child) as _);
    let disk =
        format.open_in(Arc::clone(&child) as _, Access::ReadWrite, &env, &folder.lineage("child")).unwrap();
    disk.write_at(&[IoSlice::new(&stamp(1, 8, 512))], 512).unwrap();
    let reads = content(&*disk).unwrap();
    disk.close().unwrap();
    let record = ParentRecord {
        id: format.identity(&new).unwrap(),
        relative: "new".to_owned(),
        absolute: format!("/images/{}/new", "a long name of a folder/".repeat(20)),
        modified: 1_800_000_000,
    };
    Rebase { format, folder, child: (*child).clone(), record, reads }
}

fn rebased(format: Format, unit: u64, syncs: Syncs, keep: bool) -> Result<usize, String> {
    let env = TestEnvironment::shared();
    let case = to_be_rebased(format, unit);
    let crash = Arc::new(CrashFile::new(&case.child, syncs));
    let file: Arc<dyn BlockFile> = Arc::clone(&crash) as _;
    if keep {
        let lineage = case.folder.lineage("child");
        let disk = format.open_in(Arc::clone(&file), Access::ReadWrite, &env, &lineage).unwrap();
        let base: Arc<dyn BlockFile> = Arc::clone(&case.folder.file("new").unwrap());
        let base = format.open(base, Access::ReadOnly, &env).unwrap();
        rebase::take_over(&*disk, &*base, &mut go_on).map_err(|e| e.to_string())?;
        disk.close().map_err(|e| e.to_string())?;
    }
    case.format.set_parent(&file, &case.record, &env).map_err(|e| e.to_string())?;
    let names = format.inspect(&file).unwrap().parent.unwrap().names;
    assert!(names.iter().any(|name| name.ends_with("new")), "{names:?}");
    if read(format, &file, &case.folder.lineage("child"), Access::ReadOnly)? != case.reads {
        return Err("the disk reads as something else".to_owned());
    }
    search(&crash, |image| judge(format, image, &case.folder.lineage("child"), &[&case.reads]))
}

#[test]
fn a_power_cut_while_a_disk_gets_another_parent_leaves_it_as_it_reads() {
    for (format, unit) in FORMATS {
        let count = rebased(format, unit, Syncs::Honest, true);
        println!("{format}: {count:?}");
        assert!(count.is_ok(), "{format}: {count:?}");
    }
}

#[test]
fn a_rebase_that_copies_nothing_or_does_not_sync_is_found_out() {
    for (format, unit) in FORMATS {
        assert!(rebased(format, unit, Syncs::Honest, false).unwrap_err().contains("something else"));
        assert!(rebased(format, unit, Syncs::None, true).is_err(), "{format}");
    }
}
