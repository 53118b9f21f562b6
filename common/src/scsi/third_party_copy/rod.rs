//! Tokens for a representation of data (ROD), and the lists of POPULATE TOKEN and WRITE USING TOKEN (SPC-4 §5.16.6, SBC-3 §5.7, §5.46).

use crate::scsi::bytes::{array, u8_at, u16_at, u32_at, u64_at};
use crate::scsi::{Asc, Sense};

/// Bytes of a ROD token.
pub const ROD_TOKEN_LEN: usize = 512;
/// Bytes of a block device range descriptor.
pub const RANGE_LEN: usize = 16;
/// Bytes of a POPULATE TOKEN list before its ranges.
pub const POPULATE_HEADER_LEN: usize = 16;
/// Bytes of a WRITE USING TOKEN list before its ranges.
pub const WRITE_HEADER_LEN: usize = 536;

/// ROD TYPE (SPC-4 table 130).
pub mod rod_type {
    /// Point in time copy, of the kind that the copy manager prefers.
    pub const POINT_IN_TIME_DEFAULT: u32 = 0x0080_0000;
    /// Point in time copy - change vulnerable: the token is revoked when the data changes.
    pub const POINT_IN_TIME_CHANGE_VULNERABLE: u32 = 0x0080_0001;
    /// Point in time copy - any.
    pub const POINT_IN_TIME_ANY: u32 = 0x0080_ffff;
    /// Block device zero (SBC-3 §4.25.5): as many zeros as are asked for.
    pub const BLOCK_DEVICE_ZERO: u32 = 0xffff_0001;
}

/// ROD TOKEN LENGTH of every token here: the bytes behind it.
const STATED_LEN: u16 = 0x01f8;

/// A token, as initiators pass it around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RodToken(pub [u8; ROD_TOKEN_LEN]);

/// What a token tells whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts<'a> {
    /// ROD TYPE.
    pub rod_type: u32,
    /// COPY MANAGER ROD TOKEN IDENTIFIER.
    pub identifier: u64,
    /// CREATOR LOGICAL UNIT DESCRIPTOR: an identification CSCD descriptor.
    pub creator: [u8; 32],
    /// NUMBER OF BYTES REPRESENTED.
    pub bytes: u64,
    /// DEVICE TYPE SPECIFIC DATA: READ CAPACITY(16) data without the last address.
    pub capacity: [u8; 24],
    /// What nobody can guess, in the EXTENDED ROD TOKEN DATA.
    pub secret: &'a [u8],
}

impl RodToken {
    /// The token for as many zeros as anybody wants.
    #[must_use]
    pub fn zero() -> Self {
        let mut token = [0; ROD_TOKEN_LEN];
        token[..4].copy_from_slice(&rod_type::BLOCK_DEVICE_ZERO.to_be_bytes());
        token[6..8].copy_from_slice(&STATED_LEN.to_be_bytes());
        Self(token)
    }

    /// A token that says this (SPC-4 table 133, SBC-3 table 16).
    #[must_use]
    pub fn of(facts: &TokenFacts<'_>) -> Self {
        let mut token = [0; ROD_TOKEN_LEN];
        token[..4].copy_from_slice(&facts.rod_type.to_be_bytes());
        token[6..8].copy_from_slice(&STATED_LEN.to_be_bytes());
        token[8..16].copy_from_slice(&facts.identifier.to_be_bytes());
        token[16..48].copy_from_slice(&facts.creator);
        token[56..64].copy_from_slice(&facts.bytes.to_be_bytes());
        token[96..120].copy_from_slice(&facts.capacity);
        token[128..].iter_mut().zip(facts.secret).for_each(|(to, from)| *to = *from);
        Self(token)
    }

    /// ROD TYPE.
    #[must_use]
    pub fn rod_type(&self) -> u32 {
        u32_at(&self.0, 0).unwrap_or(0)
    }

    /// CREATOR LOGICAL UNIT DESCRIPTOR.
    #[must_use]
    pub fn creator(&self) -> &[u8] {
        &self.0[16..48]
    }

