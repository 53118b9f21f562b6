//! Power cuts while an image is resized, compacted or merged: the old state or the new one, sound, with all content.

use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;

use lunkeep_target::image::{
    Access, BlockFile, CreateOptions, Disk, Environment, FileKey, Format, Lineage, MemoryFile, ParentFile,
    chain::ParentSource, merge, tools,
};
use lunkeep_tests::chain::Folder;
use lunkeep_tests::crash::{content, stamp};
use lunkeep_tests::crash_file::{CrashFile, Syncs};
use lunkeep_tests::random::Random;
use lunkeep_tests::test_environment::TestEnvironment;

const MIB: u64 = 1 << 20;

pub(super) fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// An image of a disk of `size` bytes with a stamp in each of `sectors`.
pub(super) fn image(format: Format, options: &CreateOptions, sectors: &[u64]) -> MemoryFile {
    let env = TestEnvironment::shared();
    let file = Arc::new(MemoryFile::default());
    format.create(&*file, options, &*env).unwrap();
    let disk = format.open(Arc::clone(&file) as _, Access::ReadWrite, &env).unwrap();
    for at in sectors {
        disk.write_at(&[IoSlice::new(&stamp(*at, 7, 512))], at * 512).unwrap();
    }
    disk.close().unwrap();
    (*file).clone()
}

pub(super) fn read(
    format: Format,
    file: &Arc<dyn BlockFile>,
    lineage: &Lineage,
    access: Access,
) -> Result<Vec<u8>, String> {
    let env = TestEnvironment::shared();
    let disk =
        format.open_in(Arc::clone(file), access, &env, lineage).map_err(|e| format!("{access:?}: {e}"))?;
    let seen = content(&*disk)?;
    disk.close().map_err(|e| e.to_string())?;
    Ok(seen)
}

/// Whether `file` is sound, and holds one of `allowed` from its start, for reading and for writing.
pub(super) fn judge(
    format: Format,
    file: MemoryFile,
    lineage: &Lineage,
    allowed: &[&[u8]],
) -> Result<(), String> {
    let file: Arc<dyn BlockFile> = Arc::new(file);
    let env = TestEnvironment::shared();
    let report = format.check_in(&file, false, &env, lineage).map_err(|e| e.to_string())?;
    if !report.is_sound() {
        return Err(format!("check: {:?}", report.findings));
    }
    for access in [Access::ReadOnly, Access::ReadWrite, Access::ReadOnly] {
        let seen = read(format, &file, lineage, access)?;
        if !allowed.iter().any(|content| **content == *seen) {
            return Err(format!("{access:?}: {} bytes that are neither old nor new", seen.len()));
        }
    }
    Ok(())
}

pub(super) fn search(
    file: &CrashFile,
    judge: impl Fn(MemoryFile) -> Result<(), String>,
) -> Result<usize, String> {
    let flow = file.crash_images(300, &mut Random::new(1), |image| match judge(image.file) {
        Ok(()) => ControlFlow::Continue(()),
        Err(e) => ControlFlow::Break(format!("{e}\n  after {}: {}", image.after, image.story)),
    });
    match flow {
        ControlFlow::Continue(count) => Ok(count),
        ControlFlow::Break(violation) => Err(violation),
    }
}

/// Resizes and looks at every power cut.
fn resized(format: Format, options: &CreateOptions, size: u64, syncs: Syncs) -> Result<usize, String> {
    let env = TestEnvironment::shared();
    let last = options.size.min(size) / 512 - 1;
    let before = image(format, options, &[0, 9, last]);
    let shared: Arc<dyn BlockFile> = Arc::new(before.clone());
    let old = read(format, &shared, &Lineage::none(), Access::ReadOnly)?;
    let mut new = old.clone();
    new.resize(usize::try_from(size).unwrap(), 0);
    let file = Arc::new(CrashFile::new(&before, syncs));
    format.resize(&(Arc::clone(&file) as _), size, &env).map_err(|e| e.to_string())?;
    let now: Arc<dyn BlockFile> = Arc::clone(&file) as _;
    assert!(read(format, &now, &Lineage::none(), Access::ReadOnly)? == new, "{format}: the new size");
    search(&file, |image| judge(format, image, &Lineage::none(), &[&old, &new]))
}

fn resizes() -> [(Format, CreateOptions, u64); 10] {
    let vhd = CreateOptions { block_size: Some(4096), ..CreateOptions::dynamic(77 * 512) };
    let fixed = CreateOptions { block_size: Some(MIB), ..CreateOptions::fixed(2 * MIB) };
    let vhdx = CreateOptions { block_size: Some(MIB), ..CreateOptions::dynamic(MIB + 4096) };
    [
        (Format::Raw, CreateOptions::dynamic(64 * 512), 90 * 512),
        (Format::Raw, CreateOptions::dynamic(64 * 512), 32 * 512),
        // Within the last block, and with a longer table.
        (Format::Vhd, vhd, 79 * 512),
        (Format::Vhd, vhd, 4000 * 512),
        (Format::Vhd, vhd, 60 * 512),
        (Format::Vhdx, vhdx, 3 * MIB),
        (Format::Vhdx, vhdx, MIB),
        // Fixed, with more blocks and with fewer.
        (Format::Vhdx, fixed, 4 * MIB + 512),
        (Format::Vhdx, fixed, MIB),
        (Format::Vhdx, vhdx, MIB + 8192),
    ]
}

