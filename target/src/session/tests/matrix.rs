//! Every state of a connection and of its session by everything that can come from the initiator, from the network, from time and
//! from ourselves. A change of behaviour shows as a changed line of the snapshot; a new PDU, function, reason or state does not
//! compile, or fails, until the matrix has it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use lunkeep_common::login::ConnectionState;
use lunkeep_common::pdu::InitiatorHeader;
use lunkeep_common::pdu::snack::SnackKind;

use super::*;

/// The connection that stays when the other one is lost.
const OTHER: Cid = Cid(2);
/// What everything that is sent about a task is about.
const READ: u32 = 7;
const WRITE: u32 = 8;

/// A session that was brought into a state. Its first connection has a read that is answered and a write that waits for data, unless
/// the state ends tasks.
struct Case {
    name: &'static str,
    peer: Peer,
    /// Where events come from: a connection that was lost cannot send.
    from: Cid,
    ttt: TargetTransferTag,
}

const STATES: [&str; 9] = [
    "S5 LOGGED_IN, level 0",
    "S5 LOGGED_IN, level 2",
    "S5 LOGGED_IN, discovery",
    "S6 IN_LOGOUT, close the connection",
    "S6 IN_LOGOUT, close the session",
    "S7 LOGOUT_REQUESTED",
    "S1 FREE, its logout is answered",
    "S8 CLEANUP_WAIT, seen from another connection",
    "R2 IN_CLEANUP, seen from another connection",
];

/// The session states that no connection can see: only time and a new connection can change them.
const UNSEEN: [&str; 2] = ["Q4 FAILED, level 2", "Q1 FREE, level 0"];

fn session(level: u8, kind: SessionKind) -> Peer {
    let mut peer = Peer::new(kind, |parameters, _, _| {
        parameters.error_recovery_level = level;
        parameters.max_connections = 2;
        parameters.default_time2wait = 0;
        parameters.default_time2retain = 20;
    });
    if kind == SessionKind::Normal {
        peer.session.add_connection(other_connection(), peer.now);
    }
    peer
}

fn other_connection() -> NewConnection {
    let directory = Arc::new(Listing(1));
    NewConnection { cid: OTHER, parameters: ConnectionParameters::default(), stat_sn: StatSn(500), directory }
}

fn logout(peer: &Peer, from: Cid, itt: u32, reason: LogoutReason, cid: Cid) -> (Cid, LogoutRequest) {
    let (itt, cmd_sn, exp_stat_sn) = (InitiatorTaskTag(itt), peer.cmd_sn, StatSn(0));
    (from, LogoutRequest { immediate: true, reason, itt, cid, cmd_sn, exp_stat_sn })
}

fn raw(header: impl Header, data: &[u8]) -> RawPdu {
    RawPdu { bhs: header.to_bhs(), ahs: Bytes::new(), data: Bytes::copy_from_slice(data) }
}

