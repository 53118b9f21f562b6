//! Several connections of one session, and what is left of one that was cut (RFC 7143 §4.2.2.1, §6.3.4, §7.2, §11.14).

use super::*;

const ISID: u16 = 1;

/// Keys of a leading login that asks for all that there is.
const RECOVERING: &[(&str, &str)] = &[
    ("MaxConnections", "4"),
    ("ErrorRecoveryLevel", "2"),
    ("DefaultTime2Wait", "0"),
    ("DefaultTime2Retain", "20"),
    ("InitialR2T", "No"),
];

const SEVERAL: &[(&str, &str)] = &[("MaxConnections", "2")];

fn bench() -> Bench {
    Bench::with(|config| {
        config.settings.offer.max_connections = 4;
        config.settings.offer.error_recovery_level = 2;
        config.settings.offer.default_time2wait = 0;
    })
}

fn lead(bench: &Bench, keys: &[(&str, &str)]) -> Peer {
    let mut peer = Peer::login_with(bench.portal, TARGET, ISID, keys).unwrap();
    assert!(peer.is_ready(0) && peer.is_ready(1));
    peer
}

/// A further connection, with the command numbers of the first.
fn join(bench: &Bench, first: &Peer, cid: u16) -> Peer {
    let mut peer = Peer::join(bench.portal, TARGET, ISID, first.tsih, cid, &[]).unwrap();
    assert_eq!(peer.tsih, first.tsih, "the same session");
    (peer.cmd_sn, peer.tag) = (first.cmd_sn, first.tag + 0x1000);
    peer
}

fn refused(bench: &Bench, tsih: u16, cid: u16) -> (u8, u8) {
    let refused = Peer::join(bench.portal, TARGET, ISID, tsih, cid, &[]).map(drop).unwrap_err();
    (refused.class, refused.detail)
}

fn logout(peer: &mut Peer, reason: u8, cid: u16) -> u8 {
    let frame = Frame::new(opcode::LOGOUT | 0x40)
        .flags(0x80 | reason)
        .word(16, 0x9999)
        .put(20, &cid.to_be_bytes())
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn);
    peer.send(&frame);
    let answer = peer.expect(opcode::LOGOUT_RESPONSE);
    peer.exp_stat_sn = answer.word_at(24).wrapping_add(1);
    answer.bhs[2]
}

/// TASK REASSIGN of a task to this connection.
fn reassign(peer: &mut Peer, task: u32, exp_data_sn: u32) -> u8 {
    let frame = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x88)
        .word(16, 0x8888)
        .word(20, task)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn)
        .word(36, exp_data_sn);
    peer.send(&frame);
    management_result(peer, 0x8888)
}

#[test]
fn commands_are_carried_out_in_the_order_of_their_numbers_on_whichever_connection_they_come() {
    let bench = bench();
    let mut one = lead(&bench, SEVERAL);
    let mut two = join(&bench, &one, 7);
    // The later commands arrive first: they wait for the earlier one on the other connection.
    two.cmd_sn = one.cmd_sn + 1;
    let later = [two.command_frame(0, &[0; 6], 0x81, 0), two.command_frame(1, &[0; 6], 0x81, 0)];
    later.iter().rev().for_each(|frame| two.send(frame));
    stays_unanswered(&mut two);
    assert_eq!(one.command_in(0, &[0; 6], 0).status, GOOD);
    for frame in &later {
        let answer = two.expect(opcode::SCSI_RESPONSE);
        assert_eq!(answer.word_at(16), frame.word_at(16), "on the connection that it came on, in order");
    }
}

#[test]
fn a_session_takes_as_many_connections_as_were_agreed_and_only_of_its_own_port() {
    let bench = bench();
    let one = lead(&bench, SEVERAL);
    let _two = join(&bench, &one, 1);
    assert_eq!(refused(&bench, one.tsih, 2), (2, 6), "too many connections");
    assert_eq!(refused(&bench, one.tsih + 1, 2), (2, 0x0a), "session does not exist");
    let other = Peer::join(bench.portal, TARGET, ISID + 1, one.tsih, 1, &[]).map(drop).unwrap_err();
    assert_eq!((other.class, other.detail), (2, 0x0a), "not this port's session");
}

#[test]
fn by_default_a_session_has_one_connection() {
    let bench = Bench::new();
    let one = lead(&bench, RECOVERING);
    assert_eq!(refused(&bench, one.tsih, 1), (2, 6));
}

#[test]
fn logging_out_one_connection_ends_its_commands_and_leaves_the_others() {
    let bench = bench();
    let mut one = lead(&bench, SEVERAL);
    let mut two = join(&bench, &one, 7);
    begin_write(&mut two, 0, 0);
    bench.disks[0].await_writes(1);
    one.cmd_sn = two.cmd_sn;
    assert_eq!(logout_later(&bench, &mut one, 1, 7), 0);
    assert_eq!(bench.disks[0].passed(), 1, "answered when its write was over");
    two.until_closed();
    assert_eq!(logout(&mut one, 1, 7), 1, "CID not found");
    one.ping();
    assert_eq!(logout(&mut one, 1, 0), 0);
    one.until_closed();
    assert_eq!(refused(&bench, one.tsih, 0), (2, 0x0a), "the session ended with its last connection");
}

