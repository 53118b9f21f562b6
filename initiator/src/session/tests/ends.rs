//! Time running out, and the ways in which a session ends.

use lunkeep_common::pdu::async_message::{AsyncEvent, AsyncMessage};
use lunkeep_common::pdu::login::{LoginResponse, LoginStatus, Stage};
use lunkeep_common::pdu::logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResult};

use super::*;

#[test]
fn a_command_out_of_time_is_aborted_and_then_ends_as_timed_out() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::Out(pattern(10)));
    peer.command();
    hear(&mut peer, 29);
    peer.tick(29).unwrap();
    assert_eq!(peer.pdu(), None);
    peer.tick(30).unwrap();
    let abort = peer.management();
    assert_eq!(peer.event(), None, "its fate is not known yet");
    peer.send(managed(abort.itt, TaskManagementResult::FunctionComplete), Bytes::new()).unwrap();
    assert_eq!(peer.result(ticket), Err(TaskFailure::TimedOut { sent: true }));
}

#[test]
fn a_command_that_had_no_room_in_time_had_no_effect() {
    let mut peer = Peer::new();
    peer.window = u32::MAX; // MaxCmdSN is ExpCmdSN-1: closed
    for _ in 0..32 {
        peer.submit(Transfer::None);
        peer.command();
    }
    let ticket = peer.submit(Transfer::Out(pattern(10)));
    hear(&mut peer, 29);
    peer.tick(30).unwrap();
    assert_eq!(peer.result(ticket), Err(TaskFailure::TimedOut { sent: false }));
    assert_eq!(peer.event(), None, "those that were sent wait for their aborts");
}

#[test]
fn a_target_that_cannot_abort_loses_the_session() {
    let mut peer = Peer::new();
    peer.submit(Transfer::None);
    peer.command();
    hear(&mut peer, 30);
    peer.tick(30).unwrap();
    let abort = peer.management();
    let result = TaskManagementResult::NotSupported;
    let end = peer.send(managed(abort.itt, result), Bytes::new());
    assert_eq!(end, Err(SessionError::NotAborted { result }));
}

#[test]
fn a_target_that_does_not_answer_an_abort_loses_the_session() {
    let mut peer = Peer::new();
    peer.submit(Transfer::None);
    peer.command();
    hear(&mut peer, 30);
    peer.tick(30).unwrap();
    peer.management();
    assert_eq!(peer.session.poll_time(), Some(peer.start + Duration::from_secs(35)), "the next ping");
    hear(&mut peer, 39);
    peer.tick(39).unwrap();
    assert!(matches!(peer.tick(40), Err(SessionError::Unanswered { what: "ABORT TASK", .. })));
}

