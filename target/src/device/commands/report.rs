//! REPORT LUNS, REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 §6.33, §6.35, §6.36).

use lunkeep_common::scsi::opcode_table::MediumAccess;
use lunkeep_common::scsi::opcode_table::{Operation, OperationInfo, TABLE};
use lunkeep_common::scsi::report_luns::{self, SelectReport};
use lunkeep_common::scsi::supported_operations::{
    CommandTimeouts, Support, TaskManagementFunctions, encode_all, encode_one,
};
use lunkeep_common::scsi::{Lun, Sense};

use super::super::config::LogicalUnitConfig;
use super::super::step::Completion;
use super::{Next, Outcome, data_in, supported};
use crate::limits::{ERASE_PASSES_MAX, ERASE_RATE_NOMINAL, ERASE_RATE_SLOWEST};

/// REPORT LUNS over an inventory, for any logical unit, the well-known one and LUN 0 when nothing is there.
pub(in super::super) fn report_luns(
    luns: &[Lun],
    select_report: u8,
    allocation_length: u32,
) -> Result<Completion, Sense> {
    let well_known = [Lun::REPORT_LUNS_WELL_KNOWN];
    let data = match SelectReport::from_byte(select_report) {
        Some(SelectReport::Addressable) => report_luns::encode(luns.iter().copied()),
        Some(SelectReport::WellKnown) => report_luns::encode(well_known),
        Some(SelectReport::All) => report_luns::encode(luns.iter().copied().chain(well_known)),
        None => return Err(Sense::invalid_field_in_cdb(2, None)),
    };
    Ok(data_in(data, allocation_length))
}

/// What REPORT SUPPORTED OPERATION CODES asks for.
pub(super) struct Asked {
    pub(super) timeouts: bool,
    pub(super) reporting_options: u8,
    pub(super) opcode: u8,
    pub(super) service_action: u16,
}

pub(super) fn operation_codes(config: &LogicalUnitConfig, asked: &Asked, allocation_length: u32) -> Outcome {
    let commands = || TABLE.iter().filter(|info| supported(config, info));
    let of_code = || commands().filter(|info| info.opcode == asked.opcode);
    let has_actions = of_code().any(|info| info.service_action.is_some());
    let action = |info: &OperationInfo| info.service_action.map_or(0, u16::from);
    let exact = || of_code().find(|info| action(info) == asked.service_action);
    let timeouts = |info: &OperationInfo| asked.timeouts.then(|| timeouts(config, info));
    // REPORTING OPTIONS (SPC-4 §6.35.1). One kind of command asked for as the other is an error, not "not supported".
    let wrong_kind = Sense::invalid_field_in_cdb(2, Some(2));
    let found = match asked.reporting_options {
        0b000 => {
            let all = commands().map(|info| (info, timeouts(info)));
            return Ok(Next::Done(data_in(encode_all(all), allocation_length)));
        }
        0b001 if has_actions => return Err(wrong_kind),
        0b001 => of_code().next(),
        0b010 if !has_actions && of_code().next().is_some() => return Err(wrong_kind),
        0b010 | 0b011 => exact(),
        _ => return Err(wrong_kind),
    };
    let data = match found {
        Some(info) => encode_one(Support::Standard, &usage(config, info), timeouts(info)),
        None => encode_one(Support::No, &[], None),
    };
    Ok(Next::Done(data_in(data, allocation_length)))
}

/// How long a command may take (RCTD). Only what goes over the whole medium says so: everything else takes as long as the host's disk
/// takes for it, and of that nothing is known.
fn timeouts(config: &LogicalUnitConfig, info: &OperationInfo) -> CommandTimeouts {
    let passes = match info.operation {
        Operation::SanitizeOverwrite => ERASE_PASSES_MAX,
        _ if info.access == MediumAccess::Erase => 1,
        _ => return CommandTimeouts::default(),
    };
    let seconds = |rate: u64| {
        let seconds = config.medium.size.div_ceil(rate).saturating_mul(passes);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    };
    CommandTimeouts { nominal: seconds(ERASE_RATE_NOMINAL), recommended: seconds(ERASE_RATE_SLOWEST) }
}

/// The usage map as it holds for this unit: without provisioning WRITE SAME has no UNMAP bit, and what cannot be
/// removed no LOEJ bit.
fn usage(config: &LogicalUnitConfig, info: &OperationInfo) -> Vec<u8> {
    let mut usage = info.usage.to_vec();
    let write_same = matches!(info.operation, Operation::WriteSame10 | Operation::WriteSame16);
    if let Some(flags) = usage.get_mut(1).filter(|_| write_same && !config.medium.thin) {
        *flags &= !0x08;
    }
    let start_stop = info.operation == Operation::StartStopUnit;
    if let Some(flags) = usage.get_mut(4).filter(|_| start_stop && !config.removable) {
        *flags &= !0x02;
    }
    usage
}

/// What [`LogicalUnit`](super::super::LogicalUnit) has methods for.
const TASK_MANAGEMENT: TaskManagementFunctions = TaskManagementFunctions {
    abort_task: true,
    abort_task_set: true,
    clear_aca: false,
    clear_task_set: true,
    logical_unit_reset: true,
    query_task: false,
    query_asynchronous_event: false,
    query_task_set: false,
    i_t_nexus_reset: false,
};

pub(super) fn task_management_functions(extended: bool, allocation_length: u32) -> Next {
    Next::Done(data_in(TASK_MANAGEMENT.encode(extended), allocation_length))
}
