//! MODE SELECT (SPC-4 §6.10, §6.11): every page is checked before anything changes.

use bytes::Bytes;
use lunkeep_common::scsi::cdb::{Form, ModeSelect};
use lunkeep_common::scsi::mode::{ModeHeader, Page};
use lunkeep_common::scsi::{Asc, Sense, Status};

use super::super::config::LogicalUnitConfig;
use super::super::media::MediaOp;
use super::super::parameters::{ModeParameters, SavedParameters};
use super::super::state::{Change, State};
use super::super::step::Completion;
use super::super::task_set::Then;
use super::mode_sense::pages;
use super::{DataOutOf, Next, Outcome};

/// A MODE SELECT that waits for its parameter list.
#[derive(Debug)]
pub(in super::super) struct PendingModeSelect {
    form: Form,
    save: bool,
    len: usize,
}

pub(super) fn mode_select(cdb: ModeSelect) -> Outcome {
    if !cdb.page_format && cdb.parameter_list_length != 0 {
        // Parameters in a vendor's own format.
        return Err(Sense::invalid_field_in_cdb(1, Some(4)));
    }
    let len = usize::from(cdb.parameter_list_length);
    let pending = PendingModeSelect { form: cdb.form, save: cdb.save_pages, len };
    let header = if cdb.form == Form::Six { 4 } else { 8 };
    match cdb.parameter_list_length {
        0 => Ok(Next::Done(Completion::good())),
        len if len < header => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        len => Ok(Next::DataOut { len: len.into(), of: DataOutOf::ModeSelect(pending) }),
    }
}

impl PendingModeSelect {
    pub(super) fn received(self, config: &LogicalUnitConfig, state: &State, data: &[Bytes]) -> Outcome {
        let list = data.concat();
        let cut = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
        // An initiator that announced less than the CDB says meant pages that did not come.
        if list.len() != self.len {
            return Err(cut());
        }
        check_descriptor_len(self.form, &list)?;
        let (header, rest) = ModeHeader::decode(self.form, &list).ok_or_else(cut)?;
        let header_len = if self.form == Form::Six { 4 } else { 8 };
        if let Some(descriptor) = header.block_descriptor {
            let medium = &config.medium;
            // Zero and all ones leave the capacity as it is (SBC-3 §6.4.2); it is not changed here.
            let same = [0, medium.blocks(), if descriptor.long { u64::MAX } else { u32::MAX.into() }];
            if !same.contains(&descriptor.blocks) {
                return Err(Sense::invalid_field_in_parameter_list(header_len, None));
            }
            if descriptor.block_len != medium.logical_block {
                let at = if descriptor.long { 12 } else { 5 };
                return Err(Sense::invalid_field_in_parameter_list(header_len + at, None));
            }
        }
        let values = read_pages(state, list.len() - rest.len(), rest)?;
        if state.saving {
            return Ok(Next::Done(Completion::without_data(Status::Busy)));
        }
        let change = Change::Mode { values, saved: self.save };
        if !self.save {
            return Ok(Next::Change(change));
        }
        let saved = SavedParameters { mode: values, ..state.saved.clone() };
        Ok(Next::Media { op: MediaOp::Save(Box::new(saved)), then: Then::Saved(change) })
    }
}

/// There is at most one block descriptor, of eight bytes or, with LONGLBA, of sixteen (SPC-4 §7.5.6, SBC-3 §6.4.2).
fn check_descriptor_len(form: Form, list: &[u8]) -> Result<(), Sense> {
    let (at, one) = match (form, list.get(4)) {
        (Form::Six, _) => (3, 8),
        (_, Some(flags)) if flags & 1 != 0 => (6, 16),
        _ => (6, 8),
    };
    let field = if form == Form::Six { list.get(3..4) } else { list.get(6..8) };
    let len = field.unwrap_or_default().iter().fold(0, |len, &byte| len << 8 | u32::from(byte));
    if len == 0 || len == one { Ok(()) } else { Err(Sense::invalid_field_in_parameter_list(at, None)) }
}

/// The values that the pages ask for. `at` is where they begin in the parameter list.
fn read_pages(state: &State, mut at: usize, mut rest: &[u8]) -> Result<ModeParameters, Sense> {
    let wrong =
        |at: usize, bit| Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(u16::MAX), bit);
    let mut values = state.mode;
    while let Some(&first) = rest.first() {
        let known = pages(&values);
        let subpage = if first & 0x40 == 0 { 0 } else { rest.get(1).copied().unwrap_or(0) };
        let page = known.iter().find(|page| page.code() == (first & 0x3f, subpage));
        let subpage_only = known.iter().any(|page| page.code().0 == first & 0x3f);
        let page = page.ok_or_else(|| if subpage_only { wrong(at + 1, None) } else { wrong(at, Some(5)) })?;
        let current = page.encode();
        let head = if first & 0x40 == 0 { 2 } else { 4 };
        if rest.len() < head {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        if rest[1..head] != current[1..head] {
            return Err(wrong(at + if head == 2 { 1 } else { 2 }, None));
        }
        let Some(sent) = rest.get(..current.len()) else {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let changeable = page.encode_changeable();
        for (byte, ((sent, current), mask)) in
            sent.iter().zip(&current).zip(&changeable).enumerate().skip(head)
        {
            let differs = (sent ^ current) & !mask;
            if differs != 0 {
                let (byte, bit) = page.pointer(byte, u8::try_from(differs.ilog2()).unwrap_or(7));
                return Err(wrong(at + byte, bit));
            }
        }
        apply(&mut values, page.with_values_of(sent));
        at += current.len();
        rest = rest.get(current.len()..).unwrap_or_default();
    }
    Ok(values)
}

fn apply(values: &mut ModeParameters, page: Page) {
    match page {
        Page::Caching { write_cache } => values.write_cache = write_cache,
        Page::Control { descriptor_sense, task_aborted_status, software_write_protect } => {
            values.descriptor_sense = descriptor_sense;
            values.task_aborted_status = task_aborted_status;
            values.software_write_protect = software_write_protect;
        }
        Page::ReadWriteErrorRecovery | Page::ControlExtension { .. } | Page::InformationalExceptions => {}
    }
}
