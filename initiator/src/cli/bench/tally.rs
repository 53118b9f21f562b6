//! Commands and their times, of one session or of several.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::plan::Direction;

/// Two significant digits more than anybody compares; a histogram of a minute then takes some hundred kilobytes at most.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The longest time that is told apart, in nanoseconds: the longest `--timeout`.
const LONGEST_NS: u64 = 3_600_000_000_000;

#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Bytes of one command.
    len: u64,
    pub(super) reads: Times,
    pub(super) writes: Times,
}

impl Tally {
    pub(super) fn new(len: u64) -> Self {
        Self { len, reads: Times::default(), writes: Times::default() }
    }

    pub(super) fn count(&mut self, direction: Direction, time: Duration) {
        match direction {
            Direction::Read => self.reads.count(time),
            Direction::Write => self.writes.count(time),
        }
    }

    /// Commands.
    pub(super) fn commands(&self) -> u64 {
        self.reads.commands() + self.writes.commands()
    }

    pub(super) fn bytes(&self, times: &Times) -> u64 {
        times.commands() * self.len
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
    }
}

/// Times of commands.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Option<Histogram<u64>>);

impl Times {
    pub(super) fn count(&mut self, time: Duration) {
        if self.0.is_none() {
            // The bounds are valid, so it is made.
            self.0 = Histogram::new_with_bounds(1, LONGEST_NS, SIGNIFICANT_DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn commands(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    pub(super) fn add(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Some(ours), Some(theirs)) => drop(ours.add(theirs)),
            (None, Some(_)) => self.0.clone_from(&other.0),
            (_, None) => {}
        }
    }

    /// The time within which so many in a hundred commands ended, in microseconds; 0 without commands.
    pub(super) fn percentile_us(&self, percentile: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| us(histogram.value_at_percentile(percentile)))
    }

    pub(super) fn mean_us(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.mean() / 1000.0)
    }

    pub(super) fn max_us(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| us(histogram.max()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an hour in nanoseconds fits the 53 bits of a double")]
fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}
