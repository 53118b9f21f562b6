//! Unit attention conditions (SAM-5 §5.14, §6.2): what each nexus must be told before its next command is processed.
//!
//! They belong to the nexus as a *value* (initiator port and target port), not to a session: a nexus that logs in again still
//! learns what happened while it was away. Each condition is pending at most once per nexus, and the number of nexuses that are
//! remembered is bounded; one that was forgotten is told POWER ON, RESET, OR BUS DEVICE RESET OCCURRED, which stands for
//! everything it may have missed.

use std::collections::HashMap;

use lunkeep_common::name::{InitiatorPort, TargetPort};
use lunkeep_common::scsi::Asc;

use crate::limits::NEXUSES_REMEMBERED_MAX;

/// The identity of an I_T nexus.
pub(super) type NexusValue = (InitiatorPort, TargetPort);

/// Precedence of a condition, the first reported first (SAM-5 table 45).
fn rank(asc: Asc) -> u8 {
    match asc {
        Asc::POWER_ON_RESET => 0,
        Asc::POWER_ON | Asc::DEVICE_INTERNAL_RESET => 1,
        Asc::SCSI_BUS_RESET => 2,
        Asc::BUS_DEVICE_RESET => 3,
        Asc::NEXUS_LOSS => 4,
        _ => 5,
    }
}

/// Conditions of one nexus, in the order in which they are reported.
#[derive(Debug)]
struct Pending {
    nexus: NexusValue,
    queue: Vec<Asc>,
    /// Live sessions of this nexus: more than one only while one replaces another.
    sessions: u32,
    /// When it was last attached, for forgetting the oldest.
    seen: u64,
}

impl Pending {
    /// A nexus that is not remembered: it is told of the power-on.
    fn new(nexus: NexusValue) -> Self {
        Self { nexus, queue: vec![Asc::POWER_ON_RESET], sessions: 0, seen: 0 }
    }

    fn establish(&mut self, asc: Asc) {
        // A condition of higher precedence stands for the resets and losses below it (SAM-5 §6.2).
        let reset = |other: Asc| rank(other) < 5;
        if self.queue.contains(&asc) || (reset(asc) && self.queue.iter().any(|&o| rank(o) <= rank(asc))) {
            return;
        }
        if rank(asc) == 0 {
            self.queue.clear();
        } else if reset(asc) {
            self.queue.retain(|&other| !reset(other));
        }
        let at = self.queue.partition_point(|&other| rank(other) <= rank(asc));
        self.queue.insert(at, asc);
    }
}

/// Where the conditions of an attached nexus are; it stays true until the last session of that nexus is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// Conditions of all nexuses.
#[derive(Debug, Default)]
pub(super) struct UnitAttentions {
    /// Commands find their nexus by number; names are compared only when a session comes.
    slots: Vec<Pending>,
    index: HashMap<NexusValue, usize>,
    clock: u64,
}

impl UnitAttentions {
    /// A session of this nexus begins. A nexus that is not remembered is told of the power-on.
    pub(super) fn attach(&mut self, nexus: NexusValue) -> Slot {
        self.clock += 1;
        let at = self.index.get(&nexus).copied().unwrap_or_else(|| {
            let new = Pending::new(nexus.clone());
            let at = match self.room() {
                Some(at) => {
                    let old = std::mem::replace(&mut self.slots[at], new);
                    self.index.remove(&old.nexus);
                    at
                }
                None => {
                    self.slots.push(new);
                    self.slots.len() - 1
                }
            };
            self.index.insert(nexus, at);
            at
        });
        let pending = &mut self.slots[at];
        pending.sessions += 1;
        pending.seen = self.clock;
        Slot(at)
    }

    /// A session of this nexus ended: I_T nexus loss (SAM-5 §6.3.4).
    pub(super) fn detach(&mut self, slot: Slot) {
        if let Some(pending) = self.slots.get_mut(slot.0) {
            pending.sessions = pending.sessions.saturating_sub(1);
            pending.establish(Asc::NEXUS_LOSS);
        }
    }

    /// The place of the nexus that has been away for longest, to be forgotten, when there is no more room. Live ones are never
    /// forgotten: their number has its own limit.
    fn room(&self) -> Option<usize> {
        if self.slots.len() < NEXUSES_REMEMBERED_MAX {
            return None;
        }
        let away = self.slots.iter().enumerate().filter(|(_, pending)| pending.sessions == 0);
        away.min_by_key(|(_, pending)| pending.seen).map(|(at, _)| at)
    }

    /// Queues a condition for every remembered nexus that `applies` names.
    pub(super) fn establish(&mut self, asc: Asc, applies: impl Fn(Slot) -> bool) {
        for (at, pending) in self.slots.iter_mut().enumerate() {
            if applies(Slot(at)) {
                pending.establish(asc);
            }
        }
    }

    /// Queues a condition for one nexus, logged in or away. One that is not remembered will be told of the power-on.
    pub(super) fn establish_for(&mut self, nexus: &NexusValue, asc: Asc) {
        if let Some(pending) = self.index.get(nexus).and_then(|&at| self.slots.get_mut(at)) {
            pending.establish(asc);
        }
    }

