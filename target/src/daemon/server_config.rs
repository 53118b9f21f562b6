//! From open disks to what the engine is started with.

use std::collections::HashMap;
use std::sync::Arc;

use lunkeep_common::login::chap::ChapPolicy;
use lunkeep_common::login::target_side::Authentication as LoginAuthentication;
use lunkeep_common::login::{ChapCredentials, ChapSecret};

use super::prepare::{Prepared, PreparedLun, PreparedTarget};
use super::spec::{self, Access, Authentication, Credential, LunView, PortalSpec, ServeSpec};
use crate::device::{CommandLimits, Identity, LogicalUnitConfig, MediumShape, TaskLimits};
use crate::engine::config::{
    AccessList, Announce, LunConfig, PortalConfig, ReservationConfig, ServerConfig, TargetConfig, UnitConfig,
};
use crate::store::AlwaysOwner;

/// T10 vendor identification. T10 keeps a list; this one is not on it, and nobody else's is taken.
const VENDOR: &str = "LUNKEEP";
const PRODUCT: &str = "Virtual Disk";

/// What the engine needs to serve `prepared` as `spec` says.
#[must_use]
pub fn server_config(spec: &ServeSpec, prepared: &Prepared) -> ServerConfig {
    let mut units = HashMap::new();
    ServerConfig {
        port_numbers: prepared.port_numbers.clone(),
        portals: spec.portals.iter().map(portal).collect(),
        targets: prepared.targets.iter().map(|prepared| target(prepared, &mut units)).collect(),
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

/// A unit is one in the engine as it is here.
type Units = HashMap<*const PreparedLun, Arc<UnitConfig>>;

fn target(target: &PreparedTarget, units: &mut Units) -> TargetConfig {
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
            .map(|(number, lun)| {
                let unit = units.entry(Arc::as_ptr(lun)).or_insert_with(|| Arc::new(unit_config(lun)));
                LunConfig { number: *number, unit: unit.clone() }
            })
            .collect(),
        authentication: authentication(&target.authentication),
        access,
    }
}

fn map(view: &LunView) -> Option<std::collections::BTreeMap<u16, u16>> {
    match view {
        LunView::All => None,
        LunView::Map(map) => Some(map.clone()),
    }
}

fn unit_config(lun: &PreparedLun) -> UnitConfig {
    let geometry = lun.disk.geometry();
    // The revision level has room for four characters.
    let revision: String = env!("CARGO_PKG_VERSION").chars().take(4).collect();
    let device = LogicalUnitConfig {
        identity: Identity {
            naa: lun.naa.to_bytes().to_vec(),
            serial: lun.serial.clone(),
            vendor: VENDOR.into(),
            product: PRODUCT.into(),
            revision: revision.trim_end_matches('.').to_owned(),
        },
        medium: MediumShape {
            size: geometry.size,
            logical_block: geometry.logical_block,
            physical_block: geometry.physical_block,
            allocation_unit: geometry.allocation_unit,
            thin: geometry.thin,
            read_only: geometry.read_only,
        },
        commands: CommandLimits::default(),
        tasks: TaskLimits::default(),
        task_aborted_status: false,
        removable: lun.removable,
        saved: None,
    };
    let reservations = ReservationConfig {
        store: Arc::new(lun.folder.reservations()),
        ownership: Arc::new(AlwaysOwner),
        audit: Some(Arc::new(lun.folder.audit_trail())),
    };
    UnitConfig { device, disk: lun.disk.clone(), reservations, parameters: Arc::new(lun.folder.parameters()) }
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