fn state(name: &'static str) -> Case {
    let level = if name.contains("level 0") || name.contains("discovery") { 0 } else { 2 };
    let kind = if name.contains("discovery") { SessionKind::Discovery } else { SessionKind::Normal };
    let mut peer = session(level, kind);
    let mut from = CID;
    let mut ttt = TargetTransferTag(0x7777);
    if kind == SessionKind::Normal {
        let read = peer.read(READ, 512);
        peer.good(read, &[1; 512]);
        peer.sent();
        let write = peer.write(WRITE, 512, &[], true);
        peer.session.solicit(write, 512);
        ttt = r2ts(&peer.sent())[0].2;
    }
    let ask = |peer: &mut Peer, (from, request): (Cid, LogoutRequest)| {
        peer.session.handle_pdu(from, raw(request, &[]), peer.now).unwrap();
        assert!(matches!(peer.session.poll_event(), Some(Event::Logout { .. })));
    };
    match name {
        "S6 IN_LOGOUT, close the connection" => {
            let request = logout(&peer, CID, 60, LogoutReason::CloseConnection, CID);
            ask(&mut peer, request);
        }
        "S6 IN_LOGOUT, close the session" => {
            let request = logout(&peer, CID, 60, LogoutReason::CloseSession, CID);
            ask(&mut peer, request);
        }
        "S7 LOGOUT_REQUESTED" => {
            peer.session.request_logout(5);
            peer.sent();
            while peer.session.poll_transmit(OTHER).is_some() {}
        }
        "S1 FREE, its logout is answered" => {
            let request = logout(&peer, CID, 60, LogoutReason::CloseConnection, CID);
            ask(&mut peer, request);
            peer.session.end_tasks_of(CID);
            let itt = InitiatorTaskTag(60);
            peer.session.logout_done(CID, itt, LogoutResult::Closed, LogoutEnds::Connection);
            peer.sent();
        }
        "S8 CLEANUP_WAIT, seen from another connection" | "R2 IN_CLEANUP, seen from another connection" => {
            peer.session.remove_connection(CID, peer.now);
            from = OTHER;
            if name.starts_with("R2") {
                let request = logout(&peer, OTHER, 60, LogoutReason::RemoveForRecovery, CID);
                ask(&mut peer, request);
            }
        }
        "Q4 FAILED, level 2" | "Q1 FREE, level 0" => {
            peer.session.remove_connection(CID, peer.now);
            peer.session.remove_connection(OTHER, peer.now);
        }
        _ => assert!(name.starts_with("S5"), "no state {name}"),
    }
    Case { name, peer, from, ttt }
}

