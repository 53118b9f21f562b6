//! Changes of what is served while it is in use: LUNs and targets come and go, media grow and are exchanged, sessions are ended. Who
//! is concerned is told, who is not notices nothing.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use lunkeep_common::name::Tsih;
use lunkeep_target::device::MediumChange;
use lunkeep_target::engine::{ChangeError, LoggedOut, Medium, RemovedLun, ServerHandle, Which};

use super::*;

const LUNS_CHANGED: (u8, u8, u8) = (6, 0x3f, 0x0e);
const INQUIRY_CHANGED: (u8, u8, u8) = (6, 0x3f, 0x03);
const CAPACITY_CHANGED: (u8, u8, u8) = (6, 0x2a, 0x09);
const MEDIUM_CHANGED: (u8, u8, u8) = (6, 0x28, 0x00);
const POWER_ON: (u8, u8, u8) = (6, 0x29, 0x00);
const NOT_HERE: (u8, u8, u8) = (5, 0x25, 0x00);
const BECOMING_READY: (u8, u8, u8) = (2, 0x04, 0x01);
const NO_MEDIUM: (u8, u8, u8) = (2, 0x3a, 0x00);
const OTHER: &str = "iqn.2024-01.invalid.lunkeep:other";

impl Bench {
    fn handle(&self) -> ServerHandle {
        self.server.as_ref().unwrap().handle()
    }

    /// Changes the medium of LUN 2.
    fn change(
        &self,
        change: MediumChange,
        work: impl FnOnce(&dyn Disk) -> Result<(), String> + Send + 'static,
    ) -> Result<(), ChangeError> {
        self.runtime.block_on(self.handle().change_medium(&target(), 2, change, work))
    }

    /// Puts `disk` into the medium of LUN 2.
    fn exchange(
        &self,
        medium: &Arc<Medium>,
        change: MediumChange,
        disk: Arc<dyn Disk>,
    ) -> Result<(), ChangeError> {
        let medium = medium.clone();
        self.change(change, move |_| {
            let work = |_: Arc<dyn Disk>| (Some(disk), Ok::<_, String>(()));
            medium.exchange(Duration::from_secs(30), work).map_err(|error| error.to_string())
        })
    }

    /// A bench with open gates, where LUN 2 lies in a medium that can be exchanged.
    fn open_with_medium(removable: bool) -> (Self, Arc<Medium>) {
        let medium = Arc::new(Medium::new(memory_disk()));
        let disk: Arc<dyn Disk> = medium.clone();
        let bench = Self::with(|config| {
            let mut config_of_it = lun(2, disk);
            Arc::get_mut(&mut config_of_it.unit).unwrap().device.removable = removable;
            config.targets[0].luns.push(config_of_it);
        });
        bench.disks.iter().for_each(|disk| disk.open());
        (bench, medium)
    }
}

fn target() -> IscsiName {
    TARGET.parse().unwrap()
}

fn sized(len: u64) -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    Format::Raw.open(Arc::new(MemoryFile::with_len(len)), Access::ReadWrite, &env).unwrap()
}

/// What the next TEST UNIT READY says.
fn sense(peer: &mut Peer, lun: u8) -> Option<(u8, u8, u8)> {
    peer.command_in(lun, &[0; 6], 0).sense_code()
}

fn report_luns(peer: &mut Peer) -> Vec<u8> {
    let mut cdb = [0; 12];
    (cdb[0], cdb[8]) = (0xa0, 1);
    let answer = peer.command_in(0, &cdb, 256);
    answer.data[8..].chunks(8).map(|lun| lun[1]).collect()
}

fn capacity(peer: &mut Peer, lun: u8) -> u64 {
    let data = peer.command_in(lun, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8).data;
    (u64::from(u32::from_be_bytes(data[..4].try_into().unwrap())) + 1) * 512
}

/// Begins a WRITE of one block that waits for its data, and gives what asks for it.
fn begin_write_without_data(peer: &mut Peer, lun: u8) -> Frame {
    let frame = peer.command_frame(lun, &rw10(0x2a, 0, 1), 0xa1, 512);
    peer.send(&frame);
    peer.expect(opcode::R2T)
}

fn response(peer: &mut Peer) -> (u8, Option<(u8, u8, u8)>) {
    let frame = peer.expect(opcode::SCSI_RESPONSE);
    peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
    let sense = frame.data.get(2..).unwrap_or_default().to_vec();
    let answer = lunkeep_tests::wire::Answer { status: frame.bhs[3], data: Vec::new(), sense };
    (answer.status, answer.sense_code())
}

