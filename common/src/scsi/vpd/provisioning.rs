//! Logical Block Provisioning, page B2h (SBC-3 §6.5.4).

use crate::scsi::bytes::u8_at;

/// PROVISIONING TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningType {
    /// 0: not reported, or every block has its space.
    NotReported = 0,
    /// 1: every block has space reserved for it.
    Resource = 1,
    /// 2: blocks get their space when they are written.
    Thin = 2,
}

/// How blocks get and lose their space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalBlockProvisioning {
    /// THRESHOLD EXPONENT; 0 means no thresholds.
    pub threshold_exponent: u8,
    /// LBPU: UNMAP is supported.
    pub unmap: bool,
    /// LBPWS: WRITE SAME(16) with UNMAP is supported.
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME(10) with UNMAP is supported.
    pub write_same_10: bool,
    /// LBPRZ: unmapped blocks read as zero.
    pub reads_zero: bool,
    /// ANC_SUP: blocks can be anchored.
    pub anchor: bool,
    /// PROVISIONING TYPE.
    pub provisioning: ProvisioningType,
}

impl LogicalBlockProvisioning {
    /// The page's body, four bytes: no provisioning group descriptor.
    #[must_use]
    pub const fn encode(&self) -> [u8; 4] {
        let flags = (self.unmap as u8) << 7
            | (self.write_same_16 as u8) << 6
            | (self.write_same_10 as u8) << 5
            | (self.reads_zero as u8) << 2
            | (self.anchor as u8) << 1;
        [self.threshold_exponent, flags, self.provisioning as u8, 0]
    }

    /// Reads a body. SBC-4 widened LBPRZ to three bits, of which the lowest has the meaning of SBC-3.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let flags = u8_at(body, 1)?;
        Some(Self {
            threshold_exponent: u8_at(body, 0)?,
            unmap: flags & 0x80 != 0,
            write_same_16: flags & 0x40 != 0,
            write_same_10: flags & 0x20 != 0,
            reads_zero: flags & 0x04 != 0,
            anchor: flags & 0x02 != 0,
            provisioning: match u8_at(body, 2)? & 7 {
                1 => ProvisioningType::Resource,
                2 => ProvisioningType::Thin,
                _ => ProvisioningType::NotReported,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provisioning_survives_the_wire() {
        let thin = LogicalBlockProvisioning {
            threshold_exponent: 0,
            unmap: true,
            write_same_16: true,
            write_same_10: true,
            reads_zero: true,
            anchor: false,
            provisioning: ProvisioningType::Thin,
        };
        assert_eq!(thin.encode(), [0, 0xe4, 2, 0]);
        assert_eq!(LogicalBlockProvisioning::decode(&thin.encode()), Some(thin));
        assert_eq!(LogicalBlockProvisioning::decode(&[0, 0xe4]), None);
    }
}
