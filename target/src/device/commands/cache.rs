//! SYNCHRONIZE CACHE (SBC-3 §5.26, §5.27), and flushing before something that must see the medium.

use lunkeep_common::scsi::cdb::SynchronizeCache;

use super::super::config::MediumShape;
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::Then;
use super::{Next, Outcome, extent};

/// Everything is made stable, whatever range was asked for. With IMMED it may be answered at once; it is answered when it is
/// true. A medium that takes no writes has nothing to make stable.
pub(super) fn synchronize(medium: &MediumShape, cdb: SynchronizeCache) -> Outcome {
    extent(medium, cdb.lba, cdb.blocks)?;
    Ok(if medium.read_only {
        Next::Done(Completion::good())
    } else {
        Next::Media { op: MediaOp::Flush, then: Then::Complete }
    })
}

/// `op` on a medium where everything that was written before is stable.
pub(super) fn after_flush(medium: &MediumShape, op: MediaOp, then: Then) -> Next {
    if medium.read_only {
        Next::Media { op, then }
    } else {
        Next::Media { op: MediaOp::Flush, then: Then::Run(op, Box::new(then)) }
    }
}