#[test]
fn a_power_cut_while_a_disk_is_resized_leaves_the_old_size_or_the_new_one() {
    for (format, options, size) in resizes() {
        let count = resized(format, &options, size, Syncs::Honest);
        println!("{format} {} to {size}: {count:?}", options.size);
        assert!(count.is_ok(), "{format} {} to {size}: {count:?}", options.size);
    }
}

/// The longer table and the header that says where it is: in this order, or the disk is lost.
#[test]
fn a_vhd_that_grows_without_syncs_is_found_out() {
    let (format, options, size) = resizes()[3];
    assert!(resized(format, &options, size, Syncs::None).is_err());
}

#[test]
fn a_power_cut_while_a_fixed_vhd_is_resized_never_loses_its_footer() {
    for size in [100 * 512, 40 * 512] {
        let env = TestEnvironment::shared();
        let before = image(Format::Vhd, &CreateOptions::fixed(64 * 512), &[0, 9, 39]);
        let shared: Arc<dyn BlockFile> = Arc::new(before.clone());
        let old = read(Format::Vhd, &shared, &Lineage::none(), Access::ReadOnly).unwrap();
        let file = Arc::new(CrashFile::new(&before, Syncs::Honest));
        Format::Vhd.resize(&(Arc::clone(&file) as _), size, &env).unwrap();
        let kept = usize::try_from(size.min(64 * 512)).unwrap();
        let count = search(&file, |image| {
            let image: Arc<dyn BlockFile> = Arc::new(image);
            let seen = read(Format::Vhd, &image, &Lineage::none(), Access::ReadWrite)?;
            if seen[..kept] == old[..kept] { Ok(()) } else { Err("content is lost".to_owned()) }
        });
        println!("{count:?}");
        assert!(count.is_ok(), "{count:?}");
        let now: Arc<dyn BlockFile> = file;
        let mut expected = old.clone();
        expected.resize(usize::try_from(size).unwrap(), 0);
        assert!(read(Format::Vhd, &now, &Lineage::none(), Access::ReadOnly).unwrap() == expected);
    }
}

#[test]
fn a_power_cut_while_a_disk_is_compacted_changes_nothing_that_it_reads_as() {
    for (format, unit) in [(Format::Vhd, 4096), (Format::Vhdx, MIB), (Format::Raw, 4096)] {
        let env = TestEnvironment::shared();
        let block_size = (format != Format::Raw).then_some(unit);
        let options = CreateOptions { block_size, ..CreateOptions::dynamic(5 * unit) };
        let file = Arc::new(image(format, &options, &[0, unit / 512, 2 * unit / 512, 3 * unit / 512 + 1]));
        let disk = format.open(Arc::clone(&file) as _, Access::ReadWrite, &env).unwrap();
        disk.write_zeroes(unit, 512, false).unwrap();
        disk.write_zeroes(2 * unit, 512, false).unwrap();
        disk.close().unwrap();
        let shared: Arc<dyn BlockFile> = Arc::clone(&file) as _;
        let old = read(format, &shared, &Lineage::none(), Access::ReadOnly).unwrap();
        let crash = Arc::new(CrashFile::new(&file, Syncs::Honest));
        let disk = format.open(Arc::clone(&crash) as _, Access::ReadWrite, &env).unwrap();
        tools::compact(&*disk, &mut go_on).unwrap();
        disk.close().unwrap();
        let count = search(&crash, |image| judge(format, image, &Lineage::none(), &[&old]));
        println!("{format}: {count:?}");
        assert!(count.is_ok(), "{format}: {count:?}");
        if format != Format::Raw {
            let info = format.inspect(&(crash as _)).unwrap();
            assert_eq!(info.allocated_blocks, Some(2), "{format}");
        }
    }
}

/// A base, and a child that holds other sectors of the same units, zeros over data, and a unit of its own.
struct Pair {
    format: Format,
    base: MemoryFile,
    child: MemoryFile,
    reads: Vec<u8>,
}

fn pair(format: Format, unit: u64) -> Pair {
    let env = TestEnvironment::shared();
    let options = CreateOptions { block_size: Some(unit), ..CreateOptions::dynamic(3 * unit + 1024) };
    let base = image(format, &options, &[0, 2, unit / 512]);
    let folder = Folder::default();
    folder.put("base", Arc::new(base.clone()));
    let child = Arc::new(folder.child_of(format, "base", Some(unit), &env));
    let disk =
        format.open_in(Arc::clone(&child) as _, Access::ReadWrite, &env, &folder.lineage("child")).unwrap();
    for (at, generation) in [(1, 8), (2, 8), (2 * unit / 512 + 3, 8)] {
        disk.write_at(&[IoSlice::new(&stamp(at, generation, 512))], at * 512).unwrap();
    }
    disk.write_zeroes(unit, unit, true).unwrap();
    let reads = content(&*disk).unwrap();
    disk.close().unwrap();
    Pair { format, base, child: (*child).clone(), reads }
}

