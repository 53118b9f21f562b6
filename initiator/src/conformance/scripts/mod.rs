//! The cases that are steps, in tables. The language of the steps is that of [`Script`].
//!
//! Requirements were written from SPC-4, SAM-5 and RFC 7143; where the standard leaves a choice, the steps allow each.

mod access;
mod events;
mod ports;
mod preempt;
mod register;
mod reserve;
mod spc2;

use super::case::Need;
use super::script::Script;

/// All types.
const ALL: &[u8] = &[1, 3, 5, 6, 7, 8];
/// One nexus holds the reservation.
const SINGLE: &[u8] = &[1, 3, 5, 6];
/// Only the holder has access.
const EXCLUSIVE: &[u8] = &[1, 3];
/// Registrants have access, one of them is the holder.
const REGISTRANTS_ONLY: &[u8] = &[5, 6];
/// Registrants have access, whoever holds it.
const ADMITTING: &[u8] = &[5, 6, 7, 8];
/// All registrants are holders.
const ALL_REGISTRANTS: &[u8] = &[7, 8];

/// Every table, in the order in which the cases run.
pub fn all() -> impl Iterator<Item = &'static Script> {
    [register::TABLE, reserve::TABLE, preempt::TABLE, ports::TABLE, access::TABLE, spc2::TABLE, events::TABLE]
        .into_iter()
        .flatten()
}

/// A case.
const fn one(
    name: &'static str,
    clause: &'static str,
    requirement: &'static str,
    steps: &'static str,
) -> Script {
    Script { name, clause, requirement, types: &[], needs: &[], steps }
}

/// A case for each type.
const fn each(
    name: &'static str,
    types: &'static [u8],
    clause: &'static str,
    requirement: &'static str,
    steps: &'static str,
) -> Script {
    Script { name, clause, requirement, types, needs: &[], steps }
}

impl Script {
    /// The same case with needs.
    const fn needing(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }
}
