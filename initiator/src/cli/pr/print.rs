//! What `pr` prints.

use std::fmt::Write as _;

use lunkeep_common::scsi::persistent::{Capabilities, FullStatus, ReadKeys, ReadReservation, TransportId};
use serde::Serialize;

use super::super::connection::Node;
use super::super::output;
use super::values::{TYPES, type_name};
use crate::commands::PersistentReserveOut;

#[derive(Serialize)]
struct Done {
    service_action: &'static str,
    initiator: String,
    isid: String,
}

#[derive(Serialize)]
struct Keys {
    generation: u32,
    keys: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    generation: u32,
    reservation: Option<Reservation>,
    keys: Vec<String>,
    /// Absent when the device has no READ FULL STATUS.
    registrations: Option<Vec<Registration>>,
    /// Absent when the device has no REPORT CAPABILITIES.
    capabilities: Option<CapabilitiesPart>,
}

#[derive(Serialize)]
struct Reservation {
    r#type: u8,
    type_name: &'static str,
    /// Absent when all registrants hold it.
    key: Option<String>,
}

#[derive(Serialize)]
struct Registration {
    initiator: String,
    isid: Option<String>,
    key: String,
    target_port: u16,
    all_target_ports: bool,
    holder: bool,
}

#[derive(Serialize)]
struct CapabilitiesPart {
    types: Vec<u8>,
    persist_through_power_loss: bool,
    persist_through_power_loss_active: bool,
    specify_initiator_ports: bool,
    all_target_ports: bool,
    compatible_reservation_handling: bool,
    replace_lost_reservation: bool,
    allow_commands: u8,
}

/// After a PERSISTENT RESERVE OUT.
pub(super) fn done(json: bool, command: &PersistentReserveOut, node: &Node) {
    let service_action = command.action().name();
    let (initiator, isid) = (node.name.to_string(), node.slot.identity().isid.to_string());
    if json {
        output::json(&Done { service_action, initiator, isid });
    } else {
        output::line(format_args!("{service_action}: done as {initiator},i,{isid}"));
    }
}

/// `pr keys`.
pub(super) fn keys(json: bool, keys: &ReadKeys) {
    if json {
        return output::json(&Keys { generation: keys.generation, keys: texts(keys) });
    }
    if keys.keys.is_empty() {
        output::note("nobody is registered");
    }
    texts(keys).iter().for_each(output::line);
}

fn texts(keys: &ReadKeys) -> Vec<String> {
    keys.keys.iter().map(ToString::to_string).collect()
}

/// `pr status`.
pub(super) fn status(
    json: bool,
    keys: &ReadKeys,
    held: ReadReservation,
    full: Option<&FullStatus>,
    capabilities: Option<&Capabilities>,
) {
    let status = Status {
        generation: held.generation,
        reservation: held.held.map(|held| Reservation {
            r#type: held.kind as u8,
            type_name: type_name(held.kind),
            key: (!held.kind.is_all_registrants()).then(|| held.key.to_string()),
        }),
        keys: texts(keys),
        registrations: full.map(registrations),
        capabilities: capabilities.map(part),
    };
    if json { output::json(&status) } else { output::line(text(&status).trim_end()) }
}

fn registrations(full: &FullStatus) -> Vec<Registration> {
    full.registrants
        .iter()
        .map(|registrant| {
            let (initiator, isid) = match &registrant.transport_id {
                TransportId::Device(name) => (name.to_string(), None),
                TransportId::Port(port) => (port.name.to_string(), Some(port.isid.to_string())),
            };
            Registration {
                initiator,
                isid,
                key: registrant.key.to_string(),
                target_port: registrant.relative_target_port,
                all_target_ports: registrant.all_target_ports,
                holder: registrant.holds.is_some(),
            }
        })
        .collect()
}

fn part(capabilities: &Capabilities) -> CapabilitiesPart {
    CapabilitiesPart {
        types: capabilities.types.iter().map(|kind| *kind as u8).collect(),
        persist_through_power_loss: capabilities.persist_capable,
        persist_through_power_loss_active: capabilities.persist_active,
        specify_initiator_ports: capabilities.specify_initiator_ports,
        all_target_ports: capabilities.all_target_ports,
        compatible_reservation_handling: capabilities.compatible_handling,
        replace_lost_reservation: capabilities.replace_lost,
        allow_commands: capabilities.allow_commands,
    }
}

fn text(status: &Status) -> String {
    let mut out = format!("{:<14}{}\n", "Generation", status.generation);
    let held = match &status.reservation {
        None => "none".to_owned(),
        Some(held) => {
            let by = held.key.as_ref().map_or("all registrants".to_owned(), |key| format!("key {key}"));
            format!("type {} {}, held by {by}", held.r#type, held.type_name)
        }
    };
    let _ = writeln!(out, "{:<14}{held}", "Reservation");
    match &status.registrations {
        None => status.keys.iter().for_each(|key| {
            let _ = writeln!(out, "{:<14}{key}", "Registered");
        }),
        Some(all) => all.iter().for_each(|one| {
            let isid = one.isid.as_ref().map_or(String::new(), |isid| format!(",i,{isid}"));
            let ports = if one.all_target_ports { ", all target ports" } else { "" };
            let holder = if one.holder { ", holder" } else { "" };
            let _ = writeln!(
                out,
                "{:<14}{} {}{isid}, target port {}{ports}{holder}",
                "Registered", one.key, one.initiator, one.target_port
            );
        }),
    }
    if let Some(can) = &status.capabilities {
        let types: Vec<&str> = TYPES
            .iter()
            .filter(|(kind, ..)| can.types.contains(&(*kind as u8)))
            .map(|(.., short)| *short)
            .collect();
        let features: Vec<&str> = [
            (can.persist_through_power_loss, "APTPL"),
            (can.persist_through_power_loss_active, "APTPL active"),
            (can.specify_initiator_ports, "SPEC_I_PT"),
            (can.all_target_ports, "ALL_TG_PT"),
            (can.compatible_reservation_handling, "CRH"),
            (can.replace_lost_reservation, "REPLACE LOST RESERVATION"),
        ]
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| name)
        .collect();
        let _ = writeln!(out, "{:<14}{}; {}", "Supported", types.join(" "), features.join(", "));
    }
    out
}
