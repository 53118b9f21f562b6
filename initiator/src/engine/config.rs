//! What an initiator is and how it behaves.

use std::time::Duration;

use lunkeep_common::login::chap::ChapIdentity;
use lunkeep_common::login::initiator_side::InitiatorAuthentication;
use lunkeep_common::login::{ChapAlgorithm, ChapCredentials, Offer, OfferError, ValidOffer};
use lunkeep_common::name::{IscsiName, Isid};

use crate::session::Timing;

/// The initiator port. Persistent reservations are kept under it, so it must be the same after every restart; see
/// [`state`](super::state).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// InitiatorName.
    pub name: IscsiName,
    /// ISID. Two sessions to one target portal group at the same time need two of them.
    pub isid: Isid,
}

/// Everything that a login needs besides an address.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub identity: Identity,
    /// What we prove, and what the target must prove. Used for discovery too.
    pub authentication: InitiatorAuthentication,
    /// What is offered in the negotiation.
    pub offer: ValidOffer,
    /// Limits in the full feature phase.
    pub timing: Timing,
    /// For the connection and the whole login, each.
    pub login_limit: Duration,
}

/// The CHAP algorithms in the order in which they are offered. SHA-256 comes last: tgt and others that share its code take its
/// number, 7, for SHA-1 and choose the first number of the list that they know, so with 7 before 5 no login would succeed.
/// Targets that choose by strength are free to take it.
pub const CHAP_ALGORITHMS: [ChapAlgorithm; 4] =
    [ChapAlgorithm::Sha3_256, ChapAlgorithm::Sha1, ChapAlgorithm::Md5, ChapAlgorithm::Sha256];

/// Proof of `ours` by CHAP with [`CHAP_ALGORITHMS`]; with `theirs` the target must prove itself too.
#[must_use]
pub fn chap(ours: ChapCredentials, theirs: Option<ChapCredentials>) -> InitiatorAuthentication {
    let algorithms = CHAP_ALGORITHMS.to_vec();
    InitiatorAuthentication::Chap(Box::new(ChapIdentity { credentials: ours, algorithms, mutual: theirs }))
}

impl Config {
    /// No authentication, the usual offer and limits.
    ///
    /// # Errors
    /// None in practice: the usual offer is valid.
    pub fn new(identity: Identity) -> Result<Self, OfferError> {
        Ok(Self {
            identity,
            authentication: InitiatorAuthentication::None,
            offer: Offer::initiator().validate()?,
            timing: Timing::default(),
            login_limit: Duration::from_secs(15),
        })
    }
}
