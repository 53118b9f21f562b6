//! What is served now, and to whom.

use std::sync::Arc;

use lunkeep_common::name::{InitiatorPort, IscsiName, TargetPort, Tsih};

use super::ServerHandle;
use crate::engine::config::{PortalGroups, Redirect};

/// A target as it is served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// TargetName.
    pub name: IscsiName,
    /// TargetAlias.
    pub alias: Option<String>,
    /// Where it can be reached.
    pub portal_groups: PortalGroups,
    /// Where it is instead.
    pub redirect: Option<Redirect>,
    /// Sessions of it.
    pub sessions: usize,
    /// Its LUNs, in their order.
    pub luns: Vec<LunStatus>,
}

/// A LUN as it is served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LunStatus {
    /// LUN, 0 to 16383.
    pub number: u16,
    /// Whether a medium is in.
    pub medium: bool,
    /// Whether an initiator holds a reservation.
    pub reserved: bool,
    /// Registrations for persistent reservations.
    pub registrations: usize,
    /// Commands that have not ended.
    pub tasks: usize,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Its handle, unique among those of the server.
    pub tsih: Tsih,
    /// Who.
    pub initiator: InitiatorPort,
    /// With what; `None` for discovery.
    pub target: Option<TargetPort>,
    /// Connections that are logged in.
    pub connections: usize,
    /// Commands that have not been answered.
    pub tasks: usize,
    /// LUNs that it sees.
    pub luns: Vec<u16>,
}

impl ServerHandle {
    /// Every target, in the order of the names.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetStatus> {
        let topology = self.shared.topology();
        let targets: Vec<_> = topology.targets.values().map(Arc::clone).collect();
        drop(topology);
        let status = |target: &Arc<_>| {
            let target: &crate::engine::server::Target = target;
            let luns = target.units.iter().map(|(number, unit)| {
                let unit = unit.lock();
                LunStatus {
                    number: *number,
                    medium: unit.has_medium(),
                    reserved: unit.is_reserved(),
                    registrations: unit.reservation_record().registrations.len(),
                    tasks: unit.task_count(),
                }
            });
            TargetStatus {
                name: target.name.clone(),
                alias: target.alias.clone(),
                portal_groups: target.portal_groups.clone(),
                redirect: target.redirect.clone(),
                sessions: self.sessions_of(&target.name).len(),
                luns: luns.collect(),
            }
        };
        targets.iter().map(status).collect()
    }

    /// Every session, in the order of the handles.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionStatus> {
        let mut sessions = self.shared.sessions.all();
        sessions.sort_by_key(|session| session.tsih.0);
        let status = |session: &Arc<crate::engine::session_task::SessionHandle>| {
            let luns = session.view.now().units.keys().copied().collect();
            SessionStatus {
                tsih: session.tsih,
                initiator: session.initiator.clone(),
                target: session.target.clone(),
                connections: session.connections(),
                tasks: session.lock().task_count(),
                luns,
            }
        };
        sessions.iter().map(status).collect()
    }
}
