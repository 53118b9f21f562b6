//! Commands that are killed at every single call that changes a file or a folder: the image is whole and reads as before, or as the
//! command makes it.
//!
//! The kernel keeps what a killed process wrote, so this is about the order of names and files, and not about syncs: the searches
//! for power cuts are about these.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_target::engine::{HostEnvironment, HostFile, ParentFolders};
use lunkeep_target::image::{Access, Disk, Environment, Format};
use lunkeep_tests::process::run;
use lunkeep_tests::{foreign, report};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 6 * MIB;

/// Calls that change a file, its length, or a name.
const CALLS: &str = "?link,linkat,?rename,?renameat,renameat2,?unlink,unlinkat,pwrite64,pwritev,ftruncate,fallocate,fdatasync,fsync";

fn target(args: &[&str], path: &Path) {
    let args = ["image"].iter().copied().chain(args.iter().copied()).chain([path.to_str().unwrap()]);
    lunkeep_tests::programs!().target(args).expect_success();
}

fn open(path: &Path) -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let file = HostFile::open(path, Access::ReadWrite).unwrap();
    let lineage = ParentFolders::new(&[]).unwrap().lineage(&file).unwrap();
    let format = Format::of_extension(path).unwrap();
    format
        .open_in(Arc::new(file), Access::ReadWrite, &env, &lineage)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn reads(path: &Path) -> Vec<u8> {
    let disk = open(path);
    let mut bytes = vec![0; usize::try_from(disk.geometry().size).unwrap()];
    disk.read_at(&mut bytes, 0).unwrap();
    disk.close().unwrap();
    bytes
}

fn stamp(path: &Path, places: &[u64], byte: u8) {
    let disk = open(path);
    for at in places {
        disk.write_at(&[IoSlice::new(&[byte; 4096])], *at).unwrap();
    }
    disk.close().unwrap();
}

/// A base, another one, and a child of the first with gaps between its blocks.
fn prepare(folder: &Path, extension: &str) {
    let path = |name: &str| folder.join(format!("{name}.{extension}"));
    let block = if extension == "vhd" { "--block-size=512K" } else { "--block-size=1M" };
    for (name, byte) in [("base", 1), ("other", 2)] {
        target(&["create", "--size=6M", block], &path(name));
        stamp(&path(name), &[0, 2 * MIB, 4 * MIB], byte);
    }
    target(&["create", "--parent", path("base").to_str().unwrap(), block], &path("child"));
    stamp(&path("child"), &[MIB, 3 * MIB, 5 * MIB], 3);
    let disk = open(&path("child"));
    disk.write_zeroes(MIB, MIB, true).unwrap();
    disk.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_command_that_is_killed_at_any_call_leaves_the_image_whole() {
    if !foreign::available(&["strace"]) {
        return;
    }
    let programs = lunkeep_tests::programs!();
    for extension in ["vhd", "vhdx"] {
        let prepared = tempfile::tempdir().unwrap();
        prepare(prepared.path(), extension);
        for (name, args) in [
            ("child", &["snapshot"][..]),
            ("base", &["snapshot"]),
            ("child", &["reset"]),
            ("child", &["merge"]),
            ("child", &["merge", "--replace"]),
            ("child", &["compact"]),
            ("child", &["resize", "--size=9M"]),
            ("child", &["rebase", "--parent"]),
        ] {
            let mut kills = 0;
            let mut number = 1;
            loop {
                let folder = tempfile::tempdir().unwrap();
                copy(prepared.path(), folder.path());
                let path = |name: &str| folder.path().join(format!("{name}.{extension}"));
                let (image, base, other) = (path(name), path("base"), path("other"));
                let (before, of_base) = (reads(&image), reads(&base));
                let inject = format!("inject={CALLS}:signal=KILL:when={number}");
                let mut command = foreign::command("strace");
                command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject]);
                command.arg(programs.target).arg("image").args(args);
                if args[0] == "rebase" {
                    command.arg(&other);
                }
                let outcome = run(command.arg(&image), Duration::from_secs(60));
                if outcome.stderr.contains("ptrace") {
                    report::skip("", "strace may not trace here");
                    return;
                }
                let what = format!("{extension} {name} {args:?}, killed at call {number}");
                let mut after = reads(&image);
                let grown = after.len() > before.len();
                assert!(
                    !grown || args[0] == "resize" && after.len() == 9 << 20,
                    "{what}: {} bytes",
                    after.len()
                );
                if grown {
                    assert!(after[before.len()..].iter().all(|byte| *byte == 0), "{what}");
                    after.truncate(before.len());
                }
                let reset = args[0] == "reset" && after == of_base;
                assert!(after == before || reset, "{what}: it reads as something else");
                assert_eq!(after.len() as u64, SIZE);
                let check = programs.target(["image", "check", image.to_str().unwrap()]);
                assert!(matches!(check.code(), Some(0 | 3)), "{what}: {check}");
                if outcome.success() {
                    break;
                }
                kills += 1;
                // Long rows of writes are all alike.
                number += match (number < 12, report::full()) {
                    (true, _) | (_, true) => 1,
                    (false, false) => 11,
                };
            }
            println!("{extension} {name} {args:?}: {kills} kills");
            assert!(kills > 2, "{extension} {args:?}");
        }
    }
}
