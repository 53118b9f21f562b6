//! PERSISTENT RESERVE IN (SPC-4 §6.15): the record as an initiator sees it.

use lunkeep_common::scsi::persistent::{
    Capabilities, FullStatus, Held, InAction, Key, ReadKeys, ReadReservation, Registrant, ReservationType,
    TransportId,
};
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::record::{Holder, Record};

/// ALLOW COMMANDS 001b: TEST UNIT READY passes the exclusive types, and nothing is said of the rest (SPC-4 table 218).
const ALLOW_COMMANDS: u8 = 0b001;

/// What is told besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Reported {
    /// Whether the record survives a loss of power now.
    pub persists: bool,
}

/// The parameter data of a service action, uncut.
///
/// # Errors
/// PERSISTENT RESERVATION INFORMATION LOST for all that would have to be told from a record that is lost.
pub fn read(record: &Record, reported: Reported, action: InAction) -> Result<Vec<u8>, Sense> {
    if action == InAction::ReportCapabilities {
        return Ok(capabilities(reported).encode());
    }
    if record.lost {
        return Err(Sense::new(SenseKey::DataProtect, Asc::PERSISTENT_RESERVATION_INFORMATION_LOST));
    }
    let generation = record.generation;
    Ok(match action {
        InAction::ReadKeys => {
            let keys = record.registrations.values().map(|registration| registration.key).collect();
            ReadKeys { generation, keys }.encode()
        }
        InAction::ReadReservation => ReadReservation { generation, held: held(record) }.encode(),
        InAction::ReadFullStatus => full_status(record).encode(),
        InAction::ReportCapabilities => capabilities(reported).encode(),
    })
}

fn capabilities(reported: Reported) -> Capabilities {
    Capabilities {
        replace_lost: true,
        compatible_handling: true,
        specify_initiator_ports: true,
        all_target_ports: true,
        persist_capable: true,
        persist_active: reported.persists,
        allow_commands: ALLOW_COMMANDS,
        types: ReservationType::ALL.to_vec(),
    }
}

/// The key is zero where every registrant is a holder (SPC-4 §6.15.3.2).
fn held(record: &Record) -> Option<Held> {
    let reservation = record.reservation.as_ref()?;
    let key = match &reservation.holder {
        Holder::AllRegistrants => Key::default(),
        Holder::One(nexus) => record.key_of(nexus).unwrap_or_default(),
    };
    Some(Held { key, kind: reservation.kind })
}

fn full_status(record: &Record) -> FullStatus {
    let kind = record.reservation.as_ref().map(|reservation| reservation.kind);
    let registrants = record.registrations.iter().map(|(nexus, registration)| Registrant {
        key: registration.key,
        all_target_ports: registration.all_target_ports,
        holds: kind.filter(|_| record.holds(nexus)),
        relative_target_port: nexus.relative_target_port,
        transport_id: TransportId::Port(nexus.initiator.clone()),
    });
    FullStatus { generation: record.generation, registrants: registrants.collect() }
}