/// Serves `disk` as LUN 0 of another target.
fn other_target(config: &mut ServerConfig, disk: Arc<dyn Disk>) {
    let TargetConfig { authentication, access, .. } = &config.targets[0];
    let (authentication, access) = (authentication.clone(), access.clone());
    let luns = vec![lun(0, disk)];
    config.targets.push(TargetConfig {
        portal_groups: PortalGroups::All,
        redirect: None,
        name: OTHER.parse().unwrap(),
        alias: None,
        luns,
        authentication,
        access,
    });
}

#[test]
fn an_added_lun_is_there_at_once_and_every_session_of_the_target_is_told_until_it_has_asked() {
    let bench = Bench::with(|config| other_target(config, memory_disk()));
    bench.disks.iter().for_each(|disk| disk.open());
    let mut peers = [bench.login(1), bench.login(2)];
    let mut stranger = Peer::login(bench.portal, OTHER, 1);
    assert!(stranger.is_ready(0));
    bench.runtime.block_on(bench.handle().add_lun(&target(), lun(5, memory_disk()))).unwrap();
    for peer in &mut peers {
        assert_eq!(sense(peer, 0), Some(LUNS_CHANGED));
        assert_eq!(sense(peer, 5), Some(POWER_ON), "the new unit has just been powered on");
        assert_eq!(report_luns(peer), [0, 1, 5]);
        assert_eq!(sense(peer, 1), None, "REPORT LUNS to one unit tells it for all");
        assert_eq!(sense(peer, 5), None);
        assert_eq!(peer.write_blocks(5, 0, &[7; BLOCK], BLOCK).status, GOOD);
    }
    assert_eq!(sense(&mut stranger, 0), None, "another target's session is not concerned");
    let twice = bench.runtime.block_on(bench.handle().add_lun(&target(), lun(5, memory_disk()))).unwrap_err();
    assert!(matches!(twice, ChangeError::Refused(StartError::DuplicateLun { number: 5, .. })), "{twice}");
}

#[test]
fn a_removed_lun_is_answered_as_absent_and_the_others_tell_that_it_went() {
    let bench = Bench::new();
    bench.disks.iter().for_each(|disk| disk.open());
    let mut peers = [bench.login(1), bench.login(2)];
    let removed = bench.runtime.block_on(bench.handle().remove_lun(&target(), 1)).unwrap();
    assert_eq!(removed, RemovedLun { last: true });
    for peer in &mut peers {
        assert_eq!(sense(peer, 1), Some(NOT_HERE));
        assert_eq!(peer.write_blocks(1, 0, &[7; BLOCK], BLOCK).sense_code(), Some(NOT_HERE));
        let inquiry = peer.command_in(1, &[0x12, 0, 0, 0, 96, 0], 96);
        assert_eq!(inquiry.data[0], 0x7f, "no device can be there");
        assert_eq!(sense(peer, 0), Some(LUNS_CHANGED));
        assert_eq!(report_luns(peer), [0]);
        assert_eq!(sense(peer, 0), None);
    }
    assert_eq!(bench.disks[1].passed(), 0);
    let again = bench.runtime.block_on(bench.handle().remove_lun(&target(), 1)).unwrap_err();
    assert!(matches!(again, ChangeError::NoLun(_, 1)), "{again}");
    bench.runtime.block_on(bench.handle().add_lun(&target(), lun(1, bench.disks[1].clone()))).unwrap();
    assert_eq!(sense(&mut peers[0], 1), Some(POWER_ON));
}

#[test]
fn a_removal_is_answered_after_the_last_write_has_landed_and_ends_what_waits_for_data() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    let mut other = bench.login(2);
    begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let asks = begin_write_without_data(&mut other, 0);
    let handle = bench.handle();
    let removal = bench.runtime.spawn(async move { handle.remove_lun(&target(), 0).await });
    // The LUN is out of view while the removal waits.
    while sense(&mut peer, 0) != Some(NOT_HERE) {}
    stays_unanswered(&mut peer);
    assert!(!removal.is_finished(), "a write is still on its way to the medium");
    other.give(&asks, &[1; BLOCK]);
    assert_eq!(response(&mut other), (CHECK_CONDITION, Some(NOT_HERE)));
    bench.disks[0].open();
    assert_eq!(response(&mut peer), (GOOD, None), "it was on the medium, and ends as it would have");
    bench.runtime.block_on(removal).unwrap().unwrap();
    assert_eq!(bench.disks[0].passed(), 1, "nothing landed but what was on its way");
    for peer in [&mut peer, &mut other] {
        assert_eq!(peer.write_blocks(0, 0, &[1; BLOCK], BLOCK).sense_code(), Some(NOT_HERE));
    }
    assert_eq!(bench.disks[0].passed(), 1);
}

