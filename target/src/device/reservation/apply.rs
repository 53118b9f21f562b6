//! The state machine of PERSISTENT RESERVE OUT (SPC-4 §5.13.6 to §5.13.11).

use lunkeep_common::name::InitiatorPort;
use lunkeep_common::scsi::persistent::{
    BasicList, Key, OutAction, RegisterAndMoveList, ReservationType, TransportId,
};
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::super::nexus::{ExportPort, Nexus};
use super::preempt::preempt;
use super::record::{Holder, Record, Registration, Reservation};
use super::request::{Parameters, PrOut};
use crate::limits::REGISTRATIONS_MAX;

/// What a command sees besides the record.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The target ports of the logical unit: what ALL_TG_PT and RELATIVE TARGET PORT IDENTIFIER mean.
    pub ports: &'a [ExportPort],
    /// Initiator ports that are or were logged in: what a TransportID without an ISID means.
    pub known: &'a [InitiatorPort],
}

/// What a command changes, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The next record.
    pub record: Record,
    /// Unit attention conditions, with who must be told.
    pub attentions: Vec<(Nexus, Asc)>,
    /// PREEMPT AND ABORT: whose commands are aborted, all but the command itself.
    pub abort: Vec<Nexus>,
    /// Whose registrations another nexus ended.
    pub removed: Vec<Nexus>,
}

impl Change {
    pub(super) fn to(record: Record) -> Self {
        Self { record, attentions: Vec::new(), abort: Vec::new(), removed: Vec::new() }
    }

    pub(super) fn tell<'a>(&mut self, who: impl Iterator<Item = &'a Nexus>, asc: Asc) {
        self.attentions.extend(who.map(|nexus| (nexus.clone(), asc)));
    }
}

/// Why a command is not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Sense(Sense),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

pub(super) type Outcome = Result<Change, Refusal>;

/// INVALID FIELD IN PARAMETER LIST at SERVICE ACTION RESERVATION KEY.
pub(super) const BAD_SERVICE_ACTION_KEY: Sense = Sense::invalid_field_in_parameter_list(8, None);

/// Carries out a PERSISTENT RESERVE OUT that `nexus` sent.
///
/// # Errors
/// [`Refusal`].
pub fn apply(record: &Record, world: World<'_>, nexus: &Nexus, out: &PrOut) -> Result<Change, Refusal> {
    use OutAction::*;
    out.check_fields()?;
    if record.lost && out.action != ReplaceLostReservation {
        return Err(Sense::new(SenseKey::DataProtect, Asc::PERSISTENT_RESERVATION_INFORMATION_LOST).into());
    }
    let mut change = match (out.action, &out.parameters) {
        (Register, Parameters::Basic(list)) => {
            let expected = record.key_of(nexus).unwrap_or_default();
            if list.key != expected {
                return Err(Refusal::Conflict);
            }
            register(record, world, nexus, list)
        }
        (RegisterAndIgnoreExistingKey, Parameters::Basic(list)) => register(record, world, nexus, list),
        (ReplaceLostReservation, Parameters::Basic(list)) => replace_lost(record, nexus, out, list),
        (RegisterAndMove, Parameters::Move(list)) => register_and_move(record, world, nexus, list),
        (action, _) => {
            if record.key_of(nexus) != Some(out.key()) {
                return Err(Refusal::Conflict);
            }
            match action {
                Reserve => reserve(record, nexus, out.reservation_type()?),
                Release => release(record, nexus, out.kind),
                Clear => Ok(clear(record, nexus)),
                Preempt => preempt(record, nexus, out.service_action_key(), out.reservation_type()?, false),
                PreemptAndAbort => {
                    preempt(record, nexus, out.service_action_key(), out.reservation_type()?, true)
                }
                // The list of another service action: the decoder does not make such a pair.
                _ => Err(Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE).into()),
            }
        }
    }?;
    // SPC-4 §6.15.2: every service action that succeeds, but for RESERVE and RELEASE, once whatever it did.
    if !matches!(out.action, Reserve | Release) {
        change.record.generation = record.generation.wrapping_add(1);
    }
    if change.record.registrations.len() > REGISTRATIONS_MAX
        && change.record.registrations.len() > record.registrations.len()
    {
        return Err(Sense::illegal_request(Asc::INSUFFICIENT_REGISTRATION_RESOURCES).into());
    }
    Ok(change)
}

