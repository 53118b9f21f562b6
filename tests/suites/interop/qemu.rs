//! `qemu-img` and `qemu-io`.

use std::process::Command;

use lunkeep_tests::content::{assert_same, sparse_disk};
use lunkeep_tests::process::{Outcome, run};
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use lunkeep_tests::target::{Folder, TOOL_LIMIT, Target};
use lunkeep_tests::{foreign, programs};

use super::formats::{FORMATS, Format};

/// Not a multiple of any block size of a dynamic format, so that the last block is partial.
const SIZE: u64 = (24 << 20) + 12288;

fn qemu_img(arguments: &[&str]) -> Outcome {
    let mut command: Command = foreign::command("qemu-img");
    run(command.args(arguments), TOOL_LIMIT)
}

/// Runs `qemu-io` commands on a raw disk; a pattern that does not match is a failure.
fn qemu_io(url: &str, commands: &[&str]) {
    let mut command: Command = foreign::command("qemu-io");
    command.args(["-f", "raw"]);
    for text in commands {
        command.args(["-c", text]);
    }
    let outcome = run(command.arg(url), TOOL_LIMIT);
    let bad = ["failed", "error", "Pattern"].iter().any(|word| outcome.stdout.contains(word));
    assert!(outcome.success() && !bad, "{outcome}");
}

/// Our own check, which must find the image clean.
fn check(path: &str) {
    programs!().target(["image", "check", path]).expect_success();
}

fn written_over_iscsi_is_in_the_file(format: &Format) {
    let folder = Folder::new();
    let (source, image) = (folder.file("source.raw"), folder.name(format.file));
    sparse_disk(&source, SIZE, &mut Random::new(seed(&test_name())));
    let target = Target::serve(programs!(), ["--disk", &format.new_disk(&image, SIZE)]);
    let (name, url) = (folder.name("source.raw"), target.url(0));
    qemu_img(&["convert", "-n", "-f", "raw", "-O", "raw", &name, &url]).expect_success();
    qemu_img(&["compare", "-f", "raw", "-F", "raw", &name, &url]).expect_success();
    target.stop();
    check(&image);
    let ours = folder.name("ours.raw");
    programs!().target(["image", "convert", &image, &ours]).expect_success();
    assert_same(&source, &folder.file("ours.raw"));
    let theirs = folder.file("theirs.raw");
    if format.read_with_qemu(&image, &theirs) {
        assert_same(&source, &theirs);
    }
}

fn written_to_the_file_is_read_over_iscsi(format: &Format) {
    let folder = Folder::new();
    let (source, image) = (folder.file("source.raw"), folder.name(format.file));
    sparse_disk(&source, SIZE, &mut Random::new(seed(&test_name())));
    format.convert_from(&folder.name("source.raw"), &image);
    check(&image);
    let target = Target::serve(programs!(), ["--disk", &format.disk(&image)]);
    qemu_img(&["convert", "-f", "raw", "-O", "raw", &target.url(0), &folder.name("read.raw")])
        .expect_success();
    assert_same(&source, &folder.file("read.raw"));
    target.stop();
    check(&image);
}

fn patterns_survive_rewriting_discarding_and_a_restart(format: &Format) {
    let folder = Folder::new();
    let image = folder.name(format.file);
    let target = Target::serve(programs!(), ["--disk", &format.new_disk(&image, SIZE)]);
    qemu_io(
        &target.url(0),
        &[
            "read -P 0 0 1M",
            "write -P 0x11 0 64k",
            // Unaligned: QEMU reads, changes and writes whole blocks.
            "write -P 0x22 1000 3000",
            "read -P 0x11 0 1000",
            "read -P 0x22 1000 3000",
            "read -P 0x11 4000 61536",
            // Across a block of 2 MiB and one of 32 MiB would-be borders, and up to the end.
            "write -P 0x33 2093056 8192",
            "read -P 0x33 2093056 8192",
            "write -P 0x44 25169920 8192",
            "read -P 0x44 25169920 8192",
            "write -P 0x55 8M 4M",
            "flush",
            "write -z 9M 64k",
            "write -z -u 10M 1M",
            "discard 11M 1M",
            "read -P 0x55 8M 1M",
            "read -P 0 9M 64k",
            "read -P 0x55 9502720 983040",
            "read -P 0 10M 1M",
            "aio_write -P 0x66 16M 128k",
            "aio_write -P 0x77 17M 128k",
            "aio_flush",
            "read -P 0x66 16M 128k",
            "read -P 0x77 17M 128k",
            "writev -P 0x88 20M 4k 8k 512k",
            "write -f -P 0x99 21M 4k",
            "flush",
        ],
    );
    target.stop();
    check(&image);
    let target = Target::serve(programs!(), ["--disk", &format.disk(&image)]);
    let restarted = [
        "read -P 0x11 0 1000",
        "read -P 0x22 1000 3000",
        "read -P 0x33 2093056 8192",
        "read -P 0x44 25169920 8192",
        "read -P 0x55 8M 1M",
        "read -P 0 10M 1M",
        "read -P 0x66 16M 128k",
        "read -P 0x88 20M 536576",
        "read -P 0x99 21M 4k",
        "read -P 0 22M 1M",
    ];
    qemu_io(&target.url(0), &restarted);
    target.stop();
}