/// What comes.
enum What {
    Pdu(InitiatorHeader, &'static [u8]),
    Damaged(InitiatorHeader),
    /// A header that no PDU has.
    Opcode(u8),
    /// Something other than a PDU.
    Act(fn(&mut Case)),
}

const FUNCTIONS: [TaskManagementFunction; 9] = [
    TaskManagementFunction::AbortTask,
    TaskManagementFunction::AbortTaskSet,
    TaskManagementFunction::ClearAca,
    TaskManagementFunction::ClearTaskSet,
    TaskManagementFunction::LogicalUnitReset,
    TaskManagementFunction::TargetWarmReset,
    TaskManagementFunction::TargetColdReset,
    TaskManagementFunction::TaskReassign,
    TaskManagementFunction::Other(14),
];

/// Does not compile when a function, a kind, a reason or a PDU is new; then it belongs into [`events`] too. The tests hold the
/// events against these numbers.
fn ordinal(header: &InitiatorHeader) -> (u8, u8) {
    use TaskManagementFunction as F;
    match header {
        InitiatorHeader::NopOut(_) => (0, 0),
        InitiatorHeader::ScsiCommand(_) => (1, 0),
        InitiatorHeader::TaskManagementRequest(request) => {
            let function = match request.function {
                F::AbortTask => 0,
                F::AbortTaskSet => 1,
                F::ClearAca => 2,
                F::ClearTaskSet => 3,
                F::LogicalUnitReset => 4,
                F::TargetWarmReset => 5,
                F::TargetColdReset => 6,
                F::TaskReassign => 7,
                F::Other(_) => 8,
            };
            (2, function)
        }
        InitiatorHeader::LoginRequest(_) => (3, 0),
        InitiatorHeader::TextRequest(_) => (4, 0),
        InitiatorHeader::DataOut(_) => (5, 0),
        InitiatorHeader::LogoutRequest(request) => {
            let reason = match request.reason {
                LogoutReason::CloseSession => 0,
                LogoutReason::CloseConnection => 1,
                LogoutReason::RemoveForRecovery => 2,
            };
            (6, reason)
        }
        InitiatorHeader::SnackRequest(request) => {
            let kind = match request.kind {
                SnackKind::DataOrR2t => 0,
                SnackKind::Status => 1,
                SnackKind::DataAck => 2,
                SnackKind::RData => 3,
            };
            (7, kind)
        }
    }
}

/// How many of each [`ordinal`] there are.
const KINDS: [u8; 8] = [1, 1, 9, 1, 1, 1, 3, 4];

fn events(case: &Case) -> Vec<(String, What)> {
    let (cmd_sn, exp_stat_sn, lun) = (case.peer.cmd_sn, StatSn(0), Lun(3 << 48));
    let none = TargetTransferTag::RESERVED;
    let tag = InitiatorTaskTag;
    let nop = |itt, ttt| NopOut { immediate: true, lun: Lun(0), itt, ttt, cmd_sn, exp_stat_sn };
    let command = ScsiCommand {
        immediate: false,
        is_final: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        lun,
        itt: tag(40),
        expected_data_transfer_length: 512,
        cmd_sn,
        exp_stat_sn,
        cdb: [0x28; 16],
    };
    let text = |ttt| TextRequest {
        immediate: true,
        is_final: true,
        continues: false,
        lun: Lun(0),
        itt: tag(41),
        ttt,
        cmd_sn,
        exp_stat_sn,
    };
    let data_out = |itt, ttt| DataOut {
        is_final: true,
        lun,
        itt: tag(itt),
        ttt,
        exp_stat_sn,
        data_sn: DataSn(0),
        buffer_offset: 0,
    };
    let login = lunkeep_common::pdu::LoginRequest {
        transit: true,
        continues: false,
        current_stage: lunkeep_common::pdu::login::Stage::OperationalNegotiation,
        next_stage: lunkeep_common::pdu::login::Stage::FullFeaturePhase,
        version_max: 0,
        version_min: 0,
        isid: lunkeep_common::name::Isid([0; 6]),
        tsih: lunkeep_common::name::Tsih(0),
        itt: tag(42),
        cid: CID,
        cmd_sn,
        exp_stat_sn,
    };
    let mut events: Vec<(String, What)> = Vec::new();
    let mut pdu = |name: &str, header: InitiatorHeader, data: &'static [u8]| {
        events.push((name.to_owned(), What::Pdu(header, data)));
    };
    pdu("NOP-Out that asks", nop(tag(43), none).into(), b"x");
    pdu("NOP-Out that asks nothing", nop(InitiatorTaskTag::RESERVED, none).into(), &[]);
    pdu("NOP-Out that answers no NOP-In", nop(InitiatorTaskTag::RESERVED, TargetTransferTag(5)).into(), &[]);
    pdu("SCSI Command", command.clone().into(), &[]);
    pdu("SCSI Command, immediate", ScsiCommand { immediate: true, ..command.clone() }.into(), &[]);
    pdu("SCSI Command with a tag in use", ScsiCommand { itt: tag(WRITE), ..command.clone() }.into(), &[]);
    pdu(
        "SCSI Command with the reserved tag",
        ScsiCommand { itt: InitiatorTaskTag::RESERVED, ..command.clone() }.into(),
        &[],
    );
    pdu(
        "SCSI Command behind the window",
        ScsiCommand { cmd_sn: cmd_sn.plus(90), ..command.clone() }.into(),
        &[],
    );
    pdu(
        "SCSI Command that came before",
        ScsiCommand { cmd_sn: cmd_sn.plus(u32::MAX), ..command.clone() }.into(),
        &[],
    );
    for function in FUNCTIONS {
        let request = TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt: tag(44),
            referenced_task_tag: tag(WRITE),
            cmd_sn,
            exp_stat_sn,
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(0),
        };
        pdu(&format!("{function:?}"), request.into(), &[]);
    }
    pdu("Login Request", login.into(), &[]);
    pdu("Text Request, SendTargets", text(none).into(), b"SendTargets=\0");
    pdu("Text Request, MaxConnections", text(none).into(), b"MaxConnections=4\0");
    pdu("Text Request with a tag that was not given", text(TargetTransferTag(99)).into(), &[]);
    pdu("Data-Out that was asked for", data_out(WRITE, case.ttt).into(), &[0; 512]);
    pdu("Data-Out with a tag that was not given", data_out(WRITE, TargetTransferTag(0x99)).into(), &[0; 512]);
    pdu("Data-Out for no task", data_out(77, TargetTransferTag(0x99)).into(), &[0; 512]);
    for reason in [LogoutReason::CloseSession, LogoutReason::CloseConnection, LogoutReason::RemoveForRecovery]
    {
        for (what, itt, cid) in [("", 61, CID), (" of no connection", 61, Cid(77)), (" once more", 60, CID)] {
            pdu(&format!("Logout {reason:?}{what}"), logout(&case.peer, CID, itt, reason, cid).1.into(), &[]);
        }
    }
    for (name, kind, itt, ttt, run) in [
        ("SNACK DataOrR2t, R2T of the write", SnackKind::DataOrR2t, tag(WRITE), none, (0, 1)),
        ("SNACK DataOrR2t, data of the read", SnackKind::DataOrR2t, tag(READ), none, (0, 1)),
        ("SNACK DataOrR2t of no task", SnackKind::DataOrR2t, tag(77), none, (0, 1)),
        ("SNACK Status that was sent", SnackKind::Status, InitiatorTaskTag::RESERVED, none, (100, 1)),
        ("SNACK Status that was not sent", SnackKind::Status, InitiatorTaskTag::RESERVED, none, (900, 1)),
        ("SNACK DataAck", SnackKind::DataAck, InitiatorTaskTag::RESERVED, TargetTransferTag(3), (1, 0)),
        ("SNACK RData", SnackKind::RData, tag(READ), TargetTransferTag(3), (0, 0)),
    ] {
        let (beg_run, run_length) = run;
        let lun = Lun(0);
        pdu(name, SnackRequest { kind, lun, itt, ttt, exp_stat_sn, beg_run, run_length }.into(), &[]);
    }
    events.extend([
        ("a damaged SCSI Command".into(), What::Damaged(command.into())),
        ("a damaged Data-Out".into(), What::Damaged(data_out(WRITE, case.ttt).into())),
        ("an opcode that there is not".into(), What::Opcode(0x1c)),
        ("an opcode of a target".into(), What::Opcode(0x21)),
    ]);
    events.extend(silent_events());
    events
}

