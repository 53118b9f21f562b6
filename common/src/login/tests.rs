//! Both sides against each other.

use proptest::prelude::*;

use super::initiator_side::{InitiatorLoginError, InitiatorSession, InitiatorStep};
use super::offer::{DigestPolicy, Offer};
use super::parameters::TaskReporting;
use super::target_side::{LoginRefusal, LoginSession, SessionLogin};
use super::testing::{
    INITIATOR, ISID, MUTUAL_SECRET, Policy, SECRET, TARGET, TSIH, USER, config, run, run_with, with_chap,
};
use crate::pdu::login::LoginStatus;
use crate::serial::{CmdSn, StatSn};

#[test]
fn a_login_without_authentication_takes_two_exchanges() {
    let run = run(config(Offer::initiator()), &Policy::open(), Offer::target());
    let (initiator, target) = (run.initiator.unwrap(), run.target.unwrap().unwrap());
    assert_eq!(run.responses.len(), 2);
    assert_eq!(initiator.tsih, TSIH);
    assert_eq!(initiator.target_alias.as_deref(), Some("first disk"));
    assert_eq!(initiator.portal_group.map(|tag| tag.0), Some(1));
    assert_eq!(initiator.exp_stat_sn, target.next_stat_sn);
    assert_eq!((initiator.cmd_sn, initiator.exp_cmd_sn), (CmdSn(0x20), CmdSn(0x20)));
    assert_eq!(initiator.max_cmd_sn, CmdSn(0x20 + 31));
    assert_eq!(target.initiator.name.as_str(), INITIATOR);
    assert_eq!(target.initiator.isid, ISID);
    assert!(matches!(target.session, LoginSession::Normal { target, .. } if target.as_str() == TARGET));
    let SessionLogin::New(session) = target.login else { panic!("not a new session") };
    assert_eq!(initiator.session, Some(session.clone()));
    assert!(!session.initial_r2t && session.immediate_data);
    assert_eq!((session.max_burst_length, session.first_burst_length), (1024 * 1024, 256 * 1024));
    assert_eq!((session.default_time2wait, session.default_time2retain), (2, 0));
}

#[test]
fn a_discovery_session_negotiates_only_what_has_a_meaning_there() {
    let mut config = config(Offer::initiator());
    config.session = InitiatorSession::Discovery;
    let run = run(config, &Policy::open(), Offer::target());
    let target = run.target.unwrap().unwrap();
    assert_eq!(target.session, LoginSession::Discovery);
    assert!(run.initiator.is_ok());
    let all: Vec<u8> = run.responses.iter().flat_map(|response| response.data.to_vec()).collect();
    assert!(!String::from_utf8_lossy(&all).contains("Irrelevant"));
}

#[test]
fn chap_works_one_way_and_mutual() {
    for (mutual, name) in [(None, "one-way"), (Some(MUTUAL_SECRET), "mutual")] {
        let run =
            run(with_chap(config(Offer::initiator()), SECRET, mutual), &Policy::chap(), Offer::target());
        assert!(run.initiator.is_ok(), "{name}: {run:?}");
        assert_eq!(run.target.unwrap().unwrap().authenticated_as.as_deref(), Some(USER));
    }
}

#[test]
fn a_wrong_secret_is_refused_with_0201() {
    let run = run(with_chap(config(Offer::initiator()), "wrong", None), &Policy::chap(), Offer::target());
    assert_eq!(run.status(), LoginStatus::AuthenticationFailure);
    assert_eq!(run.error(), &InitiatorLoginError::Refused { status: LoginStatus::AuthenticationFailure });
}

#[test]
fn an_initiator_without_credentials_is_refused_by_a_target_that_needs_them() {
    let run = run(config(Offer::initiator()), &Policy::chap(), Offer::target());
    assert_eq!(run.status(), LoginStatus::AuthenticationFailure);
}

#[test]
fn a_target_with_the_wrong_mutual_secret_is_left() {
    let config = with_chap(config(Offer::initiator()), SECRET, Some("another secret"));
    let run = run(config, &Policy::chap(), Offer::target());
    assert!(matches!(run.error(), InitiatorLoginError::Chap(_)), "{:?}", run.error());
}

#[test]
fn credentials_are_not_in_the_way_where_none_are_asked_for_unless_the_target_must_prove_itself() {
    let one_way = run(with_chap(config(Offer::initiator()), SECRET, None), &Policy::open(), Offer::target());
    assert!(one_way.initiator.is_ok());
    let mutual = with_chap(config(Offer::initiator()), SECRET, Some(MUTUAL_SECRET));
    assert_eq!(run(mutual, &Policy::open(), Offer::target()).status(), LoginStatus::AuthenticationFailure);
}

