//! EXTENDED COPY(LID1), POPULATE TOKEN, WRITE USING TOKEN and the RECEIVE COPY commands (SPC-4 §6.5, §6.22 to §6.28; SBC-3 §5.7,
//! §5.46), and the VPD page that tells of them.
//!
//! Everything that can be said of a parameter list without another logical unit is checked here, before anything is copied. IMMED of
//! the token commands asks for an answer before the work is done; the answer comes after.

use bytes::Bytes;
use lunkeep_common::scsi::opcode_table::{Operation, TABLE};
use lunkeep_common::scsi::third_party_copy::list::{BLOCK_TO_BLOCK, HEADER_LEN, IDENTIFICATION_CSCD};
use lunkeep_common::scsi::third_party_copy::results::encode_failure_details;
use lunkeep_common::scsi::third_party_copy::rod::rod_type;
use lunkeep_common::scsi::third_party_copy::{
    BlockRange, CscdId, ExtendedCopyList, ListLimits, OperatingParameters, PopulateTokenList,
    WriteUsingTokenList,
};
use lunkeep_common::scsi::vpd::ThirdPartyCopy;
use lunkeep_common::scsi::vpd::third_party_copy::TokenLimits;
use lunkeep_common::scsi::{Asc, Sense};

use super::super::config::MediumShape;
use super::super::copy::records::ListId;
use super::super::copy::{Copy, Request};
use super::super::step::Completion;
use super::{Context, DataOutOf, Next, Outcome, data_in, extent};
use crate::limits::{
    COPIES_MAX, COPY_CSCDS_MAX, COPY_DESCRIPTORS_LEN_MAX, COPY_SEGMENTS_MAX, TOKEN_INACTIVITY_DEFAULT,
    TOKEN_INACTIVITY_MAX, TOKEN_RANGES_MAX, TOKEN_TRANSFER_LEN_MAX, TOKEN_TRANSFER_LEN_OPTIMAL,
};

/// Bounds on the list of an EXTENDED COPY.
const LIMITS: ListLimits = ListLimits {
    cscds: COPY_CSCDS_MAX,
    segments: COPY_SEGMENTS_MAX,
    descriptors_len: COPY_DESCRIPTORS_LEN_MAX,
};

/// Types of descriptors that an EXTENDED COPY may have.
const DESCRIPTORS: [u8; 2] = [BLOCK_TO_BLOCK, IDENTIFICATION_CSCD];

/// A command that waits for its list.
#[derive(Debug)]
pub(in super::super) enum PendingCopy {
    Segments,
    Populate { list: u32 },
    Write { list: u32 },
}

pub(super) fn extended_copy(parameter_list_length: u32) -> Outcome {
    match parameter_list_length {
        0 => Ok(Next::Done(Completion::good())),
        // Whatever its header says, a longer one has more descriptors than there may be.
        len if u64::from(len) > HEADER_LEN as u64 + u64::from(COPY_DESCRIPTORS_LEN_MAX) => {
            Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR))
        }
        len => Ok(Next::DataOut { len: len.into(), of: DataOutOf::Copy(PendingCopy::Segments) }),
    }
}

pub(super) fn token_command(pending: PendingCopy, parameter_list_length: u32) -> Outcome {
    match u16::try_from(parameter_list_length) {
        Ok(0) => Ok(Next::Done(Completion::good())),
        Ok(len) => Ok(Next::DataOut { len: len.into(), of: DataOutOf::Copy(pending) }),
        // The list says its length in 16 bits.
        Err(_) => Err(Sense::invalid_field_in_cdb(10, None)),
    }
}

impl PendingCopy {
    pub(super) fn received(self, medium: &MediumShape, data: &[Bytes]) -> Outcome {
        let list = data.concat();
        let request = match self {
            Self::Segments => {
                let list = ExtendedCopyList::decode(&list, &LIMITS)?;
                if list.segments.is_empty() {
                    return Ok(Next::Done(Completion::good()));
                }
                Request::segments(list)
            }
            Self::Populate { list: id } => {
                let list = PopulateTokenList::decode(&list, TOKEN_RANGES_MAX)?;
                if list.inactivity_timeout > TOKEN_INACTIVITY_MAX {
                    return Err(Sense::invalid_field_in_parameter_list(4, None));
                }
                let made = [
                    rod_type::POINT_IN_TIME_DEFAULT,
                    rod_type::POINT_IN_TIME_CHANGE_VULNERABLE,
                    rod_type::POINT_IN_TIME_ANY,
                ];
                if list.rod_type.is_some_and(|wanted| !made.contains(&wanted)) {
                    return Err(Sense::invalid_field_in_parameter_list(8, None));
                }
                check_ranges(medium, &list.ranges, 16)?;
                Request { copy: Copy::MakeToken(list), list: Some(ListId::Four(id)) }
            }
            Self::Write { list: id } => {
                let list = WriteUsingTokenList::decode(&list, TOKEN_RANGES_MAX)?;
                list.token.check()?;
                check_ranges(medium, &list.ranges, 536)?;
                Request { copy: Copy::UseToken(Box::new(list)), list: Some(ListId::Four(id)) }
            }
        };
        Ok(Next::Copy(request))
    }
}

