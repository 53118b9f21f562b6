//! The parameter list of EXTENDED COPY(LID1) (SPC-4 §6.5): who copies from whom, and what.
//!
//! Block device to block device segments and identification CSCD descriptors; every other descriptor is refused by its type code.

use crate::scsi::bytes::{u8_at, u16_at, u24_at, u32_at, u64_at};
use crate::scsi::designator::Designation;
use crate::scsi::{Asc, Sense};

/// Bytes before the descriptors.
pub const HEADER_LEN: usize = 16;
/// Bytes of an identification CSCD descriptor.
pub const CSCD_LEN: usize = 32;
/// Bytes of a block device to block device segment descriptor.
pub const SEGMENT_LEN: usize = 28;
/// DESCRIPTOR TYPE CODE of an identification CSCD descriptor (SPC-4 §6.4.5.4).
pub const IDENTIFICATION_CSCD: u8 = 0xe4;
/// DESCRIPTOR TYPE CODE of a block device to block device segment descriptor (SPC-4 §6.4.6.5).
pub const BLOCK_TO_BLOCK: u8 = 0x02;

/// Which logical unit a segment is about (SPC-4 §6.4.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CscdId(pub u16);

impl CscdId {
    /// The logical unit that got the command.
    pub const OWN: Self = Self(0xffff);
}

/// A copy source or copy destination, known by a name of its logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cscd {
    /// PERIPHERAL DEVICE TYPE.
    pub device_type: u8,
    /// A name out of the Device Identification page; at most 20 bytes.
    pub designation: Designation,
    /// DISK BLOCK LENGTH; zero leaves it to the copy manager to find out.
    pub block_len: u32,
}

/// A block device to block device copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// SOURCE CSCD DESCRIPTOR ID.
    pub source: CscdId,
    /// DESTINATION CSCD DESCRIPTOR ID.
    pub destination: CscdId,
    /// DC: `blocks` counts blocks of the destination, and not of the source.
    pub counts_destination: bool,
    /// BLOCK DEVICE NUMBER OF BLOCKS; zero copies nothing.
    pub blocks: u16,
    /// SOURCE BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub source_lba: u64,
    /// DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub destination_lba: u64,
}

/// What is kept of a copy under its list identifier (SPC-4 table 106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListIdUsage {
    /// 00b: the status, and held data for RECEIVE COPY DATA.
    Hold = 0,
    /// 10b: the status; held data may be dropped.
    Discard = 2,
    /// 11b: there is no list identifier, and nothing is kept.
    None = 3,
}

/// A whole parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedCopyList {
    /// LIST IDENTIFIER.
    pub list_identifier: u8,
    /// LIST ID USAGE.
    pub usage: ListIdUsage,
    /// CSCD descriptors.
    pub cscds: Vec<Cscd>,
    /// Segments, to be copied in this order.
    pub segments: Vec<Segment>,
}

/// Bounds of a parameter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// MAXIMUM CSCD DESCRIPTOR COUNT.
    pub cscds: u16,
    /// MAXIMUM SEGMENT DESCRIPTOR COUNT.
    pub segments: u16,
    /// MAXIMUM DESCRIPTOR LIST LENGTH: bytes of all descriptors.
    pub descriptors_len: u32,
}

const fn invalid(byte: usize, bit: Option<u8>) -> Sense {
    // A list has some thousands of bytes.
    #[expect(clippy::cast_possible_truncation, reason = "the limits of a list keep it below 2^16")]
    Sense::invalid_field_in_parameter_list(byte as u16, bit)
}

