//! Differencing disks: what shows through from the parents and what does not, who may be a parent, and power cuts.

use std::io::IoSlice;
use std::sync::Arc;

use lunkeep_target::image::{
    Access, BlockFile, BlockStatus, CreateOptions, Disk, Environment, Format, MemoryFile, OpenError,
    OpenErrorKind,
};
use lunkeep_tests::chain::Folder;
use lunkeep_tests::crash::{Search, Step, content, random_script, search_in, stamp};
use lunkeep_tests::crash_file::Syncs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report;
use lunkeep_tests::test_environment::TestEnvironment;

const CHAINED: [(Format, u64, &str, &str); 2] =
    [(Format::Vhd, 4096, "base.vhd", "child.vhd"), (Format::Vhdx, 1 << 20, "base.vhdx", "child.vhdx")];

fn open(
    folder: &Folder,
    format: Format,
    name: &str,
    file: &MemoryFile,
    access: Access,
) -> Result<Arc<dyn Disk>, OpenError> {
    let file: Arc<dyn BlockFile> = Arc::new(file.clone());
    open_shared(folder, format, name, &file, access)
}

fn open_shared(
    folder: &Folder,
    format: Format,
    name: &str,
    file: &Arc<dyn BlockFile>,
    access: Access,
) -> Result<Arc<dyn Disk>, OpenError> {
    format.open_in(Arc::clone(file), access, &TestEnvironment::shared(), &folder.lineage(name))
}

/// A base of three units and a bit whose first two units hold stamps in every second sector, below an empty child.
fn family(format: Format, unit: u64, base: &str, env: &Arc<dyn Environment>) -> (Folder, MemoryFile) {
    let size = 3 * unit + 1024;
    let file: Arc<dyn BlockFile> = Arc::new(MemoryFile::default());
    let options = CreateOptions { block_size: Some(unit), ..CreateOptions::dynamic(size) };
    format.create(&*file, &options, &**env).unwrap();
    let disk = format.open(Arc::clone(&file), Access::ReadWrite, env).unwrap();
    for at in (0..2 * unit / 512).filter(|at| at % 2 == 0 && at % 512 < 8) {
        disk.write_at(&[IoSlice::new(&stamp(at, 1 << 40, 512))], at * 512).unwrap();
    }
    disk.close().unwrap();
    let folder = Folder::default();
    folder.put(base, file);
    let child = folder.child_of(format, base, Some(unit), env);
    (folder, child)
}

