//! Task attributes, and tasks that another nexus ends, over real sockets.

use super::*;

const TASK_ABORTED: u8 = 0x40;
/// SCSI command flags: F, and with them R or W, and the task attribute.
const SIMPLE_READ: u8 = 0xc1;
const ORDERED_READ: u8 = 0xc2;
const HEAD_OF_QUEUE_READ: u8 = 0xc3;
const CLEAR_TASK_SET: u8 = 4;
const LOGICAL_UNIT_RESET: u8 = 5;

/// Sends a READ of one block and gives its task tag.
fn begin_read(peer: &mut Peer, flags: u8) -> u32 {
    let tag = peer.tag;
    let frame = peer.command_frame(0, &rw10(0x28, 64, 1), flags, 512);
    peer.send(&frame);
    tag
}

/// The next answer of a command: its tag and its status.
fn next_answer(peer: &mut Peer) -> (u32, u8) {
    loop {
        let frame = peer.receive().expect("an answer");
        let ends = match frame.opcode() {
            opcode::DATA_IN => frame.bhs[1] & 1 != 0,
            opcode::SCSI_RESPONSE => true,
            _ => false,
        };
        if ends {
            peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
            return (frame.word_at(16), frame.bhs[3]);
        }
    }
}

/// Registers with a key of its own: a command that changes who has access.
fn register(peer: &mut Peer) -> u8 {
    let mut list = [0; 24];
    list[15] = 7;
    peer.command_out(0, &[0x5f, 0x06, 0, 0, 0, 0, 0, 0, 24, 0], &list).status
}

/// Sets bits in a byte of the control mode page, counted from its beginning.
fn set_control(peer: &mut Peer, byte: usize, bits: u8) {
    let mut list = peer.command_in(0, &[0x1a, 8, 0x0a, 0, 0xff, 0], 0xff).data;
    (list[0], list[4], list[4 + byte]) = (0, 0x0a, list[4 + byte] | bits);
    assert_eq!(peer.command_out(0, &[0x15, 0x10, 0, 0, 16, 0], &list).status, GOOD);
}

/// Turns TAS on, and takes the unit attention of that from the other nexus.
fn turn_tas_on(peer: &mut Peer, other: &mut Peer) {
    set_control(peer, 5, 0x40);
    assert_eq!(other.command_in(0, &[0; 6], 0).sense_code(), Some((6, 0x2a, 1)));
}

#[test]
fn an_ordered_command_waits_for_older_ones_and_younger_ones_wait_for_it_but_a_registration_does_not() {
    let bench = Bench::new();
    let (mut owner, mut other) = (bench.login(1), bench.login(2));
    let write = begin_write(&mut owner, 0, 0);
    bench.disks[0].await_writes(1);
    let ordered = begin_read(&mut owner, ORDERED_READ);
    // The owner's ping is answered in its turn, so the ordered read is in the task set before the other's is.
    stays_unanswered(&mut owner);
    let simple = begin_read(&mut other, SIMPLE_READ);
    stays_unanswered(&mut other);
    assert_eq!(register(&mut other), GOOD);
    let head = begin_read(&mut other, HEAD_OF_QUEUE_READ);
    assert_eq!(next_answer(&mut other), (head, GOOD), "it passes all");
    bench.disks[0].open();
    assert_eq!([next_answer(&mut owner), next_answer(&mut owner)], [(write, GOOD), (ordered, GOOD)]);
    assert_eq!(next_answer(&mut other), (simple, GOOD));
}

#[test]
fn when_an_ordered_command_is_aborted_those_behind_it_go_on() {
    let bench = Bench::new();
    let (mut owner, mut other) = (bench.login(1), bench.login(2));
    begin_write(&mut other, 0, 0);
    bench.disks[0].await_writes(1);
    let ordered = begin_read(&mut owner, ORDERED_READ);
    stays_unanswered(&mut owner);
    let behind = begin_read(&mut other, SIMPLE_READ);
    stays_unanswered(&mut other);
    let abort = manage(&mut owner, 1, 0, ordered);
    assert_eq!(management_result(&mut owner, abort), 0);
    assert_eq!(next_answer(&mut other), (behind, GOOD), "the write is at the gate as it was");
    assert_eq!(bench.disks[0].passed(), 0);
}

#[test]
fn a_session_that_ends_lets_those_behind_its_ordered_command_go_on() {
    let bench = Bench::new();
    let (mut owner, mut other) = (bench.login(1), bench.login(2));
    begin_write(&mut other, 0, 0);
    bench.disks[0].await_writes(1);
    begin_read(&mut owner, ORDERED_READ);
    stays_unanswered(&mut owner);
    let behind = begin_read(&mut other, SIMPLE_READ);
    stays_unanswered(&mut other);
    drop(owner);
    assert_eq!(next_answer(&mut other), (behind, GOOD));
}

