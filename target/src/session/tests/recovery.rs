//! What is sent again, what is asked for again, and what is held back (RFC 7143 §4.2.2.3, §7, §11.16).

use lunkeep_common::login::TaskReporting;
use lunkeep_common::pdu::async_message::AsyncEvent;
use lunkeep_common::pdu::data_in::DataIn;
use lunkeep_common::pdu::snack::SnackKind;

use super::*;

const OTHER: Cid = Cid(2);

/// A session at a level, with segments of 512 bytes and sequences of 1024.
fn at_level(level: u8) -> Peer {
    Peer::new(SessionKind::Normal, |parameters, connection, _| {
        parameters.error_recovery_level = level;
        parameters.max_burst_length = 1024;
        parameters.default_time2wait = 0;
        connection.peer_max_recv_data_segment_length = 512;
    })
}

fn snack(peer: &mut Peer, kind: SnackKind, itt: u32, ttt: u32, (beg_run, run_length): (u32, u32)) {
    let (itt, ttt) = (InitiatorTaskTag(itt), TargetTransferTag(ttt));
    let exp_stat_sn = StatSn(0);
    peer.send(SnackRequest { kind, lun: Lun(0), itt, ttt, exp_stat_sn, beg_run, run_length }, &[]);
}

/// A NOP-Out on a connection that acknowledges statuses and wants no answer.
fn acknowledge(peer: &mut Peer, cid: Cid, exp_stat_sn: StatSn) {
    let (itt, ttt) = (InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED);
    let header = NopOut { immediate: true, lun: Lun(0), itt, ttt, cmd_sn: peer.cmd_sn, exp_stat_sn };
    let raw = RawPdu { bhs: header.to_bhs(), ahs: Bytes::new(), data: Bytes::new() };
    peer.session.handle_pdu(cid, raw, peer.now).unwrap();
}

fn data_ins(pdus: &[TargetPdu]) -> Vec<&DataIn> {
    let data_in = |pdu| match pdu {
        &TargetPdu { header: TargetHeader::DataIn(ref header), .. } => Some(header),
        _ => None,
    };
    pdus.iter().filter_map(data_in).collect()
}

/// The PDUs without the window, which is always the present one.
fn windowless(mut pdus: Vec<TargetPdu>) -> Vec<TargetPdu> {
    for pdu in &mut pdus {
        match &mut pdu.header {
            TargetHeader::DataIn(header) => header.max_cmd_sn = CmdSn(0),
            TargetHeader::ScsiResponse(header) => header.max_cmd_sn = CmdSn(0),
            other => panic!("{other:?}"),
        }
    }
    pdus
}

/// An answered read of 2048 bytes, and what was sent for it.
fn answered_read(peer: &mut Peer) -> Vec<TargetPdu> {
    let task = peer.read(7, 2048);
    peer.good(task, &[9; 2048]);
    peer.sent()
}

#[test]
fn data_and_status_are_sent_again_as_they_were_until_they_are_acknowledged() {
    let mut peer = at_level(1);
    let sent = windowless(answered_read(&mut peer));
    assert_eq!(sent.len(), 5, "status has a PDU of its own");
    snack(&mut peer, SnackKind::DataOrR2t, 7, u32::MAX, (1, 2));
    assert_eq!(windowless(peer.sent()), sent[1..3]);
    snack(&mut peer, SnackKind::DataOrR2t, 7, u32::MAX, (3, 2));
    assert_eq!(peer.rejected(), RejectReason::ProtocolError, "there is no fifth piece");
    snack(&mut peer, SnackKind::Status, u32::MAX, u32::MAX, (100, 1));
    assert_eq!(windowless(peer.sent()), sent[4..]);
    acknowledge(&mut peer, CID, StatSn(101));
    snack(&mut peer, SnackKind::Status, u32::MAX, u32::MAX, (100, 1));
    assert_eq!(peer.rejected(), RejectReason::ProtocolError, "it was acknowledged");
    snack(&mut peer, SnackKind::DataOrR2t, 7, u32::MAX, (0, 0));
    assert_eq!(peer.rejected(), RejectReason::ProtocolError, "and so was its data");
}

