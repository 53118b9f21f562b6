//! A PDU ready to be sent: three slices for one vectored write, the data segment among them uncopied.

use std::io::IoSlice;

use bytes::{BufMut, Bytes, BytesMut};

use super::digest::{DIGEST_LEN, Digests, crc32c};
use super::error::EncodeError;
use super::header::Header;
use super::{Ahs, BHS_LEN, Pdu};
use crate::limits::{AHS_LEN_MAX, DATA_SEGMENT_LEN_MAX};

/// A PDU as it goes onto the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WirePdu {
    head: Bytes,
    data: Bytes,
    tail: Tail,
}

/// Padding and data digest: at most three and four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Tail {
    bytes: [u8; 3 + DIGEST_LEN],
    len: usize,
}

impl Tail {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Zero bytes that bring a segment of `len` bytes to a multiple of four (RFC 7143 §11.1).
#[must_use]
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

impl<H: Header> Pdu<H> {
    /// Lays the PDU out with its lengths, padding and digests. The data segment is shared, not copied.
    ///
    /// # Errors
    /// A segment longer than its length field can state, or one that this PDU does not have.
    pub fn encode(&self, digests: Digests) -> Result<WirePdu, EncodeError> {
        let pdu = self.header.name();
        let ahs_len: usize = self.ahs.iter().map(Ahs::wire_len).sum();
        if ahs_len > 0 && !self.header.has_ahs() {
            return Err(EncodeError::UnexpectedAhs { pdu });
        }
        if ahs_len > AHS_LEN_MAX {
            return Err(EncodeError::AhsTooLong { len: ahs_len });
        }
        let len = self.data.len();
        if len > 0 && !self.header.has_data_segment() {
            return Err(EncodeError::UnexpectedData { pdu, len });
        }
        if len > DATA_SEGMENT_LEN_MAX as usize {
            return Err(EncodeError::DataTooLong { len });
        }

        let [.., ahs_words] = (ahs_len / 4).to_be_bytes();
        let [.., l0, l1, l2] = len.to_be_bytes();
        let mut bhs = self.header.to_bhs();
        bhs[4..8].copy_from_slice(&[ahs_words, l0, l1, l2]);
        let mut head = BytesMut::with_capacity(BHS_LEN + ahs_len + DIGEST_LEN);
        head.put_slice(&bhs);
        self.ahs.iter().for_each(|segment| segment.encode_into(&mut head));
        if digests.header {
            let digest = crc32c(&head).to_wire();
            head.put_slice(&digest);
        }
        Ok(WirePdu { head: head.freeze(), tail: tail(&self.data, digests.data), data: self.data.clone() })
    }
}

/// The data digest covers the padding; an empty data segment has neither (RFC 7143 §11.2.3).
fn tail(data: &[u8], digest: bool) -> Tail {
    let pad = padding(data.len());
    let mut tail = Tail { len: pad, ..Tail::default() };
    if digest && !data.is_empty() {
        let crc = crc32c(data).append(&tail.bytes[..pad]);
        tail.bytes[pad..pad + DIGEST_LEN].copy_from_slice(&crc.to_wire());
        tail.len += DIGEST_LEN;
    }
    tail
}

impl WirePdu {
    /// Bytes on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.data.len() + self.tail.len
    }

    /// Never: a PDU has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Headers with their digest, the data segment, padding with the data digest: to be written in this order. The second
    /// and the third may be empty.
    #[must_use]
    pub fn slices(&self) -> [IoSlice<'_>; 3] {
        [IoSlice::new(&self.head), IoSlice::new(&self.data), IoSlice::new(self.tail.as_slice())]
    }

    /// All bytes in one piece, copied.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len());
        self.slices().iter().for_each(|slice| bytes.put_slice(slice));
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::super::nop::NopOut;
    use super::super::snack::{SnackKind, SnackRequest};
    use super::super::{InitiatorTaskTag, ScsiCommand, TargetTransferTag};
    use super::*;
    use crate::scsi::Lun;
    use crate::serial::{CmdSn, StatSn};

    fn ping(data: &'static [u8]) -> Pdu<NopOut> {
        let header = NopOut {
            immediate: true,
            lun: Lun(0),
            itt: InitiatorTaskTag(1),
            ttt: TargetTransferTag::RESERVED,
            cmd_sn: CmdSn(2),
            exp_stat_sn: StatSn(3),
        };
        Pdu::with_data(header, Bytes::from_static(data))
    }

