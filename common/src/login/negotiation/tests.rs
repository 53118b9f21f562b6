//! Whole texts through a negotiation, on both sides.

use super::*;
use crate::login::offer::{DigestPolicy, Offer};

fn pairs(text: &str) -> Pairs {
    let text: String = text.split_whitespace().map(|pair| format!("{pair}\0")).collect();
    Pairs::decode(text.as_bytes()).unwrap()
}

fn text(pairs: &Pairs) -> String {
    pairs.iter().map(|pair| format!("{}={}", pair.name, pair.value)).collect::<Vec<_>>().join(" ")
}

fn target(change: impl FnOnce(&mut Offer)) -> Negotiation {
    let mut offer = Offer::target();
    change(&mut offer);
    Negotiation::new(Role::Target, offer.validate().unwrap())
}

fn initiator(change: impl FnOnce(&mut Offer)) -> Negotiation {
    let mut offer = Offer::initiator();
    change(&mut offer);
    Negotiation::new(Role::Initiator, offer.validate().unwrap())
}

fn answers(negotiation: &mut Negotiation, offered: &str) -> String {
    text(&negotiation.receive(Phase::Operational, &pairs(offered)).unwrap().answers)
}

fn error(negotiation: &mut Negotiation, phase: Phase, offered: &str) -> NegotiationError {
    negotiation.receive(phase, &pairs(offered)).unwrap_err()
}

#[test]
fn answers_come_in_the_order_of_the_keys() {
    let offered =
        "MaxBurstLength=262144 HeaderDigest=CRC32C,None InitialR2T=No ImmediateData=Yes DefaultTime2Wait=0";
    let expected =
        "MaxBurstLength=262144 HeaderDigest=CRC32C InitialR2T=No ImmediateData=Yes DefaultTime2Wait=2";
    assert_eq!(answers(&mut target(|_| {}), offered), expected);
}

#[test]
fn recovery_leaves_room_for_one_r2t_only_wherever_the_keys_stand() {
    let recovering = |offer: &mut Offer| offer.error_recovery_level = 2;
    for offered in ["MaxOutstandingR2T=8 ErrorRecoveryLevel=1", "ErrorRecoveryLevel=2 MaxOutstandingR2T=8"] {
        let mut target = target(recovering);
        assert!(answers(&mut target, offered).contains("MaxOutstandingR2T=1"), "{offered}");
    }
    let mut plain = target(recovering);
    assert_eq!(
        answers(&mut plain, "MaxOutstandingR2T=8 ErrorRecoveryLevel=0"),
        "MaxOutstandingR2T=8 ErrorRecoveryLevel=0"
    );
    assert!(text(&initiator(recovering).begin()).contains("MaxOutstandingR2T=1"));
    assert!(text(&initiator(|_| {}).begin()).contains("MaxOutstandingR2T=8"));
}

#[test]
fn declarations_are_not_answered() {
    let mut target = target(|_| {});
    assert_eq!(
        answers(&mut target, "MaxRecvDataSegmentLength=65536 InitiatorAlias=node X#NodeArchitecture=x86"),
        ""
    );
    assert_eq!(target.peer_max_recv_data_segment_length(), Some(65536));
    assert_eq!(target.declared(Key::InitiatorAlias), Some("node"));
}

#[test]
fn unknown_keys_are_answered_not_understood() {
    let offered = "X-com.example.x=1 X#other=2 Foo=Bar initiatorname=x";
    let expected =
        "X-com.example.x=NotUnderstood X#other=NotUnderstood Foo=NotUnderstood initiatorname=NotUnderstood";
    assert_eq!(answers(&mut target(|_| {}), offered), expected);
}

#[test]
fn obsolete_markers_are_answered_and_never_not_understood() {
    let offered = "IFMarker=Yes OFMarker=No IFMarkInt=1~2048 OFMarkInt=2048~8192";
    let expected = "IFMarker=No OFMarker=No IFMarkInt=Reject OFMarkInt=Reject";
    assert_eq!(answers(&mut target(|_| {}), offered), expected);
}

