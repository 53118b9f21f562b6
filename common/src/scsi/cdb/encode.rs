//! The initiator's side: a command to bytes, and which form a range needs.

use super::{Cdb, Form, SanitizeAction};
use crate::scsi::opcode_table::Operation;
use crate::scsi::persistent::{InAction, OutAction};

const ALLOCATION: &str = "ALLOCATION LENGTH";
const LIST: &str = "PARAMETER LIST LENGTH";

/// A value does not fit the CDB form that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value} does not fit in {name}; use a longer form of the command")]
pub struct FieldOverflow {
    /// The command.
    pub name: &'static str,
    /// The standard's name of the field.
    pub field: &'static str,
    /// The value.
    pub value: u64,
}

impl Form {
    /// The shortest form from ten bytes up that can address `blocks` blocks from `lba`: ten, which every device has, or sixteen.
    #[must_use]
    pub const fn for_extent(lba: u64, blocks: u32) -> Self {
        if lba <= u32::MAX as u64 && blocks <= u16::MAX as u32 { Self::Ten } else { Self::Sixteen }
    }
}

impl Cdb {
    /// The command's row in the table; `None` for a form that the command does not have (VERIFY of six bytes).
    #[must_use]
    pub const fn operation(&self) -> Option<Operation> {
        use Operation::*;
        Some(match self {
            Self::TestUnitReady => TestUnitReady,
            Self::RequestSense { .. } => RequestSense,
            Self::Inquiry { .. } => Inquiry,
            Self::ModeSense(m) => match m.form {
                Form::Six => ModeSense6,
                Form::Ten => ModeSense10,
                Form::Twelve | Form::Sixteen => return None,
            },
            Self::StartStopUnit { .. } => StartStopUnit,
            Self::ReadCapacity10 => ReadCapacity10,
            Self::ReadCapacity16 { .. } => ReadCapacity16,
            Self::Read(t) => match t.form {
                Form::Six => Read6,
                Form::Ten => Read10,
                Form::Twelve => Read12,
                Form::Sixteen => Read16,
            },
            Self::Write(t) => match t.form {
                Form::Six => Write6,
                Form::Ten => Write10,
                Form::Twelve => Write12,
                Form::Sixteen => Write16,
            },
            Self::Verify(v) => match v.form {
                Form::Six => return None,
                Form::Ten => Verify10,
                Form::Twelve => Verify12,
                Form::Sixteen => Verify16,
            },
            Self::SynchronizeCache(s) => match s.form {
                Form::Ten => SynchronizeCache10,
                Form::Sixteen => SynchronizeCache16,
                Form::Six | Form::Twelve => return None,
            },
            Self::PreFetch(s) => match s.form {
                Form::Ten => PreFetch10,
                Form::Sixteen => PreFetch16,
                Form::Six | Form::Twelve => return None,
            },
            Self::WriteAndVerify(v) => match v.form {
                Form::Six => return None,
                Form::Ten => WriteAndVerify10,
                Form::Twelve => WriteAndVerify12,
                Form::Sixteen => WriteAndVerify16,
            },
            Self::CompareAndWrite(_) => CompareAndWrite,
            Self::OrWrite(t) => match t.form {
                Form::Sixteen => OrWrite16,
                Form::Six | Form::Ten | Form::Twelve => return None,
            },
            Self::FormatUnit(_) => FormatUnit,
            Self::Sanitize(s) => match s.action {
                SanitizeAction::Overwrite { .. } => SanitizeOverwrite,
                SanitizeAction::BlockErase => SanitizeBlockErase,
                SanitizeAction::ExitFailureMode => SanitizeExitFailureMode,
            },
            Self::ReadDefectData(r) => match r.form {
                Form::Ten => ReadDefectData10,
                Form::Twelve => ReadDefectData12,
                Form::Six | Form::Sixteen => return None,
            },
            Self::GetLbaStatus { .. } => GetLbaStatus,
            Self::PreventAllowMediumRemoval { .. } => PreventAllowMediumRemoval,
            Self::ModeSelect(m) => match m.form {
                Form::Six => ModeSelect6,
                Form::Ten => ModeSelect10,
                Form::Twelve | Form::Sixteen => return None,
            },
            Self::LogSense(_) => LogSense,
            Self::ReportIdentifyingInformation { .. } => ReportIdentifyingInformation,
            Self::SetIdentifyingInformation { .. } => SetIdentifyingInformation,
            Self::ReportTargetPortGroups { .. } => ReportTargetPortGroups,
            Self::SetTargetPortGroups { .. } => SetTargetPortGroups,
            Self::ReportTimestamp { .. } => ReportTimestamp,
            Self::SetTimestamp { .. } => SetTimestamp,
            Self::WriteSame(w) => match w.form {
                Form::Ten => WriteSame10,
                Form::Sixteen => WriteSame16,
                Form::Six | Form::Twelve => return None,
            },
            Self::Unmap { .. } => Unmap,
            Self::Reserve(Form::Six) => Reserve6,
            Self::Reserve(Form::Ten) => Reserve10,
            Self::Release(Form::Six) => Release6,
            Self::Release(Form::Ten) => Release10,
            Self::Reserve(_) | Self::Release(_) => return None,
            Self::PersistentReserveIn { action, .. } => match action {
                InAction::ReadKeys => PersistentReserveInReadKeys,
                InAction::ReadReservation => PersistentReserveInReadReservation,
                InAction::ReportCapabilities => PersistentReserveInReportCapabilities,
                InAction::ReadFullStatus => PersistentReserveInReadFullStatus,
            },
            Self::PersistentReserveOut { action, .. } => match action {
                OutAction::Register => PersistentReserveOutRegister,
                OutAction::Reserve => PersistentReserveOutReserve,
                OutAction::Release => PersistentReserveOutRelease,
                OutAction::Clear => PersistentReserveOutClear,
                OutAction::Preempt => PersistentReserveOutPreempt,
                OutAction::PreemptAndAbort => PersistentReserveOutPreemptAndAbort,
                OutAction::RegisterAndIgnoreExistingKey => PersistentReserveOutRegisterAndIgnoreExistingKey,
                OutAction::RegisterAndMove => PersistentReserveOutRegisterAndMove,
                OutAction::ReplaceLostReservation => PersistentReserveOutReplaceLostReservation,
            },
            Self::ExtendedCopy { .. } => ExtendedCopyLid1,
            Self::PopulateToken { .. } => PopulateToken,
            Self::WriteUsingToken { .. } => WriteUsingToken,
            Self::ReceiveCopyStatus { .. } => ReceiveCopyStatusLid1,
            Self::ReceiveCopyOperatingParameters { .. } => ReceiveCopyOperatingParameters,
            Self::ReceiveCopyFailureDetails { .. } => ReceiveCopyFailureDetailsLid1,
            Self::ReceiveRodTokenInformation { .. } => ReceiveRodTokenInformation,
            Self::ReportLuns { .. } => ReportLuns,
            Self::ReportSupportedOperationCodes { .. } => ReportSupportedOperationCodes,
            Self::ReportSupportedTaskManagementFunctions { .. } => ReportSupportedTaskManagementFunctions,
        })
    }