    /// Initiator ports that are remembered.
    pub(super) fn initiators(&self) -> impl Iterator<Item = &InitiatorPort> {
        self.slots.iter().map(|pending| &pending.nexus.0)
    }

    /// Takes the condition that the nexus must be told of next.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Asc> {
        let queue = &mut self.slots.get_mut(slot.0)?.queue;
        (!queue.is_empty()).then(|| queue.remove(0))
    }

    /// Clears one condition without reporting it.
    pub(super) fn clear(&mut self, slot: Slot, asc: Asc) {
        if let Some(pending) = self.slots.get_mut(slot.0) {
            pending.queue.retain(|&other| other != asc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunkeep_common::name::{Isid, PortalGroupTag};

    fn nexus(number: u32) -> NexusValue {
        let name = format!("iqn.2026-11.org:{number}").parse().unwrap();
        let target = "iqn.2026-11.org:target".parse().unwrap();
        (
            InitiatorPort { name, isid: Isid::default() },
            TargetPort { name: target, portal_group: PortalGroupTag(1) },
        )
    }

    fn all(attentions: &mut UnitAttentions, slot: Slot) -> Vec<Asc> {
        std::iter::from_fn(|| attentions.take(slot)).collect()
    }

    #[test]
    fn conditions_come_in_the_order_of_precedence_and_once_each() {
        let mut attentions = UnitAttentions::default();
        let slot = attentions.attach(nexus(1));
        assert_eq!(all(&mut attentions, slot), [Asc::POWER_ON_RESET]);
        for asc in [
            Asc::REPORTED_LUNS_CHANGED,
            Asc::NEXUS_LOSS,
            Asc::CAPACITY_DATA_CHANGED,
            Asc::REPORTED_LUNS_CHANGED,
        ] {
            attentions.establish(asc, |_| true);
        }
        let expected = [Asc::NEXUS_LOSS, Asc::REPORTED_LUNS_CHANGED, Asc::CAPACITY_DATA_CHANGED];
        assert_eq!(all(&mut attentions, slot), expected);
    }

    #[test]
    fn a_greater_reset_stands_for_the_lesser_ones() {
        let mut attentions = UnitAttentions::default();
        let slot = attentions.attach(nexus(1));
        attentions.establish(Asc::BUS_DEVICE_RESET, |_| true);
        assert_eq!(all(&mut attentions, slot), [Asc::POWER_ON_RESET]);
        for asc in [Asc::NEXUS_LOSS, Asc::MODE_PARAMETERS_CHANGED, Asc::BUS_DEVICE_RESET] {
            attentions.establish(asc, |_| true);
        }
        assert_eq!(all(&mut attentions, slot), [Asc::BUS_DEVICE_RESET, Asc::MODE_PARAMETERS_CHANGED]);
        for asc in [Asc::MODE_PARAMETERS_CHANGED, Asc::POWER_ON_RESET] {
            attentions.establish(asc, |_| true);
        }
        assert_eq!(all(&mut attentions, slot), [Asc::POWER_ON_RESET]);
    }

    #[test]
    fn conditions_wait_for_a_nexus_that_is_away() {
        let mut attentions = UnitAttentions::default();
        let slot = attentions.attach(nexus(1));
        all(&mut attentions, slot);
        attentions.detach(slot);
        attentions.establish(Asc::REGISTRATIONS_PREEMPTED, |_| true);
        assert_eq!(attentions.attach(nexus(1)), slot);
        assert_eq!(all(&mut attentions, slot), [Asc::NEXUS_LOSS, Asc::REGISTRATIONS_PREEMPTED]);
    }

    #[test]
    fn the_oldest_absent_nexus_is_forgotten_and_starts_anew() {
        let mut attentions = UnitAttentions::default();
        let limit = u32::try_from(NEXUSES_REMEMBERED_MAX).unwrap();
        let slots: Vec<_> = (0..limit).map(|number| attentions.attach(nexus(number))).collect();
        for &slot in &slots {
            all(&mut attentions, slot);
        }
        attentions.detach(slots[5]);
        attentions.detach(slots[3]);
        let new = attentions.attach(nexus(limit));
        assert_eq!((new, attentions.slots.len()), (slots[3], NEXUSES_REMEMBERED_MAX), "attached before 5");
        assert_eq!(all(&mut attentions, new), [Asc::POWER_ON_RESET]);
        assert_eq!(all(&mut attentions, slots[5]), [Asc::NEXUS_LOSS]);
        let back = attentions.attach(nexus(3));
        assert_eq!(all(&mut attentions, back), [Asc::POWER_ON_RESET], "what it missed is unknown");
    }

    #[test]
    fn a_nexus_that_is_attached_is_not_forgotten_however_many_come() {
        let mut attentions = UnitAttentions::default();
        let limit = u32::try_from(NEXUSES_REMEMBERED_MAX).unwrap();
        for number in 0..=limit {
            let slot = attentions.attach(nexus(number));
            all(&mut attentions, slot);
        }
        let again = attentions.attach(nexus(0));
        assert_eq!(all(&mut attentions, again), []);
    }
}
