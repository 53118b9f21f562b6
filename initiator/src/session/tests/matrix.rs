//! Every state of a connection and of its session by everything that can come from the target, from the network, from time and from
//! our own side. A change of behaviour shows as a changed line of the snapshot; a new PDU, message or reason does not compile, or
//! fails, until the matrix has it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lunkeep_common::login::{ConnectionState, SessionState};
use lunkeep_common::pdu::async_message::{AsyncEvent, AsyncMessage};
use lunkeep_common::pdu::login::{LoginResponse, LoginStatus, Stage};
use lunkeep_common::pdu::logout::{LogoutResponse, LogoutResult};
use lunkeep_common::pdu::reject::{Reject, RejectReason};
use lunkeep_common::pdu::text::TextResponse;

use super::*;

/// The connection that everything comes on, unless it was lost.
const CID: Cid = Cid(0);
const OTHER: Cid = Cid(1);
/// Tags of what is under way: a read, and a write that waits for R2T.
const READ: InitiatorTaskTag = InitiatorTaskTag(1);
const WRITE: InitiatorTaskTag = InitiatorTaskTag(2);
const NOBODY: InitiatorTaskTag = InitiatorTaskTag(0x7777);

const STATES: [&str; 8] = [
    "S5 LOGGED_IN, level 0",
    "S5 LOGGED_IN, level 2",
    "S6 IN_LOGOUT, level 0",
    "S7 LOGOUT_REQUESTED, level 0",
    "S1 FREE, logged out",
    "R2 IN_CLEANUP, seen from another connection",
    "S8 CLEANUP_WAIT, Time2Wait is not over",
    "S8 CLEANUP_WAIT, Q4 FAILED",
];

struct Case {
    peer: Peer,
    from: Cid,
    /// Tag of the logout, or of the removal of the lost connection.
    logout: InitiatorTaskTag,
}

fn established(peer: &Peer) -> EstablishedLogin {
    EstablishedLogin {
        tsih: Tsih(1),
        session: None,
        connection: ConnectionParameters::default(),
        portal_group: None,
        target_alias: None,
        cmd_sn: peer.session.cmd_sn(),
        exp_stat_sn: StatSn(500),
        exp_cmd_sn: peer.exp_cmd_sn,
        max_cmd_sn: peer.exp_cmd_sn.plus(peer.window),
    }
}

fn state(name: &str) -> Case {
    let level = if name.contains("level 0") { 0 } else { 2 };
    let parameters = SessionParameters {
        error_recovery_level: level,
        default_time2wait: if name.contains("Time2Wait") { 2 } else { 0 },
        default_time2retain: 20,
        max_connections: 2,
        ..parameters()
    };
    let mut peer = Peer::with(SessionParameters {
        max_outstanding_r2t: if level == 0 { 2 } else { 1 },
        initial_r2t: true,
        immediate_data: false,
        ..parameters
    });
    let ends = name.starts_with("S6") || name.starts_with("S1");
    if !ends {
        peer.submit(Transfer::In(1024));
        peer.submit(Transfer::Out(pattern(4096)));
        assert_eq!((peer.command().header.itt, peer.command().header.itt), (READ, WRITE));
    }
    let mut case = Case { peer, from: CID, logout: InitiatorTaskTag(3) };
    let peer = &mut case.peer;
    match name {
        "S6 IN_LOGOUT, level 0" | "S1 FREE, logged out" => {
            peer.session.logout(peer.now);
            let InitiatorHeader::LogoutRequest(request) = peer.pdu().unwrap().header else { panic!() };
            case.logout = request.itt;
            if name.starts_with("S1") {
                case.peer.send(logout_response(case.logout, LogoutResult::Closed), Bytes::new()).unwrap();
                assert_eq!(case.peer.event(), Some(Event::LoggedOut));
            }
        }
        "S7 LOGOUT_REQUESTED, level 0" => {
            peer.send(message(AsyncEvent::LogoutRequested), Bytes::new()).unwrap();
            assert!(matches!(peer.event(), Some(Event::Message { .. })));
        }
        "R2 IN_CLEANUP, seen from another connection" => {
            let login = established(peer);
            peer.session.add_connection(&login, OTHER, peer.now);
            peer.session.lose_connection(CID, peer.now).unwrap();
            let InitiatorHeader::LogoutRequest(request) = peer.session.poll_pdu(OTHER).unwrap().header else {
                panic!()
            };
            case.logout = request.itt;
            case.from = OTHER;
        }
        "S8 CLEANUP_WAIT, Time2Wait is not over" => {
            let login = established(peer);
            peer.session.add_connection(&login, OTHER, peer.now);
            peer.session.lose_connection(CID, peer.now).unwrap();
            case.from = OTHER;
        }
        "S8 CLEANUP_WAIT, Q4 FAILED" => peer.session.lose_connection(CID, peer.now).unwrap(),
        _ => assert!(name.starts_with("S5"), "no state {name}"),
    }
    case
}

