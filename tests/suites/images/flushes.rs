//! How often the kernel is asked to flush, counted by strace in another process: for nothing but a flush, and then as seldom as the
//! format allows. That each of these is needed the searches for power cuts show.

use std::collections::BTreeMap;
use std::io::{IoSlice, Write as _};
use std::path::Path;
use std::sync::Arc;

use lunkeep_target::engine::{HostEnvironment, HostFile, ParentFolders};
use lunkeep_target::image::{Access, CreateOptions, Disk, Environment, Format};
use lunkeep_tests::foreign;

const FOLDER: &str = "LUNKEEP_FLUSHES_FOLDER";
const MIB: u64 = 1 << 20;

fn open(path: &Path) -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let file = HostFile::open(path, Access::ReadWrite).unwrap();
    let lineage = ParentFolders::new(&[]).unwrap().lineage(&file).unwrap();
    Format::of_extension(path).unwrap().open_in(Arc::new(file), Access::ReadWrite, &env, &lineage).unwrap()
}

/// Names in the trace what comes next.
fn mark(text: &str) {
    let mut nowhere = std::fs::File::options().write(true).open("/dev/null").unwrap();
    nowhere.write_all(format!("MARK {text};").as_bytes()).unwrap();
}

fn write(disk: &dyn Disk, block: u64) {
    disk.write_at(&[IoSlice::new(&[7; 4096])], block * 2 * MIB + 8192).unwrap();
}

/// Does nothing unless the test below runs it under strace.
#[test]
fn work_to_be_traced() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    for name in ["a.vhdx", "a.vhd", "child.vhdx", "child.vhd"] {
        let disk = open(&Path::new(&folder).join(name));
        mark(&format!("{name} first"));
        write(&*disk, 0);
        mark(&format!("{name} writes"));
        (1..100).for_each(|block| write(&*disk, block));
        mark(&format!("{name} flush"));
        disk.flush().unwrap();
        mark(&format!("{name} idle"));
        disk.flush().unwrap();
        mark(&format!("{name} unmap"));
        disk.write_zeroes(0, 40 * MIB, true).unwrap();
        mark(&format!("{name} unmapped"));
        disk.flush().unwrap();
        write(&*disk, 90);
        disk.flush().unwrap();
        mark(&format!("{name} again"));
        (0..10).for_each(|block| write(&*disk, block));
        mark(&format!("{name} recycled"));
        disk.flush().unwrap();
        mark(&format!("{name} overwrite"));
        (20..90).for_each(|block| write(&*disk, block));
        mark(&format!("{name} overwritten"));
        disk.flush().unwrap();
        mark(&format!("{name} end"));
        disk.close().unwrap();
    }
}

/// Calls of fsync and fdatasync after each mark.
fn count(trace: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut at = String::new();
    for line in trace.lines() {
        if let Some((_, mark)) = line.split_once("\"MARK ") {
            at = mark.split(';').next().unwrap_or_default().to_owned();
            counts.insert(at.clone(), 0);
        } else if (line.contains("fdatasync(")
            || line.contains("fsync(")
            || line.contains("sync_file_range("))
            && let Some(count) = counts.get_mut(&at)
        {
            *count += 1;
        }
    }
    counts
}

#[test]
fn the_kernel_is_asked_to_flush_as_seldom_as_each_format_allows() {
    if !foreign::available(&["strace"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.vhdx", "a.vhd"] {
        let path = folder.path().join(name);
        let options = CreateOptions { block_size: Some(2 * MIB), ..CreateOptions::dynamic(400 * MIB) };
        let format = Format::of_extension(&path).unwrap();
        format.create(&HostFile::create_new(&path).unwrap(), &options, &HostEnvironment).unwrap();
        let base = folder.path().join(format!("base.{}", format.name()));
        std::fs::copy(&path, &base).unwrap();
        let child = folder.path().join(format!("child.{}", format.name()));
        let args = ["image", "create", "--parent", base.to_str().unwrap(), child.to_str().unwrap()];
        lunkeep_tests::programs!().target(args).expect_success();
    }
    let trace = folder.path().join("trace");
    let output = foreign::command("strace")
        .args(["-f", "-s", "200", "-e", "trace=fsync,fdatasync,sync_file_range,write", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "images::flushes::work_to_be_traced", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&trace).unwrap_or_default();
    if text.contains("ptrace") && !output.status.success() {
        lunkeep_tests::report::skip("", "strace may not trace here");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let counts = count(&text);
    let at = |name: &str, what: &str| counts[&format!("{name} {what}")];
    for name in ["a.vhdx", "a.vhd", "child.vhdx", "child.vhd"] {
        for what in ["writes", "unmap", "again", "overwrite"] {
            assert_eq!(at(name, what), 0, "{name}, {what}");
        }
        assert!(at(name, "idle") <= 1, "{name}");
        assert_eq!(at(name, "overwritten"), 1, "{name}");
        // The log, and each header, before the first change.
        assert_eq!(at(name, "first"), if name.ends_with("vhdx") { 3 } else { 0 }, "{name}");
    }
    // Whatever was allocated: one on VHDX, two on VHD and where bitmaps are written.
    for (name, most) in [("a.vhdx", 1), ("a.vhd", 2), ("child.vhdx", 2), ("child.vhd", 2)] {
        assert_eq!(at(name, "flush"), most, "{name}, new blocks");
        assert!((1..=2).contains(&at(name, "recycled")), "{name}, recycled: {}", at(name, "recycled"));
    }
    println!("{counts:?}");
}

#[test]
fn syncs_in_a_trace_are_counted_after_the_mark_before_them() {
    let trace = "\
7 fdatasync(3) = 0
7 write(4, \"MARK a first;\", 13) = 13
7 fdatasync(3) = 0
7 fsync(3) = 0
8 write(4, \"MARK a rest;\", 12) = 12
8 write(4, \"x\", 1) = 1";
    let counts = count(trace);
    assert_eq!((counts["a first"], counts["a rest"], counts.len()), (2, 0, 2));
}
