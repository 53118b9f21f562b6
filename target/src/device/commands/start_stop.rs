//! START STOP UNIT without power conditions and without ejecting (SBC-3 §5.25). POWER CONDITION and LOEJ are refused by the
//! opcode table: the unit has no power condition page and its medium cannot be removed.

use super::super::config::MediumShape;
use super::super::media::MediaOp;
use super::super::task_set::Then;
use super::Next;

/// Stopping writes the cache first unless NO_FLUSH says not to. It is not stopped when that fails.
pub(super) fn start_stop(medium: &MediumShape, start: bool, no_flush: bool) -> Next {
    if start || no_flush || medium.read_only {
        Next::Power { stopped: !start }
    } else {
        Next::Media { op: MediaOp::Flush, then: Then::Stop }
    }
}
