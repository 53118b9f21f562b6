//! Taking a command's data from the initiator: immediate, unsolicited and solicited (RFC 7143 §4.2.5.2, §11.7, §11.8).
//!
//! Above error recovery level 0 a hole does not end the command: the rest of the sequence is dropped, and what is missing is
//! asked for again with an R2T of its own, the recovery R2T (§7.8, §7.9).
//!
//! DataPDUInOrder and DataSequenceInOrder are always Yes here (we offer Yes, and the result function is OR), so that data
//! arrives in the order of its offsets, and R2Ts are answered in the order in which they were sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use lunkeep_common::pdu::{DataOut, TargetTransferTag};
use lunkeep_common::scsi::{Asc, Sense, SenseKey};
use lunkeep_common::serial::{DataSn, R2tSn};

use crate::limits::DATA_OUT_COPIED_MAX;

/// Lengths that were negotiated for the session (RFC 7143 §13).
#[derive(Clone, Copy, Debug)]
pub(super) struct BurstLimits {
    /// MaxBurstLength in bytes.
    pub(super) max_burst_length: u32,
    /// FirstBurstLength in bytes.
    pub(super) first_burst_length: u32,
    /// MaxOutstandingR2T.
    pub(super) max_outstanding_r2t: u16,
}

/// An R2T whose data has not all arrived.
#[derive(Clone, Copy, Debug)]
struct OutstandingR2t {
    ttt: TargetTransferTag,
    /// First byte that was asked for.
    offset: u32,
    /// Bytes asked for.
    length: u32,
    /// Bytes of them that arrived.
    received: u32,
    next_data_sn: DataSn,
    /// The R2T was sent a second time because nothing came for it.
    repeated: bool,
}

/// What became of a Data-Out PDU above error recovery level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is part of the data.
    Data,
    /// It came twice, or after a hole: dropped.
    Dropped,
    /// It ends a sequence with a hole: time for [`DataOutTransfer::recover`].
    SequenceLost,
}

/// What to do about data that does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Send this R2T again: perhaps it was lost.
    Repeat(R2tRequest),
    /// So many bytes that were asked for are asked for no more; they will be by new R2Ts.
    Renew {
        /// Bytes.
        given_up: u32,
    },
}

/// An R2T to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct R2tRequest {
    pub(super) ttt: TargetTransferTag,
    pub(super) r2t_sn: R2tSn,
    pub(super) buffer_offset: u32,
    pub(super) length: u32,
}

/// Why a Data-Out PDU cannot belong to the transfer. Each ends the task with CHECK CONDITION (RFC 7143 §7.8, §7.9: at
/// error recovery level 0 missing data cannot be asked for again).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DataOutError {
    #[error("unsolicited data that was not announced, or beyond FirstBurstLength")]
    UnexpectedUnsolicited,
    #[error("target transfer tag of no outstanding R2T, or not of the first one")]
    WrongTransferTag,
    #[error("DataSN out of order")]
    WrongDataSn,
    #[error("buffer offset out of order")]
    WrongOffset,
    #[error("more data than was asked for")]
    TooMuch,
    #[error("the sequence ended before all data that was asked for")]
    TooLittle,
}

impl DataOutError {
    /// What the initiator is told (RFC 7143 §11.4.7.2, SPC-4 table D.2).
    pub(super) const fn sense(self) -> Sense {
        let asc = match self {
            Self::UnexpectedUnsolicited => Asc::WRITE_ERROR_UNEXPECTED_UNSOLICITED_DATA,
            Self::TooLittle => Asc::WRITE_ERROR_NOT_ENOUGH_UNSOLICITED_DATA,
            Self::WrongTransferTag => Asc::INVALID_TARGET_PORT_TRANSFER_TAG,
            Self::TooMuch => Asc::TOO_MUCH_WRITE_DATA,
            Self::WrongOffset => Asc::DATA_OFFSET_ERROR,
            Self::WrongDataSn => Asc::DATA_PHASE_ERROR,
        };
        Sense::new(SenseKey::AbortedCommand, asc)
    }
}