#[test]
fn keys_without_a_meaning_in_discovery_are_irrelevant() {
    let mut discovery = target(|_| {});
    discovery.set_discovery();
    let offered =
        "InitialR2T=No MaxConnections=4 HeaderDigest=None ErrorRecoveryLevel=2 DefaultTime2Retain=0";
    let expected = "InitialR2T=Irrelevant MaxConnections=Irrelevant HeaderDigest=None ErrorRecoveryLevel=0 DefaultTime2Retain=0";
    assert_eq!(answers(&mut discovery, offered), expected);
    assert!(discovery.finish().unwrap().0.initial_r2t, "what is irrelevant has its default");
}

#[test]
fn keys_of_the_leading_login_are_irrelevant_on_a_further_connection() {
    let mut further = target(|_| {});
    further.set_not_leading();
    assert_eq!(
        answers(&mut further, "MaxBurstLength=512 DataDigest=CRC32C"),
        "MaxBurstLength=Irrelevant DataDigest=CRC32C"
    );
    let (session, connection) = further.finish().unwrap();
    assert_eq!(session, SessionParameters::default());
    assert!(connection.digests.data);
}

#[test]
fn a_key_begun_twice_is_an_error_whatever_it_is() {
    for key in
        ["ImmediateData=Yes", "MaxRecvDataSegmentLength=8192", "X-com.example.x=1", "HeaderDigest=None"]
    {
        let mut target = target(|_| {});
        target.receive(Phase::Operational, &pairs(key)).unwrap();
        assert!(
            matches!(error(&mut target, Phase::Operational, key), NegotiationError::Repeated { .. }),
            "{key}"
        );
    }
}

#[test]
fn a_key_in_the_wrong_phase_or_from_the_wrong_side_is_an_error() {
    use Phase::{FullFeature, Operational, Security};
    let cases = [
        (Security, "HeaderDigest=None"),
        (Security, "MaxRecvDataSegmentLength=8192"),
        (Operational, "AuthMethod=None"),
        (Operational, "CHAP_A=5"),
        (Operational, "SendTargets=All"),
        (Operational, "TargetPortalGroupTag=1"),
        (Operational, "TargetAlias=x"),
        (FullFeature, "HeaderDigest=None"),
        (FullFeature, "MaxBurstLength=512"),
        (FullFeature, "InitiatorName=iqn.2026-11.org:a"),
        (FullFeature, "TargetName=iqn.2026-11.org:a"),
    ];
    for (phase, key) in cases {
        let found = error(&mut target(|_| {}), phase, key);
        assert!(matches!(found, NegotiationError::Misplaced { .. }), "{key} in {phase}: {found}");
    }
}

#[test]
fn declared_values_are_checked_at_the_edges_of_their_range() {
    for value in ["512", "16777215", "0x200"] {
        assert_eq!(answers(&mut target(|_| {}), &format!("MaxRecvDataSegmentLength={value}")), "");
    }
    for value in ["511", "16777216", "0", "x", ""] {
        let found =
            error(&mut target(|_| {}), Phase::Operational, &format!("MaxRecvDataSegmentLength={value}"));
        assert!(matches!(found, NegotiationError::BadValue { .. }), "{value}: {found}");
    }
    let alias = |len: usize| format!("InitiatorAlias={}", "a".repeat(len));
    assert!(target(|_| {}).receive(Phase::Security, &pairs(&alias(255))).is_ok());
    assert!(target(|_| {}).receive(Phase::Security, &pairs(&alias(256))).is_err());
}