    /// Whether it is the same token, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }

    /// Why it cannot be a token of here, whatever it says besides.
    ///
    /// # Errors
    /// The sense to send.
    pub fn check(&self) -> Result<(), Sense> {
        match self.rod_type() {
            rod_type::BLOCK_DEVICE_ZERO | rod_type::POINT_IN_TIME_CHANGE_VULNERABLE => {}
            _ => return Err(Sense::illegal_request(Asc::UNSUPPORTED_TOKEN_TYPE)),
        }
        if u16_at(&self.0, 6) != Some(STATED_LEN) {
            return Err(Sense::illegal_request(Asc::INVALID_TOKEN_LENGTH));
        }
        Ok(())
    }
}

/// A range of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// NUMBER OF LOGICAL BLOCKS; zero is allowed.
    pub blocks: u32,
}

/// The list of POPULATE TOKEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulateTokenList {
    /// IMMED.
    pub immediate: bool,
    /// INACTIVITY TIMEOUT in seconds; zero leaves it to the copy manager.
    pub inactivity_timeout: u32,
    /// ROD TYPE, when RTV is one.
    pub rod_type: Option<u32>,
    /// The ranges, in the order in which they make up the data.
    pub ranges: Vec<BlockRange>,
}

/// The list of WRITE USING TOKEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteUsingTokenList {
    /// IMMED.
    pub immediate: bool,
    /// DEL_TKN: the token is of no more use after this.
    pub delete_token: bool,
    /// OFFSET INTO ROD in logical blocks of the unit that is written.
    pub offset: u64,
    /// ROD TOKEN.
    pub token: RodToken,
    /// The ranges to write, in order.
    pub ranges: Vec<BlockRange>,
}

impl PopulateTokenList {
    /// Reads a list and checks what needs no logical unit (SBC-3 §5.7.2).
    ///
    /// # Errors
    /// The sense to send.
    pub fn decode(bytes: &[u8], max_ranges: u16) -> Result<Self, Sense> {
        let ranges = ranges(bytes, POPULATE_HEADER_LEN, max_ranges)?;
        let flags = u8_at(bytes, 2).unwrap_or(0);
        Ok(Self {
            immediate: flags & 1 != 0,
            inactivity_timeout: u32_at(bytes, 4).unwrap_or(0),
            rod_type: u32_at(bytes, 8).filter(|_| flags & 2 != 0),
            ranges,
        })
    }

    /// The list as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; POPULATE_HEADER_LEN];
        out[2] = u8::from(self.immediate) | u8::from(self.rod_type.is_some()) << 1;
        out[4..8].copy_from_slice(&self.inactivity_timeout.to_be_bytes());
        out[8..12].copy_from_slice(&self.rod_type.unwrap_or(0).to_be_bytes());
        with_ranges(out, &self.ranges)
    }
}

impl WriteUsingTokenList {
    /// Reads a list and checks what needs no logical unit (SBC-3 §5.46.2).
    ///
    /// # Errors
    /// The sense to send.
    pub fn decode(bytes: &[u8], max_ranges: u16) -> Result<Self, Sense> {
        let ranges = ranges(bytes, WRITE_HEADER_LEN, max_ranges)?;
        let cut = Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
        let flags = u8_at(bytes, 2).unwrap_or(0);
        Ok(Self {
            immediate: flags & 1 != 0,
            delete_token: flags & 2 != 0,
            offset: u64_at(bytes, 8).unwrap_or(0),
            token: RodToken(array(bytes, 16).ok_or(cut)?),
            ranges,
        })
    }

    /// The list as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; WRITE_HEADER_LEN];
        out[2] = u8::from(self.immediate) | u8::from(self.delete_token) << 1;
        out[8..16].copy_from_slice(&self.offset.to_be_bytes());
        out[16..528].copy_from_slice(&self.token.0);
        with_ranges(out, &self.ranges)
    }
}