/// Events that need no connection to come on.
fn silent_events() -> Vec<(String, What)> {
    let lose = |case: &mut Case| {
        let lost = case.peer.session.remove_connection(case.from, case.peer.now);
        assert!(lost.len() <= 1);
    };
    let join = |case: &mut Case| {
        for cid in [CID, OTHER] {
            if case.peer.session.admits(cid) && !case.peer.session.has_connection(cid) {
                let new = NewConnection { cid, stat_sn: StatSn(900), ..other_connection() };
                return case.peer.session.add_connection(new, case.peer.now);
            }
        }
    };
    vec![
        ("the connection is lost".into(), What::Act(lose)),
        ("another connection logs in".into(), What::Act(join)),
        (
            "Time2Wait and Time2Retain are over".into(),
            What::Act(|case| {
                case.peer.now += Duration::from_secs(60);
                case.peer.session.handle_retention(case.peer.now);
            }),
        ),
        ("the target asks for a logout".into(), What::Act(|case| case.peer.session.request_logout(5))),
        (
            "a logout is done".into(),
            What::Act(|case| {
                let (from, itt) = (case.from, InitiatorTaskTag(60));
                let ends = if from == CID { LogoutEnds::Connection } else { LogoutEnds::OtherConnection };
                case.peer.session.logout_done(from, itt, LogoutResult::Closed, ends);
            }),
        ),
        (
            "a logout fails".into(),
            What::Act(|case| {
                let (from, itt) = (case.from, InitiatorTaskTag(60));
                case.peer.session.logout_done(from, itt, LogoutResult::CleanupFailed, LogoutEnds::Connection);
            }),
        ),
        ("the target ends the session".into(), What::Act(|case| case.peer.session.end())),
    ]
}

