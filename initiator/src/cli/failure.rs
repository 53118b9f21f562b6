//! Exit codes, and the errors that lead to them.

use std::fmt;
use std::process::ExitCode;

use crate::engine::Error;
use crate::engine::state::StateError;

/// How a command ended, for the caller of the process. `--help` lists the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A local failure.
    Failure = 1,
    /// A wrong command line.
    Usage = 2,
    /// The portal cannot be reached, or does not answer in time.
    Unreachable = 3,
    /// The target refused the login.
    Refused = 4,
    /// The device refused a command.
    Device = 5,
    /// The session broke.
    Lost = 6,
    /// A reservation of somebody else stands against it.
    Conflict = 7,
    /// The target failed a case of a conformance suite.
    Nonconforming = 8,
}

impl Exit {
    /// All codes.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::Unreachable,
        Self::Refused,
        Self::Device,
        Self::Lost,
        Self::Conflict,
        Self::Nonconforming,
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// For a person: who is at fault and what to do.
    pub message: String,
}

impl Failure {
    pub(super) fn local(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// The same failure, with what it was that failed before it.
    pub(super) fn while_doing(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Resolve { .. } | Error::Connect { .. } | Error::Slow { .. } => Exit::Unreachable,
            Error::Login { .. } | Error::Redirects { .. } => Exit::Refused,
            Error::Command { error, .. } if error.is_conflict() => Exit::Conflict,
            Error::Command { .. } | Error::Task { .. } | Error::Text { .. } => Exit::Device,
            Error::Lost { .. } | Error::Listing { .. } => Exit::Lost,
            Error::LoginConfig(_) => Exit::Usage,
            Error::Random(_) | Error::Submit(_) => Exit::Failure,
        };
        Self { exit, message: error.to_string() }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let exit = if matches!(error, StateError::BadSlot { .. }) { Exit::Usage } else { Exit::Failure };
        Self { exit, message: error.to_string() }
    }
}
