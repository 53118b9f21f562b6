//! What is to be served, as the flags or the configuration say it: checked for form, nothing opened yet.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use lunkeep_common::limits::CHAP_SECRET_LEN_MIN;
use lunkeep_common::name::{IscsiName, PortalGroupTag};
use lunkeep_common::text::address::TargetAddress;
use zeroize::Zeroizing;

use crate::engine::config::{PortalGroups, Redirect, Settings};
use crate::image::{Allocation, Format};
use crate::limits::{CHAP_SECRET_LEN_MAX, SERIAL_LEN_MAX};
use crate::store::StateLocation;

/// The port that IANA assigned to iSCSI targets; above 1024, so no privilege is needed.
pub const DEFAULT_PORT: u16 = 3260;

/// All that `serve` serves.
#[derive(Clone, Debug)]
pub struct ServeSpec {
    /// Where to listen; at least one.
    pub portals: Vec<PortalSpec>,
    /// Whether the portals are the default ones, so that a host without IPv6 is no error.
    pub default_portals: bool,
    /// Where identities are kept.
    pub state: StateLocation,
    /// Folders, beside the image's own, in which the parents of differencing disks may be.
    pub parent_dirs: Vec<PathBuf>,
    /// The targets; at least one, with different names.
    pub targets: Vec<TargetSpec>,
    /// Who may ask which targets there are.
    pub discovery: Authentication,
    /// Bounds and timeouts of all sessions.
    pub settings: Settings,
    /// Where the control socket is.
    pub control: Control,
    /// What a person should know and nobody asked for, in sentences.
    pub notes: Vec<String>,
}

/// Where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// `control.sock` in the state folder, or where each image has its own, in that of the first LUN.
    #[default]
    InState,
    /// There.
    At(PathBuf),
    /// There is none.
    Absent,
}

/// A network portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalSpec {
    /// Address and port to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What SendTargets tells instead of the address.
    pub announce: Option<Announce>,
    /// The portal group.
    pub group: PortalGroupTag,
}

/// A target node.
#[derive(Clone, Debug)]
pub struct TargetSpec {
    /// Its name; without one it is made up at the first start and kept.
    pub name: Option<IscsiName>,
    /// A text for people (TargetAlias).
    pub alias: Option<String>,
    /// Its logical units by number; at least one, unless it is elsewhere.
    pub luns: BTreeMap<u16, LunSource>,
    /// How initiators prove who they are.
    pub authentication: Authentication,
    /// Which initiators may log in, and what they see.
    pub access: Access,
    /// Where it can be reached.
    pub portal_groups: PortalGroups,
    /// Where it is instead.
    pub redirect: Option<Redirect>,
}

/// What a LUN of a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LunSource {
    /// A logical unit of its own.
    Image(LunSpec),
    /// The logical unit that another target has already.
    SameAs(LunAddress),
}

/// A LUN of a target, written `TARGET/NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunAddress {
    /// The target.
    pub target: IscsiName,
    /// LUN, 0 to 16383.
    pub number: u16,
}

impl fmt::Display for LunAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target, self.number)
    }
}

impl FromStr for LunAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} does not name a LUN: write TARGET/NUMBER");
        let (target, number) = text.rsplit_once('/').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        let target = target.parse().map_err(|error| format!("{}: {error}", wrong()))?;
        Ok(Self { target, number })
    }
}

/// A logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunSpec {
    /// The image.
    pub path: PathBuf,
    /// Its format; without one name and content decide.
    pub format: Option<Format>,
    /// How to create the image when it is missing; without this a missing image is an error.
    pub create: Option<CreateSpec>,
    /// Logical block size in bytes, 512 or 4096: of a new image, and of a raw disk whenever it is served, since its file does
    /// not record it. An existing image of another format must have it. Without this, what the image says.
    pub logical_block: Option<u32>,
    /// Refuse writes.
    pub read_only: bool,
    /// The medium can be ejected and loaded.
    pub removable: bool,
    /// A serial number in place of the one that is kept.
    pub serial: Option<Serial>,
}

