//! CHAP: both halves against each other, and each against a peer that breaks the rules.

use super::*;
use crate::text::Pairs;

const ALICE: &str = "alice";
const SECRET: &str = "correct horse battery";
const MUTUAL: &str = "staple of another";

fn credentials(name: &str, secret: &str) -> ChapCredentials {
    ChapCredentials { name: name.into(), secret: ChapSecret::new(secret) }
}

fn random(seed: u8) -> ChapRandom {
    ChapRandom { identifier: seed, challenge: [seed; 32] }
}

fn target(mutual: Option<&str>) -> ChapTarget {
    let accounts = vec![credentials("bob", "bob's own secret"), credentials(ALICE, SECRET)];
    ChapTarget::new(ChapPolicy::new(accounts, mutual.map(|secret| credentials("disk", secret))), random(1))
}

fn initiator(secret: &str, mutual: Option<&str>) -> (ChapInitiator, Pairs) {
    let identity =
        ChapIdentity::new(credentials(ALICE, secret), mutual.map(|secret| credentials("disk", secret)));
    ChapInitiator::start(identity, random(2))
}

fn keys(pairs: &Pairs) -> Vec<(Key, String)> {
    pairs.iter().map(|pair| (Key::from_name(&pair.name).unwrap(), pair.value.clone())).collect()
}

fn list_of(pairs: &[(Key, &str)]) -> Vec<(Key, String)> {
    pairs.iter().map(|&(key, value)| (key, value.to_owned())).collect()
}

/// Runs both sides against each other; the side that fails first decides.
fn run(
    mut target: ChapTarget,
    initiator: (ChapInitiator, Pairs),
) -> Result<ChapTarget, (&'static str, ChapError)> {
    let (mut initiator, mut to_target) = initiator;
    while !(initiator.is_done() && target.authenticated().is_some()) {
        let to_initiator = target.receive(&keys(&to_target)).map_err(|error| ("target", error))?;
        to_target = initiator.receive(&keys(&to_initiator)).map_err(|error| ("initiator", error))?;
    }
    Ok(target)
}

/// Computed with another implementation of the hashes, over 27h, the secret and 00h to 0Fh.
#[test]
fn responses_are_the_hash_of_identifier_secret_and_challenge() {
    let challenge: Vec<u8> = (0..16).collect();
    for (algorithm, expected) in [
        (ChapAlgorithm::Md5, "0x8932cabbad7c42bb3333a152d9788f08"),
        (ChapAlgorithm::Sha1, "0x81a18461b50d21082ca558caba48c5b4e84832e0"),
        (ChapAlgorithm::Sha256, "0x2d181eac18fb1d54a5a1e39e891eb1aba7a971f8974808a7549b834b912dbb3b"),
        (ChapAlgorithm::Sha3_256, "0x2d50da028db8adfeff0497c77b461f7b1646ef0851a699e3ba48f56857697720"),
    ] {
        let response = algorithm.respond(0x27, &ChapSecret::new(SECRET), &challenge);
        assert_eq!(hexadecimal(&response), expected, "{algorithm}");
        assert_eq!(response.len(), algorithm.response_len());
        assert_eq!(ChapAlgorithm::from_number(algorithm.number().into()), Some(algorithm));
    }
}

#[test]
fn the_right_secret_is_accepted_one_way_and_mutual_with_every_algorithm() {
    for mutual in [None, Some(MUTUAL)] {
        for algorithm in ChapAlgorithm::ALL {
            let mut identity =
                ChapIdentity::new(credentials(ALICE, SECRET), mutual.map(|s| credentials("disk", s)));
            identity.algorithms = vec![algorithm];
            let done = run(target(mutual), ChapInitiator::start(identity, random(2))).unwrap();
            assert_eq!(done.authenticated(), Some(ALICE));
        }
    }
}

#[test]
fn a_wrong_secret_an_unknown_name_and_an_empty_secret_are_denied_alike() {
    let denied = |error| matches!(error, ("target", ChapError::Denied { .. }));
    assert!(denied(run(target(None), initiator("wrong", None)).unwrap_err()));
    let nobody = ChapIdentity::new(credentials("nobody", ""), None);
    assert!(denied(run(target(None), ChapInitiator::start(nobody, random(2))).unwrap_err()));
    let bob = ChapIdentity::new(credentials("bob", SECRET), None);
    assert!(denied(run(target(None), ChapInitiator::start(bob, random(2))).unwrap_err()));
}

