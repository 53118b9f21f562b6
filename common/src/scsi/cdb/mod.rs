//! Command descriptor blocks: bytes to a typed command and back (SPC-4 §4.3, SBC-3 §5).
//!
//! [`Cdb::parse`] checks what the opcode table can check (operation code, service action, reserved bits). Values that are
//! well formed but not supported or out of range are the device server's to judge. [`Cdb::encode`] is the
//! initiator's side.

mod encode;
mod kinds;
#[cfg(test)]
mod tests;

pub use encode::FieldOverflow;
pub use kinds::{
    CompareAndWrite, FormatUnit, LogSense, ModeSelect, ReadDefectData, Sanitize, SanitizeAction,
};

use super::asc::Asc;
use super::bytes::{u8_at, u16_at, u24_at, u32_at, u64_at};
use super::opcode_table::{Lookup, Operation, OperationInfo, lookup};
use super::persistent::{InAction, OutAction};
use super::sense::Sense;

/// A CDB, parsed. Allocation lengths and counts are in the units of the standard: bytes and logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cdb {
    /// TEST UNIT READY (SPC-4 §6.47).
    TestUnitReady,
    /// REQUEST SENSE (SPC-4 §6.39).
    RequestSense {
        /// DESC: answer in descriptor format.
        descriptor: bool,
        /// ALLOCATION LENGTH.
        allocation_length: u8,
    },
    /// INQUIRY (SPC-4 §6.6).
    Inquiry {
        /// EVPD.
        vital_product_data: bool,
        /// PAGE CODE; zero unless EVPD is one.
        page_code: u8,
        /// ALLOCATION LENGTH.
        allocation_length: u16,
    },
    /// MODE SENSE (SPC-4 §6.13, §6.14).
    ModeSense(ModeSense),
    /// START STOP UNIT without power conditions (SBC-3 §5.25).
    StartStopUnit {
        /// IMMED.
        immediate: bool,
        /// LOEJ: load or eject the medium.
        load_eject: bool,
        /// NO_FLUSH: do not write the cache before stopping.
        no_flush: bool,
        /// START.
        start: bool,
    },
    /// READ CAPACITY(10) (SBC-3 §5.15).
    ReadCapacity10,
    /// READ CAPACITY(16) (SBC-3 §5.16).
    ReadCapacity16 {
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// READ (SBC-2 §5.5, SBC-3 §5.11 to §5.13).
    Read(Transfer),
    /// WRITE (SBC-2 §5.24, SBC-3 §5.33 to §5.35).
    Write(Transfer),
    /// VERIFY (SBC-3 §5.29 to §5.31).
    Verify(Verify),
    /// SYNCHRONIZE CACHE (SBC-3 §5.26, §5.27).
    SynchronizeCache(SynchronizeCache),
    /// PRE-FETCH (SBC-3 §5.8, §5.9), whose fields are those of SYNCHRONIZE CACHE.
    PreFetch(SynchronizeCache),
    /// WRITE AND VERIFY (SBC-3 §5.37 to §5.39), whose fields are those of VERIFY.
    WriteAndVerify(Verify),
    /// COMPARE AND WRITE (SBC-3 §5.2).
    CompareAndWrite(CompareAndWrite),
    /// ORWRITE(16) (SBC-3 §5.6).
    OrWrite(Transfer),
    /// FORMAT UNIT (SBC-3 §5.3).
    FormatUnit(FormatUnit),
    /// SANITIZE (SBC-3 §5.24).
    Sanitize(Sanitize),
    /// READ DEFECT DATA (SBC-3 §5.17, §5.18).
    ReadDefectData(ReadDefectData),
    /// GET LBA STATUS (SBC-3 §5.4).
    GetLbaStatus {
        /// STARTING LOGICAL BLOCK ADDRESS.
        lba: u64,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL (SBC-3 §5.10).
    PreventAllowMediumRemoval {
        /// PREVENT.
        prevent: bool,
    },
    /// MODE SELECT (SPC-4 §6.10, §6.11).
    ModeSelect(ModeSelect),
    /// LOG SENSE (SPC-4 §6.8).
    LogSense(LogSense),
    /// REPORT IDENTIFYING INFORMATION (SPC-4 §6.32).
    ReportIdentifyingInformation {
        /// IDENTIFYING INFORMATION TYPE, seven bits.
        kind: u8,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// SET IDENTIFYING INFORMATION (SPC-4 §6.43).
    SetIdentifyingInformation {
        /// IDENTIFYING INFORMATION TYPE, seven bits.
        kind: u8,
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// REPORT TARGET PORT GROUPS (SPC-4 §6.37).
    ReportTargetPortGroups {
        /// PARAMETER DATA FORMAT: the extended header.
        extended: bool,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// SET TARGET PORT GROUPS (SPC-4 §6.45).
    SetTargetPortGroups {
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// REPORT TIMESTAMP (SPC-4 §6.38).
    ReportTimestamp {
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// SET TIMESTAMP (SPC-4 §6.46).
    SetTimestamp {
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// WRITE SAME (SBC-3 §5.43, §5.44).
    WriteSame(WriteSame),
    /// UNMAP (SBC-3 §5.28).
    Unmap {
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u16,
    },
    /// RESERVE of the logical unit (SPC-2 §7.21, §7.22), six or ten.
    Reserve(Form),
    /// RELEASE of the logical unit (SPC-2 §7.17, §7.18), six or ten.
    Release(Form),
    /// PERSISTENT RESERVE IN (SPC-4 §6.15).
    PersistentReserveIn {
        /// SERVICE ACTION.
        action: InAction,
        /// ALLOCATION LENGTH.
        allocation_length: u16,
    },
    /// PERSISTENT RESERVE OUT (SPC-4 §6.16).
    PersistentReserveOut {
        /// SERVICE ACTION.
        action: OutAction,
        /// SCOPE, four bits.
        scope: u8,
        /// TYPE, four bits.
        kind: u8,
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// EXTENDED COPY(LID1) (SPC-4 §6.5).
    ExtendedCopy {
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// POPULATE TOKEN (SBC-3 §5.7).
    PopulateToken {
        /// LIST IDENTIFIER.
        list_identifier: u32,
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// WRITE USING TOKEN (SBC-3 §5.46).
    WriteUsingToken {
        /// LIST IDENTIFIER.
        list_identifier: u32,
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u32,
    },
    /// RECEIVE COPY STATUS(LID1) (SPC-4 §6.25), which SPC-3 calls RECEIVE COPY RESULTS.
    ReceiveCopyStatus {
        /// LIST IDENTIFIER.
        list_identifier: u8,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// RECEIVE COPY OPERATING PARAMETERS (SPC-4 §6.23).
    ReceiveCopyOperatingParameters {
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// RECEIVE COPY FAILURE DETAILS(LID1) (SPC-4 §6.22).
    ReceiveCopyFailureDetails {
        /// LIST IDENTIFIER.
        list_identifier: u8,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// RECEIVE ROD TOKEN INFORMATION (SPC-4 §6.28).
    ReceiveRodTokenInformation {
        /// LIST IDENTIFIER.
        list_identifier: u32,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// REPORT LUNS (SPC-4 §6.33).
    ReportLuns {
        /// SELECT REPORT.
        select_report: u8,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// REPORT SUPPORTED OPERATION CODES (SPC-4 §6.35).
    ReportSupportedOperationCodes {
        /// RCTD: with command timeouts descriptors.
        timeouts: bool,
        /// REPORTING OPTIONS.
        reporting_options: u8,
        /// REQUESTED OPERATION CODE.
        opcode: u8,
        /// REQUESTED SERVICE ACTION.
        service_action: u16,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 §6.36).
    ReportSupportedTaskManagementFunctions {
        /// REPD: the extended parameter data.
        extended: bool,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
}

/// Which of the CDB lengths of a command family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the lengths")]
pub enum Form {
    Six,
    Ten,
    Twelve,
    Sixteen,
}

/// READ and WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// CDB length.
    pub form: Form,
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// TRANSFER LENGTH in blocks. The 0 of a six-byte CDB has become 256 (SBC-2 §5.5).
    pub blocks: u32,
    /// DPO: not likely to be used again soon. Advice.
    pub disable_page_out: bool,
    /// FUA.
    pub force_unit_access: bool,
}

/// VERIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verify {
    /// CDB length; there is no six-byte form.
    pub form: Form,
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// VERIFICATION LENGTH in blocks.
    pub blocks: u32,
    /// DPO.
    pub disable_page_out: bool,
    /// BYTCHK, two bits.
    pub byte_check: u8,
}

/// SYNCHRONIZE CACHE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynchronizeCache {
    /// Ten or sixteen.
    pub form: Form,
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// NUMBER OF LOGICAL BLOCKS; 0 means up to the last.
    pub blocks: u32,
    /// IMMED.
    pub immediate: bool,
}

/// WRITE SAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteSame {
    /// Ten or sixteen.
    pub form: Form,
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// NUMBER OF LOGICAL BLOCKS.
    pub blocks: u32,
    /// UNMAP.
    pub unmap: bool,
    /// NDOB: no block comes with the command, write zeros. Sixteen only.
    pub no_data_out: bool,
}

/// MODE SENSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSense {
    /// Six or ten.
    pub form: Form,
    /// LLBAA: the long block descriptor may be used. Ten only.
    pub long_lba_accepted: bool,
    /// DBD: no block descriptors.
    pub disable_block_descriptors: bool,
    /// PC, two bits.
    pub page_control: u8,
    /// PAGE CODE, six bits.
    pub page: u8,
    /// SUBPAGE CODE.
    pub subpage: u8,
    /// ALLOCATION LENGTH.
    pub allocation_length: u16,
}

/// Why bytes are not a command that can be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdbError {
    /// The table has no such operation code.
    #[error("operation code {0:02x}h is not supported")]
    UnknownOpcode(u8),
    /// The operation code has service actions, and this is none of them.
    #[error("operation code {opcode:02x}h has no service action {service_action:02x}h")]
    UnknownServiceAction {
        /// OPERATION CODE.
        opcode: u8,
        /// SERVICE ACTION.
        service_action: u8,
    },
    /// Fewer bytes than the operation code's group has.
    #[error("the CDB has {0} bytes, fewer than its operation code asks for")]
    TooShort(usize),
    /// A bit is one that is reserved or belongs to a field that is not supported.
    #[error("CDB byte {byte}{} must be zero", bit.map(|bit| format!(" bit {bit}")).unwrap_or_default())]
    Reserved {
        /// First byte of the field.
        byte: u16,
        /// Its most significant bit, when the field is not whole bytes.
        bit: Option<u8>,
    },
}

impl From<CdbError> for Sense {
    fn from(error: CdbError) -> Self {
        match error {
            CdbError::UnknownOpcode(_) => Self::illegal_request(Asc::INVALID_OPERATION_CODE),
            // SPC-4 §4.3.1: only an operation code is answered with INVALID COMMAND OPERATION CODE.
            CdbError::UnknownServiceAction { .. } => Self::invalid_field_in_cdb(1, Some(4)),
            CdbError::TooShort(_) => Self::illegal_request(Asc::INVALID_FIELD_IN_CDB),
            CdbError::Reserved { byte, bit } => Self::invalid_field_in_cdb(byte, bit),
        }
    }
}

impl Cdb {
    /// Reads a CDB. Bytes after the length of its operation code's group are padding and ignored (RFC 7143 §11.3.5).
    ///
    /// # Errors
    /// [`CdbError`]; it converts into the sense that SPC-4 asks for.
    pub fn parse(bytes: &[u8]) -> Result<(&'static OperationInfo, Self), CdbError> {
        let too_short = CdbError::TooShort(bytes.len());
        let opcode = u8_at(bytes, 0).ok_or(too_short)?;
        let service_action = u8_at(bytes, 1).unwrap_or(0) & 0x1f;
        let info = match lookup(opcode, service_action) {
            Lookup::Found(info) => info,
            Lookup::UnknownOpcode => return Err(CdbError::UnknownOpcode(opcode)),
            Lookup::UnknownServiceAction => {
                return Err(CdbError::UnknownServiceAction { opcode, service_action });
            }
        };
        let bytes = bytes.get(..info.usage.len()).ok_or(too_short)?;
        for (at, &value) in bytes.iter().enumerate().skip(1) {
            let wrong = value & !info.allowed(at);
            if wrong != 0 {
                let (byte, bit) = info.pointer(at, u8::try_from(wrong.ilog2()).unwrap_or(7));
                return Err(CdbError::Reserved { byte, bit });
            }
        }
        let cdb = Self::fields(info.operation, bytes).ok_or(too_short)?;
        Ok((info, cdb))
    }

    fn fields(operation: Operation, b: &[u8]) -> Option<Self> {
        use Operation::*;
        let flags = u8_at(b, 1)?;
        let form = match b.len() {
            6 => Form::Six,
            10 => Form::Ten,
            12 => Form::Twelve,
            _ => Form::Sixteen,
        };
        // Address and count of the block commands lie at the same places in every command of one length.
        let lba = || match form {
            Form::Six => u24_at(b, 1).map(|lba| u64::from(lba & 0x1f_ffff)),
            Form::Ten | Form::Twelve => u32_at(b, 2).map(u64::from),
            Form::Sixteen => u64_at(b, 2),
        };
        let blocks = || match form {
            Form::Six => u8_at(b, 4).map(|count| if count == 0 { 256 } else { u32::from(count) }),
            Form::Ten => u16_at(b, 7).map(u32::from),
            Form::Twelve => u32_at(b, 6),
            Form::Sixteen => u32_at(b, 10),
        };
        let transfer = || {
            let long = form != Form::Six;
            Some(Transfer {
                form,
                lba: lba()?,
                blocks: blocks()?,
                disable_page_out: long && flags & 0x10 != 0,
                force_unit_access: long && flags & 0x08 != 0,
            })
        };
        let verify = || {
            Some(self::Verify {
                form,
                lba: lba()?,
                blocks: blocks()?,
                disable_page_out: flags & 0x10 != 0,
                byte_check: (flags >> 1) & 3,
            })
        };
        let cache =
            || Some(SynchronizeCache { form, lba: lba()?, blocks: blocks()?, immediate: flags & 2 != 0 });
        Some(match operation {
            TestUnitReady => Self::TestUnitReady,
            RequestSense => {
                Self::RequestSense { descriptor: flags & 1 != 0, allocation_length: u8_at(b, 4)? }
            }
            Inquiry => Self::Inquiry {
                vital_product_data: flags & 1 != 0,
                page_code: u8_at(b, 2)?,
                allocation_length: u16_at(b, 3)?,
            },
            ModeSense6 | ModeSense10 => Self::ModeSense(ModeSense {
                form,
                long_lba_accepted: flags & 0x10 != 0,
                disable_block_descriptors: flags & 0x08 != 0,
                page_control: u8_at(b, 2)? >> 6,
                page: u8_at(b, 2)? & 0x3f,
                subpage: u8_at(b, 3)?,
                allocation_length: if form == Form::Six { u8_at(b, 4)?.into() } else { u16_at(b, 7)? },
            }),
            StartStopUnit => Self::StartStopUnit {
                immediate: flags & 1 != 0,
                load_eject: u8_at(b, 4)? & 2 != 0,
                no_flush: u8_at(b, 4)? & 4 != 0,
                start: u8_at(b, 4)? & 1 != 0,
            },
            ReadCapacity10 => Self::ReadCapacity10,
            ReadCapacity16 => Self::ReadCapacity16 { allocation_length: u32_at(b, 10)? },
            Read6 | Read10 | Read12 | Read16 => Self::Read(transfer()?),
            Write6 | Write10 | Write12 | Write16 => Self::Write(transfer()?),
            Verify10 | Verify12 | Verify16 => Self::Verify(verify()?),
            WriteAndVerify10 | WriteAndVerify12 | WriteAndVerify16 => Self::WriteAndVerify(verify()?),
            SynchronizeCache10 | SynchronizeCache16 => Self::SynchronizeCache(cache()?),
            PreFetch10 | PreFetch16 => Self::PreFetch(cache()?),
            CompareAndWrite => Self::CompareAndWrite(self::CompareAndWrite {
                lba: lba()?,
                blocks: u8_at(b, 13)?,
                disable_page_out: flags & 0x10 != 0,
                force_unit_access: flags & 0x08 != 0,
            }),
            OrWrite16 => Self::OrWrite(transfer()?),
            FormatUnit => Self::FormatUnit(self::FormatUnit {
                long_list: flags & 0x20 != 0,
                format_data: flags & 0x10 != 0,
                complete_list: flags & 0x08 != 0,
            }),
            SanitizeOverwrite | SanitizeBlockErase | SanitizeExitFailureMode => Self::Sanitize(Sanitize {
                action: match operation {
                    SanitizeOverwrite => SanitizeAction::Overwrite { parameter_list_length: u16_at(b, 7)? },
                    SanitizeBlockErase => SanitizeAction::BlockErase,
                    _ => SanitizeAction::ExitFailureMode,
                },
                immediate: flags & 0x80 != 0,
                unrestricted_exit: flags & 0x20 != 0,
            }),
            ReadDefectData10 | ReadDefectData12 => {
                let lists = if form == Form::Ten { u8_at(b, 2)? } else { flags };
                Self::ReadDefectData(self::ReadDefectData {
                    form,
                    primary: lists & 0x10 != 0,
                    grown: lists & 0x08 != 0,
                    list_format: lists & 0x07,
                    index: if form == Form::Ten { 0 } else { u32_at(b, 2)? },
                    allocation_length: if form == Form::Ten { u16_at(b, 7)?.into() } else { u32_at(b, 6)? },
                })
            }
            GetLbaStatus => Self::GetLbaStatus { lba: lba()?, allocation_length: u32_at(b, 10)? },
            PreventAllowMediumRemoval => Self::PreventAllowMediumRemoval { prevent: u8_at(b, 4)? & 1 != 0 },
            ModeSelect6 | ModeSelect10 => Self::ModeSelect(ModeSelect {
                form,
                page_format: flags & 0x10 != 0,
                save_pages: flags & 0x01 != 0,
                parameter_list_length: if form == Form::Six { u8_at(b, 4)?.into() } else { u16_at(b, 7)? },
            }),
            LogSense => Self::LogSense(self::LogSense {
                page_control: u8_at(b, 2)? >> 6,
                page: u8_at(b, 2)? & 0x3f,
                subpage: u8_at(b, 3)?,
                parameter_pointer: u16_at(b, 5)?,
                allocation_length: u16_at(b, 7)?,
            }),
            ReportIdentifyingInformation => Self::ReportIdentifyingInformation {
                kind: u8_at(b, 10)? >> 1,
                allocation_length: u32_at(b, 6)?,
            },
            SetIdentifyingInformation => Self::SetIdentifyingInformation {
                kind: u8_at(b, 10)? >> 1,
                parameter_list_length: u32_at(b, 6)?,
            },
            ReportTargetPortGroups => {
                Self::ReportTargetPortGroups { extended: flags & 0x20 != 0, allocation_length: u32_at(b, 6)? }
            }
            SetTargetPortGroups => Self::SetTargetPortGroups { parameter_list_length: u32_at(b, 6)? },
            ReportTimestamp => Self::ReportTimestamp { allocation_length: u32_at(b, 6)? },
            SetTimestamp => Self::SetTimestamp { parameter_list_length: u32_at(b, 6)? },
            WriteSame10 | WriteSame16 => Self::WriteSame(WriteSame {
                form,
                lba: lba()?,
                blocks: blocks()?,
                unmap: flags & 0x08 != 0,
                no_data_out: form == Form::Sixteen && flags & 1 != 0,
            }),
            Unmap => Self::Unmap { parameter_list_length: u16_at(b, 7)? },
            Reserve6 | Reserve10 => Self::Reserve(form),
            Release6 | Release10 => Self::Release(form),
            PersistentReserveInReadKeys
            | PersistentReserveInReadReservation
            | PersistentReserveInReportCapabilities
            | PersistentReserveInReadFullStatus => Self::PersistentReserveIn {
                action: InAction::from_bits(flags)?,
                allocation_length: u16_at(b, 7)?,
            },
            PersistentReserveOutRegister
            | PersistentReserveOutReserve
            | PersistentReserveOutRelease
            | PersistentReserveOutClear
            | PersistentReserveOutPreempt
            | PersistentReserveOutPreemptAndAbort
            | PersistentReserveOutRegisterAndIgnoreExistingKey
            | PersistentReserveOutRegisterAndMove
            | PersistentReserveOutReplaceLostReservation => Self::PersistentReserveOut {
                action: OutAction::from_bits(flags)?,
                scope: u8_at(b, 2)? >> 4,
                kind: u8_at(b, 2)? & 0x0f,
                parameter_list_length: u32_at(b, 5)?,
            },
            ExtendedCopyLid1 => Self::ExtendedCopy { parameter_list_length: u32_at(b, 10)? },
            PopulateToken => {
                Self::PopulateToken { list_identifier: u32_at(b, 6)?, parameter_list_length: u32_at(b, 10)? }
            }
            WriteUsingToken => Self::WriteUsingToken {
                list_identifier: u32_at(b, 6)?,
                parameter_list_length: u32_at(b, 10)?,
            },
            ReceiveCopyStatusLid1 => {
                Self::ReceiveCopyStatus { list_identifier: u8_at(b, 2)?, allocation_length: u32_at(b, 10)? }
            }
            ReceiveCopyOperatingParameters => {
                Self::ReceiveCopyOperatingParameters { allocation_length: u32_at(b, 10)? }
            }
            ReceiveCopyFailureDetailsLid1 => Self::ReceiveCopyFailureDetails {
                list_identifier: u8_at(b, 2)?,
                allocation_length: u32_at(b, 10)?,
            },
            ReceiveRodTokenInformation => Self::ReceiveRodTokenInformation {
                list_identifier: u32_at(b, 2)?,
                allocation_length: u32_at(b, 10)?,
            },
            ReportLuns => Self::ReportLuns { select_report: u8_at(b, 2)?, allocation_length: u32_at(b, 6)? },
            ReportSupportedOperationCodes => Self::ReportSupportedOperationCodes {
                timeouts: u8_at(b, 2)? & 0x80 != 0,
                reporting_options: u8_at(b, 2)? & 7,
                opcode: u8_at(b, 3)?,
                service_action: u16_at(b, 4)?,
                allocation_length: u32_at(b, 6)?,
            },
            ReportSupportedTaskManagementFunctions => Self::ReportSupportedTaskManagementFunctions {
                extended: u8_at(b, 2)? & 0x80 != 0,
                allocation_length: u32_at(b, 6)?,
            },
        })
    }
}
