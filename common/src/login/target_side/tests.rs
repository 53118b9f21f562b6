//! The target's side of a login against scripted initiators.

mod known_mistakes;
mod matrix;
mod transcripts;

use super::*;
use crate::limits::DATA_SEGMENT_LEN_MIN;
use crate::login::offer::{DigestPolicy, Offer};
use crate::login::testing::{INITIATOR, ISID, Policy, SECRET, TARGET, TSIH, USER, random, request, shown};
use crate::serial::CmdSn;
use crate::text::grammar::BinaryEncoding;
use crate::window::CommandWindow;

use Stage::{FullFeaturePhase as Full, OperationalNegotiation as Op, SecurityNegotiation as Sec};

fn names() -> String {
    format!("InitiatorName={INITIATOR} TargetName={TARGET} SessionType=Normal")
}

fn login() -> TargetLogin {
    TargetLogin::new(Offer::target().validate().unwrap(), random(1))
}

fn send(login: &mut TargetLogin, policy: &Policy, request: &Pdu<LoginRequest>) -> Pdu<LoginResponse> {
    match login.handle(policy, request) {
        Ok(TargetStep::Send(response)) => response,
        other => panic!("not a response to go on with: {other:?}"),
    }
}

fn complete(login: &mut TargetLogin, policy: &Policy, request: &Pdu<LoginRequest>) -> CompletedLogin {
    match login.handle(policy, request) {
        Ok(TargetStep::Complete(completed)) => *completed,
        other => panic!("the login goes on: {other:?}"),
    }
}

fn fail(login: &mut TargetLogin, policy: &Policy, request: &Pdu<LoginRequest>) -> LoginFailure {
    match login.handle(policy, request) {
        Err(failure) => *failure,
        other => panic!("the login does not fail: {other:?}"),
    }
}

/// The status of a login that fails at its first request.
fn status_of(policy: &Policy, request: &Pdu<LoginRequest>) -> LoginStatus {
    fail(&mut login(), policy, request).response.unwrap().header.status
}

#[test]
fn the_first_request_needs_its_names() {
    let policy = Policy::open();
    let status = |pairs: &str| status_of(&policy, &request(Sec, Some(Op), pairs));
    assert_eq!(status(""), LoginStatus::MissingParameter);
    assert_eq!(status(&format!("TargetName={TARGET}")), LoginStatus::MissingParameter);
    assert_eq!(status(&format!("InitiatorName={INITIATOR}")), LoginStatus::MissingParameter);
    assert_eq!(
        status(&format!("InitiatorName={INITIATOR} SessionType=Normal")),
        LoginStatus::MissingParameter
    );
    assert_eq!(status(&format!("InitiatorName=me TargetName={TARGET}")), LoginStatus::InitiatorError);
    assert_eq!(status(&format!("InitiatorName={INITIATOR} TargetName=you")), LoginStatus::NotFound);
    assert_eq!(status(&format!("InitiatorName={INITIATOR} TargetName={TARGET}0")), LoginStatus::NotFound);
    let odd = format!("InitiatorName={INITIATOR} SessionType=Other TargetName={TARGET}");
    assert_eq!(status(&odd), LoginStatus::SessionTypeNotSupported);
}

#[test]
fn a_session_is_normal_unless_it_says_discovery() {
    let first = request(Op, Some(Full), &format!("InitiatorName={INITIATOR} TargetName={TARGET}"));
    let outcome = complete(&mut login(), &Policy::open(), &first).outcome;
    assert!(matches!(outcome.session, LoginSession::Normal { .. }));
    let first = request(Op, Some(Full), &format!("InitiatorName={INITIATOR} SessionType=Discovery"));
    let completed = complete(&mut login(), &Policy::open(), &first);
    assert_eq!(completed.outcome.session, LoginSession::Discovery);
    let response = completed.reply.respond(TSIH, &CommandWindow::new(CmdSn(0), 1));
    assert_eq!(shown(&response.data), "MaxRecvDataSegmentLength=262144", "no portal group in discovery");
}