#[test]
fn a_target_that_cannot_prove_itself_is_denied() {
    let (side, error) = run(target(Some("not the one")), initiator(SECRET, Some(MUTUAL))).unwrap_err();
    assert!(side == "initiator" && matches!(error, ChapError::Denied { .. }), "{error}");
    let (side, error) = run(target(None), initiator(SECRET, Some(MUTUAL))).unwrap_err();
    assert_eq!((side, error), ("target", ChapError::NoMutual));
}

#[test]
fn a_target_with_the_right_secret_and_another_name_is_denied() {
    let identity = ChapIdentity::new(credentials(ALICE, SECRET), Some(credentials("other disk", MUTUAL)));
    let (side, error) = run(target(Some(MUTUAL)), ChapInitiator::start(identity, random(2))).unwrap_err();
    assert_eq!((side, error), ("initiator", ChapError::Denied { name: "disk".into() }));
}

#[test]
fn the_strongest_common_algorithm_is_taken_whatever_the_order() {
    for (offered, expected) in [("5,7", "7"), ("5,6,7,8", "8"), ("6,5", "6"), ("5", "5"), ("99,5,0x8", "8")] {
        let answer = target(None).receive(&list_of(&[(Key::ChapA, offered)])).unwrap();
        assert_eq!(answer.get(Key::ChapA), Some(expected), "{offered}");
    }
    let mut policy = ChapPolicy::new(vec![], None);
    policy.algorithms = [ChapAlgorithm::Sha256].into();
    let refused = ChapTarget::new(policy, random(1)).receive(&list_of(&[(Key::ChapA, "5,8")])).unwrap_err();
    assert!(matches!(refused, ChapError::NoAlgorithm { .. }), "{refused}");
    let garbage = target(None).receive(&list_of(&[(Key::ChapA, "MD5")])).unwrap_err();
    assert!(matches!(garbage, ChapError::Value { key: Key::ChapA, .. }), "{garbage}");
}

#[test]
fn an_algorithm_that_was_not_offered_is_refused() {
    let identity = ChapIdentity {
        algorithms: vec![ChapAlgorithm::Sha256],
        ..ChapIdentity::new(credentials(ALICE, SECRET), None)
    };
    let (mut initiator, _) = ChapInitiator::start(identity, random(2));
    let answer = list_of(&[(Key::ChapA, "5"), (Key::ChapI, "1"), (Key::ChapC, "0x0102")]);
    assert!(matches!(initiator.receive(&answer), Err(ChapError::NoAlgorithm { .. })));
}

/// A target that has sent its challenge for MD5, and that challenge.
fn challenged() -> (ChapTarget, u8, Vec<u8>) {
    let mut target = target(Some(MUTUAL));
    let asked = keys(&target.receive(&list_of(&[(Key::ChapA, "5")])).unwrap());
    let (identifier, challenge) = challenge_of(&asked).unwrap();
    (target, identifier, challenge)
}

#[test]
fn a_response_is_taken_in_hexadecimal_and_in_base64() {
    for encoding in [BinaryEncoding::Hexadecimal, BinaryEncoding::Base64] {
        let (mut target, identifier, challenge) = challenged();
        let response = ChapAlgorithm::Md5.respond(identifier, &ChapSecret::new(SECRET), &challenge);
        let response = encode_binary(&response, encoding);
        target.receive(&list_of(&[(Key::ChapN, ALICE), (Key::ChapR, &response)])).unwrap();
        assert_eq!(target.authenticated(), Some(ALICE));
    }
}

#[test]
fn a_challenge_that_comes_back_is_refused() {
    let (mut target, identifier, challenge) = challenged();
    let response = hexadecimal(&ChapAlgorithm::Md5.respond(identifier, &ChapSecret::new(SECRET), &challenge));
    let reflected = encode_binary(&challenge, BinaryEncoding::Base64);
    let keys =
        list_of(&[(Key::ChapN, ALICE), (Key::ChapR, &response), (Key::ChapI, "9"), (Key::ChapC, &reflected)]);
    assert_eq!(target.receive(&keys), Err(ChapError::Reflected));
    assert_eq!(target.authenticated(), None);

    let identity = ChapIdentity::new(credentials(ALICE, SECRET), Some(credentials("disk", MUTUAL)));
    let (mut initiator, _) = ChapInitiator::start(identity, random(1));
    let ours = hexadecimal(&[1; 16]);
    let keys = list_of(&[(Key::ChapA, "5"), (Key::ChapI, "1"), (Key::ChapC, &ours)]);
    assert_eq!(initiator.receive(&keys), Err(ChapError::Reflected));
}

