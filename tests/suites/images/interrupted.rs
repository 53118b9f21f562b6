//! Commands that a signal ends: the image is whole and reads as before, and no temporary file is left.

use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_target::engine::{HostEnvironment, HostFile, ParentFolders};
use lunkeep_target::image::{Access, Disk, Environment, Format};
use lunkeep_tests::process::Daemon;
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

fn target(args: &[&str], path: &Path) {
    let path = path.to_str().unwrap();
    lunkeep_tests::programs!().target(["image"].iter().chain(args).chain([&path])).expect_success();
}

fn open(path: &Path) -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let file = HostFile::open(path, Access::ReadWrite).unwrap();
    let lineage = ParentFolders::new(&[]).unwrap().lineage(&file).unwrap();
    let format = Format::of_extension(path).unwrap();
    format.open_in(Arc::new(file), Access::ReadWrite, &env, &lineage).unwrap()
}

/// A dynamic VHD of 200 GiB where each block has its place, all of it a hole: much to read, little to store.
pub(super) fn huge(path: &Path) {
    target(&["create", "--size", "200G"], path);
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let (blocks, stride) = (100 * 1024u64, (2u64 << 20) + 4096);
    let first = (1536 + blocks * 4).next_multiple_of(4096) + 3584;
    let table: Vec<u8> = (0..blocks)
        .flat_map(|block| u32::try_from((first + block * stride) / 512).unwrap().to_be_bytes())
        .collect();
    file.write_all_at(&table, 1536).unwrap();
    file.set_len(first + blocks * stride).unwrap();
}

/// Waits until the process has its handlers, so that a signal does not end it at once.
fn handlers_in_place(process: &mut Daemon) {
    let caught = |process: &Daemon| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        Some(u64::from_str_radix(&mask, 16).ok()? & 0b100_0000_0000_0010 != 0)
    };
    while caught(process) != Some(true) {
        assert!(process.is_alive(), "{}", process.log());
        std::thread::yield_now();
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names
}

/// Starts the command, sends the signal, and answers its exit code.
fn interrupted(signal: Signal, args: &[&str], path: &Path) -> (Option<i32>, String) {
    let programs = lunkeep_tests::programs!();
    let mut process = Daemon::start(Command::new(programs.target).arg("image").args(args).arg(path));
    handlers_in_place(&mut process);
    process.signal(signal);
    let status = process.wait(Duration::from_secs(120)).expect("it ends");
    (status.code(), process.log())
}

#[test]
fn an_interrupted_conversion_ends_with_an_error_and_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.vhd"), folder.path().join("b.vhdx"));
        huge(&from);
        let programs = lunkeep_tests::programs!();
        let mut process =
            Daemon::start(Command::new(programs.target).args(["image", "convert"]).args([&from, &to]));
        // The new file is there under its temporary name: the copy has begun, and the handlers are in place.
        while std::fs::read_dir(folder.path()).unwrap().count() < 2 {
            assert!(process.is_alive(), "{}", process.log());
            std::thread::yield_now();
        }
        process.signal(signal);
        let status = process.wait(Duration::from_secs(60)).expect("it ends");
        assert_eq!(status.code(), Some(1), "{}", process.log());
        assert!(process.log().contains("interrupted"), "{}", process.log());
        assert_eq!(names(folder.path()), [from]);
    }
}

#[test]
fn interrupted_work_on_an_image_leaves_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.vhd");
    huge(&image);
    let stamp = [0x5a; 512];
    let last = (200 << 30) - 512;
    let disk = open(&image);
    disk.write_at(&[IoSlice::new(&stamp)], 0).unwrap();
    disk.write_at(&[IoSlice::new(&stamp)], last).unwrap();
    disk.close().unwrap();
    drop(disk);
    for args in
        [&["compact"][..], &["resize", "--size=1G", "--shrink"], &["digest"], &["measure", "--format=vhdx"]]
    {
        for signal in [Signal::INT, Signal::TERM] {
            let (code, log) = interrupted(signal, args, &image);
            assert_eq!(code, Some(1), "{args:?}: {log}");
            assert!(log.contains("stopped"), "{args:?}: {log}");
            assert_eq!(names(folder.path()), std::slice::from_ref(&image));
            let disk = open(&image);
            assert_eq!(disk.geometry().size, 200 << 30);
            for at in [0, last] {
                let mut seen = [0; 512];
                disk.read_at(&mut seen, at).unwrap();
                assert_eq!(seen, stamp, "{args:?}");
            }
            disk.close().unwrap();
        }
    }
    target(&["check"], &image);
}

