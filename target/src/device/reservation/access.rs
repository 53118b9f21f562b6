//! The conflict matrix: which commands pass whose reservation (SPC-4 §5.13.1 tables 65 and 66, SBC-3 table 11, SPC-2 §5.5.1).
//!
//! Each command's row in the opcode table names a [`ReservationRule`]; what the rule means for each type of reservation and each
//! kind of sender is here. Nothing depends on the direction of data.

use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::persistent::ReservationType;

/// What a nexus is to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// It holds it.
    Holder,
    /// It is registered.
    Registrant,
    /// It is not.
    Stranger,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Holder, Self::Registrant, Self::Stranger];
}

/// Whether a command passes a persistent reservation of another nexus or of its own. `starts` counts for START STOP UNIT.
/// PERSISTENT RESERVE OUT, RESERVE and RELEASE have conditions of their own besides.
#[must_use]
pub fn passes(rule: ReservationRule, starts: bool, kind: ReservationType, relation: Relation) -> bool {
    let has_access = match relation {
        Relation::Holder => true,
        Relation::Registrant => kind.admits_registrants(),
        Relation::Stranger => false,
    };
    match rule {
        ReservationRule::Always
        | ReservationRule::Allowed
        | ReservationRule::PersistentIn
        | ReservationRule::PersistentOut
        | ReservationRule::Reserve
        | ReservationRule::Release => true,
        ReservationRule::StartStop if starts => true,
        ReservationRule::Read => has_access || kind.admits_reads(),
        ReservationRule::StartStop | ReservationRule::Write => has_access,
    }
}

/// Whether a command passes a RESERVE of SPC-2; `own` when its sender holds that.
#[must_use]
pub const fn passes_reserved(rule: ReservationRule, own: bool) -> bool {
    match rule {
        // RELEASE of a stranger does nothing and ends GOOD (SPC-2 §7.17.2).
        ReservationRule::Always | ReservationRule::Release => true,
        // The two kinds of reservation never meet (SPC-4 §5.13.3).
        ReservationRule::PersistentIn | ReservationRule::PersistentOut => false,
        ReservationRule::Allowed
        | ReservationRule::Read
        | ReservationRule::Write
        | ReservationRule::StartStop
        | ReservationRule::Reserve => own,
    }
}
