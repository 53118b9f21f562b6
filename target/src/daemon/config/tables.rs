//! The shape of the configuration file. Every table denies keys that it does not have.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

/// A value and where it stands.
pub type At<T> = Spanned<T>;

/// Every table with its keys, in the order of the documentation.
pub const KEYS: [(&str, &[&str]); 11] = [
    ("", &["state", "control", "parent_dirs", "portal", "discovery", "limits", "reservations", "target"]),
    ("portal", &["listen", "announce", "group"]),
    ("discovery", &["chap", "mutual_chap"]),
    (
        "limits",
        &[
            "sessions",
            "queue_depth",
            "session_memory",
            "max_connections",
            "error_recovery_level",
            "login_timeout",
            "ping_interval",
            "ping_timeout",
            "drain_timeout",
        ],
    ),
    ("reservations", &["force_aptpl", "cold_reset"]),
    ("target", &["name", "alias", "lun", "chap", "mutual_chap", "initiator", "portal_groups", "redirect"]),
    (
        "target.lun",
        &[
            "number",
            "path",
            "same_as",
            "format",
            "size",
            "fixed",
            "block_size",
            "read_only",
            "removable",
            "serial",
        ],
    ),
    ("target.initiator", &["name", "luns"]),
    ("target.chap", &["user", "secret_file", "secret_env"]),
    ("target.mutual_chap", &["user", "secret_file", "secret_env"]),
    ("target.redirect", &["to", "permanent"]),
];

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Folder for identities.
    pub state: Option<At<String>>,
    /// The control socket; empty: none.
    pub control: Option<At<String>>,
    /// Folders that parents of differencing disks may be in.
    #[serde(default)]
    pub parent_dirs: Vec<At<String>>,
    /// Where to listen.
    #[serde(default)]
    pub portal: Vec<Portal>,
    /// Who may ask for targets.
    pub discovery: Option<Discovery>,
    /// Bounds and timeouts.
    pub limits: Option<Limits>,
    /// Persistent reservations.
    pub reservations: Option<Reservations>,
    /// What is served.
    #[serde(default)]
    pub target: Vec<Target>,
}

/// `[[portal]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portal {
    /// Address and port.
    pub listen: At<String>,
    /// What initiators are told instead.
    pub announce: Option<At<String>>,
    /// Portal group tag.
    pub group: Option<At<u16>>,
}

/// `[discovery]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    /// Users for discovery sessions.
    #[serde(default)]
    pub chap: Vec<At<Chap>>,
    /// The target's own proof in discovery sessions.
    pub mutual_chap: Option<At<Chap>>,
}

/// `[limits]`; times are in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Sessions at one time.
    pub sessions: Option<At<u32>>,
    /// Commands outstanding in one session.
    pub queue_depth: Option<At<u32>>,
    /// Bytes of data held for one session.
    pub session_memory: Option<At<String>>,
    /// MaxConnections that is offered.
    pub max_connections: Option<At<u32>>,
    /// ErrorRecoveryLevel that is offered.
    pub error_recovery_level: Option<At<u32>>,
    /// For a login to finish.
    pub login_timeout: Option<At<u32>>,
    /// Quiet time before a NOP-In.
    pub ping_interval: Option<At<u32>>,
    /// For the answer to a NOP-In.
    pub ping_timeout: Option<At<u32>>,
    /// For operations on the medium to end before an abort fails.
    pub drain_timeout: Option<At<u32>>,
}

/// `[reservations]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservations {
    /// Keep them through restarts whatever APTPL says.
    pub force_aptpl: Option<bool>,
    /// Who may send TARGET COLD RESET: `everyone`, `harmless` or `nobody`.
    pub cold_reset: Option<At<String>>,
}

/// `[[target]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// iSCSI name.
    pub name: At<String>,
    /// Text for people.
    pub alias: Option<At<String>>,
    /// Logical units.
    #[serde(default)]
    pub lun: Vec<At<Lun>>,
    /// Users.
    #[serde(default)]
    pub chap: Vec<At<Chap>>,
    /// The target's own proof.
    pub mutual_chap: Option<At<Chap>>,
    /// Allowed initiators; without any, all are.
    #[serde(default)]
    pub initiator: Vec<Initiator>,
    /// Portal groups that lead to it; without them, all do.
    pub portal_groups: Option<At<Vec<At<u16>>>>,
    /// Where it is instead.
    pub redirect: Option<Redirect>,
}

/// `[target.redirect]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `HOST:PORT`.
    pub to: At<String>,
    /// From now on, or this time.
    pub permanent: Option<bool>,
}

/// `[[target.lun]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lun {
    /// Its number; without it its place among the target's LUNs.
    pub number: Option<At<u16>>,
    /// The image.
    pub path: Option<At<String>>,
    /// `TARGET/NUMBER` of the LUN whose logical unit this is, in place of an image.
    pub same_as: Option<At<String>>,
    /// `raw`, `vhd` or `vhdx`.
    pub format: Option<At<String>>,
    /// Size of an image that is to be created when missing.
    pub size: Option<At<String>>,
    /// Create it fixed.
    pub fixed: Option<At<bool>>,
    /// Logical block size.
    pub block_size: Option<At<u32>>,
    /// Refuse writes.
    pub read_only: Option<At<bool>>,
    /// The medium can be ejected and loaded.
    pub removable: Option<At<bool>>,
    /// Serial number in place of the kept one.
    pub serial: Option<At<String>>,
}

/// `[[target.initiator]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initiator {
    /// iSCSI name.
    pub name: At<String>,
    /// What it sees; without it everything.
    pub luns: Option<At<LunMap>>,
}

/// `[[target.chap]]`, `[target.mutual_chap]`, `[[discovery.chap]]`, `[discovery.mutual_chap]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chap {
    /// CHAP name.
    pub user: At<String>,
    /// File with the secret.
    pub secret_file: Option<At<String>>,
    /// Environment variable with the secret.
    pub secret_env: Option<At<String>>,
}

/// What an initiator sees: `[0, 2]` keeps the numbers, `{ 0 = 2 }` shows LUN 2 as number 0.
#[derive(Debug, PartialEq, Eq)]
pub struct LunMap(pub BTreeMap<u16, u16>);

impl<'de> Deserialize<'de> for LunMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LunMapVisitor)
    }
}

struct LunMapVisitor;

impl<'de> Visitor<'de> for LunMapVisitor {
    type Value = LunMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LUN numbers such as [0, 2], or a table such as { 0 = 2 } (number seen = LUN)")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<LunMap, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(number) = numbers.next_element::<u16>()? {
            if map.insert(number, number).is_some() {
                return Err(A::Error::custom(format!("LUN {number} is there twice")));
            }
        }
        Ok(LunMap(map))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<LunMap, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((seen, lun)) = pairs.next_entry::<String, u16>()? {
            let number =
                seen.parse().map_err(|_| A::Error::custom(format!("{seen:?} is not a LUN number")))?;
            if map.insert(number, lun).is_some() {
                return Err(A::Error::custom(format!("number {number} is there twice")));
            }
        }
        Ok(LunMap(map))
    }
}
