//! Images that cross over to QEMU and back, through the program's own commands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use lunkeep_target::engine::{HostEnvironment, HostFile};
use lunkeep_target::image::{Access, BlockFile, Disk, Environment, Format};
use lunkeep_tests::content::{assert_same, sparse_disk};
use lunkeep_tests::foreign;
use lunkeep_tests::random::{Random, seed};

/// Not a multiple of any block size, and more than one VHD block.
const SIZE: u64 = (5 << 20) + 66 * 512;

fn qemu_img<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    foreign::command("qemu-img").args(args).output().unwrap()
}

#[track_caller]
fn must_work(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn convert(from: &Path, to: &Path, more: &[&str]) {
    let mut args: Vec<&OsStr> = ["image", "convert"].map(OsStr::new).to_vec();
    args.extend(more.iter().map(OsStr::new));
    args.extend([from.as_os_str(), to.as_os_str()]);
    lunkeep_tests::programs!().target(args).expect_success();
}

fn qemu_name(format: Format) -> &'static str {
    match format {
        Format::Raw => "raw",
        Format::Vhd => "vpc",
        Format::Vhdx => "vhdx",
        Format::Qcow2 => "qcow2",
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A raw disk of [`SIZE`] bytes, rounded to what the format under test can hold.
    fn raw(&self, test: &str, size: u64) -> PathBuf {
        let path = self.at("original.raw");
        sparse_disk(&path, size, &mut Random::new(seed(test)));
        path
    }
}

/// QEMU reads what we wrote, and finds nothing to complain about.
fn ours_to_qemu(format: Format, more: &[&str]) {
    if !foreign::available(&["qemu-img"]) {
        return;
    }
    let folder = Folder::new();
    let original = folder.raw(format.name(), SIZE);
    let image = folder.at(&format!("ours.{}", format.name()));
    convert(&original, &image, more);
    let back = folder.at("back.raw");
    let args = ["convert", "-f", qemu_name(format), "-O", "raw"].map(OsStr::new);
    must_work(&qemu_img(args.into_iter().chain([image.as_os_str(), back.as_os_str()])));
    assert_same(&original, &back);
    if format == Format::Vhdx {
        let args = ["check", "-f", "vhdx"].map(OsStr::new);
        must_work(&qemu_img(args.into_iter().chain([image.as_os_str()])));
    }
}

/// We read what QEMU wrote.
fn qemu_to_ours(format: Format, options: &str) {
    if !foreign::available(&["qemu-img"]) {
        return;
    }
    let folder = Folder::new();
    let original = folder.raw(format.name(), SIZE);
    let image = folder.at(&format!("theirs.{}", format.name()));
    let args = ["convert", "-f", "raw", "-O", qemu_name(format), "-o", options].map(OsStr::new);
    must_work(&qemu_img(args.into_iter().chain([original.as_os_str(), image.as_os_str()])));
    let check =
        lunkeep_tests::programs!().target([OsStr::new("image"), OsStr::new("check"), image.as_os_str()]);
    // QEMU leaves space in VHDX files that nothing uses.
    assert!(matches!(check.code(), Some(0 | 3)), "{check:?}");
    let back = folder.at("back.raw");
    convert(&image, &back, &[]);
    assert_same(&original, &back);
}

#[test]
fn qemu_reads_our_dynamic_vhd() {
    ours_to_qemu(Format::Vhd, &[]);
    ours_to_qemu(Format::Vhd, &["--block-size", "64k"]);
}

#[test]
fn qemu_reads_our_fixed_vhd() {
    ours_to_qemu(Format::Vhd, &["--fixed"]);
}

#[test]
fn qemu_reads_our_vhdx() {
    ours_to_qemu(Format::Vhdx, &["--block-size", "1M"]);
    ours_to_qemu(Format::Vhdx, &["--fixed"]);
}

#[test]
fn we_read_vhds_of_qemu() {
    // force_size: QEMU otherwise rounds the disk up to its geometry.
    qemu_to_ours(Format::Vhd, "subformat=dynamic,force_size");
    qemu_to_ours(Format::Vhd, "subformat=fixed,force_size");
}

#[test]
fn we_read_vhdx_of_qemu() {
    qemu_to_ours(Format::Vhdx, "subformat=dynamic,block_size=1M");
    qemu_to_ours(Format::Vhdx, "subformat=fixed");
}

/// Blocks that QEMU adds to our image and that we add to QEMU's, in turns.
#[test]
fn qemu_and_we_write_the_same_vhd_in_turns() {
    if !foreign::available(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = Folder::new();
    let image = folder.at("shared.vhd");
    lunkeep_tests::programs!()
        .target(["image", "create", "--size", "64M", image.to_str().unwrap()])
        .expect_success();
    let open = || -> Arc<dyn Disk> {
        let file: Arc<dyn BlockFile> = Arc::new(HostFile::open(&image, Access::ReadWrite).unwrap());
        let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
        Format::Vhd.open(file, Access::ReadWrite, &environment).unwrap()
    };
    let mut expected = vec![0; 64 << 20];
    for turn in 0..8usize {
        let (ours, theirs) = (turn * (6 << 20) + 4096, turn * (6 << 20) + (3 << 20));
        let fill = u8::try_from(turn + 1).unwrap();
        let disk = open();
        disk.write_at(&[std::io::IoSlice::new(&[fill; 8192])], ours as u64).unwrap();
        disk.flush().unwrap();
        // Half of the time the process ends without closing.
        if turn % 2 == 0 {
            disk.close().unwrap();
        }
        drop(disk);
        expected[ours..ours + 8192].fill(fill);
        let command = format!("write -P {} {theirs} 8192", fill + 100);
        let output =
            foreign::command("qemu-io").args(["-f", "vpc", "-c", &command]).arg(&image).output().unwrap();
        must_work(&output);
        expected[theirs..theirs + 8192].fill(fill + 100);
    }
    let disk = open();
    let mut seen = vec![0; 64 << 20];
    disk.read_at(&mut seen, 0).unwrap();
    let wrong = seen.chunks(512).zip(expected.chunks(512)).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "first wrong sector");
    disk.close().unwrap();
    drop(disk);
    let back = folder.at("back.raw");
    let args = ["convert", "-f", "vpc", "-O", "raw"].map(OsStr::new);
    must_work(&qemu_img(args.into_iter().chain([image.as_os_str(), back.as_os_str()])));
    assert!(std::fs::read(&back).unwrap() == expected);
}
