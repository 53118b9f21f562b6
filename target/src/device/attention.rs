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
#[derive(Debug, Default)]
struct Pending {
    queue: Vec<Asc>,
    /// Live sessions of this nexus: more than one only while one replaces another.
    sessions: u32,
    /// When it was last attached, for forgetting the oldest.
    seen: u64,
}

impl Pending {
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

/// Conditions of all nexuses.
#[derive(Debug, Default)]
pub(super) struct UnitAttentions {
    nexuses: HashMap<NexusValue, Pending>,
    clock: u64,
}

impl UnitAttentions {
    /// A session of this nexus begins. A nexus that is not remembered is told of the power-on.
    pub(super) fn attach(&mut self, nexus: &NexusValue) {
        self.clock += 1;
        let clock = self.clock;
        if !self.nexuses.contains_key(nexus) {
            self.make_room();
            let first = Pending { queue: vec![Asc::POWER_ON_RESET], ..Pending::default() };
            self.nexuses.insert(nexus.clone(), first);
        }
        if let Some(pending) = self.nexuses.get_mut(nexus) {
            pending.sessions += 1;
            pending.seen = clock;
        }
    }

    /// A session of this nexus ended: I_T nexus loss (SAM-5 §6.3.4).
    pub(super) fn detach(&mut self, nexus: &NexusValue) {
        if let Some(pending) = self.nexuses.get_mut(nexus) {
            pending.sessions = pending.sessions.saturating_sub(1);
            pending.establish(Asc::NEXUS_LOSS);
        }
    }

    /// Forgets the nexus that has been away for longest when there is no more room. Live ones are never forgotten: their
    /// number has its own limit.
    fn make_room(&mut self) {
        if self.nexuses.len() < NEXUSES_REMEMBERED_MAX {
            return;
        }
        let away = self.nexuses.iter().filter(|(_, pending)| pending.sessions == 0);
        if let Some(oldest) = away.min_by_key(|(_, pending)| pending.seen).map(|(nexus, _)| nexus.clone()) {
            self.nexuses.remove(&oldest);
        }
    }

    /// Queues a condition for every remembered nexus that `applies` names.
    pub(super) fn establish(&mut self, asc: Asc, applies: impl Fn(&NexusValue) -> bool) {
        for (_, pending) in self.nexuses.iter_mut().filter(|(nexus, _)| applies(nexus)) {
            pending.establish(asc);
        }
    }

    /// Takes the condition that the nexus must be told of next.
    pub(super) fn take(&mut self, nexus: &NexusValue) -> Option<Asc> {
        let pending = self.nexuses.get_mut(nexus)?;
        (!pending.queue.is_empty()).then(|| pending.queue.remove(0))
    }

    /// Clears one condition without reporting it.
    pub(super) fn clear(&mut self, nexus: &NexusValue, asc: Asc) {
        if let Some(pending) = self.nexuses.get_mut(nexus) {
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

    fn all(attentions: &mut UnitAttentions, nexus: &NexusValue) -> Vec<Asc> {
        std::iter::from_fn(|| attentions.take(nexus)).collect()
    }

    #[test]
    fn conditions_come_in_the_order_of_precedence_and_once_each() {
        let (mut attentions, nexus) = (UnitAttentions::default(), nexus(1));
        attentions.attach(&nexus);
        assert_eq!(all(&mut attentions, &nexus), [Asc::POWER_ON_RESET]);
        for asc in [
            Asc::REPORTED_LUNS_CHANGED,
            Asc::NEXUS_LOSS,
            Asc::CAPACITY_DATA_CHANGED,
            Asc::REPORTED_LUNS_CHANGED,
        ] {
            attentions.establish(asc, |_| true);
        }
        let expected = [Asc::NEXUS_LOSS, Asc::REPORTED_LUNS_CHANGED, Asc::CAPACITY_DATA_CHANGED];
        assert_eq!(all(&mut attentions, &nexus), expected);
    }

    #[test]
    fn a_greater_reset_stands_for_the_lesser_ones() {
        let (mut attentions, nexus) = (UnitAttentions::default(), nexus(1));
        attentions.attach(&nexus);
        attentions.establish(Asc::BUS_DEVICE_RESET, |_| true);
        assert_eq!(all(&mut attentions, &nexus), [Asc::POWER_ON_RESET]);
        for asc in [Asc::NEXUS_LOSS, Asc::MODE_PARAMETERS_CHANGED, Asc::BUS_DEVICE_RESET] {
            attentions.establish(asc, |_| true);
        }
        assert_eq!(all(&mut attentions, &nexus), [Asc::BUS_DEVICE_RESET, Asc::MODE_PARAMETERS_CHANGED]);
        for asc in [Asc::MODE_PARAMETERS_CHANGED, Asc::POWER_ON_RESET] {
            attentions.establish(asc, |_| true);
        }
        assert_eq!(all(&mut attentions, &nexus), [Asc::POWER_ON_RESET]);
    }

    #[test]
    fn conditions_wait_for_a_nexus_that_is_away() {
        let (mut attentions, nexus) = (UnitAttentions::default(), nexus(1));
        attentions.attach(&nexus);
        all(&mut attentions, &nexus);
        attentions.detach(&nexus);
        attentions.establish(Asc::REGISTRATIONS_PREEMPTED, |_| true);
        attentions.attach(&nexus);
        assert_eq!(all(&mut attentions, &nexus), [Asc::NEXUS_LOSS, Asc::REGISTRATIONS_PREEMPTED]);
    }

    #[test]
    fn the_oldest_absent_nexus_is_forgotten_and_starts_anew() {
        let mut attentions = UnitAttentions::default();
        let limit = u32::try_from(NEXUSES_REMEMBERED_MAX).unwrap();
        for number in 0..limit {
            attentions.attach(&nexus(number));
            all(&mut attentions, &nexus(number));
        }
        attentions.detach(&nexus(5));
        attentions.detach(&nexus(3));
        attentions.attach(&nexus(limit));
        assert_eq!(attentions.nexuses.len(), NEXUSES_REMEMBERED_MAX);
        assert_eq!(attentions.take(&nexus(3)), None, "forgotten: it was attached before 5");
        assert_eq!(attentions.take(&nexus(5)), Some(Asc::NEXUS_LOSS));
        attentions.attach(&nexus(3));
        assert_eq!(all(&mut attentions, &nexus(3)), [Asc::POWER_ON_RESET]);
    }
}
