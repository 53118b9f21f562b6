//! iSCSI names and the identity of ports (RFC 7143 §4.2.7, §4.4).
//!
//! Persistent reservations are keyed by the values here, never by a session or a pointer, so that a registration
//! survives a reconnect (RFC 7143 §4.4.3).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::ISCSI_NAME_LEN_MAX;

/// A normalised iSCSI node name: `iqn.`, `eui.` or `naa.`, in lower case, at most 223 bytes.
///
/// Two names are the same node when they are equal after normalisation (RFC 7143 §4.2.7.1), so comparison is plain.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IscsiName(Arc<str>);

/// Why a text is not an iSCSI name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than 223 bytes.
    #[error("iSCSI name is {len} bytes long; the limit is 223 (RFC 7143 4.2.7.1)")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
    },
    /// Neither `iqn.`, `eui.` nor `naa.`.
    #[error("iSCSI name {name:?} does not begin with \"iqn.\", \"eui.\" or \"naa.\"")]
    UnknownType {
        /// The name as given.
        name: String,
    },
    /// A character that RFC 7143 §4.2.7.2 does not allow.
    #[error("iSCSI name {name:?} contains {character:?}; letters, digits, '-', '.', ':' and '_' are allowed")]
    BadCharacter {
        /// The name as given.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// `iqn.` without `yyyy-mm.` and a naming authority.
    #[error("iSCSI name {name:?} is not of the form iqn.yyyy-mm.reversed.domain[:anything]")]
    BadIqn {
        /// The name as given.
        name: String,
    },
    /// `eui.` or `naa.` with a wrong count of hexadecimal digits.
    #[error("iSCSI name {name:?} needs {expected} hexadecimal digits after the dot")]
    BadDigits {
        /// The name as given.
        name: String,
        /// How many digits the type asks for.
        expected: &'static str,
    },
}

impl IscsiName {
    /// The name's text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IscsiName {
    type Err = NameError;

    /// Checks and normalises a name (RFC 7143 §4.2.7.2, §4.2.7.3 to §4.2.7.6; RFC 3722 maps to lower case).
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > ISCSI_NAME_LEN_MAX {
            return Err(NameError::TooLong { len: text.len() });
        }
        let name = text.to_lowercase();
        // RFC 3722 §6.2: of the ASCII range only these; other scripts pass through string preparation. The underscore is not
        // among them, but host names with one end up in names of real initiators, and no other target refuses them.
        let allowed = |c: char| {
            c.is_ascii_alphanumeric()
                || matches!(c, '-' | '.' | ':' | '_')
                || (!c.is_ascii() && c.is_alphanumeric())
        };
        if let Some(character) = name.chars().find(|&c| !allowed(c)) {
            return Err(NameError::BadCharacter { name, character });
        }
        match name.get(..4) {
            Some("iqn.") if is_iqn(&name) => {}
            Some("iqn.") => return Err(NameError::BadIqn { name }),
            Some("eui.") if is_hex(&name[4..], &[16]) => {}
            Some("eui.") => return Err(NameError::BadDigits { name, expected: "16" }),
            Some("naa.") if is_hex(&name[4..], &[16, 32]) => {}
            Some("naa.") => return Err(NameError::BadDigits { name, expected: "16 or 32" }),
            _ => return Err(NameError::UnknownType { name }),
        }
        Ok(Self(name.into()))
    }
}

fn is_iqn(name: &str) -> bool {
    let rest = &name.as_bytes()[4..];
    let date = rest.len() > 8
        && rest[..4].iter().all(u8::is_ascii_digit)
        && rest[4] == b'-'
        && rest[5..7].iter().all(u8::is_ascii_digit)
        && (1..=12).contains(&((rest[5] - b'0') * 10 + (rest[6] - b'0')))
        && rest[7] == b'.';
    date && rest[8] != b':' && rest[8] != b'.'
}

