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

use std::fmt;
use std::sync::Arc;

use sha2::Digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Fault;
use crate::limits::{CHAP_CHALLENGE_LEN_MAX, CHAP_SECRET_LEN_MIN, KEY_VALUE_LEN_MAX};
use crate::pdu::login::LoginStatus;
use crate::text::grammar::{BinaryEncoding, ValueError, binary, encode_binary, list, number};
use crate::text::keys::Key;
use crate::text::pairs::Pairs;

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

/// Why CHAP fails. Every variant ends the login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChapError {
    /// A key that this step needs is not there.
    #[error("{key} is missing")]
    Missing {
        /// The key.
        key: Key,
    },
    /// A key that this step does not have.
    #[error("{key} is not expected in this step of the authentication")]
    Unexpected {
        /// The key.
        key: Key,
    },
    /// A value that cannot be read.
    #[error("{key} cannot be read: {error}")]
    Value {
        /// The key.
        key: Key,
        /// What is wrong with it.
        error: ValueError,
    },
    /// No algorithm in common.
    #[error("no common CHAP algorithm: CHAP_A={offered} is offered, {allowed} is allowed here")]
    NoAlgorithm {
        /// The peer's list.
        offered: String,
        /// Our list.
        allowed: String,
    },
    /// A response whose length is not that of the hash.
    #[error("CHAP_R is {len} bytes long, {algorithm} has {expected}")]
    ResponseLength {
        /// Length found.
        len: usize,
        /// The algorithm agreed on.
        algorithm: ChapAlgorithm,
        /// Its length.
        expected: usize,
    },
    /// The name is unknown or the secret is wrong; a peer is not told which.
    #[error("wrong CHAP name or secret for user {name:?}")]
    Denied {
        /// The name that was given.
        name: String,
    },
    /// The peer sent our own challenge back.
    #[error("the peer sent our own CHAP challenge back (RFC 7143 9.2.1)")]
    Reflected,
    /// One secret for both directions.
    #[error("the same CHAP secret is used in both directions (RFC 7143 9.2.1)")]
    SameSecret,
    /// The initiator wants the target to prove itself, and it has nothing to do so with.
    #[error("the initiator asks for mutual CHAP and no mutual secret is set for this target")]
    NoMutual,
}

impl ChapError {
    /// Who is at fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Missing { .. } | Self::Unexpected { .. } => Fault::PeerBrokeRules,
            Self::Value { .. } | Self::ResponseLength { .. } => Fault::PeerNonsense,
            Self::NoAlgorithm { .. } | Self::NoMutual => Fault::NoCommonOption,
            Self::Denied { .. } | Self::Reflected | Self::SameSecret => Fault::NotAllowed,
        }
    }

    /// The status with which a target ends the login.
    #[must_use]
    pub const fn status(&self) -> LoginStatus {
        match self {
            Self::Missing { .. } => LoginStatus::MissingParameter,
            Self::Unexpected { .. } => LoginStatus::InitiatorError,
            _ => LoginStatus::AuthenticationFailure,
        }
    }
}

/// What a target asks of an initiator, and what it proves itself with.
#[derive(Clone, Debug)]
pub struct ChapPolicy {
    /// Algorithms that are allowed. Of those that the initiator offers, the strongest one is taken.
    pub algorithms: Arc<[ChapAlgorithm]>,
    /// Who may log in: names with secrets.
    pub accounts: Arc<[ChapCredentials]>,
    /// What the target proves itself with when the initiator asks.
    pub mutual: Option<Arc<ChapCredentials>>,
}

impl ChapPolicy {
    /// All algorithms, MD5 among them since initiators in use know no other.
    #[must_use]
    pub fn new(accounts: impl Into<Arc<[ChapCredentials]>>, mutual: Option<ChapCredentials>) -> Self {
        Self {
            algorithms: ChapAlgorithm::ALL.into(),
            accounts: accounts.into(),
            mutual: mutual.map(Arc::new),
        }
    }

