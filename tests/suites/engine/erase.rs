//! SANITIZE and FORMAT UNIT: what the image file holds afterwards, read without the image's own code.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use lunkeep_target::engine::HostFile;
use lunkeep_target::image::CreateOptions;

use super::*;

/// Bytes that no image format writes by itself.
const SECRET: &[u8; 16] = b"\x93lunkeep-secret\x07";
const BLOCK_ERASE: [u8; 10] = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0];
const FORMAT_UNIT: [u8; 6] = [0x04, 0, 0, 0, 0, 0];
const UNIT: u64 = 1 << 20;

/// Opens, or makes and opens, an image at `path`.
fn open(format: Format, path: &Path) -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    if !path.exists() {
        let file = HostFile::create_new(path).unwrap();
        let block_size = (format != Format::Raw).then_some(UNIT);
        let options = CreateOptions { block_size, ..CreateOptions::dynamic(8 << 20) };
        format.create(&file, &options, &*env).unwrap();
    }
    format.open(Arc::new(HostFile::open(path, Access::ReadWrite).unwrap()), Access::ReadWrite, &env).unwrap()
}

/// Whether the secret stands anywhere in the file.
fn holds_secret(path: &Path) -> bool {
    let mut file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

/// Serves an image as LUN 0, fills parts of it with the secret, unmaps one of them, and runs `erase`.
fn erased(format: Format, erase: impl FnOnce(&mut Peer)) {
    let folder = lunkeep_tests::target::Folder::new();
    let path = folder.file("image");
    let disk = Arc::new(GatedDisk::new(open(format, &path)));
    disk.open();
    let bench = Bench::with(|config| config.targets[0].luns[0] = lun(0, disk.clone()));
    bench.disks[1].open();
    let mut peer = bench.login(1);
    let secret = SECRET.repeat(64 * BLOCK / SECRET.len());
    for lba in [0, 100, 4096, 8192, 16384 - 64] {
        assert_eq!(peer.write_blocks(0, lba, &secret, BLOCK).status, GOOD);
    }
    assert_eq!(peer.command_in(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0).status, GOOD);
    assert!(holds_secret(&path), "{format:?}: it was written to the file");
    let mut list = [0; 24];
    (list[1], list[3], list[14], list[18]) = (22, 16, 0x10, 0x08);
    peer.command_out(0, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list);
    erase(&mut peer);
    assert_eq!(peer.command_in(0, &[0; 6], 0).status, GOOD);
    assert!(!holds_secret(&path), "{format:?}: the old bytes are still in the file");
    drop(bench);
    disk.close().unwrap();
    assert!(!holds_secret(&path), "{format:?}: closing brought them back");
}

#[test]
fn after_block_erase_and_format_the_old_bytes_are_not_in_the_file_and_every_block_reads_as_zero() {
    for format in [Format::Raw, Format::Vhd, Format::Vhdx] {
        for cdb in [&BLOCK_ERASE[..], &FORMAT_UNIT] {
            erased(format, |peer| {
                assert_eq!(peer.command_in(0, cdb, 0).status, GOOD);
                for lba in [0, 100, 4096, 8192, 16384 - 64] {
                    assert_eq!(peer.read_blocks(0, lba, 64, 512).data, vec![0; 64 * BLOCK]);
                }
                let mut status = [0; 16];
                (status[0], status[1], status[13]) = (0x9e, 0x12, 24);
                let told = peer.command_in(0, &status, 24).data;
                assert_eq!(
                    (&told[16..20], told[20]),
                    (&[0, 0, 0x40, 0][..], 1),
                    "{format:?}: all deallocated"
                );
            });
        }
    }
}

#[test]
fn after_overwrite_every_block_holds_the_pattern() {
    for format in [Format::Raw, Format::Vhd, Format::Vhdx] {
        erased(format, |peer| {
            let list = [&[0x03, 0, 0, 4], &b"\xde\xad\xbe\xef"[..]].concat();
            assert_eq!(peer.command_out(0, &[0x48, 1, 0, 0, 0, 0, 0, 0, 8, 0], &list).status, GOOD);
            for lba in [0, 5000, 16384 - 64] {
                assert_eq!(
                    peer.read_blocks(0, lba, 64, 512).data,
                    b"\xde\xad\xbe\xef".repeat(64 * BLOCK / 4)
                );
            }
        });
    }
}

#[test]
fn it_waits_for_writes_that_came_before_and_shows_no_block_until_it_is_over() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let frame = peer.command_frame(0, &BLOCK_ERASE, 0x81, 0);
    peer.send(&frame);
    stays_unanswered(&mut peer);
    let mut other = Peer::login(bench.portal, TARGET, 2);
    let mut refused = other.read_blocks(0, 0, 1, 512);
    while refused.sense_code().is_some_and(|(key, ..)| key == 6) {
        refused = other.read_blocks(0, 0, 1, 512);
    }
    assert_eq!(refused.sense_code(), Some((2, 0x04, 0x1b)));
    assert_eq!(refused.sense[15] & 0x80, 0x80, "with progress");
    bench.disks[0].open();
    for _ in 0..2 {
        assert_eq!(peer.expect(opcode::SCSI_RESPONSE).bhs[3], GOOD);
    }
    assert_eq!(other.read_blocks(0, 0, 1, 512).data, vec![0; BLOCK], "the write landed first");
}
