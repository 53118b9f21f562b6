//! Block Limits, page B0h (SBC-3 §6.5.3).

use crate::scsi::bytes::{u8_at, u16_at, u32_at, u64_at};

/// Counts are logical blocks; 0 means "not reported" unless a field says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// WSNZ: WRITE SAME does not take a NUMBER OF LOGICAL BLOCKS of zero.
    pub write_same_non_zero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH; 0 means the command is not supported.
    pub max_compare_and_write: u8,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub optimal_granularity: u16,
    /// MAXIMUM TRANSFER LENGTH.
    pub max_transfer: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal_transfer: u32,
    /// MAXIMUM PREFETCH LENGTH.
    pub max_prefetch: u32,
    /// MAXIMUM UNMAP LBA COUNT; 0 means UNMAP is not supported.
    pub max_unmap_blocks: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT; 0 means UNMAP is not supported.
    pub max_unmap_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY.
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT; `None` is UGAVALID zero.
    pub unmap_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH.
    pub max_write_same: u64,
}

/// PAGE LENGTH of SBC-3.
const LEN: usize = 0x3c;

impl BlockLimits {
    /// The page's body, 60 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = self.write_same_non_zero.into();
        out[1] = self.max_compare_and_write;
        out[2..4].copy_from_slice(&self.optimal_granularity.to_be_bytes());
        let counts = [
            (4, self.max_transfer),
            (8, self.optimal_transfer),
            (12, self.max_prefetch),
            (16, self.max_unmap_blocks),
            (20, self.max_unmap_descriptors),
            (24, self.unmap_granularity),
        ];
        for (at, value) in counts {
            out[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        if let Some(alignment) = self.unmap_alignment {
            out[28..32].copy_from_slice(&(0x8000_0000 | alignment).to_be_bytes());
        }
        out[32..40].copy_from_slice(&self.max_write_same.to_be_bytes());
        out
    }

    /// Reads a body of SBC-2 (12 bytes) or newer; fields that are not there are zero.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let count = |at| u32_at(body, at).unwrap_or(0);
        Some(Self {
            write_same_non_zero: u8_at(body, 0)? & 1 != 0,
            max_compare_and_write: u8_at(body, 1)?,
            optimal_granularity: u16_at(body, 2)?,
            max_transfer: u32_at(body, 4)?,
            optimal_transfer: u32_at(body, 8)?,
            max_prefetch: count(12),
            max_unmap_blocks: count(16),
            max_unmap_descriptors: count(20),
            unmap_granularity: count(24),
            unmap_alignment: Some(count(28)).filter(|v| v & 0x8000_0000 != 0).map(|v| v & 0x7fff_ffff),
            max_write_same: u64_at(body, 32).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_wire_and_old_pages_have_fewer() {
        let limits = BlockLimits {
            write_same_non_zero: true,
            max_compare_and_write: 1,
            optimal_granularity: 8,
            max_transfer: 0x10000,
            optimal_transfer: 0x800,
            max_prefetch: 3,
            max_unmap_blocks: 4,
            max_unmap_descriptors: 5,
            unmap_granularity: 6,
            unmap_alignment: Some(0),
            max_write_same: 1 << 33,
        };
        let body = limits.encode();
        assert_eq!(BlockLimits::decode(&body), Some(limits));
        let old = BlockLimits::decode(&body[..12]).unwrap();
        assert_eq!((old.optimal_transfer, old.max_unmap_blocks, old.unmap_alignment), (0x800, 0, None));
        assert_eq!(BlockLimits::decode(&body[..11]), None);
    }
}