/// How to create a missing image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateSpec {
    /// Size of the disk in bytes.
    pub size: u64,
    /// Fixed or dynamic.
    pub allocation: Allocation,
}

/// How one side proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// No proof is asked for.
    None,
    /// CHAP (RFC 7143 §12.1.3).
    Chap {
        /// The users that may log in; at least one, with different names.
        users: Vec<Credential>,
        /// How the target proves itself when the initiator asks.
        mutual: Option<Credential>,
    },
}

impl Authentication {
    /// CHAP with these users, after the rules that concern more than one of them.
    ///
    /// # Errors
    /// A sentence that names the user at fault.
    pub fn chap(users: Vec<Credential>, mutual: Option<Credential>) -> Result<Self, String> {
        for (n, user) in users.iter().enumerate() {
            if users.iter().take(n).any(|other| other.name == user.name) {
                return Err(format!("CHAP user {:?} is there twice", user.name));
            }
            if mutual.as_ref().is_some_and(|mutual| mutual.secret == user.secret) {
                // RFC 7143 §9.2.1: the same secret in both directions lets a peer answer with what it was asked.
                return Err(format!(
                    "the secret of CHAP user {:?} is also the target's own (mutual) secret: they must differ",
                    user.name
                ));
            }
        }
        match (users.is_empty(), mutual) {
            (true, None) => Ok(Self::None),
            (true, Some(_)) => Err("mutual CHAP needs at least one CHAP user".into()),
            (false, mutual) => Ok(Self::Chap { users, mutual }),
        }
    }
}

/// A CHAP name and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// CHAP_N.
    pub name: String,
    /// The secret.
    pub secret: Secret,
}

/// A CHAP secret. It is wiped from memory when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of 12 to 255 bytes.
    ///
    /// # Errors
    /// A sentence that says which bound was passed.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        match bytes.len() {
            n if n < CHAP_SECRET_LEN_MIN => Err(format!(
                "the secret has {n} bytes; a CHAP secret needs at least {CHAP_SECRET_LEN_MIN} (RFC 7143 9.2.1)"
            )),
            n if n > CHAP_SECRET_LEN_MAX => {
                Err(format!("the secret has {n} bytes; at most {CHAP_SECRET_LEN_MAX} are supported"))
            }
            _ => Ok(Self(bytes)),
        }
    }

    /// The secret's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which initiators may log in to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Every initiator, and each sees every LUN.
    Everyone,
    /// Only these.
    Only(BTreeMap<IscsiName, LunView>),
}

/// What one initiator sees of a target's LUNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LunView {
    /// All, under their own numbers.
    All,
    /// Only some: the number that the initiator sees, and the LUN that it stands for.
    Map(BTreeMap<u16, u16>),
}

/// A unit serial number: 1 to [`SERIAL_LEN_MAX`] printable ASCII characters, no space at an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial(String);

impl Serial {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let printable = text.bytes().all(|b| (0x20..0x7f).contains(&b));
        if text.is_empty() || text.len() > SERIAL_LEN_MAX || !printable || text.trim() != text {
            return Err(format!(
                "serial number {text:?} must be 1 to {SERIAL_LEN_MAX} printable ASCII characters without a space at an end"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// The address of a portal as initiators shall use it: a host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// A name or an address; an IPv6 address in brackets.
    pub host: String,
    /// The port; without one that on which the portal listens.
    pub port: Option<u16>,
}

impl fmt::Display for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for Announce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("announced address {text:?} is not HOST or HOST:PORT (an IPv6 address in brackets)");
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: host_of(ip), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => {
                (host, Some(port.parse::<u16>().ok().filter(|&p| p != 0).ok_or_else(wrong)?))
            }
            _ => (text, None),
        };
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = match inner {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
            }
        };
        if valid { Ok(Self { host: host.into(), port }) } else { Err(wrong()) }
    }
}

