//! Our initiator and our target over real sockets, with a relay between them that damages, loses and cuts.
//!
//! Each worker has blocks of its own. Every write carries a tag that no other has; the medium counts tags. A write that was answered
//! must be on the medium once, a read must bring what the worker wrote last, and in the end the medium must hold that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lunkeep_common::login::target_side::Authentication;
use lunkeep_common::login::{DigestPolicy, Offer};
use lunkeep_common::name::{IscsiName, Isid, PortalGroupTag};
use lunkeep_common::scsi::Lun;
use lunkeep_initiator::engine::{Config, Error, Initiator, LunHandle, Session};
use lunkeep_initiator::session::Timing;
use lunkeep_target::engine::config::{
    AccessList, LunConfig, PortalConfig, ReservationConfig, ServerConfig, Settings, TargetConfig, UnitConfig,
};
use lunkeep_target::engine::{HostEnvironment, Server};
use lunkeep_target::image::{Access, Disk, Environment, Format, MemoryFile};
use lunkeep_target::store::{MemoryParameters, PortNumbers};
use lunkeep_tests::counting_disk::{CountingDisk, TAG_LEN, Tag};
use lunkeep_tests::faulty_relay::{Faults, FaultyRelay, Without};
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::{report, unit};
use tokio::runtime::Runtime;

const TARGET: &str = "iqn.2024-01.invalid.lunkeep:recovery";
const BLOCK: u32 = 512;
/// Blocks of one worker, which one command writes or reads.
const BLOCKS: u32 = 48;
const WORKERS: u64 = 6;

/// How a run goes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    level: u8,
    connections: u16,
    faults: Faults,
    without: Without,
    /// Writes and reads of each worker.
    rounds: u64,
    /// For one command, and then for what aborts it.
    command: Duration,
}

const NO_FAULTS: Faults = Faults { damage: 0, loss: 0, header: 0, cut: 0 };
const PLAN: Plan = Plan {
    level: 1,
    connections: 1,
    faults: NO_FAULTS,
    without: Without::Nothing,
    rounds: 12,
    command: Duration::from_secs(60),
};

fn rounds(plan: Plan) -> Plan {
    if report::full() { Plan { rounds: plan.rounds * 20, ..plan } } else { plan }
}

struct Bench {
    server: Option<Server>,
    portal: SocketAddr,
    disk: Arc<CountingDisk>,
    runtime: Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
        let medium =
            Format::Raw.open(Arc::new(MemoryFile::with_len(16 << 20)), Access::ReadWrite, &env).unwrap();
        let disk = Arc::new(CountingDisk::new(medium));
        let server = runtime.block_on(Server::start(config(&disk))).unwrap();
        let portal = server.portals()[0];
        Self { server: Some(server), portal, disk, runtime }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            let report = self.runtime.block_on(server.shutdown(Duration::from_secs(30)));
            assert!(report.complete || std::thread::panicking(), "{report:?}");
        }
    }
}

fn config(disk: &Arc<CountingDisk>) -> ServerConfig {
    let naa = vec![0x30, 0, 0, 0, 0, 0, 0, 9];
    let device = unit::device(&**disk, naa, "RECOVERY".into());
    let (reservations, parameters) = (ReservationConfig::in_memory(), Arc::new(MemoryParameters::default()));
    let unit = Arc::new(UnitConfig { device, disk: disk.clone(), reservations, parameters });
    let mut settings = Settings::default();
    settings.offer = Offer {
        max_connections: 4,
        error_recovery_level: 2,
        default_time2wait: 0,
        max_recv_data_segment_length: 4096,
        max_burst_length: 8192,
        first_burst_length: 4096,
        ..settings.offer
    };
    settings.session.recovery_interval = Duration::from_millis(100);
    ServerConfig {
        portals: vec![PortalConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            announce: None,
            group: PortalGroupTag(1),
        }],
        targets: vec![TargetConfig {
            portal_groups: lunkeep_target::engine::config::PortalGroups::All,
            redirect: None,
            name: TARGET.parse().unwrap(),
            alias: None,
            luns: vec![LunConfig { number: 0, unit }],
            authentication: Authentication::NotRequired,
            access: AccessList::Everyone,
        }],
        discovery_authentication: Authentication::NotRequired,
        settings,
        port_numbers: PortNumbers::default(),
    }
}

