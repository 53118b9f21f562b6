//! Each disk against a list of sectors, with several threads on the same blocks.

use std::io::IoSlice;
use std::sync::{Arc, Barrier};
use std::thread;

use lunkeep_target::image::{Access, BlockFile, CreateOptions, Disk, Format, MemoryFile};
use lunkeep_tests::chain::Folder;
use lunkeep_tests::crash::{content, stamp};
use lunkeep_tests::faulty_file::FaultyFile;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::test_environment::TestEnvironment;

const THREADS: u64 = 4;

/// What one thread knows of its own logical blocks. Threads own every fourth logical block of the first half of the disk, so that
/// they meet in every allocation unit, and a quarter of the units of the second half each.
struct Owner {
    number: u64,
    generation: u64,
    random: Random,
    /// The blocks it owns and what they hold.
    model: Vec<(u64, Vec<u8>)>,
}

impl Owner {
    fn step(&mut self, disk: &dyn Disk) {
        let geometry = disk.geometry();
        let block = geometry.logical_block as usize;
        let index = usize::try_from(self.random.below(self.model.len() as u64)).unwrap();
        let (at, held) = &mut self.model[index];
        let offset = *at * block as u64;
        self.generation += 1;
        match self.random.below(12) {
            0..=4 => {
                let bytes = stamp(*at, self.generation * THREADS + self.number, block);
                disk.write_at(
                    &[IoSlice::new(&bytes[..block / 2]), IoSlice::new(&bytes[block / 2..])],
                    offset,
                )
                .unwrap();
                *held = bytes;
            }
            5 => {
                disk.write_zeroes(offset, block as u64, self.random.one_in(2)).unwrap();
                held.fill(0);
            }
            6 => {
                // Less than a unit, which gives space to the host where it can.
                disk.write_zeroes(offset, block as u64, true).unwrap();
                held.fill(0);
            }
            7 => {
                let unit = u64::from(geometry.allocation_unit);
                let start = offset / unit * unit;
                if start >= geometry.size / 2 {
                    let end = (start + unit).min(geometry.size);
                    disk.write_zeroes(start, end - start, true).unwrap();
                    for (at, held) in &mut self.model {
                        if (start..end).contains(&(*at * block as u64)) {
                            *held = read(disk, *at * block as u64, block);
                            assert!(held.iter().all(|b| *b == 0), "a freed unit reads as zero");
                        }
                    }
                }
            }
            8 => disk.flush().unwrap(),
            _ => {
                let mut buf = vec![1; block];
                if !disk.read_cached_at(&mut buf, offset).unwrap() {
                    disk.read_at(&mut buf, offset).unwrap();
                }
                assert_eq!(buf, *held, "block {at} of thread {}", self.number);
            }
        }
    }
}

fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![1; len];
    disk.read_at(&mut buf, offset).unwrap();
    buf
}

/// Parents for a disk: each with bytes of its own in every unit, below the one that is tested.
fn chain(format: Format, options: &CreateOptions, depth: usize) -> (Folder, Arc<dyn BlockFile>) {
    let env = TestEnvironment::shared();
    let folder = Folder::default();
    let base = Arc::new(MemoryFile::default());
    format.create(&*base, options, &*env).unwrap();
    folder.put("disk0", base);
    for n in 0..depth {
        let name = format!("disk{n}");
        let file = folder.file(&name).unwrap();
        let disk = format.open_in(file, Access::ReadWrite, &env, &folder.lineage(&name)).unwrap();
        let (geometry, block) = (disk.geometry(), disk.geometry().logical_block);
        for at in (0..geometry.size).step_by(geometry.allocation_unit as usize) {
            let at = at / u64::from(block) + n as u64 * 2;
            if at * u64::from(block) < geometry.size {
                let bytes = stamp(at, 1 << 40 | n as u64, block as usize);
                disk.write_at(&[IoSlice::new(&bytes)], at * u64::from(block)).unwrap();
            }
        }
        disk.close().unwrap();
        let unit = options.block_size;
        let child = folder.child_of(format, &name, unit, &env);
        folder.put(&format!("disk{}", n + 1), Arc::new(child));
    }
    let file = folder.file(&format!("disk{depth}")).unwrap();
    (folder, file)
}

/// Runs rounds of random operations, closing and opening in between, and compares all content after each.
fn run(format: Format, options: &CreateOptions, rounds: u64, steps: u64) {
    run_in_chain(format, options, 0, rounds, steps);
}

