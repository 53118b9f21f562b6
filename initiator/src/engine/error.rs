//! Everything that can go wrong, each naming the culprit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_common::login::initiator_side::{InitiatorConfigError, InitiatorLoginError};
use lunkeep_common::pdu::EncodeError;
use lunkeep_common::pdu::login::LoginStatus;
use lunkeep_common::text::TargetAddress;
use lunkeep_common::text::address::ListingError;

use crate::commands::CommandError;
use crate::session::{SessionError, SubmitError, TaskFailure, TextFailure};

/// Why an operation of the library failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The portal's name is unknown.
    #[error("cannot find the address of {portal}: {source}")]
    Resolve {
        /// The portal.
        portal: TargetAddress,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Nobody listens there, or the network does not lead there.
    #[error("cannot connect to {portal}: {source}")]
    Connect {
        /// The portal.
        portal: TargetAddress,
        /// Why.
        source: Arc<io::Error>,
    },
    /// No connection, or no end of the login, in time.
    #[error("{portal} did not {what} within {:.1} s", limit.as_secs_f64())]
    Slow {
        /// The portal.
        portal: TargetAddress,
        /// What it did not do.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// Our configuration cannot be used for a login.
    #[error("cannot log in with this configuration: {0}")]
    LoginConfig(#[from] InitiatorConfigError),
    /// No random bytes from the operating system.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The login failed.
    #[error("login at {portal}: {error}{}", advice(error))]
    Login {
        /// The portal.
        portal: TargetAddress,
        /// Why.
        error: InitiatorLoginError,
    },
    /// The target redirected too often.
    #[error("login at {portal}: redirected more than {limit} times; the targets point at each other")]
    Redirects {
        /// The last portal.
        portal: TargetAddress,
        /// The limit.
        limit: u32,
    },
    /// The connection broke, during the login or after it. What was under way may or may not have been done.
    #[error("{portal}: {cause}")]
    Lost {
        /// The portal.
        portal: TargetAddress,
        /// How.
        cause: LostCause,
    },
    /// The target answered SendTargets with something else.
    #[error("{portal} answered SendTargets with nonsense: {error}")]
    Listing {
        /// The portal.
        portal: TargetAddress,
        /// What is wrong.
        error: ListingError,
    },
    /// The target did not answer a text request.
    #[error("{portal}: {error}")]
    Text {
        /// The portal.
        portal: TargetAddress,
        /// Why.
        error: TextFailure,
    },
    /// A command has no status.
    #[error("{portal}: {operation}: {failure}")]
    Task {
        /// The portal.
        portal: TargetAddress,
        /// The command.
        operation: &'static str,
        /// Why.
        failure: TaskFailure,
    },
    /// The device refused a command, or answered it with nonsense.
    #[error("LUN {lun} at {portal}: {error}")]
    Command {
        /// The portal.
        portal: TargetAddress,
        /// The logical unit.
        lun: lunkeep_common::scsi::Lun,
        /// Its answer.
        error: CommandError,
    },
    /// The session took no request. At fault: our caller.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// How a connection broke.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LostCause {
    /// The protocol came to an end.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Io(Arc<io::Error>),
    /// A PDU of ours could not be laid out. At fault: this program.
    #[error("a PDU of this initiator cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// A connection was lost, and the session has no other.
    #[error("a connection was lost, and none could be had in its place: {0}")]
    Rejoin(Arc<Error>),
    /// The task that drives the session is gone, with the runtime that it ran in.
    #[error("the session's task is gone")]
    Gone,
}

impl LostCause {
    /// Whether it is the end of one connection, which a session may outlive.
    pub(super) const fn is_of_a_connection(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Session(SessionError::Closed | SessionError::Frame(_)))
    }
}

impl From<io::Error> for LostCause {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// What to do about a login that failed, where it is known.
fn advice(error: &InitiatorLoginError) -> &'static str {
    match error {
        InitiatorLoginError::Refused { status: LoginStatus::AuthenticationFailure } => {
            "; give the right --chap-user and secret"
        }
        InitiatorLoginError::Refused { status: LoginStatus::AuthorizationFailure } => {
            "; let the target allow this initiator name"
        }
        InitiatorLoginError::Refused { status: LoginStatus::NotFound } => {
            "; `lunkeep-initiator discover` shows the names"
        }
        InitiatorLoginError::TargetNotProved => {
            "; give the right --target-user and secret, or the target is not who it says"
        }
        error if error.is_temporary() => "; try again later",
        _ => "",
    }
}
