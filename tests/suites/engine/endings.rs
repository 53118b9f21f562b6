//! Logins that come to nothing, sessions that end while the medium works for them, and what they must not leave behind.

use std::net::TcpStream;
use std::time::Instant;

use lunkeep_tests::wire::INITIATOR;

use super::*;

const ISID: u16 = 1;

/// More than the time that the benches here give to what they wait for.
const LONGER: Duration = Duration::from_millis(500);

fn login_keys() -> [(&'static str, &'static str); 3] {
    [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")]
}

/// Asks for a session of the same port and does not wait for the answer.
fn ask_again(bench: &Bench, isid: u16) -> Peer {
    let mut peer = Peer::connect(bench.portal);
    peer.send(&login_request(0x87, isid, &login_keys()));
    peer
}

/// A connection through which hardly anything fits that is not read.
fn narrow(portal: SocketAddr) -> Peer {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.connect(&portal.into()).unwrap();
    Peer::over(TcpStream::from(socket))
}

/// Logs in and takes none of the answers after the first. Before the last request there are so many whose answers are longer than
/// they are: keys that nobody knows.
fn log_in_without_listening(bench: &Bench, isid: u16, requests: usize) -> Peer {
    let mut peer = narrow(bench.portal);
    peer.send(&login_request(0x04, isid, &login_keys()));
    let answer = peer.receive().unwrap();
    let exp_stat_sn = answer.word_at(24).wrapping_add(1);
    let declared = ["TargetPortalGroupTag", "MaxRecvDataSegmentLength", "TargetAlias"];
    let offers = text_keys(&answer.data);
    let replies: Vec<_> = offers
        .iter()
        .filter(|(key, _)| !declared.contains(&key.as_str()))
        .map(|(key, value)| (key.as_str(), if key.ends_with("Digest") { "None" } else { value.as_str() }))
        .collect();
    peer.send(&login_request(0x04, isid, &replies).word(28, exp_stat_sn));
    for request in 0..=requests {
        let keys: Vec<_> = (0..50).map(|n| format!("X-{:0>60}", request * 50 + n)).collect();
        let keys: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
        let flags = if request == requests { 0x87 } else { 0x04 };
        peer.send(&login_request(flags, isid, &keys).word(28, exp_stat_sn));
    }
    peer
}

#[test]
fn a_login_whose_last_answer_nobody_takes_leaves_no_session_behind() {
    let bench = Bench::with(|config| {
        config.settings.login_timeout = Duration::from_secs(1);
        config.settings.drain_timeout = Duration::from_millis(50);
    });
    // How much the sockets hold is the host's choice: for one of these peers the last answer is the first that has no room.
    let peers = (4..16).map(|n| (0x100 + n, log_in_without_listening(&bench, 0x100 + n, n.into())));
    let peers: Vec<_> = peers.collect();
    std::thread::sleep(Duration::from_millis(1500));
    let again: Vec<_> = peers.iter().map(|(isid, _)| ask_again(&bench, *isid)).collect();
    for mut again in again {
        let answer = again.receive().expect("an answer");
        assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0), "{answer:02x?}");
    }
}

#[test]
fn of_connections_that_do_not_log_in_the_oldest_goes_when_there_are_too_many() {
    let bench = Bench::with(|config| config.settings.logins_max = 8);
    let mut logged_in = bench.login(ISID);
    let mut silent: Vec<_> = (0..50).map(|_| Peer::connect(bench.portal)).collect();
    let begun = Instant::now();
    silent.drain(..42).for_each(|mut old| assert!(old.until_closed().is_empty()));
    assert!(begun.elapsed() < Settings::default().login_timeout, "they were ended by the login timeout");
    // The youngest can still log in, and so can one that comes now; who is logged in has noticed nothing.
    let youngest = silent.last_mut().unwrap();
    youngest.send(&login_request(0x87, 2, &login_keys()));
    assert_eq!(youngest.receive().expect("an answer").bhs[36], 0);
    bench.login(3).ping();
    logged_in.ping();
}

