//! WRITE SAME (SBC-3 §5.43, §5.44).

use bytes::{Bytes, BytesMut};
use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::WriteSame;

use super::super::config::{LogicalUnitConfig, MediumShape};
use super::super::media::MediaOp;
use super::super::step::Command;
use super::super::task_set::{Then, total_len};
use super::{DataOutOf, Extent, Next, Outcome, extent, invalid_block_count, invalid_data_length};

/// A WRITE SAME that waits for its block.
#[derive(Debug)]
pub(in super::super) struct PendingWriteSame {
    extent: Extent,
    unmap: bool,
}

pub(super) fn write_same(config: &LogicalUnitConfig, command: &Command<'_>, cdb: WriteSame) -> Outcome {
    let medium = &config.medium;
    // UNMAP on a unit without logical block provisioning (SBC-3 §5.43).
    if cdb.unmap && !medium.thin {
        return Err(Sense::invalid_field_in_cdb(1, Some(3)));
    }
    let extent = extent(medium, cdb.lba, cdb.blocks)?;
    // WSNZ: zero would mean "up to the last block"; and MAXIMUM WRITE SAME LENGTH (SBC-3 §6.5.3).
    if extent.len == 0 || extent.len > config.commands.write_same.into() {
        return Err(invalid_block_count(cdb.form));
    }
    let pending = PendingWriteSame { extent, unmap: cdb.unmap };
    let block = medium.logical_block;
    if cdb.no_data_out {
        // NDOB: as if a block of zeros had come.
        return Ok(pending.run(BytesMut::zeroed(usize::try_from(block).unwrap_or(0)).freeze()));
    }
    // Neither half a block nor two can be what the initiator means to write everywhere.
    if command.expected_out != block {
        return Err(invalid_data_length());
    }
    Ok(Next::DataOut { len: block.into(), of: DataOutOf::WriteSame(pending) })
}

impl PendingWriteSame {
    pub(super) fn received(self, medium: &MediumShape, data: &[Bytes]) -> Outcome {
        if total_len(data) != u64::from(medium.logical_block) {
            return Err(invalid_data_length());
        }
        let pattern = match data {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        };
        Ok(self.run(pattern))
    }

    fn run(self, pattern: Bytes) -> Next {
        let Extent { offset, len } = self.extent;
        Next::Media {
            op: MediaOp::WriteSame { offset, len, pattern, unmap: self.unmap },
            then: Then::Complete,
        }
    }
}
