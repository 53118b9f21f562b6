//! The host's randomness and clock for the image room.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

use crate::image::Environment;

/// Randomness from the operating system, time from its clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEnvironment;

impl Environment for HostEnvironment {
    fn random_guid(&self) -> io::Result<Uuid> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|e| io::Error::other(format!("no random bytes: {e}")))?;
        Ok(Builder::from_random_bytes(bytes).into_uuid())
    }

    fn unix_time(&self) -> u64 {
        // A clock before 1970 is a host without a clock: the formats only note when a file was made.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}
