//! Who is shut out has nothing under way any more when the command that did it is answered: at the medium, through the engine.

use std::time::Duration;

use lunkeep_tests::wire::{Frame, Peer, opcode, rw10};

use super::bench::{BLOCK, Bench, TARGET};
use super::*;

pub(super) fn begin_write(peer: &mut Peer, lun: u8, lba: u32) {
    let frame = peer.command_frame(lun, &rw10(0x2a, lba, 1), 0xa1, 512).data(vec![0xee; BLOCK]);
    peer.send(&frame);
}

/// Sends a command with its list as immediate data and does not wait for the answer.
pub(super) fn begin_out(peer: &mut Peer, cdb: &[u8], list: &[u8]) {
    let flags = if list.is_empty() { 0x81 } else { 0xa1 };
    let frame = peer.command_frame(0, cdb, flags, u32::try_from(list.len()).unwrap()).data(list);
    peer.send(&frame);
}

pub(super) fn begin_basic(peer: &mut Peer, action: u8, kind: u8, key: u64, service_action_key: u64) {
    let (cdb, list) = basic(action, kind, key, service_action_key);
    begin_out(peer, &cdb, &list);
}

pub(super) fn response(peer: &mut Peer) -> Frame {
    let frame = peer.expect(opcode::SCSI_RESPONSE);
    peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
    frame
}

/// Nothing has come for `peer`, although others had the time to change the reservations of another unit many times over.
pub(super) fn assert_unanswered(bench: &Bench, peer: &mut Peer) {
    let mut other = bench.login_to(99, 1);
    for key in 1..=20 {
        assert_eq!(persistent_out(&mut other, 1, 6, 0, 0, key).status, GOOD);
    }
    // Answers leave in the order in which they become ready, so one that did not wait would come first.
    peer.ping();
    assert_eq!(bench.disks[0].passed(), 0);
}

/// The answer to what `peer` sent comes after `writes` writes have left the medium, and not before.
pub(super) fn assert_waits(bench: &Bench, peer: &mut Peer, writes: usize) {
    assert_unanswered(bench, peer);
    bench.disks[0].open();
    let frame = response(peer);
    assert_eq!(frame.bhs[3], GOOD, "{frame:02x?}");
    assert_eq!(bench.disks[0].passed(), writes, "all that was under way has landed before the answer");
}

pub(super) fn assert_shut_out(peer: &mut Peer) {
    let status =
        (0..4).map(|_| peer.write_blocks(0, 9, &[7; BLOCK], BLOCK).status).find(|&s| s != CHECK_CONDITION);
    assert_eq!(status, Some(CONFLICT));
}

#[test]
fn preempt_waits_for_the_writes_of_the_holder() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 1, 2, 1);
    assert_waits(&bench, &mut two, 1);
    assert_eq!(response(&mut one).bhs[3], GOOD, "it had been admitted");
    assert_shut_out(&mut one);
}

#[test]
fn preempt_and_abort_waits_for_the_writes_of_a_registrant_and_ends_them_in_silence() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut two, 0, 1, 5, 2, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 5, 5, 2, 1);
    assert_waits(&bench, &mut two, 1);
    let answers = [0; 3].map(|_| one.command_in(0, &[0; 6], 0));
    let codes = answers.map(|answer| answer.sense_code());
    assert_eq!(codes, [Some((6, 0x2a, 5)), Some((6, 0x2f, 0)), None], "and no answer to the write");
    assert_shut_out(&mut one);
}

#[test]
fn reserve_waits_for_the_writes_of_strangers() {
    let bench = Bench::new();
    let (mut one, _two) = bench.registered();
    let mut stranger = bench.login(3);
    begin_write(&mut stranger, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut one, 1, 1, 1, 0);
    assert_waits(&bench, &mut one, 1);
    response(&mut stranger);
    assert_shut_out(&mut stranger);
}

#[test]
fn register_and_move_waits_for_the_writes_of_who_gives_it_away() {
    let bench = Bench::new();
    let (mut one, _two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    let mut id = format!("{},i,0x800000000002", lunkeep_tests::wire::INITIATOR).into_bytes();
    id.resize((id.len() + 1).next_multiple_of(4), 0);
    let mut list = [1u64.to_be_bytes(), 2u64.to_be_bytes()].concat();
    list.extend([0, 0, 0, 1]);
    list.extend(u32::try_from(id.len() + 4).unwrap().to_be_bytes());
    list.extend([0x45, 0]);
    list.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
    list.extend(id);
    begin_out(&mut one, &[0x5f, 7, 0, 0, 0, 0, 0, 0, u8::try_from(list.len()).unwrap(), 0], &list);
    assert_unanswered(&bench, &mut one);
    bench.disks[0].open();
    // The write may be answered before or after; the move is only after it.
    let answers = [response(&mut one), response(&mut one)];
    assert!(answers.iter().all(|frame| frame.bhs[3] == GOOD), "{answers:02x?}");
    assert_eq!(bench.disks[0].passed(), 1);
    assert_shut_out(&mut one);
}

#[test]
fn unregistration_waits_for_the_own_writes_of_a_registrant() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut two, 0, 1, 5, 2, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut one, 0, 0, 1, 0);
    assert_unanswered(&bench, &mut one);
    bench.disks[0].open();
    let tags = [response(&mut one), response(&mut one)].map(|frame| (frame.word_at(16), frame.bhs[3]));
    assert!(tags.iter().all(|(_, status)| *status == GOOD), "{tags:?}");
    assert_eq!(bench.disks[0].passed(), 1);
    assert_shut_out(&mut one);
}

