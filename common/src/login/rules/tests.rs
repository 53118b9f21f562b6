//! The result of one key, at the edges of its range and for both roles.

use proptest::prelude::*;

use super::*;
use crate::login::offer::Offer;
use crate::text::keys::{KEYS, Key};

/// Answer and outcome, as text.
fn respond(key: Key, ours: Rule, offered: &str) -> (String, Outcome) {
    let Reply { answer, outcome } = ours.respond(key.row(), offered);
    (answer, outcome)
}

fn yes_no(value: bool) -> &'static str {
    encode_boolean(value)
}

#[test]
fn every_negotiated_key_has_a_rule_and_it_is_the_one_of_its_row() {
    let offer = Offer::target();
    for row in KEYS {
        let rule = Rule::of(row.key, &offer);
        let agrees = match (&rule, row.kind) {
            (Some(Rule::And(_)), Kind::And) | (Some(Rule::Or(_)), Kind::Or) => true,
            (Some(Rule::Minimum(_)), Kind::Minimum { .. }) => true,
            (Some(Rule::Maximum(_)), Kind::Maximum { .. }) => true,
            (Some(Rule::List(ours)), Kind::List(all)) => ours.iter().all(|value| all.contains(value)),
            // AuthMethod belongs to the login machines.
            (None, Kind::List(_)) => row.key == Key::AuthMethod,
            (None, Kind::Declaration(_) | Kind::Authentication { .. } | Kind::Obsolete { .. }) => true,
            _ => false,
        };
        assert!(agrees, "{}: {rule:?} against {:?}", row.name, row.kind);
    }
}

#[test]
fn booleans_join_by_their_rule() {
    for ours in [true, false] {
        for theirs in [true, false] {
            let and = respond(Key::ImmediateData, Rule::And(ours), yes_no(theirs));
            assert_eq!(and, (yes_no(ours && theirs).into(), Outcome::Boolean(ours && theirs)));
            let or = respond(Key::InitialR2T, Rule::Or(ours), yes_no(theirs));
            assert_eq!(or, (yes_no(ours || theirs).into(), Outcome::Boolean(ours || theirs)));
        }
    }
}

#[test]
fn numbers_join_by_their_rule_and_may_be_hexadecimal() {
    let number = |n: u32| (n.to_string(), Outcome::Number(n));
    assert_eq!(respond(Key::MaxBurstLength, Rule::Minimum(65536), "0x8000"), number(32768));
    assert_eq!(respond(Key::MaxBurstLength, Rule::Minimum(65536), "262144"), number(65536));
    assert_eq!(respond(Key::DefaultTime2Wait, Rule::Maximum(2), "0"), number(2));
    assert_eq!(respond(Key::DefaultTime2Wait, Rule::Maximum(2), "3600"), number(3600));
}

#[test]
fn a_value_outside_of_the_range_or_the_grammar_is_rejected() {
    let rejected = ("Reject".to_owned(), Outcome::Unchanged);
    for value in ["511", "16777216", "4294967808", "many", "-1", ""] {
        assert_eq!(respond(Key::MaxBurstLength, Rule::Minimum(65536), value), rejected, "{value}");
    }
    for value in ["512", "16777215"] {
        assert_ne!(respond(Key::MaxBurstLength, Rule::Minimum(65536), value), rejected, "{value}");
    }
    assert_eq!(respond(Key::DefaultTime2Wait, Rule::Maximum(2), "3601"), rejected);
    assert_eq!(respond(Key::ImmediateData, Rule::And(true), "yes"), rejected);
    assert_eq!(respond(Key::HeaderDigest, Rule::List(vec!["None"]), "None,,"), rejected);
}

#[test]
fn a_list_ends_with_the_originators_first_value_that_the_responder_has() {
    let ours = || Rule::List(vec!["None", "CRC32C"]);
    let choice = |value: &'static str| (value.to_owned(), Outcome::Choice(value));
    assert_eq!(respond(Key::HeaderDigest, ours(), "CRC32C,None"), choice("CRC32C"));
    assert_eq!(respond(Key::HeaderDigest, ours(), "None,CRC32C"), choice("None"));
    assert_eq!(respond(Key::HeaderDigest, ours(), "Y-com.example.sum,CRC32C"), choice("CRC32C"));
    let rejected = ("Reject".to_owned(), Outcome::Unchanged);
    assert_eq!(respond(Key::HeaderDigest, Rule::List(vec!["CRC32C"]), "None"), rejected);
}

#[test]
fn an_answer_that_the_offer_does_not_allow_is_no_outcome() {
    let conclude = |key: Key, ours: &Rule, answer: &str| ours.conclude(key.row(), answer);
    assert_eq!(conclude(Key::ImmediateData, &Rule::And(false), "Yes"), None);
    assert_eq!(conclude(Key::InitialR2T, &Rule::Or(true), "No"), None);
    assert_eq!(conclude(Key::MaxBurstLength, &Rule::Minimum(65536), "65537"), None);
    assert_eq!(conclude(Key::MaxBurstLength, &Rule::Minimum(65536), "511"), None);
    assert_eq!(conclude(Key::DefaultTime2Wait, &Rule::Maximum(2), "1"), None);
    assert_eq!(conclude(Key::HeaderDigest, &Rule::List(vec!["None"]), "CRC32C"), None);
    assert_eq!(conclude(Key::HeaderDigest, &Rule::List(vec!["CRC32C", "None"]), "CRC32C,None"), None);
    assert_eq!(conclude(Key::ImmediateData, &Rule::And(true), "Perhaps"), None);
    for answer in [REJECT, NOT_UNDERSTOOD, IRRELEVANT] {
        assert_eq!(conclude(Key::MaxBurstLength, &Rule::Minimum(65536), answer), Some(Outcome::Unchanged));
    }
}

#[test]
fn a_side_raises_a_key_itself_only_when_the_default_does_not_do() {
    assert!(Rule::And(true).accepts("Yes"));
    assert!(!Rule::And(false).accepts("Yes"));
    assert!(Rule::Or(false).accepts("Yes"));
    assert!(Rule::Minimum(262_144).accepts("262144"));
    assert!(!Rule::Minimum(262_143).accepts("262144"));
    assert!(Rule::Maximum(2).accepts("2"));
    assert!(!Rule::Maximum(3).accepts("2"));
    assert!(!Rule::List(vec!["CRC32C"]).accepts("None"));
}

proptest! {
    /// What a responder answers is always something that the originator's side of the same rule takes, with one result.
    #[test]
    fn both_sides_of_a_rule_come_to_the_same_result(ours in any::<bool>(), theirs in any::<bool>(), a in 512u32..1 << 24, b in 512u32..1 << 24) {
        let cases = [
            (Key::ImmediateData, Rule::And(ours), Rule::And(theirs)),
            (Key::InitialR2T, Rule::Or(ours), Rule::Or(theirs)),
            (Key::MaxBurstLength, Rule::Minimum(a), Rule::Minimum(b)),
            (Key::DefaultTime2Wait, Rule::Maximum(a % 3601), Rule::Maximum(b % 3601)),
        ];
        for (key, originator, responder) in cases {
            let reply = responder.respond(key.row(), &originator.offered());
            prop_assert_eq!(originator.conclude(key.row(), &reply.answer), Some(reply.outcome));
        }
    }
}
