//! What other targets are known to get wrong in a login.

use super::*;
use crate::serial::StatSn;

/// Every response of an ordinary login with two stages.
fn responses() -> (Vec<LoginResponse>, LoginOutcome) {
    let (mut login, policy) = (login(), Policy::open());
    let first = send(&mut login, &policy, &request(Sec, None, &names())).header;
    let second = send(&mut login, &policy, &request(Sec, Some(Op), "AuthMethod=None")).header;
    let third = send(&mut login, &policy, &request(Op, None, "HeaderDigest=None")).header;
    let completed = complete(&mut login, &policy, &request(Op, Some(Full), "ImmediateData=Yes"));
    let window = CommandWindow::new(completed.outcome.initial_cmd_sn, 32);
    let last = completed.reply.respond(TSIH, &window).header;
    (vec![first, second, third, last], completed.outcome)
}

#[test]
fn every_response_has_the_isid_and_the_task_tag_of_the_request() {
    for response in responses().0 {
        assert_eq!((response.isid, response.itt), (ISID, InitiatorTaskTag(0x11)));
    }
    let failure = fail(&mut login(), &Policy::open(), &request(Sec, Some(Op), "")).response.unwrap().header;
    assert_eq!((failure.isid, failure.itt), (ISID, InitiatorTaskTag(0x11)), "a refusal too");
}

#[test]
fn the_tsih_comes_with_the_last_response_and_not_before() {
    let tsihs: Vec<_> = responses().0.iter().map(|response| response.tsih).collect();
    assert_eq!(tsihs, [Tsih(0), Tsih(0), Tsih(0), TSIH]);
}

#[test]
fn stat_sn_counts_every_response_and_goes_on_after_the_login() {
    let (responses, outcome) = responses();
    let numbers: Vec<_> = responses.iter().map(|response| response.stat_sn).collect();
    assert_eq!(numbers, [StatSn(0x30), StatSn(0x31), StatSn(0x32), StatSn(0x33)]);
    assert_eq!(outcome.next_stat_sn, StatSn(0x34));
}

#[test]
fn cmd_sn_does_not_advance_in_the_login() {
    let (responses, outcome) = responses();
    assert!(responses.iter().all(|response| response.exp_cmd_sn == CmdSn(0x20)));
    assert_eq!(responses.last().unwrap().max_cmd_sn, CmdSn(0x20 + 31));
    assert_eq!(outcome.initial_cmd_sn, CmdSn(0x20));
}

#[test]
fn transit_from_the_security_stage_is_honoured() {
    let answer = send(&mut login(), &Policy::open(), &request(Sec, Some(Op), &names())).header;
    assert!(answer.transit);
    assert_eq!((answer.current_stage, answer.next_stage), (Sec, Op));
}

#[test]
fn a_response_has_no_transit_that_the_request_has_not() {
    let (responses, _) = responses();
    let transits: Vec<_> = responses.iter().map(|response| response.transit).collect();
    assert_eq!(transits, [false, true, false, true]);
}

#[test]
fn unknown_keys_are_answered_in_both_stages() {
    let (mut login, policy) = (login(), Policy::open());
    let pairs = format!("{} X-com.example.a=1", names());
    let answer = send(&mut login, &policy, &request(Sec, Some(Op), &pairs));
    assert!(shown(&answer.data).ends_with("X-com.example.a=NotUnderstood"));
    let answer = send(&mut login, &policy, &request(Op, None, "Whatever=2"));
    assert!(shown(&answer.data).contains("Whatever=NotUnderstood"));
}

#[test]
fn stages_do_not_go_back_or_stand_still_with_t() {
    for (current, next) in [(Sec, Sec), (Op, Op), (Op, Sec), (Full, Full)] {
        let failure = fail(&mut login(), &Policy::open(), &request(current, Some(next), &names()));
        assert_eq!(failure.error.status(), LoginStatus::InitiatorError, "{current:?} to {next:?}");
    }
    let (mut login, policy) = (login(), Policy::open());
    send(&mut login, &policy, &request(Sec, Some(Op), &names()));
    let failure = fail(&mut login, &policy, &request(Sec, Some(Op), ""));
    assert_eq!(failure.error, TargetLoginError::WrongStage { current: Sec });
}

#[test]
fn keys_of_another_stage_end_the_login() {
    for (stage, key) in [(Sec, "HeaderDigest=None"), (Op, "AuthMethod=None"), (Op, "SendTargets=All")] {
        let pairs = format!("{} {key}", names());
        let failure = fail(&mut login(), &Policy::open(), &request(stage, None, &pairs));
        assert_eq!(failure.error.status(), LoginStatus::InitiatorError);
        let name = key.split('=').next().unwrap();
        assert!(failure.error.to_string().contains(name), "{}", failure.error);
    }
}

#[test]
fn what_must_not_change_during_a_login_is_watched() {
    type Change = fn(&mut LoginRequest);
    let changes: [(&str, Change); 7] = [
        ("ISID", |header| header.isid = Isid([0; 6])),
        ("TSIH", |header| header.tsih = Tsih(1)),
        ("CID", |header| header.cid = Cid(2)),
        ("Initiator Task Tag", |header| header.itt = InitiatorTaskTag(0x12)),
        ("CmdSN", |header| header.cmd_sn = CmdSn(0x21)),
        ("Version-max", |header| header.version_max = 1),
        ("Version-min", |header| header.version_min = 1),
    ];
    for (field, change) in changes {
        let (mut login, policy) = (login(), Policy::open());
        send(&mut login, &policy, &request(Sec, Some(Op), &names()));
        let mut next = request(Op, Some(Full), "");
        change(&mut next.header);
        let failure = fail(&mut login, &policy, &next);
        assert_eq!(failure.error, TargetLoginError::Changed { field });
        assert_eq!(failure.response.unwrap().header.status, LoginStatus::InitiatorError);
    }
}

#[test]
fn a_name_cannot_be_changed_after_it_was_admitted() {
    for late in
        ["InitiatorName=iqn.2026-11.org:other", "TargetName=iqn.2026-11.org:other", "SessionType=Discovery"]
    {
        let (mut login, policy) = (login(), Policy::open());
        send(&mut login, &policy, &request(Sec, None, &names()));
        let failure = fail(&mut login, &policy, &request(Sec, None, late));
        assert!(matches!(failure.error, TargetLoginError::LateIdentity { .. }), "{}", failure.error);
    }
}
