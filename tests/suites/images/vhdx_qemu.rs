//! VHDX files that QEMU and this program write in turns, left by a killed process half of the time, so that each replays the
//! other's log or writes behind it.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use lunkeep_target::engine::{HostEnvironment, HostFile};
use lunkeep_target::image::{Access, BlockFile, CreateOptions, Disk, Environment, Format, Severity};
use lunkeep_tests::foreign;

const MIB: u64 = 1 << 20;
/// With 512-byte sectors the table's first bitmap entry belongs to the fourth GiB.
const SIZE: u64 = 9 << 30;
const LEN: usize = 8192;

fn environment() -> Arc<dyn Environment> {
    Arc::new(HostEnvironment)
}

fn open(path: &Path, access: Access) -> Arc<dyn Disk> {
    let file: Arc<dyn BlockFile> = Arc::new(HostFile::open(path, access).unwrap());
    Format::Vhdx.open(file, access, &environment()).unwrap()
}

/// Runs commands of `qemu-io` on the file; a pattern that is not there is a failure.
fn qemu_io(path: &Path, commands: &[String]) {
    let args = commands.iter().flat_map(|command| ["-c", command]);
    let output = foreign::command("qemu-io").args(["-f", "vhdx"]).args(args).arg(path).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("failed"), "{commands:?}: {text}");
}

fn qemu_img(args: &[&str], path: &Path) {
    let args = args.iter().map(OsStr::new).chain([path.as_os_str()]);
    let output = foreign::command("qemu-img").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// In each turn we write, the process "dies" every other time, QEMU looks, writes, and we look.
fn in_turns(path: &Path) {
    let (ours, theirs) = (|turn: u64| turn * 700 * MIB + 512, |turn: u64| turn * 700 * MIB + 300 * MIB);
    let fill = |turn: u64| u8::try_from(turn + 1).unwrap();
    let read = |disk: &dyn Disk, at: u64| {
        let mut buf = vec![0; LEN];
        disk.read_at(&mut buf, at).unwrap();
        buf
    };
    for turn in 0..12 {
        let disk = open(path, Access::ReadWrite);
        disk.write_at(&[std::io::IoSlice::new(&[fill(turn); LEN])], ours(turn)).unwrap();
        if turn >= 4 {
            let unit = u64::from(disk.geometry().allocation_unit);
            // What the other wrote four turns ago goes, as far as whole units hold it.
            disk.write_zeroes(theirs(turn - 4) / unit * unit, unit, true).unwrap();
        }
        disk.flush().unwrap();
        if turn % 2 == 0 {
            disk.close().unwrap();
        }
        drop(disk);
        let mut commands: Vec<String> =
            (0..=turn).map(|earlier| format!("read -P {} {} {LEN}", fill(earlier), ours(earlier))).collect();
        commands.push(format!("write -P {} {} {LEN}", fill(turn) + 100, theirs(turn)));
        qemu_io(path, &commands);
        let disk = open(path, Access::ReadOnly);
        for earlier in 0..=turn {
            assert_eq!(read(&*disk, ours(earlier)), [fill(earlier); LEN], "ours of turn {earlier}");
            let kept = if earlier + 4 <= turn { 0 } else { fill(earlier) + 100 };
            assert_eq!(read(&*disk, theirs(earlier)), [kept; LEN], "theirs of turn {earlier}");
        }
    }
    qemu_img(&["check", "-f", "vhdx"], path);
    let file: Arc<dyn BlockFile> = Arc::new(HostFile::open(path, Access::ReadOnly).unwrap());
    let report = Format::Vhdx.check(&file, false, &environment()).unwrap();
    assert!(report.findings.iter().all(|f| f.severity != Severity::Error), "{report:?}");
}

#[test]
fn qemu_and_we_write_the_same_vhdx_in_turns() {
    if !foreign::available(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for block in [1, 32] {
        let path = folder.path().join(format!("ours-{block}.vhdx"));
        let options = CreateOptions { block_size: Some(block * MIB), ..CreateOptions::dynamic(SIZE) };
        let file = HostFile::create_new(&path).unwrap();
        Format::Vhdx.create(&file, &options, &HostEnvironment).unwrap();
        drop(file);
        in_turns(&path);

        let path = folder.path().join(format!("theirs-{block}.vhdx"));
        let output = foreign::command("qemu-img")
            .args(["create", "-q", "-f", "vhdx", "-o", &format!("block_size={}", block * MIB)])
            .args([path.as_os_str(), OsStr::new(&SIZE.to_string())])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        in_turns(&path);
    }
}
