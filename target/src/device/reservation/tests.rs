//! The state machine against an independent model, and the matrix as a table.

pub(in super::super) mod history;
mod matrix;
pub(in super::super) mod model;
pub(in super::super) mod rules;

use lunkeep_common::name::{InitiatorPort, Isid, PortalGroupTag, TargetPort};
use lunkeep_common::scsi::persistent::{
    BasicList, Key, OutAction, RegisterAndMoveList, ReservationType, TransportId,
};

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

pub(in super::super) fn nexus(number: u8) -> Nexus {
    nexus_on(number, 1)
}

pub(in super::super) fn ports() -> Vec<ExportPort> {
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

#[test]
fn a_record_takes_over_other_port_numbers_and_keeps_all_else() {
    let record = |number: u16, holder: Holder| {
        let mut record = Record { generation: 9, activate_persist: true, ..Record::default() };
        for (node, group) in [(0, 1), (0, 2), (1, 2)] {
            let relative_target_port = if group == 2 { number } else { 1 };
            let nexus = Nexus { relative_target_port, ..nexus_on(node, group) };
            record
                .registrations
                .insert(nexus, Registration { key: Key(node.into()), all_target_ports: true });
        }
        record.reservation = Some(Reservation { kind: ReservationType::WriteExclusive, holder });
        record
    };
    let on = |number| Holder::One(Nexus { relative_target_port: number, ..nexus_on(1, 2) });
    let renumber = |port: &TargetPort| (*port == target(2)).then_some(70);
    assert_eq!(record(2, on(2)).with_port_numbers(renumber), record(70, on(70)));
    let all = |number| record(number, Holder::AllRegistrants);
    assert_eq!(all(2).with_port_numbers(renumber), all(70));
}