#[test]
fn an_interrupted_rebase_leaves_the_disk_as_it_reads_and_its_old_parent() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    huge(&path("old.vhd"));
    huge(&path("new.vhd"));
    let disk = open(&path("old.vhd"));
    disk.write_at(&[IoSlice::new(&[7; 512])], 1024).unwrap();
    disk.close().unwrap();
    drop(disk);
    target(&["create", "--parent", path("old.vhd").to_str().unwrap()], &path("child.vhd"));
    let (code, log) = interrupted(
        Signal::INT,
        &["rebase", "--parent", path("new.vhd").to_str().unwrap()],
        &path("child.vhd"),
    );
    assert_eq!(code, Some(1), "{log}");
    let mut seen = [0; 512];
    open(&path("child.vhd")).read_at(&mut seen, 1024).unwrap();
    assert_eq!(seen, [7; 512]);
    std::fs::remove_file(path("new.vhd")).unwrap();
    target(&["check"], &path("child.vhd"));
}

#[test]
fn an_interrupted_merge_or_snapshot_or_reset_leaves_the_disk_as_it_reads() {
    for extension in ["vhd", "vhdx"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(format!("{name}.{extension}"));
        target(&["create", "--size=64M"], &path("base"));
        target(&["create", "--parent", path("base").to_str().unwrap()], &path("child"));
        let disk = open(&path("child"));
        for at in 0..32 {
            disk.write_at(&[IoSlice::new(&vec![u8::try_from(at).unwrap() + 1; 1 << 20])], at * 2 * MIB)
                .unwrap();
        }
        let mut before = vec![0; 64 << 20];
        disk.read_at(&mut before, 0).unwrap();
        disk.close().unwrap();
        drop(disk);
        let reads = || {
            let disk = open(&path("child"));
            let mut seen = vec![0; 64 << 20];
            disk.read_at(&mut seen, 0).unwrap();
            disk.close().unwrap();
            seen
        };
        // They may be done before the signal comes: then they are done as a whole.
        let (code, log) = interrupted(Signal::INT, &["merge"], &path("child"));
        assert!(matches!(code, Some(0 | 1)), "{log}");
        assert!(reads() == before, "merge: {log}");
        assert_eq!(names(folder.path()).len(), 2, "{log}");
        let (code, log) = interrupted(Signal::INT, &["snapshot"], &path("child"));
        assert!(reads() == before, "snapshot: {log}");
        assert_eq!(names(folder.path()).len(), if code == Some(0) { 3 } else { 2 }, "{log}");
        let there = names(folder.path());
        let (code, log) = interrupted(Signal::TERM, &["reset"], &path("child"));
        assert!(matches!(code, Some(0 | 1)), "{log}");
        assert_eq!(names(folder.path()), there, "{log}");
        target(&["check"], &path("child"));
    }
}

#[test]
fn a_terminal_shows_how_far_a_command_is_and_a_pipe_does_not() {
    if Command::new("script").arg("--version").output().is_err() {
        lunkeep_tests::report::skip("", "script is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.raw");
    std::fs::write(&image, vec![1; 64 << 20]).unwrap();
    let programs = lunkeep_tests::programs!();
    let line = format!("{} image digest {}", programs.target, image.display());
    let on_terminal = lunkeep_tests::process::run(
        Command::new("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm"),
        Duration::from_secs(60),
    )
    .expect_success();
    assert!(on_terminal.contains('%') && on_terminal.contains("a.raw"), "{on_terminal:?}");
    let piped = programs.target(["image", "digest", image.to_str().unwrap()]);
    assert!(!piped.stderr.contains('%') && !piped.stdout.contains('%'), "{piped}");
}