#[test]
fn what_a_child_does_not_hold_comes_from_its_parent_and_zeroing_never_lets_that_show() {
    for (format, unit, base, name) in CHAINED {
        let env = TestEnvironment::shared();
        let (folder, child) = family(format, unit, base, &env);
        let file: Arc<dyn BlockFile> = Arc::new(child);
        let disk = open_shared(&folder, format, name, &file, Access::ReadWrite).unwrap();
        let mut expected = content(&*disk).unwrap();
        assert_eq!(&expected[1024..1536], &stamp(2, 1 << 40, 512)[..], "the parent's");
        assert_eq!(disk.block_status(2 * unit, unit).unwrap().0, BlockStatus::Deallocated);
        assert_eq!(disk.block_status(0, 512).unwrap(), (BlockStatus::Mapped, 512));
        let mut write = |at: u64, bytes: &[u8]| {
            disk.write_at(&[IoSlice::new(bytes)], at).unwrap();
            let at = usize::try_from(at).unwrap();
            expected[at..at + bytes.len()].copy_from_slice(bytes);
        };
        write(512, &[1; 512]);
        write(2 * unit + 512, &[2; 1024]);
        let mut zero = |at: u64, len: u64, may_deallocate: bool| {
            disk.write_zeroes(at, len, may_deallocate).unwrap();
            expected[usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap()].fill(0);
        };
        // Within a unit that has space, a whole unit of the parent's, one without anything below, and parts of both.
        zero(1024, 512, true);
        zero(unit, unit, true);
        zero(2 * unit, unit, true);
        zero(3 * unit, 1024, false);
        assert!(content(&*disk).unwrap() == expected, "{format}");
        disk.write_at(&[IoSlice::new(&[3; 512])], unit + 1024).unwrap();
        expected[usize::try_from(unit).unwrap() + 1024..][..512].fill(3);
        assert!(
            content(&*disk).unwrap() == expected,
            "{format}: a write after the zeroing brings nothing back"
        );
        disk.close().unwrap();
        let again = open_shared(&folder, format, name, &file, Access::ReadOnly).unwrap();
        assert!(content(&*again).unwrap() == expected, "{format}: opened again");
        let report = format.check_in(&file, false, &env, &folder.lineage(name)).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
}

#[test]
fn zeroing_what_is_zero_in_the_parent_takes_no_space() {
    for (format, unit, base, name) in CHAINED {
        let (folder, child) = family(format, unit, base, &TestEnvironment::shared());
        let file: Arc<dyn BlockFile> = Arc::new(child);
        let before = file.len().unwrap();
        let disk = open_shared(&folder, format, name, &file, Access::ReadWrite).unwrap();
        disk.write_zeroes(2 * unit + 512, 512, false).unwrap();
        disk.write_zeroes(2 * unit, unit + 1024, true).unwrap();
        disk.close().unwrap();
        assert_eq!(file.len().unwrap(), before, "{format}");
    }
}

/// The second session knows nothing of the bitmaps but what the file says.
#[test]
fn a_block_that_is_partly_here_takes_writes_at_once_when_it_is_opened_again() {
    for (format, unit, base, name) in CHAINED {
        let (folder, child) = family(format, unit, base, &TestEnvironment::shared());
        let file: Arc<dyn BlockFile> = Arc::new(child);
        let open = || open_shared(&folder, format, name, &file, Access::ReadWrite).unwrap();
        for (number, at) in [(1, 0), (2, 512), (3, 2048)] {
            let disk = open();
            disk.write_at(&[IoSlice::new(&[number; 512])], at).unwrap();
            disk.close().unwrap();
        }
        let bytes = content(&*open()).unwrap();
        assert_eq!([bytes[0], bytes[512], bytes[2048]], [1, 2, 3], "{format}");
        assert_eq!(&bytes[1024..1536], &stamp(2, 1 << 40, 512)[..], "the parent's");
    }
}

fn refusal(folder: &Folder, format: Format, name: &str, child: &MemoryFile) -> OpenError {
    open(folder, format, name, child, Access::ReadWrite).unwrap_err()
}

#[test]
fn a_parent_that_is_missing_or_was_changed_is_refused_and_nothing_is_written() {
    for (format, unit, base, name) in CHAINED {
        let env = TestEnvironment::shared();
        let (_, child) = family(format, unit, base, &env);
        let alone = format.open(Arc::new(child.clone()), Access::ReadOnly, &env).unwrap_err();
        assert!(alone.kind() == OpenErrorKind::ParentNeeded && alone.to_string().contains(base), "{alone}");
        let empty = refusal(&Folder::default(), format, name, &child);
        assert!(empty.to_string().contains("not found"), "{empty}");
        // Another disk of the same size under the parent's name.
        let other = family(format, unit, "other", &TestEnvironment::shared()).0;
        let strange: Arc<dyn BlockFile> = Arc::new(MemoryFile::default());
        let options = CreateOptions { block_size: Some(unit), ..CreateOptions::dynamic(3 * unit + 1024) };
        for _ in 0..9 {
            env.random_guid().unwrap();
        }
        format.create(&*strange, &options, &*env).unwrap();
        other.put(base, strange);
        let error = refusal(&other, format, name, &child);
        assert!(error.to_string().contains("is not the parent"), "{error}");
        let garbage = Folder::default();
        garbage.put(base, Arc::new(MemoryFile::with_len(1 << 20)));
        assert_eq!(refusal(&garbage, format, name, &child).kind(), OpenErrorKind::ParentNeeded);
        let file: Arc<dyn BlockFile> = Arc::new(child);
        let report = format.check_in(&file, false, &env, &other.lineage(name)).unwrap();
        assert!(
            report.findings.iter().any(|f| f.message.contains("is not the parent")),
            "{:?}",
            report.findings
        );
    }
}

#[test]
fn a_vhdx_parent_that_is_written_once_is_no_parent_any_more() {
    let env = TestEnvironment::shared();
    let (folder, child) = family(Format::Vhdx, 1 << 20, "base.vhdx", &env);
    open(&folder, Format::Vhdx, "child.vhdx", &child, Access::ReadOnly).unwrap();
    let base: Arc<dyn BlockFile> = Arc::new(MemoryFile::default());
    let options = CreateOptions { block_size: Some(1 << 20), ..CreateOptions::dynamic((3 << 20) + 1024) };
    Format::Vhdx.create(&*base, &options, &*env).unwrap();
    folder.put("base.vhdx", Arc::clone(&base));
    let child = folder.child_of(Format::Vhdx, "base.vhdx", None, &env);
    open(&folder, Format::Vhdx, "child.vhdx", &child, Access::ReadOnly).unwrap();
    let disk = Format::Vhdx.open(base, Access::ReadWrite, &env).unwrap();
    disk.write_at(&[IoSlice::new(&[1; 512])], 0).unwrap();
    disk.close().unwrap();
    let error = refusal(&folder, Format::Vhdx, "child.vhdx", &child);
    assert!(error.to_string().contains("was changed or replaced"), "{error}");
}

#[test]
fn a_circle_and_a_chain_that_is_too_long_are_refused() {
    for (format, unit, base, name) in CHAINED {
        let env = TestEnvironment::shared();
        let (folder, child) = family(format, unit, base, &env);
        // A child that is found under the name of its own parent.
        folder.put(base, Arc::new(child.clone()));
        let error = refusal(&folder, format, base, &child);
        assert!(error.to_string().contains("circle"), "{format}: {error}");
        let (folder, child) = family(format, unit, base, &env);
        folder.put("1", Arc::new(child));
        let mut n = 1;
        let error = loop {
            let next = folder.child_of(format, &n.to_string(), Some(unit), &env);
            n += 1;
            folder.put(&n.to_string(), Arc::new(next.clone()));
            match open(&folder, format, &n.to_string(), &next, Access::ReadWrite) {
                // The base is one more.
                Ok(disk) => assert_eq!(disk.chain_depth(), n + 1),
                Err(error) => break error,
            }
        };
        assert!(n == 64 && error.to_string().contains("more than 64 files"), "{format} {name}: {n} {error}");
    }
}

/// Damages every byte of the child's metadata that names the parent, one after another.
#[test]
fn damaged_names_of_parents_never_harm() {
    for (format, unit, base, name) in CHAINED {
        let (folder, child) = family(format, unit, base, &TestEnvironment::shared());
        let region = match format {
            Format::Vhdx => (2 << 20) + (64 << 10)..(2 << 20) + (64 << 10) + 400,
            _ => 512..3600,
        };
        let mut opened = 0;
        for at in region {
            for value in [0u8, 1, 0x7f, 0xff] {
                let damaged = child.clone();
                damaged.write_all_at(&[value], at).unwrap();
                if format == Format::Vhd && at < 1536 {
                    reseal(&damaged);
                }
                opened += u32::from(open(&folder, format, name, &damaged, Access::ReadOnly).is_ok());
                let file: Arc<dyn BlockFile> = Arc::new(damaged);
                let _ = format.inspect(&file);
                let _ = format.check_in(&file, false, &TestEnvironment::shared(), &folder.lineage(name));
            }
        }
        println!("{format}: {opened} opened all the same");
    }
}

/// Computes the dynamic header's checksum anew.
fn reseal(file: &MemoryFile) {
    let mut header = [0; 1024];
    file.read_exact_at(&mut header, 512).unwrap();
    header[36..40].fill(0);
    let sum = header.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    file.write_all_at(&(!sum).to_be_bytes(), 512 + 36).unwrap();
}

/// Few sectors at a time and whole units, so that bits, parents and freed places mix.
fn script(unit: u64, steps: usize, random: &mut Random) -> Vec<Step> {
    let mut script = Vec::new();
    for _ in 0..steps {
        let number = random.below(3);
        let at = number * unit + random.below(4);
        let count = 1 + random.below(3);
        script.push(match random.below(12) {
            0..=4 => Step::Write { at, count },
            5 => Step::Write { at: number * unit, count: unit },
            6 => Step::Zero { at, count, may_deallocate: random.one_in(2) },
            7 | 8 => Step::Zero { at: number * unit, count: unit, may_deallocate: random.one_in(2) },
            9 => match random.below(3) {
                0 => Step::Reopen,
                _ => Step::Kill,
            },
            _ => Step::Flush,
        });
    }
    script.push(Step::Write { at: unit + 5, count: 1 });
    script
}

#[test]
fn a_power_cut_loses_nothing_that_a_differencing_vhd_flushed() {
    let seed = seed("differencing vhd");
    let mut random = Random::new(seed);
    let env = TestEnvironment::shared();
    let (folder, child) = family(Format::Vhd, 4096, "base.vhd", &env);
    let mut count = 0;
    for round in 0..if report::full() { 200 } else { 12 } {
        let script =
            if round % 2 == 0 { script(8, 14, &mut random) } else { random_script(26, 8, 14, &mut random) };
        let how = Search { syncs: Syncs::Honest, per_stretch: 60, seed: seed ^ round };
        count += search_in(Format::Vhd, &folder.lineage("child.vhd"), &child, &script, how).unwrap();
    }
    println!("{count} power cuts");
}

#[test]
fn a_power_cut_loses_nothing_that_a_differencing_vhdx_flushed() {
    let seed = seed("differencing vhdx");
    let mut random = Random::new(seed);
    let env = TestEnvironment::shared();
    let (folder, child) = family(Format::Vhdx, 1 << 20, "base.vhdx", &env);
    let mut count = 0;
    for round in 0..if report::full() { 40 } else { 3 } {
        let script = script(2048, 12, &mut random);
        let how = Search { syncs: Syncs::Honest, per_stretch: 8, seed: seed ^ round };
        count += search_in(Format::Vhdx, &folder.lineage("child.vhdx"), &child, &script, how).unwrap();
    }
    println!("{count} power cuts");
}

/// A flush of new sectors syncs twice: the sectors, then what says that they are here. Each is needed.
#[test]
fn a_differencing_disk_that_lacks_one_of_the_two_syncs_of_a_flush_is_found_out() {
    for (format, unit, base, name) in CHAINED {
        let (folder, child) = family(format, unit, base, &TestEnvironment::shared());
        let units = unit / 512;
        let script = [
            Step::Write { at: 0, count: 2 },
            Step::Write { at: units, count: units },
            Step::Flush,
            Step::Write { at: units + 1, count: 1 },
        ];
        // VHD: one sync to open. VHDX: one for the log's first entry and one for each header, before the first write.
        let first = if format == Format::Vhd { 1 } else { 3 };
        let lineage = folder.lineage(name);
        let per_stretch = if format == Format::Vhd { 2000 } else { 60 };
        for missing in [Some(first), Some(first + 1), None] {
            let syncs = missing.map_or(Syncs::Honest, |remainder| Syncs::AllBut { divisor: 100, remainder });
            let found = search_in(format, &lineage, &child, &script, Search { syncs, per_stretch, seed: 1 });
            println!("{format}, without sync {missing:?}: {found:?}");
            assert_eq!(found.is_err(), missing.is_some(), "{format}, without sync {missing:?}");
        }
    }
}
