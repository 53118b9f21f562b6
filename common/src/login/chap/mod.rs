//! CHAP, one-way and mutual (RFC 7143 §12.1.3, RFC 1994).
//!
//! ```text
//! initiator (is authenticated first)              target
//!   CHAP_A=7,5                     ->
//!                                  <-   CHAP_A=7 CHAP_I=.. CHAP_C=..
//!   CHAP_N=name CHAP_R=..          ->                                   one-way: done
//!  [CHAP_I=.. CHAP_C=..]           ->                                   mutual: the target proves itself too
//!                                  <-  [CHAP_N=name CHAP_R=..]
//! ```
//!
//! Invariants: secrets and expected responses are compared in constant time and wiped when dropped; an unknown name costs
//! the same work as a wrong secret; a challenge that comes back is refused, and so is one secret for both directions
//! (RFC 7143 §9.2.1).
//!
//! Random bytes are arguments ([`ChapRandom`]); a fresh one is needed for every login.

mod error;
mod initiator;
mod target;
#[cfg(test)]
mod tests;

pub use error::ChapError;
pub use initiator::{ChapIdentity, ChapInitiator};
pub use target::{ChapPolicy, ChapTarget};

use std::fmt;

use sha2::Digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::limits::{CHAP_CHALLENGE_LEN_MAX, CHAP_SECRET_LEN_MIN, KEY_VALUE_LEN_MAX};
use crate::text::grammar::{BinaryEncoding, ValueError, binary, encode_binary, number};
use crate::text::keys::Key;

/// A hash that CHAP may use, by its number (RFC 7143 §12.1.3, IANA "PPP authentication algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChapAlgorithm {
    /// 5
    Md5,
    /// 6
    Sha1,
    /// 7
    Sha256,
    /// 8
    Sha3_256,
}

impl ChapAlgorithm {
    /// All algorithms, the strongest first.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3_256 => 8,
        }
    }

    /// The algorithm with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| u64::from(algorithm.number()) == number)
    }

    /// Length of a response in bytes.
    #[must_use]
    pub const fn response_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }

    /// The response: the hash of identifier, secret and challenge (RFC 1994 §4.1).
    #[must_use]
    pub fn respond(self, identifier: u8, secret: &ChapSecret, challenge: &[u8]) -> Vec<u8> {
        fn hash<D: Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
            D::new()
                .chain_update([identifier])
                .chain_update(secret)
                .chain_update(challenge)
                .finalize()
                .to_vec()
        }
        let hash = match self {
            Self::Md5 => hash::<md5::Md5>,
            Self::Sha1 => hash::<sha1::Sha1>,
            Self::Sha256 => hash::<sha2::Sha256>,
            Self::Sha3_256 => hash::<sha3::Sha3_256>,
        };
        hash(identifier, &secret.0, challenge)
    }
}

impl fmt::Display for ChapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha3_256 => "SHA3-256",
        })
    }
}

/// A secret; wiped when dropped, never printed.
#[derive(Clone)]
pub struct ChapSecret(Zeroizing<Vec<u8>>);

impl ChapSecret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Whether the secret is shorter than the 96 bits that RFC 7143 §9.2.1 asks for without IPsec. Many setups have such
    /// secrets, so this is for a warning.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < CHAP_SECRET_LEN_MIN
    }

    /// Whether two secrets are the same.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for ChapSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChapSecret(..)")
    }
}

/// A name with its secret.
#[derive(Clone, Debug)]
pub struct ChapCredentials {
    /// CHAP_N.
    pub name: String,
    /// The secret that proves it.
    pub secret: ChapSecret,
}

/// Random bytes for one login.
#[derive(Clone)]
pub struct ChapRandom {
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C; as many bytes of it are sent as the hash is long.
    pub challenge: [u8; 32],
}

impl fmt::Debug for ChapRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChapRandom(..)")
    }
}

/// The keys of one step, by name.
pub(super) type Keys = [(Key, String)];

fn find(keys: &Keys, key: Key) -> Option<&str> {
    keys.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str())
}

fn need(keys: &Keys, key: Key) -> Result<&str, ChapError> {
    find(keys, key).ok_or(ChapError::Missing { key })
}

fn only(keys: &Keys, allowed: &[Key]) -> Result<(), ChapError> {
    match keys.iter().find(|(key, _)| !allowed.contains(key)) {
        Some(&(key, _)) => Err(ChapError::Unexpected { key }),
        None => Ok(()),
    }
}

/// CHAP_I and CHAP_C.
fn challenge_of(keys: &Keys) -> Result<(u8, Vec<u8>), ChapError> {
    let key = Key::ChapI;
    let identifier = number(need(keys, key)?)
        .and_then(|value| u8::try_from(value).map_err(|_| ValueError::TooLong { limit: 1 }))
        .map_err(|error| ChapError::Value { key, error })?;
    let key = Key::ChapC;
    let challenge =
        binary(need(keys, key)?, CHAP_CHALLENGE_LEN_MAX).map_err(|error| ChapError::Value { key, error })?;
    Ok((identifier, challenge))
}

/// CHAP_N and CHAP_R; the response has the right length.
fn response_of(keys: &Keys, algorithm: ChapAlgorithm) -> Result<(&str, Vec<u8>), ChapError> {
    let name = need(keys, Key::ChapN)?;
    let key = Key::ChapR;
    let response =
        binary(need(keys, key)?, KEY_VALUE_LEN_MAX).map_err(|error| ChapError::Value { key, error })?;
    let (len, expected) = (response.len(), algorithm.response_len());
    if len != expected {
        return Err(ChapError::ResponseLength { len, algorithm, expected });
    }
    Ok((name, response))
}

fn hexadecimal(bytes: &[u8]) -> String {
    encode_binary(bytes, BinaryEncoding::Hexadecimal)
}

fn algorithm_list(algorithms: &[ChapAlgorithm]) -> String {
    algorithms.iter().map(|a| a.number().to_string()).collect::<Vec<_>>().join(",")
}

/// As many random bytes as the algorithm's hash is long.
fn challenge_for(random: &ChapRandom, algorithm: ChapAlgorithm) -> &[u8] {
    random.challenge.get(..algorithm.response_len()).unwrap_or(&random.challenge)
}
