//! The grammar of text keys and their values (RFC 7143 §6.1).
//!
//! A pair is `key-name=value` and one NUL at least. What a value may be depends on its key; the functions here turn one
//! value into a number, a boolean, a list, a range or bytes, and say what was expected when they cannot.
//!
//! Values are taken more liberally than §6.1 `text-value` writes them (any UTF-8 without NUL), since an unknown key
//! must be answered NotUnderstood whatever its value. What is sent obeys §6.1 to the letter.

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, opt, recognize, verify};
use nom::multi::separated_list1;
use nom::sequence::{pair, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use crate::limits::KEY_NAME_LEN_MAX;

/// Why a value is not what its key asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not `Yes` and not `No`.
    #[error("expected Yes or No")]
    Boolean,
    /// Neither a decimal nor a hexadecimal constant below 2^64.
    #[error("expected a decimal or 0x number below 2^64")]
    Number,
    /// Not two numbers around a tilde, the smaller one first.
    #[error("expected a range low~high")]
    Range,
    /// A list with an empty member.
    #[error("expected values separated by commas")]
    List,
    /// Neither `0x` with digits nor `0b` with base64.
    #[error("expected 0x with hexadecimal digits or 0b with base64")]
    Binary,
    /// More bytes than the key allows.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The key's limit in bytes.
        limit: usize,
    },
}

/// Bytes of a `text-value` that may stand in a key name after its first letter (RFC 7143 §6.1, `standard-label`).
/// `#` is for the public extension keys, `X#name` (RFC 7143 §13.22).
fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-+@_#".contains(&byte)
}

/// One key name, a letter first, at most 63 bytes. RFC 7143 §6.1 wants a capital, but its own `iSCSIProtocolLevel`
/// (§13.24) has none.
fn key_name(input: &[u8]) -> IResult<&[u8], &[u8]> {
    recognize(pair(
        take_while_m_n(1, 1, |byte: u8| byte.is_ascii_alphabetic()),
        take_while_m_n(0, KEY_NAME_LEN_MAX - 1, is_label_byte),
    ))
    .parse(input)
}

/// One `key=value` with all of its NULs; the two sides as raw bytes.
pub(super) fn key_value(input: &[u8]) -> IResult<&[u8], (&[u8], &[u8])> {
    terminated(
        separated_pair(key_name, tag("="), take_while(|byte| byte != 0)),
        take_while1(|byte| byte == 0),
    )
    .parse(input)
}

/// Whether `name` is a key name.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    all_consuming(key_name).parse(name.as_bytes()).is_ok()
}

/// `Yes` or `No` (RFC 7143 §6.1, `boolean-value`).
///
/// # Errors
/// [`ValueError::Boolean`] for anything else, also for another case of the letters.
pub fn boolean(text: &str) -> Result<bool, ValueError> {
    match text {
        "Yes" => Ok(true),
        "No" => Ok(false),
        _ => Err(ValueError::Boolean),
    }
}

/// How a boolean is written.
#[must_use]
pub const fn encode_boolean(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

fn decimal(input: &str) -> IResult<&str, u64> {
    // A leading zero stands alone (RFC 7143 §6.1, `decimal-constant`).
    recognize(alt((recognize(pair(one_of("123456789"), take_while(|c: char| c.is_ascii_digit()))), tag("0"))))
        .map_res(str::parse::<u64>)
        .parse(input)
}

fn hexadecimal(input: &str) -> IResult<&str, u64> {
    preceded(tag_no_case("0x"), take_while1(|c: char| c.is_ascii_hexdigit()))
        .map_res(|digits| u64::from_str_radix(digits, 16))
        .parse(input)
}

fn numerical(input: &str) -> IResult<&str, u64> {
    alt((hexadecimal, decimal)).parse(input)
}

/// A decimal or hexadecimal constant below 2^64 (RFC 7143 §6.1, `numerical-value`).
///
/// # Errors
/// [`ValueError::Number`] for anything else.
pub fn number(text: &str) -> Result<u64, ValueError> {
    all_consuming(numerical).parse(text).map(|(_, value)| value).map_err(|_| ValueError::Number)
}

/// Two numbers around a tilde, the smaller one first (RFC 7143 §6.1, `numeric-range`).
///
/// # Errors
/// [`ValueError::Range`] for anything else.
pub fn range(text: &str) -> Result<(u64, u64), ValueError> {
    verify(all_consuming(separated_pair(numerical, char('~'), numerical)), |&(low, high)| low <= high)
        .parse(text)
        .map(|(_, bounds)| bounds)
        .map_err(|_| ValueError::Range)
}

/// Values separated by commas, one at least (RFC 7143 §6.1, `list-of-values`).
///
/// # Errors
/// [`ValueError::List`] when a member is empty.
pub fn list(text: &str) -> Result<Vec<&str>, ValueError> {
    all_consuming(separated_list1(char(','), take_while1(|c| c != ',')))
        .parse(text)
        .map(|(_, members)| members)
        .map_err(|_: nom::Err<nom::error::Error<&str>>| ValueError::List)
}

/// How bytes are written in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BinaryEncoding {
    /// `0x` and two digits a byte.
    #[default]
    Hexadecimal,
    /// `0b` and base64 (RFC 4648 §4).
    Base64,
}

