//! The engine over real sockets with a medium that stalls or fails: what must wait for it, and what must not.

#[path = "engine/atomic.rs"]
mod atomic;
#[path = "engine/connections.rs"]
mod connections;
#[path = "engine/copy.rs"]
mod copy;
#[path = "engine/endings.rs"]
mod endings;
#[path = "engine/erase.rs"]
mod erase;
#[path = "engine/online.rs"]
mod online;
#[path = "engine/portals.rs"]
mod portals;
#[path = "engine/scopes.rs"]
mod scopes;
#[path = "engine/task_sets.rs"]
mod task_sets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_common::login::target_side::Authentication;
use lunkeep_common::name::{IscsiName, Isid, PortalGroupTag};
use lunkeep_common::pdu::InitiatorHeader;
use lunkeep_target::engine::config::{
    AccessList, Announce, LunConfig, PortalConfig, PortalGroups, ReservationConfig, ServerConfig, Settings,
    TargetConfig, UnitConfig,
};
use lunkeep_target::engine::{HostEnvironment, Server, StartError};
use lunkeep_target::image::{Access, Disk, Environment, Format, MemoryFile};
use lunkeep_target::store::{MemoryParameters, PortNumbers};
use lunkeep_tests::gated_disk::GatedDisk;
use lunkeep_tests::relay::{Passed, Relay};
use lunkeep_tests::unit;
use lunkeep_tests::wire::{Frame, Peer, login_request, opcode, rw10, text_keys};
use tokio::runtime::Runtime;

const TARGET: &str = "iqn.2024-01.invalid.lunkeep:engine";
const BLOCK: usize = 512;
const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

/// A server in this process with LUNs 0 and 1, each behind a gate that is closed.
struct Bench {
    runtime: Runtime,
    server: Option<Server>,
    portal: SocketAddr,
    disks: Vec<Arc<GatedDisk>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let runtime = Runtime::new().unwrap();
        let disks: Vec<_> = (0..2).map(|_| Arc::new(GatedDisk::new(memory_disk()))).collect();
        let mut config = config(&disks);
        change(&mut config);
        let server = runtime.block_on(Server::start(config)).unwrap();
        let portal = server.portals()[0];
        Self { runtime, server: Some(server), portal, disks }
    }

    fn login(&self, isid: u16) -> Peer {
        let mut peer = Peer::login(self.portal, TARGET, isid);
        assert!(peer.is_ready(0) && peer.is_ready(1));
        peer
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.disks.iter().for_each(|disk| disk.open());
        if let Some(server) = self.server.take() {
            let report = self.runtime.block_on(server.shutdown(Duration::from_secs(30)));
            assert!(report.complete || std::thread::panicking(), "{report:?}");
        }
    }
}

fn memory_disk() -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    Format::Raw.open(Arc::new(MemoryFile::with_len(16 << 20)), Access::ReadWrite, &env).unwrap()
}

fn config(disks: &[Arc<GatedDisk>]) -> ServerConfig {
    let luns = disks
        .iter()
        .enumerate()
        .map(|(number, disk)| lun(u16::try_from(number).unwrap(), disk.clone()))
        .collect();
    ServerConfig {
        portals: vec![portal(None)],
        targets: vec![TargetConfig {
            portal_groups: PortalGroups::All,
            redirect: None,
            name: TARGET.parse().unwrap(),
            alias: None,
            luns,
            authentication: Authentication::NotRequired,
            access: AccessList::Everyone,
        }],
        discovery_authentication: Authentication::NotRequired,
        settings: Settings::default(),
        port_numbers: PortNumbers::default(),
    }
}

fn portal(announce: Option<Announce>) -> PortalConfig {
    PortalConfig { listen: "127.0.0.1:0".parse().unwrap(), announce, group: PortalGroupTag(1) }
}

fn lun(number: u16, disk: Arc<dyn Disk>) -> LunConfig {
    let last = number.to_be_bytes()[1];
    let naa = vec![0x30, 0, 0, 0, 0, 0, 0, last];
    let device = unit::device(&*disk, naa, format!("TEST{number}"));
    let (reservations, parameters) = (ReservationConfig::in_memory(), Arc::new(MemoryParameters::default()));
    LunConfig { number, unit: Arc::new(UnitConfig { device, disk, reservations, parameters }) }
}

