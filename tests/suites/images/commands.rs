//! `lunkeep-target image` as a process: exit codes and signals.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lunkeep_tests::process::Daemon;
use rustix::process::Signal;

fn target(args: &[&str], path: &Path) -> lunkeep_tests::process::Outcome {
    let path = path.to_str().unwrap();
    lunkeep_tests::programs!().target(["image"].iter().chain(args).chain([&path]))
}

#[test]
fn a_check_ends_with_the_exit_codes_of_its_help() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    target(&["create", "--size", "10M"], &path).expect_success();
    assert_eq!(target(&["check"], &path).code(), Some(0));
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut footer = [0; 512];
    file.read_exact_at(&mut footer, 0).unwrap();
    file.write_all_at(&footer, len + (1 << 20)).unwrap();
    assert_eq!(target(&["check"], &path).code(), Some(3));
    assert_eq!(target(&["check", "--repair"], &path).code(), Some(0));
    file.write_all_at(&[0, 0, 0, 1], 1536).unwrap();
    assert_eq!(target(&["check"], &path).code(), Some(2));
    assert_eq!(target(&["check", "--json"], &path).code(), Some(2));
    assert_eq!(target(&["check"], &folder.path().join("absent.vhd")).code(), Some(1));
    let foreign = folder.path().join("a.qcow2");
    std::fs::write(&foreign, b"QFI\xfb\0\0\0\x03").unwrap();
    assert_eq!(target(&["check"], &foreign).code(), Some(63));
}

#[test]
fn info_prints_json_that_says_what_the_image_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    target(&["create", "--size", "1.5G", "--block-size", "512K"], &path).expect_success();
    let json: serde_json::Value =
        serde_json::from_str(&target(&["info", "--json"], &path).expect_success()).unwrap();
    for (name, value) in [
        ("format", "\"vhd\""),
        ("subformat", "\"dynamic\""),
        ("virtual_size", "1610612736"),
        ("block_size", "524288"),
        ("total_blocks", "3072"),
        ("allocated_blocks", "0"),
        ("logical_sector", "512"),
    ] {
        assert_eq!(json[name].to_string(), value, "{name}");
    }
}

/// A dynamic VHD of 200 GiB where each block has its place, all of it a hole: much to read, little to store.
fn huge(path: &Path) {
    target(&["create", "--size", "200G"], path).expect_success();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let (blocks, stride) = (100 * 1024u64, (2u64 << 20) + 4096);
    let first = (1536 + blocks * 4).next_multiple_of(4096) + 3584;
    let table: Vec<u8> = (0..blocks)
        .flat_map(|block| u32::try_from((first + block * stride) / 512).unwrap().to_be_bytes())
        .collect();
    file.write_all_at(&table, 1536).unwrap();
    file.set_len(first + blocks * stride).unwrap();
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
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [from]);
    }
}
