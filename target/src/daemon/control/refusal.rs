//! Why something that was asked for was not done.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::daemon::prepare::PrepareError;
use crate::engine::ChangeError;
use crate::store::{StoreError, TooManyPorts};

/// An answer that is no success.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// Why, for people.
    pub reason: String,
}

/// The body of such an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Why, for people.
    pub error: String,
}

impl Refusal {
    /// 400: the question makes no sense.
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    /// 404: there is no such thing.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: reason.into() }
    }

    /// 409: it cannot be done as things are.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, reason: reason.into() }
    }

    /// 500: it was begun and failed.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: reason.into() }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        let reason = error.to_string();
        match error {
            ChangeError::NoTarget(_) | ChangeError::NoLun(..) => Self::absent(reason),
            ChangeError::Refused(_) | ChangeError::Unit { .. } | ChangeError::Busy { .. } => {
                Self::conflict(reason)
            }
            ChangeError::StillBusy { .. }
            | ChangeError::SessionsRemain { .. }
            | ChangeError::Shape { .. }
            | ChangeError::Work { .. } => Self::failed(reason),
        }
    }
}

impl From<PrepareError> for Refusal {
    fn from(error: PrepareError) -> Self {
        Self::conflict(error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TooManyPorts> for Refusal {
    fn from(error: TooManyPorts) -> Self {
        Self::conflict(error.to_string())
    }
}
