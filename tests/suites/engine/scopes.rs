//! What each task management function ends over two connections of a session and in another session, and how that is reported: in
//! the order that ResponseFence asks for, and by the asynchronous message of FastAbort (RFC 7143 §4.2.2.3, §4.2.3, §11.5).

use std::collections::BTreeSet;

use lunkeep_common::pdu::TargetHeader;

use super::*;

const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_TASK_SET: u8 = 4;
const LOGICAL_UNIT_RESET: u8 = 5;
const TARGET_WARM_RESET: u8 = 6;

/// A session of two connections, and a session of another initiator port.
struct Peers {
    one: Peer,
    two: Peer,
    other: Peer,
}

impl Peers {
    fn new(portal: SocketAddr, reporting: &str) -> Self {
        let keys = [("MaxConnections", "2"), ("TaskReporting", reporting)];
        let mut one = Peer::login_with(portal, TARGET, 1, &keys).unwrap();
        assert!(one.is_ready(0) && one.is_ready(1));
        let mut two = Peer::join(portal, TARGET, 1, one.tsih, 7, &[]).unwrap();
        (two.cmd_sn, two.tag) = (one.cmd_sn, one.tag + 0x1000);
        let mut other = Peer::login_with(portal, TARGET, 2, &[("TaskReporting", reporting)]).unwrap();
        assert!(other.is_ready(0) && other.is_ready(1));
        Self { one, two, other }
    }

    /// Writes that wait at the gates: of the first connection to both LUNs, of the second and of the other session to LUN 0.
    fn begin_writes(&mut self, bench: &Bench) -> [u32; 4] {
        let first = begin_write(&mut self.one, 0, 0);
        let second = begin_write(&mut self.one, 1, 0);
        self.two.cmd_sn = self.one.cmd_sn;
        let third = begin_write(&mut self.two, 0, 1);
        let fourth = begin_write(&mut self.other, 0, 2);
        bench.disks[0].await_writes(3);
        bench.disks[1].await_writes(1);
        [first, second, third, fourth]
    }
}

fn bench() -> Bench {
    Bench::with(|config| config.settings.offer.max_connections = 2)
}

/// Acknowledges every status that came on a connection, and wants no answer.
fn acknowledge(peer: &mut Peer) {
    let frame = Frame::new(opcode::NOP_OUT | 0x40)
        .flags(0x80)
        .word(16, u32::MAX)
        .word(20, u32::MAX)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn);
    peer.send(&frame);
}

/// The tasks that were answered with GOOD before a ping that comes after everything that is ready.
fn answers_until_a_ping(peer: &mut Peer, answered: &mut BTreeSet<u32>) {
    let ping = Frame::new(opcode::NOP_OUT | 0x40)
        .flags(0x80)
        .word(16, 0xabcd)
        .word(20, u32::MAX)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn);
    peer.send(&ping);
    loop {
        let frame = peer.receive().expect("the connection stays");
        if matches!(frame.opcode(), opcode::SCSI_RESPONSE | opcode::NOP_IN) {
            peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
        }
        match frame.opcode() {
            opcode::SCSI_RESPONSE if frame.bhs[3] == GOOD => drop(answered.insert(frame.word_at(16))),
            opcode::NOP_IN => return,
            _ => {}
        }
    }
}

#[test]
fn each_function_ends_the_commands_of_its_scope_on_every_connection_and_no_others() {
    // Whether the writes are answered that `begin_writes` begins.
    for (function, answered) in [
        (ABORT_TASK, [true, true, false, true]),
        (ABORT_TASK_SET, [false, true, false, true]),
        (CLEAR_TASK_SET, [false, true, false, false]),
        (LOGICAL_UNIT_RESET, [false, true, false, false]),
        (TARGET_WARM_RESET, [false, false, false, false]),
    ] {
        let bench = bench();
        let mut peers = Peers::new(bench.portal, "RFC3720");
        let tasks = peers.begin_writes(&bench);
        let tag = manage(&mut peers.two, function, 0, tasks[2]);
        // Its answer means that the function was begun, and with it that the writes are aborted.
        peers.two.ping();
        bench.disks.iter().for_each(|disk| disk.open());
        assert_eq!(management_result(&mut peers.two, tag), 0, "function {function}");
        for (connection, own) in [(0, &[0, 1][..]), (1, &[2]), (2, &[3])] {
            let peer = match connection {
                0 => &mut peers.one,
                1 => &mut peers.two,
                _ => &mut peers.other,
            };
            let expected: BTreeSet<_> = own.iter().filter(|&&at| answered[at]).map(|&at| tasks[at]).collect();
            let mut found = BTreeSet::new();
            // Those that go on are answered in their own time; then a last ping would bring what must not come.
            while !found.is_superset(&expected) {
                answers_until_a_ping(peer, &mut found);
            }
            answers_until_a_ping(peer, &mut found);
            assert_eq!(found, expected, "function {function}, connection {connection}");
        }
        assert_eq!(
            bench.disks[0].passed() + bench.disks[1].passed(),
            4,
            "all had begun, and were waited for"
        );
    }
}