#[test]
fn the_portal_group_and_the_alias_come_with_the_first_response_only() {
    let (mut login, policy) = (login(), Policy::open());
    let first = send(&mut login, &policy, &request(Sec, None, &names()));
    assert!(shown(&first.data).starts_with("TargetPortalGroupTag=1 TargetAlias=first disk"));
    let second = send(&mut login, &policy, &request(Sec, Some(Op), "AuthMethod=None"));
    assert_eq!(shown(&second.data), "AuthMethod=None");
}

#[test]
fn versions_must_include_0() {
    let mut first = request(Op, Some(Full), &names());
    (first.header.version_min, first.header.version_max) = (1, 2);
    assert_eq!(status_of(&Policy::open(), &first), LoginStatus::UnsupportedVersion);
    (first.header.version_min, first.header.version_max) = (0, 2);
    let completed = complete(&mut login(), &Policy::open(), &first);
    let response = completed.reply.respond(TSIH, &CommandWindow::new(CmdSn(0), 1));
    assert_eq!((response.header.version_max, response.header.version_active), (0, 0));
}

#[test]
fn authentication_cannot_be_skipped() {
    let policy = Policy::chap();
    let failed = LoginStatus::AuthenticationFailure;
    assert_eq!(status_of(&policy, &request(Op, Some(Full), &names())), failed);
    assert_eq!(status_of(&policy, &request(Op, None, &names())), failed);
    assert_eq!(status_of(&policy, &request(Sec, Some(Op), &names())), failed);
    assert_eq!(status_of(&policy, &request(Sec, Some(Full), &names())), failed);
    assert_eq!(status_of(&policy, &request(Sec, Some(Op), &format!("{} AuthMethod=None", names()))), failed);
    assert_eq!(status_of(&policy, &request(Sec, None, &format!("{} AuthMethod=KRB5,SRP", names()))), failed);
    // And half of it is not enough: the stage is not left before the response is right.
    let mut login = login();
    let first = request(Sec, Some(Op), &format!("{} AuthMethod=CHAP,None", names()));
    let answer = send(&mut login, &policy, &first);
    assert!(!answer.header.transit && shown(&answer.data).ends_with("AuthMethod=CHAP"));
    for pairs in ["", "CHAP_A=5", ""] {
        assert!(!send(&mut login, &policy, &request(Sec, Some(Full), pairs)).header.transit, "{pairs}");
    }
    assert!(matches!(
        fail(&mut login, &policy, &request(Op, Some(Full), "")).error,
        TargetLoginError::WrongStage { .. }
    ));
}

#[test]
fn a_target_that_asks_for_nothing_answers_none() {
    let (mut login, policy) = (login(), Policy::open());
    let first = request(Sec, Some(Op), &format!("{} AuthMethod=CHAP,None", names()));
    let answer = send(&mut login, &policy, &first);
    assert!(answer.header.transit && shown(&answer.data).ends_with("AuthMethod=None"));
    let only_chap = request(Sec, None, &format!("{} AuthMethod=CHAP", names()));
    assert_eq!(status_of(&policy, &only_chap), LoginStatus::AuthenticationFailure);
}

/// AuthMethod and CHAP_A, up to the target's challenge.
fn challenged(login: &mut TargetLogin, policy: &Policy) -> Pdu<LoginResponse> {
    send(login, policy, &request(Sec, None, &format!("{} AuthMethod=CHAP", names())));
    send(login, policy, &request(Sec, None, "CHAP_A=7,5"))
}

/// CHAP_N and CHAP_R that are right for the challenge that `random(1)` makes.
fn proof(encoding: BinaryEncoding) -> String {
    use crate::login::chap::{ChapAlgorithm, ChapSecret};
    let response = ChapAlgorithm::Sha256.respond(1, &ChapSecret::new(SECRET), &[1; 32]);
    format!("CHAP_N={USER} CHAP_R={}", crate::text::grammar::encode_binary(&response, encoding))
}

