//! Which commands refuse what. The match has no wildcard: a new row of the opcode table must say what it refuses.

use Operation::*;
use lunkeep_common::scsi::opcode_table::Operation;

use super::super::*;
use super::blocks::{self, Data};
use super::{Row, copies, lists, queries, reservations};

pub(super) fn row(operation: Operation) -> Row {
    match operation {
        // Nothing in these CDBs has a value that could be wrong.
        TestUnitReady | ReadCapacity10 | Reserve6 | Release6 | Reserve10 | Release10 => {
            Row::new(operation, &[], Vec::new())
        }
        RequestSense => Row::new(operation, &[], Vec::new()).free(1, 1, 0x01).free(4, 1, 0xff),
        PreventAllowMediumRemoval => Row::new(operation, &[], Vec::new())
            .free(4, 1, 0x01)
            .refuse_on_plain_unit("not removable", &[], illegal(Asc::INVALID_OPERATION_CODE)),
        StartStopUnit => queries::start_stop(operation),

        Read6 => blocks::row(operation, Data::In),
        Write6 => blocks::row(operation, Data::Out),
        Read10 | Read12 | Read16 => blocks::row(operation, Data::In).free(1, 1, 0x18),
        Write10 | Write12 | Write16 | OrWrite16 => blocks::row(operation, Data::Out).free(1, 1, 0x18),
        WriteAndVerify10 | WriteAndVerify12 | WriteAndVerify16 => {
            blocks::row(operation, Data::Out).free(1, 1, 0x12)
        }
        Verify10 | Verify12 | Verify16 => blocks::verify(operation),
        PreFetch10 | PreFetch16 | SynchronizeCache10 | SynchronizeCache16 => {
            blocks::row(operation, Data::None).free(1, 1, 0x02)
        }
        WriteSame10 | WriteSame16 => blocks::write_same(operation),
        CompareAndWrite => blocks::compare_and_write(operation),
        GetLbaStatus => blocks::get_lba_status(operation),

        FormatUnit => lists::format_unit(operation),
        SanitizeOverwrite => lists::overwrite(operation),
        SanitizeBlockErase | SanitizeExitFailureMode => Row::new(operation, &[], Vec::new()).free(1, 1, 0xa0),
        Unmap => lists::unmap(operation),
        ModeSelect6 | ModeSelect10 => lists::mode_select(operation),
        SetIdentifyingInformation => lists::set_identifying(operation),
        SetTargetPortGroups => lists::set_port_groups(operation),
        SetTimestamp => lists::set_timestamp(operation),

        Inquiry => queries::inquiry(operation),
        ModeSense6 | ModeSense10 => queries::mode_sense(operation),
        LogSense => queries::log_sense(operation),
        ReadDefectData10 | ReadDefectData12 => queries::read_defect_data(operation),
        ReportLuns => queries::report_luns(operation),
        ReportIdentifyingInformation => queries::report_identifying(operation),
        ReportSupportedOperationCodes => queries::operation_codes(operation),
        ReadCapacity16 => Row::new(operation, &[], Vec::new()).free(10, 4, 0xff),
        ReportTargetPortGroups => Row::new(operation, &[], Vec::new()).free(1, 1, 0x20).free(6, 4, 0xff),
        ReportTimestamp => Row::new(operation, &[], Vec::new()).free(6, 4, 0xff),
        ReportSupportedTaskManagementFunctions => {
            Row::new(operation, &[], Vec::new()).free(2, 1, 0x80).free(6, 4, 0xff)
        }

        ExtendedCopyLid1 => copies::extended_copy(operation),
        PopulateToken => copies::populate_token(operation),
        WriteUsingToken => copies::write_using_token(operation),
        ReceiveCopyStatusLid1
        | ReceiveCopyOperatingParameters
        | ReceiveCopyFailureDetailsLid1
        | ReceiveRodTokenInformation => copies::receive(operation),

        PersistentReserveInReadKeys
        | PersistentReserveInReadReservation
        | PersistentReserveInReportCapabilities
        | PersistentReserveInReadFullStatus => Row::new(operation, &[], Vec::new()).free(7, 2, 0xff),
        PersistentReserveOutRegister
        | PersistentReserveOutReserve
        | PersistentReserveOutRelease
        | PersistentReserveOutClear
        | PersistentReserveOutPreempt
        | PersistentReserveOutPreemptAndAbort
        | PersistentReserveOutRegisterAndIgnoreExistingKey
        | PersistentReserveOutReplaceLostReservation => reservations::row(operation),
        PersistentReserveOutRegisterAndMove => reservations::register_and_move(operation),
    }
}