/// The data of one command on its way in.
#[derive(Debug)]
pub(super) struct DataOutTransfer {
    /// Expected Data Transfer Length: no more than this ever arrives.
    expected: u32,
    /// Unsolicited Data-Out PDUs may still come (F was clear in the command).
    unsolicited_open: bool,
    next_unsolicited_sn: DataSn,
    /// Bytes that arrived, in order.
    received: u32,
    /// Bytes that arrived or were asked for.
    requested: u32,
    /// Bytes that the device server takes; `None` until it said so.
    wanted: Option<u32>,
    outstanding: VecDeque<OutstandingR2t>,
    next_r2t_sn: R2tSn,
    segments: Vec<Bytes>,
    /// Short segments since the last long one, together.
    short: BytesMut,
    /// Nothing more is taken.
    abandoned: bool,
    /// The sequence that is coming has a hole: what else comes of it is dropped.
    broken: bool,
    /// Unsolicited data that was announced is not waited for any more.
    unsolicited_given_up: bool,
    /// R2Ts that were sent, by R2TSN.
    history: Vec<R2tRequest>,
    /// Recoveries since data last came.
    recoveries: u32,
}

impl DataOutTransfer {
    /// A transfer of at most `expected` bytes that begins with `immediate`.
    pub(super) fn new(expected: u32, immediate: Bytes, unsolicited_follows: bool) -> Self {
        let received = u32::try_from(immediate.len()).unwrap_or(u32::MAX);
        let segments = if immediate.is_empty() { Vec::new() } else { vec![immediate] };
        Self {
            expected,
            unsolicited_open: unsolicited_follows,
            next_unsolicited_sn: DataSn(0),
            received,
            requested: received,
            wanted: None,
            outstanding: VecDeque::new(),
            next_r2t_sn: R2tSn(0),
            segments,
            short: BytesMut::new(),
            abandoned: false,
            broken: false,
            unsolicited_given_up: false,
            history: Vec::new(),
            recoveries: 0,
        }
    }

    /// The device server takes `wanted` bytes; what exceeds the expected length is a residual and never asked for.
    pub(super) fn want(&mut self, wanted: u64) {
        if self.abandoned {
            return;
        }
        self.wanted = Some(u32::try_from(wanted).unwrap_or(u32::MAX).min(self.expected));
    }

    /// Whether the initiator still owes data: until then neither data nor status may move on.
    pub(super) fn is_quiet(&self) -> bool {
        !self.unsolicited_open && self.outstanding.is_empty()
    }

    /// Whether all the data that the device server takes is here.
    pub(super) fn is_complete(&self) -> bool {
        self.is_quiet() && self.wanted.is_some_and(|wanted| self.received >= wanted)
    }

    /// R2TSN of the next R2T: so many were sent (RFC 7143 §11.4.8 counts them in ExpDataSN).
    pub(super) fn r2t_sent(&self) -> R2tSn {
        self.next_r2t_sn
    }

    /// Tags of R2Ts that the initiator may still answer.
    pub(super) fn outstanding_tags(&self) -> impl Iterator<Item = TargetTransferTag> {
        self.outstanding.iter().map(|r2t| r2t.ttt)
    }

    /// Whether there is data that has neither arrived nor been asked for.
    pub(super) fn wants_more(&self) -> bool {
        !self.unsolicited_open && self.wanted.is_some_and(|wanted| self.requested < wanted)
    }

    /// The next R2T to send within the limits, if any.
    pub(super) fn next_r2t(
        &mut self,
        limits: &BurstLimits,
        ttt: impl FnOnce() -> TargetTransferTag,
    ) -> Option<R2tRequest> {
        let wanted = self.wanted?;
        if !self.wants_more() || self.outstanding.len() >= usize::from(limits.max_outstanding_r2t) {
            return None;
        }
        let request = R2tRequest {
            ttt: ttt(),
            r2t_sn: self.next_r2t_sn.advance(),
            buffer_offset: self.requested,
            length: (wanted - self.requested).min(limits.max_burst_length),
        };
        self.requested += request.length;
        self.outstanding.push_back(OutstandingR2t {
            ttt: request.ttt,
            offset: request.buffer_offset,
            length: request.length,
            received: 0,
            next_data_sn: DataSn(0),
            repeated: false,
        });
        self.history.push(request);
        Some(request)
    }