fn initiator(plan: Plan, initial_r2t: bool) -> Initiator {
    let identity = lunkeep_initiator::engine::Identity {
        name: "iqn.2024-01.invalid.lunkeep:initiator".parse().unwrap(),
        isid: Isid([0x80, 0, 0, 0, 0, 7]),
    };
    let mut config = Config::new(identity).unwrap();
    config.offer = Offer {
        header_digest: DigestPolicy::Require,
        data_digest: DigestPolicy::Require,
        max_recv_data_segment_length: 4096,
        max_burst_length: 8192,
        first_burst_length: 4096,
        initial_r2t,
        immediate_data: !initial_r2t,
        ..Offer::initiator()
    }
    .validate()
    .unwrap();
    config.timing = Timing {
        command: plan.command,
        answer: plan.command,
        silence: Duration::from_secs(5),
        recovery: Duration::from_millis(150),
    };
    Initiator::new(config.with_recovery(plan.connections, plan.level).unwrap())
}

/// What a worker writes in a round: a tag at the front, then bytes that the tag decides.
fn content(worker: u64, number: u64, seed: u64) -> (Tag, Bytes) {
    let mut data = vec![0; (BLOCKS * BLOCK) as usize];
    Random::new(seed ^ worker << 40 ^ number).fill(&mut data);
    data[..8].copy_from_slice(&worker.to_be_bytes());
    data[8..TAG_LEN].copy_from_slice(&number.to_be_bytes());
    (data[..TAG_LEN].try_into().unwrap(), data.into())
}

/// Writes and reads; gives what it wrote last.
///
/// # Errors
/// What went wrong, which at no level but 0 may be anything.
async fn work(
    lun: LunHandle,
    disk: Arc<CountingDisk>,
    worker: u64,
    rounds: u64,
    seed: u64,
) -> Result<Bytes, String> {
    let lba = worker * u64::from(BLOCKS);
    let mut last = Bytes::new();
    for round in 0..rounds {
        let (tag, data) = content(worker, round, seed);
        lun.write(lba, data.clone(), BLOCK).await.map_err(|error| format!("write {round}: {error}"))?;
        if disk.times(&tag) != 1 {
            return Err(format!("write {round} was answered and came {} times", disk.times(&tag)));
        }
        let read = lun.read(lba, BLOCKS, BLOCK).await.map_err(|error| format!("read {round}: {error}"))?;
        if read != data {
            return Err(format!("read {round} brings other data than was written"));
        }
        last = data;
    }
    Ok(last)
}

/// Plays a plan above level 0, where no command may fail.
fn play(plan: Plan, run: u64) -> Result<[u64; 4], String> {
    let seed = seed(&format!("{plan:?}, run {run}"));
    let bench = Bench::new();
    let relay = FaultyRelay::to(bench.portal, plan.faults, plan.without, seed);
    let (address, name) = (relay.portal().to_string().parse().unwrap(), TARGET.parse::<IscsiName>().unwrap());
    bench.runtime.block_on(async {
        let session = initiator(plan, seed.is_multiple_of(2))
            .login(&address, &name)
            .await
            .map_err(|e| e.to_string())?;
        let parameters = &session.info().parameters;
        assert_eq!(
            (parameters.error_recovery_level, parameters.max_connections),
            (plan.level, plan.connections)
        );
        let lun = session.lun(Lun(0));
        lun.ready().await.map_err(|error| format!("TEST UNIT READY: {error}"))?;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| tokio::spawn(work(lun.clone(), bench.disk.clone(), worker, plan.rounds, seed)))
            .collect();
        let mut last = Vec::new();
        for worker in workers {
            last.push(worker.await.unwrap()?);
        }
        relay.calm();
        drop(lun);
        session.logout().await.map_err(|error| format!("logout: {error}"))?;
        check_medium(&bench.disk, &last)
    })?;
    let counts = relay.counts();
    Ok([&counts.damaged, &counts.lost, &counts.headers, &counts.cuts]
        .map(|count| count.load(Ordering::SeqCst)))
}

fn check_medium(disk: &CountingDisk, last: &[Bytes]) -> Result<(), String> {
    for (worker, expected) in (0..).zip(last) {
        let mut found = vec![0; expected.len()];
        disk.read_at(&mut found, worker * u64::from(BLOCKS * BLOCK)).unwrap();
        if found != *expected {
            return Err(format!("the medium does not hold what worker {worker} wrote last"));
        }
    }
    match disk.repeated() {
        repeated if repeated.is_empty() => Ok(()),
        repeated => Err(format!("written more than once: {repeated:?}")),
    }
}

#[track_caller]
fn passes(plan: Plan) -> [u64; 4] {
    let plan = rounds(plan);
    play(plan, 0).unwrap_or_else(|error| panic!("{plan:?}: {error}"))
}

#[test]
fn several_connections_carry_one_session_at_every_level() {
    for level in 0..=2 {
        passes(Plan { level, connections: 4, ..PLAN });
    }
}

#[test]
fn level_one_rides_out_damaged_data_and_lost_pdus_over_sockets() {
    for connections in [1, 3] {
        let faults = Faults { damage: 30, loss: 40, ..NO_FAULTS };
        let [damaged, lost, ..] = passes(Plan { connections, faults, ..PLAN });
        assert!(damaged > 0 && lost > 0, "nothing happened: the test shows nothing");
    }
}

