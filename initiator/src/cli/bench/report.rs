//! What came out, for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::Arguments;
use super::plan::Plan;
use super::processor::Used;
use super::tally::{Tally, Times};
use crate::cli::size;

/// The JSON document.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pattern: String,
    block_size: u64,
    queue_depth: u16,
    sessions: u16,
    /// Bytes of the LUN that were used.
    span: u64,
    /// Seconds that were measured.
    seconds: f64,
    total: Rate,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<Rate>,
    /// Commands per second of the slowest and of the fastest session.
    session_iops: [f64; 2],
    /// This program.
    generator: Processor,
    /// The process of `--pid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Processor>,
}

#[derive(Debug, Serialize)]
struct Rate {
    commands: u64,
    iops: f64,
    /// Powers of ten.
    mb_per_s: f64,
    latency_us: Latency,
}

#[derive(Debug, Serialize)]
struct Latency {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Processor {
    /// User and system together.
    cpu_seconds: f64,
    cpu_us_per_command: f64,
    /// Processors that were busy.
    processors: f64,
}

impl Report {
    /// `used` is of this program first.
    pub(super) fn new(arguments: &Arguments, plan: &Plan, tallies: &[Tally], used: Vec<Used>) -> Self {
        let seconds = arguments.time.as_secs_f64();
        let mut all = Tally::new(plan.block_size());
        tallies.iter().for_each(|tally| all.add(tally));
        let rate = |times: &Times| Rate {
            commands: times.commands(),
            iops: real(times.commands()) / seconds,
            mb_per_s: real(all.bytes(times)) / 1e6 / seconds,
            latency_us: Latency {
                mean: times.mean_us(),
                p50: times.percentile_us(50.0),
                p90: times.percentile_us(90.0),
                p99: times.percentile_us(99.0),
                p999: times.percentile_us(99.9),
                max: times.max_us(),
            },
        };
        let mut both = all.reads.clone();
        both.add(&all.writes);
        let each = all.reads.commands() > 0 && all.writes.commands() > 0;
        let session = |commands: Option<u64>| real(commands.unwrap_or(0)) / seconds;
        let mut used = used.into_iter().map(|used| Processor {
            cpu_seconds: used.seconds,
            cpu_us_per_command: used.seconds * 1e6 / real(both.commands().max(1)),
            processors: used.processors,
        });
        let idle = || Processor { cpu_seconds: 0.0, cpu_us_per_command: 0.0, processors: 0.0 };
        Self {
            pattern: arguments.pattern.to_string(),
            block_size: plan.block_size(),
            queue_depth: arguments.queue_depth,
            sessions: arguments.sessions,
            span: plan.places * plan.block_size(),
            seconds,
            total: rate(&both),
            reads: each.then(|| rate(&all.reads)),
            writes: each.then(|| rate(&all.writes)),
            session_iops: [
                session(tallies.iter().map(Tally::commands).min()),
                session(tallies.iter().map(Tally::commands).max()),
            ],
            generator: used.next().unwrap_or_else(idle),
            process: used.next(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, queue_depth, sessions, seconds, .. } = self;
        let (block, span) = (size::show(self.block_size), size::show(self.span));
        writeln!(
            f,
            "{pattern}, {block} blocks over {span}, queue depth {queue_depth}, {sessions} session(s), {seconds} s"
        )?;
        write!(f, "{:10}{}", "total", self.total)?;
        for (name, rate) in [("reads", &self.reads), ("writes", &self.writes)] {
            if let Some(rate) = rate {
                write!(f, "\n{name:10}{rate}")?;
            }
        }
        if *sessions > 1 {
            let [slowest, fastest] = self.session_iops;
            write!(f, "\n{:10}{slowest:.0} to {fastest:.0} IOPS each", "sessions")?;
        }
        for (name, processor) in [("generator", Some(&self.generator)), ("process", self.process.as_ref())] {
            if let Some(Processor { cpu_us_per_command, processors, .. }) = processor {
                write!(
                    f,
                    "\n{name:10}{cpu_us_per_command:.2} us of CPU per command, {processors:.2} processors busy"
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { mean, p50, p90, p99, p999, max } = &self.latency_us;
        write!(f, "{:.0} IOPS, {:.1} MB/s; latency in us: mean {mean:.1}", self.iops, self.mb_per_s)?;
        write!(f, ", p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}")
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}
