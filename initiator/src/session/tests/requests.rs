//! The command window, aborts, task management, text, pings and rejects.

use lunkeep_common::pdu::reject::Reject;
use lunkeep_common::pdu::task_management::TaskManagementFunction as F;
use lunkeep_common::pdu::text::TextResponse;
use lunkeep_common::pdu::{Header, RejectReason};
use lunkeep_common::text::Key;

use super::*;

#[test]
fn commands_wait_for_the_window_and_keep_their_order() {
    let mut peer = Peer::new();
    for _ in 0..40 {
        peer.submit(Transfer::None);
    }
    let numbers: Vec<_> = (0..32).map(|_| peer.command().header.cmd_sn.0).collect();
    assert_eq!(numbers, (100..132).collect::<Vec<_>>());
    assert_eq!(peer.pdu(), None);
    peer.exp_cmd_sn = CmdSn(104);
    peer.respond(InitiatorTaskTag(1), Status::Good, &[]);
    let numbers: Vec<_> = (0..4).map(|_| peer.command().header.cmd_sn.0).collect();
    assert_eq!(numbers, [132, 133, 134, 135]);
    assert_eq!(peer.pdu(), None);
}

#[test]
fn a_window_that_moves_back_is_ignored() {
    let mut peer = Peer::new();
    (peer.exp_cmd_sn, peer.window) = (CmdSn(90), 5);
    peer.send(nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
    peer.submit(Transfer::None);
    assert_eq!(peer.command().header.cmd_sn, CmdSn(100));
}

#[test]
fn a_window_that_contradicts_itself_is_ignored() {
    let mut peer = Peer::new();
    for _ in 0..32 {
        peer.submit(Transfer::None);
        peer.command();
    }
    peer.submit(Transfer::None);
    // ExpCmdSN is 202, MaxCmdSN 200: one less than a closed window.
    (peer.exp_cmd_sn, peer.window) = (CmdSn(202), u32::MAX - 1);
    peer.send(nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
    assert_eq!(peer.pdu(), None);
    peer.window = u32::MAX;
    peer.send(nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
    assert!(peer.pdu().is_some());
}

#[test]
fn more_commands_than_the_limit_are_refused() {
    let mut peer = Peer::new();
    for _ in 0..TASKS_MAX {
        peer.submit(Transfer::None);
    }
    let request = Request::new([0; 16], Transfer::None);
    assert_eq!(peer.session.submit(Lun(0), request, peer.now), Err(SubmitError::Full));
    let itt = peer.command().header.itt;
    peer.respond(itt, Status::Good, &[]);
    peer.submit(Transfer::None);
    let long = Request::new([0; 16], Transfer::In(TRANSFER_LEN_MAX + 1));
    let itt = peer.command().header.itt;
    peer.respond(itt, Status::Good, &[]);
    assert!(matches!(peer.session.submit(Lun(0), long, peer.now), Err(SubmitError::TooLong { .. })));
}

#[test]
fn a_command_that_was_not_sent_is_given_up_at_once() {
    let mut peer = Peer::new();
    (peer.exp_cmd_sn, peer.window) = (CmdSn(132), 0);
    for _ in 0..32 {
        peer.submit(Transfer::None);
        peer.command();
    }
    let ticket = peer.submit(Transfer::Out(pattern(10)));
    peer.session.abort(ticket, peer.now);
    assert_eq!(peer.result(ticket), Err(TaskFailure::Aborted));
    assert_eq!(peer.pdu(), None);
}

#[test]
fn a_sent_command_ends_as_aborted_only_after_the_target_said_so() {
    for result in [TaskManagementResult::FunctionComplete, TaskManagementResult::TaskDoesNotExist] {
        let mut peer = Peer::new();
        let ticket = peer.submit(Transfer::Out(pattern(10)));
        let command = peer.command().header;
        peer.session.abort(ticket, peer.now);
        let abort = peer.management();
        assert_eq!((abort.function, abort.immediate, abort.cmd_sn), (F::AbortTask, true, CmdSn(101)));
        assert_eq!((abort.referenced_task_tag, abort.ref_cmd_sn), (command.itt, command.cmd_sn));
        assert_eq!(peer.event(), None);
        peer.session.abort(ticket, peer.now);
        assert_eq!(peer.pdu(), None, "one abort is enough");
        peer.send(managed(abort.itt, result), Bytes::new()).unwrap();
        assert_eq!(peer.result(ticket), Err(TaskFailure::Aborted));
    }
}

#[test]
fn a_status_that_comes_before_the_abort_is_what_counts() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::None);
    let itt = peer.command().header.itt;
    peer.session.abort(ticket, peer.now);
    let abort = peer.management();
    peer.respond(itt, Status::Good, &[]);
    assert_eq!(peer.result(ticket).unwrap().status, Status::Good);
    peer.send(managed(abort.itt, TaskManagementResult::TaskDoesNotExist), Bytes::new()).unwrap();
    assert_eq!(peer.event(), None);
}

#[test]
fn an_abort_that_is_refused_leaves_the_command_running() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::None);
    let itt = peer.command().header.itt;
    peer.session.abort(ticket, peer.now);
    let abort = peer.management();
    peer.send(managed(abort.itt, TaskManagementResult::NotSupported), Bytes::new()).unwrap();
    assert_eq!(peer.event(), None);
    peer.respond(itt, Status::Good, &[]);
    assert!(peer.result(ticket).is_ok());
}