#[test]
fn chap_ends_the_stage_with_the_right_response() {
    for encoding in [BinaryEncoding::Hexadecimal, BinaryEncoding::Base64] {
        let (mut login, policy) = (login(), Policy::chap());
        challenged(&mut login, &policy);
        let answer = send(&mut login, &policy, &request(Sec, Some(Op), &proof(encoding)));
        assert!(answer.header.transit && answer.data.is_empty());
        let done = complete(&mut login, &policy, &request(Op, Some(Full), ""));
        assert_eq!(done.outcome.authenticated_as.as_deref(), Some(USER));
    }
}

#[test]
fn a_wrong_response_ends_the_login_with_0201_and_so_do_later_requests_with_020b() {
    let (mut login, policy) = (login(), Policy::chap());
    challenged(&mut login, &policy);
    let wrong = format!("CHAP_N={USER} CHAP_R=0x{}", "00".repeat(32));
    let failure = fail(&mut login, &policy, &request(Sec, Some(Op), &wrong));
    assert_eq!(failure.response.unwrap().header.status, LoginStatus::AuthenticationFailure);
    assert!(failure.error.to_string().contains(USER));
    let right = proof(BinaryEncoding::Hexadecimal);
    let later = fail(&mut login, &policy, &request(Sec, Some(Op), &right));
    assert_eq!(later.response.unwrap().header.status, LoginStatus::InvalidDuringLogin);
}

#[test]
fn the_policy_decides_about_sessions_that_the_initiator_wants_to_join() {
    let mut first = request(Op, Some(Full), &names());
    first.header.tsih = Tsih(7);
    let refused = Policy::refusing(LoginRefusal::SessionDoesNotExist);
    assert_eq!(status_of(&refused, &first), LoginStatus::SessionDoesNotExist);
    let mut policy = Policy::open();
    let numbers = SessionNumbers { exp_cmd_sn: CmdSn(500), max_cmd_sn: CmdSn(531) };
    policy.terms.as_mut().unwrap().numbers = Some(numbers);
    let mut login = login();
    let mut begin = request(Sec, Some(Op), &names());
    begin.header.tsih = Tsih(7);
    let answer = send(&mut login, &policy, &begin).header;
    assert_eq!((answer.tsih, answer.exp_cmd_sn, answer.max_cmd_sn), (Tsih(7), CmdSn(500), CmdSn(531)));
    let mut end = request(Op, Some(Full), "MaxBurstLength=512 HeaderDigest=CRC32C");
    end.header.tsih = Tsih(7);
    let completed = complete(&mut login, &policy, &end);
    assert_eq!(completed.outcome.login, SessionLogin::Joins(Tsih(7)));
    assert!(completed.outcome.connection.digests.header);
    let response = completed.reply.respond(Tsih(7), &CommandWindow::new(CmdSn(500), 32));
    assert!(shown(&response.data).starts_with("MaxBurstLength=Irrelevant HeaderDigest=CRC32C"));
}

