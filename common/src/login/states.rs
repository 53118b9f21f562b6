//! The states of a connection and of a session, as RFC 7143 §8 numbers them.
//!
//! Neither side keeps a variable of these types: the state follows from what each side keeps anyway (which connections are there,
//! which logouts are under way, which lost connections have tasks). The types exist so that logs, tests and the transition
//! matrices of both sides use one set of names.
//!
//! | state | initiator | target |
//! |---|---|---|
//! | S1 to S4 | before and during the login: `initiator_side` | `target_side` |
//! | S5 to S8, R1 to R3 | the initiator's session | the target's session |
//! | Q1, Q3, Q4 | the initiator's session | the target's session |
//! | Q2, Q5 | only a target has them | a login that is not over yet: `target_side` |

use std::fmt;

/// The state of one connection (RFC 7143 §8.1), and of its cleanup after it was lost (§8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnectionState {
    /// S1, R3: there is no such connection, or its logout is over and nothing but closing it is left.
    Free,
    /// S5: in the full feature phase.
    LoggedIn,
    /// S6: a logout that ends it is under way.
    InLogout,
    /// S7: the target asked for a logout, which has not come yet.
    LogoutRequested,
    /// S8, R1: lost; its tasks wait for another connection.
    CleanupWait,
    /// R2: lost, and its removal for recovery is under way.
    InCleanup,
}

impl ConnectionState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Free,
        Self::LoggedIn,
        Self::InLogout,
        Self::LogoutRequested,
        Self::CleanupWait,
        Self::InCleanup,
    ];

    /// Whether PDUs of the full feature phase travel on it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::LoggedIn | Self::InLogout | Self::LogoutRequested)
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "S1 FREE",
            Self::LoggedIn => "S5 LOGGED_IN",
            Self::InLogout => "S6 IN_LOGOUT",
            Self::LogoutRequested => "S7 LOGOUT_REQUESTED",
            Self::CleanupWait => "S8 CLEANUP_WAIT",
            Self::InCleanup => "R2 IN_CLEANUP",
        })
    }
}

/// The state of a session (RFC 7143 §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionState {
    /// Q1: nothing of it is left.
    Free,
    /// Q3: it has a connection.
    LoggedIn,
    /// Q4: it has no connection, and waits for one to be continued.
    Failed,
}

impl SessionState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Free, Self::LoggedIn, Self::Failed];
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "Q1 FREE",
            Self::LoggedIn => "Q3 LOGGED_IN",
            Self::Failed => "Q4 FAILED",
        })
    }
}
