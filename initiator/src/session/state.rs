//! Which states of RFC 7143 §8 a session and its connections are in.
//!
//! | transition | what makes it |
//! |---|---|
//! | T9, T10 | the Logout Request leaves once nothing is under way: [`FullFeature::logout`] |
//! | T11, T12 | Asynchronous Message 1 |
//! | T13, T18 | Logout Response |
//! | T15, T16, T17 | [`FullFeature::lose_connection`] where tasks are kept |
//! | M1 | [`FullFeature::add_connection`] with the same CID |
//! | M2, M3, M4 | the removal for recovery that is asked for on another connection, and its answer |
//! | N3, N5, N6 | the logout; the last connection goes, with and without tasks that are kept |
//!
//! What is not here: S2 and S4, in which there is no session yet or the session does not see the connection yet.

use lunkeep_common::login::{ConnectionState, SessionState};
use lunkeep_common::name::Cid;

use super::exchange::Kind;
use super::{FullFeature, Phase};

impl FullFeature {
    /// The state of a connection.
    #[must_use]
    pub fn connection_state(&self, cid: Cid) -> ConnectionState {
        let Some(link) = self.link(cid) else {
            let removes = |kind: &Kind| matches!(kind, Kind::RemoveConnection { cid: lost } if *lost == cid);
            let removal = self.exchanges.values().find(|exchange| removes(&exchange.kind));
            return match removal {
                Some(removal) if self.link(removal.cid).is_some() => ConnectionState::InCleanup,
                // What was asked on a connection that is gone too is asked again on the next.
                Some(_) => ConnectionState::CleanupWait,
                None if self.lost.iter().any(|&(lost, _)| lost == cid) => ConnectionState::CleanupWait,
                None => ConnectionState::Free,
            };
        };
        match self.phase {
            Phase::Ended => ConnectionState::Free,
            Phase::LoggingOut => ConnectionState::InLogout,
            Phase::Open | Phase::Ending if link.logout_requested => ConnectionState::LogoutRequested,
            Phase::Open | Phase::Ending => ConnectionState::LoggedIn,
        }
    }

    /// The state of the session. What ended with an error is over, whatever this says.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match (self.phase, self.links.is_empty()) {
            (Phase::Ended, _) => SessionState::Free,
            (_, false) => SessionState::LoggedIn,
            (_, true) => SessionState::Failed,
        }
    }
}
