//! Power cuts on disks that are written before they are read, and on a file with space that nothing refers to.

use std::sync::Arc;

use lunkeep_target::image::{Access, BlockFile, CreateOptions, Environment, Format, Lineage, MemoryFile};
use lunkeep_tests::chain::Folder;
use lunkeep_tests::crash::{Search, Step, random_script, search, search_blind};
use lunkeep_tests::crash_file::Syncs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report;
use lunkeep_tests::test_environment::TestEnvironment;

use super::operations::image;

const MIB: u64 = 1 << 20;

/// A small disk of each kind, its size of a unit, and its parents.
fn disks() -> Vec<(Format, u64, MemoryFile, Lineage)> {
    let env = TestEnvironment::shared();
    let mut disks = Vec::new();
    for (format, unit) in [(Format::Vhd, 4096), (Format::Vhdx, MIB)] {
        let options = CreateOptions { block_size: Some(unit), ..CreateOptions::dynamic(3 * unit + 1024) };
        let base = image(format, &options, &[0, unit / 512 + 1]);
        disks.push((format, unit, base.clone(), Lineage::none()));
        let folder = Folder::default();
        folder.put("base", Arc::new(base));
        let child = folder.child_of(format, "base", Some(unit), &env);
        disks.push((format, unit, child, folder.lineage("child")));
    }
    disks
}

#[test]
fn a_power_cut_loses_nothing_of_disks_that_are_written_before_they_are_read() {
    let seed = seed("blind");
    let mut random = Random::new(seed);
    let mut count = 0;
    for (format, unit, image, lineage) in disks() {
        let rounds = match (format, report::full()) {
            (Format::Vhd, false) => 8,
            (Format::Vhd, true) => 200,
            (_, false) => 2,
            (_, true) => 40,
        };
        let blocks = 3 * unit / 512 + 2;
        for round in 0..rounds {
            let script = random_script(blocks, unit / 512, 12, &mut random);
            let per_stretch = if format == Format::Vhd { 60 } else { 8 };
            let how = Search { syncs: Syncs::Honest, per_stretch, seed: seed ^ round };
            count += search_blind(format, &lineage, &image, &script, how).unwrap();
        }
    }
    println!("{count} power cuts, seed {seed}");
}

#[test]
fn a_blind_search_finds_syncs_that_do_nothing() {
    for (format, unit, image, lineage) in disks() {
        let unit = unit / 512;
        let script = [
            Step::Write { at: 2 * unit, count: unit },
            Step::Flush,
            Step::Zero { at: 2 * unit, count: unit, may_deallocate: true },
            Step::Flush,
            Step::Write { at: 1, count: 1 },
        ];
        let how = Search { syncs: Syncs::None, per_stretch: 200, seed: 1 };
        assert!(search_blind(format, &lineage, &image, &script, how).is_err(), "{format}");
        let how = Search { syncs: Syncs::Honest, per_stretch: 30, seed: 1 };
        search_blind(format, &lineage, &image, &script, how).unwrap();
    }
}

/// A VHDX file with two places that nothing refers to, full of old bytes.
fn leaky() -> MemoryFile {
    let options = CreateOptions { block_size: Some(MIB), ..CreateOptions::dynamic(5 * MIB) };
    let unit = MIB / 512;
    let file = image(Format::Vhdx, &options, &[0, unit, 2 * unit, 3 * unit]);
    // The entries of blocks 1 and 2; the table is at 3 MiB.
    file.write_all_at(&[0; 16], 3 * MIB + 8).unwrap();
    file
}

#[test]
fn a_power_cut_brings_nothing_to_light_from_lost_places_that_are_used_again() {
    let seed = seed("leaky");
    let mut random = Random::new(seed);
    let unit = MIB / 512;
    let mut count = 0;
    // The places are found by the first change, and clean after two flushes.
    let begin = [
        Step::Write { at: 3, count: 1 },
        Step::Flush,
        Step::Write { at: 4, count: 1 },
        Step::Flush,
        Step::Write { at: 4 * unit + 7, count: 1 },
        Step::Write { at: unit + 7, count: 1 },
        Step::Flush,
    ];
    for round in 0..if report::full() { 30 } else { 2 } {
        let more = random_script(5 * unit, unit, 6, &mut random);
        let script: Vec<Step> = begin.iter().copied().chain(more).collect();
        let how = Search { syncs: Syncs::Honest, per_stretch: 8, seed: seed ^ round };
        count += search(Format::Vhdx, &leaky(), &script, how).unwrap();
    }
    println!("{count} power cuts, seed {seed}");
}

#[test]
fn lost_places_are_used_again() {
    let env: Arc<dyn Environment> = TestEnvironment::shared();
    let file: Arc<dyn BlockFile> = Arc::new(leaky());
    let leaks = |file: &Arc<dyn BlockFile>| Format::Vhdx.check(file, false, &env).unwrap().leaks;
    assert_eq!(leaks(&file), 1);
    let len = file.len().unwrap();
    let disk = Format::Vhdx.open(Arc::clone(&file), Access::ReadWrite, &env).unwrap();
    for at in [0, 0, 4 * MIB, MIB] {
        disk.write_at(&[std::io::IoSlice::new(&[1; 512])], at).unwrap();
        disk.flush().unwrap();
    }
    disk.close().unwrap();
    assert_eq!((leaks(&file), file.len().unwrap()), (0, len));
}