/// A logout that has to wait for a write at the gate of disk 0.
fn logout_later(bench: &Bench, peer: &mut Peer, reason: u8, cid: u16) -> u8 {
    let disk = bench.disks[0].clone();
    let opener = std::thread::spawn(move || disk.open());
    let result = logout(peer, reason, cid);
    opener.join().unwrap();
    result
}

#[test]
fn logging_out_the_session_closes_every_connection() {
    let bench = bench();
    let mut one = lead(&bench, SEVERAL);
    let mut two = join(&bench, &one, 7);
    assert_eq!(logout(&mut one, 0, 0), 0);
    one.until_closed();
    two.until_closed();
}

#[test]
fn a_login_with_the_same_cid_replaces_the_connection_once_its_write_is_over() {
    let bench = bench();
    let mut one = lead(&bench, SEVERAL);
    let mut two = join(&bench, &one, 7);
    begin_write(&mut two, 0, 0);
    bench.disks[0].await_writes(1);
    let disk = bench.disks[0].clone();
    let opener = std::thread::spawn(move || disk.open());
    let mut again = join(&bench, &one, 7);
    assert_eq!(bench.disks[0].passed(), 1, "the old connection's write was over when the new one began");
    opener.join().unwrap();
    two.until_closed();
    (again.cmd_sn, one.cmd_sn) = (two.cmd_sn, two.cmd_sn + 1);
    assert_eq!(again.command_in(0, &[0; 6], 0).status, GOOD);
    assert_eq!(one.command_in(0, &[0; 6], 0).status, GOOD);
}

#[test]
fn a_write_of_a_cut_connection_goes_on_and_is_answered_on_the_next() {
    let bench = bench();
    let mut one = lead(&bench, RECOVERING);
    let task = begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    let (tsih, cmd_sn) = (one.tsih, one.cmd_sn);
    drop(one);
    let mut two = Peer::join(bench.portal, TARGET, ISID, tsih, 3, &[]).unwrap();
    (two.cmd_sn, two.tag) = (cmd_sn, 0x1000);
    assert_eq!(reassign(&mut two, task + 1, 0), 1, "no such task");
    assert_eq!(logout(&mut two, 2, 0), 0, "the lost connection is removed for recovery");
    assert_eq!(reassign(&mut two, task, 0), 0);
    assert_eq!(reassign(&mut two, task, 0), 3, "it has a connection now");
    stays_unanswered(&mut two);
    bench.disks[0].open();
    let answer = two.expect(opcode::SCSI_RESPONSE);
    assert_eq!((answer.word_at(16), answer.bhs[3]), (task, GOOD));
    assert_eq!(bench.disks[0].passed(), 1, "written once");
}

#[test]
fn a_status_that_a_cut_connection_did_not_bring_comes_on_the_one_in_its_place() {
    let bench = bench();
    bench.disks[0].open();
    let mut one = lead(&bench, RECOVERING);
    let frame = one.command_frame(0, &rw10(0x28, 0, 1), 0xc1, 512);
    one.send(&frame);
    // The data and the status arrive and are never acknowledged.
    one.expect(opcode::DATA_IN);
    one.expect(opcode::SCSI_RESPONSE);
    let (tsih, cmd_sn) = (one.tsih, one.cmd_sn);
    let mut again = Peer::join(bench.portal, TARGET, ISID, tsih, 0, &[]).unwrap();
    (again.cmd_sn, again.tag) = (cmd_sn, 0x1000);
    assert_eq!(reassign(&mut again, frame.word_at(16), 0), 0);
    assert_eq!(again.expect(opcode::DATA_IN).word_at(36), 0, "DataSN 0: nothing was acknowledged");
    assert_eq!(again.expect(opcode::SCSI_RESPONSE).bhs[3], GOOD);
}

#[test]
fn what_nobody_comes_back_for_ends_with_the_time_that_was_agreed() {
    let bench = bench();
    let mut keys = RECOVERING.to_vec();
    keys[3].1 = "1";
    let mut one = lead(&bench, &keys);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    let tsih = one.tsih;
    drop(one);
    // The session is there for the second that was agreed; then its write is waited for, and it is gone.
    bench.disks[0].open();
    while refused_or_joined(&bench, tsih).is_none() {
        std::thread::yield_now();
    }
    assert_eq!(bench.disks[0].passed(), 1);
}

/// The refusal, once the session is gone. Each join that succeeds is logged out at once, which lets nothing linger.
fn refused_or_joined(bench: &Bench, tsih: u16) -> Option<(u8, u8)> {
    match Peer::join(bench.portal, TARGET, ISID, tsih, 9, &[]) {
        Ok(mut peer) => {
            logout(&mut peer, 1, 9);
            None
        }
        Err(refused) => Some((refused.class, refused.detail)),
    }
}

#[test]
fn without_recovery_agreed_a_cut_connection_ends_its_commands_and_reassigning_is_refused() {
    let bench = bench();
    bench.disks[0].open();
    let mut one = lead(&bench, SEVERAL);
    let two = join(&bench, &one, 7);
    drop(two);
    assert_eq!(reassign(&mut one, 5, 0), 4, "task allegiance reassignment not supported");
    assert_eq!(logout(&mut one, 2, 7), 2, "connection recovery not supported");
}
