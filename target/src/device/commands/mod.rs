//! Dispatch: from a parsed CDB to the function of its family, and what all families share.

mod block_io;
mod cache;
mod capacity;
mod compare_and_write;
mod defects;
mod erase;
mod identifying;
mod inquiry;
pub(super) mod lba_status;
mod log_sense;
mod mode_select;
mod mode_sense;
mod port_groups;
mod pre_fetch;
mod report;
mod reserve;
mod sense;
mod start_stop;
mod third_party_copy;
mod timestamp;
mod unmap;
mod verify;
mod write_and_verify;
mod write_same;

use bytes::Bytes;
use lunkeep_common::scsi::cdb::Form;
use lunkeep_common::scsi::designator::Designation;
use lunkeep_common::scsi::opcode_table::{Operation, OperationInfo};
use lunkeep_common::scsi::{Asc, Cdb, Sense};

use super::access_state::AccessState;
use super::config::{Identity, LogicalUnitConfig, MediumShape};
use super::copy;
use super::copy::records::CopyRecords;
use super::erase::OverwritePattern;
use super::fence::Request;
use super::media::MediaOp;
use super::nexus::{ExportPort, Nexus};
use super::parameters::EraseKind;
use super::reservation::{Record, Reported};
use super::state::{Change, State};
use super::step::{Command, Completion};
use super::task_set::Then;
use third_party_copy::PendingCopy;

pub(super) use report::report_luns;

/// The names of a logical unit that stand in its Device Identification page.
pub(super) fn names_of_unit(identity: &Identity) -> impl Iterator<Item = Designation> {
    inquiry::names_of_unit(identity)
}

/// The name of a logical unit that fits into every descriptor.
pub(super) fn naa_of_unit(identity: &Identity) -> Designation {
    inquiry::naa_of_unit(identity)
}

/// Codes of the VPD pages.
#[cfg(test)]
pub(super) fn inquiry_page_codes() -> impl Iterator<Item = u8> {
    inquiry::PAGES.iter().map(|(code, _)| *code)
}

/// Codes of the log pages that have parameters.
#[cfg(test)]
pub(super) fn log_page_codes() -> impl Iterator<Item = u8> {
    log_sense::PAGES.iter().map(|(code, _)| *code)
}

/// What a command sees of its surroundings.
pub(super) struct Context<'a> {
    pub(super) config: &'a LogicalUnitConfig,
    pub(super) nexus: &'a Nexus,
    pub(super) command: &'a Command<'a>,
    /// What changes about the unit.
    pub(super) state: &'a State,
    /// The target ports that lead to the unit.
    pub(super) ports: &'a [ExportPort],
    /// Whether they serve it.
    pub(super) access: AccessState,
    /// For REQUEST SENSE: the unit attention to report.
    pub(super) attention: Option<Asc>,
    /// For PERSISTENT RESERVE IN: registrations and reservation, and what is told besides.
    pub(super) record: &'a Record,
    pub(super) reported: Reported,
    /// For RECEIVE COPY: the copies that were asked for here.
    pub(super) copies: &'a CopyRecords,
}

/// What comes next for a command that has met no error.
pub(super) enum Next {
    Done(Completion),
    /// This many bytes, at least one, are wanted from the initiator.
    DataOut {
        len: u64,
        of: DataOutOf,
    },
    Media {
        op: MediaOp,
        then: Then,
    },
    /// A change of who has access.
    Reservation(Request),
    /// A third-party copy.
    Copy(copy::Request),
    /// GOOD, and this changes about the unit.
    Change(Change),
    /// Erase the whole medium.
    Erase {
        kind: EraseKind,
        pattern: Option<OverwritePattern>,
        /// IMMED: answer when it has begun.
        immediate: bool,
    },
}

/// What comes next, or the sense data of a CHECK CONDITION.
pub(super) type Outcome = Result<Next, Sense>;

/// A command that waits for its data.
#[derive(Debug)]
pub(super) enum DataOutOf {
    Write(block_io::PendingWrite),
    Verify(verify::PendingVerify),
    WriteSame(write_same::PendingWriteSame),
    WriteAndVerify(write_and_verify::PendingWriteAndVerify),
    CompareAndWrite(compare_and_write::PendingCompare),
    OrWrite(compare_and_write::PendingOr),
    ModeSelect(mode_select::PendingModeSelect),
    Identifying(identifying::PendingIdentifying),
    Timestamp(timestamp::PendingTimestamp),
    PortGroups { len: usize },
    Erase(erase::PendingErase),
    Unmap { len: usize },
    PersistentReserve(reserve::PendingOut),
    Copy(third_party_copy::PendingCopy),
}

