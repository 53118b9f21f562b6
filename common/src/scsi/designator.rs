//! Designation descriptors: the names of a logical unit and of the ports that lead to it (SPC-4 §7.8.6.2).

use super::bytes::{ascii_field, text, u16_at};

/// PROTOCOL IDENTIFIER of iSCSI (SPC-4 table 429).
const PROTOCOL_ISCSI: u8 = 5;

/// What a designator names (ASSOCIATION).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Association {
    /// The addressed logical unit.
    LogicalUnit = 0,
    /// The target port that received the request.
    TargetPort = 1,
    /// The SCSI target device.
    TargetDevice = 2,
}

/// A designator of one of the types that are sent or understood here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Designator {
    /// T10 vendor ID based (type 1h): the vendor and something that is unique under that vendor.
    T10VendorId {
        /// T10 VENDOR IDENTIFICATION, at most eight characters.
        vendor: String,
        /// VENDOR SPECIFIC IDENTIFIER.
        identifier: Vec<u8>,
    },
    /// NAA (type 3h): eight bytes, or sixteen for NAA 6h.
    Naa(Vec<u8>),
    /// Relative target port identifier (type 4h).
    RelativeTargetPort(u16),
    /// Target port group (type 5h).
    TargetPortGroup(u16),
    /// SCSI name string (type 8h).
    ScsiName(String),
    /// Any other type, with its bytes.
    Other {
        /// DESIGNATOR TYPE.
        kind: u8,
        /// DESIGNATOR.
        bytes: Vec<u8>,
    },
}

/// A designation descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designation {
    /// What it names.
    pub association: Association,
    /// The name.
    pub designator: Designator,
}

impl Designation {
    /// The descriptor's bytes. A designator longer than 255 bytes is cut, which iSCSI names (at most 223) never are.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // CODE SET: 1 binary, 2 ASCII, 3 UTF-8.
        let (code_set, kind, mut bytes) = match &self.designator {
            Designator::T10VendorId { vendor, identifier } => {
                (2, 1, [ascii_field::<8>(vendor).as_slice(), identifier].concat())
            }
            Designator::Naa(bytes) => (1, 3, bytes.clone()),
            Designator::RelativeTargetPort(port) => (1, 4, u32::from(*port).to_be_bytes().to_vec()),
            Designator::TargetPortGroup(group) => (1, 5, u32::from(*group).to_be_bytes().to_vec()),
            Designator::ScsiName(name) => (3, 8, scsi_name(name)),
            Designator::Other { kind, bytes } => (1, *kind & 0x0f, bytes.clone()),
        };
        bytes.truncate(255);
        // PIV and PROTOCOL IDENTIFIER have a meaning for ports and devices only (SPC-4 §7.8.6.1).
        let (protocol, piv) = match self.association {
            Association::LogicalUnit => (0, 0),
            Association::TargetPort | Association::TargetDevice => (PROTOCOL_ISCSI << 4, 0x80),
        };
        let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        let mut out = vec![protocol | code_set, piv | ((self.association as u8) << 4) | kind, 0, len];
        out.append(&mut bytes);
        out
    }

    /// Reads the descriptor at the start of `bytes` and says how long it is; `None` when it is cut short or its association is
    /// reserved.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let &[_, flags, _, len] = bytes.first_chunk()?;
        let len = 4 + usize::from(len);
        let value = bytes.get(4..len)?;
        let association = match (flags >> 4) & 3 {
            0 => Association::LogicalUnit,
            1 => Association::TargetPort,
            2 => Association::TargetDevice,
            _ => return None,
        };
        let kind = flags & 0x0f;
        let designator = match kind {
            1 if value.len() >= 8 => {
                Designator::T10VendorId { vendor: text(&value[..8]), identifier: value[8..].to_vec() }
            }
            3 => Designator::Naa(value.to_vec()),
            4 if value.len() == 4 => Designator::RelativeTargetPort(u16_at(value, 2)?),
            5 if value.len() == 4 => Designator::TargetPortGroup(u16_at(value, 2)?),
            8 => {
                let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
                Designator::ScsiName(String::from_utf8_lossy(&value[..end]).into_owned())
            }
            _ => Designator::Other { kind, bytes: value.to_vec() },
        };
        Some((Self { association, designator }, len))
    }
}

/// UTF-8, ended by a NUL and padded with NULs to a multiple of four (SPC-4 §7.8.6.11).
fn scsi_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize((bytes.len() + 1).next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Designation> {
        use Association::*;
        let name = |association, designator| Designation { association, designator };
        vec![
            name(
                LogicalUnit,
                Designator::T10VendorId { vendor: "LUNKEEP".into(), identifier: b"abc".to_vec() },
            ),
            name(LogicalUnit, Designator::Naa((0x60..0x70).collect())),
            name(TargetPort, Designator::RelativeTargetPort(0x0102)),
            name(TargetPort, Designator::TargetPortGroup(0)),
            name(TargetDevice, Designator::ScsiName("iqn.2026-11.org:abc".into())),
            name(LogicalUnit, Designator::Other { kind: 6, bytes: vec![1, 2, 3, 4] }),
        ]
    }

    #[test]
    fn every_kind_survives_the_wire_and_no_cut_panics() {
        for designation in every_kind() {
            let bytes = designation.encode();
            assert_eq!(Designation::decode(&bytes), Some((designation, bytes.len())));
            for end in 0..bytes.len() {
                assert_eq!(Designation::decode(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn ports_and_devices_name_the_protocol_and_logical_units_do_not() {
        let heads: Vec<_> = every_kind().iter().map(|d| d.encode()[..2].to_vec()).collect();
        let expected = [[0x02, 0x01], [0x01, 0x03], [0x51, 0x94], [0x51, 0x95], [0x53, 0xa8], [0x01, 0x06]];
        assert_eq!(heads, expected);
    }

    #[test]
    fn names_are_ended_and_padded() {
        assert_eq!(scsi_name("abc"), b"abc\0");
        assert_eq!(scsi_name("abcd"), b"abcd\0\0\0\0");
    }
}