#[test]
fn reserve_of_spc2_waits_for_the_writes_of_others() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    begin_write(&mut two, 0, 0);
    bench.disks[0].await_writes(1);
    begin_out(&mut one, &[0x16, 0, 0, 0, 0, 0], &[]);
    assert_waits(&bench, &mut one, 1);
    response(&mut two);
    assert_shut_out(&mut two);
}

#[test]
fn preempt_waits_for_the_writes_of_a_session_that_is_gone() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    drop(one);
    begin_basic(&mut two, 4, 1, 2, 1);
    assert_waits(&bench, &mut two, 1);
}

#[test]
fn a_fence_that_outlasts_its_time_fails_and_the_old_holder_still_holds() {
    let bench = Bench::with(|settings| settings.drain_timeout = Duration::from_millis(50));
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    let failed = persistent_out(&mut two, 0, 4, 1, 2, 1);
    assert_eq!((failed.status, failed.sense_code()), (CHECK_CONDITION, Some((4, 0x44, 0))));
    assert_eq!((held(&mut two, 0), keys(&mut two, 0)), (Some((1, 1)), vec![1, 2]));
    assert_eq!(two.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
}

#[test]
fn a_record_that_cannot_be_kept_fails_the_command_and_changes_nothing() {
    let bench = Bench::new();
    bench.disks[0].open();
    let (mut one, _two) = bench.registered();
    std::fs::remove_dir_all(bench.folder.path()).unwrap();
    let failed = persistent_out(&mut one, 0, 1, 1, 1, 0);
    assert_eq!((failed.status, failed.sense_code()), (CHECK_CONDITION, Some((4, 0x44, 0))));
    assert_eq!(held(&mut one, 0), None);
    std::fs::create_dir(bench.folder.path()).unwrap();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    assert_eq!(held(&mut one, 0), Some((1, 1)));
}

#[test]
fn reservations_and_task_management_go_on_while_every_thread_is_stuck_in_a_write() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 5, 1, 0).status, GOOD);
    for lba in 0..8 {
        begin_write(&mut one, 0, lba);
    }
    bench.disks[0].await_writes(2);
    // Nothing of this shuts a writer out, so nothing waits for the medium; each of it is made durable.
    assert_eq!(persistent_out(&mut two, 0, 6, 0, 0, 3).status, GOOD);
    assert_eq!(persistent_out(&mut two, 1, 0, 0, 0, 4).status, GOOD);
    assert_eq!(persistent_out(&mut two, 1, 1, 1, 4, 0).status, GOOD);
    assert_eq!((keys(&mut two, 0), held(&mut two, 1)), (vec![1, 3], Some((1, 4))));
    let reset = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x85)
        .put(9, &[1])
        .word(16, 0x7777)
        .word(20, u32::MAX)
        .word(24, two.cmd_sn)
        .word(28, two.exp_stat_sn);
    two.send(&reset);
    assert_eq!(two.expect(opcode::TASK_MANAGEMENT_RESPONSE).bhs[2], 0);
    assert_eq!(bench.disks[0].passed(), 0);
}

#[test]
fn sixteen_initiators_race_to_preempt_one_key_and_exactly_one_wins() {
    let bench = Bench::new();
    bench.disks[0].open();
    let mut owner = bench.login(100);
    assert_eq!(persistent_out(&mut owner, 0, 0, 0, 0, 100).status, GOOD);
    assert_eq!(persistent_out(&mut owner, 0, 1, 1, 100, 0).status, GOOD);
    let mut peers: Vec<Peer> = (1..=16).map(|isid| bench.login(isid)).collect();
    for (peer, key) in peers.iter_mut().zip(1..) {
        assert_eq!(persistent_out(peer, 0, 0, 0, 0, key).status, GOOD);
    }
    for (peer, key) in peers.iter_mut().zip(1..) {
        begin_basic(peer, 5, 1, key, 100);
    }
    let statuses: Vec<u8> = peers.iter_mut().map(|peer| response(peer).bhs[3]).collect();
    let winners: Vec<u64> =
        (1..).zip(&statuses).filter(|(_, status)| **status == GOOD).map(|(key, _)| key).collect();
    assert_eq!((winners.len(), statuses.iter().filter(|&&status| status == CONFLICT).count()), (1, 15));
    assert_eq!(held(&mut peers[0], 0), Some((1, winners[0])));
}

