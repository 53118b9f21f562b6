//! Additional header segments (RFC 7143 §11.2.2).
//!
//! | byte | field |
//! |---|---|
//! | 0-1 | AHSLength: bytes from byte 3 on, without padding |
//! | 2 | AHSType in the low six bits |
//! | 3- | AHS-specific, then zero to three bytes of padding to a multiple of four |

use bytes::{BufMut, Bytes, BytesMut};

use super::error::{AhsFault, PduError};
use crate::limits::CDB_LEN_MAX;

/// One additional header segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ahs {
    /// The CDB bytes after the sixteenth, without padding (RFC 7143 §11.2.2.3).
    ExtendedCdb(Bytes),
    /// Expected length of the read half of a bidirectional command, in bytes (RFC 7143 §11.2.2.4).
    BidirectionalReadLength(u32),
    /// A type that RFC 7143 does not define.
    Unknown {
        /// AHSType.
        kind: u8,
        /// AHS-specific bytes.
        body: Bytes,
    },
}

/// AHSType of an extended CDB.
const EXTENDED_CDB: u8 = 1;
/// AHSType of a bidirectional read expected data transfer length.
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;
/// AHSLength and AHSType.
const HEAD_LEN: usize = 3;
/// CDB bytes that do not fit the basic header segment, at most.
const EXTENDED_CDB_MAX: usize = CDB_LEN_MAX - 16;

impl Ahs {
    /// AHSType.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::ExtendedCdb(_) => EXTENDED_CDB,
            Self::BidirectionalReadLength(_) => BIDIRECTIONAL_READ_LENGTH,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Takes a chain apart. `chain` is what TotalAHSLength covers, so at most 1020 bytes.
    ///
    /// # Errors
    /// [`PduError::BadAhs`] for a segment of no length or past the end, a wrong length for its type, or a second
    /// segment of a known type.
    pub fn decode_chain(chain: &Bytes) -> Result<Vec<Self>, PduError> {
        let mut segments: Vec<Self> = Vec::new();
        let mut rest = chain.clone();
        while !rest.is_empty() {
            let index = segments.len();
            let fail = |fault| PduError::BadAhs { index, fault };
            let available = rest.len();
            let [l0, l1, kind, ..] = rest[..] else {
                return Err(fail(AhsFault::Truncated { ahs_len: 0, needed: 4, available }));
            };
            let ahs_len = usize::from(u16::from_be_bytes([l0, l1]));
            if ahs_len == 0 {
                return Err(fail(AhsFault::ZeroLength));
            }
            let needed = (HEAD_LEN + ahs_len).next_multiple_of(4);
            if needed > available {
                return Err(fail(AhsFault::Truncated { ahs_len, needed, available }));
            }
            let segment = rest.split_to(needed);
            let segment =
                Self::decode(kind & 0x3f, segment.slice(HEAD_LEN..HEAD_LEN + ahs_len)).map_err(fail)?;
            let known = !matches!(segment, Self::Unknown { .. });
            if known && segments.iter().any(|s| s.kind() == segment.kind()) {
                return Err(fail(AhsFault::Duplicate { kind: segment.kind() }));
            }
            segments.push(segment);
        }
        Ok(segments)
    }

    /// `body` begins with the AHS-specific byte, which both known types reserve.
    fn decode(kind: u8, body: Bytes) -> Result<Self, AhsFault> {
        let wrong = AhsFault::WrongLength { kind, ahs_len: body.len() };
        match (kind, &body[..]) {
            (EXTENDED_CDB, [_, cdb @ ..]) if (1..=EXTENDED_CDB_MAX).contains(&cdb.len()) => {
                Ok(Self::ExtendedCdb(body.slice(1..)))
            }
            (BIDIRECTIONAL_READ_LENGTH, &[_, a, b, c, d]) => {
                Ok(Self::BidirectionalReadLength(u32::from_be_bytes([a, b, c, d])))
            }
            (EXTENDED_CDB | BIDIRECTIONAL_READ_LENGTH, _) => Err(wrong),
            _ => Ok(Self::Unknown { kind, body }),
        }
    }

