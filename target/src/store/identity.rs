//! What an initiator knows a LUN by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record::Record;

/// A *locally assigned* NAA designator (SPC-4 §7.8.6.6.4: NAA 3h, then 60 bits that the administrator assigns).
///
/// The world-wide unique types (NAA 2h, 5h and 6h) begin with a company identifier that the IEEE sells. Lunkeep has none and
/// takes nobody else's, so its identifiers are of the type that is meant for this; 60 random bits make a collision
/// within a site unthinkable: with ten thousand LUNs its chance is below one in 10^10.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Naa(u64);

impl Naa {
    /// A designator out of random bytes.
    #[must_use]
    pub const fn from_random(random: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(random) >> 4 | 0x3 << 60)
    }

    /// The eight bytes as they stand in the designator.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Naa {
    /// Sixteen hexadecimal digits, as after `wwn-0x` in Linux's `/dev/disk/by-id`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Naa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Naa({self})")
    }
}

impl FromStr for Naa {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("NAA designator {text:?} is not a 3 followed by 15 hexadecimal digits");
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u64::from_str_radix(text, 16).map_err(|_| wrong())?;
        if digits && value >> 60 == 3 { Ok(Self(value)) } else { Err(wrong()) }
    }
}

impl Serialize for Naa {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Naa {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of one LUN, as kept in `identity.json` of its state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunIdentity {
    /// NAA designator (VPD page 83h).
    pub naa: Naa,
    /// Unit serial number (VPD page 80h): the digits of `naa` when it was made.
    pub serial: String,
    /// The image that it belongs to: absolute, without symbolic links.
    pub image: String,
    /// The image's inode number when it was last opened, to tell a moved image from a copied one.
    pub inode: u64,
}

impl Record for LunIdentity {
    const KIND: &'static str = "lun identity";
    const VERSION: u32 = 1;
}

/// The name that was made up for a target when none was configured, as kept in `target.json` beside the identity of its first
/// LUN: it stays when the host is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetName {
    /// The iSCSI name.
    pub name: String,
}

impl Record for TargetName {
    const KIND: &'static str = "target name";
    const VERSION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_value_gives_a_locally_assigned_designator() {
        for random in [[0; 8], [0xff; 8], [0x60, 1, 2, 3, 4, 5, 6, 7]] {
            let naa = Naa::from_random(random);
            assert_eq!(naa.to_bytes()[0] >> 4, 3);
            assert_eq!(naa.to_string().parse::<Naa>().unwrap(), naa);
        }
        assert_eq!(Naa::from_random([0x60, 1, 2, 3, 4, 5, 6, 7]).to_string(), "3600102030405060");
    }

    #[test]
    fn a_designator_of_another_type_or_length_is_refused() {
        for text in ["", "3", "6600102030405060", "360010203040506", "36001020304050600", "+600102030405060"]
        {
            assert!(text.parse::<Naa>().is_err(), "{text}");
        }
    }
}