#[test]
fn every_refusal_has_its_status_and_a_redirection_its_address() {
    let moved = Policy::moved;
    for (refusal, status) in [
        (LoginRefusal::MovedTemporarily(moved()), LoginStatus::TargetMovedTemporarily),
        (LoginRefusal::MovedPermanently(moved()), LoginStatus::TargetMovedPermanently),
        (LoginRefusal::AuthorizationFailure, LoginStatus::AuthorizationFailure),
        (LoginRefusal::NotFound, LoginStatus::NotFound),
        (LoginRefusal::TargetRemoved, LoginStatus::TargetRemoved),
        (LoginRefusal::TooManyConnections, LoginStatus::TooManyConnections),
        (LoginRefusal::CantIncludeInSession, LoginStatus::CantIncludeInSession),
        (LoginRefusal::SessionTypeNotSupported, LoginStatus::SessionTypeNotSupported),
        (LoginRefusal::SessionDoesNotExist, LoginStatus::SessionDoesNotExist),
        (LoginRefusal::TargetError, LoginStatus::TargetError),
        (LoginRefusal::ServiceUnavailable, LoginStatus::ServiceUnavailable),
        (LoginRefusal::OutOfResources, LoginStatus::OutOfResources),
    ] {
        let redirects = refusal.address().is_some();
        let first = request(Sec, Some(Op), &names());
        let response = fail(&mut login(), &Policy::refusing(refusal.clone()), &first).response.unwrap();
        assert_eq!(response.header.status, status);
        assert!(!response.header.transit);
        let expected = if redirects { "TargetAddress=[2001:db8::7]:3261" } else { "" };
        assert_eq!(shown(&response.data), expected);
        // The same, when only the engine finds out at the end.
        let done = complete(&mut login(), &Policy::open(), &request(Op, Some(Full), &names()));
        let late = done.reply.refuse(refusal).response.unwrap();
        assert_eq!((late.header.status, late.header.transit), (status, false));
        assert_eq!(shown(&late.data), expected);
    }
}

#[test]
fn a_refusal_names_the_target_and_the_initiator_for_the_log() {
    let mut login = login();
    let failure =
        fail(&mut login, &Policy::refusing(LoginRefusal::NotFound), &request(Sec, Some(Op), &names()));
    assert_eq!(failure.error.to_string(), format!("login to {TARGET} refused: there is no such target"));
    assert_eq!(login.initiator().map(|port| port.name.as_str()), Some(INITIATOR));
}

#[test]
fn a_pdu_of_another_kind_is_answered_only_within_a_login() {
    let failure = login().handle_other(InitiatorTaskTag(9));
    assert!(failure.response.is_none(), "nothing came before it");
    let mut begun = login();
    send(&mut begun, &Policy::open(), &request(Sec, Some(Op), &names()));
    let response = begun.handle_other(InitiatorTaskTag(9)).response.unwrap().header;
    assert_eq!((response.status, response.itt), (LoginStatus::InvalidDuringLogin, InitiatorTaskTag(9)));
    assert_eq!(response.isid, ISID);
}

#[test]
fn a_request_that_cannot_be_read_is_answered_as_far_as_it_names_itself() {
    let error = || PduError::Contradiction { pdu: "Login Request", rule: "a test" };
    let bhs = request(Op, Some(Full), "").header.encode();
    let response = login().handle_undecodable(&bhs, error()).response.unwrap().header;
    assert_eq!(response.status, LoginStatus::InitiatorError);
    assert_eq!((response.isid, response.itt, response.tsih), (ISID, InitiatorTaskTag(0x11), Tsih(0)));
}

#[test]
fn a_login_that_never_ends_is_ended() {
    let (mut login, policy) = (login(), Policy::open());
    send(&mut login, &policy, &request(Sec, None, &names()));
    for _ in 1..LOGIN_EXCHANGES_MAX {
        send(&mut login, &policy, &request(Sec, None, ""));
    }
    let failure = fail(&mut login, &policy, &request(Sec, None, ""));
    assert_eq!(failure.error, TargetLoginError::TooManyRequests);
}

#[test]
fn text_may_come_in_pieces_and_the_first_pieces_are_answered_without_text() {
    let policy = Policy::open();
    let whole = request(Op, Some(Full), &names());
    for cut in [1, 20, whole.data.len() - 1] {
        let mut login = login();
        let mut head = request(Op, None, "");
        head.header.continues = true;
        head.data = whole.data.slice(..cut);
        let answer = send(&mut login, &policy, &head);
        assert!(answer.data.is_empty() && !answer.header.transit && !answer.header.continues);
        let mut tail = whole.clone();
        tail.data = whole.data.slice(cut..);
        complete(&mut login, &policy, &tail);
    }
}