#[test]
fn a_reset_ends_the_commands_of_its_unit_that_were_sent_before_it() {
    let mut peer = Peer::new();
    let submit = |peer: &mut Peer, lun| {
        peer.session.submit(Lun(lun), Request::new([0; 16], Transfer::None), peer.now).unwrap()
    };
    let before = submit(&mut peer, 1);
    let other = submit(&mut peer, 2);
    peer.command();
    let other_itt = peer.command().header.itt;
    let reset = peer.session.manage(F::LogicalUnitReset, Lun(1), peer.now).unwrap();
    let request = peer.management();
    let after = submit(&mut peer, 1);
    let after_itt = peer.command().header.itt;
    peer.send(managed(request.itt, TaskManagementResult::FunctionComplete), Bytes::new()).unwrap();
    assert_eq!(peer.result(before), Err(TaskFailure::Aborted));
    let result = TaskManagementResult::FunctionComplete;
    assert_eq!(peer.event(), Some(Event::Management { ticket: reset, result }));
    peer.respond(other_itt, Status::Good, &[]);
    assert!(peer.result(other).is_ok());
    peer.respond(after_itt, Status::Good, &[]);
    assert!(peer.result(after).is_ok());
}

#[test]
fn a_ping_of_the_target_is_answered_with_its_tag_and_unit() {
    let mut peer = Peer::new();
    peer.send(nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag(9)), Bytes::new()).unwrap();
    let answer = peer.nop_out();
    assert_eq!((answer.itt, answer.ttt), (InitiatorTaskTag::RESERVED, TargetTransferTag(9)));
    assert_eq!((answer.lun, answer.immediate), (Lun(7), true));
    peer.send(nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
    assert_eq!(peer.pdu(), None);
}

fn text_response(itt: InitiatorTaskTag, ttt: TargetTransferTag, continues: bool) -> TextResponse {
    let is_final = ttt == TargetTransferTag::RESERVED;
    let (stat_sn, lun) = (StatSn(0), Lun(0));
    TextResponse { is_final, continues, lun, itt, ttt, stat_sn, exp_cmd_sn: N, max_cmd_sn: N }
}

fn send_targets(peer: &mut Peer) -> (Ticket, InitiatorTaskTag) {
    let mut pairs = Pairs::new();
    pairs.push(Key::SendTargets, "All");
    let ticket = peer.session.text(&pairs, peer.now).unwrap();
    let pdu = peer.pdu().unwrap();
    assert_eq!(pdu.data, "SendTargets=All\0");
    let InitiatorHeader::TextRequest(request) = pdu.header else { panic!() };
    assert!(request.is_final && request.ttt == TargetTransferTag::RESERVED);
    (ticket, request.itt)
}