#[test]
fn first_burst_never_ends_above_max_burst_wherever_it_stands() {
    for offered in
        ["FirstBurstLength=262144 MaxBurstLength=65536", "MaxBurstLength=65536 FirstBurstLength=262144"]
    {
        let mut target = target(|_| {});
        let answer = answers(&mut target, offered);
        assert!(
            answer.contains("FirstBurstLength=65536") && answer.contains("MaxBurstLength=65536"),
            "{answer}"
        );
        let (session, _) = target.finish().unwrap();
        assert_eq!((session.first_burst_length, session.max_burst_length), (65536, 65536));
    }
    let mut target = target(|_| {});
    answers(&mut target, "MaxBurstLength=1024");
    assert_eq!(
        target.finish().unwrap().0.first_burst_length,
        1024,
        "its default is larger than what was agreed"
    );
}

#[test]
fn first_burst_above_max_burst_is_an_error_when_both_were_agreed() {
    let mut target = target(|_| {});
    answers(&mut target, "FirstBurstLength=262144");
    answers(&mut target, "MaxBurstLength=1024");
    let expected = NegotiationError::FirstBurstTooLong { first: 262_144, max: 1024 };
    assert_eq!(target.finish().unwrap_err(), expected);
}

#[test]
fn a_target_begins_only_what_it_cannot_leave_at_its_default() {
    assert_eq!(text(&target(|_| {}).begin()), "");
    let mut strict = target(|offer| {
        offer.header_digest = DigestPolicy::Require;
        offer.immediate_data = false;
        offer.max_burst_length = 131_072;
        offer.first_burst_length = 4096;
    });
    assert_eq!(answers(&mut strict, "ImmediateData=Yes"), "ImmediateData=No");
    assert_eq!(text(&strict.begin()), "HeaderDigest=CRC32C MaxBurstLength=131072 FirstBurstLength=4096");
    assert_eq!(strict.open_key(), Some(Key::HeaderDigest));
    assert_eq!(text(&strict.begin()), "", "nothing is begun twice");
    assert_eq!(answers(&mut strict, "HeaderDigest=CRC32C FirstBurstLength=2048 MaxBurstLength=65536"), "");
    let (session, connection) = strict.finish().unwrap();
    assert_eq!((session.first_burst_length, session.max_burst_length), (2048, 65536));
    assert!(connection.digests.header && !connection.digests.data && !session.immediate_data);
}

#[test]
fn a_required_digest_that_the_peer_does_not_have_fails() {
    let strict = || target(|offer| offer.data_digest = DigestPolicy::Require);
    let found = error(&mut strict(), Phase::Operational, "DataDigest=None");
    assert!(matches!(found, NegotiationError::NoCommonValue { key: Key::DataDigest, .. }), "{found}");
    assert_eq!(found.fault(), Fault::NoCommonOption);
    assert!(matches!(strict().finish(), Err(NegotiationError::NoCommonValue { .. })), "never offered");
    let mut asked = strict();
    asked.begin();
    answers(&mut asked, "DataDigest=Reject");
    assert!(matches!(asked.finish(), Err(NegotiationError::NoCommonValue { .. })), "rejected");
}

#[test]
fn an_answer_that_does_not_follow_from_the_offer_is_an_error() {
    for answer in
        ["MaxBurstLength=16777215", "ImmediateData=Perhaps", "HeaderDigest=MD5", "DefaultTime2Wait=x"]
    {
        let mut initiator = initiator(|_| {});
        initiator.begin();
        let found = error(&mut initiator, Phase::Operational, answer);
        assert!(matches!(found, NegotiationError::BadAnswer { .. }), "{answer}: {found}");
    }
}

#[test]
fn an_answer_to_nothing_is_an_error() {
    for answer in [
        "MaxBurstLength=Reject",
        "TaskReporting=NotUnderstood",
        "X-com.example.x=NotUnderstood",
        "InitialR2T=Irrelevant",
    ] {
        let found = error(&mut target(|_| {}), Phase::Operational, answer);
        assert!(matches!(found, NegotiationError::AnswerToNothing { .. }), "{answer}: {found}");
    }
}