/// Bytes as a hexadecimal or base64 constant (RFC 7143 §6.1, `large-binary-value`), at most `limit` of them.
///
/// An odd count of hexadecimal digits is read as a number, that is with a zero before it: some peers drop it.
///
/// # Errors
/// [`ValueError::Binary`] or [`ValueError::TooLong`].
pub fn binary(text: &str, limit: usize) -> Result<Vec<u8>, ValueError> {
    let hex = preceded(tag_no_case("0x"), take_while1(|c: char| c.is_ascii_hexdigit()));
    let hex: IResult<&str, &str> = all_consuming(hex).parse(text);
    if let Ok((_, digits)) = hex {
        if digits.len().div_ceil(2) > limit {
            return Err(ValueError::TooLong { limit });
        }
        return Ok(decode_hex(digits));
    }
    let base64 = preceded(tag_no_case("0b"), (take_while1(is_base64_char), opt(tag("==")), opt(tag("="))));
    let base64: IResult<&str, (&str, Option<&str>, Option<&str>)> = all_consuming(base64).parse(text);
    let Ok((_, (digits, two, one))) = base64 else { return Err(ValueError::Binary) };
    let padding = two.map_or(0, str::len) + one.map_or(0, str::len);
    if digits.len() / 4 * 3 > limit {
        return Err(ValueError::TooLong { limit });
    }
    // Padding may be missing, but what there is must fill the last group of four.
    let fits = digits.len() % 4 != 1 && (padding == 0 || (digits.len() + padding).is_multiple_of(4));
    let bytes = if fits { decode_base64(digits) } else { None };
    bytes
        .ok_or(ValueError::Binary)
        .and_then(|bytes| if bytes.len() > limit { Err(ValueError::TooLong { limit }) } else { Ok(bytes) })
}

/// Writes bytes as a value.
#[must_use]
pub fn encode_binary(bytes: &[u8], encoding: BinaryEncoding) -> String {
    match encoding {
        BinaryEncoding::Hexadecimal => {
            let digit = |nibble: u8| char::from(HEX_DIGITS[usize::from(nibble & 0x0f)]);
            let digits = bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]);
            "0x".chars().chain(digits).collect()
        }
        BinaryEncoding::Base64 => {
            let mut text = String::from("0b");
            for group in bytes.chunks(3) {
                let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
                let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
                for position in 0..4u32 {
                    let index = (bits >> (18 - 6 * position)) & 0x3f;
                    let digit = BASE64_DIGITS.get(index as usize).map_or('=', |&digit| char::from(digit));
                    text.push(if position as usize <= group.len() { digit } else { '=' });
                }
            }
            text
        }
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
const BASE64_DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn is_base64_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '+' || c == '/'
}

/// `digits` holds hexadecimal digits only.
fn decode_hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    };
    let digits = digits.as_bytes();
    let (head, pairs) = digits.split_at(digits.len() % 2);
    let head = head.iter().map(|&digit| value(digit));
    let pairs = pairs.chunks_exact(2).map(|two| match two {
        [high, low] => value(*high) << 4 | value(*low),
        _ => 0,
    });
    head.chain(pairs).collect()
}

/// Digits without padding; `None` when one is not of the alphabet.
fn decode_base64(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(((bits >> count) & 0xff).to_be_bytes()[3]);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
