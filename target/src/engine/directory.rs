//! What discovery tells: targets that an initiator may know, and their addresses (RFC 7143 appendix C).

use std::net::SocketAddr;
use std::sync::Arc;

use lunkeep_common::name::IscsiName;
use lunkeep_common::text::address::{DiscoveredTarget, TargetAddress};

use super::server::{BoundPortal, Shared, Target};
use crate::session::{Directory, SendTargets};

/// Discovery for one connection.
#[derive(Debug)]
pub(super) struct ConnectionDirectory {
    pub(super) shared: Arc<Shared>,
    pub(super) initiator: IscsiName,
    /// The target of a normal session.
    pub(super) own: Option<IscsiName>,
    /// The address that the initiator came to.
    pub(super) local: SocketAddr,
}

impl Directory for ConnectionDirectory {
    fn send_targets(&self, which: SendTargets<'_>) -> Vec<DiscoveredTarget> {
        let wanted = |target: &&Arc<Target>| match which {
            SendTargets::All => true,
            SendTargets::Named(name) => target.name == *name,
            SendTargets::Own => self.own.as_ref() == Some(&target.name),
        };
        let topology = self.shared.topology();
        let targets = topology.targets.values();
        let visible = targets.filter(wanted).filter(|target| target.admits(&self.initiator));
        visible
            .map(|target| DiscoveredTarget { name: target.name.clone(), addresses: self.addresses(target) })
            .collect()
    }
}

impl ConnectionDirectory {
    /// The portals at which a login to the target succeeds.
    fn addresses(&self, target: &Target) -> Vec<TargetAddress> {
        let portals = self.shared.portals.iter();
        let own = portals.filter(|portal| target.portal_groups.contains(portal.config.group));
        let mut addresses: Vec<_> = own.filter_map(|portal| self.address(portal)).collect();
        addresses.dedup();
        addresses
    }

    /// The address of a portal as the initiator can use it. A wildcard portal is known only by the address that the initiator
    /// itself came to, and then only to initiators of its family.
    fn address(&self, portal: &BoundPortal) -> Option<TargetAddress> {
        let portal_group = Some(portal.config.group);
        let port = portal.bound.port();
        if let Some(announce) = &portal.config.announce {
            return Some(TargetAddress {
                port: announce.port.unwrap_or(port),
                host: announce.host.clone(),
                portal_group,
            });
        }
        let ip = if portal.bound.ip().is_unspecified() {
            self.local.ip().to_canonical()
        } else {
            portal.bound.ip()
        };
        (ip.is_ipv4() == portal.bound.is_ipv4()).then(|| TargetAddress {
            host: ip.to_string(),
            port,
            portal_group,
        })
    }
}
