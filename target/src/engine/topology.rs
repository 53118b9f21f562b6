//! Targets, their ports and the logical units behind them: which unit is reached through which ports, and how that changes.
//!
//! A unit is built once, however many targets export it, so its reservations, its tasks and its unit attentions are one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lunkeep_common::login::target_side::LoginRefusal;
use lunkeep_common::name::{InitiatorPort, IscsiName, PortalGroupTag, TargetPort};

use super::buffers::Buffers;
use super::config::{LunConfig, PortalGroups, Settings, TargetConfig, UnitConfig};
use super::reservations::RecordKeeper;
use super::server::{StartError, Target};
use super::unit::{LunView, Unit};
use crate::device::{ExportPort, LogicalUnit, Nexus, ReservationSetup};
use crate::limits::TARGETS_REMOVED_REMEMBERED_MAX;
use crate::store::{PortNumbers, TooManyPorts};

/// What is served.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) targets: BTreeMap<IscsiName, Arc<Target>>,
    /// Relative target port identifiers; every port of a target has one.
    pub(super) port_numbers: PortNumbers,
    /// Targets that were removed since the server started, for those who ask for them.
    removed: BTreeSet<IscsiName>,
    /// The portal groups of the server.
    groups: Vec<PortalGroupTag>,
    /// Memory for reads of all units.
    buffers: Arc<Buffers>,
}

impl Topology {
    /// The target of that name.
    pub(super) fn target(&self, name: &IscsiName) -> Result<&Arc<Target>, LoginRefusal> {
        self.targets.get(name).ok_or_else(|| {
            if self.removed.contains(name) { LoginRefusal::TargetRemoved } else { LoginRefusal::NotFound }
        })
    }

    /// A nexus by value.
    pub(super) fn nexus(&self, initiator: &InitiatorPort, port: &TargetPort) -> Nexus {
        Nexus {
            initiator: initiator.clone(),
            target: port.clone(),
            // Every port of a target that is served has a number.
            relative_target_port: self.port_numbers.of(port).unwrap_or_default(),
        }
    }

    /// Every unit once.
    pub(super) fn units(&self) -> impl Iterator<Item = &Arc<Unit>> {
        let mut seen = BTreeSet::new();
        let all = self.targets.values().flat_map(|target| target.units.values());
        all.filter(move |unit| seen.insert(Arc::as_ptr(unit)))
    }

    /// The target ports that a target has in these portal groups: one in each that the server has.
    pub(super) fn ports_in(&self, name: &IscsiName, groups: &PortalGroups) -> Vec<TargetPort> {
        ports_in(&self.groups, name, groups)
    }

    /// The target ports of a target that is served.
    fn ports_of(&self, target: &Target) -> Vec<TargetPort> {
        self.ports_in(&target.name, &target.portal_groups)
    }

    /// Gives ports numbers, those that are known from before when they are free, and tells all numbers.
    pub(super) fn number(
        &mut self,
        ports: Vec<TargetPort>,
        known: &PortNumbers,
    ) -> Result<&PortNumbers, TooManyPorts> {
        let mut numbers = self.port_numbers.clone();
        numbers.adopt(known.iter().map(|(port, number)| (port.clone(), number)));
        numbers.assign(ports)?;
        numbers.assign(known.iter().map(|(port, _)| port.clone()))?;
        self.port_numbers = numbers;
        Ok(&self.port_numbers)
    }

    /// Adds a target with its units.
    ///
    /// # Errors
    /// [`StartError`]; then nothing was changed.
    pub(super) fn add_target(&mut self, config: TargetConfig, settings: &Settings) -> Result<(), StartError> {
        let name = config.name.clone();
        if self.targets.contains_key(&name) {
            return Err(StartError::DuplicateTarget { name });
        }
        exports(std::slice::from_ref(&config))?;
        let ports = self.ports_in(&name, &config.portal_groups);
        if ports.is_empty() {
            return Err(StartError::NoPortalOfTarget { name });
        }
        self.number(ports.clone(), &PortNumbers::default())?;
        let mut units = LunView::new();
        for lun in &config.luns {
            units.insert(lun.number, self.unit_for(&name, &ports, lun, settings)?);
        }
        self.removed.remove(&name);
        self.targets.insert(name, Arc::new(Target::new(config, units)));
        self.refresh_ports();
        Ok(())
    }

    /// Takes a target out, and gives it.
    pub(super) fn remove_target(&mut self, name: &IscsiName) -> Option<Arc<Target>> {
        let target = self.targets.remove(name)?;
        if self.removed.len() < TARGETS_REMOVED_REMEMBERED_MAX {
            self.removed.insert(name.clone());
        }
        self.refresh_ports();
        Some(target)
    }

