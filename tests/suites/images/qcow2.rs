//! qcow2 images of QEMU, read: their content in every format that can be written, what is refused, and damaged ones.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunkeep_target::engine::{HostEnvironment, HostFile};
use lunkeep_target::image::{Access, Disk, Environment, Format, OpenError, OpenErrorKind};
use lunkeep_tests::foreign;
use lunkeep_tests::random::{Random, seed};

const MIB: u64 = 1 << 20;

fn qemu<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) {
    let output = foreign::command(program).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A qcow2 image of 40 MiB and a bit, with data, explicit zeros, and holes.
fn made(path: &Path, options: &str) {
    let path = path.to_str().unwrap();
    let options = ["create", "-q", "-f", "qcow2", "-o", options, path, "41944064"];
    qemu("qemu-img", options.into_iter().filter(|o| !o.is_empty()));
    let commands = [
        "write -P 1 0 64k",
        "write -P 2 20M 1M",
        "write -z 20992k 4k",
        "write -P 3 41943552 512",
        "write -P 4 5M 4k",
    ];
    qemu("qemu-io", ["-f", "qcow2"].into_iter().chain(commands.iter().flat_map(|c| ["-c", c])).chain([path]));
}

fn open(path: &Path, access: Access) -> Result<Arc<dyn Disk>, OpenError> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let file = HostFile::open(path, Access::ReadOnly).unwrap();
    Format::Qcow2.open(Arc::new(file), access, &env)
}

fn target(args: &[&str], paths: &[&Path]) -> lunkeep_tests::process::Outcome {
    let paths = paths.iter().map(|p| p.to_str().unwrap());
    lunkeep_tests::programs!().target(["image"].iter().copied().chain(args.iter().copied()).chain(paths))
}

