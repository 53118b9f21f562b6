//! The two ports of an I_T nexus.

use std::cmp::Ordering;

use lunkeep_common::name::{InitiatorPort, TargetPort};

/// A target port that a logical unit can be reached through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExportPort {
    /// The port.
    pub target: TargetPort,
    /// Its relative target port identifier, 1 to 65535. No other port of the logical unit has it, whatever its target.
    pub relative: u16,
}

/// An I_T nexus by value (SAM-5 §4.8): what unit attentions and reservations belong to.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Nexus {
    /// Initiator port.
    pub initiator: InitiatorPort,
    /// Target port.
    pub target: TargetPort,
    /// Relative target port identifier of `target`, 1 to 65535 (SPC-4 §7.8.6.8).
    pub relative_target_port: u16,
}

impl Clone for Nexus {
    fn clone(&self) -> Self {
        #[cfg(test)]
        counts::add();
        let Self { initiator, target, relative_target_port } = self;
        Self {
            initiator: initiator.clone(),
            target: target.clone(),
            relative_target_port: *relative_target_port,
        }
    }
}

impl Ord for Nexus {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        counts::add();
        let key = |nexus: &Self| nexus.relative_target_port;
        let names = self.initiator.cmp(&other.initiator).then_with(|| self.target.cmp(&other.target));
        names.then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for Nexus {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How often nexuses were compared or copied: what commands cost where many are registered, as a number that does not depend on time.
#[cfg(test)]
pub(super) mod counts {
    use std::cell::Cell;

    thread_local!(static COUNT: Cell<u64> = const { Cell::new(0) });

    pub(super) fn add() {
        COUNT.set(COUNT.get() + 1);
    }

    pub(in super::super) fn of(work: impl FnOnce()) -> u64 {
        let before = COUNT.get();
        work();
        COUNT.get() - before
    }
}