#[test]
fn a_removal_that_outlasts_its_time_says_that_the_image_is_still_open() {
    let bench = Bench::with(|config| config.settings.drain_timeout = Duration::from_millis(50));
    let mut peer = bench.login(1);
    begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let late = bench.runtime.block_on(bench.handle().remove_lun(&target(), 0)).unwrap_err();
    assert!(matches!(late, ChangeError::StillBusy { number: 0, .. }), "{late}");
    bench.disks[0].open();
    assert_eq!(response(&mut peer), (GOOD, None));
}

#[test]
fn an_abort_finds_a_write_of_a_lun_that_is_leaving() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    let task = begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let handle = bench.handle();
    let removal = bench.runtime.spawn(async move { handle.remove_lun(&target(), 0).await });
    while sense(&mut peer, 0) != Some(NOT_HERE) {}
    let abort = manage(&mut peer, 1, 0, task);
    stays_unanswered(&mut peer);
    bench.disks[0].open();
    assert_eq!(management_result(&mut peer, abort), 0);
    bench.runtime.block_on(removal).unwrap().unwrap();
    assert_eq!(bench.disks[0].passed(), 1);
    peer.ping();
}

#[test]
fn a_grown_lun_tells_every_nexus_and_serves_what_is_new() {
    let (bench, medium) = Bench::open_with_medium(false);
    let mut peers = [bench.login(1), bench.login(2)];
    peers.iter_mut().for_each(|peer| assert!(peer.is_ready(2)));
    assert_eq!(peers[0].write_blocks(2, 0, &[3; BLOCK], BLOCK).status, GOOD);
    let new = sized(32 << 20);
    new.write_at(&[IoSlice::new(&[3; BLOCK])], 0).unwrap();
    bench.exchange(&medium, MediumChange::Same, new).unwrap();
    for peer in &mut peers {
        assert_eq!(sense(peer, 2), Some(CAPACITY_CHANGED));
        assert_eq!(sense(peer, 2), None, "once, and nothing else");
        assert_eq!(capacity(peer, 2), 32 << 20);
        assert_eq!(peer.read_blocks(2, (32 << 11) - 1, 1, 512).status, GOOD);
        assert_eq!(peer.read_blocks(2, 0, 1, 512).data, [3; BLOCK]);
        assert_eq!((sense(peer, 0), sense(peer, 1)), (None, None), "other units are not concerned");
    }
}

#[test]
fn a_change_that_fails_leaves_the_unit_as_it_was_and_tells_nobody() {
    let (bench, _medium) = Bench::open_with_medium(false);
    let mut peer = bench.login(1);
    assert!(peer.is_ready(2));
    let error = bench.change(MediumChange::Same, |_| Err("no".into())).unwrap_err();
    assert!(error.to_string().ends_with("LUN 2: no"), "{error}");
    assert_eq!((sense(&mut peer, 2), capacity(&mut peer, 2)), (None, 16 << 20));
}

#[test]
fn a_medium_is_put_in_only_where_one_was_ejected_and_everyone_is_told() {
    let (bench, medium) = Bench::open_with_medium(true);
    let mut peers = [bench.login(1), bench.login(2)];
    peers.iter_mut().for_each(|peer| assert!(peer.is_ready(2)));
    let insert = |bench: &Bench| bench.exchange(&medium, MediumChange::Loaded, sized(8 << 20));
    assert!(insert(&bench).unwrap_err().to_string().contains("not ejected"));
    assert_eq!(peers[0].command_in(2, &[0x1e, 0, 0, 0, 1, 0], 0).status, GOOD, "prevents the removal");
    let eject = |force| bench.runtime.block_on(bench.handle().eject(&target(), 2, force));
    assert!(eject(false).unwrap_err().to_string().contains("prevents"));
    eject(true).unwrap();
    assert_eq!(sense(&mut peers[0], 2), Some(NO_MEDIUM));
    insert(&bench).unwrap();
    for peer in &mut peers {
        assert_eq!(sense(peer, 2), Some(MEDIUM_CHANGED));
        assert_eq!((sense(peer, 2), capacity(peer, 2)), (None, 8 << 20));
    }
    let fixed = bench.runtime.block_on(bench.handle().eject(&target(), 0, true)).unwrap_err();
    assert!(fixed.to_string().contains("not served as removable"), "{fixed}");
}