#[test]
fn a_long_answer_goes_out_in_pieces_and_the_stage_ends_after_the_last_one() {
    let (mut login, policy) = (login(), Policy::open());
    let unknown: String = (0..200).map(|i| format!("X-{}{i}=1 ", "k".repeat(58))).collect();
    let mut answer = send(&mut login, &policy, &request(Op, Some(Full), &format!("{} {unknown}", names())));
    let mut text = Vec::new();
    loop {
        assert!(answer.header.continues && !answer.header.transit);
        assert_eq!(answer.data.len(), DATA_SEGMENT_LEN_DEFAULT as usize);
        text.extend_from_slice(&answer.data);
        match login.handle(&policy, &request(Op, Some(Full), "")).unwrap() {
            TargetStep::Send(next) => answer = next,
            TargetStep::Complete(completed) => {
                let last = completed.reply.respond(TSIH, &CommandWindow::new(CmdSn(0), 1));
                text.extend_from_slice(&last.data);
                break;
            }
        }
    }
    assert_eq!(shown(&text).matches("=NotUnderstood").count(), 200);
}

#[test]
fn text_in_place_of_a_request_for_the_rest_is_an_error() {
    let (mut login, policy) = (login(), Policy::open());
    let unknown: String = (0..200).map(|i| format!("X-{}{i}=1 ", "k".repeat(58))).collect();
    send(&mut login, &policy, &request(Op, Some(Full), &format!("{} {unknown}", names())));
    let failure = fail(&mut login, &policy, &request(Op, Some(Full), "HeaderDigest=None"));
    assert_eq!(failure.error, TargetLoginError::TextInsteadOfContinuation);
}

#[test]
fn the_stage_does_not_end_while_a_key_of_ours_is_open() {
    let offer = Offer { header_digest: DigestPolicy::Require, ..Offer::target() };
    let mut login = TargetLogin::new(offer.validate().unwrap(), random(1));
    let policy = Policy::open();
    let asked = send(&mut login, &policy, &request(Op, Some(Full), &names()));
    assert!(!asked.header.transit && shown(&asked.data).contains("HeaderDigest=CRC32C"));
    let again = send(&mut login, &policy, &request(Op, Some(Full), ""));
    assert!(!again.header.transit && again.data.is_empty());
    let done = complete(&mut login, &policy, &request(Op, Some(Full), "HeaderDigest=CRC32C"));
    assert!(done.outcome.connection.digests.header);
}

#[test]
fn a_login_may_skip_the_operational_stage_and_has_the_defaults_then() {
    let done = complete(&mut login(), &Policy::open(), &request(Sec, Some(Full), &names()));
    let SessionLogin::New(session) = done.outcome.login else { panic!("a new session") };
    assert_eq!(session, crate::login::SessionParameters::default());
    assert_eq!(done.outcome.connection, crate::login::ConnectionParameters::default());
    let offer = Offer { header_digest: DigestPolicy::Require, ..Offer::target() };
    let mut strict = TargetLogin::new(offer.validate().unwrap(), random(1));
    let failure = fail(&mut strict, &Policy::open(), &request(Sec, Some(Full), &names()));
    assert_eq!(failure.error.fault(), crate::login::Fault::NoCommonOption);
}

#[test]
fn what_the_connection_may_send_and_receive_is_handed_over() {
    let pairs = format!("{} InitiatorAlias=one MaxRecvDataSegmentLength={DATA_SEGMENT_LEN_MIN}", names());
    let done = complete(&mut login(), &Policy::open(), &request(Op, Some(Full), &pairs)).outcome;
    assert_eq!(done.connection.max_recv_data_segment_length, 262_144);
    assert_eq!(done.connection.peer_max_recv_data_segment_length, DATA_SEGMENT_LEN_MIN);
    assert_eq!(done.initiator_alias.as_deref(), Some("one"));
    assert_eq!(done.initiator.to_string(), format!("{INITIATOR},i,{ISID}"));
    assert_eq!((done.cid, done.initial_cmd_sn), (Cid(1), CmdSn(0x20)));
}
