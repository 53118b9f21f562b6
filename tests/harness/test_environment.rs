//! Identifiers and time for the image room that are the same in every run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lunkeep_target::image::Environment;
use uuid::{Builder, Uuid};

use crate::random::Random;

/// Identifiers counted from one, and a clock that stands still.
#[derive(Debug, Default)]
pub struct TestEnvironment {
    made: AtomicU64,
}

impl TestEnvironment {
    /// A new one, as formats want it.
    #[must_use]
    pub fn shared() -> Arc<dyn Environment> {
        Arc::new(Self::default())
    }
}

impl Environment for TestEnvironment {
    fn random_guid(&self) -> io::Result<Uuid> {
        let mut random = Random::new(self.made.fetch_add(1, Ordering::Relaxed));
        let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        Ok(Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
    }

    fn unix_time(&self) -> u64 {
        1_800_000_000
    }
}
