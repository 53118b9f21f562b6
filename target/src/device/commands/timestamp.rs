//! REPORT and SET TIMESTAMP (SPC-4 §5.2, §6.38, §6.46): 48 bits of milliseconds since 1970.

use bytes::Bytes;
use lunkeep_common::scsi::{Asc, Sense};

use super::super::state::{Change, Clock};
use super::super::step::Completion;
use super::{DataOutOf, Next, Outcome, data_in};

/// Timestamps wrap here.
const MASK: u64 = (1 << 48) - 1;
/// Bytes of the parameter list.
const LIST_LEN: u32 = 12;

/// A SET TIMESTAMP that waits for its parameter list.
#[derive(Debug)]
pub(in super::super) struct PendingTimestamp {
    now_ms: u64,
}

pub(super) fn report(clock: Clock, now_ms: u64, allocation_length: u32) -> Next {
    // TIMESTAMP ORIGIN: 010b SET TIMESTAMP, 011b by other means.
    let (origin, time) = match clock {
        Clock::Host => (0b011, now_ms),
        Clock::Set(offset) => (0b010, now_ms.wrapping_add(offset)),
    };
    let mut data = vec![0, 10, origin, 0];
    data.extend_from_slice(&(time & MASK).to_be_bytes()[2..]);
    data.extend([0, 0]);
    Next::Done(data_in(data, allocation_length))
}

pub(super) fn set(now_ms: u64, parameter_list_length: u32) -> Outcome {
    match parameter_list_length {
        0 => Ok(Next::Done(Completion::good())),
        LIST_LEN => {
            let of = DataOutOf::Timestamp(PendingTimestamp { now_ms });
            Ok(Next::DataOut { len: LIST_LEN.into(), of })
        }
        _ => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
    }
}

impl PendingTimestamp {
    pub(super) fn received(self, data: &[Bytes]) -> Outcome {
        let list = data.concat();
        let Ok::<[u8; LIST_LEN as usize], _>(list) = list.try_into() else {
            return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
        };
        let [_, _, _, _, a, b, c, d, e, f, _, _] = list;
        let time = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Ok(Next::Change(Change::Clock(Clock::Set(time.wrapping_sub(self.now_ms) & MASK))))
    }
}