impl DataOutOf {
    /// Whether the data is for the medium, or about it.
    pub(super) const fn is_for_medium(&self) -> bool {
        !matches!(
            self,
            Self::ModeSelect(_)
                | Self::Identifying(_)
                | Self::Timestamp(_)
                | Self::PortGroups { .. }
                | Self::PersistentReserve(_)
        )
    }

    /// All the data that will come has come.
    pub(super) fn received(self, config: &LogicalUnitConfig, state: &State, data: Vec<Bytes>) -> Outcome {
        match self {
            Self::Write(pending) => pending.received(&config.medium, data),
            Self::Verify(pending) => pending.received(&config.medium, data),
            Self::WriteSame(pending) => pending.received(&config.medium, &data),
            Self::WriteAndVerify(pending) => pending.received(&config.medium, data),
            Self::CompareAndWrite(pending) => pending.received(data),
            Self::OrWrite(pending) => pending.received(data),
            Self::ModeSelect(pending) => pending.received(config, state, &data),
            Self::Identifying(pending) => pending.received(state, &data),
            Self::Timestamp(pending) => pending.received(&data),
            Self::PortGroups { len } => port_groups::set_received(len, &data),
            Self::Erase(pending) => pending.received(&config.medium, &data),
            Self::Unmap { len } => unmap::received(config, len, &data),
            Self::PersistentReserve(pending) => pending.received(&data),
            Self::Copy(pending) => pending.received(&config.medium, &data),
        }
    }
}

/// Whether this logical unit has the command. The table has more than a unit that is not thin, or not
/// removable.
pub(super) fn supported(config: &LogicalUnitConfig, info: &OperationInfo) -> bool {
    match info.operation {
        Operation::Unmap => config.medium.thin,
        Operation::PreventAllowMediumRemoval => config.removable,
        _ => true,
    }
}

pub(super) fn dispatch(context: &Context<'_>, cdb: Cdb) -> Outcome {
    let Context { config, state, command, .. } = context;
    match cdb {
        Cdb::TestUnitReady => Ok(Next::Done(Completion::good())),
        Cdb::RequestSense { descriptor, allocation_length } => {
            Ok(sense::request_sense(context, descriptor, allocation_length))
        }
        Cdb::Inquiry { vital_product_data, page_code, allocation_length } => {
            inquiry::inquiry(context, vital_product_data, page_code, allocation_length)
        }
        Cdb::ModeSense(cdb) => mode_sense::mode_sense(config, state, cdb),
        // IMMED: the answer may come before the work is done; it comes after.
        Cdb::StartStopUnit { immediate: _, load_eject, no_flush, start } => {
            start_stop::start_stop(config, state, start, load_eject, no_flush)
        }
        Cdb::PreventAllowMediumRemoval { prevent } => Ok(Next::Change(Change::Prevent(prevent))),
        Cdb::ModeSelect(cdb) => mode_select::mode_select(cdb),
        Cdb::LogSense(cdb) => log_sense::log_sense(&state.counters, cdb),
        Cdb::WriteAndVerify(cdb) => write_and_verify::write_and_verify(config, cdb),
        Cdb::CompareAndWrite(cdb) => compare_and_write::compare_and_write(config, command, cdb),
        Cdb::OrWrite(cdb) => compare_and_write::or_write(config, cdb),
        Cdb::PreFetch(cdb) => pre_fetch::pre_fetch(&config.medium, cdb),
        Cdb::ReadDefectData(cdb) => defects::read_defect_data(cdb),
        Cdb::GetLbaStatus { lba, allocation_length } => {
            lba_status::get_lba_status(&config.medium, lba, allocation_length)
        }
        Cdb::Sanitize(cdb) => erase::sanitize(config, state, cdb),
        Cdb::FormatUnit(cdb) => erase::format_unit(cdb),
        Cdb::ReportIdentifyingInformation { kind, allocation_length } => {
            identifying::report(&state.saved, kind, allocation_length)
        }
        Cdb::SetIdentifyingInformation { kind, parameter_list_length } => {
            identifying::set(state, kind, parameter_list_length)
        }
        Cdb::ReportTargetPortGroups { extended, allocation_length } => {
            Ok(port_groups::report(context.ports, context.access, extended, allocation_length))
        }
        Cdb::SetTargetPortGroups { parameter_list_length } => port_groups::set(parameter_list_length),
        Cdb::ReportTimestamp { allocation_length } => {
            Ok(timestamp::report(state.clock, command.now_ms, allocation_length))
        }
        Cdb::SetTimestamp { parameter_list_length } => timestamp::set(command.now_ms, parameter_list_length),
        Cdb::ReadCapacity10 => Ok(capacity::read_capacity_10(&config.medium)),
        Cdb::ReadCapacity16 { allocation_length } => {
            Ok(capacity::read_capacity_16(&config.medium, allocation_length))
        }
        Cdb::Read(cdb) => block_io::read(config, cdb),
        Cdb::Write(cdb) => block_io::write(config, cdb),
        Cdb::Verify(cdb) => verify::verify(config, cdb),
        Cdb::SynchronizeCache(cdb) => cache::synchronize(&config.medium, cdb),
        Cdb::WriteSame(cdb) => write_same::write_same(config, command, cdb),
        Cdb::Unmap { parameter_list_length } => unmap::unmap(parameter_list_length),
        Cdb::Reserve(_) => Ok(Next::Reservation(Request::Reserve)),
        Cdb::Release(_) => Ok(Next::Reservation(Request::Release)),
        Cdb::PersistentReserveIn { action, allocation_length } => {
            reserve::persistent_in(context, action, allocation_length)
        }
        Cdb::PersistentReserveOut { action, scope, kind, parameter_list_length } => {
            reserve::persistent_out(action, scope, kind, parameter_list_length)
        }
        Cdb::ExtendedCopy { parameter_list_length } => third_party_copy::extended_copy(parameter_list_length),
        Cdb::PopulateToken { list_identifier: list, parameter_list_length } => {
            third_party_copy::token_command(PendingCopy::Populate { list }, parameter_list_length)
        }
        Cdb::WriteUsingToken { list_identifier: list, parameter_list_length } => {
            third_party_copy::token_command(PendingCopy::Write { list }, parameter_list_length)
        }
        Cdb::ReceiveCopyStatus { list_identifier, allocation_length } => {
            third_party_copy::copy_status(context, list_identifier, allocation_length)
        }
        Cdb::ReceiveCopyOperatingParameters { allocation_length } => {
            third_party_copy::operating_parameters(allocation_length)
        }
        Cdb::ReceiveCopyFailureDetails { list_identifier, allocation_length } => {
            third_party_copy::failure_details(context, list_identifier, allocation_length)
        }
        Cdb::ReceiveRodTokenInformation { list_identifier, allocation_length } => {
            third_party_copy::token_information(context, list_identifier, allocation_length)
        }
        Cdb::ReportLuns { select_report, allocation_length } => {
            report::report_luns(command.luns, select_report, allocation_length).map(Next::Done)
        }
        Cdb::ReportSupportedOperationCodes {
            timeouts,
            reporting_options,
            opcode,
            service_action,
            allocation_length,
        } => {
            let asked = report::Asked { timeouts, reporting_options, opcode, service_action };
            report::operation_codes(config, &asked, allocation_length)
        }
        Cdb::ReportSupportedTaskManagementFunctions { extended, allocation_length } => {
            Ok(report::task_management_functions(extended, allocation_length))
        }
    }
}

