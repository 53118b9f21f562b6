//! GET LBA STATUS (SBC-3 §5.4): what the image says.

use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::lba_status::{DESCRIPTOR_LEN, HEADER_LEN, LbaStatus, ProvisioningStatus, encode};

use super::super::config::MediumShape;
use super::super::media::MediaOp;
use super::super::step::Completion;
use super::super::task_set::Then;
use super::{Next, Outcome, data_in, extent};
use crate::limits::LBA_STATUS_DESCRIPTORS_MAX;

/// As many descriptors as fit, from the asked block on; at least one is looked up even where none fits.
pub(super) fn get_lba_status(medium: &MediumShape, lba: u64, allocation_length: u32) -> Outcome {
    let first = extent(medium, lba, 1)?;
    let room = usize::try_from(allocation_length).unwrap_or(usize::MAX).saturating_sub(HEADER_LEN);
    let parts = (room / DESCRIPTOR_LEN).clamp(1, LBA_STATUS_DESCRIPTORS_MAX);
    let op = MediaOp::BlockStatus { offset: first.offset, len: medium.size - first.offset, parts };
    Ok(Next::Media { op, then: Then::ReturnStatus { lba, allocation_length } })
}

/// The parts that the medium told, as descriptors.
pub(in super::super) fn told(
    medium: &MediumShape,
    mut lba: u64,
    allocation_length: u32,
    parts: &[(u64, bool)],
) -> Result<Completion, Sense> {
    let mut descriptors = Vec::with_capacity(parts.len());
    for &(len, mapped) in parts {
        // A part that is longer than a descriptor can count ends there, and with it what is told.
        let blocks = len / u64::from(medium.logical_block);
        let told = u32::try_from(blocks).unwrap_or(u32::MAX);
        let status = if mapped { ProvisioningStatus::Mapped } else { ProvisioningStatus::Deallocated };
        descriptors.push(LbaStatus { lba, blocks: told, status });
        lba += blocks;
        if u64::from(told) < blocks {
            break;
        }
    }
    Ok(data_in(encode(&descriptors), allocation_length))
}
