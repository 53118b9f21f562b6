//! `serve` is killed in the middle of its work, again and again: what was flushed is there, what was not is old or new and never torn,
//! and the image is sound.
//!
//! SIGKILL leaves what the kernel has of the file, so this says nothing about syncs (the power cuts of the `images` suite do); it finds what the
//! process held back, half-made changes of the block table, logs that do not replay, and state that does not come up again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lunkeep_common::name::Isid;
use lunkeep_common::scsi::Lun;
use lunkeep_initiator::engine::{Config, Identity, Initiator, LunHandle, Session};
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::{full, test_name};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::*;

const SECTOR: usize = 512;

/// Writers, each with a part of the disk of its own.
const WRITERS: u64 = 4;

/// Sectors of one writer. Its part is longer than a few blocks of the image, so that blocks are allocated all the time.
const PART: u64 = (16 << 20) / SECTOR as u64;

/// What a sector may hold: a version is the number of the write that brought it, 0 is what was never written.
#[derive(Clone, Debug, Default)]
struct Sector {
    /// Acknowledged before a flush that was acknowledged.
    flushed: u64,
    /// Sent since, acknowledged or not.
    since: Vec<u64>,
}

/// One writer's memory.
#[derive(Debug)]
struct Writer {
    first: u64,
    random: Random,
    writes: u64,
    flushes: u64,
    sectors: HashMap<u64, Sector>,
}

/// The content of a sector in a version.
fn content(lba: u64, version: u64) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    if version != 0 {
        Random::new(lba.rotate_left(32) ^ version).fill(&mut sector);
        sector[..8].copy_from_slice(&version.to_le_bytes());
    }
    sector
}

impl Writer {
    /// Writes and flushes until the target is gone.
    async fn work(&mut self, lun: &LunHandle) {
        loop {
            for _ in 0..self.random.below(12) {
                if !self.write(lun).await {
                    return;
                }
            }
            if lun.flush().await.is_err() {
                return;
            }
            self.flushes += 1;
            for sector in self.sectors.values_mut() {
                if let Some(last) = sector.since.pop() {
                    *sector = Sector { flushed: last, since: Vec::new() };
                }
            }
        }
    }

    /// One write of random place and length; false when it was not acknowledged.
    async fn write(&mut self, lun: &LunHandle) -> bool {
        let longest = if self.random.one_in(8) { 4096 } else { 64 };
        let count = 1 + self.random.below(longest);
        let lba = self.first + self.random.below(PART - count + 1);
        self.writes += 1;
        let mut data = Vec::new();
        for lba in lba..lba + count {
            data.extend_from_slice(&content(lba, self.writes));
            self.sectors.entry(lba).or_default().since.push(self.writes);
        }
        lun.write(lba, Bytes::from(data), 512).await.is_ok()
    }

    /// Compares the writer's part of the disk with what it may hold, and takes what is there for the state of things.
    async fn verify(&mut self, lun: &LunHandle) {
        const STEP: u32 = 2048;
        for start in (0..PART / u64::from(STEP)).map(|n| self.first + n * u64::from(STEP)) {
            let read = lun.read(start, STEP, 512).await.expect("a read");
            for (found, lba) in read.chunks(SECTOR).zip(start..) {
                let version = u64::from_le_bytes(found[..8].try_into().unwrap());
                let known = self.sectors.get(&lba).cloned().unwrap_or_default();
                assert!(
                    version == known.flushed || known.since.contains(&version),
                    "sector {lba:#x} has version {version}, which is none of {known:?}"
                );
                assert!(found == content(lba, version), "sector {lba:#x} is torn in version {version}");
                self.sectors.insert(lba, Sector { flushed: version, since: Vec::new() });
            }
        }
    }
}

async fn login(target: &Target) -> (Session, LunHandle) {
    let isid = Isid([0x80, 0, 0, 0, 0, 1]);
    let identity = Identity { name: "iqn.2024-01.invalid.lunkeep:kills".parse().unwrap(), isid };
    let portal = target.portal().to_string().parse().unwrap();
    let name = target.iqn().parse().unwrap();
    let session = Initiator::new(Config::new(identity).unwrap()).login(&portal, &name).await.unwrap();
    let lun = session.lun(Lun(0));
    lun.ready().await.unwrap();
    (session, lun)
}

/// The image is sound: no damage (0), or no more than space that a block was about to get and that nothing uses now (3).
fn check(image: &str) {
    let outcome = PROGRAMS.target(["image", "check", image]);
    assert!(matches!(outcome.code(), Some(0 | 3)), "{outcome}");
}

/// Kills `serve` so many times while it serves an image that `image create` makes with these arguments.
fn kill_again_and_again(name: &str, arguments: &[&str], times: u32) {
    let mut random = Random::new(seed(&test_name()));
    let folder = Folder::new();
    let image = folder.name(name);
    PROGRAMS.target([&["image", "create", &image], arguments].concat()).expect_success();
    let runtime = Runtime::new().unwrap();
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|n| Writer {
            first: n * PART,
            random: Random::new(random.next_u64()),
            writes: 0,
            flushes: 0,
            sectors: HashMap::new(),
        })
        .collect();
    for _ in 0..times {
        let target = Target::serve(PROGRAMS, ["--disk", &image]);
        let delay = Duration::from_micros(random.below(150_000));
        writers = runtime.block_on(async {
            let (_session, lun) = login(&target).await;
            let (lun, verified) = (Arc::new(lun), Arc::new(Semaphore::new(0)));
            let tasks: Vec<_> = writers
                .into_iter()
                .map(|mut writer| {
                    let (lun, verified) = (Arc::clone(&lun), Arc::clone(&verified));
                    tokio::spawn(async move {
                        writer.verify(&lun).await;
                        lun.flush().await.expect("a flush");
                        verified.add_permits(1);
                        writer.work(&lun).await;
                        writer
                    })
                })
                .collect();
            // A writer that found something wrong gives no permit: its own end tells then.
            let all = verified.acquire_many(u32::try_from(WRITERS).unwrap());
            let ready = tokio::time::timeout(PATIENCE, all).await;
            tokio::time::sleep(delay).await;
            target.kill();
            let mut writers = Vec::new();
            for task in tasks {
                writers.push(task.await.expect("a writer"));
            }
            assert!(ready.is_ok(), "the disk was not read in time");
            writers
        });
        check(&image);
    }
    let target = Target::serve(PROGRAMS, ["--disk", &image]);
    runtime.block_on(async {
        let (session, lun) = login(&target).await;
        for writer in &mut writers {
            writer.verify(&lun).await;
        }
        drop(lun);
        session.logout().await.unwrap();
    });
    target.stop();
    check(&image);
    let (writes, flushes) =
        writers.iter().fold((0, 0), |(w, f), writer| (w + writer.writes, f + writer.flushes));
    println!("{times} kills, {writes} writes, {flushes} flushes");
    assert!(flushes > 0, "the target was never killed in the middle of its work");
}

/// How often in a quick run and in a full one.
fn times(quick: u32, all: u32) -> u32 {
    if full() { all } else { quick }
}

#[test]
fn a_killed_target_loses_nothing_of_a_vhdx_that_was_flushed() {
    kill_again_and_again("disk.vhdx", &["--size", "64M", "--block-size", "1M"], times(8, 300));
}

#[test]
fn a_killed_target_loses_nothing_of_a_vhd_that_was_flushed() {
    kill_again_and_again("disk.vhd", &["--size", "64M", "--block-size", "512K"], times(4, 100));
}
