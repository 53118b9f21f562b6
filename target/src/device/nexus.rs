//! The two ports of an I_T nexus.

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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nexus {
    /// Initiator port.
    pub initiator: InitiatorPort,
    /// Target port.
    pub target: TargetPort,
    /// Relative target port identifier of `target`, 1 to 65535 (SPC-4 §7.8.6.8).
    pub relative_target_port: u16,
}
