//! The login phase, both sides: stages, negotiation, authentication (RFC 7143 §6, §9.2, §11.12, §11.13).
//!
//! | module | what |
//! |---|---|
//! | [`offer`] | what one side is ready to agree to |
//! | [`parameters`] | what both sides agreed to |
//! | [`rules`] | the result of one key, as originator and as responder |
//! | [`negotiation`] | all keys of one login or one text exchange |
//! | [`chap`] | CHAP, one-way and mutual |
//! | [`target_side`] | the target's state machine |
//! | [`initiator_side`] | the initiator's state machine |
//! | [`states`] | what RFC 7143 calls the states of connections and sessions |
//!
//! The machines are pure: PDUs in, PDUs and results out; random bytes are arguments. Time is not here either: who drives
//! a machine ends the connection when a login takes too long.

pub mod chap;
pub mod initiator_side;
pub mod negotiation;
pub mod offer;
pub mod parameters;
pub mod rules;
pub mod states;
pub mod target_side;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use chap::{ChapAlgorithm, ChapCredentials, ChapRandom, ChapSecret};
pub use initiator_side::{InitiatorLogin, InitiatorLoginConfig, InitiatorStep};
pub use negotiation::Negotiation;
pub use offer::{DigestPolicy, Offer, OfferError, ValidOffer};
pub use parameters::{ConnectionParameters, SessionParameters, TaskReporting};
pub use states::{ConnectionState, SessionState};
pub use target_side::{
    Admission, CompletedLogin, LoginIdentity, LoginRefusal, RequestedSession, TargetLogin, TargetPolicy,
    TargetStep,
};

/// Who caused a login to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer sent what cannot be read.
    PeerNonsense,
    /// What the peer sent can be read but breaks a rule.
    PeerBrokeRules,
    /// Both sides keep the rules and there is nothing that suits both.
    NoCommonOption,
    /// The peer could not prove who it is, or may not do what it asks.
    NotAllowed,
    /// This side cannot serve now.
    Local,
}
