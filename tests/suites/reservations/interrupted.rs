//! What becomes of a fence that waits for the medium when its command is aborted, when the unit is reset, and when one of the two nodes
//! goes away: at the medium, through the engine.
//!
//! Two preempts one, whose write the medium holds back.

use lunkeep_tests::wire::{Frame, Peer, opcode};

use super::bench::{BLOCK, Bench};
use super::fence::{assert_shut_out, assert_unanswered, begin_basic, begin_write, response};
use super::*;

const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_TASK_SET: u8 = 4;
const LOGICAL_UNIT_RESET: u8 = 5;
/// Function complete, and task does not exist.
const COMPLETE: u8 = 0;

const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;

/// Sends a task management function for LUN 0 and waits for nothing.
fn begin_function(peer: &mut Peer, function: u8, referenced: u32, referenced_sn: u32) {
    let frame = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x80 | function)
        .word(16, 0x7777)
        .word(20, referenced)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn)
        .word(32, referenced_sn);
    peer.send(&frame);
}

fn function_response(peer: &mut Peer) -> u8 {
    let frame = peer.expect(opcode::TASK_MANAGEMENT_RESPONSE);
    peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
    frame.bhs[2]
}

fn function(peer: &mut Peer, function: u8) -> u8 {
    begin_function(peer, function, u32::MAX, 0);
    function_response(peer)
}

/// LOGICAL UNIT RESET of LUN 0, to its answer.
pub(super) fn reset(peer: &mut Peer) {
    reset_lun(peer, 0);
}

/// LOGICAL UNIT RESET, to its answer.
pub(super) fn reset_lun(peer: &mut Peer, lun: u8) {
    let frame = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x80 | LOGICAL_UNIT_RESET)
        .put(9, &[lun])
        .word(16, 0x7777)
        .word(20, u32::MAX)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn);
    peer.send(&frame);
    assert_eq!(function_response(peer), COMPLETE);
}

/// ABORT TASK SET on LUN 0: what it is answered with.
pub(super) fn abort_own_tasks(peer: &mut Peer) -> u8 {
    function(peer, ABORT_TASK_SET)
}

/// One holds a reservation for registrants, has a write at the medium, and two waits with a PREEMPT of it. The tag and CmdSN of that.
fn waiting(bench: &Bench, action: u8) -> (Peer, Peer, (u32, u32)) {
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    let fence = (two.tag, two.cmd_sn);
    begin_basic(&mut two, action, 1, 2, 1);
    assert_unanswered(bench, &mut two);
    (one, two, fence)
}

/// Nothing of the fence is in force, and the old holder writes.
#[track_caller]
fn assert_not_fenced(bench: &Bench, one: &mut Peer) {
    let mut reader = bench.login(50);
    assert_eq!((keys(&mut reader, 0), held(&mut reader, 0)), (vec![1, 2], Some((1, 1))));
    bench.disks[0].open();
    let status =
        (0..4).map(|_| one.write_blocks(0, 9, &[7; BLOCK], BLOCK).status).find(|&s| s != CHECK_CONDITION);
    assert_eq!(status, Some(GOOD));
}

#[test]
fn abort_task_gives_a_waiting_fence_up_and_is_answered_while_the_medium_stands_still() {
    for action in [PREEMPT, PREEMPT_AND_ABORT] {
        let bench = Bench::new();
        let (mut one, mut two, (tag, sn)) = waiting(&bench, action);
        begin_function(&mut two, ABORT_TASK, tag, sn);
        assert_eq!(function_response(&mut two), COMPLETE);
        assert_eq!(bench.disks[0].passed(), 0);
        if action == PREEMPT {
            bench.disks[0].open();
            assert_eq!(response(&mut one).bhs[3], GOOD, "its write was admitted and goes on");
        }
        assert_not_fenced(&bench, &mut one);
        // No answer to the PREEMPT is left behind.
        two.ping();
    }
}

#[test]
fn abort_task_set_of_the_fencing_node_gives_its_fence_up_and_the_next_one_goes_on() {
    let bench = Bench::new();
    let (mut one, mut two, _) = waiting(&bench, PREEMPT);
    let mut third = bench.login(3);
    assert_eq!(persistent_out(&mut third, 0, 0, 0, 0, 3).status, GOOD);
    begin_basic(&mut third, PREEMPT, 1, 3, 1);
    assert_unanswered(&bench, &mut third);
    assert_eq!(function(&mut two, ABORT_TASK_SET), COMPLETE);
    assert_unanswered(&bench, &mut third);
    bench.disks[0].open();
    assert_eq!(response(&mut third).bhs[3], GOOD);
    assert_eq!(bench.disks[0].passed(), 1, "the second fence waited for the write as the first one did");
    assert_eq!(response(&mut one).bhs[3], GOOD);
    assert_eq!((keys(&mut third, 0), held(&mut third, 0)), (vec![2, 3], Some((1, 3))));
    assert_shut_out(&mut one);
}

