//! Which states of RFC 7143 §8 a session and its connections are in, and what may no longer come in them.
//!
//! | transition | what makes it |
//! |---|---|
//! | T9, T10 | a Logout Request about the connection or the session |
//! | T11, T12 | [`Session::request_logout`] |
//! | T13, T18 | the Logout Response has left |
//! | T15, T16, T17 | [`Session::remove_connection`] of a connection whose tasks are kept |
//! | M1 | [`Session::handle_retention`], [`Session::add_connection`] with the same CID |
//! | M2, M3, M4 | Logout "remove for recovery" and its answer |
//! | N3, N5, N6 | the last connection goes, with and without tasks that are kept; their time is over |
//!
//! What is not here: S3, S4, Q2 and Q5, in which the login runs and the session does not see the connection yet.

use lunkeep_common::login::{ConnectionState, SessionState};
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::logout::LogoutReason;
use lunkeep_common::pdu::{InitiatorHeader, LogoutRequest};

use super::connection::Leaving;
use super::{PendingRequest, Session};

impl Session {
    /// The state of a connection.
    #[must_use]
    pub fn connection_state(&self, cid: Cid) -> ConnectionState {
        let Some(connection) = self.connection(cid) else {
            let lost = self.lost.iter().any(|&(lost, _)| lost == cid);
            let removal = self.requests.values().any(|request| request.logs_out == Some(cid));
            return match (lost, removal) {
                (true, true) => ConnectionState::InCleanup,
                (true, false) => ConnectionState::CleanupWait,
                (false, _) => ConnectionState::Free,
            };
        };
        if connection.finished {
            ConnectionState::Free
        } else if connection.leaving.is_some() {
            ConnectionState::InLogout
        } else if connection.logout_requested {
            ConnectionState::LogoutRequested
        } else {
            ConnectionState::LoggedIn
        }
    }

    /// The state of the session.
    #[must_use]
    pub fn state(&self) -> SessionState {
        match (self.connections.is_empty(), self.lost.is_empty()) {
            (false, _) => SessionState::LoggedIn,
            (true, false) => SessionState::Failed,
            (true, true) => SessionState::Free,
        }
    }

    /// A logout has come on a connection. What it is about takes no new requests any more.
    ///
    /// A connection that another one logs out is not touched: what is still on its way there was sent before. It is ended, or kept for
    /// recovery, by what follows.
    pub(super) fn leave(&mut self, cid: Cid, logout: &LogoutRequest) {
        let session = logout.reason == LogoutReason::CloseSession;
        for own in &mut self.connections {
            if session || own.cid == cid && own.cid == logout.cid {
                own.leaving =
                    Some(Leaving { itt: logout.itt, reason: logout.reason, asked_here: own.cid == cid });
            }
        }
        if let Some(request) = self.requests.get_mut(&logout.itt) {
            request.logs_out = (!session).then_some(logout.cid);
        }
    }

    /// A logout came to nothing.
    pub(super) fn stay(&mut self, request: PendingRequest) {
        if !self.ending
            && let Some(subject) = request.logs_out
            && let Some(connection) = self.connection_mut(subject)
        {
            connection.leaving = None;
        }
    }

    /// What becomes of a PDU that begins something on a connection whose logout is under way; `None` when it is to be carried out.
    ///
    /// After its Logout Request an initiator sends no new requests on a connection, and none on any after that of a session (RFC 7143
    /// §11.14). What belongs to earlier requests may still come.
    pub(super) fn after_logout(&self, cid: Cid, header: &InitiatorHeader) -> Option<AfterLogout> {
        let begins = match header {
            InitiatorHeader::ScsiCommand(_)
            | InitiatorHeader::TaskManagementRequest(_)
            | InitiatorHeader::TextRequest(_) => true,
            // The same logout again is told apart by its tag.
            InitiatorHeader::LogoutRequest(logout) => !self.requests.contains_key(&logout.itt),
            // A logout may wait long for the medium: whether we are there may be asked meanwhile.
            InitiatorHeader::NopOut(_)
            | InitiatorHeader::DataOut(_)
            | InitiatorHeader::SnackRequest(_)
            | InitiatorHeader::LoginRequest(_) => false,
        };
        let leaving = self.connection(cid)?.leaving.filter(|_| begins)?;
        match header {
            // The connection that the session's logout came on may be gone, and the answer with it: it is asked for here.
            InitiatorHeader::LogoutRequest(_) if !leaving.asked_here => None,
            InitiatorHeader::LogoutRequest(logout) if logout.itt == leaving.itt => Some(AfterLogout::Dropped),
            _ if leaving.asked_here => Some(AfterLogout::Refused),
            _ => Some(AfterLogout::Dropped),
        }
    }

    /// What becomes of a command that came before the logout of its connection and whose turn comes after it: the logout ends it
    /// unanswered, unless it is for recovery, which keeps it.
    pub(super) fn is_ended_by_logout(&self, cid: Cid) -> bool {
        let leaving = self.connection(cid).and_then(|connection| connection.leaving);
        leaving.is_some_and(|leaving| leaving.reason != LogoutReason::RemoveForRecovery)
    }
}

/// What becomes of a request that comes while a logout is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterLogout {
    /// It broke the rule: Reject, protocol error.
    Refused,
    /// It may have been sent before the logout, which came on another connection, or is the logout once more, whose answer is about
    /// to leave.
    Dropped,
}
