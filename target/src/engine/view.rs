//! What one session sees: its LUNs, which the operator may change while it is logged in.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use lunkeep_common::scsi::Lun;

use super::unit::{LunView, Unit};
use crate::device::{Nexus, NexusId};

/// The LUNs of a session at one moment.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) units: LunView,
    /// Units that were taken out and whose last operations have not ended.
    leaving: Vec<(u16, Arc<Unit>)>,
    /// The numbers of `units` on the wire, for REPORT LUNS.
    pub(super) inventory: Vec<Lun>,
    /// The session ends: its nexus is on no unit, and comes to no other.
    ended: bool,
}

impl Seen {
    pub(super) fn new(units: LunView) -> Self {
        let inventory = units.keys().filter_map(|&number| Lun::from_number(number)).collect();
        Self { units, leaving: Vec::new(), inventory, ended: false }
    }

    /// The logical unit that a LUN addresses.
    pub(super) fn resolve(&self, lun: Lun) -> Option<&Arc<Unit>> {
        self.units.get(&lun.number()?)
    }

    /// The logical units that a LUN means in what an earlier command began: also one that has left.
    pub(super) fn resolve_task(&self, lun: Lun) -> impl Iterator<Item = &Arc<Unit>> {
        let number = lun.number();
        let leaving = self.leaving.iter().filter(move |(left, _)| Some(*left) == number);
        self.resolve(lun).into_iter().chain(leaving.map(|(_, unit)| unit))
    }

    /// Every unit that the nexus may be on.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Unit>> {
        self.units.values().chain(self.leaving.iter().map(|(_, unit)| unit))
    }
}

/// The view of a session. Its lock comes before that of a unit.
#[derive(Debug)]
pub(super) struct View(RwLock<Arc<Seen>>);

impl View {
    pub(super) fn new(units: LunView) -> Self {
        Self(RwLock::new(Arc::new(Seen::new(units))))
    }

    /// The view as it is now.
    pub(super) fn now(&self) -> Arc<Seen> {
        self.hold().clone()
    }

    /// The view, which does not change while this is held.
    pub(super) fn hold(&self) -> RwLockReadGuard<'_, Arc<Seen>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the session other LUNs. The nexus is made known to new units, and told on all of them that the inventory changed. A unit
    /// that is taken out was withdrawn from the nexus before; it stays known until [`View::left`].
    pub(super) fn change(&self, id: NexusId, nexus: &Nexus, units: LunView) {
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = |a: &LunView, b: &LunView| {
            a.len() == b.len() && a.iter().zip(b).all(|((n, u), (m, v))| n == m && Arc::ptr_eq(u, v))
        };
        if seen.ended || same(&seen.units, &units) {
            return;
        }
        let known: Vec<_> = seen.units.values().map(Arc::as_ptr).collect();
        for unit in units.values().filter(|unit| !known.contains(&Arc::as_ptr(unit))) {
            unit.lock().attach(id, nexus.clone());
        }
        for unit in units.values() {
            unit.lock().tell_inventory_changed(id);
        }
        let kept: Vec<_> = units.values().map(Arc::as_ptr).collect();
        let gone = seen.units.iter().filter(|(_, unit)| !kept.contains(&Arc::as_ptr(unit)));
        let mut leaving: Vec<_> = gone.map(|(number, unit)| (*number, unit.clone())).collect();
        leaving.extend(seen.leaving.iter().cloned());
        *seen = Arc::new(Seen { leaving, ..Seen::new(units) });
    }

    /// Nothing of the session is left on this unit, which was taken out.
    pub(super) fn left(&self, unit: &Arc<Unit>) {
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if seen.leaving.iter().any(|(_, other)| Arc::ptr_eq(other, unit)) {
            let leaving = seen.leaving.iter().filter(|(_, other)| !Arc::ptr_eq(other, unit)).cloned();
            *seen = Arc::new(Seen {
                leaving: leaving.collect(),
                ended: seen.ended,
                ..Seen::new(seen.units.clone())
            });
        }
    }

    /// The session ends: from now on nothing is added. Gives the units that its nexus is to be taken off.
    pub(super) fn end(&self) -> Vec<Arc<Unit>> {
        let mut seen = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let all = seen.all().cloned().collect();
        let (units, leaving) = (seen.units.clone(), seen.leaving.clone());
        *seen = Arc::new(Seen { leaving, ended: true, ..Seen::new(units) });
        all
    }
}

/// The LUNs of the target that an initiator sees, under its own numbers.
pub(super) fn mapped(units: &LunView, map: Option<&BTreeMap<u16, u16>>) -> LunView {
    let Some(map) = map else { return units.clone() };
    map.iter().filter_map(|(seen, number)| Some((*seen, units.get(number)?.clone()))).collect()
}