/// Sends a WRITE of one block with immediate data and gives its task tag. It will wait at the gate.
fn begin_write(peer: &mut Peer, lun: u8, lba: u32) -> u32 {
    let tag = peer.tag;
    let frame = peer.command_frame(lun, &rw10(0x2a, lba, 1), 0xa1, 512).data(vec![0xee; BLOCK]);
    peer.send(&frame);
    tag
}

fn manage(peer: &mut Peer, function: u8, lun: u8, referenced: u32) -> u32 {
    let tag = 0x7000 + peer.tag;
    let frame = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x80 | function)
        .put(9, &[lun])
        .word(16, tag)
        .word(20, referenced)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn);
    peer.send(&frame);
    tag
}

fn management_result(peer: &mut Peer, tag: u32) -> u8 {
    let frame = peer.expect(opcode::TASK_MANAGEMENT_RESPONSE);
    assert_eq!(frame.word_at(16), tag);
    peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
    frame.bhs[2]
}

/// Answers leave in the order in which they become ready, and `ping` takes nothing but its own: what was asked before is not
/// answered while a hundred pings are.
fn stays_unanswered(peer: &mut Peer) {
    (0..100).for_each(|_| peer.ping());
}

#[test]
fn an_abort_is_answered_after_the_write_has_left_the_medium_and_the_write_never() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    let task = begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let abort = manage(&mut peer, 1, 0, task);
    stays_unanswered(&mut peer);
    bench.disks[0].open();
    assert_eq!(management_result(&mut peer, abort), 0, "function complete");
    assert_eq!(bench.disks[0].passed(), 1);
    peer.ping();
}

#[test]
fn resetting_a_unit_waits_for_the_writes_of_every_session_and_tells_them() {
    let bench = Bench::new();
    let (mut owner, mut other) = (bench.login(1), bench.login(2));
    begin_write(&mut owner, 0, 0);
    begin_write(&mut other, 0, 8);
    bench.disks[0].await_writes(2);
    let reset = manage(&mut other, 5, 0, u32::MAX);
    stays_unanswered(&mut other);
    bench.disks[0].open();
    assert_eq!(management_result(&mut other, reset), 0);
    assert_eq!(bench.disks[0].passed(), 2);
    for peer in [&mut owner, &mut other] {
        let answer = peer.command_in(0, &[0; 6], 0);
        assert_eq!((answer.status, answer.sense_code()), (CHECK_CONDITION, Some((6, 0x29, 3))));
        assert_eq!(peer.command_in(0, &[0; 6], 0).status, GOOD);
        assert_eq!(peer.command_in(1, &[0; 6], 0).status, GOOD, "the other unit was not reset");
    }
}

#[test]
fn a_new_session_of_the_same_port_begins_when_the_old_ones_writes_are_over() {
    let bench = Bench::new();
    let mut old = bench.login(1);
    begin_write(&mut old, 0, 0);
    bench.disks[0].await_writes(1);
    let mut new = Peer::connect(bench.portal);
    let keys = [
        ("InitiatorName", lunkeep_tests::wire::INITIATOR),
        ("TargetName", TARGET),
        ("SessionType", "Normal"),
    ];
    new.send(&login_request(0x87, 1, &keys));
    // The old session ends at once; the gate is still closed then, so the new one has to wait.
    old.until_closed();
    assert_eq!(bench.disks[0].passed(), 0);
    let disk = bench.disks[0].clone();
    let opener = std::thread::spawn(move || disk.open());
    let answer = new.receive().expect("a login response");
    assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0));
    assert_eq!(bench.disks[0].passed(), 1, "the old write was over when the new session began");
    opener.join().unwrap();
}

#[test]
fn a_logout_is_answered_when_no_write_is_left() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let logout =
        Frame::new(opcode::LOGOUT | 0x40).word(16, 99).word(24, peer.cmd_sn).word(28, peer.exp_stat_sn);
    peer.send(&logout);
    stays_unanswered(&mut peer);
    bench.disks[0].open();
    assert_eq!(peer.expect(opcode::LOGOUT_RESPONSE).bhs[2], 0);
    assert_eq!(bench.disks[0].passed(), 1);
    assert!(peer.until_closed().is_empty());
}