    /// Takes a Data-Out PDU where data can be asked for again: duplicates are dropped, and so is what follows a hole.
    pub(super) fn receive_or_recover(
        &mut self,
        header: &DataOut,
        data: Bytes,
        limits: &BurstLimits,
    ) -> Result<Taken, DataOutError> {
        if let Some(early) = self.judge_order(header) {
            return Ok(early);
        }
        self.receive(header, data, limits)?;
        self.recoveries = 0;
        Ok(Taken::Data)
    }

    /// A Data-Out PDU whose data was damaged; its header is sound.
    pub(super) fn receive_damaged(&mut self, header: &DataOut) -> Taken {
        if let Some(early) = self.judge_order(header) {
            return early;
        }
        self.broken = true;
        if header.is_final { Taken::SequenceLost } else { Taken::Dropped }
    }

    /// What the order of the PDUs says about one; `None` when it is the next of its sequence.
    fn judge_order(&mut self, header: &DataOut) -> Option<Taken> {
        let expected = if header.ttt == TargetTransferTag::RESERVED {
            // A command that was sent twice has its data sent twice.
            if self.unsolicited_given_up || header.data_sn < self.next_unsolicited_sn {
                return Some(Taken::Dropped);
            }
            self.unsolicited_open.then_some(self.next_unsolicited_sn)
        } else {
            self.outstanding.front().filter(|first| first.ttt == header.ttt).map(|first| first.next_data_sn)
        };
        let expected = expected?;
        if header.data_sn < expected {
            return Some(Taken::Dropped);
        }
        self.broken |= header.data_sn != expected;
        self.broken.then_some(if header.is_final { Taken::SequenceLost } else { Taken::Dropped })
    }

    /// Data is missing, because its sequence ended with a hole or because nothing came in time. The tags that are given up
    /// must be taken with [`DataOutTransfer::outstanding_tags`] before.
    pub(super) fn recover(&mut self, timed_out: bool) -> Option<Recovery> {
        if self.is_quiet() {
            return None;
        }
        self.recoveries += 1;
        let first = self.outstanding.front_mut();
        if let Some(first) = first
            && timed_out
            && first.received == 0
            && !self.broken
            && !std::mem::replace(&mut first.repeated, true)
        {
            let ttt = first.ttt;
            let sent = self.history.iter().rev().find(|request| request.ttt == ttt)?;
            return Some(Recovery::Repeat(*sent));
        }
        Some(Recovery::Renew { given_up: self.give_up_requests() })
    }

    /// Waits for nothing that was asked for or announced; it will be asked for anew. Returns the bytes that were under way.
    pub(super) fn give_up_requests(&mut self) -> u32 {
        let given_up = self.outstanding.iter().map(|r2t| r2t.length - r2t.received).sum();
        self.outstanding.clear();
        self.unsolicited_given_up |= self.unsolicited_open;
        self.unsolicited_open = false;
        self.broken = false;
        self.requested = self.received;
        given_up
    }

    /// Recoveries without any data since.
    pub(super) fn recoveries(&self) -> u32 {
        self.recoveries
    }

    /// The R2T with this number, if it was sent: for an initiator that has not got it.
    pub(super) fn replica(&self, r2t_sn: u32) -> Option<R2tRequest> {
        self.history.get(r2t_sn as usize).copied()
    }

    /// Which R2Ts a SNACK names; `None` when it names one that was not sent.
    pub(super) fn run(&self, beg_run: u32, run_length: u32) -> Option<std::ops::Range<u32>> {
        let sent = self.next_r2t_sn.0;
        let end = if run_length == 0 { sent } else { beg_run.checked_add(run_length)? };
        (beg_run < end && end <= sent).then_some(beg_run..end)
    }

