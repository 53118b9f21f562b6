//! GET LBA STATUS parameter data (SBC-3 §5.4.2).

use super::bytes::{u8_at, u32_at, u64_at};

/// Bytes before the descriptors.
pub const HEADER_LEN: usize = 8;
/// Bytes of a descriptor.
pub const DESCRIPTOR_LEN: usize = 16;

/// PROVISIONING STATUS (SBC-3 table 46).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningStatus {
    /// 0: mapped, or unknown.
    Mapped = 0,
    /// 1: deallocated.
    Deallocated = 1,
    /// 2: anchored.
    Anchored = 2,
}

/// An LBA status descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbaStatus {
    /// LOGICAL BLOCK ADDRESS of the first.
    pub lba: u64,
    /// NUMBER OF LOGICAL BLOCKS.
    pub blocks: u32,
    /// What they are.
    pub status: ProvisioningStatus,
}

/// Header and descriptors, not yet cut to an allocation length.
#[must_use]
pub fn encode(descriptors: &[LbaStatus]) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    for descriptor in descriptors {
        out.extend(descriptor.lba.to_be_bytes());
        out.extend(descriptor.blocks.to_be_bytes());
        out.extend([descriptor.status as u8, 0, 0, 0]);
    }
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// The descriptors of parameter data that may be cut; `None` without a header. A reserved status reads as mapped.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<LbaStatus>> {
    let stated = usize::try_from(u32_at(bytes, 0)?).unwrap_or(usize::MAX).checked_sub(4)?;
    let body = bytes.get(HEADER_LEN..)?;
    let body = body.get(..body.len().min(stated))?;
    let descriptor = |bytes| {
        let status = match u8_at(bytes, 12)? & 0x0f {
            1 => ProvisioningStatus::Deallocated,
            2 => ProvisioningStatus::Anchored,
            _ => ProvisioningStatus::Mapped,
        };
        Some(LbaStatus { lba: u64_at(bytes, 0)?, blocks: u32_at(bytes, 8)?, status })
    };
    Some(body.chunks_exact(DESCRIPTOR_LEN).filter_map(descriptor).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_survive_the_wire_and_a_cut() {
        let all = [
            LbaStatus { lba: 1 << 40, blocks: 8, status: ProvisioningStatus::Mapped },
            LbaStatus { lba: (1 << 40) + 8, blocks: u32::MAX, status: ProvisioningStatus::Deallocated },
        ];
        let bytes = encode(&all);
        assert_eq!(bytes[..4], [0, 0, 0, 36], "PARAMETER DATA LENGTH counts what follows it");
        assert_eq!(decode(&bytes), Some(all.to_vec()));
        assert_eq!(decode(&bytes[..39]), Some(all[..1].to_vec()));
        assert_eq!(decode(&bytes[..7]), None);
    }
}
