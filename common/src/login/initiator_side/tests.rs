//! The initiator's side of a login against scripted targets.

mod matrix;

use bytes::Bytes;

use super::*;
use crate::login::chap::ChapError;
use crate::login::negotiation::NegotiationError;
use crate::login::offer::Offer;
use crate::login::testing::{
    ISID, MUTUAL_SECRET, Policy, SECRET, TARGET, config, credentials, random, run_with, shown, text,
    with_chap,
};
use crate::name::Isid;
use crate::pdu::InitiatorTaskTag;
use crate::serial::CmdSn;

use Stage::{FullFeaturePhase as Full, OperationalNegotiation as Op, SecurityNegotiation as Sec};

/// A response of a target; `next` sets T. StatSN counts from 30h by `number`.
fn response(number: u32, current: Stage, next: Option<Stage>, pairs: &str) -> Pdu<LoginResponse> {
    let header = LoginResponse {
        transit: next.is_some(),
        continues: false,
        current_stage: current,
        next_stage: next.unwrap_or(current),
        version_max: 0,
        version_active: 0,
        isid: ISID,
        tsih: if next == Some(Full) { Tsih(7) } else { Tsih(0) },
        itt: InitiatorTaskTag(0x11),
        stat_sn: StatSn(0x30 + number),
        exp_cmd_sn: CmdSn(0x20),
        max_cmd_sn: CmdSn(0x30),
        status: LoginStatus::Success,
    };
    Pdu::with_data(header, text(pairs))
}

fn start(config: InitiatorLoginConfig) -> (InitiatorLogin, Pdu<LoginRequest>) {
    InitiatorLogin::start(config, random(2)).unwrap()
}

fn next(login: &mut InitiatorLogin, response: &Pdu<LoginResponse>) -> Pdu<LoginRequest> {
    match login.handle(response) {
        InitiatorStep::Send(request) => request,
        other => panic!("the login does not go on: {other:?}"),
    }
}

fn failed(login: &mut InitiatorLogin, response: &Pdu<LoginResponse>) -> InitiatorLoginError {
    match login.handle(response) {
        InitiatorStep::Failed(error) => error,
        other => panic!("the login does not fail: {other:?}"),
    }
}

/// The answers of a target that takes everything as it is offered.
const ANSWERS: &str = "HeaderDigest=None DataDigest=None MaxConnections=1 InitialR2T=No ImmediateData=Yes \
     MaxBurstLength=1048576 FirstBurstLength=262144 DefaultTime2Wait=0 DefaultTime2Retain=0 MaxOutstandingR2T=8 \
     DataPDUInOrder=Yes DataSequenceInOrder=Yes ErrorRecoveryLevel=0";

/// A login that has just entered the operational stage.
fn operational() -> InitiatorLogin {
    let (mut login, _) = start(config(Offer::initiator()));
    next(&mut login, &response(0, Sec, Some(Op), "TargetPortalGroupTag=1 AuthMethod=None"));
    login
}

#[test]
fn the_first_request_has_the_names_and_what_can_be_proved() {
    let (_, first) = start(config(Offer::initiator()));
    assert_eq!((first.header.current_stage, first.header.next_stage, first.header.transit), (Sec, Op, true));
    assert_eq!((first.header.isid, first.header.tsih, first.header.cmd_sn), (ISID, Tsih(0), CmdSn(0x20)));
    assert!(shown(&first.data).ends_with(&format!("TargetName={TARGET} SessionType=Normal AuthMethod=None")));
    let (_, first) = start(with_chap(config(Offer::initiator()), SECRET, None));
    assert!(!first.header.transit && shown(&first.data).ends_with("AuthMethod=CHAP,None"));
    let (_, first) = start(with_chap(config(Offer::initiator()), SECRET, Some(MUTUAL_SECRET)));
    assert!(
        shown(&first.data).ends_with("AuthMethod=CHAP"),
        "a target that must prove itself cannot choose None"
    );
    let (_, first) =
        start(InitiatorLoginConfig { session: InitiatorSession::Discovery, ..config(Offer::initiator()) });
    assert!(shown(&first.data).ends_with("SessionType=Discovery AuthMethod=None"));
}

