//! The state machine against an independent model, and the matrix as a table.

mod matrix;
mod model;

use lunkeep_common::name::{InitiatorPort, Isid, PortalGroupTag, TargetPort};
use lunkeep_common::scsi::persistent::{BasicList, Key, OutAction, RegisterAndMoveList, TransportId};

use super::super::nexus::{ExportPort, Nexus};
use super::*;

const TARGET: &str = "iqn.2026-11.org:t";

fn target(group: u16) -> TargetPort {
    TargetPort { name: TARGET.parse().unwrap(), portal_group: PortalGroupTag(group) }
}

fn initiator(number: u8) -> InitiatorPort {
    let name = format!("iqn.2026-11.org:{}", char::from(b'a' + number));
    InitiatorPort { name: name.parse().unwrap(), isid: Isid([0x80, 0, 0, 0, 0, 1]) }
}

fn nexus_on(number: u8, group: u16) -> Nexus {
    Nexus { initiator: initiator(number), target: target(group), relative_target_port: group }
}

fn nexus(number: u8) -> Nexus {
    nexus_on(number, 1)
}

fn ports() -> Vec<ExportPort> {
    [1, 2].map(|group| ExportPort { target: target(group), relative: group }).to_vec()
}

fn basic(action: OutAction, kind: u8, key: u64, service_action_key: u64) -> PrOut {
    let list =
        BasicList { key: Key(key), service_action_key: Key(service_action_key), ..BasicList::default() };
    PrOut { action, scope: 0, kind, parameters: Parameters::Basic(list) }
}

fn move_to(to: u8, key: u64, service_action_key: u64, unregister: bool) -> PrOut {
    let list = RegisterAndMoveList {
        key: Key(key),
        service_action_key: Key(service_action_key),
        unregister,
        activate_persist: false,
        relative_target_port: 1,
        transport_id: TransportId::Port(initiator(to)),
    };
    PrOut { action: OutAction::RegisterAndMove, scope: 0, kind: 0, parameters: Parameters::Move(list) }
}