/// One test for each row of the table of formats, so that each is named when it fails.
macro_rules! for_every_format {
    ($($test:ident: $row:literal),+ $(,)?) => {$(
        mod $test {
            use super::*;

            const FORMAT: Format = FORMATS[$row];

            #[test]
            fn what_qemu_img_writes_is_in_the_file() {
                if foreign::available(&["qemu-img"]) {
                    written_over_iscsi_is_in_the_file(&FORMAT);
                }
            }

            #[test]
            fn qemu_img_reads_what_is_in_the_file() {
                if foreign::available(&["qemu-img"]) {
                    written_to_the_file_is_read_over_iscsi(&FORMAT);
                }
            }

            #[test]
            fn patterns_of_qemu_io_survive_rewriting_discarding_and_a_restart() {
                if foreign::available(&["qemu-io"]) {
                    patterns_survive_rewriting_discarding_and_a_restart(&FORMAT);
                }
            }
        }
    )+

    #[test]
    fn every_format_has_its_tests() {
        let rows = [$($row),+];
        assert_eq!(rows.len(), FORMATS.len(), "{:?}", FORMATS.map(|format| format.name));
    }};
}

for_every_format!(
    raw: 0,
    raw_4096: 1,
    fixed_vhd: 2,
    dynamic_vhd: 3,
    fixed_vhdx: 4,
    dynamic_vhdx: 5,
    fixed_vhdx_4096: 6,
    dynamic_vhdx_4096: 7,
);

#[test]
fn qemu_reads_and_writes_with_header_digests() {
    if !foreign::available(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = Folder::new();
    let source = folder.file("source.raw");
    sparse_disk(&source, SIZE, &mut Random::new(seed(&test_name())));
    let disk = FORMATS[5].new_disk(&folder.name("disk.vhdx"), SIZE);
    let target = Target::serve(programs!(), ["--disk", &disk]);
    // QEMU then offers CRC32C alone: without it there is no login.
    let options = format!(
        "driver=iscsi,transport=tcp,portal={},target={},lun=0,header-digest=crc32c",
        target.portal(),
        target.iqn()
    );
    let (name, back) = (folder.name("source.raw"), folder.name("back.raw"));
    qemu_img(&["convert", "-n", "-f", "raw", "--target-image-opts", &name, &options]).expect_success();
    qemu_img(&["convert", "--image-opts", &options, "-O", "raw", &back]).expect_success();
    assert_same(&source, &folder.file("back.raw"));
    target.stop();
}

#[test]
fn disks_of_one_target_are_lun_0_and_1_and_do_not_mix() {
    if !foreign::available(&["qemu-io"]) {
        return;
    }
    let folder = Folder::new();
    let disks = ["a.vhdx", "b.vhd"].map(|name| format!("{},size=8M", folder.name(name)));
    let target = Target::serve(programs!(), ["--disk", &disks[0], "--disk", &disks[1]]);
    assert!(target.url(0).ends_with("/0") && target.url(1).ends_with("/1"), "{:#}", target.document());
    qemu_io(&target.url(0), &["write -P 0xaa 0 1M", "flush"]);
    qemu_io(&target.url(1), &["read -P 0 0 1M", "write -P 0xbb 512k 1M", "flush"]);
    qemu_io(&target.url(0), &["read -P 0xaa 0 1M", "read -P 0 1M 512k"]);
    qemu_io(&target.url(1), &["read -P 0 0 512k", "read -P 0xbb 512k 1M"]);
    target.stop();
}

#[test]
fn a_read_only_disk_is_read_and_refuses_writes() {
    if !foreign::available(&["qemu-io"]) {
        return;
    }
    let folder = Folder::new();
    let image = folder.name("disk.vhdx");
    let target = Target::serve(programs!(), ["--disk", &format!("{image},size=8M")]);
    qemu_io(&target.url(0), &["write -P 0xaa 0 1M", "flush"]);
    target.stop();
    let before = lunkeep_tests::content::sha256(image.as_ref());
    let target = Target::serve(programs!(), ["--disk", &format!("{image},ro")]);
    let mut read: Command = foreign::command("qemu-io");
    run(read.args(["-r", "-f", "raw", "-c", "read -P 0xaa 0 1M"]).arg(target.url(0)), TOOL_LIMIT)
        .expect_success();
    let mut write: Command = foreign::command("qemu-io");
    let refused = run(write.args(["-f", "raw", "-c", "write -P 0xbb 0 1M"]).arg(target.url(0)), TOOL_LIMIT);
    assert!(!refused.stdout.contains("wrote "), "{refused}");
    target.stop();
    assert_eq!(lunkeep_tests::content::sha256(image.as_ref()), before, "a read-only image was changed");
}