#[test]
fn redirections_lead_elsewhere() {
    let moved = Policy::moved();
    for (refusal, permanent) in [
        (LoginRefusal::MovedTemporarily(moved.clone()), false),
        (LoginRefusal::MovedPermanently(moved.clone()), true),
    ] {
        let run = run(config(Offer::initiator()), &Policy::refusing(refusal), Offer::target());
        match run.initiator {
            Err(InitiatorStep::Redirect { address, permanent: found }) => {
                assert_eq!((address, found), (moved.clone(), permanent));
            }
            other => panic!("no redirection: {other:?}"),
        }
    }
}

#[test]
fn text_that_does_not_fit_one_pdu_is_cut_and_joined_by_both_sides() {
    let mut config = config(Offer::initiator());
    config.alias = Some("a".repeat(255));
    // A long alias alone is short of 8192 bytes; a target's answer of that length comes by unknown keys, which our
    // initiator never sends. So the response is blown up on its way instead, by a key that needs no answer.
    let filler = |n: usize| format!("TargetAlias={}\0", "b".repeat(n));
    let mut first = true;
    let run = run_with(config, &Policy::open(), Offer::target(), |mut response| {
        if std::mem::take(&mut first) {
            let text = String::from_utf8(response.data.to_vec()).unwrap();
            response.data = text.replace("TargetAlias=first disk\0", &filler(255)).into_bytes().into();
        }
        response
    });
    assert_eq!(run.initiator.unwrap().target_alias, Some("b".repeat(255)));
    assert_eq!(run.target.unwrap().unwrap().initiator_alias, Some("a".repeat(255)));
}

fn digest() -> impl Strategy<Value = DigestPolicy> {
    use DigestPolicy::{Accept, Prefer, Refuse, Require};
    proptest::sample::select(vec![Refuse, Accept, Prefer, Require])
}

prop_compose! {
    fn offer()(
        (header_digest, data_digest) in (digest(), digest()),
        (initial_r2t, immediate_data, data_pdu_in_order, data_sequence_in_order) in any::<(bool, bool, bool, bool)>(),
        (max_connections, max_outstanding_r2t) in (1u16.., 1u16..),
        (a, b, max_recv_data_segment_length) in (512u32..1 << 24, 512u32..1 << 24, 512u32..1 << 24),
        (default_time2wait, default_time2retain) in (0u16..=3600, 0u16..=3600),
        error_recovery_level in 0u8..=2,
        protocol_level in 0u8..=31,
    ) -> Offer {
        Offer {
            header_digest,
            data_digest,
            initial_r2t,
            immediate_data,
            data_pdu_in_order,
            data_sequence_in_order,
            max_connections,
            max_outstanding_r2t,
            max_burst_length: a.max(b),
            first_burst_length: a.min(b),
            max_recv_data_segment_length,
            default_time2wait,
            default_time2retain,
            error_recovery_level,
            task_reporting: &[TaskReporting::Rfc3720],
            protocol_level,
        }
    }
}

/// What a digest of both offers ends with: the initiator's first value that the target accepts.
fn digest_of(initiator: DigestPolicy, target: DigestPolicy) -> Option<bool> {
    let common = initiator.values().iter().find(|value| target.values().contains(value));
    common.map(|value| *value == "CRC32C")
}