    /// Takes a Data-Out PDU.
    pub(super) fn receive(
        &mut self,
        header: &DataOut,
        data: Bytes,
        limits: &BurstLimits,
    ) -> Result<(), DataOutError> {
        let len = u32::try_from(data.len()).map_err(|_| DataOutError::TooMuch)?;
        if header.ttt == TargetTransferTag::RESERVED {
            self.receive_unsolicited(header, len, limits)?;
        } else {
            self.receive_solicited(header, len)?;
        }
        self.received += len;
        self.requested = self.requested.max(self.received);
        self.keep(data);
        Ok(())
    }

    /// A segment keeps the whole buffer alive that it came in: short ones are copied together.
    fn keep(&mut self, data: Bytes) {
        if data.len() <= DATA_OUT_COPIED_MAX {
            self.short.extend_from_slice(&data);
        } else {
            self.end_short();
            self.segments.push(data);
        }
    }

    fn end_short(&mut self) {
        if !self.short.is_empty() {
            self.segments.push(std::mem::take(&mut self.short).freeze());
        }
    }

    fn receive_unsolicited(
        &mut self,
        header: &DataOut,
        len: u32,
        limits: &BurstLimits,
    ) -> Result<(), DataOutError> {
        let room = self.expected.min(limits.first_burst_length).saturating_sub(self.received);
        if !self.unsolicited_open || len > room {
            return Err(DataOutError::UnexpectedUnsolicited);
        }
        if header.data_sn != self.next_unsolicited_sn {
            return Err(DataOutError::WrongDataSn);
        }
        if header.buffer_offset != self.received {
            return Err(DataOutError::WrongOffset);
        }
        self.next_unsolicited_sn.advance();
        self.unsolicited_open = !header.is_final;
        Ok(())
    }

    fn receive_solicited(&mut self, header: &DataOut, len: u32) -> Result<(), DataOutError> {
        let first = self.outstanding.front_mut().filter(|first| first.ttt == header.ttt);
        let r2t = first.ok_or(DataOutError::WrongTransferTag)?;
        if header.data_sn != r2t.next_data_sn {
            return Err(DataOutError::WrongDataSn);
        }
        if header.buffer_offset != r2t.offset + r2t.received {
            return Err(DataOutError::WrongOffset);
        }
        if len > r2t.length - r2t.received {
            return Err(DataOutError::TooMuch);
        }
        if header.is_final && len < r2t.length - r2t.received {
            return Err(DataOutError::TooLittle);
        }
        r2t.next_data_sn.advance();
        r2t.received += len;
        if r2t.received == r2t.length {
            self.outstanding.pop_front();
            self.broken = false;
        }
        Ok(())
    }

    /// The initiator will send nothing more for this task that is of use (the task is being ended).
    pub(super) fn abandon(&mut self) {
        self.segments.clear();
        self.short = BytesMut::new();
        self.outstanding.clear();
        self.unsolicited_open = false;
        self.wanted = None;
        self.abandoned = true;
    }

