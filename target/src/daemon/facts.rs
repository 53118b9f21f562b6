//! What is being served, for programs (as JSON) and for people (as text). Both say the same.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use lunkeep_common::name::PortalGroupTag;
use serde::Serialize;

use super::addresses::reachable;
use super::connect::{self, Connect, Connection};
use super::prepare::{Prepared, PreparedLun, PreparedTarget};
use super::size;
use super::spec::{Access, Authentication, PortalSpec};
use crate::engine::config::PortalGroups;
use crate::image::{Disk as _, Format};

/// All facts. The JSON document of `serve --json` is this; docs/serve.md describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// `serving`.
    pub event: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// Process id.
    pub pid: u32,
    /// Where it listens.
    pub portals: Vec<PortalFacts>,
    /// How initiators log in to discovery: `none`, `chap` or `mutual chap`.
    pub discovery_authentication: &'static str,
    /// The control socket.
    pub control: Option<PathBuf>,
    /// What it serves.
    pub targets: Vec<TargetFacts>,
}

/// A portal.
#[derive(Clone, Debug, Serialize)]
pub struct PortalFacts {
    /// Address and port that it is bound to.
    pub listen: SocketAddr,
    /// Portal group tag.
    pub group: u16,
    /// `HOST:PORT`s under which initiators reach it, the most useful first.
    pub addresses: Vec<String>,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetFacts {
    /// iSCSI name.
    pub name: String,
    /// Text for people.
    pub alias: Option<String>,
    /// `none`, `chap` or `mutual chap`.
    pub authentication: &'static str,
    /// Initiators that may log in; `null`: every one.
    pub initiators: Option<Vec<String>>,
    /// Portal groups that lead to it; `null`: all of them.
    pub portal_groups: Option<Vec<u16>>,
    /// The address to which initiators are sent.
    pub redirect: Option<String>,
    /// Logical units.
    pub luns: Vec<LunFacts>,
    /// Commands to connect.
    pub connect: Connect,
}

/// A logical unit.
#[derive(Clone, Debug, Serialize)]
pub struct LunFacts {
    /// Its number.
    pub number: u16,
    /// `iscsi://HOST:PORT/NAME/NUMBER` for each address, the most useful first.
    pub urls: Vec<String>,
    /// The image.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Size in bytes.
    pub size: u64,
    /// Logical block size in bytes.
    pub block_size: u32,
    /// Whether blocks can be deallocated.
    pub thin: bool,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether the image was created just now.
    pub created: bool,
    /// Serial number.
    pub serial: String,
    /// NAA designator, in hexadecimal digits.
    pub naa: String,
    /// State folder.
    pub state: PathBuf,
}

impl Facts {
    /// The facts about `prepared`, served on `portals` (each with the address it is bound to) of a host with the addresses
    /// `interfaces`.
    #[must_use]
    pub fn new(
        prepared: &Prepared,
        discovery: &Authentication,
        portals: &[(PortalSpec, SocketAddr)],
        interfaces: &[IpAddr],
        control: Option<&Path>,
    ) -> Self {
        let portals: Vec<_> = portals
            .iter()
            .map(|(spec, bound)| PortalFacts {
                listen: *bound,
                group: spec.group.0,
                addresses: reachable(*bound, spec.announce.as_ref(), interfaces),
            })
            .collect();
        let addresses_of = |target: &PreparedTarget| {
            let own = |portal: &&PortalFacts| target.portal_groups.contains(PortalGroupTag(portal.group));
            let mut addresses: Vec<String> = Vec::new();
            for address in portals.iter().filter(own).flat_map(|portal| &portal.addresses) {
                if !addresses.contains(address) {
                    addresses.push(address.clone());
                }
            }
            addresses
        };
        let facts_of = |target| target_facts(target, discovery, &addresses_of(target));
        let targets = prepared.targets.iter().map(facts_of).collect();
        Self {
            event: "serving",
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            portals,
            discovery_authentication: authentication(discovery),
            control: control.map(Path::to_owned),
            targets,
        }
    }
}

const fn authentication(authentication: &Authentication) -> &'static str {
    match authentication {
        Authentication::None => "none",
        Authentication::Chap { mutual: None, .. } => "chap",
        Authentication::Chap { mutual: Some(_), .. } => "mutual chap",
    }
}