#[test]
fn a_reset_and_a_clear_of_the_task_set_by_a_third_node_end_the_fence_and_wait_for_the_write() {
    for kind in [LOGICAL_UNIT_RESET, CLEAR_TASK_SET] {
        let bench = Bench::new();
        let (mut one, mut two, _) = waiting(&bench, PREEMPT_AND_ABORT);
        let mut third = bench.login(3);
        begin_function(&mut third, kind, u32::MAX, 0);
        third.ping();
        assert_eq!(bench.disks[0].passed(), 0, "and the function is not answered yet");
        bench.disks[0].open();
        assert_eq!(function_response(&mut third), COMPLETE);
        assert_eq!(bench.disks[0].passed(), 1);
        two.ping();
        assert_not_fenced(&bench, &mut one);
    }
}

#[test]
fn a_fencing_node_that_goes_away_has_fenced_nobody() {
    for logs_out in [false, true] {
        let bench = Bench::new();
        let (mut one, two, _) = waiting(&bench, PREEMPT);
        let mut third = bench.login(3);
        assert_eq!(persistent_out(&mut third, 0, 0, 0, 0, 3).status, GOOD);
        begin_basic(&mut third, PREEMPT, 1, 3, 1);
        assert_unanswered(&bench, &mut third);
        if logs_out {
            two.logout();
        } else {
            drop(two);
        }
        // Whoever logs in as the same port comes after all that its last session began.
        let _two = bench.login(2);
        bench.disks[0].open();
        assert_eq!(response(&mut third).bhs[3], GOOD);
        assert_eq!(response(&mut one).bhs[3], GOOD);
        assert_eq!(
            (keys(&mut third, 0), held(&mut third, 0)),
            (vec![2, 3], Some((1, 3))),
            "two is still registered"
        );
        assert_shut_out(&mut one);
    }
}

#[test]
fn a_shut_out_node_that_logs_out_or_aborts_its_write_waits_for_it_and_so_does_the_fence() {
    for logs_out in [false, true] {
        let bench = Bench::new();
        let (mut one, mut two, _) = waiting(&bench, PREEMPT);
        if logs_out {
            let frame = Frame::new(opcode::LOGOUT | 0x40)
                .word(16, one.tag)
                .word(24, one.cmd_sn)
                .word(28, one.exp_stat_sn);
            one.send(&frame);
        } else {
            begin_function(&mut one, ABORT_TASK_SET, u32::MAX, 0);
        }
        assert_unanswered(&bench, &mut two);
        bench.disks[0].open();
        assert_eq!(response(&mut two).bhs[3], GOOD);
        assert_eq!(bench.disks[0].passed(), 1);
        if logs_out {
            one.expect(opcode::LOGOUT_RESPONSE);
        } else {
            assert_eq!(function_response(&mut one), COMPLETE);
        }
        assert_eq!((keys(&mut two, 0), held(&mut two, 0)), (vec![2], Some((1, 2))));
    }
}

#[test]
fn a_shut_out_node_that_comes_back_meanwhile_is_let_in_after_its_write_and_is_shut_out() {
    let bench = Bench::new();
    let (one, mut two, _) = waiting(&bench, PREEMPT);
    drop(one);
    assert_unanswered(&bench, &mut two);
    bench.disks[0].open();
    assert_eq!(response(&mut two).bhs[3], GOOD);
    let mut again = bench.login(1);
    assert_eq!(bench.disks[0].passed(), 1);
    assert_shut_out(&mut again);
}

#[test]
fn reads_that_the_medium_holds_back_hold_no_fence_up() {
    for action in [PREEMPT, PREEMPT_AND_ABORT] {
        let bench = Bench::new();
        bench.disks[0].hold_reads();
        let (mut one, mut two) = bench.registered();
        assert_eq!(persistent_out(&mut one, 0, 1, 3, 1, 0).status, GOOD);
        let frame = one.command_frame(0, &lunkeep_tests::wire::rw10(0x28, 0, 1), 0xc1, 512);
        one.send(&frame);
        bench.disks[0].await_read();
        assert_eq!(persistent_out(&mut two, 0, action, 3, 2, 1).status, GOOD);
        assert_eq!(held(&mut two, 0), Some((3, 2)));
        bench.disks[0].release_reads();
        // What was read before the fence may still be answered, if it was not aborted.
        if action == PREEMPT {
            assert_eq!(one.expect(opcode::DATA_IN).data.len(), BLOCK);
        }
    }
}