/// The portals without configuration: every address of the host.
#[must_use]
pub fn default_portals() -> Vec<PortalSpec> {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    any.map(|ip| PortalSpec {
        listen: SocketAddr::new(ip, DEFAULT_PORT),
        announce: None,
        group: PortalGroupTag(1),
    })
    .into()
}

/// The host part of a portal: an IPv6 address stands in brackets.
#[must_use]
pub fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// An address to listen on: `ADDR:PORT`, or `ADDR` for port 3260.
///
/// # Errors
/// A sentence that says how it is written.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DEFAULT_PORT)).map_err(|_| {
        format!("{text:?} is not an address to listen on: write ADDR:PORT with a numeric address, such as 0.0.0.0:3260 or [::]:3260")
    })
}

/// Where initiators are sent: `HOST:PORT`, or `HOST` for port 3260; an IPv6 address in brackets.
///
/// # Errors
/// A sentence that says how it is written.
pub fn redirect_to(text: &str) -> Result<TargetAddress, String> {
    match text.parse::<TargetAddress>() {
        Ok(address) if address.portal_group.is_none() => Ok(address),
        _ => Err(format!("{text:?} is not HOST or HOST:PORT (an IPv6 address in brackets)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, secret: &str) -> Credential {
        Credential { name: name.into(), secret: Secret::new(Zeroizing::new(secret.into())).unwrap() }
    }

    #[test]
    fn listen_addresses_take_the_iscsi_port_by_default() {
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1:3260"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("::1", "[::1]:3260"),
            ("[::1]", "[::1]:3260"),
            ("[::]:1234", "[::]:1234"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), address);
        }
        for text in ["", "localhost:3260", ":3260", "127.0.0.1:", "127.0.0.1:65536", "[127.0.0.1"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn announced_addresses_may_be_names() {
        for (text, shown) in [
            ("storage.example", "storage.example"),
            ("storage.example:860", "storage.example:860"),
            ("10.0.2.2:3260", "10.0.2.2:3260"),
            ("fd00::1", "[fd00::1]"),
            ("[fd00::1]", "[fd00::1]"),
            ("[fd00::1]:3261", "[fd00::1]:3261"),
        ] {
            assert_eq!(text.parse::<Announce>().unwrap().to_string(), shown);
        }
        for text in ["", ":3260", "host:", "host:0", "host:x", "a b", "[host]:1", "a,b", "host:70000"] {
            assert!(text.parse::<Announce>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_have_bounds_and_are_never_shown() {
        assert!(Secret::new(Zeroizing::new(vec![b'x'; 11])).is_err());
        assert!(Secret::new(Zeroizing::new(vec![b'x'; 12])).is_ok());
        assert!(Secret::new(Zeroizing::new(vec![b'x'; 255])).is_ok());
        assert!(Secret::new(Zeroizing::new(vec![b'x'; 256])).is_err());
        assert!(!format!("{:?}", credential("a", "not to be seen")).contains("seen"));
    }

    #[test]
    fn chap_refuses_doubled_users_and_a_secret_used_in_both_directions() {
        let user = credential("a", "secret-of-user-a");
        assert_eq!(Authentication::chap(vec![], None), Ok(Authentication::None));
        assert!(Authentication::chap(vec![user.clone()], None).is_ok());
        assert!(Authentication::chap(vec![user.clone(), user.clone()], None).is_err());
        assert!(Authentication::chap(vec![], Some(user.clone())).is_err());
        assert!(Authentication::chap(vec![user.clone()], Some(credential("t", "secret-of-user-a"))).is_err());
        assert!(Authentication::chap(vec![user], Some(credential("t", "secret-of-target"))).is_ok());
    }

    #[test]
    fn serial_numbers_have_bounds() {
        assert!("x".repeat(SERIAL_LEN_MAX).parse::<Serial>().is_ok());
        for text in [String::new(), "x".repeat(SERIAL_LEN_MAX + 1), " x".into(), "é".into(), "a\nb".into()] {
            assert!(text.parse::<Serial>().is_err(), "{text:?}");
        }
    }
}