    /// Whether the transfer was abandoned: data that still comes is dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Everything that the device server wanted, and no more.
    pub(super) fn take_data(&mut self) -> Vec<Bytes> {
        let mut room = self.wanted.unwrap_or(0) as usize;
        self.end_short();
        let mut segments = std::mem::take(&mut self.segments);
        segments.retain_mut(|segment| {
            segment.truncate(room);
            room -= segment.len();
            !segment.is_empty()
        });
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunkeep_common::pdu::InitiatorTaskTag;
    use lunkeep_common::scsi::Lun;
    use lunkeep_common::serial::StatSn;

    const LIMITS: BurstLimits =
        BurstLimits { max_burst_length: 1000, first_burst_length: 600, max_outstanding_r2t: 2 };

    fn pdu(ttt: u32, sn: u32, offset: u32, is_final: bool) -> DataOut {
        DataOut {
            is_final,
            lun: Lun::default(),
            itt: InitiatorTaskTag(1),
            ttt: TargetTransferTag(ttt),
            exp_stat_sn: StatSn(0),
            data_sn: DataSn(sn),
            buffer_offset: offset,
        }
    }

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    const UNSOLICITED: u32 = u32::MAX;

    #[test]
    fn immediate_then_unsolicited_then_solicited_data_adds_up() {
        let mut transfer = DataOutTransfer::new(2500, bytes(100), true);
        transfer.want(2500);
        assert_eq!(
            transfer.next_r2t(&LIMITS, || TargetTransferTag(1)),
            None,
            "unsolicited data is still to come"
        );
        transfer.receive(&pdu(UNSOLICITED, 0, 100, false), bytes(300), &LIMITS).unwrap();
        transfer.receive(&pdu(UNSOLICITED, 1, 400, true), bytes(200), &LIMITS).unwrap();
        let first = transfer.next_r2t(&LIMITS, || TargetTransferTag(1)).unwrap();
        assert_eq!((first.buffer_offset, first.length, first.r2t_sn), (600, 1000, R2tSn(0)));
        let second = transfer.next_r2t(&LIMITS, || TargetTransferTag(2)).unwrap();
        assert_eq!((second.buffer_offset, second.length, second.r2t_sn), (1600, 900, R2tSn(1)));
        assert_eq!(transfer.next_r2t(&LIMITS, || TargetTransferTag(3)), None, "MaxOutstandingR2T");
        transfer.receive(&pdu(1, 0, 600, true), bytes(1000), &LIMITS).unwrap();
        assert!(!transfer.is_complete());
        transfer.receive(&pdu(2, 0, 1600, true), bytes(900), &LIMITS).unwrap();
        assert!(transfer.is_complete());
        assert_eq!(transfer.take_data().iter().map(Bytes::len).sum::<usize>(), 2500);
    }

    #[test]
    fn data_beyond_what_the_device_takes_is_received_and_cut() {
        let mut transfer = DataOutTransfer::new(600, bytes(600), false);
        transfer.want(512);
        assert!(transfer.is_complete());
        assert_eq!(transfer.take_data().iter().map(Bytes::len).sum::<usize>(), 512);
    }

    #[test]
    fn no_more_than_the_expected_length_is_asked_for() {
        let mut transfer = DataOutTransfer::new(512, Bytes::new(), false);
        transfer.want(1 << 40);
        assert_eq!(transfer.next_r2t(&LIMITS, || TargetTransferTag(1)).unwrap().length, 512);
        assert_eq!(transfer.next_r2t(&LIMITS, || TargetTransferTag(2)), None);
    }

    #[test]
    fn each_breach_of_order_is_named() {
        let fresh = || {
            let mut transfer = DataOutTransfer::new(2000, Bytes::new(), false);
            transfer.want(2000);
            transfer.next_r2t(&LIMITS, || TargetTransferTag(9)).unwrap();
            transfer
        };
        let refuse = |header: DataOut, len: usize| fresh().receive(&header, bytes(len), &LIMITS).unwrap_err();
        assert_eq!(refuse(pdu(UNSOLICITED, 0, 0, true), 1), DataOutError::UnexpectedUnsolicited);
        assert_eq!(refuse(pdu(8, 0, 0, true), 1000), DataOutError::WrongTransferTag);
        assert_eq!(refuse(pdu(9, 1, 0, true), 1000), DataOutError::WrongDataSn);
        assert_eq!(refuse(pdu(9, 0, 4, true), 996), DataOutError::WrongOffset);
        assert_eq!(refuse(pdu(9, 0, 0, true), 1001), DataOutError::TooMuch);
        assert_eq!(refuse(pdu(9, 0, 0, true), 999), DataOutError::TooLittle);
        assert!(fresh().receive(&pdu(9, 0, 0, true), bytes(1000), &LIMITS).is_ok());
    }

    #[test]
    fn unsolicited_data_stops_at_first_burst_length() {
        let mut transfer = DataOutTransfer::new(2000, bytes(500), true);
        let refused = transfer.receive(&pdu(UNSOLICITED, 0, 500, true), bytes(101), &LIMITS);
        assert_eq!(refused, Err(DataOutError::UnexpectedUnsolicited));
        assert!(transfer.receive(&pdu(UNSOLICITED, 0, 500, true), bytes(100), &LIMITS).is_ok());
    }
}
