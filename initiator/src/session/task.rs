//! One SCSI task: its data on the way in and on the way out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::TargetTransferTag;
use lunkeep_common::pdu::data_in::DataIn;
use lunkeep_common::pdu::r2t::R2t;
use lunkeep_common::pdu::scsi_response::ScsiResponse;
use lunkeep_common::scsi::Lun;
use lunkeep_common::serial::{CmdSn, DataSn, R2tSn};

use super::Ticket;
use super::error::{DataInFault, R2tFault};
use crate::commands::{Request, Transfer};

/// Why a task is being aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbortCause {
    Caller,
    Time,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) ticket: Ticket,
    pub(super) lun: Lun,
    pub(super) request: Request,
    /// CmdSN, once it was sent.
    pub(super) sent: Option<CmdSn>,
    pub(super) deadline: Instant,
    pub(super) abort: Option<AbortCause>,
    /// The target said after the time was over that it does not know the task; its status may still come, once.
    pub(super) doubted: bool,
    /// When the command was sent, the last time.
    pub(super) sent_at: Instant,
    /// The connection that it is allegiant to, once it was sent.
    pub(super) cid: Cid,
    /// Its connection is gone; it waits for another one.
    pub(super) lost: bool,
    /// The first DataSN of the hole that was asked for last.
    pub(super) snacked: Option<DataSn>,
    /// The response came before all data did.
    pub(super) response: Option<(ScsiResponse, Bytes)>,
    /// The target wants to know that everything so far has arrived, under this tag.
    pub(super) acknowledge: Option<(Lun, TargetTransferTag)>,
    pub(super) data_in: DataInBuffer,
    next_r2t_sn: R2tSn,
    /// What the target asked for and was not sent yet, in the order in which it asked (DataSequenceInOrder=Yes).
    bursts: VecDeque<Burst>,
}

impl Task {
    pub(super) fn new(ticket: Ticket, lun: Lun, request: Request, deadline: Instant) -> Self {
        let data_in = DataInBuffer::new(match request.transfer {
            Transfer::In(len) => len,
            _ => 0,
        });
        Self {
            ticket,
            lun,
            request,
            sent: None,
            deadline,
            abort: None,
            doubted: false,
            sent_at: deadline,
            cid: Cid(0),
            lost: false,
            snacked: None,
            response: None,
            acknowledge: None,
            data_in,
            next_r2t_sn: R2tSn(0),
            bursts: VecDeque::new(),
        }
    }

    /// The data to send; empty for other commands.
    pub(super) fn data_out(&self) -> Bytes {
        match &self.request.transfer {
            Transfer::Out(data) => data.clone(),
            _ => Bytes::new(),
        }
    }

    /// Bytes to send. Submission bounds them far below 2^32.
    pub(super) fn out_len(&self) -> u32 {
        u32::try_from(self.data_out().len()).unwrap_or(u32::MAX)
    }

    /// Data that goes out without being asked for, after the command: from the end of the immediate data on.
    pub(super) fn begin_unsolicited(&mut self, from: u32, to: u32) {
        self.bursts.push_front(Burst::new(TargetTransferTag::RESERVED, from, to));
    }

    /// Sends nothing more of what was asked for.
    pub(super) fn forget_bursts(&mut self) {
        self.bursts.clear();
    }

    /// Takes an R2T; false when it came before. With `recovers` it may follow one that never came, and replaces the one before.
    pub(super) fn solicit(
        &mut self,
        r2t: &R2t,
        max_burst: u32,
        max_outstanding: u16,
        recovers: bool,
    ) -> Result<bool, R2tFault> {
        if recovers {
            if r2t.r2t_sn < self.next_r2t_sn {
                // RFC 7143 §7.9: a duplicate is dropped.
                return Ok(false);
            }
            // There is one at a time (§13.19), so what was asked for before is not wanted any more, or was not heard of.
            self.bursts.clear();
        }
        if r2t.r2t_sn != self.next_r2t_sn && !recovers {
            return Err(R2tFault::R2tSn { expected: self.next_r2t_sn, found: r2t.r2t_sn });
        }
        let (offset, len) = (r2t.buffer_offset, r2t.desired_data_transfer_length);
        let available = self.out_len();
        let end = match offset.checked_add(len) {
            Some(end) if end <= available => end,
            _ => {
                let end = u64::from(offset) + u64::from(len);
                return Err(R2tFault::OutOfRange { offset, end, available });
            }
        };
        if len > max_burst {
            return Err(R2tFault::TooLong { len, limit: max_burst });
        }
        let outstanding = self.bursts.iter().filter(|burst| burst.ttt != TargetTransferTag::RESERVED).count();
        if outstanding >= usize::from(max_outstanding) {
            return Err(R2tFault::TooMany { limit: max_outstanding });
        }
        self.next_r2t_sn = r2t.r2t_sn.next();
        self.bursts.push_back(Burst::new(r2t.ttt, offset, end));
        Ok(true)
    }

