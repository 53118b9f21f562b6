//! Cutting a command's data for the initiator into Data-In PDUs (RFC 7143 §11.7), and finding pieces again that the initiator
//! asks for a second time (§11.16).

use bytes::{Bytes, BytesMut};
use lunkeep_common::pdu::TargetTransferTag;
use lunkeep_common::pdu::scsi_response::Residual;
use lunkeep_common::serial::DataSn;

/// One piece of data, ready for a Data-In PDU.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DataInPiece {
    pub(super) data: Bytes,
    pub(super) buffer_offset: u32,
    pub(super) data_sn: DataSn,
    /// F bit: the end of a sequence of at most MaxBurstLength.
    pub(super) is_final: bool,
    /// Nothing follows this piece.
    pub(super) is_last: bool,
    /// A bit: the tag under which the initiator is to acknowledge everything up to here.
    pub(super) acknowledge: Option<TargetTransferTag>,
}

/// Where a piece that was sent lies.
#[derive(Clone, Copy, Debug)]
struct Sent {
    offset: usize,
    len: usize,
    is_final: bool,
    acknowledge: Option<TargetTransferTag>,
}

/// The data of one command on its way out.
#[derive(Debug)]
pub(super) struct DataInTransfer {
    data: Bytes,
    sent: usize,
    next_data_sn: DataSn,
    /// Bytes of the present sequence that were sent.
    in_burst: usize,
    /// Every piece that was sent; empty where nothing can be asked for again.
    history: Vec<Sent>,
    keeps_history: bool,
    /// The data acknowledgment reference number: the first DataSN that the initiator has not acknowledged (RFC 7143 §11.5.6).
    acknowledged: DataSn,
}

impl DataInTransfer {
    /// A transfer of what the device server returned, cut to the length that the initiator expects.
    pub(super) fn new(mut data_in: Vec<Bytes>, expected: u32) -> Self {
        let mut data = match data_in.len() {
            0 => Bytes::new(),
            1 => data_in.swap_remove(0),
            _ => {
                let mut whole = BytesMut::with_capacity(data_in.iter().map(Bytes::len).sum());
                data_in.iter().for_each(|part| whole.extend_from_slice(part));
                whole.freeze()
            }
        };
        data.truncate(expected as usize);
        Self {
            data,
            sent: 0,
            next_data_sn: DataSn(0),
            in_burst: 0,
            history: Vec::new(),
            keeps_history: false,
            acknowledged: DataSn(0),
        }
    }

    /// Notes from now on what is sent, so that it can be sent again (error recovery level 1 and above).
    pub(super) fn keep_history(&mut self) {
        self.keeps_history = true;
    }

    /// Whether there is nothing to send, or nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.sent == self.data.len()
    }

    /// Data-In PDUs sent so far.
    pub(super) fn pdus_sent(&self) -> DataSn {
        self.next_data_sn
    }

    /// The next piece, at most `segment_max` bytes and within a sequence of `burst_max` bytes; `None` when all is sent. At the
    /// end of a sequence that is not the last one an acknowledgment is asked for, as often as RFC 7143 §11.7.2 lets a target.
    pub(super) fn next_piece(
        &mut self,
        segment_max: u32,
        burst_max: u32,
        tag: impl FnOnce() -> TargetTransferTag,
    ) -> Option<DataInPiece> {
        if self.is_done() {
            return None;
        }
        let burst_room = burst_max as usize - self.in_burst;
        let len = (self.data.len() - self.sent).min(segment_max as usize).min(burst_room);
        let buffer_offset = u32::try_from(self.sent).ok()?;
        let data = self.data.slice(self.sent..self.sent + len);
        self.sent += len;
        self.in_burst += len;
        let is_last = self.is_done();
        let is_final = is_last || self.in_burst == burst_max as usize;
        if is_final {
            self.in_burst = 0;
        }
        let acknowledge = (self.keeps_history && is_final && !is_last).then(tag);
        if self.keeps_history {
            self.history.push(Sent { offset: buffer_offset as usize, len, is_final, acknowledge });
        }
        let data_sn = self.next_data_sn.advance();
        Some(DataInPiece { data, buffer_offset, data_sn, is_final, is_last, acknowledge })
    }

    /// A piece that was sent and not acknowledged, exactly as it was (RFC 7143 §11.16.1).
    pub(super) fn replica(&self, data_sn: DataSn) -> Option<DataInPiece> {
        if data_sn < self.acknowledged {
            return None;
        }
        let sent = self.history.get(data_sn.0 as usize)?;
        Some(DataInPiece {
            data: self.data.slice(sent.offset..sent.offset + sent.len),
            buffer_offset: u32::try_from(sent.offset).ok()?,
            data_sn,
            is_final: sent.is_final,
            is_last: sent.offset + sent.len == self.data.len(),
            acknowledge: sent.acknowledge,
        })
    }

    /// Which pieces a Data SNACK names; `None` when it names one that was not sent or was acknowledged.
    pub(super) fn run(&self, beg_run: u32, run_length: u32) -> Option<std::ops::Range<u32>> {
        let sent = self.next_data_sn.0;
        let end = if run_length == 0 { sent } else { beg_run.checked_add(run_length)? };
        (beg_run >= self.acknowledged.0 && beg_run < end && end <= sent).then_some(beg_run..end)
    }

    /// Takes an acknowledgment of every piece before `data_sn`; false when that cannot be.
    pub(super) fn acknowledge(&mut self, data_sn: DataSn) -> bool {
        let plausible = data_sn.0 >= self.acknowledged.0 && data_sn.0 <= self.next_data_sn.0;
        if plausible {
            self.acknowledged = data_sn;
        }
        plausible
    }

    /// Whether the initiator acknowledges under this tag.
    pub(super) fn awaits_acknowledgment(&self, ttt: TargetTransferTag) -> bool {
        self.history.iter().any(|sent| sent.acknowledge == Some(ttt))
    }

    /// Goes back to the first piece that was not acknowledged: all that follows is cut and sent anew.
    pub(super) fn rewind(&mut self) {
        let keep = self.acknowledged.0 as usize;
        self.history.truncate(keep);
        self.next_data_sn = self.acknowledged;
        self.sent = self.history.last().map_or(0, |last| last.offset + last.len);
        let open = self.history.iter().rev().take_while(|sent| !sent.is_final);
        self.in_burst = open.map(|sent| sent.len).sum();
    }
}