/// GOOD with data, cut to the CDB's ALLOCATION LENGTH (SPC-4 §4.3.5.6). A length of zero is no error.
pub(super) fn data_in(mut data: Vec<u8>, allocation_length: u32) -> Completion {
    data.truncate(usize::try_from(allocation_length).unwrap_or(usize::MAX));
    if data.is_empty() { Completion::good() } else { Completion::data(data) }
}

/// A range of the medium in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    offset: u64,
    len: u64,
}

/// The bytes of `blocks` blocks from `lba`; LOGICAL BLOCK ADDRESS OUT OF RANGE when they are not all there, with the first that is
/// not as INFORMATION (SBC-3 §4.18.1). Zero blocks just behind the last are there, further on they are not.
fn extent(medium: &MediumShape, lba: u64, blocks: u32) -> Result<Extent, Sense> {
    let there = lba.checked_add(blocks.into()).is_some_and(|end| end <= medium.blocks());
    if !there {
        let first = lba.max(medium.blocks());
        return Err(Sense::illegal_request(Asc::LBA_OUT_OF_RANGE).with_information(first));
    }
    let block = u64::from(medium.logical_block);
    Ok(Extent { offset: lba * block, len: u64::from(blocks) * block })
}

/// INVALID FIELD IN CDB that points at the TRANSFER LENGTH, or what stands in its place.
const fn invalid_block_count(form: Form) -> Sense {
    let byte = match form {
        Form::Six => 4,
        Form::Ten => 7,
        Form::Twelve => 6,
        Form::Sixteen => 10,
    };
    Sense::invalid_field_in_cdb(byte, None)
}

/// What the transport announced, or sent, does not fit the command. FCP-4 §9.4.2 has this code for it, and iSCSI initiators know
/// it; RFC 7143 has none of its own.
const fn invalid_data_length() -> Sense {
    Sense::illegal_request(Asc::INVALID_FIELD_IN_INFORMATION_UNIT)
}