#[test]
fn an_acknowledgment_of_data_is_asked_for_between_sequences_and_moves_the_start() {
    let mut peer = at_level(1);
    let sent = answered_read(&mut peer);
    let asks: Vec<_> = data_ins(&sent).iter().map(|header| header.acknowledge).collect();
    assert_eq!(asks, [false, true, false, false]);
    let ttt = data_ins(&sent)[1].ttt.0;
    snack(&mut peer, SnackKind::DataAck, u32::MAX, ttt, (5, 0));
    assert_eq!(peer.rejected(), RejectReason::InvalidDataAck);
    snack(&mut peer, SnackKind::DataAck, u32::MAX, ttt, (2, 0));
    snack(&mut peer, SnackKind::DataOrR2t, 7, u32::MAX, (1, 1));
    assert_eq!(peer.rejected(), RejectReason::ProtocolError);
}

#[test]
fn r_data_cuts_the_rest_anew_and_ends_with_the_response_under_its_number_and_the_snack_tag() {
    let mut peer = at_level(1);
    let sent = answered_read(&mut peer);
    let ttt = data_ins(&sent)[1].ttt.0;
    snack(&mut peer, SnackKind::DataAck, u32::MAX, ttt, (2, 0));
    peer.session.connection_mut(CID).unwrap().parameters.peer_max_recv_data_segment_length = 600;
    snack(&mut peer, SnackKind::RData, 7, 0x55, (0, 0));
    let again = peer.sent();
    let places: Vec<_> =
        data_ins(&again).iter().map(|header| (header.data_sn.0, header.buffer_offset)).collect();
    assert_eq!(places, [(2, 1024), (3, 1624)]);
    let Some(TargetHeader::ScsiResponse(response)) = again.last().map(|pdu| &pdu.header) else {
        panic!("{again:?}")
    };
    assert_eq!((response.stat_sn, response.snack_tag, response.exp_data_sn), (StatSn(100), 0x55, DataSn(4)));
    snack(&mut peer, SnackKind::Status, u32::MAX, u32::MAX, (100, 1));
    assert_eq!(Some(&peer.sent_one()), again.last(), "and so when it is asked for alone");
}

#[test]
fn an_r2t_is_sent_again_and_one_that_was_not_sent_cannot_be() {
    let mut peer = at_level(1);
    let task = peer.write(7, 2048, &[], true);
    peer.session.solicit(task, 2048);
    let r2t = peer.sent_one();
    snack(&mut peer, SnackKind::DataOrR2t, 7, u32::MAX, (0, 0));
    assert_eq!(peer.sent_one(), r2t);
    snack(&mut peer, SnackKind::DataOrR2t, 7, u32::MAX, (1, 1));
    assert_eq!(peer.rejected(), RejectReason::ProtocolError);
}

#[test]
fn a_hole_in_a_sequence_is_asked_for_again_at_its_end_and_nothing_is_taken_twice() {
    let mut peer = at_level(1);
    let task = peer.write(7, 1024, &[], true);
    peer.session.solicit(task, 1024);
    let [(0, 1024, ttt)] = r2ts(&peer.sent())[..] else { panic!() };
    peer.data_out(7, ttt, 0, 0, &[1; 256], false);
    let damaged = DataOut {
        is_final: false,
        lun: Lun(3 << 48),
        itt: InitiatorTaskTag(7),
        ttt,
        exp_stat_sn: StatSn(0),
        data_sn: DataSn(1),
        buffer_offset: 256,
    };
    peer.session.handle_data_digest_error(CID, damaged.to_bhs(), peer.now).unwrap();
    assert_eq!(peer.rejected(), RejectReason::DataDigestError);
    peer.data_out(7, ttt, 2, 512, &[1; 256], false);
    assert_eq!(peer.sent(), [], "the sequence goes on");
    peer.data_out(7, ttt, 3, 768, &[1; 256], true);
    let [(256, 768, recovery)] = r2ts(&peer.sent())[..] else { panic!() };
    peer.data_out(7, ttt, 1, 256, &[8; 768], true);
    assert_eq!(peer.session.poll_event(), None, "the old tag is not taken any more");
    peer.data_out(7, recovery, 0, 256, &[1; 768], true);
    assert_eq!(delivered(&mut peer), [1; 1024]);
}

