//! Vital product data pages (SPC-4 §7.8, SBC-3 §6.5): page bodies to and from types, and the header that all share.

pub mod block_characteristics;
pub mod block_limits;
pub mod extended_inquiry;
pub mod provisioning;
pub mod third_party_copy;

pub use block_characteristics::BlockCharacteristics;
pub use block_limits::BlockLimits;
pub use extended_inquiry::ExtendedInquiry;
pub use provisioning::{LogicalBlockProvisioning, ProvisioningType};
pub use third_party_copy::ThirdPartyCopy;

use super::bytes::u16_at;
use super::designator::Designation;
use super::inquiry::Peripheral;

/// PAGE CODE of Supported VPD Pages (SPC-4 §7.8.15).
pub const SUPPORTED_PAGES: u8 = 0x00;
/// PAGE CODE of Unit Serial Number (SPC-4 §7.8.16).
pub const UNIT_SERIAL_NUMBER: u8 = 0x80;
/// PAGE CODE of Device Identification (SPC-4 §7.8.6).
pub const DEVICE_IDENTIFICATION: u8 = 0x83;
/// PAGE CODE of Management Network Addresses (SPC-4 §7.8.8).
pub const MANAGEMENT_NETWORK_ADDRESSES: u8 = 0x85;
/// PAGE CODE of Extended INQUIRY Data (SPC-4 §7.8.7).
pub const EXTENDED_INQUIRY: u8 = 0x86;
/// PAGE CODE of Mode Page Policy (SPC-4 §7.8.9).
pub const MODE_PAGE_POLICY: u8 = 0x87;
/// PAGE CODE of SCSI Ports (SPC-4 §7.8.14).
pub const SCSI_PORTS: u8 = 0x88;
/// PAGE CODE of Third-party Copy (SPC-4 §7.8.17).
pub const THIRD_PARTY_COPY: u8 = 0x8f;
/// PAGE CODE of Block Limits (SBC-3 §6.5.3).
pub const BLOCK_LIMITS: u8 = 0xb0;
/// PAGE CODE of Block Device Characteristics (SBC-3 §6.5.2).
pub const BLOCK_DEVICE_CHARACTERISTICS: u8 = 0xb1;
/// PAGE CODE of Logical Block Provisioning (SBC-3 §6.5.4).
pub const LOGICAL_BLOCK_PROVISIONING: u8 = 0xb2;

/// A page as it goes over the wire: the four-byte header and the body.
#[must_use]
pub fn encode_page(peripheral: Peripheral, page_code: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let body = body.get(..len.into()).unwrap_or(body);
    [&[peripheral.0, page_code], len.to_be_bytes().as_slice(), body].concat()
}

/// The body of a page that was asked for, as far as it was sent; `None` when the bytes are another page or no header.
#[must_use]
pub fn decode_page(page_code: u8, bytes: &[u8]) -> Option<&[u8]> {
    let len = u16_at(bytes, 2).filter(|_| bytes.get(1) == Some(&page_code))?;
    let body = bytes.get(4..)?;
    body.get(..body.len().min(len.into()))
}

/// Body of Device Identification.
#[must_use]
pub fn encode_designations(designations: &[Designation]) -> Vec<u8> {
    designations.iter().flat_map(Designation::encode).collect()
}

/// The designations of a Device Identification body; ends at the first one that is cut or malformed.
#[must_use]
pub fn decode_designations(mut body: &[u8]) -> Vec<Designation> {
    let mut all = Vec::new();
    while let Some((designation, len)) = Designation::decode(body) {
        all.push(designation);
        body = body.get(len..).unwrap_or_default();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::designator::{Association, Designator};
    use super::*;

    #[test]
    fn pages_have_a_header_and_are_known_by_it() {
        let page = encode_page(Peripheral::BLOCK, UNIT_SERIAL_NUMBER, b"abc");
        assert_eq!(page, [0, 0x80, 0, 3, b'a', b'b', b'c']);
        assert_eq!(decode_page(UNIT_SERIAL_NUMBER, &page), Some(b"abc".as_slice()));
        assert_eq!(decode_page(DEVICE_IDENTIFICATION, &page), None);
        assert_eq!(
            decode_page(UNIT_SERIAL_NUMBER, &page[..5]),
            Some(b"a".as_slice()),
            "cut by the allocation length"
        );
        assert_eq!(decode_page(UNIT_SERIAL_NUMBER, &page[..3]), None);
    }

    #[test]
    fn designations_follow_one_another() {
        let one = Designation {
            association: Association::TargetPort,
            designator: Designator::RelativeTargetPort(1),
        };
        let body = encode_designations(&[one.clone(), one.clone()]);
        assert_eq!(decode_designations(&body), [one.clone(), one.clone()]);
        assert_eq!(decode_designations(&body[..body.len() - 1]), [one]);
    }
}