    #[test]
    fn data_is_padded_to_four_bytes_and_its_length_is_stated_without_padding() {
        for (data, wire_len) in
            [(&b""[..], 48), (b"a", 52), (b"ab", 52), (b"abc", 52), (b"abcd", 52), (b"abcde", 56)]
        {
            let wire = ping(data).encode(Digests::NONE).unwrap();
            let bytes = wire.to_bytes();
            assert_eq!((bytes.len(), wire.len()), (wire_len, wire_len));
            assert_eq!(bytes[4..8], u32::try_from(data.len()).unwrap().to_be_bytes());
            assert_eq!(&bytes[48..48 + data.len()], data);
            assert!(bytes[48 + data.len()..].iter().all(|&b| b == 0));
        }
    }

    #[test]
    fn digests_cover_headers_and_padded_data_and_spare_empty_data() {
        let bytes = ping(b"abc").encode(Digests::BOTH).unwrap().to_bytes();
        assert_eq!(bytes.len(), 48 + 4 + 4 + 4);
        assert_eq!(bytes[48..52], crc32c(&bytes[..48]).to_wire());
        assert_eq!(&bytes[52..56], b"abc\0");
        assert_eq!(bytes[56..60], crc32c(b"abc\0").to_wire());
        assert_eq!(ping(b"").encode(Digests::BOTH).unwrap().len(), 52);
    }

    #[test]
    fn the_data_segment_is_not_copied() {
        let data = Bytes::from(vec![7; 4096]);
        let pdu = Pdu::with_data(ping(b"").header, data.clone());
        let wire = pdu.encode(Digests::BOTH).unwrap();
        assert_eq!(wire.slices()[1].as_ptr(), data.as_ptr());
    }

    #[test]
    fn additional_header_segments_count_in_words_and_belong_to_the_header_digest() {
        let mut pdu = Pdu::new(
            ScsiCommand::decode(&{
                let mut bhs = [0; 48];
                (bhs[0], bhs[1]) = (1, 0xc1);
                bhs
            })
            .unwrap(),
        );
        pdu.ahs = vec![Ahs::ExtendedCdb(Bytes::from(vec![9; 16])), Ahs::BidirectionalReadLength(1)];
        let bytes = pdu.encode(Digests { header: true, data: false }).unwrap().to_bytes();
        assert_eq!(bytes[4], 7);
        assert_eq!(bytes.len(), 48 + 28 + 4);
        assert_eq!(bytes[76..], crc32c(&bytes[..76]).to_wire());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let too_long = Pdu::with_data(ping(b"").header, Bytes::from(vec![0; 1 << 24]));
        assert_eq!(too_long.encode(Digests::NONE), Err(EncodeError::DataTooLong { len: 1 << 24 }));
        let longest = Pdu::with_data(ping(b"").header, too_long.data.slice(1..));
        assert_eq!(longest.encode(Digests::NONE).unwrap().to_bytes()[4..8], [0, 0xff, 0xff, 0xff]);

        let mut pdu = ping(b"");
        pdu.ahs = vec![Ahs::BidirectionalReadLength(1)];
        assert_eq!(pdu.encode(Digests::NONE), Err(EncodeError::UnexpectedAhs { pdu: "NOP-Out" }));
        let snack = SnackRequest {
            kind: SnackKind::Status,
            lun: Lun(0),
            itt: InitiatorTaskTag(0),
            ttt: TargetTransferTag(0),
            exp_stat_sn: StatSn(0),
            beg_run: 0,
            run_length: 0,
        };
        let pdu = Pdu::with_data(snack, Bytes::from_static(b"x"));
        assert_eq!(
            pdu.encode(Digests::NONE),
            Err(EncodeError::UnexpectedData { pdu: "SNACK Request", len: 1 })
        );
    }

    #[test]
    fn too_many_additional_header_segments_are_refused() {
        let mut bhs = [0; 48];
        (bhs[0], bhs[1]) = (1, 0x81);
        let mut pdu = Pdu::new(ScsiCommand::decode(&bhs).unwrap());
        pdu.ahs = vec![Ahs::Unknown { kind: 9, body: Bytes::from(vec![0; 1017]) }];
        assert_eq!(pdu.encode(Digests::NONE).unwrap().to_bytes()[4], 255);
        pdu.ahs.push(Ahs::Unknown { kind: 9, body: Bytes::from(vec![0; 1]) });
        assert_eq!(pdu.encode(Digests::NONE), Err(EncodeError::AhsTooLong { len: 1024 }));
    }
}
