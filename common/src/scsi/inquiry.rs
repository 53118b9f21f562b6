//! Standard INQUIRY data (SPC-4 §6.6.2).

use super::bytes::{ascii_field, text, u8_at, u16_at};

/// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peripheral(pub u8);

impl Peripheral {
    /// A direct access block device that is there (SBC-3).
    pub const BLOCK: Self = Self(0x00);
    /// A well-known logical unit (SPC-4 §8).
    pub const WELL_KNOWN: Self = Self(0x1e);
    /// Qualifier 011b, type 1Fh: no logical unit can be here (SPC-4 table 148).
    pub const ABSENT: Self = Self(0x7f);

    /// PERIPHERAL QUALIFIER: 0 when a device is there.
    #[must_use]
    pub const fn qualifier(self) -> u8 {
        self.0 >> 5
    }

    /// PERIPHERAL DEVICE TYPE.
    #[must_use]
    pub const fn device_type(self) -> u8 {
        self.0 & 0x1f
    }
}

/// Version descriptors (SPC-4 table 156), without a claim of a revision.
pub mod version {
    /// SAM-5.
    pub const SAM_5: u16 = 0x00a0;
    /// SPC-4.
    pub const SPC_4: u16 = 0x0460;
    /// SBC-3.
    pub const SBC_3: u16 = 0x04c0;
    /// iSCSI.
    pub const ISCSI: u16 = 0x0960;
}

/// Bytes of the data that is sent here: everything SPC-4 defines.
pub const STANDARD_INQUIRY_LEN: usize = 96;

/// Standard INQUIRY data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandardInquiry {
    /// Qualifier and type.
    pub peripheral: Peripheral,
    /// RMB.
    pub removable: bool,
    /// VERSION: 06h is SPC-4.
    pub version: u8,
    /// CMDQUE.
    pub command_queueing: bool,
    /// MULTIP: the device has more than one target port.
    pub multi_port: bool,
    /// 3PC: the device has third-party copy commands.
    pub third_party_copy: bool,
    /// PROTECT.
    pub protection: bool,
    /// TPGS, two bits.
    pub target_port_groups: u8,
    /// T10 VENDOR IDENTIFICATION, at most 8 characters.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, at most 16 characters.
    pub product: String,
    /// PRODUCT REVISION LEVEL, at most 4 characters.
    pub revision: String,
    /// VERSION DESCRIPTOR 1 to 8.
    pub versions: Vec<u16>,
}

impl StandardInquiry {
    /// The bytes, [`STANDARD_INQUIRY_LEN`] of them.
    #[must_use]
    pub fn encode(&self) -> [u8; STANDARD_INQUIRY_LEN] {
        let mut out = [0; STANDARD_INQUIRY_LEN];
        out[0] = self.peripheral.0;
        out[1] = u8::from(self.removable) << 7;
        out[2] = self.version;
        // HISUP: LUNs are addressed as SAM-5 §4.7 says; RESPONSE DATA FORMAT 2.
        out[3] = 0x10 | 0x02;
        out[4] = 91;
        out[5] = (self.target_port_groups & 3) << 4
            | u8::from(self.third_party_copy) << 3
            | u8::from(self.protection);
        out[6] = u8::from(self.multi_port) << 4;
        out[7] = u8::from(self.command_queueing) << 1;
        out[8..16].copy_from_slice(&ascii_field::<8>(&self.vendor));
        out[16..32].copy_from_slice(&ascii_field::<16>(&self.product));
        out[32..36].copy_from_slice(&ascii_field::<4>(&self.revision));
        for (field, version) in out[58..74].chunks_exact_mut(2).zip(&self.versions) {
            field.copy_from_slice(&version.to_be_bytes());
        }
        out
    }

    /// Reads what a device sent; `None` below the 36 bytes that every device has.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..bytes.len().min(5 + usize::from(u8_at(bytes, 4)?)))?;
        let head: &[u8; 36] = bytes.first_chunk()?;
        let versions = (58..74).step_by(2).map_while(|at| u16_at(bytes, at)).filter(|&v| v != 0).collect();
        Some(Self {
            peripheral: Peripheral(head[0]),
            removable: head[1] & 0x80 != 0,
            version: head[2],
            command_queueing: head[7] & 0x02 != 0,
            multi_port: head[6] & 0x10 != 0,
            third_party_copy: head[5] & 0x08 != 0,
            protection: head[5] & 0x01 != 0,
            target_port_groups: (head[5] >> 4) & 3,
            vendor: text(&head[8..16]),
            product: text(&head[16..32]),
            revision: text(&head[32..36]),
            versions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inquiry_data_survives_the_wire() {
        let data = StandardInquiry {
            peripheral: Peripheral::BLOCK,
            removable: false,
            version: 6,
            command_queueing: true,
            multi_port: true,
            third_party_copy: true,
            protection: false,
            target_port_groups: 3,
            vendor: "LUNKEEP".into(),
            product: "Virtual disk".into(),
            revision: "0001".into(),
            versions: vec![version::SAM_5, version::SPC_4],
        };
        let bytes = data.encode();
        assert_eq!(StandardInquiry::decode(&bytes), Some(data));
        assert_eq!(StandardInquiry::decode(&bytes[..35]), None);
        assert_eq!(StandardInquiry::decode(&bytes[..36]).unwrap().versions, []);
    }

    #[test]
    fn an_absent_unit_has_qualifier_three_and_no_type() {
        assert_eq!((Peripheral::ABSENT.qualifier(), Peripheral::ABSENT.device_type()), (3, 0x1f));
    }
}
