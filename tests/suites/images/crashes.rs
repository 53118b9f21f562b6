//! Every file that a power cut can leave opens, is sound and holds what was flushed; without the syncs it does not.

use lunkeep_target::image::{CreateOptions, Format, MemoryFile};
use lunkeep_tests::crash::{Search, random_script, search};
use lunkeep_tests::crash_file::Syncs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::test_environment::TestEnvironment;

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
    let script = [
        lunkeep_tests::crash::Step::Write { at: 3, count: 1 },
        lunkeep_tests::crash::Step::Flush,
        lunkeep_tests::crash::Step::Write { at: 4, count: 1 },
    ];
    let image = image(Format::Raw, &CreateOptions::dynamic(64 * 512));
    let how = Search { syncs: Syncs::None, per_stretch: 200, seed: 1 };
    let violation = search(Format::Raw, &image, &script, how).unwrap_err();
    assert!(violation.contains("block 3 holds zeros"), "{violation}");
}
