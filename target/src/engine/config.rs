//! What a server serves, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_common::login::TaskReporting;
use lunkeep_common::login::offer::Offer;
use lunkeep_common::login::target_side::Authentication;
use lunkeep_common::name::{IscsiName, PortalGroupTag};
use lunkeep_common::text::address::TargetAddress;

use crate::device::LogicalUnitConfig;
use crate::image::Disk;
use crate::limits::LOGINS_MAX;
use crate::session::SessionSettings;
use crate::store::{
    AlwaysOwner, AuditTrail, LunStateStore, MemoryState, Ownership, ParameterStore, PortNumbers,
};

/// Everything that a [`Server`](super::Server) needs.
#[derive(Debug)]
pub struct ServerConfig {
    /// Where to listen; at least one.
    pub portals: Vec<PortalConfig>,
    /// Targets by name.
    pub targets: Vec<TargetConfig>,
    /// Who may hold discovery sessions.
    pub discovery_authentication: Authentication,
    /// Settings of all sessions.
    pub settings: Settings,
    /// Relative target port identifiers that are known from before. Ports that are not among them are given one.
    pub port_numbers: PortNumbers,
}

/// A portal: an address to listen on.
#[derive(Clone, Debug)]
pub struct PortalConfig {
    /// Address and port; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// What discovery tells in place of the address that the initiator came to: for NAT and guests.
    pub announce: Option<Announce>,
    /// Portal group.
    pub group: PortalGroupTag,
}

/// An address to tell in place of the real one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port; the portal's own when absent.
    pub port: Option<u16>,
}

/// One target.
#[derive(Debug)]
pub struct TargetConfig {
    /// TargetName.
    pub name: IscsiName,
    /// TargetAlias.
    pub alias: Option<String>,
    /// Its logical units.
    pub luns: Vec<LunConfig>,
    /// Who must prove what.
    pub authentication: Authentication,
    /// Who may log in and what they see.
    pub access: AccessList,
    /// Where it can be reached.
    pub portal_groups: PortalGroups,
    /// Where it is instead.
    pub redirect: Option<Redirect>,
}

/// The portal groups in which a target has a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PortalGroups {
    /// Every one of the server.
    #[default]
    All,
    /// These; portals of other groups do not know the target.
    Only(BTreeSet<PortalGroupTag>),
}

impl PortalGroups {
    /// Whether the target has a port there.
    #[must_use]
    pub fn contains(&self, group: PortalGroupTag) -> bool {
        match self {
            Self::All => true,
            Self::Only(groups) => groups.contains(&group),
        }
    }
}

/// Where initiators are sent that log in to a target. Sessions that are there already stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The other portal, without a portal group (RFC 7143 §13.8).
    pub to: TargetAddress,
    /// From now on (0102h), or this time (0101h).
    pub permanent: bool,
}

/// A logical unit under a number of a target.
#[derive(Clone, Debug)]
pub struct LunConfig {
    /// LUN, 0 to 16383.
    pub number: u16,
    /// The logical unit. Targets that hold the same `Arc` export the same unit: it has one task set, one set of reservations, and
    /// its unit attentions go to nexuses of all of them.
    pub unit: Arc<UnitConfig>,
}

/// One logical unit.
#[derive(Debug)]
pub struct UnitConfig {
    /// Identity and shape.
    pub device: LogicalUnitConfig,
    /// The medium.
    pub disk: Arc<dyn Disk>,
    /// Where its reservations are kept.
    pub reservations: ReservationConfig,
    /// Where its mode parameters and what else it keeps are. What is found there replaces `device.saved`.
    pub parameters: Arc<dyn ParameterStore>,
}

/// Where the reservations of a logical unit are kept, and who may serve it.
#[derive(Clone, Debug)]
pub struct ReservationConfig {
    /// The record.
    pub store: Arc<dyn LunStateStore>,
    /// Whether this process may serve the unit.
    pub ownership: Arc<dyn Ownership>,
    /// Where every change is written down for people.
    pub audit: Option<Arc<AuditTrail>>,
}

impl ReservationConfig {
    /// Reservations that end with the process: for tests, and for media that are made for one run.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { store: Arc::new(MemoryState::default()), ownership: Arc::new(AlwaysOwner), audit: None }
    }
}

/// What TARGET COLD RESET may do. It counts as power-on, and a power-on ends registrations and reservations that do not survive a
/// loss of power: a nexus that was fenced could free itself with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColdResetPolicy {
    /// Everybody may.
    Everyone,
    /// Refused when it would take reservations away that are not the sender's own.
    #[default]
    Harmless,
    /// Nobody may.
    Nobody,
}

/// Who may log in to a target, and which LUNs each sees.
#[derive(Clone, Debug)]
pub enum AccessList {
    /// Every initiator sees every LUN.
    Everyone,
    /// Only these; each sees the LUNs of its map, or all when it has none.
    Only(BTreeMap<IscsiName, Option<LunMap>>),
}

/// LUN as the initiator sees it, to LUN of the target.
pub type LunMap = BTreeMap<u16, u16>;

/// Settings of all sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Per session.
    pub session: SessionSettings,
    /// What we offer and require at login.
    pub offer: Offer,
    /// Sessions at one time, over all targets.
    pub sessions_max: usize,
    /// Connections that have not finished their login; the oldest has to go when another comes.
    pub logins_max: usize,
    /// Time that a connection has to finish its login.
    pub login_timeout: Duration,
    /// Time that an abort, a reset or a change of reservations waits for operations on the medium before it fails. Shorter than
    /// what initiators wait for these (Linux: 30 seconds for a command, 15 for an abort; pacemaker: 20 for a step of a fence), so that
    /// they are told.
    pub drain_timeout: Duration,
    /// Bytes of read and write data that may be held in memory for one session.
    pub session_buffer_bytes: u32,
    /// Keep registrations and reservations through restarts whatever APTPL says.
    pub force_aptpl: bool,
    /// Who may reset a target as if its power had failed.
    pub cold_reset: ColdResetPolicy,
}

/// Every way of task reporting; which one holds is the initiator's choice, and RFC3720 when it says nothing.
const TASK_REPORTING: [TaskReporting; 3] = TaskReporting::ALL;

impl Default for Settings {
    fn default() -> Self {
        Self {
            session: SessionSettings {
                queue_depth: 128,
                solicited_bytes_max: 32 << 20,
                ping_interval: Duration::from_secs(30),
                ping_timeout: Duration::from_secs(15),
                recovery_interval: Duration::from_secs(2),
            },
            offer: Offer { task_reporting: &TASK_REPORTING, ..Offer::target() },
            sessions_max: 1024,
            logins_max: LOGINS_MAX,
            login_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(10),
            session_buffer_bytes: 64 << 20,
            force_aptpl: true,
            cold_reset: ColdResetPolicy::default(),
        }
    }
}
