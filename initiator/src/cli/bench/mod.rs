//! `bench`: puts load on a LUN and measures it.
//!
//! ```text
//! arguments -> Plan -> one Worker per session, all on one thread -> Tally, merged -> Report
//! ```
//!
//! The generator must be cheaper than what it measures: sessions are driven in place ([`Direct`](crate::engine::Direct)), all
//! answers of one receive are taken before the next commands leave in one write, and the clock is read once per batch. Its own
//! processor time is part of the result, so that a run which measured the generator shows as one.
//!
//! Deliberately not here: any look at the data that was read. `read` and the suites do that.

mod plan;
mod processor;
mod report;
mod tally;
mod worker;

use std::time::{Duration, Instant};

use clap::Args;
use lunkeep_common::name::{IscsiName, Isid};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use self::plan::{Pattern, Plan};
use self::processor::ProcessorTime;
use self::report::Report;
use self::tally::Tally;
use self::worker::{Window, Worker};
use super::connection::ConnectionArguments;
use super::failure::Failure;
use super::transfer::prepare;
use super::url::Url;
use super::{output, size, url};
use crate::engine::{Direct, Identity, Initiator};
use crate::limits::{BENCH_SESSIONS_MAX, TASKS_MAX, TRANSFER_LEN_MAX};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// iscsi://[user[%password]@]host[:port]/target/lun
    #[arg(value_parser = url::parse)]
    url: Url,
    /// What is read or written where. Sequential: each session has its own part of the span.
    #[arg(long, value_enum, default_value = "randread")]
    pattern: Pattern,
    /// Of the commands of `mixed`, how many in a hundred are reads [default: 70].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    read_share: Option<u8>,
    /// Bytes of one command, a multiple of the LUN's block length; K, M, G and T are powers of 1024.
    #[arg(long, value_name = "BYTES", default_value = "4K", value_parser = size::parse)]
    block_size: u64,
    /// Commands that each session keeps under way, 1 to 256.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=TASKS_MAX as i64))]
    queue_depth: u16,
    /// Sessions, each with one connection, 1 to 1000. All are driven by one thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(BENCH_SESSIONS_MAX)))]
    sessions: u16,
    /// CRC32C over headers and data, or no login: as --header-digest crc32c --data-digest crc32c.
    #[arg(long, conflicts_with_all = ["header_digest", "data_digest"])]
    digests: bool,
    /// Seconds that are measured, 0.1 to 86400.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds::<100>)]
    time: Duration,
    /// Seconds of the same load before that, 0 to 86400.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds::<0>)]
    warmup: Duration,
    /// Bytes of the LUN that are used, from its beginning [default: all].
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    span: Option<u64>,
    /// Allow a pattern that writes. It DESTROYS what the span of the LUN holds.
    #[arg(long)]
    destructive: bool,
    /// Also measure the processor time of this process, such as a target on this machine.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Seed of the random numbers, for the same addresses again [default: random].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Reads a number of seconds, at least `MIN` milliseconds.
fn seconds<const MIN: u64>(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| String::from("not a number of seconds"))?;
    let range = Duration::from_millis(MIN)..=Duration::from_secs(86400);
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| range.contains(duration))
        .ok_or_else(|| format!("not between {} and 86400 seconds", range.start().as_secs_f64()))
}

impl Arguments {
    /// What does not need the LUN to be known as wrong.
    fn check(&self) -> Result<(), Failure> {
        if self.pattern.writes() && !self.destructive {
            return Err(Failure::usage(format!(
                "--pattern {} destroys what the LUN holds; add --destructive if that is meant",
                self.pattern
            )));
        }
        if self.read_share.is_some() && self.pattern != Pattern::Mixed {
            return Err(Failure::usage("--read-share is for --pattern mixed"));
        }
        if self.block_size > u64::from(TRANSFER_LEN_MAX) {
            return Err(Failure::usage(format!(
                "--block-size is above {}",
                size::show(TRANSFER_LEN_MAX.into())
            )));
        }
        Ok(())
    }

    fn initiator(&self, identity: Identity) -> Result<Initiator, Failure> {
        let (user, password) = (self.url.user.as_deref(), self.url.password.as_deref());
        self.connection.initiator(identity, user, password, self.digests)
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.check()?;
    // Known early, so that nobody waits for a run without its result.
    let mut processes = vec![None];
    processes.extend(arguments.pid.map(Some));
    processes.iter().try_for_each(|&process| ProcessorTime::of(process).map(drop))?;

    let seed = match arguments.seed {
        Some(seed) => seed,
        None => random()?,
    };
    let node = arguments.connection.node(arguments.url.user.as_deref(), arguments.url.password.as_deref())?;
    let ports = Ports { name: node.name.clone(), seed: u32::try_from(random()? >> 40).unwrap_or_default() };
    let plan = {
        let initiator = arguments.initiator(ports.identity(0))?;
        let lun = initiator.login(&arguments.url.portal, &arguments.url.target).await?.lun(arguments.url.lun);
        let unit = prepare(&lun).await?;
        lun.session().clone().logout().await?;
        Plan::new(arguments, unit, seed)?
    };

    let mut workers = Vec::new();
    for session in 0..arguments.sessions {
        let direct = log_in(arguments, &ports, session).await?;
        workers.push(Worker::start(direct, arguments.url.lun, plan.share(session)).await?);
    }
    let start = Instant::now() + arguments.warmup;
    let window = Window { start, end: start + arguments.time };
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(worker.run(window));
    }
    let measure =
        || processes.iter().map(|&process| ProcessorTime::of(process)).collect::<Result<Vec<_>, _>>();
    sleep_until(window.start.into()).await;
    let before = measure()?;
    sleep_until(window.end.into()).await;
    let after = measure()?;
    let mut tallies: Vec<Tally> = Vec::new();
    while let Some(ended) = running.join_next().await {
        tallies
            .push(ended.map_err(|error| Failure::local(format!("a task of this program ended: {error}")))??);
    }
    let used = before.iter().zip(&after).map(|(before, after)| after.since(before)).collect();
    let report = Report::new(arguments, &plan, &tallies, used);
    if arguments.connection.json {
        output::json(&report)
    } else {
        output::line(&report)
    }
    Ok(())
}

/// The initiator ports of the sessions. A load is no cluster node: it holds no reservation and must not end a session of this
/// node, so its ISIDs are random and not those of the path slots.
struct Ports {
    name: IscsiName,
    /// 24 bits.
    seed: u32,
}

impl Ports {
    /// Type 10b "random": 24 random bits, and the session as qualifier (RFC 7143 §11.12.5).
    fn identity(&self, session: u16) -> Identity {
        let ([_, a, b, c], [high, low]) = (self.seed.to_be_bytes(), session.to_be_bytes());
        Identity { name: self.name.clone(), isid: Isid([0x80, a, b, c, high, low]) }
    }
}

async fn log_in(arguments: &Arguments, ports: &Ports, session: u16) -> Result<Direct, Failure> {
    let initiator = arguments.initiator(ports.identity(session))?;
    let login = initiator.login_direct(&arguments.url.portal, &arguments.url.target).await;
    login.map_err(|error| Failure::from(error).while_doing(format_args!("session {}", session + 1)))
}

fn random() -> Result<u64, Failure> {
    getrandom::u64()
        .map_err(|error| Failure::local(format!("the operating system gives no random bytes: {error}")))
}

#[cfg(test)]
mod tests;