/// The target is heard of at this second.
fn hear(peer: &mut Peer, seconds: u64) {
    peer.now = peer.start + Duration::from_secs(seconds);
    peer.send(nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
}

#[test]
fn a_silent_target_is_asked_once_and_then_given_up() {
    let mut peer = Peer::new();
    assert_eq!(peer.session.poll_time(), Some(peer.start + Duration::from_secs(5)));
    peer.tick(4).unwrap();
    assert_eq!(peer.pdu(), None);
    peer.tick(5).unwrap();
    let ping = peer.nop_out();
    assert_eq!((ping.ttt, ping.immediate), (TargetTransferTag::RESERVED, true));
    peer.tick(14).unwrap();
    assert_eq!(peer.pdu(), None);
    assert!(matches!(peer.tick(15), Err(SessionError::Unanswered { what: "NOP-Out", .. })));
}

#[test]
fn an_answered_ping_starts_the_silence_anew() {
    let mut peer = Peer::new();
    peer.tick(5).unwrap();
    let ping = peer.nop_out();
    peer.now = peer.start + Duration::from_secs(8);
    peer.send(nop_in(ping.itt, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
    assert_eq!(peer.session.poll_time(), Some(peer.start + Duration::from_secs(13)));
    assert!(
        peer.send(nop_in(ping.itt, TargetTransferTag::RESERVED), Bytes::new()).is_err(),
        "answered twice"
    );
}

fn logout_request(peer: &mut Peer) -> LogoutRequest {
    let pdu = peer.pdu().expect("a logout was due");
    let InitiatorHeader::LogoutRequest(header) = pdu.header else { panic!("{pdu:?}") };
    header
}

fn logged_out(itt: InitiatorTaskTag, response: LogoutResult) -> LogoutResponse {
    let (time2wait, time2retain) = (0, 0);
    LogoutResponse { response, itt, stat_sn: StatSn(0), exp_cmd_sn: N, max_cmd_sn: N, time2wait, time2retain }
}

#[test]
fn a_logout_waits_for_what_is_under_way_and_takes_nothing_new() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::None);
    let itt = peer.command().header.itt;
    peer.session.logout(peer.now);
    assert_eq!(peer.pdu(), None);
    let request = Request::new([0; 16], Transfer::None);
    assert_eq!(peer.session.submit(Lun(0), request, peer.now), Err(SubmitError::Ending));
    peer.respond(itt, Status::Good, &[]);
    assert!(peer.result(ticket).is_ok());
    let logout = logout_request(&mut peer);
    assert_eq!((logout.reason, logout.immediate), (LogoutReason::CloseSession, true));
    peer.send(logged_out(logout.itt, LogoutResult::Closed), Bytes::new()).unwrap();
    assert_eq!((peer.event(), peer.session.poll_time()), (Some(Event::LoggedOut), None));
}

#[test]
fn a_refused_logout_is_an_error() {
    let mut peer = Peer::new();
    peer.session.logout(peer.now);
    let logout = logout_request(&mut peer);
    let result = LogoutResult::CleanupFailed;
    let end = peer.send(logged_out(logout.itt, result), Bytes::new());
    assert_eq!(end, Err(SessionError::LogoutRefused { result }));
}

fn message(event: AsyncEvent) -> AsyncMessage {
    AsyncMessage {
        event,
        vendor_code: 0,
        lun: Lun(0),
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        parameter1: 0,
        parameter2: 3,
        parameter3: 20,
    }
}

#[test]
fn a_logout_that_the_target_asks_for_is_done_and_told() {
    let mut peer = Peer::new();
    peer.send(message(AsyncEvent::LogoutRequested), Bytes::new()).unwrap();
    assert!(peer.session.is_ending());
    logout_request(&mut peer);
    assert!(matches!(peer.event(), Some(Event::Message { .. })));
}

#[test]
fn a_session_that_the_target_drops_ends_with_the_times_it_gave() {
    for event in [AsyncEvent::ConnectionDropped, AsyncEvent::SessionDropped] {
        let end = Peer::new().send(message(event), Bytes::new());
        assert_eq!(end, Err(SessionError::Dropped { event, time2wait: 3, time2retain: 20 }));
    }
}

#[test]
fn a_negotiation_that_the_target_asks_for_is_offered_empty() {
    let mut peer = Peer::new();
    peer.send(message(AsyncEvent::NegotiationRequested), Bytes::new()).unwrap();
    let pdu = peer.pdu().unwrap();
    assert!(matches!(pdu.header, InitiatorHeader::TextRequest(_)) && pdu.data.is_empty());
}

#[test]
fn events_of_other_kinds_are_told_and_nothing_more() {
    let mut peer = Peer::new();
    for event in [AsyncEvent::ScsiEvent, AsyncEvent::Vendor(255)] {
        peer.send(message(event), &b"sense"[..]).unwrap();
        assert!(matches!(peer.event(), Some(Event::Message { message, data })
            if message.event == event && data == "sense"));
    }
    assert_eq!(peer.pdu(), None);
}

#[test]
fn a_status_number_out_of_order_ends_the_session() {
    for (shift, found) in [(1, StatSn(501)), (u32::MAX, StatSn(499))] {
        let mut peer = Peer::new();
        peer.submit(Transfer::None);
        let itt = peer.command().header.itt;
        peer.stat_sn = peer.stat_sn.plus(shift);
        let end = peer.send(response(itt, Status::Good), Bytes::new());
        assert_eq!(end, Err(SessionError::StatSn { expected: StatSn(500), found }));
        assert_eq!(peer.event(), None);
    }
}

#[test]
fn every_request_confirms_the_statuses_that_came() {
    let mut peer = Peer::new();
    peer.submit(Transfer::None);
    let command = peer.command().header;
    assert_eq!(command.exp_stat_sn, StatSn(500));
    peer.respond(command.itt, Status::Good, &[]);
    peer.submit(Transfer::None);
    assert_eq!(peer.command().header.exp_stat_sn, StatSn(501));
}

#[test]
fn a_login_response_has_no_place_here() {
    let header = LoginResponse {
        transit: false,
        continues: false,
        current_stage: Stage::OperationalNegotiation,
        next_stage: Stage::OperationalNegotiation,
        version_max: 0,
        version_active: 0,
        isid: lunkeep_common::name::Isid::default(),
        tsih: Tsih(1),
        itt: InitiatorTaskTag(0),
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        status: LoginStatus::Success,
    };
    let end = Peer::new().send(header, Bytes::new());
    assert_eq!(end, Err(SessionError::UnexpectedPdu { name: "Login Response" }));
}

#[test]
fn a_response_to_nobody_costs_a_number_and_nothing_else() {
    let mut peer = Peer::new();
    peer.respond(InitiatorTaskTag(77), Status::Good, &[]);
    peer.send(data_in(InitiatorTaskTag(77), 0, 0, None), pattern(8)).unwrap();
    assert_eq!((peer.event(), peer.pdu()), (None, None));
}

/// A session at a level with a second connection.
fn with_two_connections(level: u8) -> Peer {
    let peer_parameters = SessionParameters {
        error_recovery_level: level,
        max_connections: 2,
        default_time2wait: 0,
        default_time2retain: 20,
        ..parameters()
    };
    let mut peer = Peer::with(peer_parameters);
    let login = EstablishedLogin {
        tsih: Tsih(1),
        session: None,
        connection: ConnectionParameters::default(),
        portal_group: None,
        target_alias: None,
        cmd_sn: CmdSn(100),
        exp_stat_sn: StatSn(500),
        exp_cmd_sn: CmdSn(100),
        max_cmd_sn: CmdSn(131),
    };
    peer.session.add_connection(&login, Cid(1), peer.now);
    peer
}

fn logout_on(peer: &mut Peer, cid: Cid) -> LogoutRequest {
    let pdu = peer.session.poll_pdu(cid).expect("a logout was due");
    let InitiatorHeader::LogoutRequest(request) = pdu.header else { panic!("{pdu:?}") };
    request
}

#[test]
fn a_target_may_close_the_other_connections_before_it_answers_the_logout() {
    for level in [0, 2] {
        let mut peer = with_two_connections(level);
        peer.session.logout(peer.now);
        let request = logout_on(&mut peer, Cid(0));
        peer.session.lose_connection(Cid(1), peer.now).unwrap();
        assert_eq!(peer.pdu(), None, "nothing is to be recovered");
        let answer = LogoutResponse {
            response: LogoutResult::Closed,
            itt: request.itt,
            stat_sn: StatSn(0),
            exp_cmd_sn: N,
            max_cmd_sn: N,
            time2wait: 0,
            time2retain: 0,
        };
        peer.send(answer, Bytes::new()).unwrap();
        assert_eq!(peer.event(), Some(Event::LoggedOut));
    }
}

#[test]
fn a_logout_whose_connection_breaks_is_asked_for_on_another_where_that_was_agreed() {
    let mut peer = with_two_connections(0);
    peer.session.logout(peer.now);
    logout_on(&mut peer, Cid(0));
    assert_eq!(peer.session.lose_connection(Cid(0), peer.now), Err(SessionError::Closed));
    let mut peer = with_two_connections(2);
    peer.session.logout(peer.now);
    let first = logout_on(&mut peer, Cid(0));
    peer.session.lose_connection(Cid(0), peer.now).unwrap();
    let again = logout_on(&mut peer, Cid(1));
    assert_eq!((again.reason, again.itt), (LogoutReason::CloseSession, first.itt));
    assert_eq!(peer.session.poll_pdu(Cid(1)), None, "the end of the session ends the lost connection too");
}

#[test]
fn a_connection_that_answers_no_ping_is_given_up_before_the_session_is_where_tasks_are_kept() {
    let mut peer = with_two_connections(2);
    peer.tick(5).unwrap();
    let on_the_second = peer.session.poll_pdu(Cid(1)).expect("a ping");
    assert!(matches!(on_the_second.header, InitiatorHeader::NopOut(_)));
    // The first answers, the second does not.
    let ping = peer.nop_out();
    peer.send(nop_in(ping.itt, TargetTransferTag::RESERVED), Bytes::new()).unwrap();
    peer.tick(15).unwrap();
    assert_eq!(peer.session.connection_count(), 1);
    let pdus: Vec<_> = std::iter::from_fn(|| peer.pdu()).collect();
    let removal = |pdu: &InitiatorPdu| matches!(&pdu.header, InitiatorHeader::LogoutRequest(request) if request.reason == LogoutReason::RemoveForRecovery && request.cid == Cid(1));
    assert!(pdus.iter().any(removal), "{pdus:?}");
}

#[test]
fn what_was_asked_on_a_lost_connection_is_asked_again_at_once_on_the_next() {
    let mut peer = with_two_connections(2);
    peer.submit(Transfer::In(512));
    peer.command();
    peer.session.lose_connection(Cid(0), peer.now).unwrap();
    let removal = logout_on(&mut peer, Cid(1));
    peer.session.lose_connection(Cid(1), peer.now).unwrap();
    let login = EstablishedLogin {
        tsih: Tsih(1),
        session: None,
        connection: ConnectionParameters::default(),
        portal_group: None,
        target_alias: None,
        cmd_sn: CmdSn(101),
        exp_stat_sn: StatSn(7),
        exp_cmd_sn: CmdSn(101),
        max_cmd_sn: CmdSn(131),
    };
    peer.session.add_connection(&login, Cid(2), peer.now);
    let again = logout_on(&mut peer, Cid(2));
    assert_eq!(
        (again.itt, again.cid),
        (removal.itt, Cid(0)),
        "the tasks of the first connection wait for it"
    );
}