#[test]
fn qcow2_images_have_the_content_that_qemu_reads_in_every_format_that_is_written() {
    if !foreign::available(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let kinds = [
        ("plain", "cluster_size=65536"),
        ("old", "compat=0.10"),
        ("small", "cluster_size=512"),
        ("large", "cluster_size=2M"),
        ("preallocated", "preallocation=metadata"),
        ("lazy", "lazy_refcounts=on,refcount_bits=64"),
    ];
    let mut images: Vec<PathBuf> = Vec::new();
    for (name, options) in kinds {
        let image = at(&format!("{name}.qcow2"));
        made(&image, options);
        images.push(image);
    }
    let compressed = at("compressed.qcow2");
    qemu(
        "qemu-img",
        [
            OsStr::new("convert"),
            "-O".as_ref(),
            "qcow2".as_ref(),
            "-c".as_ref(),
            images[0].as_ref(),
            compressed.as_ref(),
        ],
    );
    images.push(compressed);
    qemu("qemu-img", [OsStr::new("snapshot"), "-c".as_ref(), "kept".as_ref(), images[3].as_ref()]);
    qemu("qemu-io", [OsStr::new("-c"), "write -P 9 1M 4k".as_ref(), images[3].as_ref()]);
    for image in &images {
        let before = fs::read(image).unwrap();
        let expected = at("expected.raw");
        qemu(
            "qemu-img",
            [OsStr::new("convert"), "-O".as_ref(), "raw".as_ref(), image.as_ref(), expected.as_ref()],
        );
        for (to, qemu_name, more) in [
            ("a.raw", "raw", &[][..]),
            ("b.vhd", "vpc", &[]),
            ("c.vhdx", "vhdx", &["--block-size=1M"]),
            ("d.vhd", "vpc", &["--fixed"]),
            ("e.vhdx", "vhdx", &["--fixed"]),
        ] {
            let to = at(to);
            target(&[&["convert", "--force"], more].concat(), &[image, &to]).expect_success();
            target(&["compare"], &[image, &to]).expect_success();
            qemu(
                "qemu-img",
                [
                    OsStr::new("compare"),
                    "-f".as_ref(),
                    "raw".as_ref(),
                    "-F".as_ref(),
                    qemu_name.as_ref(),
                    expected.as_ref(),
                    to.as_ref(),
                ],
            );
        }
        let data: u64 =
            serde_json::from_str::<serde_json::Value>(&target(&["map", "--json"], &[image]).expect_success())
                .unwrap()
                .as_array()
                .unwrap()
                .iter()
                .filter(|run| run["data"] == true)
                .map(|run| run["length"].as_u64().unwrap())
                .sum();
        assert!((MIB..41 * MIB).contains(&data), "{}: holes are known: {data}", image.display());
        target(&["info"], &[image]).expect_success();
        assert!(fs::read(image).unwrap() == before, "{} was changed", image.display());
    }
}

#[test]
fn what_a_qcow2_image_cannot_give_here_is_refused_by_name() {
    if !foreign::available(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    made(&at("base.qcow2"), "cluster_size=65536");
    let backing = format!("backing_file={},backing_fmt=qcow2", at("base.qcow2").display());
    let data = format!("data_file={},data_file_raw=on", at("secret").display());
    for (name, options, word) in [
        ("child", backing.as_str(), "base.qcow2"),
        ("data", data.as_str(), "external data file"),
        ("zstd", "compression_type=zstd", "compression"),
        ("sub", "extended_l2=on", "subclusters"),
    ] {
        let image = at(&format!("{name}.qcow2"));
        qemu("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, image.to_str().unwrap(), "1M"]);
        let error = target(&["convert"], &[&image, &at("to.raw")]).expect_failure();
        assert!(error.contains(word) && error.contains(name), "{error}");
    }
    // crypt_method of the header (QEMU's docs/interop/qcow2, bytes 32 to 35): AES. QEMU makes such images no more, and LUKS ones only on a
    // machine that is quiet enough to time its own hashing.
    let locked = at("locked.qcow2");
    qemu("qemu-img", ["create", "-q", "-f", "qcow2", locked.to_str().unwrap(), "1M"]);
    fs::OpenOptions::new().write(true).open(&locked).unwrap().write_all_at(&[0, 0, 0, 1], 32).unwrap();
    assert!(target(&["convert"], &[&locked, &at("to.raw")]).expect_failure().contains("encrypted"));
    assert!(!at("to.raw").exists());
    // Not written, not made, not checked.
    let base = at("base.qcow2");
    assert_eq!(open(&base, Access::ReadWrite).unwrap_err().kind(), OpenErrorKind::NotWritable);
    for args in [&["resize", "--size=1G"][..], &["compact"], &["snapshot"], &["reset"]] {
        let error = target(args, &[&base]).expect_failure();
        assert!(error.contains("base.qcow2"), "{args:?}: {error}");
    }
    assert!(target(&["create", "--size=1G"], &[&at("new.qcow2")]).expect_failure().contains("not made"));
    assert_eq!(target(&["check"], &[&base]).code(), Some(63));
}

#[test]
fn vmdk_images_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("a.vmdk", &b"KDMV\x01\0\0\0"[..]), ("b.vmdk", b"# Disk DescriptorFile\nversion=1\n")]
    {
        let path = folder.path().join(name);
        fs::write(&path, [content, &[0; 1024]].concat()).unwrap();
        let error = target(&["info"], &[&path]).expect_failure();
        assert!(error.contains("VMDK"), "{error}");
        assert_eq!(target(&["check"], &[&path]).code(), Some(63));
    }
}

/// Reads all of a disk that may be damaged.
fn read_all(path: &Path) -> Result<(), String> {
    let disk = open(path, Access::ReadOnly).map_err(|e| e.to_string())?;
    let size = disk.geometry().size.min(64 * MIB);
    let (mut buf, mut at) = (vec![0; 1 << 20], 0);
    while at < size {
        let len = (size - at).min(MIB);
        let (_, covered) = disk.block_status(at, len).map_err(|e| e.to_string())?;
        assert!(covered > 0 && covered <= len, "{covered} of {len}");
        disk.read_at(&mut buf[..usize::try_from(len).unwrap()], at).map_err(|e| e.to_string())?;
        at += len;
    }
    Ok(())
}

#[test]
fn damaged_qcow2_images_give_errors_or_content_and_no_panic() {
    if !foreign::available(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, spoiled) = (folder.path().join("a.qcow2"), folder.path().join("b.qcow2"));
    made(&image, "cluster_size=4096");
    let original = fs::read(&image).unwrap();
    // Every field of the header at its edges.
    let mut cases: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, len) in [
        (4, 4),
        (8, 8),
        (16, 4),
        (20, 4),
        (24, 8),
        (32, 4),
        (36, 4),
        (40, 8),
        (48, 8),
        (56, 4),
        (60, 4),
        (64, 8),
        (72, 8),
        (80, 8),
        (88, 8),
        (96, 4),
        (100, 4),
        (104, 1),
    ] {
        let old = original[at..at + len].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let all = u64::MAX >> (64 - 8 * len);
        for value in [
            0,
            1,
            old.wrapping_add(1),
            old.wrapping_sub(1),
            all,
            all >> 1,
            (all >> 1) + 1,
            old.wrapping_mul(2),
            4096,
        ] {
            cases.push((at, value.to_be_bytes()[8 - len..].to_vec()));
        }
    }
    let seed = seed("qcow2");
    let mut random = Random::new(seed);
    let rounds = if lunkeep_tests::report::full() { 5000 } else { 300 };
    for _ in 0..rounds {
        let at = match random.below(3) {
            0 => random.below(112),
            1 => (1 + random.below(8)) * 4096 + random.below(64) * 8,
            _ => random.below(original.len() as u64),
        };
        let value = [0, u64::MAX, 1 << 63, 1 << 62, u64::MAX >> 1, random.below(u64::MAX)]
            [usize::try_from(random.below(6)).unwrap()];
        cases.push((usize::try_from(at).unwrap(), value.to_be_bytes().to_vec()));
    }
    let (mut refused, mut read) = (0, 0);
    for (at, bytes) in cases {
        let mut content = original.clone();
        let end = content.len().min(at + bytes.len());
        content[at..end].copy_from_slice(&bytes[..end - at]);
        fs::write(&spoiled, &content).unwrap();
        match read_all(&spoiled) {
            Ok(()) => read += 1,
            Err(error) => {
                assert!(!error.contains("gave up"), "seed {seed}: a panic for {bytes:x?} at {at}: {error}");
                refused += 1;
            }
        }
        assert!(fs::read(&spoiled).unwrap() == content, "written to: {bytes:x?} at {at}");
    }
    for len in [0, 1, 71, 72, 111, 4096, 8192, original.len() / 2] {
        fs::write(&spoiled, &original[..len]).unwrap();
        drop(read_all(&spoiled));
    }
    println!("{refused} refused, {read} read; seed {seed}");
    assert!(refused > 50 && read > 50);
}