enum What {
    Pdu(Box<TargetHeader>, Bytes),
    /// A PDU whose status number is not the next one.
    Numbered(Box<TargetHeader>, i32),
    Damaged,
    Act(Act),
}

/// Something other than a PDU.
type Act = fn(&mut Case) -> Result<(), SessionError>;

/// Does not compile when a PDU, a message or a result is new; then it belongs into [`events`] too.
fn ordinal(header: &TargetHeader) -> (u8, u8) {
    match header {
        TargetHeader::NopIn(_) => (0, 0),
        TargetHeader::ScsiResponse(_) => (1, 0),
        TargetHeader::TaskManagementResponse(_) => (2, 0),
        TargetHeader::LoginResponse(_) => (3, 0),
        TargetHeader::TextResponse(_) => (4, 0),
        TargetHeader::DataIn(_) => (5, 0),
        TargetHeader::LogoutResponse(response) => {
            let result = match response.response {
                LogoutResult::Closed => 0,
                LogoutResult::CidNotFound => 1,
                LogoutResult::RecoveryNotSupported => 2,
                LogoutResult::CleanupFailed => 3,
            };
            (6, result)
        }
        TargetHeader::R2t(_) => (7, 0),
        TargetHeader::AsyncMessage(message) => {
            let event = match message.event {
                AsyncEvent::ScsiEvent => 0,
                AsyncEvent::LogoutRequested => 1,
                AsyncEvent::ConnectionDropped => 2,
                AsyncEvent::SessionDropped => 3,
                AsyncEvent::NegotiationRequested => 4,
                AsyncEvent::TasksTerminated => 5,
                AsyncEvent::Vendor(_) => 6,
            };
            (8, event)
        }
        TargetHeader::Reject(_) => (9, 0),
    }
}

/// How many of each [`ordinal`] there are.
const KINDS: [u8; 10] = [1, 1, 1, 1, 1, 1, 4, 1, 7, 1];

fn message(event: AsyncEvent) -> AsyncMessage {
    AsyncMessage {
        event,
        vendor_code: 0,
        lun: Lun(0),
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        parameter1: 0,
        parameter2: 2,
        parameter3: 20,
    }
}

fn logout_response(itt: InitiatorTaskTag, response: LogoutResult) -> LogoutResponse {
    let (time2wait, time2retain) = (2, 20);
    LogoutResponse { response, itt, stat_sn: StatSn(0), exp_cmd_sn: N, max_cmd_sn: N, time2wait, time2retain }
}

fn text_response(itt: InitiatorTaskTag) -> TextResponse {
    let ttt = TargetTransferTag::RESERVED;
    TextResponse {
        is_final: true,
        continues: false,
        lun: Lun(0),
        itt,
        ttt,
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
    }
}

fn login_response() -> LoginResponse {
    LoginResponse {
        transit: false,
        continues: false,
        current_stage: Stage::OperationalNegotiation,
        next_stage: Stage::OperationalNegotiation,
        version_max: 0,
        version_active: 0,
        isid: lunkeep_common::name::Isid::default(),
        tsih: Tsih(1),
        itt: NOBODY,
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        status: LoginStatus::Success,
    }
}

/// A Reject of a SCSI command, or of Data-Out.
fn reject(reason: RejectReason, opcode: u8) -> What {
    let mut bhs = vec![0; 48];
    bhs[0] = opcode;
    bhs[1] = if opcode == 1 { 0xc0 } else { 0x80 };
    bhs[16..20].copy_from_slice(&READ.0.to_be_bytes());
    bhs[24..28].copy_from_slice(&100_u32.to_be_bytes());
    let header = Reject { reason, stat_sn: StatSn(0), exp_cmd_sn: N, max_cmd_sn: N, data_sn: DataSn(0) };
    What::Pdu(Box::new(header.into()), bhs.into())
}