#[test]
fn a_key_left_without_an_answer_is_an_error_unless_the_offer_alone_decides() {
    let mut asks = initiator(|_| {});
    asks.begin();
    assert!(matches!(asks.finish(), Err(NegotiationError::Unanswered { .. })));
    let mut asks = initiator(|offer| {
        offer.immediate_data = false;
        offer.initial_r2t = true;
    });
    asks.begin();
    // All but ImmediateData=No (AND), InitialR2T=Yes and the two orders (OR, Yes).
    let answered = "HeaderDigest=None DataDigest=None MaxConnections=1 MaxBurstLength=262144 FirstBurstLength=65536 \
                    DefaultTime2Wait=2 DefaultTime2Retain=0 MaxOutstandingR2T=1 ErrorRecoveryLevel=0";
    answers(&mut asks, answered);
    let (session, _) = asks.finish().unwrap();
    assert!(!session.immediate_data && session.initial_r2t && session.data_pdu_in_order);
}

#[test]
fn answers_that_change_nothing_leave_the_defaults() {
    let mut asks = initiator(|_| {});
    asks.begin();
    let answered = "HeaderDigest=Reject DataDigest=None MaxConnections=Irrelevant InitialR2T=NotUnderstood ImmediateData=Yes \
                    MaxBurstLength=Reject FirstBurstLength=Irrelevant DefaultTime2Wait=2 DefaultTime2Retain=0 \
                    MaxOutstandingR2T=8 DataPDUInOrder=Yes DataSequenceInOrder=Yes ErrorRecoveryLevel=0";
    answers(&mut asks, answered);
    let (session, _) = asks.finish().unwrap();
    let expected = SessionParameters { default_time2retain: 0, max_outstanding_r2t: 8, ..Default::default() };
    assert_eq!(session, expected);
}

#[test]
fn full_feature_text_takes_declarations_and_leaves_send_targets_to_the_session() {
    let mut target = target(|_| {});
    let received =
        target.receive(Phase::FullFeature, &pairs("SendTargets=All MaxRecvDataSegmentLength=4096 Foo=1"));
    assert_eq!(text(&received.unwrap().answers), "Foo=NotUnderstood");
    assert_eq!(target.declared(Key::SendTargets), Some("All"));
    assert_eq!(target.peer_max_recv_data_segment_length(), Some(4096));
    let mut initiator = initiator(|_| {});
    let listing =
        "TargetName=iqn.2026-11.org:a TargetAddress=a:1,1 TargetName=iqn.2026-11.org:b TargetAddress=a:1,1";
    assert!(initiator.receive(Phase::FullFeature, &pairs(listing)).is_ok());
}

#[test]
fn over_long_authentication_values_are_refused_before_anybody_looks_at_them() {
    let challenge = |digits: usize| format!("CHAP_I=1 CHAP_C=0x{}", "a".repeat(digits));
    assert!(target(|_| {}).receive(Phase::Security, &pairs(&challenge(2046))).is_ok());
    let found = error(&mut target(|_| {}), Phase::Security, &challenge(2047));
    assert!(matches!(found, NegotiationError::BadValue { key: Key::ChapC, .. }), "{found}");
}

#[test]
fn an_offer_out_of_range_is_refused_by_name() {
    let refused = |change: fn(&mut Offer)| {
        let mut offer = Offer::target();
        change(&mut offer);
        offer.validate().unwrap_err().to_string()
    };
    assert!(refused(|o| o.max_burst_length = 511).starts_with("MaxBurstLength=511"));
    assert!(refused(|o| o.max_recv_data_segment_length = 1 << 24).starts_with("MaxRecvDataSegmentLength"));
    assert!(refused(|o| o.max_connections = 0).starts_with("MaxConnections=0"));
    assert!(refused(|o| o.default_time2wait = 3601).starts_with("DefaultTime2Wait=3601"));
    assert!(refused(|o| o.error_recovery_level = 3).starts_with("ErrorRecoveryLevel=3"));
    assert!(refused(|o| o.max_burst_length = 1024).starts_with("FirstBurstLength=262144 is larger"));
    assert!(refused(|o| o.task_reporting = &[]).starts_with("TaskReporting"));
}
