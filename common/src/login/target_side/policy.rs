//! What the login asks of who owns targets and sessions.

use crate::login::chap::ChapPolicy;
use crate::name::{Cid, IscsiName, Isid, PortalGroupTag, Tsih};
use crate::pdu::login::LoginStatus;
use crate::serial::CmdSn;
use crate::text::address::TargetAddress;

/// Who asks, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginIdentity<'a> {
    /// The initiator's name; not proved yet.
    pub initiator: &'a IscsiName,
    /// Its port.
    pub isid: Isid,
    /// What it wants.
    pub session: RequestedSession<'a>,
    /// 0 for a new session; otherwise the session that the connection is to join, which the policy must check.
    pub tsih: Tsih,
    /// The connection's ID.
    pub cid: Cid,
}

/// The session that an initiator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedSession<'a> {
    /// Commands to a target.
    Normal {
        /// TargetName. Well formed, which does not mean that it exists.
        target: &'a IscsiName,
    },
    /// SendTargets only.
    Discovery,
}

/// Decides who may log in.
pub trait TargetPolicy {
    /// Asked once in each login, when the names are known and before anything is proved.
    ///
    /// A TSIH other than 0 names a session of this initiator port and target: answer
    /// [`LoginRefusal::SessionDoesNotExist`] or [`LoginRefusal::TooManyConnections`] when that does not fit.
    ///
    /// # Errors
    /// [`LoginRefusal`] says what the initiator is told.
    fn admit(&self, identity: &LoginIdentity<'_>) -> Result<Admission, LoginRefusal>;
}

/// The terms on which a login goes on.
#[derive(Clone, Debug)]
pub struct Admission {
    /// What the initiator must prove.
    pub authentication: Authentication,
    /// The portal group of the portal that the connection came to. Needed for normal sessions (RFC 7143 §13.9).
    pub portal_group: Option<PortalGroupTag>,
    /// TargetAlias.
    pub target_alias: Option<String>,
    /// The command numbers of the session that the connection joins. `None` for a new session.
    pub numbers: Option<SessionNumbers>,
}

impl Admission {
    /// Without authentication, for a new session.
    #[must_use]
    pub const fn open(portal_group: PortalGroupTag) -> Self {
        Self {
            authentication: Authentication::NotRequired,
            portal_group: Some(portal_group),
            target_alias: None,
            numbers: None,
        }
    }

    /// With CHAP, for a new session.
    #[must_use]
    pub fn chap(portal_group: PortalGroupTag, chap: ChapPolicy) -> Self {
        Self { authentication: Authentication::Chap(chap), ..Self::open(portal_group) }
    }
}

/// What an initiator must prove.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Nothing: AuthMethod=None.
    NotRequired,
    /// One of these accounts, by CHAP.
    Chap(ChapPolicy),
}

/// ExpCmdSN and MaxCmdSN of a session that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNumbers {
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}

/// Why a login is refused although the initiator kept the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// 0101: log in over there, this time.
    #[error("the target is at {0} for now")]
    MovedTemporarily(TargetAddress),
    /// 0102: log in over there from now on.
    #[error("the target is at {0} for good")]
    MovedPermanently(TargetAddress),
    /// 0202: this initiator may not use this target.
    #[error("the initiator may not use this target")]
    AuthorizationFailure,
    /// 0203: there is no such target.
    #[error("there is no such target")]
    NotFound,
    /// 0204: the target was removed for good.
    #[error("the target was removed")]
    TargetRemoved,
    /// 0206: no more connections in this session.
    #[error("the session has as many connections as it may")]
    TooManyConnections,
    /// 0208: this portal cannot serve a connection of that session.
    #[error("the connection cannot be included in the session")]
    CantIncludeInSession,
    /// 0209: this kind of session is not served here.
    #[error("this type of session is not served here")]
    SessionTypeNotSupported,
    /// 020a: the TSIH names no session of this initiator port.
    #[error("there is no such session")]
    SessionDoesNotExist,
    /// 0300: an error on our side.
    #[error("an error in the target")]
    TargetError,
    /// 0301: not now; the initiator may try again.
    #[error("the service is not available now")]
    ServiceUnavailable,
    /// 0302: no memory, sessions or the like; the initiator may try again.
    #[error("the target has no resources left")]
    OutOfResources,
}

impl LoginRefusal {
    /// The status on the wire.
    #[must_use]
    pub const fn status(&self) -> LoginStatus {
        match self {
            Self::MovedTemporarily(_) => LoginStatus::TargetMovedTemporarily,
            Self::MovedPermanently(_) => LoginStatus::TargetMovedPermanently,
            Self::AuthorizationFailure => LoginStatus::AuthorizationFailure,
            Self::NotFound => LoginStatus::NotFound,
            Self::TargetRemoved => LoginStatus::TargetRemoved,
            Self::TooManyConnections => LoginStatus::TooManyConnections,
            Self::CantIncludeInSession => LoginStatus::CantIncludeInSession,
            Self::SessionTypeNotSupported => LoginStatus::SessionTypeNotSupported,
            Self::SessionDoesNotExist => LoginStatus::SessionDoesNotExist,
            Self::TargetError => LoginStatus::TargetError,
            Self::ServiceUnavailable => LoginStatus::ServiceUnavailable,
            Self::OutOfResources => LoginStatus::OutOfResources,
        }
    }

    /// The address of a redirection.
    #[must_use]
    pub const fn address(&self) -> Option<&TargetAddress> {
        match self {
            Self::MovedTemporarily(address) | Self::MovedPermanently(address) => Some(address),
            _ => None,
        }
    }
}