fn events(case: &Case) -> Vec<(String, What)> {
    let logout = case.logout;
    let mut events: Vec<(String, What)> = Vec::new();
    let mut pdu = |name: &str, header: TargetHeader, data: Bytes| {
        events.push((name.to_owned(), What::Pdu(Box::new(header), data)));
    };
    let none = Bytes::new;
    pdu("NOP-In that asks", nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag(5)).into(), none());
    pdu("NOP-In that tells", nop_in(InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED).into(), none());
    pdu("NOP-In that answers nothing", nop_in(NOBODY, TargetTransferTag::RESERVED).into(), none());
    pdu("SCSI Response of the write", response(WRITE, Status::Good).into(), none());
    pdu("SCSI Response to nothing", response(NOBODY, Status::Good).into(), none());
    pdu(
        "SCSI Response whose sense does not fit",
        response(WRITE, Status::CheckCondition).into(),
        Bytes::from_static(&[0xff, 0xff, 1]),
    );
    pdu("Data-In, the first", data_in(READ, 0, 0, None).into(), pattern(512));
    pdu("Data-In with a number too high", data_in(READ, 1, 512, None).into(), pattern(512));
    pdu("Data-In at a wrong place", data_in(READ, 0, 8, None).into(), pattern(512));
    pdu("Data-In beyond what was asked", data_in(READ, 0, 0, None).into(), pattern(1500));
    pdu("Data-In for nothing", data_in(NOBODY, 0, 0, None).into(), pattern(512));
    pdu("Data-In for a write", data_in(WRITE, 0, 0, None).into(), pattern(512));
    pdu("R2T", r2t(WRITE, 0, 0, 1024).into(), none());
    pdu("R2T with a number too high", r2t(WRITE, 1, 0, 1024).into(), none());
    pdu("R2T beyond the data", r2t(WRITE, 0, 4000, 1024).into(), none());
    pdu("R2T longer than MaxBurstLength", r2t(WRITE, 0, 0, 4096).into(), none());
    pdu("R2T for a read", r2t(READ, 0, 0, 1024).into(), none());
    pdu("R2T for nothing", r2t(NOBODY, 0, 0, 1024).into(), none());
    pdu(
        "Task Management Response to nothing",
        managed(NOBODY, TaskManagementResult::FunctionComplete).into(),
        none(),
    );
    pdu("Login Response", login_response().into(), none());
    pdu("Text Response to nothing", text_response(NOBODY).into(), none());
    for result in [
        LogoutResult::Closed,
        LogoutResult::CidNotFound,
        LogoutResult::RecoveryNotSupported,
        LogoutResult::CleanupFailed,
    ] {
        pdu(&format!("Logout Response {result:?}"), logout_response(logout, result).into(), none());
    }
    pdu("Logout Response to nothing", logout_response(NOBODY, LogoutResult::Closed).into(), none());
    for event in [
        AsyncEvent::ScsiEvent,
        AsyncEvent::LogoutRequested,
        AsyncEvent::ConnectionDropped,
        AsyncEvent::SessionDropped,
        AsyncEvent::NegotiationRequested,
        AsyncEvent::TasksTerminated,
        AsyncEvent::Vendor(255),
    ] {
        pdu(&format!("Asynchronous Message {event:?}"), message(event).into(), none());
    }
    pdu(
        "Asynchronous Message ConnectionDropped of another",
        AsyncMessage { parameter1: OTHER.0, ..message(AsyncEvent::ConnectionDropped) }.into(),
        none(),
    );
    for (what, by) in [("missing", 1), ("before", -1)] {
        let header = Box::new(response(WRITE, Status::Good).into());
        events.push((format!("SCSI Response with a status {what}"), What::Numbered(header, by)));
    }
    for reason in RejectReason::ALL {
        events.push((format!("Reject {reason:?} of the read"), reject(reason, 1)));
    }
    events.push(("Reject InvalidPduField of Data-Out".into(), reject(RejectReason::InvalidPduField, 5)));
    events
        .push(("Reject ProtocolError of what nobody sent".into(), reject(RejectReason::ProtocolError, 0x3c)));
    events.push(("a damaged PDU".into(), What::Damaged));
    let acts: [(&str, Act); 6] = [
        ("the connection is lost", |case| case.peer.session.lose_connection(case.from, case.peer.now)),
        ("another connection logs in", |case| {
            let login = established(&case.peer);
            let cid = [CID, OTHER, Cid(2)].into_iter().find(|&cid| case.peer.session.is_free(cid)).unwrap();
            case.peer.session.add_connection(&login, cid, case.peer.now);
            Ok(())
        }),
        ("nothing comes for 5 seconds", |case| case.peer.tick(5)),
        ("our side logs out", |case| {
            case.peer.session.logout(case.peer.now);
            Ok(())
        }),
        ("our side aborts the write", |case| {
            case.peer.session.abort(Ticket(2), case.peer.now);
            Ok(())
        }),
        ("our side submits", |case| {
            let request = Request::new([0; 16], Transfer::None);
            let submitted = case.peer.session.submit(Lun(0), request, case.peer.now);
            assert_eq!(submitted.is_err(), case.peer.session.is_ending());
            Ok(())
        }),
    ];
    events.extend(acts.map(|(name, act)| (name.to_owned(), What::Act(act))));
    events
}

