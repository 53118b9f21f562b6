//! Power cuts on VHDX images, at any moment of a session.

use lunkeep_target::image::{CreateOptions, Format, MemoryFile};
use lunkeep_tests::crash::{Search, Step, search};
use lunkeep_tests::crash_file::Syncs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report;
use lunkeep_tests::test_environment::TestEnvironment;

/// Logical blocks in an allocation unit of [`small`], and in its disk: the last unit is not whole.
const UNIT: u64 = 2048;
const BLOCKS: u64 = 2 * UNIT + 6;

fn small() -> MemoryFile {
    let options = CreateOptions { block_size: Some(UNIT * 512), ..CreateOptions::dynamic(BLOCKS * 512) };
    let file = MemoryFile::default();
    Format::Vhdx.create(&file, &options, &*TestEnvironment::shared()).unwrap();
    file
}

/// Few sectors at a time, so that most of a unit is what its place held before.
fn script(steps: usize, random: &mut Random) -> Vec<Step> {
    let mut script = Vec::new();
    for _ in 0..steps {
        let start = random.below(3) * UNIT;
        let at = start + random.below(3);
        let count = 1 + random.below(2);
        let unit = UNIT.min(BLOCKS - start);
        script.push(match random.below(12) {
            0..=4 => Step::Write { at, count },
            5 => Step::Zero { at, count, may_deallocate: true },
            6 => Step::Zero { at: start, count: unit, may_deallocate: random.one_in(2) },
            7 | 8 => Step::Zero { at: start, count: unit, may_deallocate: true },
            9 => match random.below(3) {
                0 => Step::Reopen,
                _ => Step::Kill,
            },
            _ => Step::Flush,
        });
    }
    script.push(Step::Write { at: UNIT + 5, count: 1 });
    script
}

#[test]
fn a_power_cut_loses_nothing_that_a_vhdx_flushed() {
    let seed = seed("vhdx");
    let mut random = Random::new(seed);
    let mut count = 0;
    let rounds = if report::full() { 40 } else { 3 };
    for round in 0..rounds {
        let script = script(14, &mut random);
        let how = Search { syncs: Syncs::Honest, per_stretch: 8, seed: seed ^ round };
        count += search(Format::Vhdx, &small(), &script, how).unwrap();
    }
    println!("{count} power cuts");
}

/// Blocks get space, give it up, and their places go to others.
const RECYCLING: [Step; 12] = [
    Step::Write { at: 0, count: 3 },
    Step::Write { at: UNIT, count: 3 },
    Step::Flush,
    Step::Zero { at: 0, count: UNIT, may_deallocate: true },
    Step::Flush,
    Step::Flush,
    Step::Write { at: UNIT, count: 1 },
    Step::Flush,
    // This one gets the place of the first unit, and only its last sector is written.
    Step::Write { at: 2 * UNIT + 5, count: 1 },
    Step::Flush,
    Step::Kill,
    Step::Write { at: 1, count: 1 },
];

#[test]
fn places_of_unmapped_vhdx_blocks_are_used_again_without_showing_old_bytes() {
    let how = Search { syncs: Syncs::Honest, per_stretch: 24, seed: 1 };
    let count = search(Format::Vhdx, &small(), &RECYCLING, how).unwrap();
    println!("{count} power cuts");
}

/// New blocks are wanted when places were given up, but are not safe to use yet: before the flush, and after the punch.
const TOO_EARLY: [Step; 12] = [
    Step::Write { at: 0, count: 3 },
    Step::Write { at: UNIT, count: 3 },
    Step::Flush,
    Step::Zero { at: 0, count: UNIT, may_deallocate: true },
    Step::Write { at: 2 * UNIT + 5, count: 1 },
    Step::Flush,
    Step::Zero { at: UNIT, count: UNIT, may_deallocate: true },
    Step::Flush,
    Step::Write { at: 5, count: 1 },
    Step::Flush,
    Step::Kill,
    Step::Write { at: UNIT + 9, count: 1 },
];

#[test]
fn places_of_unmapped_vhdx_blocks_are_not_used_too_early() {
    let how = Search { syncs: Syncs::Honest, per_stretch: 60, seed: 1 };
    let count = search(Format::Vhdx, &small(), &TOO_EARLY, how).unwrap();
    println!("{count} power cuts");
}

#[test]
fn a_vhdx_whose_syncs_do_nothing_is_found_out() {
    let how = Search { syncs: Syncs::None, per_stretch: 400, seed: 1 };
    println!("{}", search(Format::Vhdx, &small(), &RECYCLING, how).unwrap_err());
}

/// The syncs of the script: 0 log, 1 and 2 headers, 3 and 4 flushes, 5 pages in place, 6 and 7 headers. The content of a
/// header lies in one sector, which is never torn, so what lies between headers cannot be missed here.
#[test]
fn a_vhdx_that_lacks_one_of_the_syncs_it_needs_is_found_out() {
    let script = [
        Step::Write { at: 0, count: 2 },
        Step::Flush,
        Step::Write { at: UNIT, count: 1 },
        Step::Flush,
        Step::Reopen,
        Step::Write { at: 0, count: 1 },
    ];
    let run = |syncs| {
        let how = Search { syncs, per_stretch: 600, seed: 1 };
        search(Format::Vhdx, &small(), &script, how)
    };
    run(Syncs::Honest).unwrap();
    for number in [0, 3, 4, 5] {
        let violation = run(Syncs::AllBut { divisor: 100, remainder: number });
        let violation = violation.expect_err(&format!("nothing noticed that sync {number} is missing"));
        println!("without sync {number}: {violation}");
    }
}