#[test]
fn a_hundred_and_twenty_eight_registrants_are_all_told_of_and_cleared() {
    let bench = Bench::with(|settings| settings.sessions_max = 256);
    bench.disks[0].open();
    let mut peers: Vec<Peer> = (1..=128).map(|isid| bench.login(isid)).collect();
    for (peer, key) in peers.iter_mut().zip(1..) {
        assert_eq!(persistent_out(peer, 0, 0, 0, 0, key).status, GOOD);
    }
    assert_eq!(keys(&mut peers[5], 0), (1..=128).collect::<Vec<u64>>());
    let status = peers[7].command_in(0, &[0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0], 0xffff);
    assert_eq!(status.data.len(), 8 + 128 * (24 + 56));
    assert_eq!(persistent_out(&mut peers[0], 0, 3, 0, 1, 0).status, GOOD);
    for peer in &mut peers[1..] {
        assert_eq!(peer.command_in(0, &[0; 6], 0).sense_code(), Some((6, 0x2a, 3)));
    }
    assert_eq!(keys(&mut peers[0], 0), Vec::<u64>::new());
}

#[test]
fn a_cold_reset_that_would_end_the_reservations_of_others_is_refused() {
    for (force, expected) in [(false, 6), (true, 0)] {
        let bench = Bench::with(|settings| settings.force_aptpl = force);
        bench.disks[0].open();
        let (mut one, mut two) = bench.registered();
        assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
        let reset = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
            .flags(0x87)
            .word(16, 0x7777)
            .word(20, u32::MAX)
            .word(24, two.cmd_sn)
            .word(28, two.exp_stat_sn);
        two.send(&reset);
        assert_eq!(two.expect(opcode::TASK_MANAGEMENT_RESPONSE).bhs[2], expected);
        drop((one, two));
        let mut again = Peer::login(bench.portals[0], TARGET, 1);
        assert!(again.is_ready(0));
        assert_eq!(held(&mut again, 0), Some((1, 1)));
    }
}

#[test]
fn while_a_fence_waits_for_a_medium_that_stands_still_others_register_release_read_and_clear() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    let (mut third, mut fourth) = (bench.login(3), bench.login(4));
    assert_eq!(persistent_out(&mut third, 0, 0, 0, 0, 3).status, GOOD);
    assert_eq!(persistent_out(&mut third, 0, 1, 5, 3, 0).status, GOOD);
    for lba in 0..16 {
        begin_write(&mut one, 0, lba);
    }
    bench.disks[0].await_writes(2);
    begin_basic(&mut two, 5, 5, 2, 1);
    assert_unanswered(&bench, &mut two);
    // Each is answered, and made durable, while the fence and the medium wait.
    assert_eq!(persistent_out(&mut fourth, 0, 0, 0, 0, 4).status, GOOD);
    assert_eq!(persistent_out(&mut third, 0, 6, 0, 0, 0x33).status, GOOD);
    assert_eq!((keys(&mut fourth, 0), held(&mut fourth, 0)), (vec![1, 2, 4, 0x33], Some((5, 0x33))));
    assert_eq!(persistent_out(&mut third, 0, 2, 5, 0x33, 0).status, GOOD);
    assert_eq!(held(&mut third, 0), None);
    assert_eq!(bench.disks[0].passed(), 0, "all this while the medium stands still");
    bench.disks[0].open();
    assert_eq!(response(&mut two).bhs[3], GOOD);
    assert_eq!(keys(&mut third, 0), [2, 4, 0x33]);
}

#[test]
fn a_clear_does_not_wait_for_a_fence_that_then_finds_nobody_to_preempt() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    let mut third = bench.login(3);
    assert_eq!(persistent_out(&mut third, 0, 0, 0, 0, 3).status, GOOD);
    assert_eq!(persistent_out(&mut third, 0, 1, 5, 3, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 5, 2, 1);
    assert_unanswered(&bench, &mut two);
    assert_eq!(persistent_out(&mut third, 0, 3, 0, 3, 0).status, GOOD);
    assert_eq!(response(&mut two).bhs[3], CONFLICT);
    assert_eq!(bench.disks[0].passed(), 0, "neither waited for the medium");
}

#[test]
fn what_passed_a_fence_stays_when_the_fence_fails() {
    let bench = Bench::with(|settings| settings.drain_timeout = Duration::from_millis(300));
    let (mut one, mut two) = bench.registered();
    let mut third = bench.login(3);
    assert_eq!(persistent_out(&mut one, 0, 1, 5, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 5, 2, 1);
    assert_eq!(persistent_out(&mut third, 0, 0, 0, 0, 3).status, GOOD);
    assert_eq!(response(&mut two).bhs[3], CHECK_CONDITION);
    assert_eq!((keys(&mut third, 0), held(&mut third, 0)), (vec![1, 2, 3], Some((5, 1))));
}