#[test]
fn no_command_of_before_meets_a_content_that_was_replaced() {
    let (bench, medium) = Bench::open_with_medium(false);
    let mut peer = bench.login(1);
    assert!(peer.is_ready(2));
    assert_eq!(peer.write_blocks(2, 0, &[3; BLOCK], BLOCK).status, GOOD);
    let asks = begin_write_without_data(&mut peer, 2);
    let (begun, may_end) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let (handle, change) = (bench.handle(), MediumChange::Replaced { force: false });
    let replacing = bench.runtime.spawn(async move {
        let work = move |_: &dyn Disk| {
            medium
                .exchange(Duration::from_secs(30), |_| {
                    begun.0.send(()).unwrap();
                    may_end.1.recv().unwrap();
                    (Some(sized(16 << 20)), Ok::<_, String>(()))
                })
                .map_err(|error| error.to_string())
        };
        handle.change_medium(&target(), 2, change, work).await
    });
    begun.1.recv().unwrap();
    assert_eq!(sense(&mut bench.login(7), 2), Some(POWER_ON));
    peer.give(&asks, &[9; BLOCK]);
    assert_eq!(response(&mut peer), (CHECK_CONDITION, Some(BECOMING_READY)));
    assert_eq!(sense(&mut peer, 2), Some(BECOMING_READY));
    may_end.0.send(()).unwrap();
    bench.runtime.block_on(replacing).unwrap().unwrap();
    assert_eq!(sense(&mut peer, 2), Some(MEDIUM_CHANGED));
    assert_eq!(peer.read_blocks(2, 0, 1, 512).data, [0; BLOCK], "neither the old content nor the late write");
}

#[test]
fn a_reserved_medium_is_replaced_only_by_force() {
    let (bench, _medium) = Bench::open_with_medium(false);
    let mut peer = bench.login(1);
    assert!(peer.is_ready(2));
    assert_eq!(peer.command_in(2, &[0x16, 0, 0, 0, 0, 0], 0).status, GOOD, "RESERVE(6)");
    let replace = |force| bench.change(MediumChange::Replaced { force }, |_| Ok(()));
    assert!(replace(false).unwrap_err().to_string().contains("reserved"));
    assert_eq!(sense(&mut peer, 2), None);
    replace(true).unwrap();
    assert_eq!(sense(&mut peer, 2), Some(MEDIUM_CHANGED));
}

#[test]
fn a_unit_that_another_target_exports_too_keeps_serving_there() {
    let shared = lun(5, memory_disk());
    let bench = Bench::with(|config| {
        config.targets[0].luns.push(shared.clone());
        other_target(config, memory_disk());
    });
    bench.disks.iter().for_each(|disk| disk.open());
    let (mut peer, other) = (bench.login(1), OTHER.parse::<IscsiName>().unwrap());
    assert!(peer.is_ready(5));
    let again = LunConfig { number: 3, unit: shared.unit.clone() };
    bench.runtime.block_on(bench.handle().add_lun(&other, again)).unwrap();
    assert_eq!(sense(&mut peer, 5), Some(INQUIRY_CHANGED), "one more port leads to it");
    assert_eq!(sense(&mut peer, 5), None);
    let ports = |peer: &mut Peer, lun| peer.command_in(lun, &[0x12, 1, 0x88, 1, 0, 0], 256).data;
    let both = ports(&mut peer, 5);
    assert!(both.windows(OTHER.len()).any(|part| part == OTHER.as_bytes()), "{both:02x?}");
    let mut elsewhere = Peer::login(bench.portal, OTHER, 1);
    assert!(elsewhere.is_ready(3));
    assert_eq!(elsewhere.write_blocks(3, 0, &[4; BLOCK], BLOCK).status, GOOD);
    let removed = bench.runtime.block_on(bench.handle().remove_lun(&target(), 5)).unwrap();
    assert_eq!(removed, RemovedLun { last: false });
    assert_eq!(sense(&mut peer, 5), Some(NOT_HERE));
    assert_eq!(sense(&mut elsewhere, 3), Some(INQUIRY_CHANGED));
    assert_eq!(elsewhere.read_blocks(3, 0, 1, 512).data, [4; BLOCK]);
    assert!(!ports(&mut elsewhere, 3).windows(TARGET.len()).any(|part| part == TARGET.as_bytes()));
}

