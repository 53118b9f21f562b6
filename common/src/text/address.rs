//! `TargetAddress` (RFC 7143 §13.8) and the list of targets that answers SendTargets (RFC 7143 Appendix C).

use std::fmt;
use std::str::FromStr;

use super::keys::Key;
use super::pairs::Pairs;
use crate::name::{IscsiName, PortalGroupTag};

/// The port when an address states none (RFC 7143 §13.8).
pub const ISCSI_PORT: u16 = 3260;

/// A portal: `host[:port][,portal-group-tag]`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetAddress {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The portal group; absent in a redirection.
    pub portal_group: Option<PortalGroupTag>,
}

/// Why a text is not a target address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target address {text:?} is not host[:port][,portal-group-tag]")]
pub struct AddressError {
    /// The address as given.
    pub text: String,
}

impl fmt::Display for TargetAddress {
    /// Always with the port: some initiators take the absence of it badly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
        }
        match self.portal_group {
            Some(PortalGroupTag(tag)) => write!(f, ",{tag}"),
            None => Ok(()),
        }
    }
}

impl FromStr for TargetAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).ok_or_else(|| AddressError { text: text.into() })
    }
}

fn parse(text: &str) -> Option<TargetAddress> {
    let (address, portal_group) = match text.split_once(',') {
        Some((address, tag)) => (address, Some(PortalGroupTag(tag.parse().ok()?))),
        None => (text, None),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (host, port)
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = port.map_or(Some(ISCSI_PORT), |port| port.parse().ok().filter(|&port| port != 0))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_' | '%');
    (!host.is_empty() && host.len() <= 255 && host.chars().all(plain)).then(|| TargetAddress {
        host: host.into(),
        port,
        portal_group,
    })
}

/// One target of an answer to SendTargets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// The target's name.
    pub name: IscsiName,
    /// Its portals. Empty means the portal that was asked (RFC 7143 Appendix C).
    pub addresses: Vec<TargetAddress>,
}

/// Why an answer to SendTargets is not usable. All of them are the target's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// A TargetAddress without a TargetName before it.
    #[error("TargetAddress={value} stands before any TargetName")]
    NoTarget {
        /// The address.
        value: String,
    },
    /// A name that is none.
    #[error("TargetName: {0}")]
    Name(#[from] crate::name::NameError),
    /// An address that is none.
    #[error("TargetAddress: {0}")]
    Address(#[from] AddressError),
    /// Any other key.
    #[error("key {key} has no place in an answer to SendTargets")]
    Key {
        /// The key.
        key: String,
    },
}

/// Writes an answer to SendTargets.
#[must_use]
pub fn encode_listing(targets: &[DiscoveredTarget]) -> Pairs {
    let mut pairs = Pairs::new();
    for target in targets {
        pairs.push(Key::TargetName, target.name.as_str());
        for address in &target.addresses {
            pairs.push(Key::TargetAddress, address.to_string());
        }
    }
    pairs
}

/// Reads an answer to SendTargets. A target named twice is listed once.
///
/// # Errors
/// [`ListingError`].
pub fn decode_listing(pairs: &Pairs) -> Result<Vec<DiscoveredTarget>, ListingError> {
    let mut targets: Vec<DiscoveredTarget> = Vec::new();
    let mut current = None;
    for pair in pairs {
        match Key::from_name(&pair.name) {
            Some(Key::TargetName) => {
                let name: IscsiName = pair.value.parse()?;
                let known = targets.iter().position(|target| target.name == name);
                current = Some(known.unwrap_or(targets.len()));
                if known.is_none() {
                    targets.push(DiscoveredTarget { name, addresses: Vec::new() });
                }
            }
            Some(Key::TargetAddress) => {
                let target = current.and_then(|index| targets.get_mut(index));
                let target = target.ok_or_else(|| ListingError::NoTarget { value: pair.value.clone() })?;
                target.addresses.push(pair.value.parse()?);
            }
            _ => return Err(ListingError::Key { key: pair.name.clone() }),
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests;