/// All ranges lie within the medium, and together they are no longer than MAXIMUM TOKEN TRANSFER SIZE; the first stands at byte `at` of
/// the list.
fn check_ranges(medium: &MediumShape, ranges: &[BlockRange], at: u16) -> Result<(), Sense> {
    let mut bytes = 0;
    for range in ranges {
        bytes += extent(medium, range.lba, range.blocks)?.len;
    }
    if bytes > TOKEN_TRANSFER_LEN_MAX {
        return Err(Sense::invalid_field_in_parameter_list(at, None));
    }
    Ok(())
}

pub(super) fn operating_parameters(allocation_length: u32) -> Outcome {
    let parameters = OperatingParameters {
        cscds: COPY_CSCDS_MAX,
        segments: COPY_SEGMENTS_MAX,
        descriptors_len: COPY_DESCRIPTORS_LEN_MAX,
        segment_len: 0,
        concurrent_copies: COPIES_MAX,
        granularity: 0,
        descriptors: DESCRIPTORS.to_vec(),
    };
    Ok(Next::Done(data_in(parameters.encode(), allocation_length)))
}

/// No copy of this nexus has the list identifier (SPC-4 §6.25).
const fn no_such_list() -> Sense {
    Sense::invalid_field_in_cdb(2, None)
}

pub(super) fn copy_status(context: &Context<'_>, list: u8, allocation_length: u32) -> Outcome {
    let status = context.copies.status(context.command.nexus, list).ok_or(no_such_list())?;
    Ok(Next::Done(data_in(status.encode(), allocation_length)))
}

pub(super) fn failure_details(context: &Context<'_>, list: u8, allocation_length: u32) -> Outcome {
    let failure = context.copies.failure(context.command.nexus, list).ok_or(no_such_list())?;
    Ok(Next::Done(data_in(encode_failure_details(failure), allocation_length)))
}

pub(super) fn token_information(context: &Context<'_>, list: u32, allocation_length: u32) -> Outcome {
    let block = context.config.medium.logical_block;
    let found = context.copies.token_information(context.command.nexus, list, block);
    Ok(Next::Done(data_in(found.ok_or(no_such_list())?.encode(), allocation_length)))
}

/// The body of the Third-party Copy VPD page.
pub(super) fn page(medium: &MediumShape) -> Vec<u8> {
    let block = u64::from(medium.logical_block);
    let actions = |operation: Operation| {
        let opcode = operation.info().opcode;
        let rows = TABLE.iter().filter(move |info| info.opcode == opcode);
        (opcode, rows.filter_map(|info| info.service_action).collect())
    };
    ThirdPartyCopy {
        commands: vec![actions(Operation::ExtendedCopyLid1), actions(Operation::ReceiveCopyStatusLid1)],
        list: LIMITS,
        descriptors: DESCRIPTORS.to_vec(),
        cscd_ids: vec![CscdId::OWN.0],
        segment_len: 0,
        concurrent_copies: COPIES_MAX.into(),
        tokens: TokenLimits {
            ranges: TOKEN_RANGES_MAX,
            max_inactivity: TOKEN_INACTIVITY_MAX,
            default_inactivity: TOKEN_INACTIVITY_DEFAULT,
            max_transfer: TOKEN_TRANSFER_LEN_MAX / block,
            optimal_transfer: TOKEN_TRANSFER_LEN_OPTIMAL / block,
            block_len: medium.logical_block,
        },
        rod_types: vec![
            (rod_type::POINT_IN_TIME_CHANGE_VULNERABLE, true, true),
            (rod_type::BLOCK_DEVICE_ZERO, false, true),
        ],
    }
    .encode()
}