#[test]
fn one_secret_for_both_directions_is_refused_before_and_during_the_exchange() {
    let policy = ChapPolicy::new(vec![credentials(ALICE, SECRET)], Some(credentials("disk", SECRET)));
    assert_eq!(policy.check(), Err(ChapError::SameSecret));
    assert_eq!(
        ChapPolicy::new(vec![credentials(ALICE, SECRET)], Some(credentials("disk", MUTUAL))).check(),
        Ok(())
    );
    let identity = ChapIdentity::new(credentials(ALICE, SECRET), Some(credentials("disk", SECRET)));
    assert_eq!(identity.check(), Err(ChapError::SameSecret));
    let result = run(ChapTarget::new(policy, random(1)), ChapInitiator::start(identity, random(2)));
    assert_eq!(result.unwrap_err(), ("target", ChapError::SameSecret));
}

#[test]
fn a_response_of_another_length_is_refused() {
    for response in ["0x00", "0x112233445566778899aabbccddeeff0011", "0b"] {
        let (mut target, ..) = challenged();
        let error = target.receive(&list_of(&[(Key::ChapN, ALICE), (Key::ChapR, response)])).unwrap_err();
        assert!(matches!(error, ChapError::ResponseLength { .. } | ChapError::Value { .. }), "{error}");
    }
}

#[test]
fn steps_with_missing_or_foreign_keys_are_refused() {
    let error = |keys: &[(Key, &str)]| challenged().0.receive(&list_of(keys)).unwrap_err();
    let full = "0x00112233445566778899aabbccddeeff";
    assert_eq!(error(&[(Key::ChapN, ALICE)]), ChapError::Missing { key: Key::ChapR });
    assert_eq!(error(&[(Key::ChapR, full)]), ChapError::Missing { key: Key::ChapN });
    assert_eq!(error(&[(Key::ChapA, "5")]), ChapError::Unexpected { key: Key::ChapA });
    let early = target(None).receive(&list_of(&[(Key::ChapN, ALICE), (Key::ChapR, full)])).unwrap_err();
    assert_eq!(early, ChapError::Unexpected { key: Key::ChapN });

    let (mut target, identifier, challenge) = challenged();
    let response = hexadecimal(&ChapAlgorithm::Md5.respond(identifier, &ChapSecret::new(SECRET), &challenge));
    let half = list_of(&[(Key::ChapN, ALICE), (Key::ChapR, &response), (Key::ChapI, "9")]);
    assert_eq!(target.receive(&half), Err(ChapError::Missing { key: Key::ChapC }));
    assert_eq!(target.authenticated(), None);
}

#[test]
fn identifiers_and_challenges_are_bounded() {
    let answer = |identifier: &str, challenge_len: usize| {
        let challenge = hexadecimal(&vec![7; challenge_len]);
        let keys = list_of(&[(Key::ChapA, "5"), (Key::ChapI, identifier), (Key::ChapC, &challenge)]);
        initiator(SECRET, None).0.receive(&keys)
    };
    assert!(answer("0", 1).is_ok());
    assert!(answer("255", 1023).is_ok());
    assert!(answer("0xff", 16).is_ok());
    assert!(matches!(answer("256", 16), Err(ChapError::Value { key: Key::ChapI, .. })));
    assert!(matches!(answer("1", 1024), Err(ChapError::Value { key: Key::ChapC, .. })));
    assert!(matches!(answer("1", 0), Err(ChapError::Value { key: Key::ChapC, .. })));
}

#[test]
fn secrets_are_not_printed_and_short_ones_are_told() {
    assert_eq!(
        format!("{:?}", credentials(ALICE, SECRET)),
        "ChapCredentials { name: \"alice\", secret: ChapSecret(..) }"
    );
    assert!(!format!("{:?}", target(Some(MUTUAL))).contains("116"), "no bytes of a secret");
    assert!(ChapSecret::new("elevenchars").is_short());
    assert!(!ChapSecret::new("twelve chars").is_short());
}
