//! The initiator's half of CHAP: it answers, and with mutual CHAP asks back.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    ChapAlgorithm, ChapCredentials, ChapError, ChapRandom, Keys, algorithm_list, challenge_for, challenge_of,
    hexadecimal, need, only, response_of,
};
use crate::text::grammar::number;
use crate::text::keys::Key;
use crate::text::pairs::Pairs;

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