fn states(case: &Case) -> String {
    format!("{}, {}", case.peer.session.connection_state(CID), case.peer.session.state())
}

fn play(case: &mut Case, what: What) -> String {
    let before = states(case);
    let taken = match what {
        What::Pdu(header, data) => send_from(case, *header, data, 0),
        What::Numbered(header, by) => send_from(case, *header, Bytes::new(), by),
        What::Damaged => case.peer.session.handle_damaged(case.from, &[0x25; 48], case.peer.now),
        What::Act(act) => act(case),
    };
    let mut out = Vec::new();
    while let Some(event) = case.peer.event() {
        out.push(match event {
            Event::Command { ticket, result: Ok(_) } => format!("command {} ends", ticket.0),
            Event::Command { ticket, result: Err(failure) } => {
                format!("command {} fails: {failure}", ticket.0)
            }
            Event::Message { message, .. } => format!("told: {:?}", message.event),
            Event::LoggedOut => "logged out".into(),
            other => panic!("{other:?}"),
        });
    }
    if let Err(error) = taken {
        // What is queued does not leave any more.
        out.push(format!("the session ends: {error}"));
        return out.join(", ");
    }
    for cid in [CID, OTHER, Cid(2)] {
        while let Some(pdu) = case.peer.session.poll_pdu(cid) {
            use lunkeep_common::pdu::Header as _;
            let on = if cid == CID { String::new() } else { format!(" on CID {}", cid.0) };
            out.push(format!("{}{on}", pdu.header.name()));
        }
    }
    if out.is_empty() {
        out.push("-".into());
    }
    let after = states(case);
    let change = if after == before { String::new() } else { format!(" [{after}]") };
    format!("{}{change}", out.join(", "))
}

/// Hands in a PDU of the connection that the case listens to, with a status number that is off by so many.
fn send_from(case: &mut Case, header: TargetHeader, data: Bytes, by: i32) -> Result<(), SessionError> {
    let peer = &mut case.peer;
    if case.from == OTHER {
        peer.stat_sn = StatSn(500);
    }
    peer.stat_sn = StatSn(peer.stat_sn.0.wrapping_add_signed(by));
    peer.send_on(case.from, header, data)
}

#[test]
fn every_state_answers_every_event() {
    let mut table = String::new();
    for name in STATES {
        let case = state(name);
        writeln!(table, "\n{name} [{}]", states(&case)).unwrap();
        for (at, (event, _)) in events(&case).iter().enumerate() {
            let mut case = state(name);
            let what = events(&case).swap_remove(at).1;
            writeln!(table, "  {event:44} -> {}", play(&mut case, what)).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_matrix_has_every_pdu_message_and_result_and_every_state() {
    let have: BTreeSet<_> = events(&state(STATES[0]))
        .iter()
        .filter_map(|(_, what)| match what {
            What::Pdu(header, _) => Some(ordinal(header)),
            _ => None,
        })
        .collect();
    let all = (0..).zip(KINDS).flat_map(|(pdu, kinds)| (0..kinds).map(move |kind| (pdu, kind)));
    assert_eq!(have, all.collect());
    for connection in ConnectionState::ALL {
        let seen =
            STATES.into_iter().any(|name| state(name).peer.session.connection_state(CID) == connection);
        assert!(seen, "no case is in {connection}");
    }
    for session in SessionState::ALL {
        let seen = STATES.into_iter().any(|name| state(name).peer.session.state() == session);
        assert!(seen, "no case is in {session}");
    }
    for name in STATES {
        let connection = state(name).peer.session.connection_state(CID).to_string();
        assert!(name.starts_with(&connection), "{name} is in {connection}");
    }
}