#[test]
fn text_in_several_responses_is_asked_for_until_its_end() {
    let mut peer = Peer::new();
    let (ticket, itt) = send_targets(&mut peer);
    peer.send(text_response(itt, TargetTransferTag(5), true), &b"TargetName=iqn.2026-11.org:"[..]).unwrap();
    let pdu = peer.pdu().unwrap();
    let InitiatorHeader::TextRequest(request) = &pdu.header else { panic!() };
    assert_eq!((request.itt, request.ttt, pdu.data.len()), (itt, TargetTransferTag(5), 0));
    peer.send(text_response(itt, TargetTransferTag::RESERVED, false), &b"a\0TargetAddress=10.0.0.1,1\0"[..])
        .unwrap();
    let Some(Event::Text { ticket: ended, result }) = peer.event() else { panic!() };
    assert_eq!(ended, ticket);
    let pairs = result.unwrap();
    assert_eq!(pairs.get(Key::TargetName), Some("iqn.2026-11.org:a"));
    assert_eq!(pairs.get(Key::TargetAddress), Some("10.0.0.1,1"));
}

#[test]
fn text_that_does_not_end_is_not_followed_for_ever() {
    let mut peer = Peer::new();
    let (_, itt) = send_targets(&mut peer);
    let end = (0..=crate::limits::TEXT_ROUNDS_MAX)
        .find_map(|_| peer.send(text_response(itt, TargetTransferTag(5), true), Bytes::new()).err());
    assert!(matches!(end, Some(SessionError::Text { .. })), "{end:?}");
}

#[test]
fn nonsense_text_fails_the_request_and_not_the_session() {
    let mut peer = Peer::new();
    let (ticket, itt) = send_targets(&mut peer);
    peer.send(text_response(itt, TargetTransferTag::RESERVED, false), &b"no pair"[..]).unwrap();
    assert!(
        matches!(peer.event(), Some(Event::Text { ticket: t, result: Err(TextFailure::Text(_)) }) if t == ticket)
    );
}

fn reject(peer: &mut Peer, reason: RejectReason, rejected: &InitiatorHeader) -> Result<(), SessionError> {
    let reject = Reject { reason, stat_sn: StatSn(0), exp_cmd_sn: N, max_cmd_sn: N, data_sn: DataSn(0) };
    peer.send(reject, Bytes::copy_from_slice(&rejected.to_bhs()))
}

#[test]
fn a_rejected_command_fails_alone_when_its_number_was_used_up() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::None);
    let header = peer.command().header.into();
    reject(&mut peer, RejectReason::InvalidPduField, &header).unwrap();
    let reason = RejectReason::InvalidPduField;
    assert_eq!(peer.result(ticket), Err(TaskFailure::Rejected { reason }));

    peer.submit(Transfer::None);
    let header = peer.command().header.into();
    peer.exp_cmd_sn = CmdSn(101);
    let reason = RejectReason::ProtocolError;
    assert_eq!(reject(&mut peer, reason, &header), Err(SessionError::Rejected { opcode: 1, reason }));
}

#[test]
fn a_rejected_text_request_fails_alone() {
    let mut peer = Peer::new();
    let mut pairs = Pairs::new();
    pairs.push(Key::SendTargets, "All");
    let ticket = peer.session.text(&pairs, peer.now).unwrap();
    let header = peer.pdu().unwrap().header;
    let reason = RejectReason::CommandNotSupported;
    reject(&mut peer, reason, &header).unwrap();
    assert_eq!(peer.event(), Some(Event::Text { ticket, result: Err(TextFailure::Rejected { reason }) }));
}

#[test]
fn a_target_failure_and_unreadable_sense_are_failures_of_the_command() {
    let mut peer = Peer::new();
    let (a, b) = (peer.submit(Transfer::None), peer.submit(Transfer::None));
    let (first, second) = (peer.command().header.itt, peer.command().header.itt);
    let failed =
        ScsiResponse { response: ServiceResponse::TargetFailure, ..response(first, Status::CheckCondition) };
    peer.send(failed, Bytes::new()).unwrap();
    assert_eq!(peer.result(a), Err(TaskFailure::Target { response: 1 }));
    peer.send(response(second, Status::CheckCondition), &[0, 9, 0x70][..]).unwrap();
    assert!(matches!(peer.result(b), Err(TaskFailure::Response(_))));
}