#[test]
fn level_two_rides_out_damaged_headers_and_cut_connections_over_sockets() {
    for connections in [1, 2, 4] {
        let faults = Faults { header: 150, cut: 150, ..NO_FAULTS };
        let [_, _, headers, cuts] = passes(Plan { level: 2, connections, faults, ..PLAN });
        assert!(headers + cuts > 0, "nothing happened: the test shows nothing");
    }
}

#[test]
fn level_two_rides_out_everything_at_once_over_sockets() {
    let faults = Faults { damage: 60, loss: 80, header: 300, cut: 300 };
    passes(Plan { level: 2, connections: 2, faults, ..PLAN });
}

/// At level 0 a fault may end a command or the session, and it is told. Then nothing that was answered is lost, nothing lands twice,
/// nothing of an old session lands over what the next one wrote, and no read brings damaged data.
#[test]
fn level_zero_tells_what_failed_and_loses_nothing_that_was_answered() {
    let plan = rounds(PLAN);
    let seed = seed("level 0");
    let bench = Bench::new();
    let faults = Faults { damage: 60, cut: 200, header: 200, ..NO_FAULTS };
    let relay = FaultyRelay::to(bench.portal, faults, Without::Nothing, seed);
    let (address, name) = (relay.portal().to_string().parse().unwrap(), TARGET.parse::<IscsiName>().unwrap());
    let failures = AtomicU64::new(0);
    bench.runtime.block_on(async {
        let initiator = initiator(Plan { level: 0, ..plan }, seed.is_multiple_of(2));
        let (mut session, mut number, mut round) = (None, 0, 0);
        while round < plan.rounds * 2 {
            number += 1;
            let (tag, data) = content(0, number, seed);
            let tried = once(&mut session, async || initiator.login(&address, &name).await, data).await;
            match tried {
                Ok(()) => {
                    assert_eq!(bench.disk.times(&tag), 1, "an answered write is there once");
                    round += 1;
                }
                Err(error) => {
                    let told =
                        matches!(error, Error::Lost { .. } | Error::Task { .. } | Error::Command { .. });
                    assert!(told || matches!(error, Error::Login { .. }), "{error}");
                    failures.fetch_add(1, Ordering::SeqCst);
                    if !matches!(error, Error::Command { .. } | Error::Task { .. }) {
                        session = None;
                    }
                }
            }
        }
        assert_eq!(bench.disk.repeated(), Vec::<Tag>::new());
    });
    assert!(failures.load(Ordering::SeqCst) > 0, "nothing happened: the test shows nothing");
}

/// Writes and reads once, after a login where one is needed.
async fn once(
    session: &mut Option<Session>,
    login: impl AsyncFn() -> Result<Session, Error>,
    data: Bytes,
) -> Result<(), Error> {
    if session.is_none() {
        let new = login().await?;
        new.lun(Lun(0)).ready().await?;
        *session = Some(new);
    }
    let Some(session) = session else { return Ok(()) };
    let lun = session.lun(Lun(0));
    lun.write(0, data.clone(), BLOCK).await?;
    let read = lun.read(0, BLOCKS, BLOCK).await?;
    assert!(read == data, "a read brings other data than was written");
    Ok(())
}

/// Controls: with one safeguard taken away, the same load fails.
#[test]
fn without_any_one_safeguard_the_load_over_sockets_fails() {
    let lossy = Faults { damage: 12, loss: 12, ..NO_FAULTS };
    let cut = Faults { cut: 60, ..NO_FAULTS };
    let command = Duration::from_secs(2);
    let controls: Vec<_> = [
        (Without::Nothing, 1, lossy),
        (Without::Nothing, 2, cut),
        (Without::Snacks, 1, lossy),
        (Without::StatusAgain, 1, lossy),
        (Without::DataAgain, 1, lossy),
        (Without::RecoveryR2ts, 1, lossy),
        (Without::Retries, 1, lossy),
        (Without::Reassigns, 2, cut),
    ]
    .into_iter()
    .map(|(without, level, faults)| {
        let command = if without == Without::Nothing { PLAN.command } else { command };
        let plan = Plan { level, faults, without, command, rounds: 12, ..PLAN };
        // Chance may spare a run what the safeguard is for.
        let tries = if without == Without::Nothing { 1 } else { 4 };
        (plan, std::thread::spawn(move || (0..tries).try_for_each(|run| play(plan, run).map(drop))))
    })
    .collect();
    for (plan, run) in controls {
        let ended = run.join().expect("it says what is wrong and does not panic");
        assert_eq!(ended.is_ok(), plan.without == Without::Nothing, "{plan:?}: {ended:?}");
    }
}