#[test]
fn a_configuration_that_breaks_the_protocol_is_refused_before_anything_is_sent() {
    let error = |config| InitiatorLogin::start(config, random(2)).unwrap_err();
    let same = with_chap(config(Offer::initiator()), SECRET, Some(SECRET));
    assert_eq!(error(same), InitiatorConfigError::Chap(ChapError::SameSecret));
    let mut long = config(Offer::initiator());
    long.alias = Some("a".repeat(256));
    assert_eq!(error(long), InitiatorConfigError::Text { what: "alias" });
    let mut none = with_chap(config(Offer::initiator()), SECRET, None);
    let InitiatorAuthentication::Chap(identity) = &mut none.authentication else { panic!("chap") };
    identity.credentials = credentials("a\0CHAP_R=1", SECRET);
    assert_eq!(error(none.clone()), InitiatorConfigError::Text { what: "CHAP name" });
    let InitiatorAuthentication::Chap(identity) = &mut none.authentication else { panic!("chap") };
    identity.algorithms.clear();
    assert_eq!(error(none), InitiatorConfigError::NoAlgorithm);
}

#[test]
fn requests_acknowledge_the_responses_and_keep_the_command_number() {
    let (mut login, first) = start(config(Offer::initiator()));
    assert_eq!(first.header.exp_stat_sn, StatSn(0));
    let second = next(&mut login, &response(0, Sec, Some(Op), "AuthMethod=None"));
    assert_eq!((second.header.exp_stat_sn, second.header.cmd_sn), (StatSn(0x31), CmdSn(0x20)));
    match login.handle(&response(1, Op, Some(Full), ANSWERS)) {
        InitiatorStep::Done(done) => assert_eq!(done.exp_stat_sn, StatSn(0x32)),
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn a_target_that_takes_its_time_is_asked_again() {
    let mut login = operational();
    for number in 1..5 {
        let pairs = if number == 1 { ANSWERS } else { "" };
        let request = next(&mut login, &response(number, Op, None, pairs));
        assert!(request.header.transit && request.data.is_empty());
    }
    assert!(matches!(login.handle(&response(5, Op, Some(Full), "")), InitiatorStep::Done(_)));
}

#[test]
fn a_target_that_never_ends_is_left() {
    let (mut login, _) = start(config(Offer::initiator()));
    for number in 0..LOGIN_EXCHANGES_MAX {
        next(&mut login, &response(number, Sec, None, ""));
    }
    let error = failed(&mut login, &response(LOGIN_EXCHANGES_MAX, Sec, None, ""));
    assert_eq!(error, InitiatorLoginError::TooManyResponses);
}

#[test]
fn what_the_target_begins_is_answered() {
    let mut login = operational();
    let begun =
        format!("{ANSWERS} TaskReporting=FastAbort,RFC3720 X-com.example.x=1 IFMarker=No TargetAlias=x");
    let request = next(&mut login, &response(1, Op, None, &begun));
    assert_eq!(shown(&request.data), "TaskReporting=RFC3720 X-com.example.x=NotUnderstood IFMarker=No");
}

#[test]
fn keys_to_answer_do_not_come_with_the_end_of_a_stage() {
    let error =
        failed(&mut operational(), &response(1, Op, Some(Full), &format!("{ANSWERS} TaskReporting=RFC3720")));
    assert_eq!(error, InitiatorLoginError::KeysWithTransit { key: "TaskReporting".into() });
}

#[test]
fn a_key_of_ours_must_be_answered() {
    let all_but_one = ANSWERS.replace("MaxBurstLength=1048576 ", "");
    let error = failed(&mut operational(), &response(1, Op, Some(Full), &all_but_one));
    assert!(
        matches!(
            error,
            InitiatorLoginError::Negotiation(NegotiationError::Unanswered { key: Key::MaxBurstLength, .. })
        ),
        "{error}"
    );
}

#[test]
fn a_response_in_pieces_is_asked_for_and_joined() {
    let mut login = operational();
    let whole = text(ANSWERS);
    for (number, piece) in (1..).zip(whole.chunks(100)) {
        let last = number as usize * 100 >= whole.len();
        let mut part = response(number, Op, last.then_some(Full), "");
        part.header.continues = !last;
        part.data = Bytes::copy_from_slice(piece);
        match login.handle(&part) {
            InitiatorStep::Send(request) => {
                assert!(
                    !last && request.data.is_empty() && request.header.transit && !request.header.continues
                );
            }
            InitiatorStep::Done(_) => assert!(last),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_target_that_ends_the_stage_without_its_proof_is_left() {
    let mutual = || with_chap(config(Offer::initiator()), SECRET, Some(MUTUAL_SECRET));
    // At once, without a method.
    let run = run_with(mutual(), &Policy::chap(), Offer::target(), |mut response| {
        response.header.transit = false;
        response.data = Bytes::new();
        response
    });
    assert!(run.initiator.is_err());
    // After our proof, with its own left out.
    let run = run_with(mutual(), &Policy::chap(), Offer::target(), |mut response| {
        if response.header.transit {
            response.data = Bytes::new();
        }
        response
    });
    assert_eq!(run.error(), &InitiatorLoginError::TargetNotProved);
}

#[test]
fn every_tampered_header_is_noticed() {
    use InitiatorLoginError as E;
    type Tamper = fn(&mut LoginResponse);
    type Expected = fn(&E) -> bool;
    let cases: [(Tamper, Expected); 8] = [
        (|h| h.isid = Isid([0; 6]), |e| matches!(e, E::Changed { field: "ISID" })),
        (|h| h.itt = InitiatorTaskTag(0), |e| matches!(e, E::Changed { .. })),
        (|h| h.stat_sn = StatSn(0x30), |e| matches!(e, E::StatSn { .. })),
        (|h| h.version_active = 1, |e| matches!(e, E::Version { active: 1 })),
        (|h| h.current_stage = Sec, |e| matches!(e, E::WrongStage { current: Sec })),
        (|h| h.next_stage = Op, |e| matches!(e, E::BadTransit { .. })),
        (|h| h.continues = true, |e| matches!(e, E::TransitWithContinue)),
        (|h| h.tsih = Tsih(0), |e| matches!(e, E::Tsih { .. })),
    ];
    for (index, (tamper, expected)) in cases.into_iter().enumerate() {
        let mut last = response(1, Op, Some(Full), ANSWERS);
        tamper(&mut last.header);
        let error = failed(&mut operational(), &last);
        assert!(expected(&error), "case {index}: {error}");
    }
}

#[test]
fn a_further_connection_keeps_its_session_and_negotiates_nothing_for_it() {
    let joining = InitiatorLoginConfig { tsih: Tsih(7), ..config(Offer::initiator()) };
    let (mut login, first) = start(joining.clone());
    assert_eq!(first.header.tsih, Tsih(7));
    let second = next(&mut login, &response(0, Sec, Some(Op), "AuthMethod=None"));
    assert_eq!(
        shown(&second.data),
        "HeaderDigest=None,CRC32C DataDigest=None,CRC32C MaxRecvDataSegmentLength=262144"
    );
    let mut wrong = response(1, Op, Some(Full), "HeaderDigest=None DataDigest=None");
    wrong.header.tsih = Tsih(8);
    assert_eq!(failed(&mut login, &wrong), InitiatorLoginError::Tsih { tsih: Tsih(8) });
    let (mut login, _) = start(joining);
    next(&mut login, &response(0, Sec, Some(Op), "AuthMethod=None"));
    match login.handle(&response(1, Op, Some(Full), "HeaderDigest=None DataDigest=CRC32C")) {
        InitiatorStep::Done(done) => assert!(done.session.is_none() && done.connection.digests.data),
        other => panic!("not done: {other:?}"),
    }
}

#[test]
fn a_redirection_needs_an_address() {
    let moved = |pairs: &str| {
        let mut moved = response(0, Sec, None, pairs);
        moved.header.status = LoginStatus::TargetMovedTemporarily;
        start(config(Offer::initiator())).0.handle(&moved)
    };
    assert!(matches!(moved(""), InitiatorStep::Failed(InitiatorLoginError::RedirectWithoutAddress)));
    assert!(matches!(
        moved("TargetAddress=:0"),
        InitiatorStep::Failed(InitiatorLoginError::RedirectAddress(_))
    ));
    assert!(matches!(moved("TargetAddress=192.0.2.1"), InitiatorStep::Redirect { permanent: false, .. }));
}

#[test]
fn only_refusals_that_pass_are_called_temporary() {
    let refused = |status| InitiatorLoginError::Refused { status };
    assert!(refused(LoginStatus::ServiceUnavailable).is_temporary());
    assert!(refused(LoginStatus::OutOfResources).is_temporary());
    assert!(!refused(LoginStatus::AuthenticationFailure).is_temporary());
    assert!(!refused(LoginStatus::TargetError).is_temporary());
    assert_eq!(
        refused(LoginStatus::NotFound).to_string(),
        "the target refused the login: there is no such target (0203h)"
    );
}