/// Fills in the two lengths of a header, and adds the ranges.
fn with_ranges(mut out: Vec<u8>, ranges: &[BlockRange]) -> Vec<u8> {
    let header = out.len();
    for range in ranges {
        out.extend(range.lba.to_be_bytes());
        out.extend(range.blocks.to_be_bytes());
        out.extend([0; 4]);
    }
    let ranges_len = u16::try_from(out.len() - header).unwrap_or(u16::MAX);
    out[header - 2..header].copy_from_slice(&ranges_len.to_be_bytes());
    let data_len = u16::try_from(out.len() - 2).unwrap_or(u16::MAX);
    out[..2].copy_from_slice(&data_len.to_be_bytes());
    out
}

/// The ranges of a list whose header has `header` bytes, of which the last two are BLOCK DEVICE RANGE DESCRIPTOR LENGTH. No block may
/// be in two of them.
fn ranges(bytes: &[u8], header: usize, max: u16) -> Result<Vec<BlockRange>, Sense> {
    let cut = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
    let length_at = u16::try_from(header - 2).unwrap_or(0);
    let invalid = |byte| Sense::invalid_field_in_parameter_list(byte, None);
    let (Some(data_len), Some(len)) = (u16_at(bytes, 0), u16_at(bytes, header - 2)) else {
        return Err(cut());
    };
    let (data_len, len) = (usize::from(data_len), usize::from(len));
    if data_len < header - 2 + RANGE_LEN {
        return Err(invalid(0));
    }
    if len < RANGE_LEN || !len.is_multiple_of(RANGE_LEN) || data_len < header - 2 + len {
        return Err(invalid(length_at));
    }
    if len > usize::from(max) * RANGE_LEN {
        return Err(Sense::illegal_request(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
    }
    let body = bytes.get(header..header + len).ok_or_else(cut)?;
    let one = |bytes: &[u8]| Some(BlockRange { lba: u64_at(bytes, 0)?, blocks: u32_at(bytes, 8)? });
    let all: Vec<_> = body.chunks_exact(RANGE_LEN).filter_map(one).collect();
    let mut sorted: Vec<_> = all.iter().filter(|range| range.blocks != 0).collect();
    sorted.sort_unstable_by_key(|range| range.lba);
    let overlap = |pair: &[&BlockRange]| match pair {
        [a, b] => b.lba - a.lba < u64::from(a.blocks),
        _ => false,
    };
    if sorted.windows(2).any(overlap) {
        return Err(invalid(u16::try_from(header).unwrap_or(0)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn populate() -> PopulateTokenList {
        PopulateTokenList {
            immediate: true,
            inactivity_timeout: 0x0102,
            rod_type: Some(rod_type::POINT_IN_TIME_ANY),
            ranges: vec![BlockRange { lba: 0x0304, blocks: 5 }, BlockRange { lba: 0, blocks: 6 }],
        }
    }

    fn write() -> WriteUsingTokenList {
        let token = RodToken::of(&TokenFacts {
            rod_type: rod_type::POINT_IN_TIME_CHANGE_VULNERABLE,
            identifier: 7,
            creator: [0xe4; 32],
            bytes: 512,
            capacity: [9; 24],
            secret: &[0x77; 64],
        });
        let ranges = populate().ranges;
        WriteUsingTokenList { immediate: false, delete_token: true, offset: 0x0a0b, token, ranges }
    }

    #[test]
    fn lists_survive_the_wire_with_their_fields_where_the_standard_says() {
        let bytes = populate().encode();
        assert_eq!(bytes[..16], [0, 46, 3, 0, 0, 0, 1, 2, 0, 0x80, 0xff, 0xff, 0, 0, 0, 32]);
        assert_eq!(bytes[16..32], [0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0, 5, 0, 0, 0, 0]);
        assert_eq!(PopulateTokenList::decode(&bytes, 2), Ok(populate()));
        let bytes = write().encode();
        assert_eq!(bytes[..16], [2, 0x36, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b]);
        assert_eq!(
            (bytes[16..28].to_vec(), bytes[534..536].to_vec()),
            (write().token.0[..12].to_vec(), vec![0, 32])
        );
        assert_eq!(WriteUsingTokenList::decode(&bytes, 2), Ok(write()));
    }

    #[test]
    fn every_cut_is_a_length_error() {
        let (populate, write) = (populate().encode(), write().encode());
        for end in 0..populate.len() {
            let sense = PopulateTokenList::decode(&populate[..end], 2).unwrap_err();
            assert_eq!(sense.asc, Asc::PARAMETER_LIST_LENGTH_ERROR, "{end}");
        }
        for end in 0..write.len() {
            let sense = WriteUsingTokenList::decode(&write[..end], 2).unwrap_err();
            assert_eq!(sense.asc, Asc::PARAMETER_LIST_LENGTH_ERROR, "{end}");
        }
    }

    #[test]
    fn lengths_that_do_not_fit_together_are_pointed_at() {
        let change = |at: usize, value: u8| {
            let mut bytes = populate().encode();
            bytes[at] = value;
            PopulateTokenList::decode(&bytes, 2).unwrap_err()
        };
        let invalid = |byte| Sense::invalid_field_in_parameter_list(byte, None);
        assert_eq!(change(1, 29), invalid(0), "POPULATE TOKEN DATA LENGTH");
        assert_eq!(change(1, 45), invalid(14), "less than the ranges need");
        assert_eq!([change(15, 0), change(15, 31)], [invalid(14), invalid(14)]);
        let three = PopulateTokenList { ranges: vec![BlockRange { lba: 0, blocks: 0 }; 3], ..populate() };
        let sense = PopulateTokenList::decode(&three.encode(), 2).unwrap_err();
        assert_eq!(sense.asc, Asc::TOO_MANY_SEGMENT_DESCRIPTORS);
        assert!(PopulateTokenList::decode(&three.encode(), 3).is_ok(), "empty ranges overlap nothing");
    }

    #[test]
    fn no_block_may_be_in_two_ranges() {
        let list = |pairs: &[(u64, u32)]| {
            let ranges = pairs.iter().map(|&(lba, blocks)| BlockRange { lba, blocks }).collect();
            PopulateTokenList::decode(&PopulateTokenList { ranges, ..populate() }.encode(), 8)
        };
        assert!(list(&[(8, 8), (0, 8), (16, 1)]).is_ok());
        assert_eq!(list(&[(8, 8), (0, 9)]), Err(Sense::invalid_field_in_parameter_list(16, None)));
        assert!(list(&[(5, 1), (9, 1), (5, 1)]).is_err());
        assert!(list(&[(u64::MAX, 2), (u64::MAX, 1)]).is_err());
    }

    #[test]
    fn a_token_is_known_by_all_of_its_bytes_and_other_types_and_lengths_are_refused() {
        let token = write().token;
        assert_eq!((token.check(), RodToken::zero().check()), (Ok(()), Ok(())));
        for at in 0..ROD_TOKEN_LEN {
            let mut other = token.clone();
            other.0[at] ^= 0x10;
            assert!(!token.matches(&other) && token.matches(&token.clone()));
        }
        let mut other = token.clone();
        other.0[3] = 2;
        assert_eq!(other.check().unwrap_err().asc, Asc::UNSUPPORTED_TOKEN_TYPE);
        let mut zero = RodToken::zero();
        zero.0[7] = 0;
        assert_eq!(zero.check().unwrap_err().asc, Asc::INVALID_TOKEN_LENGTH);
        assert_eq!((token.creator(), &token.0[128..130]), ([0xe4; 32].as_slice(), [0x77; 2].as_slice()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), len in 0u8..80) {
            let mut bytes = bytes;
            for at in [15, 535] {
                if bytes.len() > at {
                    bytes[at] = len;
                    bytes[at - 1] = 0;
                }
            }
            let _ = PopulateTokenList::decode(&bytes, 4);
            let _ = WriteUsingTokenList::decode(&bytes, 4);
        }
    }
}
