//! START STOP UNIT without power conditions, and PREVENT ALLOW MEDIUM REMOVAL (SBC-3 §5.25, §5.10). POWER CONDITION is refused by
//! the opcode table: the unit has no power condition page.

use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::super::config::LogicalUnitConfig;
use super::super::media::MediaOp;
use super::super::state::{Change, MediumState, State};
use super::super::task_set::Then;
use super::{Next, Outcome};

/// Stopping and ejecting write the cache first; stopping may be told not to with NO_FLUSH. Neither is done when that fails.
pub(super) fn start_stop(
    config: &LogicalUnitConfig,
    state: &State,
    start: bool,
    load_eject: bool,
    no_flush: bool,
) -> Outcome {
    if load_eject && !config.removable {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)));
    }
    if let Some(sense) = state.exchange.refusal() {
        return Err(sense);
    }
    let next = match (start, load_eject) {
        // SBC-3 does not say; a drive that is locked while it is empty stays so.
        (true, true) if state.medium == MediumState::Absent && !state.preventing.is_empty() => {
            return Err(Sense::illegal_request(Asc::MEDIUM_REMOVAL_PREVENTED));
        }
        (true, true) => MediumState::Ready,
        (_, false) if state.medium == MediumState::Absent => {
            return Err(Sense::new(SenseKey::NotReady, Asc::MEDIUM_NOT_PRESENT));
        }
        (true, false) => MediumState::Ready,
        (false, false) => MediumState::Stopped,
        (false, true) if !state.preventing.is_empty() => {
            return Err(Sense::illegal_request(Asc::MEDIUM_REMOVAL_PREVENTED));
        }
        (false, true) => MediumState::Absent,
    };
    let change = Change::Medium(next);
    let flush = !start && (load_eject || !no_flush) && !config.medium.read_only;
    if flush && state.medium != MediumState::Absent {
        return Ok(Next::Media { op: MediaOp::Flush, then: Then::Apply(change) });
    }
    Ok(Next::Change(change))
}
