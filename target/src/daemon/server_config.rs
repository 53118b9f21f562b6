//! From open disks to what the engine is started with.

use std::sync::Arc;

use lunkeep_common::login::chap::ChapPolicy;
use lunkeep_common::login::target_side::Authentication as LoginAuthentication;
use lunkeep_common::login::{ChapCredentials, ChapSecret};

use super::prepare::{Prepared, PreparedTarget};
use super::spec::{self, Access, Authentication, Credential, LunView, PortalSpec, ServeSpec};
use crate::device::{CommandLimits, Identity, LogicalUnitConfig, TaskLimits};
use crate::engine::config::{
    AccessList, Announce, LunConfig, PortalConfig, ReservationConfig, ServerConfig, TargetConfig, UnitConfig,
};
use crate::engine::{Medium, shape_of};
use crate::image::Disk;
use crate::store::{AlwaysOwner, LunFolder, Naa};

/// T10 vendor identification. T10 keeps a list; this one is not on it, and nobody else's is taken.
const VENDOR: &str = "LUNKEEP";
const PRODUCT: &str = "Virtual Disk";

/// What the engine needs to serve `prepared` as `spec` says.
#[must_use]
pub fn server_config(spec: &ServeSpec, prepared: &Prepared) -> ServerConfig {
    ServerConfig {
        port_numbers: prepared.port_numbers.clone(),
        portals: spec.portals.iter().map(portal).collect(),
        targets: prepared.targets.iter().map(target_config).collect(),
        discovery_authentication: authentication(&spec.discovery),
        settings: spec.settings.clone(),
    }
}

fn portal(spec: &PortalSpec) -> PortalConfig {
    let announce = spec.announce.as_ref().map(|announce: &spec::Announce| Announce {
        host: announce.host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: announce.port,
    });
    PortalConfig { listen: spec.listen, announce, group: spec.group }
}

/// One target of it.
pub(super) fn target_config(target: &PreparedTarget) -> TargetConfig {
    let access = match &target.access {
        Access::Everyone => AccessList::Everyone,
        Access::Only(allowed) => {
            AccessList::Only(allowed.iter().map(|(name, view)| (name.clone(), map(view))).collect())
        }
    };
    TargetConfig {
        name: target.name.clone(),
        alias: target.alias.clone(),
        luns: target
            .luns
            .iter()
            .map(|(number, lun)| LunConfig { number: *number, unit: lun.unit.clone() })
            .collect(),
        authentication: authentication(&target.authentication),
        access,
        portal_groups: target.portal_groups.clone(),
        redirect: target.redirect.clone(),
    }
}

fn map(view: &LunView) -> Option<std::collections::BTreeMap<u16, u16>> {
    match view {
        LunView::All => None,
        LunView::Map(map) => Some(map.clone()),
    }
}

/// What the engine makes a logical unit from. Its state stays that of `folder`, whatever medium is in.
pub(super) fn unit_config(
    disk: &Arc<Medium>,
    folder: &LunFolder,
    (naa, serial): (Naa, &str),
    removable: bool,
) -> UnitConfig {
    // The revision level has room for four characters.
    let revision: String = env!("CARGO_PKG_VERSION").chars().take(4).collect();
    let device = LogicalUnitConfig {
        identity: Identity {
            naa: naa.to_bytes().to_vec(),
            serial: serial.to_owned(),
            vendor: VENDOR.into(),
            product: PRODUCT.into(),
            revision: revision.trim_end_matches('.').to_owned(),
        },
        medium: shape_of(disk.geometry()),
        commands: CommandLimits::default(),
        tasks: TaskLimits::default(),
        task_aborted_status: false,
        removable,
        saved: None,
    };
    let reservations = ReservationConfig {
        store: Arc::new(folder.reservations()),
        ownership: Arc::new(AlwaysOwner),
        audit: Some(Arc::new(folder.audit_trail())),
    };
    UnitConfig { device, disk: disk.clone(), reservations, parameters: Arc::new(folder.parameters()) }
}

fn authentication(authentication: &Authentication) -> LoginAuthentication {
    match authentication {
        Authentication::None => LoginAuthentication::NotRequired,
        Authentication::Chap { users, mutual } => {
            let users: Vec<_> = users.iter().map(credentials).collect();
            LoginAuthentication::Chap(ChapPolicy::new(users, mutual.as_ref().map(credentials)))
        }
    }
}

fn credentials(credential: &Credential) -> ChapCredentials {
    ChapCredentials { name: credential.name.clone(), secret: ChapSecret::new(credential.secret.bytes()) }
}
