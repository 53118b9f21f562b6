//! Every file that a power cut can leave opens, is sound and holds what was flushed; without the syncs it does not.

use lunkeep_target::image::{CreateOptions, Format, MemoryFile};
use lunkeep_tests::crash::{Search, Step, random_script, search};
use lunkeep_tests::crash_file::Syncs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::test_environment::TestEnvironment;

use super::vhd_file::VhdFile;

fn image(format: Format, options: &CreateOptions) -> MemoryFile {
    let file = MemoryFile::default();
    format.create(&file, options, &*TestEnvironment::shared()).unwrap();
    file
}

#[test]
fn a_power_cut_loses_nothing_that_a_raw_disk_flushed() {
    let seed = seed("raw");
    let script = random_script(64, 8, 12, &mut Random::new(seed));
    let image = image(Format::Raw, &CreateOptions::dynamic(64 * 512));
    let how = Search { syncs: Syncs::Honest, per_stretch: 200, seed };
    let count = search(Format::Raw, &image, &script, how).unwrap();
    println!("{count} power cuts");
}

#[test]
fn a_raw_disk_whose_syncs_do_nothing_is_found_out() {
    let script = [Step::Write { at: 3, count: 1 }, Step::Flush, Step::Write { at: 4, count: 1 }];
    let image = image(Format::Raw, &CreateOptions::dynamic(64 * 512));
    let how = Search { syncs: Syncs::None, per_stretch: 200, seed: 1 };
    let violation = search(Format::Raw, &image, &script, how).unwrap_err();
    assert!(violation.contains("block 3 holds zeros"), "{violation}");
}

/// 4 KiB blocks of 8 sectors; the last block is not whole.
fn small_vhd() -> MemoryFile {
    let options = CreateOptions { block_size: Some(4096), ..CreateOptions::dynamic(77 * 512) };
    image(Format::Vhd, &options)
}

#[test]
fn a_power_cut_loses_nothing_that_a_dynamic_vhd_flushed() {
    let seed = seed("vhd");
    let mut random = Random::new(seed);
    let mut count = 0;
    for round in 0..12 {
        let script = random_script(77, 8, 16, &mut random);
        let how = Search { syncs: Syncs::Honest, per_stretch: 60, seed: seed ^ round };
        count += search(Format::Vhd, &small_vhd(), &script, how).unwrap();
    }
    println!("{count} power cuts");
}

/// Blocks with sectors that count as never written although bytes lie there, laid out as Windows 7 did.
fn partial_vhd() -> MemoryFile {
    let mut vhd = VhdFile::dynamic(64 * 512).with(1, 0x800, 0xaa).with(0, 0x1a00, 0xbb).with(6, 0x2c00, 0xcc);
    for (block, bits) in vhd.blocks.iter_mut().zip([0b0000_0001, 0b1010_0110, 0b0111_1111]) {
        block.bitmap = vec![bits];
    }
    vhd.build()
}

#[test]
fn a_power_cut_brings_nothing_to_light_under_clear_bits_of_a_vhd() {
    let seed = seed("vhd with clear bits");
    let mut random = Random::new(seed);
    let mut count = 0;
    for round in 0..8 {
        let script = random_script(64, 8, 12, &mut random);
        let how = Search { syncs: Syncs::Honest, per_stretch: 80, seed: seed ^ round };
        count += search(Format::Vhd, &partial_vhd(), &script, how).unwrap();
    }
    println!("{count} power cuts");
}

/// Zeros and payload first, then the bits.
#[test]
fn a_vhd_that_fills_a_bitmap_before_its_payload_is_durable_is_found_out() {
    let script = [Step::Write { at: 8, count: 1 }, Step::Flush, Step::Write { at: 20, count: 1 }];
    // The first sync belongs to opening, the second one comes before the bitmap.
    for (syncs, good) in [(Syncs::Honest, true), (Syncs::AllBut { divisor: 100, remainder: 1 }, false)] {
        let how = Search { syncs, per_stretch: 2000, seed: 1 };
        let found = search(Format::Vhd, &partial_vhd(), &script, how);
        assert_eq!(found.is_ok(), good, "{syncs:?}: {found:?}");
    }
}

/// Blocks are allocated, freed, and their places used again.
const RECYCLING: [Step; 10] = [
    Step::Write { at: 0, count: 24 },
    Step::Flush,
    Step::Zero { at: 0, count: 8, may_deallocate: true },
    Step::Flush,
    Step::Write { at: 33, count: 2 },
    Step::Write { at: 41, count: 1 },
    Step::Flush,
    Step::Write { at: 50, count: 1 },
    Step::Kill,
    Step::Write { at: 60, count: 1 },
];

#[test]
fn places_of_unmapped_vhd_blocks_are_used_again_without_showing_old_bytes() {
    let how = Search { syncs: Syncs::Honest, per_stretch: 2000, seed: 1 };
    let count = search(Format::Vhd, &small_vhd(), &RECYCLING, how).unwrap();
    println!("{count} power cuts");
}

#[test]
fn a_vhd_whose_syncs_do_nothing_is_found_out() {
    let how = Search { syncs: Syncs::None, per_stretch: 2000, seed: 1 };
    let violation = search(Format::Vhd, &small_vhd(), &RECYCLING, how).unwrap_err();
    println!("{violation}");
}

/// A flush with new blocks syncs twice: payload, then table. Each is needed.
#[test]
fn a_vhd_that_lacks_one_of_the_two_syncs_of_a_flush_is_found_out() {
    let script = [Step::Write { at: 0, count: 16 }, Step::Flush, Step::Write { at: 20, count: 1 }];
    // The first sync belongs to opening.
    for number in [1, 2] {
        let syncs = Syncs::AllBut { divisor: 100, remainder: number };
        let how = Search { syncs, per_stretch: 2000, seed: 1 };
        let violation = search(Format::Vhd, &small_vhd(), &script, how).unwrap_err();
        println!("without sync {number}: {violation}");
    }
    let how = Search { syncs: Syncs::Honest, per_stretch: 2000, seed: 1 };
    search(Format::Vhd, &small_vhd(), &script, how).unwrap();
}