fn run_in_chain(format: Format, options: &CreateOptions, depth: usize, rounds: u64, steps: u64) {
    let seed = seed(format.name());
    let env = TestEnvironment::shared();
    let (folder, file) = chain(format, options, depth);
    let lineage = folder.lineage(&format!("disk{depth}"));
    let mut owners: Vec<Owner> = Vec::new();
    for round in 0..rounds {
        let disk = format.open_in(Arc::clone(&file), Access::ReadWrite, &env, &lineage).unwrap();
        assert_eq!(disk.chain_depth(), depth + 1);
        let geometry = disk.geometry();
        let block = u64::from(geometry.logical_block);
        let unit = u64::from(geometry.allocation_unit);
        let owner_of = |at: u64| {
            if at * block < geometry.size / 2 / unit * unit {
                at % THREADS
            } else {
                at * block / unit % THREADS
            }
        };
        if owners.is_empty() {
            let before = content(&*disk).unwrap();
            let held = |at: u64| {
                let start = usize::try_from(at * block).unwrap();
                before[start..start + usize::try_from(block).unwrap()].to_vec()
            };
            owners = (0..THREADS)
                .map(|number| Owner {
                    number,
                    generation: 0,
                    random: Random::new(seed ^ number),
                    model: (0..geometry.size / block)
                        .filter(|at| owner_of(*at) == number)
                        .map(|at| (at, held(at)))
                        .collect(),
                })
                .collect();
        }
        let start = Barrier::new(owners.len());
        thread::scope(|scope| {
            for owner in &mut owners {
                scope.spawn(|| {
                    start.wait();
                    (0..steps).for_each(|_| owner.step(&*disk));
                });
            }
        });
        let all = content(&*disk).unwrap();
        for (at, held) in owners.iter().flat_map(|o| &o.model) {
            let start = usize::try_from(at * block).unwrap();
            assert_eq!(all[start..start + held.len()], held[..], "round {round}, block {at}");
        }
        disk.close().unwrap();
        let report = format.check_in(&file, false, &env, &lineage).unwrap();
        assert!(report.is_sound(), "round {round}: {:?}", report.findings);
    }
}

#[test]
fn a_raw_disk_holds_what_several_threads_wrote() {
    run(Format::Raw, &CreateOptions::dynamic(200 * 512), 3, 400);
}

#[test]
fn a_fixed_vhd_holds_what_several_threads_wrote() {
    run(Format::Vhd, &CreateOptions::fixed(200 * 512), 3, 400);
}

#[test]
fn a_dynamic_vhd_holds_what_several_threads_wrote_in_the_same_new_blocks() {
    let options = CreateOptions { block_size: Some(16 << 10), ..CreateOptions::dynamic((1 << 20) + 1536) };
    run(Format::Vhd, &options, 12, 1500);
}

/// All threads write to the same new unit at the same moment, each to its own part, while the file is slow.
fn race(format: Format, options: &CreateOptions, units: u64) {
    let env = TestEnvironment::shared();
    let file = MemoryFile::default();
    format.create(&file, options, &*env).unwrap();
    let file = Arc::new(FaultyFile::new(file));
    let disk = format.open(Arc::clone(&file) as _, Access::ReadWrite, &env).unwrap();
    file.fail(|_| {
        thread::yield_now();
        None
    });
    let geometry = disk.geometry();
    let (block, unit) = (u64::from(geometry.logical_block), u64::from(geometry.allocation_unit));
    assert!(unit / block >= THREADS && geometry.size / unit >= units);
    let own = |unit_number: u64, thread: u64| unit_number * unit / block + thread;
    let together = Barrier::new(usize::try_from(THREADS).unwrap());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (disk, together, own) = (&disk, &together, &own);
            scope.spawn(move || {
                for number in 0..units {
                    let at = own(number, thread);
                    let bytes = stamp(at, thread, usize::try_from(block).unwrap());
                    together.wait();
                    disk.write_at(&[IoSlice::new(&bytes)], at * block).unwrap();
                    assert_eq!(
                        read(&**disk, at * block, bytes.len()),
                        bytes,
                        "unit {number}, thread {thread}"
                    );
                }
            });
        }
    });
    for (number, thread) in (0..units).flat_map(|n| (0..THREADS).map(move |t| (n, t))) {
        let at = own(number, thread);
        let bytes = stamp(at, thread, usize::try_from(block).unwrap());
        assert_eq!(read(&*disk, at * block, bytes.len()), bytes, "unit {number}, thread {thread}");
    }
}

