//! What goes over the control socket, as JSON. Sizes are in bytes, times in seconds.
//!
//! A LUN is named `TARGET/NUMBER`, or `NUMBER` alone where only one target is served.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `POST /v1/luns`: serve one more LUN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddLun {
    /// The target; may be absent where there is only one.
    pub target: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub lun: NewLun,
}

/// A LUN to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewLun {
    /// Its number; absent: the lowest that is free.
    pub number: Option<u16>,
    /// The image, absolute; or `same_as`.
    pub path: Option<PathBuf>,
    /// `TARGET/NUMBER`: the LUN of another target whose unit this is to be.
    pub same_as: Option<String>,
    /// `vhdx`, `vhd` or `raw`; absent: name and content decide.
    pub format: Option<String>,
    /// Create the image with this size when it is missing.
    pub size: Option<u64>,
    /// Create it with all its blocks in place.
    pub fixed: bool,
    /// Logical block size.
    pub block_size: Option<u32>,
    /// Refuse writes.
    pub read_only: bool,
    /// The medium can be ejected and put in.
    pub removable: bool,
    /// A serial number in place of the kept one.
    pub serial: Option<String>,
}

/// Names a LUN. `POST /v1/luns/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunName {
    /// The LUN.
    pub lun: String,
}

/// Names a LUN. `POST /v1/luns/reset`, `POST /v1/luns/eject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceLun {
    /// The LUN.
    pub lun: String,
    /// Also against a reservation, or an initiator that prevents the removal.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/luns/grow`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowLun {
    /// The LUN.
    pub lun: String,
    /// Its new size.
    pub size: u64,
}

/// `POST /v1/luns/snapshot`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotLun {
    /// The LUN.
    pub lun: String,
    /// Name of the snapshot; absent: the first free number.
    #[serde(default)]
    pub name: Option<String>,
}

/// `POST /v1/luns/insert`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InsertMedium {
    /// The LUN.
    pub lun: String,
    /// The image, absolute; absent: the one that was ejected.
    pub path: Option<PathBuf>,
    /// As [`NewLun::format`].
    pub format: Option<String>,
    /// As [`NewLun::block_size`].
    pub block_size: Option<u32>,
    /// Refuse writes.
    pub read_only: bool,
}

/// `POST /v1/targets`: serve one more target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddTarget {
    /// iSCSI name.
    pub name: String,
    /// A text for people.
    pub alias: Option<String>,
    /// Its LUNs.
    pub luns: Vec<NewLun>,
    /// Initiators log in with this user, by CHAP.
    pub chap_user: Option<String>,
    /// File with the secret of that user, absolute.
    pub chap_secret_file: Option<PathBuf>,
    /// Initiators that may log in; empty: every one.
    pub initiators: Vec<String>,
    /// Portal groups that lead to it; empty: all of them.
    pub portal_groups: Vec<u16>,
    /// Where it is instead.
    pub redirect: Option<Redirect>,
}

/// Where initiators of a target are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `HOST:PORT`.
    pub to: String,
    /// From now on (0102h), or this time (0101h).
    #[serde(default)]
    pub permanent: bool,
}

/// `POST /v1/targets/redirect`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedirectTarget {
    /// iSCSI name.
    pub name: String,
    /// Where to; absent: nowhere any more.
    #[serde(default)]
    pub redirect: Option<Redirect>,
}

/// The answer to `POST /v1/targets/redirect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRedirected {
    /// iSCSI name.
    pub name: String,
    /// Where to; absent: nowhere.
    pub redirect: Option<Redirect>,
}

/// `POST /v1/targets/remove`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveTarget {
    /// iSCSI name.
    pub name: String,
    /// Seconds that initiators have to log out; absent: Time2Wait of each session.
    #[serde(default)]
    pub within: Option<u16>,
}

/// `POST /v1/sessions/logout`: exactly one of `session` and `target`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logout {
    /// The session's handle (TSIH).
    pub session: Option<u16>,
    /// Every session of this target.
    pub target: Option<String>,
    /// As [`RemoveTarget::within`].
    pub within: Option<u16>,
}

/// What became of a LUN: the answer to most of what is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunChanged {
    /// `TARGET/NUMBER`.
    pub lun: String,
    /// The image that is served now.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
}

/// The answer to `POST /v1/luns/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunRemoved {
    /// `TARGET/NUMBER`.
    pub lun: String,
    /// Whether its image was closed; not when another target exports the same unit.
    pub closed: bool,
}

/// The answer to `POST /v1/luns/snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `TARGET/NUMBER`.
    pub lun: String,
    /// The image that is served: now a differencing disk.
    pub path: PathBuf,
    /// Its parent, which has the state of the snapshot and must not change.
    pub parent: PathBuf,
}

/// How sessions ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsEnded {
    /// Logged out by their initiators.
    pub obeyed: usize,
    /// Dropped, because their initiators did not.
    pub dropped: usize,
    /// Not ended yet: operations on a medium hold them.
    pub remaining: usize,
}

/// The answer to `POST /v1/targets` and `POST /v1/targets/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetChanged {
    /// iSCSI name.
    pub name: String,
    /// How its sessions ended.
    #[serde(default)]
    pub sessions: SessionsEnded,
}

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// The addresses that are listened on.
    pub portals: Vec<String>,
    /// What is served.
    pub targets: Vec<Target>,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// iSCSI name.
    pub name: String,
    /// A text for people.
    pub alias: Option<String>,
    /// Portal groups that lead to it; absent: all of them.
    pub portal_groups: Option<Vec<u16>>,
    /// Where initiators are sent.
    pub redirect: Option<Redirect>,
    /// Sessions of it.
    pub sessions: usize,
    /// Its LUNs.
    pub luns: Vec<Lun>,
}

/// A LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lun {
    /// Its number.
    pub number: u16,
    /// The image.
    pub path: PathBuf,
    /// Its format.
    pub format: String,
    /// Size.
    pub size: u64,
    /// Logical block size.
    pub block_size: u32,
    /// Files of the image: one, and its parents.
    pub chain: usize,
    /// Whether blocks can be deallocated.
    pub thin: bool,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether the medium can be ejected and put in.
    pub removable: bool,
    /// Whether a medium is in.
    pub medium: bool,
    /// Whether an initiator holds a reservation.
    pub reserved: bool,
    /// Registrations for persistent reservations.
    pub registrations: usize,
    /// Commands that have not ended.
    pub tasks: usize,
    /// Serial number.
    pub serial: String,
    /// NAA designator, in hexadecimal digits.
    pub naa: String,
}

/// `GET /v1/sessions`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Every session, in the order of the handles.
    pub sessions: Vec<Session>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its handle (TSIH).
    pub session: u16,
    /// Name of the initiator.
    pub initiator: String,
    /// ISID of the initiator port, in hexadecimal digits.
    pub isid: String,
    /// The target; absent for discovery.
    pub target: Option<String>,
    /// The portal group; absent for discovery.
    pub portal_group: Option<u16>,
    /// Connections that are logged in.
    pub connections: usize,
    /// Commands that have not been answered.
    pub tasks: usize,
    /// LUNs that it sees.
    pub luns: Vec<u16>,
}
