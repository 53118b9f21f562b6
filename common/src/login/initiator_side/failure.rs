//! Why a login fails on the initiator's side. What goes on the wire is always the same: the connection is closed.

use crate::limits::{KEY_VALUE_LEN_MAX, LOGIN_EXCHANGES_MAX};
use crate::login::Fault;
use crate::login::chap::ChapError;
use crate::login::negotiation::NegotiationError;
use crate::name::Tsih;
use crate::pdu::login::{LoginStatus, Stage};
use crate::serial::StatSn;
use crate::text::address::AddressError;
use crate::text::pairs::TextError;

/// A configuration with which no login can be begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitiatorConfigError {
    /// The CHAP secrets are the same.
    #[error(transparent)]
    Chap(#[from] ChapError),
    /// No CHAP algorithm to offer.
    #[error("there is no CHAP algorithm to offer")]
    NoAlgorithm,
    /// Text that cannot stand in a key.
    #[error("the {what} has a NUL in it or is longer than {KEY_VALUE_LEN_MAX} bytes")]
    Text {
        /// Which text.
        what: &'static str,
    },
}

/// Why a login failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitiatorLoginError {
    /// The target refused the login.
    #[error("the target refused the login: {} ({:04x}h)", status_text(*status), *status as u16)]
    Refused {
        /// Its status.
        status: LoginStatus,
    },
    /// The text cannot be read.
    #[error("login text of the target: {0}")]
    Text(#[from] TextError),
    /// A key breaks a rule.
    #[error("login negotiation: {0}")]
    Negotiation(#[from] NegotiationError),
    /// CHAP failed.
    #[error("authentication: {0}")]
    Chap(#[from] ChapError),
    /// A method that we did not offer.
    #[error("the target answered AuthMethod={answered} to our AuthMethod={offered}")]
    Method {
        /// Our offer.
        offered: String,
        /// The answer.
        answered: String,
    },
    /// The stage ended before the target proved itself.
    #[error("the target did not prove who it is")]
    TargetNotProved,
    /// Another version than 0.
    #[error("the target chose version {active} of the protocol; only version 0 is offered")]
    Version {
        /// Version-active.
        active: u8,
    },
    /// A field that must be the request's is not.
    #[error("the target's login response has another {field} than the request")]
    Changed {
        /// The field.
        field: &'static str,
    },
    /// StatSN does not follow that of the last response.
    #[error("the target's login response has {found:?}, {expected:?} was due (RFC 7143 11.13.4)")]
    StatSn {
        /// What was due.
        expected: StatSn,
        /// What came.
        found: StatSn,
    },
    /// CSG is not the stage of the request.
    #[error("the target's login response has CSG {current:?}, which is not the stage of the request")]
    WrongStage {
        /// CSG.
        current: Stage,
    },
    /// T without having been asked, or to a stage that was not asked for.
    #[error("the target goes from {current:?} to {next:?}, which was not asked for")]
    BadTransit {
        /// CSG.
        current: Stage,
        /// NSG.
        next: Stage,
    },
    /// T and C together.
    #[error("the target's login response has both T and C (RFC 7143 11.13.2)")]
    TransitWithContinue,
    /// Keys to be answered in a response that ends the stage.
    #[error("the target sends key {key}, which needs an answer, and ends the stage")]
    KeysWithTransit {
        /// The key's name.
        key: String,
    },
    /// Text where an empty response had to ask for the rest of ours.
    #[error("the target answers before our text is complete (RFC 7143 6.2)")]
    TextInsteadOfContinuation,
    /// No TSIH, or another than that of the session to join.
    #[error("the target's last login response has TSIH {}", tsih.0)]
    Tsih {
        /// What came.
        tsih: Tsih,
    },
    /// A redirection to nowhere.
    #[error("the target redirects the login without a TargetAddress")]
    RedirectWithoutAddress,
    /// A redirection to an address that cannot be read.
    #[error("redirection: {0}")]
    RedirectAddress(AddressError),
    /// More responses than any honest login has.
    #[error("the login is not done after {LOGIN_EXCHANGES_MAX} responses")]
    TooManyResponses,
    /// A response after the login ended.
    #[error("a login response came after the login had ended")]
    AfterTheEnd,
}

impl InitiatorLoginError {
    /// Who is at fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Refused { status } => match *status as u16 >> 8 {
                2 => match status {
                    LoginStatus::AuthenticationFailure | LoginStatus::AuthorizationFailure => {
                        Fault::NotAllowed
                    }
                    _ => Fault::Local,
                },
                _ => Fault::PeerBrokeRules,
            },
            Self::Text(_) | Self::RedirectAddress(_) => Fault::PeerNonsense,
            Self::Negotiation(error) => error.fault(),
            Self::Chap(error) => error.fault(),
            Self::TargetNotProved => Fault::NotAllowed,
            Self::Version { .. } | Self::Method { .. } => Fault::NoCommonOption,
            _ => Fault::PeerBrokeRules,
        }
    }

    /// Whether the same login may succeed later without any change on our side (RFC 7143 §11.13.5, class 3).
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Refused { status: LoginStatus::ServiceUnavailable | LoginStatus::OutOfResources }
        )
    }
}

/// What a status means, for a person.
#[must_use]
const fn status_text(status: LoginStatus) -> &'static str {
    match status {
        LoginStatus::Success => "success",
        LoginStatus::TargetMovedTemporarily => "the target moved for now",
        LoginStatus::TargetMovedPermanently => "the target moved for good",
        LoginStatus::InitiatorError => "initiator error",
        LoginStatus::AuthenticationFailure => "wrong CHAP name or secret, or authentication is needed",
        LoginStatus::AuthorizationFailure => "this initiator may not use the target",
        LoginStatus::NotFound => "there is no such target",
        LoginStatus::TargetRemoved => "the target was removed",
        LoginStatus::UnsupportedVersion => "no common version of the protocol",
        LoginStatus::TooManyConnections => "the session has too many connections",
        LoginStatus::MissingParameter => "a key is missing",
        LoginStatus::CantIncludeInSession => "the connection cannot be included in the session",
        LoginStatus::SessionTypeNotSupported => "the session type is not served",
        LoginStatus::SessionDoesNotExist => "there is no such session",
        LoginStatus::InvalidDuringLogin => "invalid request during login",
        LoginStatus::TargetError => "target error",
        LoginStatus::ServiceUnavailable => "the service is not available now",
        LoginStatus::OutOfResources => "the target has no resources left",
    }
}