/// What the session did: what it sends, what it asks for, how the connection ends, and what it ended up in.
fn play(case: &mut Case, what: What) -> String {
    let before = states(case);
    let (from, now) = (case.from, case.peer.now);
    let session = &mut case.peer.session;
    let handled = match what {
        What::Pdu(header, data) => {
            let pdu = raw_of(&header, data);
            session.handle_pdu(from, pdu, now)
        }
        What::Damaged(header) => session.handle_data_digest_error(from, raw_of(&header, &[]).bhs, now),
        What::Opcode(opcode) => {
            let mut bhs = [0; 48];
            bhs[0] = opcode;
            session.handle_pdu(from, RawPdu { bhs, ahs: Bytes::new(), data: Bytes::new() }, now)
        }
        What::Act(act) => {
            act(case);
            Ok(())
        }
    };
    let mut out = Vec::new();
    while let Some(event) = case.peer.session.poll_event() {
        out.push(asked(&event));
    }
    for cid in [CID, OTHER] {
        while let Some(pdu) = case.peer.session.poll_transmit(cid) {
            out.push(sent(&pdu));
        }
    }
    if let Err(fault) = handled {
        out.push(format!("the connection ends: {fault}"));
    }
    if out.is_empty() {
        out.push("-".into());
    }
    let after = states(case);
    let change = if after == before { String::new() } else { format!(" [{after}]") };
    format!("{}{change}", out.join(", "))
}

fn states(case: &Case) -> String {
    format!("{}, {}", case.peer.session.connection_state(CID), case.peer.session.state())
}

fn raw_of(header: &InitiatorHeader, data: &[u8]) -> RawPdu {
    match header {
        InitiatorHeader::NopOut(header) => raw(header.clone(), data),
        InitiatorHeader::ScsiCommand(header) => raw(header.clone(), data),
        InitiatorHeader::TaskManagementRequest(header) => raw(header.clone(), data),
        InitiatorHeader::LoginRequest(header) => raw(header.clone(), data),
        InitiatorHeader::TextRequest(header) => raw(header.clone(), data),
        InitiatorHeader::DataOut(header) => raw(header.clone(), data),
        InitiatorHeader::LogoutRequest(header) => raw(header.clone(), data),
        InitiatorHeader::SnackRequest(header) => raw(header.clone(), data),
    }
}

fn asked(event: &Event) -> String {
    match event {
        Event::Command(_) => "a command begins".into(),
        Event::DataOut { .. } => "the data of the write is there".into(),
        Event::Abandon { .. } => "the write is given up".into(),
        Event::TaskManagement { scope, .. } => match scope {
            ManagementScope::Task { .. } => "a task is to be aborted".into(),
            ManagementScope::LogicalUnit(_) => "a logical unit is to be cleared".into(),
            ManagementScope::Target => "the target is to be reset".into(),
        },
        Event::Logout { reason, subject, .. } => format!("logout {reason:?} of CID {} begins", subject.0),
    }
}

fn sent(pdu: &TargetPdu) -> String {
    match &pdu.header {
        TargetHeader::Reject(reject) => format!("Reject {:02x} {:?}", reject.reason as u8, reject.reason),
        TargetHeader::TaskManagementResponse(response) => {
            format!("Task Management Response {:?}", response.response)
        }
        TargetHeader::LogoutResponse(response) => format!("Logout Response {:?}", response.response),
        TargetHeader::AsyncMessage(message) => format!("Asynchronous Message {:?}", message.event),
        TargetHeader::TextResponse(_) => {
            format!("Text Response {}", String::from_utf8_lossy(&pdu.data).replace('\0', " ").trim())
        }
        TargetHeader::ScsiResponse(response) => format!("SCSI Response to {}", response.itt.0),
        TargetHeader::DataIn(data) => format!("Data-In for {}", data.itt.0),
        TargetHeader::R2t(r2t) => format!("R2T for {}", r2t.itt.0),
        TargetHeader::NopIn(_) => "NOP-In".into(),
        TargetHeader::LoginResponse(_) => "Login Response".into(),
    }
}