    /// Adds a LUN to a target that is there.
    ///
    /// # Errors
    /// [`StartError`]; then nothing was changed.
    pub(super) fn add_lun(
        &mut self,
        target: &Arc<Target>,
        lun: &LunConfig,
        settings: &Settings,
    ) -> Result<(), StartError> {
        let (name, number) = (target.name.clone(), lun.number);
        if target.units.contains_key(&number) {
            return Err(StartError::DuplicateLun { name, number });
        }
        if let Some(first) = target.number_of(&lun.unit) {
            return Err(StartError::UnitTwice { name, first, second: number });
        }
        let unit = self.unit_for(&name, &self.ports_of(target), lun, settings)?;
        let mut changed = Target::clone(target);
        changed.units.insert(number, unit);
        self.targets.insert(name, Arc::new(changed));
        self.refresh_ports();
        Ok(())
    }

    /// Takes a LUN out of a target that is there, and tells whether another target still exports its unit.
    pub(super) fn remove_lun(&mut self, target: &Arc<Target>, number: u16) -> bool {
        let mut changed = Target::clone(target);
        let unit = changed.units.remove(&number);
        self.targets.insert(changed.name.clone(), Arc::new(changed));
        self.refresh_ports();
        unit.is_some_and(|unit| self.units().any(|other| Arc::ptr_eq(other, &unit)))
    }

    /// The unit of another target that was made from the same, or a new one.
    fn unit_for(
        &mut self,
        target: &IscsiName,
        ports: &[TargetPort],
        lun: &LunConfig,
        settings: &Settings,
    ) -> Result<Arc<Unit>, StartError> {
        if let Some(unit) = self.units().find(|unit| Arc::ptr_eq(&unit.config, &lun.unit)) {
            return Ok(unit.clone());
        }
        let places = BTreeMap::from([(target.clone(), lun.number)]);
        let export = Export { unit: lun.unit.clone(), first: (target.clone(), lun.number), places };
        build_unit(&export, ports.to_vec(), settings, &mut self.port_numbers, &self.buffers).map(Arc::new)
    }

    /// Tells every unit which ports lead to it now.
    fn refresh_ports(&self) {
        for unit in self.units() {
            let exporting = self
                .targets
                .values()
                .filter(|target| target.units.values().any(|other| Arc::ptr_eq(other, unit)));
            let ports = exporting.flat_map(|target| self.ports_of(target));
            unit.lock().set_ports(numbered(ports, &self.port_numbers));
        }
    }
}

fn ports_in(all: &[PortalGroupTag], name: &IscsiName, groups: &PortalGroups) -> Vec<TargetPort> {
    let own = all.iter().filter(|group| groups.contains(**group));
    own.map(|&portal_group| TargetPort { name: name.clone(), portal_group }).collect()
}

fn numbered(ports: impl IntoIterator<Item = TargetPort>, numbers: &PortNumbers) -> Vec<ExportPort> {
    let numbered = ports.into_iter().filter_map(|target| {
        let relative = numbers.of(&target)?;
        Some(ExportPort { target, relative })
    });
    numbered.collect()
}

/// A unit and where it is exported.
struct Export {
    unit: Arc<UnitConfig>,
    /// The place that errors name.
    first: (IscsiName, u16),
    /// The LUN that it has in each target.
    places: BTreeMap<IscsiName, u16>,
}

/// Builds the targets, each with a port in those of the portal groups `groups` that are its own.
pub(super) fn build(
    configs: Vec<TargetConfig>,
    groups: Vec<PortalGroupTag>,
    settings: &Settings,
    mut port_numbers: PortNumbers,
) -> Result<Topology, StartError> {
    let ports: BTreeMap<&IscsiName, Vec<TargetPort>> = configs
        .iter()
        .map(|config| (&config.name, ports_in(&groups, &config.name, &config.portal_groups)))
        .collect();
    if let Some((name, _)) = ports.iter().find(|(_, ports)| ports.is_empty()) {
        return Err(StartError::NoPortalOfTarget { name: IscsiName::clone(name) });
    }
    let ports_of = |name: &IscsiName| ports.get(name).cloned().unwrap_or_default();
    port_numbers.assign(configs.iter().flat_map(|config| ports_of(&config.name)))?;
    let mut units: HashMap<*const UnitConfig, Arc<Unit>> = HashMap::new();
    let buffers = Arc::new(Buffers::default());
    for export in exports(&configs)? {
        let ports: Vec<_> = export.places.keys().flat_map(ports_of).collect();
        let unit = build_unit(&export, ports, settings, &mut port_numbers, &buffers)?;
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
    Ok(Topology { targets, port_numbers, removed: BTreeSet::new(), groups, buffers })
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
    buffers: &Arc<Buffers>,
) -> Result<Unit, StartError> {
    let (name, number) = export.first.clone();
    let UnitConfig { device, reservations, parameters, .. } = &*export.unit;
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
    let ports = numbered(ports, port_numbers);
    let setup = ReservationSetup { ports, force_persist: settings.force_aptpl, record };
    Ok(Unit::new(unit.with_reservations(setup), export.unit.clone(), keeper, buffers.clone()))
}
