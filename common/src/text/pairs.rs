//! An ordered list of `key=value` pairs.

use std::collections::HashSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::grammar::key_value;
use super::keys::Key;
use crate::limits::{TEXT_LEN_MAX, TEXT_PAIRS_MAX};

/// One key and its value, as the peer wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key's name.
    pub name: String,
    /// The value; UTF-8 without NUL.
    pub value: String,
}

/// Why a text is not a list of pairs. All of them are the sender's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not `key=value` with a NUL after it.
    #[error("text is not key=value with a NUL after it, from byte {offset} on: {near:?} (RFC 7143 6.1)")]
    Grammar {
        /// Where the pair begins, in bytes.
        offset: usize,
        /// The first bytes there, made printable.
        near: String,
    },
    /// A value is not UTF-8.
    #[error("the value of key {key} is not UTF-8")]
    NotUtf8 {
        /// The key.
        key: String,
    },
    /// The same key twice in one text.
    #[error("key {key} is sent twice (RFC 7143 6.3)")]
    Repeated {
        /// The key.
        key: String,
    },
    /// More bytes than one negotiation may have.
    #[error("text is longer than {TEXT_LEN_MAX} bytes")]
    TooLong,
    /// More pairs than one negotiation may have.
    #[error("text holds more than {TEXT_PAIRS_MAX} keys")]
    TooManyPairs,
}

/// Pairs in the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pairs(Vec<Pair>);

impl Pairs {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads a whole text: no pair is cut off at its end.
    ///
    /// # Errors
    /// [`TextError`]. A key twice is an error unless its row says that it may be repeated
    /// ([`KeyRow::repeatable`](super::keys::KeyRow::repeatable)).
    pub fn decode(text: &[u8]) -> Result<Self, TextError> {
        if text.len() > TEXT_LEN_MAX {
            return Err(TextError::TooLong);
        }
        let mut pairs = Vec::new();
        let mut seen = HashSet::new();
        // NULs before the first pair are of no meaning; those after a pair are its delimiter.
        let mut rest = skip_nuls(text);
        while !rest.is_empty() {
            let (after, (name, value)) = key_value(rest).map_err(|_| grammar_error(text, rest))?;
            let name = std::str::from_utf8(name).map_err(|_| grammar_error(text, rest))?;
            let value = std::str::from_utf8(value).map_err(|_| TextError::NotUtf8 { key: name.into() })?;
            let repeatable = Key::from_name(name).is_some_and(|key| key.row().repeatable());
            if !seen.insert(name) && !repeatable {
                return Err(TextError::Repeated { key: name.into() });
            }
            if pairs.len() == TEXT_PAIRS_MAX {
                return Err(TextError::TooManyPairs);
            }
            pairs.push(Pair { name: name.into(), value: value.into() });
            rest = after;
        }
        Ok(Self(pairs))
    }

    /// The text: every pair with one NUL after it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut text = BytesMut::with_capacity(self.0.iter().map(|p| p.name.len() + p.value.len() + 2).sum());
        for pair in &self.0 {
            text.put_slice(pair.name.as_bytes());
            text.put_u8(b'=');
            text.put_slice(pair.value.as_bytes());
            text.put_u8(0);
        }
        text.freeze()
    }

    /// Adds a known key.
    pub fn push(&mut self, key: Key, value: impl Into<String>) {
        self.push_named(key.name(), value);
    }

    /// Adds a key by its name, which the caller took from a peer or from [`Key::name`].
    pub fn push_named(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Pair { name: name.into(), value: value.into() });
    }

    /// Adds all pairs of another list.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The value of the first pair with this key.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&str> {
        self.0.iter().find(|pair| pair.name == key.name()).map(|pair| pair.value.as_str())
    }

    /// The pairs in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Pair> {
        self.0.iter()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Pairs {
    type Item = &'a Pair;
    type IntoIter = std::slice::Iter<'a, Pair>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn skip_nuls(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| byte != 0).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn grammar_error(text: &[u8], rest: &[u8]) -> TextError {
    /// Enough to recognise the key, short enough for a log line.
    const SHOWN: usize = 40;
    let near = rest.get(..SHOWN).unwrap_or(rest).escape_ascii().to_string();
    TextError::Grammar { offset: text.len() - rest.len(), near }
}

#[cfg(test)]
mod tests;