#[test]
fn io_of_other_luns_and_sessions_goes_on_unharmed_through_all_of_it() {
    let (bench, medium) = Bench::open_with_medium(true);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut bystander = bench.login(9);
    assert!(bystander.is_ready(1));
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut round = 0u32;
            while !stop.load(Ordering::SeqCst) {
                let data = vec![u8::try_from(round % 251).unwrap(); BLOCK];
                let written = bystander.write_blocks(1, round % 1000, &data, BLOCK);
                // The one thing that it is told of: LUNs of its own target come and go.
                let luns_changed = written.sense_code() == Some(LUNS_CHANGED);
                assert!(written.status == GOOD || luns_changed, "{written:?}");
                if !luns_changed {
                    assert_eq!(bystander.read_blocks_again(1, round % 1000), data);
                }
                round += 1;
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        let wait_for_more = || {
            let seen = rounds.load(Ordering::SeqCst);
            while rounds.load(Ordering::SeqCst) < seen + 3 && !busy.is_finished() {
                thread::yield_now();
            }
        };
        for _ in 0..5 {
            let handle = bench.handle();
            bench.runtime.block_on(handle.add_lun(&target(), lun(6, memory_disk()))).unwrap();
            wait_for_more();
            bench.runtime.block_on(handle.eject(&target(), 2, false)).unwrap();
            bench.exchange(&medium, MediumChange::Loaded, sized(16 << 20)).unwrap();
            wait_for_more();
            bench.runtime.block_on(handle.remove_lun(&target(), 6)).unwrap();
            wait_for_more();
        }
        stop.store(true, Ordering::SeqCst);
        busy.join().unwrap();
    });
}

trait ReadAgain {
    /// Reads a block; when something is to be told first, once more.
    fn read_blocks_again(&mut self, lun: u8, lba: u32) -> Vec<u8>;
}

impl ReadAgain for Peer {
    fn read_blocks_again(&mut self, lun: u8, lba: u32) -> Vec<u8> {
        loop {
            let read = self.read_blocks(lun, lba, 1, 512);
            match read.sense_code() {
                None => return read.data,
                told => assert_eq!(told, Some(LUNS_CHANGED)),
            }
        }
    }
}

#[test]
fn a_removed_target_asks_its_initiators_to_log_out_and_then_drops_them() {
    let bench = Bench::with(|config| other_target(config, memory_disk()));
    bench.disks.iter().for_each(|disk| disk.open());
    let mut peer = bench.login(1);
    let mut stranger = Peer::login(bench.portal, OTHER, 1);
    assert!(stranger.is_ready(0));
    let removed = bench.runtime.block_on(bench.handle().remove_target(&target(), Some(0))).unwrap();
    assert_eq!(removed.last, [0, 1]);
    assert_eq!(removed.sessions, LoggedOut { dropped: 1, ..LoggedOut::default() });
    let events: Vec<u8> = peer.until_closed().iter().map(|frame| frame.bhs[36]).collect();
    assert_eq!(events, [1, 3], "logout requested, then the session is dropped (RFC 7143 11.9.1)");
    let refused = Peer::login_with(bench.portal, TARGET, 1, &[]).map(drop).unwrap_err();
    assert_eq!((refused.class, refused.detail), (2, 4), "target removed");
    assert_eq!(sense(&mut stranger, 0), None);
    let config = config(&bench.disks).targets.remove(0);
    bench.runtime.block_on(bench.handle().add_target(config)).unwrap();
    let mut back = bench.login(1);
    assert_eq!(back.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, GOOD);
}

#[test]
fn an_initiator_that_obeys_a_request_to_log_out_is_not_dropped() {
    let bench = Bench::new();
    let (mut peer, mut other) = (bench.login(1), bench.login(2));
    let (handle, tsih) = (bench.handle(), Tsih(peer.tsih));
    let asked =
        bench.runtime.spawn(async move { handle.request_logout(&Which::Session(tsih), Some(60)).await });
    let message = peer.expect(opcode::ASYNC_MESSAGE);
    assert_eq!((message.bhs[36], &message.bhs[42..44]), (1, &[0, 60][..]), "Parameter3 is the time it has");
    peer.exp_stat_sn = message.word_at(24).wrapping_add(1);
    peer.logout();
    let ended = bench.runtime.block_on(asked).unwrap();
    assert_eq!(ended, LoggedOut { obeyed: 1, ..LoggedOut::default() });
    other.ping();
}