proptest! {
    /// Whatever both sides offer, they end with the same parameters, which are what the rules of RFC 7143 §13 make of the
    /// offers; or both fail, and then it is for a digest.
    #[test]
    fn both_sides_end_with_the_same_parameters(ours in offer(), theirs in offer(), chap in any::<bool>()) {
        let (config, policy) = if chap {
            (with_chap(config(ours.clone()), SECRET, Some(MUTUAL_SECRET)), Policy::chap())
        } else {
            (config(ours.clone()), Policy::open())
        };
        let run = run(config, &policy, theirs.clone());
        let header = digest_of(ours.header_digest, theirs.header_digest);
        let data = digest_of(ours.data_digest, theirs.data_digest);
        let (Some(header), Some(data)) = (header, data) else {
            prop_assert!(run.initiator.is_err());
            return Ok(());
        };
        prop_assert!(run.initiator.is_ok(), "{:?}", run.initiator);
        let initiator = run.initiator.unwrap();
        let target = run.target.unwrap().unwrap();
        let SessionLogin::New(session) = target.login else { panic!("not a new session") };
        prop_assert_eq!(initiator.session.as_ref(), Some(&session));
        prop_assert_eq!(initiator.connection.digests, target.connection.digests);
        prop_assert_eq!((target.connection.digests.header, target.connection.digests.data), (header, data));
        prop_assert_eq!(initiator.connection.max_recv_data_segment_length, ours.max_recv_data_segment_length);
        prop_assert_eq!(initiator.connection.peer_max_recv_data_segment_length, theirs.max_recv_data_segment_length);
        prop_assert_eq!(target.connection.peer_max_recv_data_segment_length, ours.max_recv_data_segment_length);
        prop_assert_eq!(session.initial_r2t, ours.initial_r2t || theirs.initial_r2t);
        prop_assert_eq!(session.immediate_data, ours.immediate_data && theirs.immediate_data);
        prop_assert_eq!(session.data_pdu_in_order, ours.data_pdu_in_order || theirs.data_pdu_in_order);
        prop_assert_eq!(session.data_sequence_in_order, ours.data_sequence_in_order || theirs.data_sequence_in_order);
        prop_assert_eq!(session.max_connections, ours.max_connections.min(theirs.max_connections));
        let recovers = session.error_recovery_level > 0 && session.data_sequence_in_order;
        let one = recovers || ours.error_recovery_level > 0 && ours.data_sequence_in_order;
        let max_r2t = if one { 1 } else { ours.max_outstanding_r2t.min(theirs.max_outstanding_r2t) };
        prop_assert_eq!(session.max_outstanding_r2t, max_r2t);
        prop_assert_eq!(session.max_burst_length, ours.max_burst_length.min(theirs.max_burst_length));
        let first_burst = ours.first_burst_length.min(theirs.first_burst_length).min(session.max_burst_length);
        prop_assert_eq!(session.first_burst_length, first_burst);
        prop_assert_eq!(session.default_time2wait, ours.default_time2wait.max(theirs.default_time2wait));
        prop_assert_eq!(session.default_time2retain, ours.default_time2retain.min(theirs.default_time2retain));
        prop_assert_eq!(session.error_recovery_level, ours.error_recovery_level.min(theirs.error_recovery_level));
        prop_assert_eq!(initiator.exp_stat_sn, target.next_stat_sn);
        let numbers: Vec<_> = run.responses.iter().map(|response| response.header.stat_sn).collect();
        let expected: Vec<_> = (0..).map(StatSn).take(numbers.len()).collect();
        prop_assert_eq!(numbers, expected);
    }

    /// Requests that a hostile initiator might send, in any order: the target answers or ends, and never panics.
    #[test]
    fn no_sequence_of_requests_makes_the_target_panic_or_let_somebody_in_unproved(
        requests in proptest::collection::vec((0usize..3, proptest::option::of(0usize..3), any::<bool>(), proptest::collection::vec(0usize..12, 0..5)), 1..10),
    ) {
        use super::target_side::{TargetLogin, TargetStep};
        use super::testing::{random, request};
        use crate::pdu::login::Stage;
        let stages = [Stage::SecurityNegotiation, Stage::OperationalNegotiation, Stage::FullFeaturePhase];
        let names = format!("InitiatorName={INITIATOR} TargetName={TARGET}");
        let pieces = [
            names.as_str(), "AuthMethod=CHAP", "AuthMethod=None", "AuthMethod=CHAP,None", "CHAP_A=5", "CHAP_A=7",
            "CHAP_N=node1 CHAP_R=0x00000000000000000000000000000000", "CHAP_I=1 CHAP_C=0x01", "HeaderDigest=CRC32C",
            "MaxBurstLength=1024", "X-a=1", "MaxRecvDataSegmentLength=512",
        ];
        let mut login = TargetLogin::new(Offer::target().validate().unwrap(), random(1));
        let policy = Policy::chap();
        for (index, (current, next, continues, keys)) in requests.into_iter().enumerate() {
            let mut text: Vec<_> = keys.into_iter().map(|key| pieces[key]).collect();
            if index == 0 {
                text.insert(0, &names);
            }
            let mut pdu = request(stages[current], next.map(|next| stages[next]), &text.join(" "));
            pdu.header.continues = continues;
            match login.handle(&policy, &pdu) {
                Ok(TargetStep::Send(response)) => {
                    prop_assert!(!response.header.transit || pdu.header.transit);
                    prop_assert!(!response.header.transit, "it left the security stage unproved");
                }
                Ok(TargetStep::Complete(completed)) => prop_assert!(false, "logged in unproved: {completed:?}"),
                Err(_) => break,
            }
        }
    }
}