    /// The CDB as it stands in a SCSI Command PDU: padded with zeros to sixteen bytes.
    ///
    /// # Errors
    /// [`FieldOverflow`] when a value is too large for the form, or the command has no such form.
    pub fn encode(&self) -> Result<[u8; 16], FieldOverflow> {
        let no_form = FieldOverflow { name: "a CDB of this length", field: "command", value: 0 };
        let info = self.operation().ok_or(no_form)?.info();
        let mut out = Encoder { name: info.name, bytes: [0; 16] };
        out.bytes[0] = info.opcode;
        out.bytes[1] = info.service_action.unwrap_or(0);
        match *self {
            Self::TestUnitReady | Self::ReadCapacity10 | Self::Reserve(_) | Self::Release(_) => {}
            Self::PersistentReserveIn { allocation_length, .. } => {
                out.put::<2>("ALLOCATION LENGTH", 7, allocation_length.into())?;
            }
            Self::PersistentReserveOut { scope, kind, parameter_list_length, .. } => {
                out.bytes[2] = scope << 4 | kind & 0x0f;
                out.put::<4>("PARAMETER LIST LENGTH", 5, parameter_list_length.into())?;
            }
            Self::RequestSense { descriptor, allocation_length } => {
                out.flag(1, 0, descriptor);
                out.bytes[4] = allocation_length;
            }
            Self::Inquiry { vital_product_data, page_code, allocation_length } => {
                out.flag(1, 0, vital_product_data);
                out.bytes[2] = page_code;
                out.put::<2>("ALLOCATION LENGTH", 3, allocation_length.into())?;
            }
            Self::ModeSense(m) => {
                out.absent("LLBAA", m.form == Form::Six && m.long_lba_accepted)?;
                out.flag(1, 4, m.long_lba_accepted);
                out.flag(1, 3, m.disable_block_descriptors);
                out.bytes[2] = (m.page_control << 6) | (m.page & 0x3f);
                out.bytes[3] = m.subpage;
                match m.form {
                    Form::Six => out.put::<1>("ALLOCATION LENGTH", 4, m.allocation_length.into())?,
                    _ => out.put::<2>("ALLOCATION LENGTH", 7, m.allocation_length.into())?,
                }
            }
            Self::StartStopUnit { immediate, load_eject, no_flush, start } => {
                out.flag(1, 0, immediate);
                out.flag(4, 1, load_eject);
                out.flag(4, 2, no_flush);
                out.flag(4, 0, start);
            }
            Self::ReadCapacity16 { allocation_length } => {
                out.put::<4>("ALLOCATION LENGTH", 10, allocation_length.into())?;
            }
            Self::Read(t) | Self::Write(t) | Self::OrWrite(t) => {
                // In six bytes the address stands where the flags would.
                out.absent(
                    "DPO and FUA",
                    t.form == Form::Six && (t.disable_page_out || t.force_unit_access),
                )?;
                out.flag(1, 4, t.disable_page_out);
                out.flag(1, 3, t.force_unit_access);
                out.extent(t.form, t.lba, t.blocks)?;
            }
            Self::Verify(v) | Self::WriteAndVerify(v) => {
                out.flag(1, 4, v.disable_page_out);
                out.bytes[1] |= (v.byte_check & 3) << 1;
                out.extent(v.form, v.lba, v.blocks)?;
            }
            Self::SynchronizeCache(s) | Self::PreFetch(s) => {
                out.flag(1, 1, s.immediate);
                out.extent(s.form, s.lba, s.blocks)?;
            }
            Self::CompareAndWrite(c) => {
                out.flag(1, 4, c.disable_page_out);
                out.flag(1, 3, c.force_unit_access);
                out.put::<8>("LOGICAL BLOCK ADDRESS", 2, c.lba)?;
                out.bytes[13] = c.blocks;
            }
            Self::FormatUnit(f) => {
                out.flag(1, 5, f.long_list);
                out.flag(1, 4, f.format_data);
                out.flag(1, 3, f.complete_list);
            }
            Self::Sanitize(s) => {
                out.flag(1, 7, s.immediate);
                out.flag(1, 5, s.unrestricted_exit);
                if let SanitizeAction::Overwrite { parameter_list_length } = s.action {
                    out.put::<2>(LIST, 7, parameter_list_length.into())?;
                }
            }
            Self::ReadDefectData(r) => {
                let lists = u8::from(r.primary) << 4 | u8::from(r.grown) << 3 | (r.list_format & 7);
                if r.form == Form::Ten {
                    out.absent("ADDRESS DESCRIPTOR INDEX", r.index != 0)?;
                    out.bytes[2] = lists;
                    out.put::<2>(ALLOCATION, 7, r.allocation_length.into())?;
                } else {
                    out.bytes[1] = lists;
                    out.put::<4>("ADDRESS DESCRIPTOR INDEX", 2, r.index.into())?;
                    out.put::<4>(ALLOCATION, 6, r.allocation_length.into())?;
                }
            }
            Self::GetLbaStatus { lba, allocation_length } => {
                out.put::<8>("STARTING LOGICAL BLOCK ADDRESS", 2, lba)?;
                out.put::<4>(ALLOCATION, 10, allocation_length.into())?;
            }
            Self::PreventAllowMediumRemoval { prevent } => out.flag(4, 0, prevent),
            Self::ModeSelect(m) => {
                out.flag(1, 4, m.page_format);
                out.flag(1, 0, m.save_pages);
                match m.form {
                    Form::Six => out.put::<1>(LIST, 4, m.parameter_list_length.into())?,
                    _ => out.put::<2>(LIST, 7, m.parameter_list_length.into())?,
                }
            }
            Self::LogSense(l) => {
                out.bytes[2] = (l.page_control << 6) | (l.page & 0x3f);
                out.bytes[3] = l.subpage;
                out.put::<2>("PARAMETER POINTER", 5, l.parameter_pointer.into())?;
                out.put::<2>(ALLOCATION, 7, l.allocation_length.into())?;
            }
            Self::ReportIdentifyingInformation { kind, allocation_length } => {
                out.bytes[10] = kind << 1;
                out.put::<4>(ALLOCATION, 6, allocation_length.into())?;
            }
            Self::SetIdentifyingInformation { kind, parameter_list_length } => {
                out.bytes[10] = kind << 1;
                out.put::<4>(LIST, 6, parameter_list_length.into())?;
            }
            Self::ReportTargetPortGroups { extended, allocation_length } => {
                out.flag(1, 5, extended);
                out.put::<4>(ALLOCATION, 6, allocation_length.into())?;
            }
            Self::ReportTimestamp { allocation_length } => {
                out.put::<4>(ALLOCATION, 6, allocation_length.into())?;
            }
            Self::SetTargetPortGroups { parameter_list_length }
            | Self::SetTimestamp { parameter_list_length } => {
                out.put::<4>(LIST, 6, parameter_list_length.into())?;
            }
            Self::WriteSame(w) => {
                out.absent("NDOB", w.form != Form::Sixteen && w.no_data_out)?;
                out.flag(1, 3, w.unmap);
                out.flag(1, 0, w.no_data_out);
                out.extent(w.form, w.lba, w.blocks)?;
            }
            Self::Unmap { parameter_list_length } => {
                out.put::<2>("PARAMETER LIST LENGTH", 7, parameter_list_length.into())?;
            }
            Self::ExtendedCopy { parameter_list_length } => {
                out.put::<4>(LIST, 10, parameter_list_length.into())?;
            }
            Self::PopulateToken { list_identifier, parameter_list_length }
            | Self::WriteUsingToken { list_identifier, parameter_list_length } => {
                out.put::<4>("LIST IDENTIFIER", 6, list_identifier.into())?;
                out.put::<4>(LIST, 10, parameter_list_length.into())?;
            }
            Self::ReceiveCopyStatus { list_identifier, allocation_length }
            | Self::ReceiveCopyFailureDetails { list_identifier, allocation_length } => {
                out.bytes[2] = list_identifier;
                out.put::<4>(ALLOCATION, 10, allocation_length.into())?;
            }
            Self::ReceiveCopyOperatingParameters { allocation_length } => {
                out.put::<4>(ALLOCATION, 10, allocation_length.into())?;
            }
            Self::ReceiveRodTokenInformation { list_identifier, allocation_length } => {
                out.put::<4>("LIST IDENTIFIER", 2, list_identifier.into())?;
                out.put::<4>(ALLOCATION, 10, allocation_length.into())?;
            }
            Self::ReportLuns { select_report, allocation_length } => {
                out.bytes[2] = select_report;
                out.put::<4>("ALLOCATION LENGTH", 6, allocation_length.into())?;
            }
            Self::ReportSupportedOperationCodes {
                timeouts,
                reporting_options,
                opcode,
                service_action,
                allocation_length,
            } => {
                out.flag(2, 7, timeouts);
                out.bytes[2] |= reporting_options & 7;
                out.bytes[3] = opcode;
                out.put::<2>("REQUESTED SERVICE ACTION", 4, service_action.into())?;
                out.put::<4>("ALLOCATION LENGTH", 6, allocation_length.into())?;
            }
            Self::ReportSupportedTaskManagementFunctions { extended, allocation_length } => {
                out.flag(2, 7, extended);
                out.put::<4>("ALLOCATION LENGTH", 6, allocation_length.into())?;
            }
        }
        Ok(out.bytes)
    }
}

