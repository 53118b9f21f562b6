//! PERSISTENT RESERVE IN and OUT up to the point where the record is asked (SPC-4 §6.15, §6.16).

use bytes::Bytes;
use lunkeep_common::scsi::persistent::{InAction, OutAction};
use lunkeep_common::scsi::{Asc, Sense};

use super::super::fence::Request;
use super::super::reservation::{self, PrOut};
use super::{Context, DataOutOf, Next, Outcome, data_in};
use crate::limits::RESERVATION_LIST_LEN_MAX;

/// A PERSISTENT RESERVE OUT that waits for its parameter list.
#[derive(Debug)]
pub(in super::super) struct PendingOut {
    action: OutAction,
    scope: u8,
    kind: u8,
    len: u32,
}

pub(super) fn persistent_in(context: &Context<'_>, action: InAction, allocation_length: u16) -> Outcome {
    let data = reservation::read(context.record, context.reported, action)?;
    Ok(Next::Done(data_in(data, allocation_length.into())))
}

pub(super) fn persistent_out(action: OutAction, scope: u8, kind: u8, parameter_list_length: u32) -> Outcome {
    if !(1..=RESERVATION_LIST_LEN_MAX).contains(&parameter_list_length) {
        return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    let of = DataOutOf::PersistentReserve(PendingOut { action, scope, kind, len: parameter_list_length });
    Ok(Next::DataOut { len: parameter_list_length.into(), of })
}

impl PendingOut {
    pub(super) fn received(self, data: &[Bytes]) -> Outcome {
        let list = data.concat();
        if u32::try_from(list.len()) != Ok(self.len) {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        let out = PrOut::decode(self.action, self.scope, self.kind, &list)?;
        Ok(Next::Reservation(Request::Out(out)))
    }
}
