//! SANITIZE and FORMAT UNIT (SBC-3 §5.24, §5.3). CRYPTO ERASE is not there: nothing is encrypted.

use bytes::Bytes;
use lunkeep_common::scsi::cdb::{FormatUnit, Sanitize, SanitizeAction};
use lunkeep_common::scsi::{Asc, Sense};

use super::super::config::{LogicalUnitConfig, MediumShape};
use super::super::erase::{EraseState, OverwritePattern};
use super::super::media::MediaOp;
use super::super::parameters::{EraseKind, SavedParameters};
use super::super::state::{Change, State};
use super::super::step::Completion;
use super::super::task_set::Then;
use super::{DataOutOf, Next, Outcome};

/// An OVERWRITE or a FORMAT UNIT that waits for its parameter list.
#[derive(Debug)]
pub(in super::super) enum PendingErase {
    Overwrite { kind: EraseKind, immediate: bool, len: u64 },
    Format { long_list: bool },
}

pub(super) fn sanitize(config: &LogicalUnitConfig, state: &State, cdb: Sanitize) -> Outcome {
    let kind = EraseKind::Sanitize { unrestricted_exit: cdb.unrestricted_exit };
    let immediate = cdb.immediate;
    match cdb.action {
        SanitizeAction::BlockErase => Ok(Next::Erase { kind, pattern: None, immediate }),
        SanitizeAction::Overwrite { parameter_list_length } => {
            let len = u64::from(parameter_list_length);
            // A header of four bytes and at least one byte of pattern, at most a block (SBC-3 §5.24.2.2).
            if len < 5 || len > u64::from(config.medium.logical_block) + 4 {
                return Err(Sense::invalid_field_in_cdb(7, None));
            }
            let of = DataOutOf::Erase(PendingErase::Overwrite { kind, immediate, len });
            Ok(Next::DataOut { len, of })
        }
        SanitizeAction::ExitFailureMode => match state.erase {
            EraseState::Failed(EraseKind::Sanitize { unrestricted_exit: true }) => {
                let saved = SavedParameters { erasing: None, ..state.saved.clone() };
                let op = MediaOp::Save(Box::new(saved.clone()));
                Ok(Next::Media { op, then: Then::Saved(Change::EraseFailureLeft(saved)) })
            }
            // A restricted failure is left only by a SANITIZE that succeeds (SBC-3 §4.11.4).
            EraseState::Failed(_) => Err(Sense::invalid_field_in_cdb(1, Some(4))),
            EraseState::Idle | EraseState::Running { .. } => Ok(Next::Done(Completion::good())),
        },
    }
}

pub(super) fn format_unit(cdb: FormatUnit) -> Outcome {
    if !cdb.format_data {
        // LONGLIST and CMPLST speak of a parameter list that is not there.
        if cdb.long_list || cdb.complete_list {
            return Err(Sense::invalid_field_in_cdb(1, Some(if cdb.long_list { 5 } else { 3 })));
        }
        return Ok(Next::Erase { kind: EraseKind::Format, pattern: None, immediate: false });
    }
    let pending = PendingErase::Format { long_list: cdb.long_list };
    Ok(Next::DataOut { len: header_len(cdb.long_list), of: DataOutOf::Erase(pending) })
}

const fn header_len(long_list: bool) -> u64 {
    if long_list { 8 } else { 4 }
}

impl PendingErase {
    pub(super) fn received(self, medium: &MediumShape, data: &[Bytes]) -> Outcome {
        let list = data.concat();
        let cut = Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
        match self {
            Self::Overwrite { kind, immediate, len } => {
                let pattern = overwrite_pattern(medium, &list, len).ok_or(cut)??;
                Ok(Next::Erase { kind, pattern: Some(pattern), immediate })
            }
            Self::Format { long_list } => {
                if list.len() as u64 != header_len(long_list) {
                    return Err(cut);
                }
                let immediate = format_header(&list, long_list)?;
                Ok(Next::Erase { kind: EraseKind::Format, pattern: None, immediate })
            }
        }
    }
}

/// `None` when the list is cut.
fn overwrite_pattern(medium: &MediumShape, list: &[u8], len: u64) -> Option<Result<OverwritePattern, Sense>> {
    let (&[flags, _, high, low], pattern) = list.split_first_chunk()?;
    let wrong = |byte, bit| Some(Err(Sense::invalid_field_in_parameter_list(byte, bit)));
    if list.len() as u64 != len {
        return None;
    }
    if flags & 0x60 != 0 {
        // TEST: vendor specific.
        return wrong(0, Some(6));
    }
    let passes = flags & 0x1f;
    if passes == 0 {
        return wrong(0, Some(4));
    }
    let stated = usize::from(u16::from_be_bytes([high, low]));
    let block = usize::try_from(medium.logical_block).ok()?;
    if stated == 0 || stated > block || stated != pattern.len() {
        return wrong(2, None);
    }
    let block: Vec<u8> = pattern.iter().copied().cycle().take(block).collect();
    Some(Ok(OverwritePattern { block: block.into(), passes, invert: flags & 0x80 != 0 }))
}

/// Checks the parameter list header (SBC-3 §5.3.2.2) and says whether IMMED is one. There is no defect list, no protection
/// information, and no initialization pattern.
fn format_header(list: &[u8], long_list: bool) -> Result<bool, Sense> {
    let wrong = |byte, bit| Err(Sense::invalid_field_in_parameter_list(byte, bit));
    let (Some(&usage), Some(&flags)) = (list.first(), list.get(1)) else { return wrong(0, None) };
    if usage & 0x07 != 0 {
        return wrong(0, Some(2));
    }
    let (fov, options) = (flags & 0x80 != 0, flags & 0x70);
    if options != 0 && !fov {
        return wrong(1, u8::try_from(options.ilog2()).ok());
    }
    if flags & 0x08 != 0 {
        return wrong(1, Some(3));
    }
    let defects = if long_list { 4 } else { 2 };
    if long_list && list.get(3).is_some_and(|&byte| byte != 0) {
        return wrong(3, None);
    }
    if list.get(defects..).is_some_and(|len| len.iter().any(|&byte| byte != 0)) {
        return wrong(u16::try_from(defects).unwrap_or(0), None);
    }
    Ok(flags & 0x02 != 0)
}
