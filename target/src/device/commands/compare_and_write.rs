//! COMPARE AND WRITE and ORWRITE: read, decide, write, with no other write in between (SBC-3 §5.2, §5.6).

use bytes::Bytes;
use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::{CompareAndWrite, Form, Transfer};

use super::super::config::LogicalUnitConfig;
use super::super::media::MediaOp;
use super::super::step::{Command, Completion};
use super::super::task_set::{Then, total_len};
use super::{DataOutOf, Extent, Next, Outcome, extent, invalid_block_count, invalid_data_length};

/// A COMPARE AND WRITE that waits for its two halves.
#[derive(Debug)]
pub(in super::super) struct PendingCompare {
    extent: Extent,
    force_unit_access: bool,
}

/// An ORWRITE that waits for its data.
#[derive(Debug)]
pub(in super::super) struct PendingOr {
    extent: Extent,
    force_unit_access: bool,
}

/// What comes must be twice what the CDB counts, to the byte: a count of 256, which the field cannot hold, would look like zero.
pub(super) fn compare_and_write(
    config: &LogicalUnitConfig,
    command: &Command<'_>,
    cdb: CompareAndWrite,
) -> Outcome {
    let extent = extent(&config.medium, cdb.lba, cdb.blocks.into())?;
    let none_for_data = cdb.blocks == 0 && command.expected_out != 0;
    if cdb.blocks > config.commands.compare_and_write || none_for_data {
        // NUMBER OF LOGICAL BLOCKS beyond MAXIMUM COMPARE AND WRITE LENGTH.
        return Err(Sense::invalid_field_in_cdb(13, None));
    }
    if extent.len == 0 {
        return Ok(Next::Done(Completion::good()));
    }
    if u64::from(command.expected_out) != extent.len * 2 {
        return Err(invalid_data_length());
    }
    let pending = PendingCompare { extent, force_unit_access: cdb.force_unit_access };
    Ok(Next::DataOut { len: extent.len * 2, of: DataOutOf::CompareAndWrite(pending) })
}

pub(super) fn or_write(config: &LogicalUnitConfig, cdb: Transfer) -> Outcome {
    let extent = extent(&config.medium, cdb.lba, cdb.blocks)?;
    if extent.len > config.commands.transfer.into() {
        return Err(invalid_block_count(Form::Sixteen));
    }
    if extent.len == 0 {
        return Ok(Next::Done(Completion::good()));
    }
    let pending = PendingOr { extent, force_unit_access: cdb.force_unit_access };
    Ok(Next::DataOut { len: extent.len, of: DataOutOf::OrWrite(pending) })
}

impl PendingCompare {
    /// Half a comparison decides nothing: all of both halves must be there.
    pub(super) fn received(self, data: Vec<Bytes>) -> Outcome {
        let Extent { offset, len } = self.extent;
        if total_len(&data) != len * 2 {
            return Err(invalid_data_length());
        }
        let (expected, write) = split_at(data, len);
        let op =
            MediaOp::CompareAndWrite { offset, expected, write, force_unit_access: self.force_unit_access };
        Ok(Next::Media { op, then: Then::ComparedData })
    }
}

impl PendingOr {
    pub(super) fn received(self, data: Vec<Bytes>) -> Outcome {
        let Extent { offset, len } = self.extent;
        if total_len(&data) != len {
            return Err(invalid_data_length());
        }
        let op = MediaOp::OrWrite { offset, data, force_unit_access: self.force_unit_access };
        Ok(Next::Media { op, then: Then::Complete })
    }
}

/// The first `len` bytes of `data`, and the rest, without a copy.
fn split_at(data: Vec<Bytes>, len: u64) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let mut left = len;
    for mut piece in data {
        if left == 0 {
            tail.push(piece);
        } else if piece.len() as u64 <= left {
            left -= piece.len() as u64;
            head.push(piece);
        } else {
            head.push(piece.split_to(usize::try_from(left).unwrap_or(0)));
            tail.push(piece);
            left = 0;
        }
    }
    (head, tail)
}
