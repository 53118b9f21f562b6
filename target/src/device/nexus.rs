//! The two ports of an I_T nexus.

use lunkeep_common::name::{InitiatorPort, TargetPort};

/// An I_T nexus by value (SAM-5 §4.8): what unit attentions and reservations belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nexus {
    /// Initiator port.
    pub initiator: InitiatorPort,
    /// Target port.
    pub target: TargetPort,
    /// Relative target port identifier of `target`, 1 to 65535 (SPC-4 §7.8.6.8).
    pub relative_target_port: u16,
}
