//! What an initiator logs in with, and what it gets.

use super::failure::InitiatorConfigError;
use crate::limits::KEY_VALUE_LEN_MAX;
use crate::login::chap::ChapIdentity;
use crate::login::offer::ValidOffer;
use crate::login::parameters::{ConnectionParameters, SessionParameters};
use crate::name::{Cid, IscsiName, Isid, PortalGroupTag, Tsih};
use crate::pdu::InitiatorTaskTag;
use crate::serial::{CmdSn, StatSn};

/// What an initiator logs in with.
#[derive(Clone, Debug)]
pub struct InitiatorLoginConfig {
    /// InitiatorName.
    pub name: IscsiName,
    /// InitiatorAlias.
    pub alias: Option<String>,
    /// The initiator port's ISID, the same at every login of this port.
    pub isid: Isid,
    /// 0 for a new session, else the session to join.
    pub tsih: Tsih,
    /// The connection's ID.
    pub cid: Cid,
    /// What to log in to.
    pub session: InitiatorSession,
    /// What to prove, and what to ask the target to prove.
    pub authentication: InitiatorAuthentication,
    /// What is offered.
    pub offer: ValidOffer,
    /// The task tag of all requests of the login.
    pub itt: InitiatorTaskTag,
    /// CmdSN of the login, and of the first command after it that is not immediate.
    pub cmd_sn: CmdSn,
}

/// What to log in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitiatorSession {
    /// A target.
    Normal {
        /// Its name.
        target: IscsiName,
    },
    /// SendTargets only.
    Discovery,
}

/// What to prove.
#[derive(Clone, Debug)]
pub enum InitiatorAuthentication {
    /// Nothing.
    None,
    /// Our name by CHAP, if the target asks for it; with mutual CHAP the target's name too, always.
    Chap(Box<ChapIdentity>),
}

impl InitiatorAuthentication {
    /// What to offer as AuthMethod. A target that must prove itself cannot choose None.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::None => &["None"],
            Self::Chap(identity) if identity.mutual.is_some() => &["CHAP"],
            Self::Chap(_) => &["CHAP", "None"],
        }
    }
}

impl InitiatorLoginConfig {
    pub(super) fn check(&self) -> Result<(), InitiatorConfigError> {
        if let InitiatorAuthentication::Chap(identity) = &self.authentication {
            identity.check()?;
            if identity.algorithms.is_empty() {
                return Err(InitiatorConfigError::NoAlgorithm);
            }
            check_text("CHAP name", &identity.credentials.name)?;
        }
        self.alias.as_deref().map_or(Ok(()), |alias| check_text("alias", alias))
    }
}

/// Values that go out as they are must not break the text that they stand in.
fn check_text(what: &'static str, text: &str) -> Result<(), InitiatorConfigError> {
    if text.contains('\0') || text.len() > KEY_VALUE_LEN_MAX {
        return Err(InitiatorConfigError::Text { what });
    }
    Ok(())
}

/// A connection in the full feature phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EstablishedLogin {
    /// The session's handle.
    pub tsih: Tsih,
    /// What holds for the session; `None` when the connection joined one.
    pub session: Option<SessionParameters>,
    /// What holds for the connection from the next PDU on.
    pub connection: ConnectionParameters,
    /// The target portal group.
    pub portal_group: Option<PortalGroupTag>,
    /// TargetAlias.
    pub target_alias: Option<String>,
    /// CmdSN of the first command that is not immediate.
    pub cmd_sn: CmdSn,
    /// StatSN of the target's next response.
    pub exp_stat_sn: StatSn,
    /// ExpCmdSN of the last response.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN of the last response.
    pub max_cmd_sn: CmdSn,
}