struct Encoder {
    name: &'static str,
    bytes: [u8; 16],
}

impl Encoder {
    const fn flag(&mut self, byte: usize, bit: u8, value: bool) {
        self.bytes[byte] |= (value as u8) << bit;
    }

    /// A flag that the form has no place for must not be lost without a word.
    const fn absent(&self, field: &'static str, value: bool) -> Result<(), FieldOverflow> {
        if value { Err(FieldOverflow { name: self.name, field, value: 1 }) } else { Ok(()) }
    }

    /// Puts the low `N` bytes of `value` at `at`.
    fn put<const N: usize>(
        &mut self,
        field: &'static str,
        at: usize,
        value: u64,
    ) -> Result<(), FieldOverflow> {
        let bytes = value.to_be_bytes();
        let (high, low) = bytes.split_at(8 - N);
        if high.iter().any(|&b| b != 0) {
            return Err(FieldOverflow { name: self.name, field, value });
        }
        self.bytes[at..at + N].copy_from_slice(low);
        Ok(())
    }

    fn extent(&mut self, form: Form, lba: u64, blocks: u32) -> Result<(), FieldOverflow> {
        const LBA: &str = "LOGICAL BLOCK ADDRESS";
        const COUNT: &str = "TRANSFER LENGTH";
        let blocks = u64::from(blocks);
        match form {
            Form::Six => {
                let overflow = |field, value| Err(FieldOverflow { name: self.name, field, value });
                if lba > 0x1f_ffff {
                    return overflow(LBA, lba);
                }
                // Zero would mean 256.
                if !(1..=256).contains(&blocks) {
                    return overflow(COUNT, blocks);
                }
                self.put::<3>(LBA, 1, lba)?;
                self.put::<1>(COUNT, 4, blocks % 256)
            }
            Form::Ten => {
                self.put::<4>(LBA, 2, lba)?;
                self.put::<2>(COUNT, 7, blocks)
            }
            Form::Twelve => {
                self.put::<4>(LBA, 2, lba)?;
                self.put::<4>(COUNT, 6, blocks)
            }
            Form::Sixteen => {
                self.put::<8>(LBA, 2, lba)?;
                self.put::<4>(COUNT, 10, blocks)
            }
        }
    }
}