fn target_facts(target: &PreparedTarget, discovery: &Authentication, addresses: &[String]) -> TargetFacts {
    let name = target.name.as_str();
    let connection = Connection {
        portal: addresses.first().map_or("", String::as_str),
        target: name,
        lun: target.luns.keys().next().copied().unwrap_or(0),
        authentication: &target.authentication,
        discovery,
        access: &target.access,
    };
    TargetFacts {
        name: name.to_owned(),
        alias: target.alias.clone(),
        authentication: authentication(&target.authentication),
        initiators: match &target.access {
            Access::Everyone => None,
            Access::Only(allowed) => Some(allowed.keys().map(ToString::to_string).collect()),
        },
        portal_groups: match &target.portal_groups {
            PortalGroups::All => None,
            PortalGroups::Only(groups) => Some(groups.iter().map(|group| group.0).collect()),
        },
        redirect: target.redirect.as_ref().map(|redirect| redirect.to.to_string()),
        luns: target.luns.iter().map(|(number, lun)| lun_facts(name, *number, lun, addresses)).collect(),
        connect: connect::commands(&connection),
    }
}

fn lun_facts(target: &str, number: u16, lun: &PreparedLun, addresses: &[String]) -> LunFacts {
    let geometry = lun.disk.geometry();
    LunFacts {
        number,
        urls: addresses.iter().map(|address| format!("iscsi://{address}/{target}/{number}")).collect(),
        path: lun.path.clone(),
        format: lun.format,
        size: geometry.size,
        block_size: geometry.logical_block,
        thin: geometry.thin,
        read_only: geometry.read_only,
        created: lun.created,
        serial: lun.serial.clone(),
        naa: lun.naa.to_string(),
        state: lun.folder.path().into(),
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for target in &self.targets {
            writeln!(f, "{target}")?;
        }
        let addresses: Vec<_> =
            self.portals.iter().flat_map(|portal| &portal.addresses).map(String::as_str).collect();
        writeln!(f, "Portals: {}", addresses.join("  "))?;
        if self.discovery_authentication != "none" {
            writeln!(f, "Discovery asks for {}.", self.discovery_authentication)?;
        }
        let open = |target: &&TargetFacts| target.authentication == "none" && target.initiators.is_none();
        let exposed = self.portals.iter().any(|portal| !portal.listen.ip().is_loopback());
        if exposed && self.targets.iter().any(|target| open(&target)) {
            writeln!(
                f,
                "Without authentication, anyone who reaches a portal can read and write: see --chap-user and --listen."
            )?;
        }
        if let Some(control) = &self.control {
            writeln!(f, "Changes while it serves: lunkeep-target ctl --socket {}", control.display())?;
        }
        write!(f, "Ctrl-C stops.")
    }
}

impl fmt::Display for TargetFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Target {}", self.name)?;
        if let Some(alias) = &self.alias {
            writeln!(f, "  {alias}")?;
        }
        if let Some(redirect) = &self.redirect {
            writeln!(f, "  initiators are sent to {redirect}")?;
        }
        self.luns.iter().try_for_each(|lun| write!(f, "{lun}"))?;
        match self.authentication {
            "none" => {}
            kind => writeln!(
                f,
                "  Authentication: {kind}; put the secrets in the place of SECRET and TARGET_SECRET below."
            )?,
        }
        if let Some(initiators) = &self.initiators {
            writeln!(f, "  Allowed initiators: {}", initiators.join(", "))?;
        }
        let groups = [
            ("Linux, open-iscsi:", &self.connect.open_iscsi),
            ("Windows, PowerShell as administrator:", &self.connect.windows),
            ("libiscsi:", &self.connect.libiscsi),
        ];
        for (title, lines) in groups {
            writeln!(f, "\n  {title}")?;
            lines.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for LunFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.urls.first().map_or("", String::as_str);
        let flags = [
            (self.thin, "thin"),
            (self.block_size != 512, "4096-byte blocks"),
            (self.read_only, "read-only"),
            (self.created, "created now"),
        ];
        let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, text)| format!(", {text}")).collect();
        writeln!(f, "  LUN {}  {url}", self.number)?;
        writeln!(
            f,
            "         {}: {}, {}{flags}; serial {}",
            self.path.display(),
            self.format,
            size::display(self.size),
            self.serial
        )
    }
}