#[test]
fn our_initiator_takes_a_write_for_timed_out_only_after_it_has_left_the_medium() {
    use lunkeep_initiator::engine::{Config, Error, Identity, Initiator};
    use lunkeep_initiator::session::{TaskFailure, Timing};
    let bench = Bench::new();
    let relay = Relay::to(bench.portal);
    let identity =
        Identity { name: "iqn.2024-01.invalid:a".parse().unwrap(), isid: Isid([0x80, 0, 0, 0, 0, 9]) };
    let mut config = Config::new(identity).unwrap();
    config.timing = Timing { command: Duration::from_secs(2), ..Timing::default() };
    let portal = relay.portal().to_string().parse().unwrap();
    bench.runtime.block_on(async {
        let session = Initiator::new(config).login(&portal, &TARGET.parse().unwrap()).await.unwrap();
        let lun = session.lun(lunkeep_common::scsi::Lun(0));
        lun.ready().await.unwrap();
        let write = tokio::spawn(async move { lun.write(0, vec![0xee; BLOCK].into(), 512).await });
        let asked = |passed: Vec<Passed>| {
            let abort = |p: &Passed| matches!(p, Passed::Request(InitiatorHeader::TaskManagementRequest(_)));
            passed.iter().any(abort)
        };
        while !asked(relay.passed()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!write.is_finished(), "its fate is not known");
        bench.disks[0].open();
        let failure = write.await.unwrap().unwrap_err();
        assert_eq!(bench.disks[0].passed(), 1);
        assert!(
            matches!(failure, Error::Task { failure: TaskFailure::TimedOut { sent: true }, .. }),
            "{failure}"
        );
    });
}

#[test]
fn an_abort_that_outlasts_its_time_fails_and_says_so() {
    let bench = Bench::with(|config| config.settings.drain_timeout = Duration::from_millis(50));
    let mut peer = bench.login(1);
    let task = begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let abort = manage(&mut peer, 1, 0, task);
    assert_eq!(management_result(&mut peer, abort), 255, "function rejected");
    assert_eq!(bench.disks[0].passed(), 0);
}

#[test]
fn a_stalled_unit_holds_up_neither_other_units_nor_reads() {
    let bench = Bench::new();
    bench.disks[1].open();
    let mut peer = bench.login(1);
    begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    assert_eq!(peer.read_blocks(0, 100, 8, 512).data, vec![0; 8 * BLOCK]);
    assert_eq!(peer.write_blocks(1, 0, &[5; 4 * BLOCK], BLOCK).status, GOOD);
    assert_eq!(peer.read_blocks(1, 0, 4, 512).data, vec![5; 4 * BLOCK]);
}

#[test]
fn a_broken_medium_is_reported_and_hurts_no_other_unit() {
    let bench = Bench::new();
    bench.disks.iter().for_each(|disk| disk.open());
    let mut peer = bench.login(1);
    bench.disks[0].break_medium();
    let read = peer.read_blocks(0, 0, 1, 512);
    assert_eq!((read.status, read.sense_code()), (CHECK_CONDITION, Some((3, 0x11, 0))));
    let write = peer.write_blocks(0, 0, &[1; BLOCK], BLOCK);
    assert_eq!((write.status, write.sense_code()), (CHECK_CONDITION, Some((3, 0x0c, 0))));
    assert_eq!(peer.write_blocks(1, 0, &[1; BLOCK], BLOCK).status, GOOD);
}

#[test]
fn many_large_reads_at_once_stay_within_the_sessions_buffers_and_all_complete() {
    let bench = Bench::with(|config| config.settings.session_buffer_bytes = 1 << 20);
    let mut peer = bench.login(1);
    for number in 0..16 {
        let frame = peer.command_frame(0, &rw10(0x28, number * 16, 2048), 0xc1, 1 << 20);
        peer.send(&frame);
    }
    let mut bytes = 0;
    let mut statuses = 0;
    while statuses < 16 {
        let frame = peer.expect(opcode::DATA_IN);
        bytes += frame.data.len();
        statuses += usize::from(frame.bhs[1] & 1);
    }
    assert_eq!(bytes, 16 << 20);
}

#[test]
fn answers_larger_than_the_transmit_buffer_leave_to_the_last_byte_without_a_push_from_outside() {
    // Nothing else wakes the connection within the peer's patience.
    let bench = Bench::with(|config| config.settings.session.ping_interval = Duration::from_secs(3600));
    let mut peer = bench.login(1);
    for round in 0..30 {
        let blocks = (16 << 20) / 512;
        assert_eq!(peer.read16(0, 0, blocks, 512).data.len(), 16 << 20, "round {round}");
    }
}

