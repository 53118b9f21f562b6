//! The largest disk: a dynamic VHDX of 64 TiB is served at once, and its block table does not fill the memory.

use std::time::{Duration, Instant};

use lunkeep_tests::programs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::{self, test_name};
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::wire::Peer;

/// What `serve` may hold in memory for one disk of any size and one session that reads and writes all over it.
const MEMORY: u64 = 96 << 20;

/// Only a hang fails the test: the time is told in the table, where the aim is one second.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_dynamic_vhdx_of_64_tib_is_served_at_once_and_in_bounded_memory() {
    const BLOCK: u64 = 512;
    const BLOCKS: u64 = (64 << 40) / BLOCK;
    let folder = Folder::new();
    let image = folder.name("large.vhdx");
    let mut lines = "dynamic VHDX of 64 TiB\n".to_owned();
    let mut random = Random::new(seed(&test_name()));
    let places: Vec<(u64, u8)> = (0..400_u64)
        .map(|number| if number < 2 { number * (BLOCKS - 8) } else { random.below(BLOCKS / 8) * 8 })
        .map(|lba| (lba, lba.to_le_bytes().iter().fold(1, |sum: u8, byte| sum.rotate_left(1) ^ byte)))
        .collect();
    for (what, disk) in [("created and served", format!("{image},size=64T")), ("served again", image.clone())]
    {
        let start = Instant::now();
        let mut target = Target::serve(programs!(), ["--disk", &disk]);
        let mut peer = Peer::login(target.portal(), &target.iqn(), 1);
        let took = start.elapsed();
        assert!(took < LIMIT, "{what}: {took:?} to the first login");
        assert!(peer.is_ready(0));
        for (lba, value) in &places {
            if what == "created and served" {
                assert_eq!(peer.write16(0, *lba, &[*value; 4096], 512).status, 0, "write at {lba:#x}");
            }
        }
        for (lba, value) in &places {
            assert_eq!(peer.read16(0, *lba, 8, 512).data, [*value; 4096], "read at {lba:#x}");
        }
        let peak = target.daemon().peak_memory();
        lines += &format!(
            "  {what}: first login after {} ms, at most {} MiB of memory\n",
            took.as_millis(),
            peak >> 20
        );
        assert!(peak <= MEMORY, "{what}: {} MiB", peak >> 20);
        peer.logout();
        target.stop();
    }
    programs!().target(["image", "check", &image]).expect_success();
    report::table("large", &lines);
}
