//! Cutting a command's data for the initiator into Data-In PDUs (RFC 7143 §11.7).

use bytes::{Bytes, BytesMut};
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
}

/// The data of one command on its way out.
#[derive(Debug)]
pub(super) struct DataInTransfer {
    data: Bytes,
    sent: usize,
    next_data_sn: DataSn,
    /// Bytes of the present sequence that were sent.
    in_burst: usize,
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
        Self { data, sent: 0, next_data_sn: DataSn(0), in_burst: 0 }
    }

    /// Whether there is nothing to send, or nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.sent == self.data.len()
    }

    /// Data-In PDUs sent so far.
    pub(super) fn pdus_sent(&self) -> DataSn {
        self.next_data_sn
    }

    /// The next piece, at most `segment_max` bytes and within a sequence of `burst_max` bytes; `None` when all is sent.
    pub(super) fn next_piece(&mut self, segment_max: u32, burst_max: u32) -> Option<DataInPiece> {
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
        Some(DataInPiece { data, buffer_offset, data_sn: self.next_data_sn.advance(), is_final, is_last })
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

    fn pieces(len: usize, segment_max: u32, burst_max: u32) -> Vec<(u32, usize, bool)> {
        let mut transfer = DataInTransfer::new(vec![Bytes::from(vec![1; len])], u32::MAX);
        std::iter::from_fn(|| transfer.next_piece(segment_max, burst_max))
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
        let piece = transfer.next_piece(512, 512).unwrap();
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
