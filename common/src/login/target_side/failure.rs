//! Why a login ends without a session, and what the initiator is told.

use super::policy::LoginRefusal;
use super::reply::Header;
use crate::limits::LOGIN_EXCHANGES_MAX;
use crate::login::Fault;
use crate::login::chap::ChapError;
use crate::login::negotiation::NegotiationError;
use crate::name::{IscsiName, NameError};
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::pdu::{Pdu, PduError};
use crate::serial::StatSn;
use crate::text::keys::Key;
use crate::text::pairs::{Pairs, TextError};

/// Why a login failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetLoginError {
    /// The header cannot be read.
    #[error("login request: {0}")]
    Pdu(#[from] PduError),
    /// The text cannot be read.
    #[error("login text: {0}")]
    Text(#[from] TextError),
    /// A key breaks a rule.
    #[error("login negotiation: {0}")]
    Negotiation(#[from] NegotiationError),
    /// CHAP failed.
    #[error("authentication: {0}")]
    Chap(#[from] ChapError),
    /// The policy said no.
    #[error("login to {} refused: {refusal}", target.as_ref().map_or("a discovery session", IscsiName::as_str))]
    Refused {
        /// Why.
        refusal: LoginRefusal,
        /// The target that was asked for; `None` in a discovery session.
        target: Option<IscsiName>,
    },
    /// Version 0 is not among those that the initiator speaks.
    #[error("the initiator speaks versions {min} to {max} of the protocol; this target speaks version 0")]
    Version {
        /// Version-min.
        min: u8,
        /// Version-max.
        max: u8,
    },
    /// A key that the first request must have.
    #[error("the first login request has no {key} (RFC 7143 6.3)")]
    Missing {
        /// The key.
        key: Key,
    },
    /// The initiator's name is none.
    #[error("InitiatorName: {0}")]
    InitiatorName(NameError),
    /// The target's name is none, so there is no such target.
    #[error("TargetName: {0}")]
    TargetName(NameError),
    /// Neither Normal nor Discovery.
    #[error("SessionType={value:?} is neither Normal nor Discovery")]
    SessionType {
        /// The value.
        value: String,
    },
    /// A key of the first request came later.
    #[error("{key} changed after the first login request")]
    LateIdentity {
        /// The key.
        key: Key,
    },
    /// A field that must stay the same did not.
    #[error("{field} changed during the login (RFC 7143 6.3)")]
    Changed {
        /// The field.
        field: &'static str,
    },
    /// CSG is not the stage of the connection.
    #[error("a login request has CSG {current:?}, which is not the stage of the connection")]
    WrongStage {
        /// CSG.
        current: Stage,
    },
    /// NSG is not after CSG.
    #[error("a login request asks to go from {current:?} to {next:?} (RFC 7143 11.12.3)")]
    BadTransit {
        /// CSG.
        current: Stage,
        /// NSG.
        next: Stage,
    },
    /// T and C together.
    #[error("a login request has both T and C (RFC 7143 11.12.2)")]
    TransitWithContinue,
    /// Text where an empty request had to ask for the rest of ours.
    #[error("a login request has text while our text goes on (RFC 7143 6.2)")]
    TextInsteadOfContinuation,
    /// The initiator does not offer the method that is needed.
    #[error("AuthMethod={offered} lacks {needed}, which this target needs")]
    NoCommonMethod {
        /// What the initiator offers.
        offered: String,
        /// What the target needs.
        needed: &'static str,
    },
    /// The initiator wants to go on without proving who it is.
    #[error("the initiator skips the authentication that this target needs")]
    AuthenticationSkipped,
    /// More requests than any honest login has.
    #[error("the login is not done after {LOGIN_EXCHANGES_MAX} requests")]
    TooManyRequests,
    /// A PDU that is no Login Request.
    #[error("another PDU came in place of a login request (RFC 7143 6.3)")]
    NotALoginRequest,
    /// A request after the login ended.
    #[error("a login request came after the login had ended")]
    AfterTheEnd,
}

impl TargetLoginError {
    /// The status on the wire (RFC 7143 §11.13.5).
    #[must_use]
    pub const fn status(&self) -> LoginStatus {
        match self {
            Self::Chap(error) => error.status(),
            Self::Refused { refusal, .. } => refusal.status(),
            Self::Version { .. } => LoginStatus::UnsupportedVersion,
            Self::Missing { .. } => LoginStatus::MissingParameter,
            Self::TargetName(_) => LoginStatus::NotFound,
            Self::SessionType { .. } => LoginStatus::SessionTypeNotSupported,
            Self::NoCommonMethod { .. } | Self::AuthenticationSkipped => LoginStatus::AuthenticationFailure,
            Self::NotALoginRequest | Self::AfterTheEnd => LoginStatus::InvalidDuringLogin,
            _ => LoginStatus::InitiatorError,
        }
    }

    /// Who is at fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Pdu(_) | Self::Text(_) | Self::InitiatorName(_) | Self::SessionType { .. } => {
                Fault::PeerNonsense
            }
            Self::Negotiation(error) => error.fault(),
            Self::Chap(error) => error.fault(),
            Self::Refused { refusal: LoginRefusal::AuthorizationFailure, .. }
            | Self::TargetName(_)
            | Self::AuthenticationSkipped => Fault::NotAllowed,
            Self::Refused { .. } => Fault::Local,
            Self::Version { .. } | Self::NoCommonMethod { .. } => Fault::NoCommonOption,
            _ => Fault::PeerBrokeRules,
        }
    }
}

/// A login that ended without a session.
#[derive(Clone, Debug)]
pub struct LoginFailure {
    /// Why, for the log.
    pub error: TargetLoginError,
    /// What to send before closing. `None` when the connection is closed without a word (RFC 7143 §6.3).
    pub response: Option<Pdu<LoginResponse>>,
}

impl LoginFailure {
    pub(super) fn new(error: TargetLoginError, request: &LoginRequest) -> Self {
        let address = match &error {
            TargetLoginError::Refused { refusal, .. } => refusal.address().cloned(),
            _ => None,
        };
        let mut text = Pairs::new();
        if let Some(address) = address {
            text.push(Key::TargetAddress, address.to_string());
        }
        // StatSN is valid with status class 0 only (RFC 7143 §11.13.4).
        let header = Header { request: request.clone(), stat_sn: StatSn(0) }.response(error.status());
        Self { error, response: Some(Pdu::with_data(header, text.encode())) }
    }

    pub(super) const fn silent(error: TargetLoginError) -> Self {
        Self { error, response: None }
    }
}
