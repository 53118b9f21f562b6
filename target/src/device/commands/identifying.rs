//! REPORT and SET IDENTIFYING INFORMATION (SPC-4 §6.32, §6.43).

use bytes::Bytes;
use lunkeep_common::scsi::{Asc, Sense, Status};

use super::super::media::MediaOp;
use super::super::parameters::SavedParameters;
use super::super::state::{Change, State};
use super::super::step::Completion;
use super::super::task_set::Then;
use super::{DataOutOf, Next, Outcome, data_in};
use crate::limits::{IDENTIFYING_LEN_MAX, IDENTIFYING_TEXT_LEN_MAX};

/// IDENTIFYING INFORMATION TYPE: logical unit identifying information.
const LOGICAL_UNIT: u8 = 0;
/// IDENTIFYING INFORMATION TYPE: text of the logical unit.
const TEXT: u8 = 2;
/// IDENTIFYING INFORMATION TYPE: which types there are.
const SUPPORTED: u8 = 0x7f;

/// IDENTIFYING INFORMATION TYPE stands in bits 7 to 1.
const UNKNOWN_TYPE: Sense = Sense::invalid_field_in_cdb(10, Some(7));

/// A SET IDENTIFYING INFORMATION that waits for its information.
#[derive(Debug)]
pub(in super::super) struct PendingIdentifying {
    text: bool,
    len: usize,
}

pub(super) fn report(saved: &SavedParameters, kind: u8, allocation_length: u32) -> Outcome {
    let information = match kind {
        LOGICAL_UNIT => saved.identifying.clone(),
        TEXT => saved.text.clone(),
        SUPPORTED => [(LOGICAL_UNIT, IDENTIFYING_LEN_MAX), (TEXT, IDENTIFYING_TEXT_LEN_MAX), (SUPPORTED, 0)]
            .into_iter()
            .flat_map(|(kind, max)| {
                let [high, low] = u16::try_from(max).unwrap_or(u16::MAX).to_be_bytes();
                [kind << 1, 0, high, low]
            })
            .collect(),
        _ => return Err(UNKNOWN_TYPE),
    };
    let [high, low] = u16::try_from(information.len()).unwrap_or(u16::MAX).to_be_bytes();
    let data = [&[0, 0, high, low], information.as_slice()].concat();
    Ok(Next::Done(data_in(data, allocation_length)))
}

/// A length of zero takes the information away.
pub(super) fn set(state: &State, kind: u8, parameter_list_length: u32) -> Outcome {
    let max = match kind {
        LOGICAL_UNIT => IDENTIFYING_LEN_MAX,
        TEXT => IDENTIFYING_TEXT_LEN_MAX,
        _ => return Err(UNKNOWN_TYPE),
    };
    let len = usize::try_from(parameter_list_length).unwrap_or(usize::MAX);
    if len > max {
        return Err(Sense::invalid_field_in_cdb(6, None));
    }
    let pending = PendingIdentifying { text: kind == TEXT, len };
    if len == 0 {
        return pending.received(state, &[]);
    }
    Ok(Next::DataOut { len: len as u64, of: DataOutOf::Identifying(pending) })
}

impl PendingIdentifying {
    pub(super) fn received(self, state: &State, data: &[Bytes]) -> Outcome {
        let information = data.concat();
        if information.len() != self.len {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        // Text is UTF-8 that a zero ends (SPC-4 §4.3.2).
        if self.text && !information.is_empty() {
            let ended = information.iter().position(|&byte| byte == 0) == Some(information.len() - 1);
            if !ended || std::str::from_utf8(&information).is_err() {
                return Err(Sense::invalid_field_in_parameter_list(0, None));
            }
        }
        if state.saving {
            return Ok(Next::Done(Completion::without_data(Status::Busy)));
        }
        let mut saved = state.saved.clone();
        *(if self.text { &mut saved.text } else { &mut saved.identifying }) = information;
        if saved == state.saved {
            return Ok(Next::Done(Completion::good()));
        }
        let op = MediaOp::Save(Box::new(saved.clone()));
        Ok(Next::Media { op, then: Then::Saved(Change::Identifying(saved)) })
    }
}
