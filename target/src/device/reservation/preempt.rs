//! PREEMPT and PREEMPT AND ABORT (SPC-4 §5.13.11.2.4 to §5.13.11.2.6).

use lunkeep_common::scsi::Asc;
use lunkeep_common::scsi::persistent::{Key, ReservationType};

use super::super::nexus::Nexus;
use super::apply::{BAD_SERVICE_ACTION_KEY, Change, Outcome, Refusal};
use super::record::{Holder, Record, Reservation};

/// What a PREEMPT does, by the reservation and the key that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Ends the registrations with the key, the sender's own among them. The reservation stays what it is.
    RemoveMatching,
    /// As above, but the sender stays: with an all-registrants type it is a holder.
    RemoveMatchingOthers,
    /// Ends the registrations with the key but the sender's, and takes the reservation over.
    TakeOver,
    /// Ends every registration but the sender's, and takes the reservation over.
    TakeOverFromAll,
}

pub(super) fn preempt(
    record: &Record,
    nexus: &Nexus,
    victim: Key,
    kind: ReservationType,
    abort: bool,
) -> Outcome {
    let plan = plan(record, victim)?;
    let everyone = plan == Plan::TakeOverFromAll;
    let matches = |nexus: &Nexus| everyone || record.key_of(nexus) == Some(victim);
    let keeps_own = plan != Plan::RemoveMatching;

    let mut change = Change::to(record.clone());
    change.record.registrations.retain(|other, _| !matches(other) || keeps_own && other == nexus);
    let removed: Vec<Nexus> = record.others(nexus).filter(|other| matches(other)).cloned().collect();
    change.tell(removed.iter(), Asc::REGISTRATIONS_PREEMPTED);
    if matches!(plan, Plan::TakeOver | Plan::TakeOverFromAll) {
        let changed = record.reservation.as_ref().is_none_or(|old| old.kind != kind);
        change.record.reservation = Some(Reservation::new(kind, nexus));
        if changed {
            let remaining: Vec<Nexus> = change.record.others(nexus).cloned().collect();
            change.tell(remaining.iter(), Asc::RESERVATIONS_RELEASED);
        }
    }
    if abort {
        // Holders or not; the sender's own commands too when it names its own key.
        let own = (!everyone && matches(nexus)).then(|| nexus.clone());
        change.abort = removed.iter().cloned().chain(own).collect();
    }
    change.removed = removed;
    Ok(change)
}

fn plan(record: &Record, victim: Key) -> Result<Plan, Refusal> {
    let holder = record.reservation.as_ref().map(|reservation| &reservation.holder);
    match holder {
        Some(Holder::AllRegistrants) if victim.is_zero() => return Ok(Plan::TakeOverFromAll),
        // SPC-4 §5.13.11.2.4: a key of zero names nobody.
        _ if victim.is_zero() => return Err(BAD_SERVICE_ACTION_KEY.into()),
        Some(Holder::One(holder)) if record.key_of(holder) == Some(victim) => return Ok(Plan::TakeOver),
        _ => {}
    }
    // A key that nobody has: whoever was to be preempted is gone or has another key, and someone else won.
    if record.registrations.values().all(|registration| registration.key != victim) {
        return Err(Refusal::Conflict);
    }
    match holder {
        Some(Holder::AllRegistrants) => Ok(Plan::RemoveMatchingOthers),
        _ => Ok(Plan::RemoveMatching),
    }
}
