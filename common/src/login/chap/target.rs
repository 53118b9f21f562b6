//! The target's half of CHAP: it asks, and answers when it is asked back.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    ChapAlgorithm, ChapCredentials, ChapError, ChapRandom, ChapSecret, Keys, algorithm_list, challenge_for,
    challenge_of, find, hexadecimal, need, only, response_of,
};
use crate::text::grammar::{list, number};
use crate::text::keys::Key;
use crate::text::pairs::Pairs;

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