#[test]
fn silence_repeats_the_r2t_once_and_then_asks_under_a_new_tag() {
    let mut peer = at_level(1);
    let task = peer.write(7, 512, &[], true);
    peer.session.solicit(task, 512);
    let first = peer.sent_one();
    for expected in [true, false] {
        let at = peer.session.poll_timeout(CID, peer.now).unwrap();
        assert_eq!(at, peer.now + Duration::from_secs(1));
        peer.now = at;
        peer.session.handle_timeout(CID, peer.now).unwrap();
        let again = peer.sent_one();
        assert_eq!(again == first, expected);
    }
}

#[test]
fn a_command_whose_data_never_comes_is_given_up() {
    let mut peer = Peer::new(SessionKind::Normal, |parameters, _, settings| {
        parameters.error_recovery_level = 1;
        settings.ping_timeout = Duration::from_secs(600);
    });
    let task = peer.write(7, 512, &[], true);
    peer.session.solicit(task, 512);
    for _ in 0..=crate::limits::RECOVERIES_MAX {
        peer.now = peer.session.poll_timeout(CID, peer.now).unwrap();
        peer.session.handle_timeout(CID, peer.now).unwrap();
    }
    assert!(matches!(peer.session.poll_event(), Some(Event::Abandon { task: ended, .. }) if ended == task));
}

#[test]
fn an_unacknowledged_status_makes_the_target_tell_its_numbers() {
    let mut peer = at_level(1);
    let task = peer.read(7, 0);
    peer.good(task, &[]);
    peer.sent_one();
    peer.now = peer.session.poll_timeout(CID, peer.now).unwrap();
    peer.session.handle_timeout(CID, peer.now).unwrap();
    let TargetHeader::NopIn(nop) = peer.sent_one().header else { panic!() };
    assert_eq!(nop.stat_sn, StatSn(101), "the next one: what is before it can be asked for");
    acknowledge(&mut peer, CID, StatSn(101));
    assert!(peer.session.poll_timeout(CID, peer.now).unwrap() > peer.now + Duration::from_secs(1));
}

#[test]
fn an_initiator_that_acknowledges_nothing_gets_nothing_more() {
    let mut peer = Peer::new(SessionKind::Normal, |parameters, _, settings| {
        parameters.error_recovery_level = 1;
        settings.queue_depth = 2000;
    });
    let max = crate::limits::STATUSES_RETAINED_MAX;
    for itt in 0..=u32::try_from(max).unwrap() {
        let task = peer.read(itt, 0);
        peer.good(task, &[]);
    }
    assert_eq!(peer.sent().len(), max);
    acknowledge(&mut peer, CID, StatSn(101));
    assert_eq!(peer.sent().len(), 1);
}

fn with_two_connections(reporting: TaskReporting) -> Peer {
    let mut peer = Peer::new(SessionKind::Normal, |parameters, _, _| {
        parameters.max_connections = 2;
        parameters.task_reporting = reporting;
    });
    let directory = Arc::new(Listing(1));
    let parameters = ConnectionParameters::default();
    peer.session
        .add_connection(NewConnection { cid: OTHER, parameters, stat_sn: StatSn(500), directory }, peer.now);
    peer
}