impl ExtendedCopyList {
    /// Reads a list and checks everything that needs no logical unit (SPC-4 §6.5, §5.16.7.2). Inline data is not supported.
    ///
    /// # Errors
    /// The sense that the standard names, always ILLEGAL REQUEST: nothing was copied.
    pub fn decode(bytes: &[u8], limits: &ListLimits) -> Result<Self, Sense> {
        let cut = || Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR);
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or_else(cut)?;
        let lengths = (u16_at(header, 2), u32_at(header, 8), u32_at(header, 12));
        let (Some(cscds_len), Some(segments_len), Some(inline_len)) = lengths else { return Err(cut()) };
        let (cscds_len, segments_len) = (usize::from(cscds_len), u64::from(segments_len));
        if cscds_len as u64 + segments_len > limits.descriptors_len.into() {
            return Err(cut());
        }
        if inline_len != 0 {
            return Err(Sense::illegal_request(Asc::INLINE_DATA_LENGTH_EXCEEDED));
        }
        let (list_identifier, usage) = list_id(header)?;
        let segments_len = usize::try_from(segments_len).map_err(|_too_long| cut())?;
        let cscd_bytes = bytes.get(HEADER_LEN..HEADER_LEN + cscds_len).ok_or_else(cut)?;
        let segments_at = HEADER_LEN + cscds_len;
        let segment_bytes = bytes.get(segments_at..segments_at + segments_len).ok_or_else(cut)?;
        let cscds = decode_cscds(cscd_bytes, limits)?;
        let segments = decode_segments(segment_bytes, segments_at, limits)?;
        Ok(Self { list_identifier, usage, cscds, segments })
    }

    /// The list as bytes. A designator longer than 20 bytes has no place in a CSCD descriptor and is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_LEN];
        out[0] = self.list_identifier;
        out[1] = (self.usage as u8) << 3;
        for cscd in &self.cscds {
            let mut one = [0; CSCD_LEN];
            one[0] = IDENTIFICATION_CSCD;
            one[1] = cscd.device_type & 0x1f;
            let name = cscd.designation.encode();
            one[4..28].iter_mut().zip(name).for_each(|(to, from)| *to = from);
            one[29..].copy_from_slice(&cscd.block_len.to_be_bytes()[1..]);
            out.extend(one);
        }
        let cscds = u16::try_from(out.len() - HEADER_LEN).unwrap_or(u16::MAX);
        out[2..4].copy_from_slice(&cscds.to_be_bytes());
        for segment in &self.segments {
            out.extend([BLOCK_TO_BLOCK, u8::from(segment.counts_destination) << 1, 0, 0x18]);
            out.extend(segment.source.0.to_be_bytes());
            out.extend(segment.destination.0.to_be_bytes());
            out.extend([0; 2]);
            out.extend(segment.blocks.to_be_bytes());
            out.extend(segment.source_lba.to_be_bytes());
            out.extend(segment.destination_lba.to_be_bytes());
        }
        let segments = u32::try_from(self.segments.len() * SEGMENT_LEN).unwrap_or(u32::MAX);
        out[8..12].copy_from_slice(&segments.to_be_bytes());
        out
    }
}

/// LIST IDENTIFIER and LIST ID USAGE. STR and PRIORITY ask for nothing that every copy here does not do: segments are processed one
/// after another.
fn list_id(header: &[u8; HEADER_LEN]) -> Result<(u8, ListIdUsage), Sense> {
    let usage = match header[1] >> 3 & 3 {
        0 => ListIdUsage::Hold,
        2 => ListIdUsage::Discard,
        3 => ListIdUsage::None,
        _ => return Err(invalid(1, Some(4))),
    };
    if usage == ListIdUsage::None && header[0] != 0 {
        return Err(invalid(0, None));
    }
    Ok((header[0], usage))
}

fn decode_cscds(bytes: &[u8], limits: &ListLimits) -> Result<Vec<Cscd>, Sense> {
    let unsupported = Sense::illegal_request(Asc::UNSUPPORTED_TARGET_DESCRIPTOR);
    if bytes.len() > usize::from(limits.cscds) * CSCD_LEN {
        return Err(Sense::illegal_request(Asc::TOO_MANY_TARGET_DESCRIPTORS));
    }
    if !bytes.len().is_multiple_of(CSCD_LEN) {
        return Err(invalid(2, None));
    }
    let mut all = Vec::new();
    for (index, one) in bytes.chunks_exact(CSCD_LEN).enumerate() {
        let at = HEADER_LEN + index * CSCD_LEN;
        if u8_at(one, 0) != Some(IDENTIFICATION_CSCD) {
            return Err(unsupported);
        }
        // LU ID TYPE is ignored for these, and RELATIVE INITIATOR PORT IDENTIFIER when there is one way to every unit.
        let device_type = u8_at(one, 1).unwrap_or(0) & 0x1f;
        let designation = one.get(4..28).and_then(Designation::decode);
        let (designation, _) = designation.ok_or_else(|| invalid(at + 4, None))?;
        all.push(Cscd { device_type, designation, block_len: u24_at(one, 29).unwrap_or(0) });
    }
    Ok(all)
}

fn decode_segments(mut rest: &[u8], mut at: usize, limits: &ListLimits) -> Result<Vec<Segment>, Sense> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        if all.len() == usize::from(limits.segments) {
            return Err(Sense::illegal_request(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
        }
        if rest.first() != Some(&BLOCK_TO_BLOCK) {
            return Err(Sense::illegal_request(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR));
        }
        if u16_at(rest, 2).is_some_and(|len| usize::from(len) != SEGMENT_LEN - 4) {
            return Err(invalid(at + 2, None));
        }
        // What SEGMENT DESCRIPTOR LIST LENGTH says ends within a descriptor.
        let one = rest.get(..SEGMENT_LEN).ok_or_else(|| invalid(8, None))?;
        all.push(segment(one).ok_or_else(|| invalid(at, None))?);
        rest = rest.get(SEGMENT_LEN..).unwrap_or_default();
        at += SEGMENT_LEN;
    }
    Ok(all)
}

