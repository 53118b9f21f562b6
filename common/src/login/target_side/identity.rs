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

/// A later text without the names of the first one. libiscsi says them again in the operational stage when it offered
/// CHAP and the target wants none; the same value again is harmless, another one would be one that nobody admitted.
pub(super) fn without_repetition(first: &Identity, text: &Pairs) -> Result<Pairs, TargetLoginError> {
    let name = |value: &str| value.parse::<IscsiName>().ok();
    let session = if first.target.is_some() { "Normal" } else { "Discovery" };
    let mut rest = Pairs::new();
    for pair in text.iter() {
        let (key, same) = match pair.name.as_str() {
            n if n == Key::InitiatorName.name() => {
                (Key::InitiatorName, name(&pair.value).as_ref() == Some(&first.port.name))
            }
            n if n == Key::TargetName.name() => {
                (Key::TargetName, first.target.is_some() && name(&pair.value) == first.target)
            }
            n if n == Key::SessionType.name() => (Key::SessionType, pair.value == session),
            _ => {
                rest.push_named(pair.name.clone(), pair.value.clone());
                continue;
            }
        };
        if !same {
            return Err(TargetLoginError::LateIdentity { key });
        }
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Isid;

    fn text(pairs: &[(&str, &str)]) -> Pairs {
        let mut text = Pairs::new();
        pairs.iter().for_each(|(name, value)| text.push_named(*name, *value));
        text
    }

    fn identity(target: Option<&str>) -> Identity {
        let port =
            InitiatorPort { name: "iqn.2026-11.org.example:i".parse().unwrap(), isid: Isid::default() };
        Identity { port, target: target.map(|name| name.parse().unwrap()) }
    }

    #[test]
    fn names_that_are_said_again_unchanged_are_passed_over_and_the_rest_is_kept() {
        let normal = identity(Some("iqn.2026-11.org.example:t"));
        let again = text(&[
            ("InitiatorName", "iqn.2026-11.org.Example:i"),
            ("TargetName", "iqn.2026-11.org.example:t"),
            ("SessionType", "Normal"),
            ("MaxBurstLength", "4096"),
        ]);
        assert_eq!(without_repetition(&normal, &again).unwrap(), text(&[("MaxBurstLength", "4096")]));
        let again = text(&[("SessionType", "Discovery")]);
        assert_eq!(without_repetition(&identity(None), &again).unwrap(), Pairs::new());
    }

    #[test]
    fn a_name_that_changes_ends_the_login() {
        let normal = identity(Some("iqn.2026-11.org.example:t"));
        for (key, value) in [
            ("InitiatorName", "iqn.2026-11.org.example:j"),
            ("InitiatorName", "nonsense"),
            ("TargetName", "iqn.2026-11.org.example:u"),
            ("TargetName", ""),
            ("SessionType", "Discovery"),
        ] {
            let result = without_repetition(&normal, &text(&[(key, value)]));
            assert!(matches!(result, Err(TargetLoginError::LateIdentity { .. })), "{key}={value}");
        }
        for (key, value) in
            [("TargetName", "iqn.2026-11.org.example:t"), ("TargetName", "x"), ("SessionType", "Normal")]
        {
            let result = without_repetition(&identity(None), &text(&[(key, value)]));
            assert!(matches!(result, Err(TargetLoginError::LateIdentity { .. })), "discovery, {key}={value}");
        }
    }
}