#[test]
fn a_fenced_response_waits_for_what_is_before_it_and_holds_what_is_after_it() {
    for (reporting, fences) in [(TaskReporting::Rfc3720, false), (TaskReporting::ResponseFence, true)] {
        let mut peer = with_two_connections(reporting);
        let before = peer.read(7, 0);
        peer.good(before, &[]);
        peer.sent_one();
        let header = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::LogicalUnitReset,
            lun: Lun(3 << 48),
            itt: InitiatorTaskTag(50),
            referenced_task_tag: InitiatorTaskTag::RESERVED,
            cmd_sn: peer.cmd_sn,
            exp_stat_sn: StatSn(500),
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(0),
        };
        let raw = RawPdu { bhs: header.to_bhs(), ahs: Bytes::new(), data: Bytes::new() };
        peer.session.handle_pdu(OTHER, raw, peer.now).unwrap();
        peer.session.poll_event();
        peer.session.task_management_done(
            OTHER,
            InitiatorTaskTag(50),
            TaskManagementResult::FunctionComplete,
        );
        let after = peer.read(8, 0);
        peer.good(after, &[]);
        if !fences {
            assert!(peer.session.poll_transmit(OTHER).is_some() && peer.session.poll_transmit(CID).is_some());
            continue;
        }
        assert_eq!(peer.session.poll_transmit(OTHER), None, "an earlier status is not acknowledged");
        acknowledge(&mut peer, CID, StatSn(101));
        assert!(peer.session.poll_transmit(OTHER).is_some());
        assert_eq!(peer.session.poll_transmit(CID), None, "the fence is not acknowledged");
        acknowledge(&mut peer, OTHER, StatSn(501));
        assert!(peer.session.poll_transmit(CID).is_some());
    }
}

#[test]
fn third_parties_hear_of_ended_tasks_where_fast_abort_was_agreed() {
    for (reporting, told) in [(TaskReporting::ResponseFence, false), (TaskReporting::FastAbort, true)] {
        let mut peer = with_two_connections(reporting);
        let task = peer.read(7, 512);
        let (lun, cid) = peer.session.allegiance(task).unwrap();
        peer.session.tasks_terminated(lun, &[cid]);
        let event = match peer.sent().pop().map(|pdu| pdu.header) {
            Some(TargetHeader::AsyncMessage(message)) => Some((message.event, message.lun)),
            _ => None,
        };
        assert_eq!(event, told.then_some((AsyncEvent::TasksTerminated, lun)));
    }
}

#[test]
fn unsolicited_data_may_come_before_the_turn_of_its_command() {
    let mut peer = with_two_connections(TaskReporting::Rfc3720);
    let first = peer.command(7, 0);
    let second = ScsiCommand { write: true, is_final: false, ..peer.command(8, 512) };
    peer.send(second, &[]);
    peer.data_out(8, TargetTransferTag::RESERVED, 0, 0, &[3; 512], true);
    assert_eq!(peer.session.poll_event(), None);
    let raw = RawPdu { bhs: first.to_bhs(), ahs: Bytes::new(), data: Bytes::new() };
    peer.session.handle_pdu(OTHER, raw, peer.now).unwrap();
    let commands: Vec<_> = std::iter::from_fn(|| peer.session.poll_event()).collect();
    let [Event::Command(_), Event::Command(write)] = &commands[..] else { panic!("{commands:?}") };
    peer.session.solicit(write.task, 512);
    assert_eq!(delivered(&mut peer), [3; 512]);
}

#[test]
fn an_abort_of_a_command_that_is_still_to_come_takes_its_place() {
    let mut peer = Peer::normal();
    let missing = peer.command(7, 0);
    let next = peer.command(8, 0);
    peer.send(next, &[]);
    let header = TaskManagementRequest {
        immediate: true,
        function: TaskManagementFunction::AbortTask,
        lun: Lun(3 << 48),
        itt: InitiatorTaskTag(9),
        referenced_task_tag: InitiatorTaskTag(7),
        cmd_sn: peer.cmd_sn,
        exp_stat_sn: StatSn(0),
        ref_cmd_sn: missing.cmd_sn,
        exp_data_sn: DataSn(0),
    };
    peer.send(header, &[]);
    let Some(Event::Command(request)) = peer.session.poll_event() else { panic!("no command") };
    assert_eq!(request.cdb[0], 8, "the one behind it has its turn");
    let TargetHeader::TaskManagementResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(response.response, TaskManagementResult::FunctionComplete);
    peer.send(missing, &[]);
    assert_eq!(peer.session.poll_event(), None, "it comes too late");
}