/// REGISTER and REGISTER AND IGNORE EXISTING KEY once the key is right (SPC-4 §5.13.7).
fn register(record: &Record, world: World<'_>, nexus: &Nexus, list: &BasicList) -> Outcome {
    let registered = record.registrations.contains_key(nexus);
    if registered && list.initiator_ports.is_some() {
        return Err(Sense::invalid_field_in_parameter_list(20, Some(3)).into());
    }
    let mut change = Change::to(record.clone());
    change.record.activate_persist = list.activate_persist;
    let own = on_ports(world, &nexus.initiator, nexus, list.all_target_ports);
    let Some(key) = Some(list.service_action_key).filter(|key| !key.is_zero()) else {
        own.iter().for_each(|nexus| unregister(&mut change, nexus));
        // A nexus that unregisters itself through all ports needs no word of it.
        change.attentions.retain(|(told, _)| !own.contains(told));
        return Ok(change);
    };
    let registration = Registration { key, all_target_ports: list.all_target_ports };
    for nexus in own {
        change.record.registrations.insert(nexus, registration);
    }
    for id in list.initiator_ports.iter().flatten() {
        for other in named(world, id, nexus, list.all_target_ports)? {
            // Whoever is registered already has said so itself: nobody else changes its key.
            change.record.registrations.entry(other).or_insert(registration);
        }
    }
    Ok(change)
}

/// The nexuses of an initiator port: with the target port of `nexus`, or with each.
fn on_ports(world: World<'_>, initiator: &InitiatorPort, nexus: &Nexus, all: bool) -> Vec<Nexus> {
    let mut found = vec![Nexus { initiator: initiator.clone(), ..nexus.clone() }];
    if all {
        for port in world.ports {
            let other = Nexus {
                initiator: initiator.clone(),
                target: port.target.clone(),
                relative_target_port: port.relative,
            };
            if !found.contains(&other) {
                found.push(other);
            }
        }
    }
    found
}

/// The nexuses that a TransportID of SPEC_I_PT names. One without an ISID names every port of that node that is known
/// (SPC-4 §7.6.4.6).
fn named(world: World<'_>, id: &TransportId, nexus: &Nexus, all: bool) -> Result<Vec<Nexus>, Sense> {
    match id {
        TransportId::Port(port) => Ok(on_ports(world, port, nexus, all)),
        TransportId::Device(name) => {
            let ports = world.known.iter().filter(|port| port.name == *name);
            let found: Vec<_> = ports.flat_map(|port| on_ports(world, port, nexus, all)).collect();
            if found.is_empty() { Err(Sense::invalid_field_in_parameter_list(28, None)) } else { Ok(found) }
        }
    }
}

/// Ends a registration that its own nexus gives up (SPC-4 §5.13.11.2.3).
fn unregister(change: &mut Change, nexus: &Nexus) {
    let held = change.record.holds(nexus);
    if change.record.registrations.remove(nexus).is_none() || !held {
        return;
    }
    let last = change.record.registrations.is_empty();
    match change.record.reservation.as_ref().map(|reservation| (&reservation.holder, reservation.kind)) {
        // Every other registrant goes on holding it.
        Some((Holder::AllRegistrants, _)) if !last => {}
        Some((_, kind)) => {
            change.record.reservation = None;
            if kind.admits_registrants() {
                let others: Vec<Nexus> = change.record.registrations.keys().cloned().collect();
                change.tell(others.iter(), Asc::RESERVATIONS_RELEASED);
            }
        }
        None => {}
    }
}

/// RESERVE (SPC-4 §5.13.9).
fn reserve(record: &Record, nexus: &Nexus, kind: ReservationType) -> Outcome {
    match &record.reservation {
        None => {
            let mut record = record.clone();
            record.reservation = Some(Reservation::new(kind, nexus));
            Ok(Change::to(record))
        }
        Some(reservation) if record.holds(nexus) && reservation.kind == kind => {
            Ok(Change::to(record.clone()))
        }
        Some(_) => Err(Refusal::Conflict),
    }
}