#[test]
fn a_long_line_of_ordered_commands_runs_to_its_end() {
    let bench = Bench::new();
    let (mut owner, mut other) = (bench.login(1), bench.login(2));
    begin_write(&mut other, 0, 0);
    bench.disks[0].await_writes(1);
    let line: Vec<_> = (0..100).map(|_| (begin_read(&mut owner, ORDERED_READ), GOOD)).collect();
    stays_unanswered(&mut owner);
    bench.disks[0].open();
    let answers: Vec<_> = line.iter().map(|_| next_answer(&mut owner)).collect();
    assert_eq!(answers, line);
}

#[test]
fn with_tas_commands_that_another_nexus_ends_are_answered_with_task_aborted() {
    for function in [CLEAR_TASK_SET, LOGICAL_UNIT_RESET] {
        let bench = Bench::new();
        let (mut owner, mut other) = (bench.login(1), bench.login(2));
        turn_tas_on(&mut other, &mut owner);
        let write = begin_write(&mut owner, 0, 0);
        begin_write(&mut other, 0, 8);
        bench.disks[0].await_writes(2);
        let clear = manage(&mut other, function, 0, u32::MAX);
        stays_unanswered(&mut owner);
        bench.disks[0].open();
        assert_eq!(next_answer(&mut owner), (write, TASK_ABORTED), "when it has left the medium");
        assert_eq!(management_result(&mut other, clear), 0, "its own write is not answered at all");
        let told = (function == LOGICAL_UNIT_RESET).then_some((6, 0x29, 3));
        assert_eq!(owner.command_in(0, &[0; 6], 0).sense_code(), told);
    }
}

#[test]
fn without_tas_they_are_not_answered_and_a_unit_attention_tells_of_it() {
    let bench = Bench::new();
    let (mut owner, mut other) = (bench.login(1), bench.login(2));
    begin_write(&mut owner, 0, 0);
    begin_write(&mut other, 0, 8);
    bench.disks[0].await_writes(2);
    let clear = manage(&mut other, CLEAR_TASK_SET, 0, u32::MAX);
    stays_unanswered(&mut other);
    bench.disks[0].open();
    assert_eq!(management_result(&mut other, clear), 0);
    let answer = owner.command_in(0, &[0; 6], 0);
    assert_eq!((answer.status, answer.sense_code()), (CHECK_CONDITION, Some((6, 0x2f, 0))));
    assert_eq!(other.command_in(0, &[0; 6], 0).status, GOOD);
}

#[test]
fn preempt_and_abort_ends_commands_with_or_without_a_status_as_tas_says() {
    for tas in [true, false] {
        let bench = Bench::new();
        let (mut owner, mut other) = (bench.login(1), bench.login(2));
        if tas {
            turn_tas_on(&mut other, &mut owner);
        }
        let key = |number: u8, service_action: u8| {
            let mut list = [0; 24];
            (list[7], list[15]) = (number, service_action);
            list
        };
        let out = |action: u8, kind: u8| [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
        assert_eq!(owner.command_out(0, &out(0, 0), &key(0, 1)).status, GOOD);
        assert_eq!(other.command_out(0, &out(0, 0), &key(0, 2)).status, GOOD);
        assert_eq!(owner.command_out(0, &out(1, 5), &key(1, 0)).status, GOOD);
        let write = begin_write(&mut owner, 0, 0);
        bench.disks[0].await_writes(1);
        let tag = other.tag;
        let preempt = other.command_frame(0, &out(5, 5), 0xa1, 24).data(key(2, 1));
        other.send(&preempt);
        stays_unanswered(&mut other);
        bench.disks[0].open();
        assert_eq!(next_answer(&mut other), (tag, GOOD));
        if tas {
            assert_eq!(next_answer(&mut owner), (write, TASK_ABORTED));
        }
        let told: Vec<_> = std::iter::from_fn(|| owner.command_in(0, &[0; 6], 0).sense_code()).collect();
        assert_eq!(told.contains(&(6, 0x2f, 0)), !tas, "{told:02x?}");
        assert!(told.contains(&(6, 0x2a, 5)), "{told:02x?}");
    }
}

#[test]
fn sense_data_that_the_transport_makes_is_laid_out_as_d_sense_says() {
    for (d_sense, code) in [(false, 0x70), (true, 0x72)] {
        let bench = Bench::new();
        let mut peer = bench.login(1);
        if d_sense {
            set_control(&mut peer, 2, 0x04);
        }
        let task = begin_write(&mut peer, 0, 0);
        bench.disks[0].await_writes(1);
        peer.send(&Frame::new(opcode::DATA_OUT).word(16, task).word(20, u32::MAX).data(vec![1; BLOCK]));
        stays_unanswered(&mut peer);
        bench.disks[0].open();
        let answer = peer.expect(opcode::SCSI_RESPONSE);
        assert_eq!((answer.word_at(16), answer.bhs[3]), (task, CHECK_CONDITION));
        assert_eq!(answer.data[2] & 0x7f, code);
    }
}
