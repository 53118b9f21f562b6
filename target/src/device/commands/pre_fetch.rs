//! PRE-FETCH (SBC-3 §5.8, §5.9).

use lunkeep_common::scsi::Status;
use lunkeep_common::scsi::cdb::SynchronizeCache;

use super::super::config::MediumShape;
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::Then;
use super::{Next, Outcome, extent};
use crate::limits::PRE_FETCH_LEN_MAX;

/// CONDITION MET when the whole range was brought into the host's cache; GOOD when it is longer than what is brought at once. With
/// IMMED it may be answered at once; it is answered when it is true. A length of zero means up to the last block.
pub(super) fn pre_fetch(medium: &MediumShape, cdb: SynchronizeCache) -> Outcome {
    let extent = extent(medium, cdb.lba, cdb.blocks)?;
    let whole = if cdb.blocks == 0 { medium.size - extent.offset } else { extent.len };
    let len = whole.min(PRE_FETCH_LEN_MAX);
    let status = if len == whole { Status::ConditionMet } else { Status::Good };
    if len == 0 {
        return Ok(Next::Done(Completion::without_data(status)));
    }
    let op = MediaOp::Prefetch { offset: extent.offset, len };
    Ok(Next::Media { op, then: Then::Status(status) })
}
