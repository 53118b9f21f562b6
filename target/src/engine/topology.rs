//! Targets, their ports and the logical units behind them: which unit is reached through which ports.
//!
//! A unit is built once, however many targets export it, so its reservations, its tasks and its unit attentions are one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lunkeep_common::name::{IscsiName, PortalGroupTag, TargetPort};

use super::config::{Settings, TargetConfig, UnitConfig};
use super::reservations::RecordKeeper;
use super::server::{StartError, Target};
use super::unit::{LunView, Unit};
use crate::device::{ExportPort, LogicalUnit, ReservationSetup};
use crate::store::PortNumbers;

/// What is served.
pub(super) struct Topology {
    pub(super) targets: BTreeMap<IscsiName, Arc<Target>>,
    pub(super) port_numbers: PortNumbers,
}

/// A unit and where it is exported.
struct Export {
    unit: Arc<UnitConfig>,
    /// The place that errors name.
    first: (IscsiName, u16),
    /// The LUN that it has in each target.
    places: BTreeMap<IscsiName, u16>,
}

/// Builds the targets, each with a port in each of the portal groups `groups`.
pub(super) fn build(
    configs: Vec<TargetConfig>,
    groups: &[PortalGroupTag],
    settings: &Settings,
    mut port_numbers: PortNumbers,
) -> Result<Topology, StartError> {
    let ports_of = |name: &IscsiName| {
        let name = name.clone();
        groups.iter().map(move |&portal_group| TargetPort { name: name.clone(), portal_group })
    };
    port_numbers.assign(configs.iter().flat_map(|config| ports_of(&config.name)))?;
    let mut units: HashMap<*const UnitConfig, Arc<Unit>> = HashMap::new();
    for export in exports(&configs)? {
        let ports: Vec<_> = export.places.keys().flat_map(ports_of).collect();
        let unit = build_unit(&export, ports, settings, &mut port_numbers)?;
        units.insert(Arc::as_ptr(&export.unit), Arc::new(unit));
    }
    let mut targets = BTreeMap::new();
    for config in configs {
        let luns = config.luns.iter();
        let view: LunView =
            luns.filter_map(|lun| Some((lun.number, units.get(&Arc::as_ptr(&lun.unit))?.clone()))).collect();
        let name = config.name.clone();
        if targets.insert(name.clone(), Arc::new(Target::new(config, view))).is_some() {
            return Err(StartError::DuplicateTarget { name });
        }
    }
    Ok(Topology { targets, port_numbers })
}

/// Every unit once, in the order in which they are given.
fn exports(configs: &[TargetConfig]) -> Result<Vec<Export>, StartError> {
    let mut found: Vec<Export> = Vec::new();
    let mut index: HashMap<*const UnitConfig, usize> = HashMap::new();
    for config in configs {
        let (name, mut numbers) = (&config.name, BTreeSet::new());
        for lun in &config.luns {
            let (name, number) = (name.clone(), lun.number);
            if !numbers.insert(number) {
                return Err(StartError::DuplicateLun { name, number });
            }
            let at = *index.entry(Arc::as_ptr(&lun.unit)).or_insert_with(|| {
                let first = (name.clone(), number);
                found.push(Export { unit: lun.unit.clone(), first, places: BTreeMap::new() });
                found.len() - 1
            });
            if let Some(first) = found[at].places.insert(name.clone(), number) {
                return Err(StartError::UnitTwice { name, first, second: number });
            }
        }
    }
    Ok(found)
}

fn build_unit(
    export: &Export,
    ports: Vec<TargetPort>,
    settings: &Settings,
    port_numbers: &mut PortNumbers,
) -> Result<Unit, StartError> {
    let (name, number) = export.first.clone();
    let UnitConfig { device, disk, reservations, parameters } = &*export.unit;
    let mut device = device.clone();
    match parameters.load() {
        Ok(Some(saved)) => device.saved = Some(saved),
        Ok(None) => {}
        Err(source) => return Err(StartError::Parameters { name, number, source }),
    }
    let unit = match LogicalUnit::new(device) {
        Ok(unit) => unit,
        Err(source) => return Err(StartError::Shape { name, number, source }),
    };
    let places: Vec<_> = export.places.iter().map(|(name, number)| format!("{name} LUN {number}")).collect();
    let keeper = RecordKeeper::new(reservations.clone(), places.join(", "));
    let record = match keeper.load() {
        Ok(record) => record,
        Err(source) => return Err(StartError::Reservations { name, number, source }),
    };
    // Registrations through ports that are not served any more keep a number that no other port has.
    let registered = record.registrations.keys();
    port_numbers.adopt(registered.map(|nexus| (nexus.target.clone(), nexus.relative_target_port)));
    port_numbers.assign(record.registrations.keys().map(|nexus| nexus.target.clone()))?;
    let record = record.with_port_numbers(|port| port_numbers.of(port));
    let ports = ports.into_iter().filter_map(|target| {
        let relative = port_numbers.of(&target)?;
        Some(ExportPort { target, relative })
    });
    let setup = ReservationSetup { ports: ports.collect(), force_persist: settings.force_aptpl, record };
    Ok(Unit::new(unit.with_reservations(setup), disk.clone(), keeper, parameters.clone()))
}