fn is_hex(digits: &str, lengths: &[usize]) -> bool {
    lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Initiator session identifier, chosen by the initiator (RFC 7143 §11.12.5): 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Isid(pub [u8; 6]);

impl fmt::Display for Isid {
    /// Twelve hexadecimal digits after `0x`, as in the port's name (RFC 7143 §4.4.3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Isid({self})")
    }
}

/// Target session identifying handle: 0 asks for a new session (RFC 7143 §11.12.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tsih(pub u16);

/// Connection ID, unique within a session (RFC 7143 §11.12.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct Cid(pub u16);

/// Target portal group tag: 1 to 65535 on the wire, 0 is allowed by RFC 7143 §13.9 too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct PortalGroupTag(pub u16);

/// A SCSI initiator port: the node's name and its ISID (RFC 7143 §4.4.3).
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InitiatorPort {
    /// The initiator node.
    pub name: IscsiName,
    /// The port on that node.
    pub isid: Isid,
}

impl fmt::Display for InitiatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},i,{}", self.name, self.isid)
    }
}

/// A SCSI target port: the node's name and a portal group (RFC 7143 §4.4.3).
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TargetPort {
    /// The target node.
    pub name: IscsiName,
    /// The portal group on that node.
    pub portal_group: PortalGroupTag,
}

impl fmt::Display for TargetPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},t,0x{:04x}", self.name, self.portal_group.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_lowered() {
        let name: IscsiName = "iqn.2026-11.Org.Example:Disk.1".parse().unwrap();
        assert_eq!(name.as_str(), "iqn.2026-11.org.example:disk.1");
        assert!("eui.02004567A425678D".parse::<IscsiName>().is_ok());
        assert!("naa.52004567BA64678D".parse::<IscsiName>().is_ok());
        assert!("naa.62004567BA64678D0123456789ABCDEF".parse::<IscsiName>().is_ok());
        assert!("iqn.2001-04.com.éxample:x".parse::<IscsiName>().is_ok());
        assert!("iqn.1991-05.com.microsoft:node_1".parse::<IscsiName>().is_ok());
    }

    #[test]
    fn each_fault_has_its_own_error() {
        use NameError::*;
        let error = |text: &str| text.parse::<IscsiName>().unwrap_err();
        assert!(matches!(error(&format!("iqn.2026-11.org:{}", "x".repeat(223))), TooLong { .. }));
        assert!(matches!(error("disk1"), UnknownType { .. }));
        assert!(matches!(error(""), UnknownType { .. }));
        assert!(matches!(error("iqn.2026-11.org:a/b"), BadCharacter { character: '/', .. }));
        assert!(matches!(error("iqn.2026-13.org:a"), BadIqn { .. }));
        assert!(matches!(error("iqn.2026-1"), BadIqn { .. }));
        assert!(matches!(error("iqn.2026-11.:a"), BadIqn { .. }));
        assert!(matches!(error("eui.123"), BadDigits { .. }));
        assert!(matches!(error("naa.xyz4567ba64678d0"), BadDigits { .. }));
    }

    #[test]
    fn the_longest_name_passes_and_one_more_byte_does_not() {
        let longest = format!("iqn.2026-11.org:{}", "x".repeat(223 - 16));
        assert_eq!(longest.len(), 223);
        assert!(longest.parse::<IscsiName>().is_ok());
        assert!(format!("{longest}x").parse::<IscsiName>().is_err());
    }

    #[test]
    fn ports_print_as_the_standard_writes_them() {
        let name: IscsiName = "iqn.2026-11.org:a".parse().unwrap();
        let port = InitiatorPort { name: name.clone(), isid: Isid([0x80, 0, 0, 0, 0, 0x1f]) };
        assert_eq!(port.to_string(), "iqn.2026-11.org:a,i,0x80000000001f");
        let port = TargetPort { name, portal_group: PortalGroupTag(1) };
        assert_eq!(port.to_string(), "iqn.2026-11.org:a,t,0x0001");
    }
}
