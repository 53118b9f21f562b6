//! READ CAPACITY data (SBC-3 §5.15.2, §5.16.2).

use super::bytes::{u8_at, u32_at, u64_at};

/// Size and shape of a logical unit. READ CAPACITY(10) carries the first two fields only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// RETURNED LOGICAL BLOCK ADDRESS: the last block.
    pub last_lba: u64,
    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub block_len: u32,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, four bits.
    pub physical_exponent: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, fourteen bits.
    pub lowest_aligned_lba: u16,
    /// LBPME: logical block provisioning management is on.
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zero.
    pub reads_zero: bool,
    /// PROT_EN.
    pub protection: bool,
}

impl Capacity {
    /// READ CAPACITY(10) data: a last block that needs more than 32 bits is FFFFFFFFh, "ask with 16" (SBC-3 §5.15.2).
    #[must_use]
    pub fn encode_10(&self) -> [u8; 8] {
        let mut out = [0; 8];
        out[..4].copy_from_slice(&u32::try_from(self.last_lba).unwrap_or(u32::MAX).to_be_bytes());
        out[4..].copy_from_slice(&self.block_len.to_be_bytes());
        out
    }

    /// READ CAPACITY(16) data.
    #[must_use]
    pub fn encode_16(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..8].copy_from_slice(&self.last_lba.to_be_bytes());
        out[8..12].copy_from_slice(&self.block_len.to_be_bytes());
        out[12] = self.protection.into();
        out[13] = self.physical_exponent & 0x0f;
        let flags = u16::from(self.thin) << 15 | u16::from(self.reads_zero) << 14;
        out[14..16].copy_from_slice(&(flags | (self.lowest_aligned_lba & 0x3fff)).to_be_bytes());
        out
    }

    /// Reads READ CAPACITY(10) data; `None` when it is short or says "ask with 16".
    #[must_use]
    pub fn decode_10(bytes: &[u8]) -> Option<Self> {
        let last = u32_at(bytes, 0).filter(|&last| last != u32::MAX)?;
        Some(Self {
            last_lba: last.into(),
            block_len: u32_at(bytes, 4)?,
            physical_exponent: 0,
            lowest_aligned_lba: 0,
            thin: false,
            reads_zero: false,
            protection: false,
        })
    }

    /// Reads READ CAPACITY(16) data; devices may send only the first twelve bytes.
    #[must_use]
    pub fn decode_16(bytes: &[u8]) -> Option<Self> {
        let byte = |at| u8_at(bytes, at).unwrap_or(0);
        Some(Self {
            last_lba: u64_at(bytes, 0)?,
            block_len: u32_at(bytes, 8)?,
            physical_exponent: byte(13) & 0x0f,
            lowest_aligned_lba: u16::from_be_bytes([byte(14) & 0x3f, byte(15)]),
            thin: byte(14) & 0x80 != 0,
            reads_zero: byte(14) & 0x40 != 0,
            protection: byte(12) & 1 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        last_lba: 0xffff_fffe,
        block_len: 512,
        physical_exponent: 3,
        lowest_aligned_lba: 0x1234,
        thin: true,
        reads_zero: true,
        protection: false,
    };

    #[test]
    fn capacity_survives_the_wire() {
        assert_eq!(Capacity::decode_16(&CAPACITY.encode_16()), Some(CAPACITY));
        assert_eq!(Capacity::decode_16(&CAPACITY.encode_16()[..11]), None);
        assert_eq!(Capacity::decode_16(&CAPACITY.encode_16()[..12]).unwrap().physical_exponent, 0);
        assert_eq!(Capacity::decode_10(&CAPACITY.encode_10()).unwrap().last_lba, 0xffff_fffe);
    }

    #[test]
    fn a_large_disk_sends_the_reader_to_sixteen_bytes() {
        for last_lba in [0xffff_ffff, 0x1_0000_0000] {
            let bytes = Capacity { last_lba, ..CAPACITY }.encode_10();
            assert_eq!(bytes[..4], [0xff; 4]);
            assert_eq!(Capacity::decode_10(&bytes), None);
        }
    }
}