#[test]
fn a_session_does_not_begin_again_while_a_write_of_the_old_one_outlasts_every_time_limit() {
    let bench = Bench::with(|config| config.settings.drain_timeout = Duration::from_millis(20));
    let mut old = bench.login(ISID);
    begin_write(&mut old, 0, 0);
    bench.disks[0].await_writes(1);
    drop(old);
    let mut new = ask_again(&bench, ISID);
    std::thread::sleep(LONGER);
    assert_eq!(bench.disks[0].passed(), 0);
    assert!(new.until_quiet().is_empty(), "a session began beside a write of the one before it");
    bench.disks[0].open();
    let answer = new.receive().expect("an answer");
    assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0));
    assert_eq!(bench.disks[0].passed(), 1);
}

#[test]
fn a_logout_that_cannot_end_a_write_fails_and_ends_the_connection() {
    let bench = Bench::with(|config| {
        config.settings.drain_timeout = Duration::from_millis(20);
        // Silence must not be what ends it.
        config.settings.session.ping_interval = Duration::from_secs(3600);
    });
    let mut peer = bench.login(ISID);
    begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let logout =
        Frame::new(opcode::LOGOUT | 0x40).word(16, 99).word(24, peer.cmd_sn).word(28, peer.exp_stat_sn);
    peer.send(&logout);
    assert_eq!(peer.expect(opcode::LOGOUT_RESPONSE).bhs[2], 3, "cleanup failed");
    peer.until_closed();
}

#[test]
fn data_that_nobody_asked_for_ends_its_command_only_when_the_write_is_over() {
    let bench = Bench::new();
    let mut peer = bench.login(ISID);
    let task = begin_write(&mut peer, 0, 0);
    bench.disks[0].await_writes(1);
    let stray = Frame::new(opcode::DATA_OUT).word(16, task).word(20, u32::MAX).data(vec![1; BLOCK]);
    for _ in 0..10 {
        peer.send(&stray);
    }
    stays_unanswered(&mut peer);
    bench.disks[0].open();
    let answer = peer.expect(opcode::SCSI_RESPONSE);
    assert_eq!((answer.word_at(16), answer.bhs[3]), (task, CHECK_CONDITION));
    assert_eq!(bench.disks[0].passed(), 1);
}

#[test]
fn a_stalled_unit_leaves_threads_to_the_others_however_many_commands_wait_for_it() {
    let bench = Bench::new();
    bench.disks[1].open();
    let mut waiting: Vec<_> = (1..=6).map(|isid| bench.login(isid)).collect();
    for peer in &mut waiting {
        for lba in 0..100 {
            begin_write(peer, 0, lba);
        }
        peer.ping();
    }
    bench.disks[0].await_writes(60);
    let mut other = bench.login(9);
    assert_eq!(other.write_blocks(1, 0, &[5; 4 * BLOCK], BLOCK).status, GOOD);
    bench.disks[0].open();
    for peer in &mut waiting {
        (0..100).for_each(|_| assert_eq!(peer.expect(opcode::SCSI_RESPONSE).bhs[3], GOOD));
    }
    assert_eq!(bench.disks[0].passed(), 600);
}

/// What a panic left half done must not be built upon, so neither a write nor SYNCHRONIZE CACHE may answer GOOD after it.
#[test]
fn after_a_panic_below_a_write_it_is_answered_and_the_unit_is_read_only_until_a_restart() {
    let bench = Bench::new();
    bench.disks.iter().for_each(|disk| disk.open());
    let mut peer = bench.login(ISID);
    assert_eq!(peer.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, GOOD);
    bench.disks[0].set_defective(true);
    let failed = peer.write_blocks(0, 1, &[2; BLOCK], BLOCK);
    assert_eq!((failed.status, failed.sense_code().map(|sense| sense.0)), (CHECK_CONDITION, Some(3)));
    bench.disks[0].set_defective(false);
    assert_eq!(peer.write_blocks(0, 2, &[3; BLOCK], BLOCK).status, CHECK_CONDITION);
    assert_eq!(peer.command_in(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0).status, CHECK_CONDITION);
    assert_eq!(peer.command_in(0, &rw10(0x28, 0, 1), 512).data, [1; BLOCK]);
    assert_eq!(peer.write_blocks(1, 0, &[4; BLOCK], BLOCK).status, GOOD, "the other unit goes on");
}
