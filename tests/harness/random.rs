//! Random numbers that can be repeated: every random test prints its seed, and takes it back from `LUNKEEP_SEED`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::report::full;

/// A small generator (`SplitMix64`). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator that `seed` starts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }

    /// An index below `bound`; zero when `bound` is zero.
    pub fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap_or_default()
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The seed that `LUNKEEP_SEED` gives; without it the test's own, the same in every run, or with `--full` a new one. It is
/// printed either way, so that a failure can be repeated.
///
/// What a quick run finds depends on the change under test alone; new seeds are for the long runs, which look for the rare.
#[must_use]
#[expect(clippy::print_stdout, reason = "the test runner shows it when the test fails")]
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("LUNKEEP_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| if full() { new_seed() } else { own_seed(test) });
    println!("{test}: LUNKEEP_SEED={seed}");
    seed
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Random::new(now.as_secs() ^ u64::from(now.subsec_nanos()) << 20).next_u64()
}

fn own_seed(test: &str) -> u64 {
    test.bytes().fold(0, |seed, byte| Random::new(seed ^ u64::from(byte)).next_u64())
}