#[derive(Debug)]
struct Orphan;

impl ParentSource for Orphan {
    fn child(&self) -> Option<FileKey> {
        None
    }

    fn find(&self, _name: &str) -> Result<Option<ParentFile>, String> {
        Ok(None)
    }
}

fn merge_into(
    pair: &Pair,
    base: Arc<dyn BlockFile>,
    child: &Arc<dyn BlockFile>,
    env: &Arc<dyn Environment>,
) -> Result<(), merge::MergeError> {
    let key = |inode| FileKey { device: 1, inode };
    let parent = ParentFile { file: base, key: key(1), label: "base".to_owned(), parents: Arc::new(Orphan) };
    merge::merge(pair.format, (child, key(2)), parent, env, &mut go_on)
}

/// After a cut the child reads as before over whatever is left of the parent, and merging once more ends it.
fn after_cut(pair: &Pair, base: MemoryFile, child: &MemoryFile) -> Result<(), String> {
    let env = TestEnvironment::shared();
    for _ in 0..40 {
        // Other identities than those of the first attempt.
        env.random_guid().map_err(|e| e.to_string())?;
    }
    let (base, child): (Arc<dyn BlockFile>, Arc<dyn BlockFile>) = (Arc::new(base), Arc::new(child.clone()));
    let folder = Folder::default();
    folder.put("base", Arc::clone(&base));
    if read(pair.format, &child, &folder.lineage("child"), Access::ReadOnly)? != pair.reads {
        return Err("the child reads as something else".to_owned());
    }
    merge_into(pair, Arc::clone(&base), &child, &env).map_err(|e| e.to_string())?;
    let report = pair.format.check(&base, false, &env).map_err(|e| e.to_string())?;
    let whole = read(pair.format, &base, &Lineage::none(), Access::ReadOnly)?;
    if report.is_sound() && whole == pair.reads {
        Ok(())
    } else {
        Err("the second merge did not end it".to_owned())
    }
}

#[test]
fn a_power_cut_while_a_child_is_merged_leaves_it_as_it_reads_and_the_merge_can_be_repeated() {
    for (format, unit) in [(Format::Vhd, 4096), (Format::Vhdx, MIB)] {
        let pair = pair(format, unit);
        let env = TestEnvironment::shared();
        // First cuts in the child, before anything is written to the parent; then in the parent.
        let child = Arc::new(CrashFile::new(&pair.child, Syncs::Honest));
        let base = Arc::new(CrashFile::new(&pair.base, Syncs::Honest));
        let shared: Arc<dyn BlockFile> = Arc::clone(&child) as _;
        merge_into(&pair, Arc::clone(&base) as _, &shared, &env).unwrap();
        let flow = child.crash_images(100, &mut Random::new(1), |image| {
            match after_cut(&pair, pair.base.clone(), &image.file) {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => ControlFlow::Break(format!("{e}, after {}: {}", image.after, image.story)),
            }
        });
        assert!(matches!(flow, ControlFlow::Continue(_)), "{format}: {flow:?}");
        let told = copy(&*shared);
        let count = search(&base, |image| after_cut(&pair, image, &told));
        println!("{format}: {count:?}");
        assert!(count.is_ok(), "{format}: {count:?}");
    }
}

/// The whole content of `file` in a new one.
pub(super) fn copy(file: &dyn BlockFile) -> MemoryFile {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let copy = MemoryFile::default();
    copy.write_all_at(&bytes, 0).unwrap();
    copy
}

/// The control: a VHDX child that is not told its parent's next identity loses its parent with the first write.
#[test]
fn a_vhdx_child_that_is_not_told_of_the_merge_would_lose_its_parent() {
    let pair = pair(Format::Vhdx, MIB);
    let env = TestEnvironment::shared();
    let base = Arc::new(pair.base.clone());
    let child: Arc<dyn BlockFile> = Arc::new(pair.child.clone());
    merge_into(&pair, Arc::clone(&base) as _, &child, &env).unwrap();
    let untold = after_cut(&pair, (*base).clone(), &pair.child).unwrap_err();
    assert!(untold.contains("is not the parent"), "{untold}");
    let disk: Arc<dyn Disk> = Format::Vhdx.open(base, Access::ReadOnly, &env).unwrap();
    assert!(content(&*disk).unwrap() == pair.reads);
}

/// As [`copy`] for a file that is mostly holes.
pub(super) fn copy_sparse(file: &dyn BlockFile) -> MemoryFile {
    let copy = MemoryFile::with_len(file.len().unwrap());
    let mut at = 0;
    while let Some(data) = file.next_data(at).unwrap() {
        let mut bytes = vec![0; usize::try_from(data.end - data.start).unwrap()];
        file.read_exact_at(&mut bytes, data.start).unwrap();
        copy.write_all_at(&bytes, data.start).unwrap();
        at = data.end;
    }
    copy
}