#[test]
fn writers_that_meet_in_a_new_vhd_block_all_keep_their_data() {
    let options = CreateOptions { block_size: Some(4096), ..CreateOptions::dynamic(1 << 20) };
    race(Format::Vhd, &options, 256);
}

#[test]
fn a_dynamic_vhdx_holds_what_several_threads_wrote_in_the_same_new_blocks() {
    let options = CreateOptions {
        block_size: Some(1 << 20),
        logical_sector: Some(4096),
        ..CreateOptions::dynamic((7 << 20) + 8192)
    };
    run(Format::Vhdx, &options, 6, 1000);
}

#[test]
fn a_fixed_vhdx_holds_what_several_threads_wrote() {
    let options = CreateOptions {
        block_size: Some(1 << 20),
        logical_sector: Some(4096),
        ..CreateOptions::fixed((3 << 20) + 4096)
    };
    run(Format::Vhdx, &options, 3, 500);
}

#[test]
fn writers_that_meet_in_a_new_vhdx_block_all_keep_their_data() {
    let options = CreateOptions { block_size: Some(1 << 20), ..CreateOptions::dynamic(256 << 20) };
    race(Format::Vhdx, &options, 256);
}

/// Whole units that several threads write and zero in children: bits, parents' bytes and freed places mix.
#[test]
fn children_of_every_depth_hold_what_several_threads_wrote() {
    for depth in 1..=3 {
        let options = CreateOptions { block_size: Some(4096), ..CreateOptions::dynamic(90 * 512) };
        run_in_chain(Format::Vhd, &options, depth, 6, 1000);
        for sector in [512, 4096] {
            let options = CreateOptions {
                block_size: Some(1 << 20),
                logical_sector: Some(sector),
                ..CreateOptions::dynamic((3 << 20) + 8192)
            };
            run_in_chain(Format::Vhdx, &options, depth, 3, 300);
        }
    }
}

/// Requests of every length and alignment to whole sectors, over units, against a plain array of bytes.
#[test]
fn requests_of_every_length_and_alignment_read_as_a_plain_array_does() {
    for (format, unit, depth) in [
        (Format::Raw, 4096, 0),
        (Format::Vhd, 4096, 0),
        (Format::Vhd, 4096, 2),
        (Format::Vhdx, 1 << 20, 0),
        (Format::Vhdx, 1 << 20, 3),
    ] {
        let seed = seed(&format!("{format} of depth {depth}"));
        let mut random = Random::new(seed);
        let block_size = (format != Format::Raw).then_some(unit);
        let options = CreateOptions { block_size, ..CreateOptions::dynamic(5 * unit + 1536) };
        let (folder, file) = chain(format, &options, depth);
        let env = TestEnvironment::shared();
        let lineage = folder.lineage(&format!("disk{depth}"));
        let mut disk = format.open_in(Arc::clone(&file), Access::ReadWrite, &env, &lineage).unwrap();
        let mut model = content(&*disk).unwrap();
        let sectors = model.len() as u64 / 512;
        for step in 0..400 {
            let at = random.below(sectors);
            let count = 1 + random.below((sectors - at).min(2 * unit / 512 + 3));
            let range = usize::try_from(at * 512).unwrap()..usize::try_from((at + count) * 512).unwrap();
            match random.below(8) {
                0..=2 => {
                    let bytes: Vec<u8> =
                        (at..at + count).flat_map(|sector| stamp(sector, step, 512)).collect();
                    // In pieces of odd lengths, as a network delivers them.
                    let pieces: Vec<IoSlice<'_>> = bytes
                        .chunks(1 + usize::try_from(random.below(3000)).unwrap())
                        .map(IoSlice::new)
                        .collect();
                    disk.write_at(&pieces, at * 512).unwrap();
                    model[range].copy_from_slice(&bytes);
                }
                3 | 4 => {
                    disk.write_zeroes(at * 512, count * 512, random.one_in(2)).unwrap();
                    model[range].fill(0);
                }
                5 => {
                    disk.close().unwrap();
                    disk = format.open_in(Arc::clone(&file), Access::ReadWrite, &env, &lineage).unwrap();
                }
                _ => {
                    let seen = read(&*disk, at * 512, range.len());
                    assert!(seen == model[range], "{format}, depth {depth}, seed {seed}, step {step}");
                }
            }
        }
        assert!(content(&*disk).unwrap() == model, "{format}, depth {depth}, seed {seed}");
    }
}
