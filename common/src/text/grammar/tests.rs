//! Every kind of value, at its edges.

use proptest::prelude::*;

use super::*;

#[test]
fn a_boolean_is_yes_or_no_with_this_case() {
    assert_eq!(boolean("Yes"), Ok(true));
    assert_eq!(boolean("No"), Ok(false));
    for text in ["yes", "YES", "", "Yes ", "1", "Reject"] {
        assert_eq!(boolean(text), Err(ValueError::Boolean), "{text:?}");
    }
    assert_eq!(encode_boolean(true), "Yes");
    assert_eq!(encode_boolean(false), "No");
}

#[test]
fn numbers_are_decimal_or_hexadecimal_below_2_to_the_64() {
    assert_eq!(number("0"), Ok(0));
    assert_eq!(number("262144"), Ok(262_144));
    assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(number("0x1F"), Ok(31));
    assert_eq!(number("0X1f"), Ok(31));
    assert_eq!(number("0xffffffffffffffff"), Ok(u64::MAX));
    assert_eq!(number("0x00000000000000000000001"), Ok(1));
    let bad = [
        "",
        "00",
        "01",
        "-1",
        "+1",
        "1 ",
        " 1",
        "1.5",
        "0x",
        "0xg",
        "x10",
        "18446744073709551616",
        "0x10000000000000000",
    ];
    for text in bad {
        assert_eq!(number(text), Err(ValueError::Number), "{text:?}");
    }
}

#[test]
fn a_range_has_its_smaller_number_first() {
    assert_eq!(range("1~2048"), Ok((1, 2048)));
    assert_eq!(range("0x10~16"), Ok((16, 16)));
    for text in ["2~1", "1~", "~1", "1-2", "1~2~3", ""] {
        assert_eq!(range(text), Err(ValueError::Range), "{text:?}");
    }
}

#[test]
fn a_list_has_no_empty_member() {
    assert_eq!(list("CRC32C,None"), Ok(vec!["CRC32C", "None"]));
    assert_eq!(list("None"), Ok(vec!["None"]));
    for text in ["", ",", "None,", ",None", "a,,b"] {
        assert_eq!(list(text), Err(ValueError::List), "{text:?}");
    }
}

#[test]
fn bytes_are_hexadecimal_or_base64() {
    assert_eq!(binary("0x00ffA5", 8), Ok(vec![0, 0xff, 0xa5]));
    assert_eq!(binary("0X0F", 8), Ok(vec![15]));
    assert_eq!(
        binary("0xf00", 8),
        Ok(vec![0x0f, 0x00]),
        "an odd digit count is a number with its zero dropped"
    );
    // RFC 4648 §10, the test vectors.
    for (text, bytes) in [
        ("0bZg==", "f"),
        ("0bZm8=", "fo"),
        ("0bZm9v", "foo"),
        ("0BZm9vYg==", "foob"),
        ("0bZm9vYmE=", "fooba"),
    ] {
        assert_eq!(binary(text, 8), Ok(bytes.as_bytes().to_vec()), "{text}");
    }
    assert_eq!(binary("0bZg", 8), Ok(b"f".to_vec()), "padding may be missing");
    for text in [
        "",
        "0x",
        "0b",
        "abcd",
        "0xgg",
        "0b=",
        "0bZ",
        "0bZ===",
        "0bZg=",
        "0bZm8==",
        "0bZm9v=",
        "0bZm9v====",
        "0bZ*==",
        "0x 00",
    ] {
        assert_eq!(binary(text, 8), Err(ValueError::Binary), "{text:?}");
    }
}

#[test]
fn bytes_are_bounded_at_the_limit_and_not_before() {
    let too_long = Err(ValueError::TooLong { limit: 3 });
    assert_eq!(binary("0x010203", 3).map(|b| b.len()), Ok(3));
    assert_eq!(binary("0x01020304", 3), too_long);
    assert_eq!(binary("0bAQID", 3).map(|b| b.len()), Ok(3));
    assert_eq!(binary("0bAQIDBA==", 3), too_long);
    assert_eq!(binary("0bAQIDBA", 3), too_long);
    assert_eq!(binary("0b", 0), Err(ValueError::Binary));
}

#[test]
fn a_key_name_is_a_letter_and_up_to_62_more() {
    for name in ["InitiatorName", "X-com.example.do_it", "X#NodeArchitecture", "iSCSIProtocolLevel", "A"] {
        assert!(is_key_name(name), "{name}");
    }
    assert!(is_key_name(&"K".repeat(63)));
    assert!(!is_key_name(&"K".repeat(64)));
    for name in ["", "1Key", "-Key", "Ke y", "Ke=y", "Kéy", "Ke\0y"] {
        assert!(!is_key_name(name), "{name:?}");
    }
}

proptest! {
    #[test]
    fn bytes_survive_both_encodings(bytes in proptest::collection::vec(any::<u8>(), 1..1024)) {
        for encoding in [BinaryEncoding::Hexadecimal, BinaryEncoding::Base64] {
            let text = encode_binary(&bytes, encoding);
            prop_assert_eq!(binary(&text, bytes.len()), Ok(bytes.clone()));
            prop_assert_eq!(binary(&text, bytes.len() - 1), Err(ValueError::TooLong { limit: bytes.len() - 1 }));
        }
    }

    #[test]
    fn numbers_survive_both_notations(value in any::<u64>()) {
        prop_assert_eq!(number(&value.to_string()), Ok(value));
        prop_assert_eq!(number(&format!("{value:#x}")), Ok(value));
    }
}