#[test]
fn another_session_hears_of_its_ended_commands_where_it_agreed_to_fast_abort() {
    for (reporting, told) in [("FastAbort", true), ("ResponseFence", false), ("RFC3720", false)] {
        let bench = bench();
        let mut peers = Peers::new(bench.portal, reporting);
        let task = begin_write(&mut peers.other, 0, 2);
        bench.disks[0].await_writes(1);
        let tag = manage(&mut peers.two, CLEAR_TASK_SET, 0, u32::MAX);
        // Its answer means that the function was begun, and with it that the write is aborted.
        peers.two.ping();
        bench.disks[0].open();
        if told {
            let message = peers.other.expect(opcode::ASYNC_MESSAGE);
            assert_eq!((message.bhs[36], message.bhs[9]), (5, 0), "all active tasks of LUN 0 are terminated");
            peers.other.exp_stat_sn = message.word_at(24).wrapping_add(1);
        }
        // What is fenced waits for these.
        acknowledge(&mut peers.one);
        acknowledge(&mut peers.two);
        assert_eq!(management_result(&mut peers.two, tag), 0);
        let mut answered = BTreeSet::new();
        answers_until_a_ping(&mut peers.other, &mut answered);
        assert_eq!(answered, BTreeSet::new(), "{reporting}: {task} has no status");
    }
}

#[test]
fn a_fenced_response_leaves_after_the_statuses_of_every_connection_are_acknowledged() {
    let bench = bench();
    let relay = Relay::to(bench.portal);
    let mut peers = Peers::new(relay.portal(), "ResponseFence");
    // Its status is taken and not acknowledged.
    let frame = peers.one.command_frame(0, &[0; 6], 0x81, 0);
    peers.one.send(&frame);
    let status = peers.one.expect(opcode::SCSI_RESPONSE);
    peers.two.cmd_sn = peers.one.cmd_sn;
    let tag = manage(&mut peers.two, LOGICAL_UNIT_RESET, 0, u32::MAX);
    // The other session is told of the reset when it has been done; only its report is still to come.
    while peers.other.command_in(0, &[0; 6], 0).status == GOOD {}
    peers.one.exp_stat_sn = status.word_at(24).wrapping_add(1);
    acknowledge(&mut peers.one);
    assert_eq!(management_result(&mut peers.two, tag), 0);
    let passed = relay.passed();
    let acknowledged = passed.iter().position(|pdu| {
        matches!(pdu, Passed::Request(InitiatorHeader::NopOut(nop)) if nop.exp_stat_sn.0 == peers.one.exp_stat_sn)
    });
    let reported = passed
        .iter()
        .position(|pdu| matches!(pdu, Passed::Response(TargetHeader::TaskManagementResponse(_))));
    assert!(acknowledged.unwrap() < reported.unwrap(), "{passed:?}");
}

#[test]
fn a_connection_that_the_target_drops_is_told_of_on_it_and_on_another() {
    let bench = bench();
    let mut peers = Peers::new(bench.portal, "RFC3720");
    // A login in the full feature phase is a fault that ends a connection.
    peers.two.send(&login_request(0x87, 1, &[]));
    let told = peers.two.until_closed();
    let drops = |frame: &Frame| frame.opcode() == opcode::ASYNC_MESSAGE && frame.bhs[36] == 2;
    assert!(told.iter().any(drops), "{told:?}");
    let message = peers.one.expect(opcode::ASYNC_MESSAGE);
    assert_eq!((message.bhs[36], &message.bhs[38..40]), (2, &[0, 7][..]), "connection 7 is dropped");
    assert_eq!(message.bhs[40..44], [0, 2, 0, 20], "Time2Wait and Time2Retain");
    peers.one.exp_stat_sn = message.word_at(24).wrapping_add(1);
    peers.one.ping();
}