    /// Bytes that the segment takes on the wire, with padding.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        (HEAD_LEN + self.ahs_len()).next_multiple_of(4)
    }

    fn ahs_len(&self) -> usize {
        match self {
            Self::ExtendedCdb(cdb) => 1 + cdb.len(),
            Self::BidirectionalReadLength(_) => 5,
            Self::Unknown { body, .. } => body.len(),
        }
    }

    /// Appends the segment with its padding. The caller has checked that the whole chain fits 1020 bytes.
    pub(super) fn encode_into(&self, out: &mut BytesMut) {
        let end = out.len() + self.wire_len();
        let [.., l0, l1] = self.ahs_len().to_be_bytes();
        out.put_slice(&[l0, l1, self.kind()]);
        match self {
            Self::ExtendedCdb(cdb) => {
                out.put_u8(0);
                out.put_slice(cdb);
            }
            Self::BidirectionalReadLength(len) => {
                out.put_u8(0);
                out.put_u32(*len);
            }
            Self::Unknown { body, .. } => out.put_slice(body),
        }
        out.resize(end, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::strategies;
    use super::*;

    fn decode(bytes: &'static [u8]) -> Result<Vec<Ahs>, PduError> {
        Ahs::decode_chain(&Bytes::from_static(bytes))
    }

    fn fault(bytes: &'static [u8]) -> (usize, AhsFault) {
        match decode(bytes) {
            Err(PduError::BadAhs { index, fault }) => (index, fault),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_chain_decodes_in_order_and_ignores_padding() {
        let chain = decode(&[
            0, 17, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // a 32-byte CDB
            0, 5, 2, 0, 0, 1, 0, 0, // 64 KiB
            0, 2, 0x3f, 0xaa, 0xbb, 0xee, 0xee, 0xee, // unknown, padding not zero
        ]);
        assert_eq!(
            chain.unwrap(),
            [
                Ahs::ExtendedCdb(Bytes::from_iter(1..=16)),
                Ahs::BidirectionalReadLength(0x10000),
                Ahs::Unknown { kind: 0x3f, body: Bytes::from_static(&[0xaa, 0xbb]) },
            ]
        );
        assert_eq!(decode(&[]), Ok(vec![]));
    }

    #[test]
    fn each_malformed_segment_is_named() {
        assert_eq!(fault(&[0, 0, 1, 0]), (0, AhsFault::ZeroLength));
        assert_eq!(
            fault(&[0, 5, 2, 0, 0, 0, 0, 1, 0, 9, 1, 0]),
            (1, AhsFault::Truncated { ahs_len: 9, needed: 12, available: 4 })
        );
        assert_eq!(fault(&[0, 1, 1, 0]), (0, AhsFault::WrongLength { kind: 1, ahs_len: 1 }), "no CDB byte");
        assert_eq!(fault(&[0, 4, 2, 0, 0, 0, 1, 0]), (0, AhsFault::WrongLength { kind: 2, ahs_len: 4 }));
        assert_eq!(
            fault(&[0, 5, 2, 0, 0, 0, 0, 1, 0, 5, 2, 0, 0, 0, 0, 1]),
            (1, AhsFault::Duplicate { kind: 2 })
        );
        assert_eq!(fault(&[0, 1]), (0, AhsFault::Truncated { ahs_len: 0, needed: 4, available: 2 }));
    }

    #[test]
    fn the_longest_extended_cdb_passes_and_one_more_byte_does_not() {
        let chain = |len: u8| {
            let mut bytes = vec![0, len + 1, 1, 0];
            bytes.resize(4 + usize::from(len).next_multiple_of(4), 7);
            Ahs::decode_chain(&Bytes::from(bytes))
        };
        assert!(chain(244).is_ok());
        assert!(chain(245).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(chain in strategies::ahs_chain()) {
            let mut out = BytesMut::new();
            chain.iter().for_each(|segment| segment.encode_into(&mut out));
            prop_assert_eq!(out.len(), chain.iter().map(Ahs::wire_len).sum::<usize>());
            prop_assert_eq!(Ahs::decode_chain(&out.freeze()).unwrap(), chain);
        }

        #[test]
        fn no_chain_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..1021)) {
            let _ = Ahs::decode_chain(&Bytes::from(bytes));
        }
    }
}
