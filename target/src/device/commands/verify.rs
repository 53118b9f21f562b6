//! VERIFY (SBC-3 §5.29 to §5.31).

use bytes::Bytes;
use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::Verify;

use super::super::config::{LogicalUnitConfig, MediumShape};
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::{Then, total_len};
use super::cache::after_flush;
use super::{DataOutOf, Extent, Next, Outcome, extent, invalid_block_count, invalid_data_length};

/// A VERIFY that waits for the bytes to compare with.
#[derive(Debug)]
pub(in super::super) struct PendingVerify {
    extent: Extent,
    /// Bytes that come.
    len: u64,
}

pub(super) fn verify(config: &LogicalUnitConfig, cdb: Verify) -> Outcome {
    let medium = &config.medium;
    let extent = extent(medium, cdb.lba, cdb.blocks)?;
    if extent.len > config.commands.transfer.into() {
        return Err(invalid_block_count(cdb.form));
    }
    // BYTCHK: how many bytes come.
    let len = match cdb.byte_check {
        0b00 => 0,
        0b01 => extent.len,
        0b11 => medium.logical_block.into(),
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(2))),
    };
    // A VERIFICATION LENGTH of zero transfers and verifies nothing; it is not an error.
    if extent.len == 0 {
        return Ok(Next::Done(Completion::good()));
    }
    if len == 0 {
        return Ok(run(medium, extent, None));
    }
    Ok(Next::DataOut { len, of: DataOutOf::Verify(PendingVerify { extent, len }) })
}

impl PendingVerify {
    /// With fewer bytes than the comparison needs, GOOD would claim blocks that nobody looked at.
    pub(super) fn received(self, medium: &MediumShape, data: Vec<Bytes>) -> Outcome {
        if total_len(&data) != self.len {
            return Err(invalid_data_length());
        }
        Ok(run(medium, self.extent, Some(data)))
    }
}

/// A verify operation looks at the medium, so what the cache holds goes there first (SBC-3 §4.15.2).
fn run(medium: &MediumShape, Extent { offset, len }: Extent, compare: Option<Vec<Bytes>>) -> Next {
    after_flush(medium, MediaOp::Verify { offset, len, compare }, Then::Compared { offset })
}