#[test]
fn discovery_tells_the_announced_address_and_hides_what_an_initiator_may_not_use() {
    let hidden: IscsiName = "iqn.2024-01.invalid.lunkeep:hidden".parse().unwrap();
    let bench = Bench::with(|config| {
        config.portals = vec![portal(Some(Announce { host: "storage.example".into(), port: Some(13260) }))];
        config.targets.push(TargetConfig {
            portal_groups: PortalGroups::All,
            redirect: None,
            name: hidden.clone(),
            alias: None,
            luns: Vec::new(),
            authentication: Authentication::NotRequired,
            access: AccessList::Only(BTreeMap::from([(
                "iqn.2024-01.invalid.lunkeep:friend".parse().unwrap(),
                None,
            )])),
        });
    });
    let mut peer = Peer::connect(bench.portal);
    let keys = [("InitiatorName", lunkeep_tests::wire::INITIATOR), ("SessionType", "Discovery")];
    peer.send(&login_request(0x87, 1, &keys));
    let answer = peer.receive().unwrap();
    assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0));
    let exp_stat_sn = answer.word_at(24).wrapping_add(1);
    let ask = Frame::new(opcode::TEXT | 0x40)
        .word(16, 5)
        .word(20, u32::MAX)
        .word(24, 1)
        .word(28, exp_stat_sn)
        .data(*b"SendTargets=All\0");
    peer.send(&ask);
    let listing = text_keys(&peer.expect(opcode::TEXT_RESPONSE).data);
    let expected = [("TargetName", TARGET), ("TargetAddress", "storage.example:13260,1")];
    assert_eq!(listing, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let refused = Peer::login_with(bench.portal, hidden.as_str(), 2, &[]).map(drop).unwrap_err();
    assert_eq!((refused.class, refused.detail), (2, 2), "authorization failure");
}

#[test]
fn an_initiator_sees_the_luns_of_its_map_under_its_own_numbers() {
    let bench = Bench::with(|config| {
        let map = BTreeMap::from([(7, 1)]);
        let initiator = lunkeep_tests::wire::INITIATOR.parse().unwrap();
        config.targets[0].access = AccessList::Only(BTreeMap::from([(initiator, Some(map))]));
    });
    bench.disks[1].open();
    let mut peer = Peer::login(bench.portal, TARGET, 1);
    assert!(peer.is_ready(7));
    assert_eq!(peer.write_blocks(7, 0, &[3; BLOCK], BLOCK).status, GOOD);
    assert_eq!(bench.disks[1].passed(), 1);
    let absent = peer.command_in(0, &[0; 6], 0);
    assert_eq!((absent.status, absent.sense_code()), (CHECK_CONDITION, Some((5, 0x25, 0))));
    let luns = peer.command_in(7, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64);
    assert_eq!(luns.data, [0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_port_in_use_is_named() {
    let bench = Bench::new();
    let again = |config: &mut ServerConfig| config.portals[0].listen = bench.portal;
    let mut second = config(&[]);
    again(&mut second);
    let error = bench.runtime.block_on(Server::start(second)).unwrap_err();
    assert!(matches!(&error, StartError::Bind { address, .. } if *address == bench.portal), "{error}");
    assert!(error.to_string().contains(&bench.portal.to_string()), "{error}");
}

#[test]
fn a_target_has_a_unit_under_one_number() {
    let bench = Bench::new();
    let mut twice = config(&bench.disks);
    let unit = twice.targets[0].luns[0].unit.clone();
    twice.targets[0].luns.push(LunConfig { number: 9, unit });
    let error = bench.runtime.block_on(Server::start(twice)).unwrap_err();
    assert!(matches!(error, StartError::UnitTwice { second: 9, .. }), "{error}");
}

#[test]
fn a_cold_reset_ends_every_session_of_the_target() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    let reset = manage(&mut one, 7, 0, u32::MAX);
    assert_eq!(management_result(&mut one, reset), 0);
    for peer in [&mut one, &mut two] {
        let last = peer.until_closed();
        assert!(
            last.iter().any(|frame| frame.opcode() == opcode::ASYNC_MESSAGE && frame.bhs[36] == 3),
            "{last:?}"
        );
    }
    assert!(Peer::login(bench.portal, TARGET, 1).is_ready(0));
}
