//! READ and WRITE (SBC-2 §5.5, §5.24; SBC-3 §5.11 to §5.13, §5.33 to §5.35).

use bytes::Bytes;
use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::Transfer;

use super::super::config::{LogicalUnitConfig, MediumShape};
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::{Then, total_len};
use super::cache::after_flush;
use super::{DataOutOf, Extent, Next, Outcome, extent, invalid_block_count, invalid_data_length};

/// A WRITE that waits for its data.
#[derive(Debug)]
pub(in super::super) struct PendingWrite {
    extent: Extent,
    force_unit_access: bool,
}

pub(super) fn read(config: &LogicalUnitConfig, cdb: Transfer) -> Outcome {
    let (extent, len) = checked(config, cdb)?;
    if len == 0 {
        return Ok(Next::Done(Completion::good()));
    }
    let op = MediaOp::Read { offset: extent.offset, len };
    Ok(if cdb.force_unit_access {
        // What is returned must be on the medium, so what the cache holds goes there first (SBC-3 §4.15.2).
        after_flush(&config.medium, op, Then::ReturnData)
    } else {
        Next::Media { op, then: Then::ReturnData }
    })
}

pub(super) fn write(config: &LogicalUnitConfig, cdb: Transfer) -> Outcome {
    let (extent, len) = checked(config, cdb)?;
    if len == 0 {
        return Ok(Next::Done(Completion::good()));
    }
    let pending = PendingWrite { extent, force_unit_access: cdb.force_unit_access };
    Ok(Next::DataOut { len: len.into(), of: DataOutOf::Write(pending) })
}

/// The range, and its length in 32 bits: MAXIMUM TRANSFER LENGTH holds (SBC-3 §6.5.3).
fn checked(config: &LogicalUnitConfig, cdb: Transfer) -> Result<(Extent, u32), Sense> {
    let extent = extent(&config.medium, cdb.lba, cdb.blocks)?;
    match u32::try_from(extent.len) {
        Ok(len) if len <= config.commands.transfer => Ok((extent, len)),
        _ => Err(invalid_block_count(cdb.form)),
    }
}

impl PendingWrite {
    /// An initiator may announce less than the CDB says: the blocks that came are written and the transport reports the
    /// rest as residual overflow (RFC 7143 §11.4.5.1). Part of a block cannot be written, so then nothing is.
    pub(super) fn received(self, medium: &MediumShape, data: Vec<Bytes>) -> Outcome {
        let len = total_len(&data);
        if len > self.extent.len || !len.is_multiple_of(medium.logical_block.into()) {
            return Err(invalid_data_length());
        }
        if len == 0 {
            return Ok(Next::Done(Completion::good()));
        }
        let offset = self.extent.offset;
        let op = MediaOp::Write { offset, data, force_unit_access: self.force_unit_access };
        Ok(Next::Media { op, then: Then::Complete })
    }
}
