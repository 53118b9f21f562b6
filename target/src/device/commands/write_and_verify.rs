//! WRITE AND VERIFY (SBC-3 §5.37 to §5.39).

use bytes::Bytes;
use lunkeep_common::scsi::cdb::Verify;

use super::super::config::{LogicalUnitConfig, MediumShape};
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::{Then, total_len};
use super::{DataOutOf, Extent, Next, Outcome, extent, invalid_block_count, invalid_data_length};

/// A WRITE AND VERIFY that waits for its data.
#[derive(Debug)]
pub(in super::super) struct PendingWriteAndVerify {
    extent: Extent,
    compare: bool,
}

/// BYTCHK has one bit here: the opcode table refuses the other.
pub(super) fn write_and_verify(config: &LogicalUnitConfig, cdb: Verify) -> Outcome {
    let extent = extent(&config.medium, cdb.lba, cdb.blocks)?;
    if extent.len > config.commands.transfer.into() {
        return Err(invalid_block_count(cdb.form));
    }
    if extent.len == 0 {
        return Ok(Next::Done(Completion::good()));
    }
    let pending = PendingWriteAndVerify { extent, compare: cdb.byte_check != 0 };
    Ok(Next::DataOut { len: extent.len, of: DataOutOf::WriteAndVerify(pending) })
}

impl PendingWriteAndVerify {
    /// As with WRITE, the blocks that came are written and verified.
    pub(super) fn received(self, medium: &MediumShape, data: Vec<Bytes>) -> Outcome {
        let len = total_len(&data);
        if len > self.extent.len || !len.is_multiple_of(medium.logical_block.into()) {
            return Err(invalid_data_length());
        }
        if len == 0 {
            return Ok(Next::Done(Completion::good()));
        }
        let offset = self.extent.offset;
        let op = MediaOp::WriteAndVerify { offset, data, compare: self.compare };
        Ok(Next::Media { op, then: Then::Compared { offset } })
    }
}
