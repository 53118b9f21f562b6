//! Lists of pairs: order, delimiters, faults and bounds.

use proptest::prelude::*;

use super::*;

fn decode(text: &str) -> Result<Vec<(String, String)>, TextError> {
    let pairs = Pairs::decode(text.as_bytes())?;
    Ok(pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

#[test]
fn pairs_keep_their_order_and_any_number_of_nuls_delimits_them() {
    let expected = vec![pair("B", "1"), pair("A", ""), pair("C", "x=y")];
    assert_eq!(decode("B=1\0A=\0C=x=y\0"), Ok(expected.clone()));
    assert_eq!(decode("\0\0B=1\0\0A=\0\0\0C=x=y\0\0"), Ok(expected));
    assert_eq!(decode(""), Ok(vec![]));
    assert_eq!(decode("\0\0\0"), Ok(vec![]));
}

#[test]
fn values_may_be_utf8() {
    assert_eq!(decode("InitiatorAlias=Knoten Ä\0"), Ok(vec![pair("InitiatorAlias", "Knoten Ä")]));
    assert_eq!(
        Pairs::decode(b"InitiatorAlias=\xff\0"),
        Err(TextError::NotUtf8 { key: "InitiatorAlias".into() })
    );
}

#[test]
fn a_fault_is_named_with_its_place() {
    let offset = |text: &str| match decode(text) {
        Err(TextError::Grammar { offset, .. }) => Some(offset),
        _ => None,
    };
    assert_eq!(offset("A=1"), Some(0), "the last pair has no NUL");
    assert_eq!(offset("A=1\0B=2"), Some(4));
    assert_eq!(offset("A\0"), Some(0), "no equals sign");
    assert_eq!(offset("A=1\0=2\0"), Some(4), "no name");
    assert_eq!(offset("A=1\0\0\0 B=2\0"), Some(6));
    assert_eq!(offset(&format!("{}=1\0", "K".repeat(63))), None);
    assert_eq!(offset(&format!("{}=1\0", "K".repeat(64))), Some(0));
}

#[test]
fn a_key_that_comes_twice_is_an_error_except_in_a_listing_of_targets() {
    assert_eq!(decode("A=1\0A=1\0"), Err(TextError::Repeated { key: "A".into() }));
    let listing = "TargetName=iqn.2026-11.org:a\0TargetAddress=a:1,1\0TargetAddress=b:1,1\0TargetName=iqn.2026-11.org:b\0";
    assert_eq!(decode(listing).map(|pairs| pairs.len()), Ok(4));
}

#[test]
fn the_count_of_pairs_is_bounded() {
    let text = |count: usize| (0..count).map(|i| format!("K{i}=\0")).collect::<String>();
    assert_eq!(decode(&text(TEXT_PAIRS_MAX)).map(|pairs| pairs.len()), Ok(TEXT_PAIRS_MAX));
    assert_eq!(decode(&text(TEXT_PAIRS_MAX + 1)), Err(TextError::TooManyPairs));
}

#[test]
fn the_length_of_a_text_is_bounded() {
    let text = |len: usize| format!("K={}\0", "x".repeat(len - 3));
    assert!(decode(&text(TEXT_LEN_MAX)).is_ok());
    assert_eq!(decode(&text(TEXT_LEN_MAX + 1)), Err(TextError::TooLong));
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(
        pairs in proptest::collection::btree_map("[A-Za-z][A-Za-z0-9.+@_-]{0,62}", "[^\0]{0,40}", 0..40)
    ) {
        let mut list = Pairs::new();
        for (name, value) in &pairs {
            list.push_named(name.as_str(), value.as_str());
        }
        prop_assert_eq!(Pairs::decode(&list.encode()), Ok(list));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Pairs::decode(&bytes);
    }
}