/// RELEASE (SPC-4 §5.13.11.2.2).
fn release(record: &Record, nexus: &Nexus, kind: u8) -> Outcome {
    let mut change = Change::to(record.clone());
    let Some(reservation) = record.reservation.as_ref().filter(|_| record.holds(nexus)) else {
        return Ok(change);
    };
    if ReservationType::from_bits(kind) != Some(reservation.kind) {
        return Err(Sense::illegal_request(Asc::INVALID_RELEASE_OF_PERSISTENT_RESERVATION).into());
    }
    change.record.reservation = None;
    if reservation.kind.admits_registrants() {
        change.tell(record.others(nexus), Asc::RESERVATIONS_RELEASED);
    }
    Ok(change)
}

/// CLEAR (SPC-4 §5.13.11.2.8).
fn clear(record: &Record, nexus: &Nexus) -> Change {
    let mut change = Change::to(record.clone());
    change.record.reservation = None;
    change.record.registrations.clear();
    change.removed = record.others(nexus).cloned().collect();
    change.tell(record.others(nexus), Asc::RESERVATIONS_PREEMPTED);
    change
}

/// REGISTER AND MOVE (SPC-4 §5.13.8).
fn register_and_move(
    record: &Record,
    world: World<'_>,
    nexus: &Nexus,
    list: &RegisterAndMoveList,
) -> Outcome {
    let no_reservation = Sense::invalid_field_in_cdb(1, Some(4));
    let Some(own) = record.registrations.get(nexus) else {
        return Err(if record.reservation.is_some() { Refusal::Conflict } else { no_reservation.into() });
    };
    if own.key != list.key {
        return Err(Refusal::Conflict);
    }
    if list.service_action_key.is_zero() {
        return Err(BAD_SERVICE_ACTION_KEY.into());
    }
    let reservation = record.reservation.as_ref().ok_or(no_reservation)?;
    if !record.holds(nexus) || reservation.kind.is_all_registrants() {
        return Err(Refusal::Conflict);
    }
    let port = world
        .ports
        .iter()
        .find(|port| port.relative == list.relative_target_port)
        .ok_or(Sense::invalid_field_in_parameter_list(18, None))?;
    let TransportId::Port(initiator) = &list.transport_id else {
        return Err(Sense::invalid_field_in_parameter_list(24, None).into());
    };
    let destination = Nexus {
        initiator: initiator.clone(),
        target: port.target.clone(),
        relative_target_port: port.relative,
    };
    if destination == *nexus {
        return Err(Sense::invalid_field_in_parameter_list(24, None).into());
    }
    let mut change = Change::to(record.clone());
    let next = &mut change.record;
    next.activate_persist = list.activate_persist;
    next.registrations
        .entry(destination.clone())
        .or_insert(Registration { key: Key::default(), all_target_ports: false })
        .key = list.service_action_key;
    next.reservation = Some(Reservation { kind: reservation.kind, holder: Holder::One(destination) });
    if list.unregister {
        next.registrations.remove(nexus);
    }
    Ok(change)
}

/// REPLACE LOST RESERVATION (SPC-5 §5.14.11.4).
fn replace_lost(record: &Record, nexus: &Nexus, out: &PrOut, list: &BasicList) -> Outcome {
    if !record.lost {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)).into());
    }
    if !list.key.is_zero() {
        return Err(Sense::invalid_field_in_parameter_list(0, None).into());
    }
    if list.service_action_key.is_zero() {
        return Err(BAD_SERVICE_ACTION_KEY.into());
    }
    let registration = Registration { key: list.service_action_key, all_target_ports: false };
    let mut next = Record { activate_persist: list.activate_persist, ..Record::default() };
    next.registrations.insert(nexus.clone(), registration);
    next.reservation = Some(Reservation::new(out.reservation_type()?, nexus));
    Ok(Change::to(next))
}