    /// The next piece of the first burst, at most `max` bytes long; `None` when there is nothing to send.
    pub(super) fn next_piece(&mut self, max: u32) -> Option<Piece> {
        let data = self.data_out();
        let burst = self.bursts.front_mut()?;
        let (from, to) = (burst.next, burst.end.min(burst.next.saturating_add(max)));
        burst.next = to;
        let piece = Piece {
            ttt: burst.ttt,
            offset: from,
            data_sn: burst.data_sn.advance(),
            is_final: to == burst.end,
            data: data.slice(from as usize..to as usize),
        };
        if piece.is_final {
            self.bursts.pop_front();
        }
        Some(piece)
    }

    pub(super) fn has_data_to_send(&self) -> bool {
        !self.bursts.is_empty()
    }
}

/// One sequence of Data-Out PDUs.
#[derive(Debug)]
struct Burst {
    ttt: TargetTransferTag,
    next: u32,
    end: u32,
    data_sn: DataSn,
}

impl Burst {
    const fn new(ttt: TargetTransferTag, from: u32, end: u32) -> Self {
        Self { ttt, next: from, end, data_sn: DataSn(0) }
    }
}

/// What one Data-Out PDU carries.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) ttt: TargetTransferTag,
    pub(super) offset: u32,
    pub(super) data_sn: DataSn,
    pub(super) is_final: bool,
    pub(super) data: Bytes,
}

/// Data-In as it arrives, in order and without holes.
#[derive(Debug)]
pub(super) struct DataInBuffer {
    limit: u32,
    next_sn: DataSn,
    data: Collected,
    /// What came after a piece that did not, by DataSN.
    early: BTreeMap<u32, (u32, Bytes)>,
}

/// Data of one PDU stays where it was received; from the second PDU on it is copied together.
#[derive(Debug)]
enum Collected {
    One(Bytes),
    Many(BytesMut),
}

/// Below this many bytes a slice is copied, so that it does not keep a whole receive buffer alive.
const SMALL: usize = 4096;

impl Default for DataInBuffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl DataInBuffer {
    fn new(limit: u32) -> Self {
        Self { limit, next_sn: DataSn(0), data: Collected::One(Bytes::new()), early: BTreeMap::new() }
    }

    fn len(&self) -> usize {
        match &self.data {
            Collected::One(data) => data.len(),
            Collected::Many(data) => data.len(),
        }
    }

    /// Takes one PDU, which may come out of order or a second time.
    pub(super) fn push_or_keep(&mut self, header: &DataIn, data: Bytes) -> Result<(), DataInFault> {
        if header.data_sn < self.next_sn || self.early.contains_key(&header.data_sn.0) {
            return Ok(());
        }
        let end = u64::from(header.buffer_offset) + data.len() as u64;
        if end > u64::from(self.limit) {
            return Err(DataInFault::TooLong { end, limit: self.limit });
        }
        self.early.insert(header.data_sn.0, (header.buffer_offset, data));
        while let Some((offset, data)) = self.early.remove(&self.next_sn.0) {
            self.append(offset, data)?;
        }
        Ok(())
    }

    /// The pieces that are missing before one that came, or before `end`: the first DataSN and how many.
    pub(super) fn missing(&self, end: Option<DataSn>) -> Option<(DataSn, u32)> {
        let known = self.early.first_key_value().map(|(&number, _)| DataSn(number));
        let until = known.or(end.filter(|&end| end > self.next_sn))?;
        Some((self.next_sn, until.distance_from(self.next_sn)))
    }

    /// The first DataSN that did not come.
    pub(super) const fn next_sn(&self) -> DataSn {
        self.next_sn
    }

    /// Drops what came after a hole: it will come again.
    pub(super) fn forget_early(&mut self) {
        self.early.clear();
    }

    /// Takes one PDU, which must be the next.
    pub(super) fn push(&mut self, header: &DataIn, data: Bytes) -> Result<(), DataInFault> {
        if header.data_sn != self.next_sn {
            return Err(DataInFault::DataSn { expected: self.next_sn, found: header.data_sn });
        }
        self.append(header.buffer_offset, data)
    }

    fn append(&mut self, offset: u32, data: Bytes) -> Result<(), DataInFault> {
        let expected = u32::try_from(self.len()).unwrap_or(u32::MAX);
        // A PDU without data has no place that could be wrong.
        if offset != expected && !data.is_empty() {
            return Err(DataInFault::Offset { expected, found: offset });
        }
        let end = u64::from(expected) + data.len() as u64;
        if end > u64::from(self.limit) {
            return Err(DataInFault::TooLong { end, limit: self.limit });
        }
        self.next_sn = self.next_sn.next();
        match &mut self.data {
            _ if data.is_empty() => {}
            Collected::One(first) if first.is_empty() => *first = data,
            Collected::One(first) => {
                let mut many = BytesMut::with_capacity(self.limit as usize);
                many.extend_from_slice(first);
                many.extend_from_slice(&data);
                self.data = Collected::Many(many);
            }
            Collected::Many(many) => many.extend_from_slice(&data),
        }
        Ok(())
    }

    /// Everything that came.
    pub(super) fn finish(self) -> Bytes {
        match self.data {
            Collected::One(data) if data.len() < SMALL => Bytes::copy_from_slice(&data),
            Collected::One(data) => data,
            Collected::Many(data) => data.freeze(),
        }
    }
}