/// Residual between what the initiator expected and what the command would move (RFC 7143 §11.4.5).
pub(super) fn residual(expected: u32, actual: u64) -> Residual {
    let clamp = |difference: u64| u32::try_from(difference).unwrap_or(u32::MAX);
    let expected = u64::from(expected);
    match actual.cmp(&expected) {
        std::cmp::Ordering::Equal => Residual::None,
        std::cmp::Ordering::Greater => Residual::Overflow(clamp(actual - expected)),
        std::cmp::Ordering::Less => Residual::Underflow(clamp(expected - actual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: TargetTransferTag = TargetTransferTag(7);

    #[test]
    fn what_was_sent_is_found_again_until_it_is_acknowledged() {
        let mut transfer = DataInTransfer::new(vec![Bytes::from_iter(0..100)], 100);
        transfer.keep_history();
        let sent: Vec<_> = std::iter::from_fn(|| transfer.next_piece(30, 40, || TAG)).collect();
        assert_eq!(sent.len(), 5);
        let asks: Vec<_> = sent.iter().map(|piece| piece.acknowledge.is_some()).collect();
        assert_eq!(asks, [false, true, false, true, false], "once for each sequence but the last");
        assert_eq!(transfer.replica(DataSn(1)).as_ref(), Some(&sent[1]));
        assert_eq!(transfer.run(1, 0), Some(1..5));
        assert_eq!(transfer.run(1, 2), Some(1..3));
        assert_eq!((transfer.run(5, 0), transfer.run(4, 2), transfer.run(u32::MAX, 2)), (None, None, None));
        assert!(transfer.acknowledge(DataSn(2)));
        assert!(!transfer.acknowledge(DataSn(1)) && !transfer.acknowledge(DataSn(6)));
        assert_eq!((transfer.replica(DataSn(1)), transfer.run(1, 1)), (None, None));
    }

    #[test]
    fn going_back_cuts_what_is_not_acknowledged_anew() {
        let mut transfer = DataInTransfer::new(vec![Bytes::from_iter(0..100)], 100);
        transfer.keep_history();
        while transfer.next_piece(30, 40, || TAG).is_some() {}
        assert!(transfer.acknowledge(DataSn(3)));
        transfer.rewind();
        let again: Vec<_> = std::iter::from_fn(|| transfer.next_piece(10, 40, || TAG)).collect();
        let places: Vec<_> = again.iter().map(|p| (p.data_sn.0, p.buffer_offset, p.data.len())).collect();
        assert_eq!(places, [(3, 70, 10), (4, 80, 10), (5, 90, 10)]);
        assert!(again[0].is_final, "it ends the sequence that the third piece had begun");
    }

    fn pieces(len: usize, segment_max: u32, burst_max: u32) -> Vec<(u32, usize, bool)> {
        let mut transfer = DataInTransfer::new(vec![Bytes::from(vec![1; len])], u32::MAX);
        std::iter::from_fn(|| transfer.next_piece(segment_max, burst_max, || TAG))
            .map(|piece| (piece.buffer_offset, piece.data.len(), piece.is_final))
            .collect()
    }

    #[test]
    fn segments_and_sequences_keep_their_limits() {
        assert_eq!(pieces(0, 512, 1024), []);
        assert_eq!(pieces(512, 512, 1024), [(0, 512, true)]);
        assert_eq!(pieces(1025, 512, 1024), [(0, 512, false), (512, 512, true), (1024, 1, true)]);
        assert_eq!(pieces(1300, 600, 1000), [(0, 600, false), (600, 400, true), (1000, 300, true)]);
    }

    #[test]
    fn data_is_cut_to_what_the_initiator_expects() {
        let parts = vec![Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        let mut transfer = DataInTransfer::new(parts, 5);
        let piece = transfer.next_piece(512, 512, || TAG).unwrap();
        assert_eq!(&piece.data[..], b"abcde");
        assert!(piece.is_last && transfer.is_done());
    }

    #[test]
    fn residuals_say_which_side_was_short() {
        assert_eq!(residual(512, 512), Residual::None);
        assert_eq!(residual(512, 1024), Residual::Overflow(512));
        assert_eq!(residual(1024, 0), Residual::Underflow(1024));
        assert_eq!(residual(0, 1 << 40), Residual::Overflow(u32::MAX));
    }
}
