//! Why CHAP fails.

use super::ChapAlgorithm;
use crate::login::Fault;
use crate::pdu::login::LoginStatus;
use crate::text::grammar::ValueError;
use crate::text::keys::Key;

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
