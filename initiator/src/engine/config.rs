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

/// DefaultTime2Retain that is offered with error recovery level 2, in seconds: what targets usually offer too.
pub const RETAIN_SECONDS: u16 = 20;

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

    /// Offers so many connections per session, 1 to 65535 (at most [`CONNECTIONS_MAX`](crate::limits::CONNECTIONS_MAX) are opened), and
    /// an error recovery level, 0 to 2. The target agrees to as much of both as it can.
    ///
    /// Above level 0 one R2T at a time is taken, since what is missing must be told from what is yet to come; at level 2 the target
    /// is asked to keep the commands of a lost connection for [`RETAIN_SECONDS`].
    ///
    /// # Errors
    /// [`OfferError::OutOfRange`].
    pub fn with_recovery(mut self, connections: u16, level: u8) -> Result<Self, OfferError> {
        let mut offer = Offer::clone(&self.offer);
        (offer.max_connections, offer.error_recovery_level) = (connections, level);
        if level > 0 {
            offer.max_outstanding_r2t = 1;
        }
        if level > 1 {
            offer.default_time2retain = RETAIN_SECONDS;
        }
        self.offer = offer.validate()?;
        Ok(self)
    }
}
