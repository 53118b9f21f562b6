//! Who the first text of a login says it is from, and what it asks for (RFC 7143 §6.3, §13.4, §13.5, §13.21).

use super::failure::TargetLoginError;
use super::policy::{LoginIdentity, RequestedSession};
use crate::name::{InitiatorPort, IscsiName};
use crate::pdu::login::LoginRequest;
use crate::text::keys::Key;
use crate::text::pairs::Pairs;

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) port: InitiatorPort,
    /// The target of a normal session; `None` is a discovery session.
    pub(super) target: Option<IscsiName>,
}

impl Identity {
    pub(super) fn read(header: &LoginRequest, text: &Pairs) -> Result<Self, TargetLoginError> {
        use TargetLoginError as E;
        let name = text.get(Key::InitiatorName).ok_or(E::Missing { key: Key::InitiatorName })?;
        let name = name.parse().map_err(E::InitiatorName)?;
        let port = InitiatorPort { name, isid: header.isid };
        let target = match text.get(Key::SessionType) {
            Some("Discovery") => None,
            Some("Normal") | None => {
                let name = text.get(Key::TargetName).ok_or(E::Missing { key: Key::TargetName })?;
                Some(name.parse().map_err(E::TargetName)?)
            }
            Some(other) => return Err(E::SessionType { value: other.into() }),
        };
        Ok(Self { port, target })
    }

    pub(super) fn as_request<'a>(&'a self, header: &LoginRequest) -> LoginIdentity<'a> {
        LoginIdentity {
            initiator: &self.port.name,
            isid: header.isid,
            session: match &self.target {
                Some(target) => RequestedSession::Normal { target },
                None => RequestedSession::Discovery,
            },
            tsih: header.tsih,
            cid: header.cid,
        }
    }
}

/// The policy decided on the first text. A name that comes later would be one that nobody admitted.
pub(super) fn check_unchanged(text: &Pairs) -> Result<(), TargetLoginError> {
    let late = [Key::InitiatorName, Key::TargetName, Key::SessionType];
    match late.into_iter().find(|&key| text.get(key).is_some()) {
        Some(key) => Err(TargetLoginError::LateIdentity { key }),
        None => Ok(()),
    }
}