#[test]
fn every_state_answers_every_event() {
    let mut table = String::new();
    for name in STATES.into_iter().chain(UNSEEN) {
        let case = state(name);
        writeln!(table, "\n{name} [{}]", states(&case)).unwrap();
        let names = if UNSEEN.contains(&name) { silent_events() } else { events(&case) };
        for (at, (event, _)) in names.iter().enumerate() {
            let mut case = state(name);
            let mut list = if UNSEEN.contains(&name) { silent_events() } else { events(&case) };
            let answer = play(&mut case, list.swap_remove(at).1);
            writeln!(table, "  {event:44} -> {answer}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_matrix_has_every_pdu_function_reason_and_kind_and_every_state() {
    let case = state(STATES[0]);
    let have: BTreeSet<_> = events(&case)
        .iter()
        .filter_map(|(_, what)| match what {
            What::Pdu(header, _) => Some(ordinal(header)),
            _ => None,
        })
        .collect();
    let all = (0..).zip(KINDS).flat_map(|(pdu, kinds)| (0..kinds).map(move |kind| (pdu, kind)));
    assert_eq!(have, all.collect());
    let cases: Vec<_> = STATES.into_iter().chain(UNSEEN).map(state).collect();
    for connection in ConnectionState::ALL {
        let seen = cases.iter().any(|case| case.peer.session.connection_state(CID) == connection);
        assert!(seen, "no case is in {connection}");
    }
    for session in SessionState::ALL {
        assert!(cases.iter().any(|case| case.peer.session.state() == session), "no case is in {session}");
    }
    for case in &cases {
        let (connection, session) =
            (case.peer.session.connection_state(CID).to_string(), case.peer.session.state().to_string());
        let named = [connection, session].iter().any(|state| case.name.starts_with(state.as_str()));
        assert!(named, "{} is in {}", case.name, states(case));
    }
}

/// RFC 7143 §7.10, §11.14: after its logout nothing new begins, whatever it is, and it is told.
#[test]
fn after_a_logout_every_new_request_is_a_protocol_error() {
    for name in ["S6 IN_LOGOUT, close the connection", "S6 IN_LOGOUT, close the session"] {
        let numbers = events(&state(name)).len();
        for at in 0..numbers {
            let mut case = state(name);
            let (event, what) = events(&case).swap_remove(at);
            let What::Pdu(header, data) = what else { continue };
            let begins = case.peer.session.after_logout(CID, &header).is_some();
            if event.contains("behind the window") || event.contains("came before") || !begins {
                continue;
            }
            let answer = play(&mut case, What::Pdu(header, data));
            assert_eq!(answer, "Reject 04 ProtocolError", "{name}, {event}");
        }
    }
}

/// What is on its way on another connection was sent before the logout: commands of a connection that is removed for recovery must not
/// be lost on it, and those of a session that ends are not mistakes.
#[test]
fn what_another_connection_logs_out_is_not_refused() {
    for (reason, begins) in [
        (LogoutReason::RemoveForRecovery, true),
        (LogoutReason::CloseConnection, true),
        (LogoutReason::CloseSession, false),
    ] {
        for waits_for_its_turn in [false, true] {
            let mut peer = session(2, SessionKind::Normal);
            let earlier = peer.command(40, 0);
            let later = peer.command(41, 0);
            let (_, request) = logout(&peer, OTHER, 60, reason, CID);
            let hand_in = |peer: &mut Peer, cid, command: &ScsiCommand| {
                peer.session.handle_pdu(cid, raw(command.clone(), &[]), peer.now).unwrap();
            };
            if waits_for_its_turn {
                hand_in(&mut peer, CID, &later);
                peer.session.handle_pdu(OTHER, raw(request, &[]), peer.now).unwrap();
                hand_in(&mut peer, OTHER, &earlier);
            } else {
                peer.session.handle_pdu(OTHER, raw(request, &[]), peer.now).unwrap();
                hand_in(&mut peer, CID, &earlier);
            }
            let began = std::iter::from_fn(|| peer.session.poll_event())
                .filter(|event| matches!(event, Event::Command(request) if !waits_for_its_turn || request.cdb[0] == 41))
                .count();
            assert_eq!(began, usize::from(begins), "{reason:?}, {waits_for_its_turn}");
            assert_eq!(peer.sent(), [], "{reason:?}, {waits_for_its_turn}");
        }
    }
}
