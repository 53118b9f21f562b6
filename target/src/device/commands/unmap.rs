//! UNMAP (SBC-3 §5.28).

use bytes::Bytes;
use lunkeep_common::scsi::unmap::{DESCRIPTOR_LEN, HEADER_LEN, UnmapDescriptor, decode};
use lunkeep_common::scsi::{Asc, Sense};

use super::super::config::LogicalUnitConfig;
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::Then;
use super::{DataOutOf, Next, Outcome, extent};

pub(super) fn unmap(parameter_list_length: u16) -> Outcome {
    match usize::from(parameter_list_length) {
        0 => Ok(Next::Done(Completion::good())),
        len if len < HEADER_LEN => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        _ => Ok(Next::DataOut {
            len: parameter_list_length.into(),
            of: DataOutOf::Unmap { len: parameter_list_length.into() },
        }),
    }
}

/// Everything is checked before anything is unmapped.
pub(super) fn received(config: &LogicalUnitConfig, len: usize, data: &[Bytes]) -> Outcome {
    let list = data.concat();
    // An initiator that announced less than the CDB says meant descriptors that did not come.
    if list.len() != len {
        return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    let descriptors =
        decode(&list).map_err(|_short| Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR))?;
    let limits = &config.commands;
    if descriptors.len() as u64 > limits.unmap_descriptors.into() {
        // At UNMAP BLOCK DESCRIPTOR DATA LENGTH.
        return Err(Sense::invalid_field_in_parameter_list(2, None));
    }
    let mut ranges = Vec::with_capacity(descriptors.len());
    let mut blocks = 0;
    for (at, &UnmapDescriptor { lba, blocks: count }) in descriptors.iter().enumerate() {
        let extent = extent(&config.medium, lba, count)?;
        blocks += u64::from(count);
        if blocks > limits.unmap_blocks.into() {
            // At the NUMBER OF LOGICAL BLOCKS that was too many.
            let byte = u16::try_from(HEADER_LEN + at * DESCRIPTOR_LEN + 8).unwrap_or(u16::MAX);
            return Err(Sense::invalid_field_in_parameter_list(byte, None));
        }
        if extent.len != 0 {
            ranges.push((extent.offset, extent.len));
        }
    }
    if ranges.is_empty() {
        return Ok(Next::Done(Completion::good()));
    }
    Ok(Next::Media { op: MediaOp::Unmap { ranges }, then: Then::Complete })
}
