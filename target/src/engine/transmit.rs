//! PDUs on their way to the socket: those that are ready together leave in one vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use lunkeep_common::pdu::WirePdu;
use tokio::net::TcpStream;

/// PDUs of one vectored write, three slices each: Linux takes up to 1024 slices, beyond some dozens nothing is gained.
const PDUS_MAX: usize = 32;

/// An ordered queue of PDUs for one socket.
#[derive(Debug, Default)]
pub(super) struct TransmitBuffer {
    pdus: VecDeque<WirePdu>,
    /// Bytes of the first PDU that have left.
    sent_of_first: usize,
    len: usize,
}

impl TransmitBuffer {
    pub(super) fn push(&mut self, pdu: WirePdu) {
        self.len += pdu.len();
        self.pdus.push_back(pdu);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pdus.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Writes until everything left or the socket takes no more.
    pub(super) fn write_to(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.pdus.is_empty() {
            let written = {
                let mut slices: Vec<IoSlice<'_>> =
                    self.pdus.iter().take(PDUS_MAX).flat_map(WirePdu::slices).collect();
                let mut slices = slices.as_mut_slice();
                IoSlice::advance_slices(&mut slices, self.sent_of_first);
                stream.try_write_vectored(slices)
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, written: usize) {
        self.len -= written;
        self.sent_of_first += written;
        while let Some(first) = self.pdus.front()
            && first.len() <= self.sent_of_first
        {
            self.sent_of_first -= first.len();
            self.pdus.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use lunkeep_common::pdu::{Digests, InitiatorTaskTag, NopIn, TargetHeader, TargetPdu, TargetTransferTag};
    use lunkeep_common::scsi::Lun;
    use lunkeep_common::serial::{CmdSn, StatSn};

    fn pdu(data: &'static [u8]) -> WirePdu {
        let header = NopIn {
            lun: Lun(0),
            itt: InitiatorTaskTag::RESERVED,
            ttt: TargetTransferTag(1),
            stat_sn: StatSn(1),
            exp_cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(1),
        };
        TargetPdu::with_data(TargetHeader::NopIn(header), Bytes::from_static(data))
            .encode(Digests::NONE)
            .unwrap()
    }

    #[test]
    fn a_partial_write_leaves_exactly_the_rest() {
        let mut buffer = TransmitBuffer::default();
        buffer.push(pdu(b"abcd"));
        buffer.push(pdu(b""));
        assert_eq!(buffer.len(), 100);
        buffer.advance(60);
        assert_eq!((buffer.len(), buffer.pdus.len(), buffer.sent_of_first), (40, 1, 8));
        buffer.advance(40);
        assert!(buffer.is_empty());
        assert_eq!((buffer.len(), buffer.sent_of_first), (0, 0));
    }
}