    /// Checks that no account's secret is also the one of the other direction.
    ///
    /// # Errors
    /// [`ChapError::SameSecret`].
    pub fn check(&self) -> Result<(), ChapError> {
        let same = |mutual: &Arc<ChapCredentials>| {
            self.accounts.iter().any(|account| account.secret.matches(&mutual.secret))
        };
        if self.mutual.as_ref().is_some_and(same) { Err(ChapError::SameSecret) } else { Ok(()) }
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

/// The target's half: it asks, and answers when it is asked back.
#[derive(Debug)]
pub struct ChapTarget {
    policy: ChapPolicy,
    random: ChapRandom,
    state: TargetState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TargetState {
    Algorithms,
    Response(ChapAlgorithm),
    Done(String),
}

impl ChapTarget {
    /// Waits for CHAP_A.
    #[must_use]
    pub const fn new(policy: ChapPolicy, random: ChapRandom) -> Self {
        Self { policy, random, state: TargetState::Algorithms }
    }

    /// The name that was proved, once it is.
    #[must_use]
    pub fn authenticated(&self) -> Option<&str> {
        match &self.state {
            TargetState::Done(name) => Some(name),
            _ => None,
        }
    }

    /// Takes the initiator's keys of one step and returns ours.
    ///
    /// # Errors
    /// [`ChapError`]; the login is then over.
    pub fn receive(&mut self, keys: &Keys) -> Result<Pairs, ChapError> {
        // A request without keys asks for nothing; it stands for "go on".
        if keys.is_empty() {
            return Ok(Pairs::new());
        }
        match self.state {
            TargetState::Algorithms => self.choose(keys),
            TargetState::Response(algorithm) => self.verify(keys, algorithm),
            TargetState::Done(_) => only(keys, &[]).map(|()| Pairs::new()),
        }
    }

    fn choose(&mut self, keys: &Keys) -> Result<Pairs, ChapError> {
        only(keys, &[Key::ChapA])?;
        let key = Key::ChapA;
        let offered = need(keys, key)?;
        let numbers = list(offered)
            .and_then(|members| members.into_iter().map(number).collect::<Result<Vec<_>, _>>())
            .map_err(|error| ChapError::Value { key, error })?;
        // RFC 7143 §6.2.1 takes the first member that the responder may use with this originator. What we may use is
        // the strongest one that both have, so that the order of a list cannot weaken the exchange.
        let common = |algorithm: &ChapAlgorithm| {
            numbers.contains(&u64::from(algorithm.number())) && self.policy.algorithms.contains(algorithm)
        };
        let Some(algorithm) = ChapAlgorithm::ALL.into_iter().find(common) else {
            let allowed = algorithm_list(&self.policy.algorithms);
            return Err(ChapError::NoAlgorithm { offered: offered.into(), allowed });
        };
        self.state = TargetState::Response(algorithm);
        let mut pairs = Pairs::new();
        pairs.push(Key::ChapA, algorithm.number().to_string());
        pairs.push(Key::ChapI, self.random.identifier.to_string());
        pairs.push(Key::ChapC, hexadecimal(challenge_for(&self.random, algorithm)));
        Ok(pairs)
    }

    fn verify(&mut self, keys: &Keys, algorithm: ChapAlgorithm) -> Result<Pairs, ChapError> {
        only(keys, &[Key::ChapN, Key::ChapR, Key::ChapI, Key::ChapC])?;
        let (name, response) = response_of(keys, algorithm)?;
        let challenge = challenge_for(&self.random, algorithm);
        // The hash is computed for an unknown name too, so that time does not tell names from secrets.
        let account = self.policy.accounts.iter().find(|account| account.name == name);
        let nobody = ChapSecret::new(Vec::new());
        let secret = account.map_or(&nobody, |account| &account.secret);
        let expected = Zeroizing::new(algorithm.respond(self.random.identifier, secret, challenge));
        let proved: bool = expected.as_slice().ct_eq(&response).into();
        if !proved || account.is_none() {
            return Err(ChapError::Denied { name: name.into() });
        }
        let mut pairs = Pairs::new();
        if find(keys, Key::ChapI).is_some() || find(keys, Key::ChapC).is_some() {
            let (identifier, theirs) = challenge_of(keys)?;
            if theirs == challenge {
                return Err(ChapError::Reflected);
            }
            let mutual = self.policy.mutual.as_ref().ok_or(ChapError::NoMutual)?;
            if mutual.secret.matches(secret) {
                return Err(ChapError::SameSecret);
            }
            pairs.push(Key::ChapN, mutual.name.as_str());
            pairs.push(Key::ChapR, hexadecimal(&algorithm.respond(identifier, &mutual.secret, &theirs)));
        }
        self.state = TargetState::Done(name.into());
        Ok(pairs)
    }
}

/// What an initiator proves itself with, and what it asks of the target.
#[derive(Clone, Debug)]
pub struct ChapIdentity {
    /// Who we are.
    pub credentials: ChapCredentials,
    /// Algorithms to offer, the preferred one first.
    pub algorithms: Vec<ChapAlgorithm>,
    /// What the target must prove. `None` is one-way CHAP.
    pub mutual: Option<ChapCredentials>,
}

impl ChapIdentity {
    /// All algorithms, the strongest first.
    #[must_use]
    pub fn new(credentials: ChapCredentials, mutual: Option<ChapCredentials>) -> Self {
        Self { credentials, algorithms: ChapAlgorithm::ALL.to_vec(), mutual }
    }

    /// Checks that the two directions have different secrets.
    ///
    /// # Errors
    /// [`ChapError::SameSecret`].
    pub fn check(&self) -> Result<(), ChapError> {
        match &self.mutual {
            Some(mutual) if mutual.secret.matches(&self.credentials.secret) => Err(ChapError::SameSecret),
            _ => Ok(()),
        }
    }
}

/// The initiator's half.
#[derive(Debug)]
pub struct ChapInitiator {
    identity: ChapIdentity,
    random: ChapRandom,
    state: InitiatorState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InitiatorState {
    Challenge,
    Proof(ChapAlgorithm),
    Done,
}

impl ChapInitiator {
    /// Offers CHAP_A.
    #[must_use]
    pub fn start(identity: ChapIdentity, random: ChapRandom) -> (Self, Pairs) {
        let mut pairs = Pairs::new();
        pairs.push(Key::ChapA, algorithm_list(&identity.algorithms));
        (Self { identity, random, state: InitiatorState::Challenge }, pairs)
    }

    /// Whether our side is done: the target has our response and, with mutual CHAP, proved itself.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, InitiatorState::Done)
    }

    /// Whether our response is sent, so that the target may end the stage.
    #[must_use]
    pub const fn has_responded(&self) -> bool {
        !matches!(self.state, InitiatorState::Challenge)
    }

    /// Takes the target's keys of one step and returns ours.
    ///
    /// # Errors
    /// [`ChapError`]; the login is then over.
    pub fn receive(&mut self, keys: &Keys) -> Result<Pairs, ChapError> {
        match self.state {
            InitiatorState::Challenge => self.respond(keys),
            InitiatorState::Proof(algorithm) => self.verify(keys, algorithm).map(|()| Pairs::new()),
            InitiatorState::Done => only(keys, &[]).map(|()| Pairs::new()),
        }
    }

    fn respond(&mut self, keys: &Keys) -> Result<Pairs, ChapError> {
        only(keys, &[Key::ChapA, Key::ChapI, Key::ChapC])?;
        let chosen = need(keys, Key::ChapA)?;
        let algorithm = number(chosen)
            .ok()
            .and_then(ChapAlgorithm::from_number)
            .filter(|algorithm| self.identity.algorithms.contains(algorithm))
            .ok_or_else(|| ChapError::NoAlgorithm {
                offered: chosen.into(),
                allowed: algorithm_list(&self.identity.algorithms),
            })?;
        let (identifier, challenge) = challenge_of(keys)?;
        let credentials = &self.identity.credentials;
        let mut pairs = Pairs::new();
        pairs.push(Key::ChapN, credentials.name.as_str());
        let response = algorithm.respond(identifier, &credentials.secret, &challenge);
        pairs.push(Key::ChapR, hexadecimal(&response));
        if self.identity.mutual.is_some() {
            let ours = challenge_for(&self.random, algorithm);
            if challenge == ours {
                return Err(ChapError::Reflected);
            }
            pairs.push(Key::ChapI, self.random.identifier.to_string());
            pairs.push(Key::ChapC, hexadecimal(ours));
            self.state = InitiatorState::Proof(algorithm);
        } else {
            self.state = InitiatorState::Done;
        }
        Ok(pairs)
    }

    fn verify(&mut self, keys: &Keys, algorithm: ChapAlgorithm) -> Result<(), ChapError> {
        only(keys, &[Key::ChapN, Key::ChapR])?;
        let (name, response) = response_of(keys, algorithm)?;
        let denied = || ChapError::Denied { name: name.into() };
        let mutual = self.identity.mutual.as_ref().ok_or_else(denied)?;
        let challenge = challenge_for(&self.random, algorithm);
        let expected = Zeroizing::new(algorithm.respond(self.random.identifier, &mutual.secret, challenge));
        let proved: bool = expected.as_slice().ct_eq(&response).into();
        if !proved || name != mutual.name {
            return Err(denied());
        }
        self.state = InitiatorState::Done;
        Ok(())
    }
}
