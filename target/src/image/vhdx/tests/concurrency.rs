//! Several threads on the same blocks.

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::gate_file::{GateFile, Kind, let_it_try};
use super::*;

/// Bytes that tell whose they are.
fn stamp(block: u64, round: u64) -> Vec<u8> {
    [(block + 1).to_le_bytes(), round.to_le_bytes()].concat().repeat(256)
}

#[test]
fn writers_that_meet_in_a_new_block_share_its_place() {
    const BLOCKS: u64 = 200;
    const THREADS: u64 = 4;
    let file = created(&options(BLOCKS * MIB, MIB));
    let disk = open(&file);
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (disk, barrier) = (&disk, &barrier);
            scope.spawn(move || {
                for block in 0..BLOCKS {
                    barrier.wait();
                    write(&**disk, block * MIB + n * 4096, &stamp(block, n));
                }
            });
        }
    });
    for (block, n) in (0..BLOCKS).flat_map(|block| (0..THREADS).map(move |n| (block, n))) {
        assert_eq!(read(&*disk, block * MIB + n * 4096, 4096), stamp(block, n));
    }
    disk.close().unwrap();
    assert_eq!(file.len().unwrap(), (4 + BLOCKS) * MIB, "one place for each block");
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn a_reader_never_sees_bytes_of_another_block_while_places_change_hands() {
    const BLOCKS: u64 = 12;
    let file = created(&options(BLOCKS * MIB, MIB));
    let disk = open(&file);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..2 {
            let (disk, stop) = (&disk, &stop);
            scope.spawn(move || {
                let mut n = reader;
                while !stop.load(Ordering::Relaxed) {
                    n = (n + 5) % BLOCKS;
                    let mut seen = vec![9; 4096];
                    if n.is_multiple_of(2) || !disk.read_cached_at(&mut seen, n * MIB).unwrap() {
                        disk.read_at(&mut seen, n * MIB).unwrap();
                    }
                    let owner = u64::from_le_bytes(seen[..8].try_into().unwrap());
                    assert!(owner == 0 || owner == n + 1, "block {n} shows bytes of block {}", owner - 1);
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let disk = &disk;
                scope.spawn(move || {
                    for round in 0..1500 {
                        let block = (round * 7 + writer * 6) % BLOCKS;
                        match round % 4 {
                            0 | 1 => write(&**disk, block * MIB, &stamp(block, round)),
                            2 => disk.write_zeroes(block * MIB, MIB, true).unwrap(),
                            _ => disk.flush().unwrap(),
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    disk.close().unwrap();
    assert!(check(&file).is_sound());
    assert!(file.len().unwrap() < 200 * MIB, "places are used again");
}

#[test]
fn flushes_of_many_threads_share_syncs_and_each_covers_its_own_writes() {
    let file = created(&options(256 * MIB, MIB));
    let probe = ProbeFile::new(&file);
    let disk = probe.open();
    thread::scope(|scope| {
        for n in 0..4 {
            let (disk, file) = (&disk, &file);
            scope.spawn(move || {
                for round in 0..12 {
                    let block = n * 64 + round;
                    write(&**disk, block * MIB, &stamp(block, round));
                    disk.flush().unwrap();
                    // What the log and the file hold now is enough to see the write.
                    let crashed = open(&killed(file));
                    assert_eq!(read(&*crashed, block * MIB, 4096), stamp(block, round));
                }
            });
        }
    });
    assert!(probe.syncs() <= 3 + 48);
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn a_close_waits_for_what_is_going_on_and_refuses_what_comes_later() {
    for _ in 0..20 {
        let file = created(&options(64 * MIB, MIB));
        let disk = open(&file);
        let written = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for n in 0..3 {
                let (disk, written) = (&disk, &written);
                scope.spawn(move || {
                    for block in (n..64).step_by(3) {
                        let bytes = stamp(block, 0);
                        if disk.write_at(&[IoSlice::new(&bytes)], block * MIB).is_err() {
                            break;
                        }
                        written.lock().unwrap().push(block);
                    }
                });
            }
            scope.spawn(|| {
                thread::yield_now();
                disk.close().unwrap();
            });
        });
        let report = check(&file);
        assert!(report.is_sound() && report.findings.is_empty(), "{report:?}");
        let disk = open(&file);
        for block in written.into_inner().unwrap() {
            assert_eq!(read(&*disk, block * MIB, 4096), stamp(block, 0));
        }
    }
}

/// The place of the first block of a new file with 1 MiB blocks.
const FIRST: u64 = 4 * MIB;

#[test]
fn two_writers_that_both_saw_a_block_without_a_place_use_the_same_one() {
    let file = created(&options(64 * MIB, MIB));
    let gate = GateFile::new(&file);
    let disk = gate.open();
    // Both wait for the page of the table, and both find no place in it.
    gate.hold(Kind::Read, 3 * MIB..4 * MIB);
    thread::scope(|scope| {
        for n in 0..2 {
            let disk = &disk;
            scope.spawn(move || write(&**disk, n * 4096, &stamp(0, n)));
        }
        gate.until_held();
        let_it_try();
        gate.release();
    });
    for n in 0..2 {
        assert_eq!(read(&*disk, n * 4096, 4096), stamp(0, n));
    }
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn a_place_does_not_change_hands_while_it_is_read_or_written() {
    for kind in [Kind::Read, Kind::Write] {
        let file = created(&options(64 * MIB, MIB));
        let gate = GateFile::new(&file);
        let disk = gate.open();
        write(&*disk, 0, &stamp(0, 1));
        disk.flush().unwrap();
        gate.hold(kind, FIRST..FIRST + 4096);
        thread::scope(|scope| {
            let slow = scope.spawn(|| match kind {
                Kind::Read => assert_eq!(read(&*disk, 0, 4096), stamp(0, 1), "bytes of another block"),
                Kind::Write => write(&*disk, 0, &stamp(0, 2)),
            });
            gate.until_held();
            scope.spawn(|| {
                disk.write_zeroes(0, MIB, true).unwrap();
                disk.flush().unwrap();
                write(&*disk, MIB, &stamp(1, 1));
                disk.flush().unwrap();
                // Were it too early, this would get the place of block 0.
                write(&*disk, 2 * MIB, &stamp(2, 1));
            });
            let_it_try();
            gate.release();
            slow.join().unwrap();
        });
        assert_eq!(read(&*disk, 0, 4096), [0; 4096]);
        assert_eq!(read(&*disk, 2 * MIB, 4096), stamp(2, 1));
    }
}

#[test]
fn a_close_returns_after_the_writes_that_it_does_not_refuse() {
    let file = created(&options(64 * MIB, MIB));
    let gate = GateFile::new(&file);
    let disk = gate.open();
    write(&*disk, 0, &stamp(0, 1));
    gate.hold(Kind::Write, FIRST + MIB..FIRST + 2 * MIB);
    thread::scope(|scope| {
        let slow = scope.spawn(|| disk.write_at(&[IoSlice::new(&stamp(1, 1))], MIB));
        gate.until_held();
        let close = scope.spawn(|| disk.close());
        let_it_try();
        gate.release();
        slow.join().unwrap().unwrap();
        close.join().unwrap().unwrap();
    });
    assert_eq!(read(&*open(&file), MIB, 4096), stamp(1, 1));
    assert_eq!(complaints(&file), [""; 0]);
}
