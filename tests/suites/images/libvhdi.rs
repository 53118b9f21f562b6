//! libvhdi as a second reader: differencing disks and sectors of 4096 bytes, which QEMU does not read.

use std::path::Path;
use std::process::Command;

use lunkeep_tests::foreign;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report;

/// Opens the images it is given, each the parent of the one before, and compares all bytes with a raw file; prints the size.
const READER: &str = r#"
import sys, pyvhdi
raw, paths = sys.argv[1], sys.argv[2:]
files = []
for path in paths:
    file = pyvhdi.file()
    file.open(path)
    files.append(file)
for child, parent in zip(files, files[1:]):
    child.set_parent(parent)
disk, at = files[0], 0
size = disk.get_media_size()
with open(raw, "rb") as expected:
    while at < size:
        length = min(1 << 20, size - at)
        seen = disk.read_buffer_at_offset(length, at)
        if seen != expected.read(length):
            sys.exit("different content between %d and %d" % (at, at + length))
        at += length
    if expected.read(1):
        sys.exit("the raw file is longer")
print(size)
"#;

/// Debian's Python, which sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

fn available() -> bool {
    let there = Command::new(PYTHON).args(["-c", "import pyvhdi"]).output().is_ok_and(|o| o.status.success());
    if !there {
        report::skip("", "python3-libvhdi not found; tests/run installs it");
    }
    there
}

#[track_caller]
fn reads_alike(raw: &Path, images: &[&Path]) {
    let output = Command::new(PYTHON).args(["-c", READER]).arg(raw).args(images).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{images:?}: {error}");
    let size = std::fs::metadata(raw).unwrap().len().to_string();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), size);
}

fn target(args: &[&str], paths: &[&Path]) {
    let paths = paths.iter().map(|p| p.to_str().unwrap());
    let args = ["image"].iter().copied().chain(args.iter().copied()).chain(paths);
    lunkeep_tests::programs!().target(args).expect_success();
}

/// Writes stamps at random places of an image, of 4096 bytes and more: libvhdi 20210425 takes a byte of a VHD bitmap, eight sectors,
/// for one when the run in it ends (a child with sectors 346 to 354 reads the parent's 355 to 359 as zero there).
fn scribble(path: &Path, size: u64, random: &mut Random) {
    use lunkeep_target::engine::{HostEnvironment, HostFile, ParentFolders};
    use lunkeep_target::image::{Access, Environment, Format};
    let env: std::sync::Arc<dyn Environment> = std::sync::Arc::new(HostEnvironment);
    let file = HostFile::open(path, Access::ReadWrite).unwrap();
    let lineage = ParentFolders::new(&[]).unwrap().lineage(&file).unwrap();
    let format = Format::of_extension(path).unwrap();
    let disk = format.open_in(std::sync::Arc::new(file), Access::ReadWrite, &env, &lineage).unwrap();
    let block = 4096;
    for n in 1..60u8 {
        let at = random.below(size / block);
        let count = 1 + random.below((size / block - at).min(40));
        let bytes = vec![n; usize::try_from(count * block).unwrap()];
        match n % 5 {
            0 => disk.write_zeroes(at * block, count * block, true).unwrap(),
            _ => disk.write_at(&[std::io::IoSlice::new(&bytes)], at * block).unwrap(),
        }
    }
    // A whole block, so that it is held as one.
    disk.write_at(&[std::io::IoSlice::new(&vec![0xee; 2 << 20])], 2 << 20).unwrap();
    disk.close().unwrap();
}

#[test]
fn libvhdi_reads_children_and_large_sectors_as_we_do() {
    if !available() {
        return;
    }
    let seed = seed("libvhdi");
    let mut random = Random::new(seed);
    let size = 20 << 20;
    let kinds =
        [("vhd", &[][..]), ("vhdx", &[]), ("vhdx", &["--sector-size=4096"]), ("vhdx", &["--block-size=1M"])];
    for (extension, more) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let at = |n: usize| folder.path().join(format!("disk{n}.{extension}"));
        let raw = folder.path().join("expected.raw");
        target(&[&["create", "--size=20M"], more].concat(), &[&at(0)]);
        for n in 0..3 {
            if n > 0 {
                target(&["create", "--parent", at(n - 1).to_str().unwrap()], &[&at(n)]);
            }
            scribble(&at(n), size, &mut random);
            target(&["convert", "--force"], &[&at(n), &raw]);
            let chain: Vec<_> = (0..=n).rev().map(&at).collect();
            reads_alike(&raw, &chain.iter().map(|p| p.as_path()).collect::<Vec<_>>());
        }
        // And what the tools have changed.
        target(&["rebase", "--parent", at(0).to_str().unwrap()], &[&at(2)]);
        target(&["compact"], &[&at(2)]);
        reads_alike(&raw, &[&at(2), &at(0)]);
        target(&["merge"], &[&at(2)]);
        reads_alike(&raw, &[&at(0)]);
        println!("{extension} {more:?}: alike, seed {seed}");
    }
}

#[test]
fn qemu_and_libvhdi_read_resized_and_compacted_images_as_we_do() {
    if !foreign::available(&["qemu-img"]) {
        return;
    }
    let seed = seed("resized");
    let mut random = Random::new(seed);
    for (extension, qemu_name, more, large) in [
        ("vhd", "vpc", &[][..], "5G"),
        ("vhd", "vpc", &["--fixed"], "40M"),
        ("vhd", "vpc", &["--block-size=64K"], "1G"),
        ("vhdx", "vhdx", &["--block-size=1M"], "140G"),
        ("vhdx", "vhdx", &["--block-size=1M", "--fixed"], "41M"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (image, raw) = (at(&format!("disk.{extension}")), at("expected.raw"));
        target(&[&["create", "--size=20M"], more].concat(), &[&image]);
        scribble(&image, 20 << 20, &mut random);
        let alike = |what: &str| {
            target(&["convert", "--force"], &[&image, &raw]);
            let output = foreign::command("qemu-img")
                .args(["compare", "-f", "raw", "-F", qemu_name])
                .args([&raw, &image])
                .output()
                .unwrap();
            assert!(output.status.success(), "{what} {extension} {more:?}: {output:?}, seed {seed}");
            // A table that moved may leave a place in which a block fits.
            let check = lunkeep_tests::programs!().target(["image", "check", image.to_str().unwrap()]);
            assert!(matches!(check.code(), Some(0 | 3)), "{check}");
        };
        target(&["resize", "--size", large], &[&image]);
        alike("grown");
        target(&["resize", "--size=20M", "--shrink"], &[&image]);
        alike("shrunk");
        if !more.contains(&"--fixed") {
            target(&["compact"], &[&image]);
            alike("compacted");
        }
        if available() && !large.ends_with('G') {
            reads_alike(&raw, &[&image]);
        }
    }
}