/// CAT says what becomes of residual data, of which there is never any: a segment that is not whole blocks of both is refused.
fn segment(one: &[u8]) -> Option<Segment> {
    Some(Segment {
        source: CscdId(u16_at(one, 4)?),
        destination: CscdId(u16_at(one, 6)?),
        counts_destination: u8_at(one, 1)? & 0x02 != 0,
        blocks: u16_at(one, 10)?,
        source_lba: u64_at(one, 12)?,
        destination_lba: u64_at(one, 20)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::designator::{Association, Designator};
    use proptest::prelude::*;

    const LIMITS: ListLimits = ListLimits { cscds: 2, segments: 3, descriptors_len: 200 };

    fn cscd() -> Cscd {
        let designator = Designator::Naa((0x60..0x70).collect());
        let designation = Designation { association: Association::LogicalUnit, designator };
        Cscd { device_type: 0, designation, block_len: 512 }
    }

    fn list() -> ExtendedCopyList {
        let segment = Segment {
            source: CscdId(0),
            destination: CscdId::OWN,
            counts_destination: true,
            blocks: 0x0102,
            source_lba: 0x0304,
            destination_lba: 0x0506,
        };
        let usage = ListIdUsage::Discard;
        ExtendedCopyList { list_identifier: 7, usage, cscds: vec![cscd()], segments: vec![segment] }
    }

    fn refused(list: &[u8]) -> Sense {
        ExtendedCopyList::decode(list, &LIMITS).unwrap_err()
    }

    fn asc(list: &[u8]) -> Asc {
        refused(list).asc
    }

    #[test]
    fn a_list_has_its_fields_where_the_standard_says() {
        let bytes = list().encode();
        assert_eq!(bytes[..16], [7, 0x10, 0, 32, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [0xe4, 0, 0, 0, 1, 3, 0, 16]);
        assert_eq!(bytes[40..48], [0, 0, 0, 0, 0, 0, 2, 0]);
        let segment = [2, 2, 0, 0x18, 0, 0, 0xff, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4];
        assert_eq!(bytes[48..68], segment);
        assert_eq!(bytes[68..], [0, 0, 0, 0, 0, 0, 5, 6]);
        assert_eq!(ExtendedCopyList::decode(&bytes, &LIMITS), Ok(list()));
    }

    #[test]
    fn every_cut_is_a_length_error() {
        let bytes = list().encode();
        for end in 0..bytes.len() {
            assert_eq!(asc(&bytes[..end]), Asc::PARAMETER_LIST_LENGTH_ERROR, "{end}");
        }
        assert!(ExtendedCopyList::decode(&[bytes, vec![9; 5]].concat(), &LIMITS).is_ok(), "more is ignored");
    }

    #[test]
    fn the_limits_hold_each_with_its_code() {
        let mut many = list();
        many.cscds = vec![cscd(); 2];
        many.segments = vec![many.segments[0]; 3];
        assert!(ExtendedCopyList::decode(&many.encode(), &LIMITS).is_ok());
        let mut cscds = many.clone();
        cscds.cscds.push(cscd());
        assert_eq!(asc(&cscds.encode()), Asc::TOO_MANY_TARGET_DESCRIPTORS);
        let mut segments = many.clone();
        segments.segments.push(many.segments[0]);
        assert_eq!(asc(&segments.encode()), Asc::TOO_MANY_SEGMENT_DESCRIPTORS);
        segments.cscds.push(cscd());
        assert_eq!(asc(&segments.encode()), Asc::PARAMETER_LIST_LENGTH_ERROR, "208 bytes of descriptors");
        let mut inline = list().encode();
        inline[15] = 1;
        assert_eq!(asc(&inline), Asc::INLINE_DATA_LENGTH_EXCEEDED);
    }

    #[test]
    fn each_wrong_field_is_pointed_at() {
        let change = |at: usize, value: u8| {
            let mut bytes = list().encode();
            bytes[at] = value;
            refused(&bytes)
        };
        assert_eq!(change(1, 0x08), invalid(1, Some(4)), "LIST ID USAGE");
        assert_eq!(change(1, 0x18), invalid(0, None), "no list identifier, but one is given");
        assert_eq!(change(16, 0xe0).asc, Asc::UNSUPPORTED_TARGET_DESCRIPTOR);
        assert_eq!(change(21, 0x33), invalid(20, None), "ASSOCIATION");
        assert_eq!(change(23, 21), invalid(20, None), "DESIGNATOR LENGTH");
        assert_eq!(change(48, 3).asc, Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR);
        assert_eq!(change(51, 0x19), invalid(50, None), "DESCRIPTOR LENGTH");
        assert_eq!(change(11, 27), invalid(8, None), "SEGMENT DESCRIPTOR LIST LENGTH");
        let mut odd = list().encode();
        odd[3] = 31;
        assert_eq!(refused(&odd), invalid(2, None), "CSCD DESCRIPTOR LIST LENGTH");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), small in any::<bool>()) {
            let mut bytes = bytes;
            if small && bytes.len() > 16 {
                bytes[2..16].fill(0);
                bytes[3] = 32;
                bytes[11] = 28;
            }
            let _ = ExtendedCopyList::decode(&bytes, &LIMITS);
        }
    }
}
