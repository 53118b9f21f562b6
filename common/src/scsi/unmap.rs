//! UNMAP parameter list (SBC-3 §5.28.2).

use super::bytes::{u16_at, u32_at, u64_at};

/// Bytes before the descriptors.
pub const HEADER_LEN: usize = 8;
/// Bytes of a descriptor.
pub const DESCRIPTOR_LEN: usize = 16;

/// An UNMAP block descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapDescriptor {
    /// UNMAP LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// NUMBER OF LOGICAL BLOCKS; zero is allowed and does nothing.
    pub blocks: u32,
}

/// The parameter list is shorter than its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("UNMAP parameter list of {0} bytes; its header alone has 8")]
pub struct TooShort(pub usize);

/// The descriptors of a parameter list. What the header says and what was sent are cut to the smaller; an incomplete last
/// descriptor is ignored, as SBC-3 §5.28.2 says.
///
/// # Errors
/// [`TooShort`] when even the header is cut.
pub fn decode(list: &[u8]) -> Result<Vec<UnmapDescriptor>, TooShort> {
    let stated = u16_at(list, 2);
    let (Some(stated), Some(body)) = (stated, list.get(HEADER_LEN..)) else {
        return Err(TooShort(list.len()));
    };
    let body = body.get(..body.len().min(stated.into())).unwrap_or_default();
    let descriptor = |bytes| Some(UnmapDescriptor { lba: u64_at(bytes, 0)?, blocks: u32_at(bytes, 8)? });
    Ok(body.chunks_exact(DESCRIPTOR_LEN).filter_map(descriptor).collect())
}

/// The parameter list for these descriptors; `None` for more than 4095, which no length field can state.
#[must_use]
pub fn encode(descriptors: &[UnmapDescriptor]) -> Option<Vec<u8>> {
    let body = u16::try_from(descriptors.len() * DESCRIPTOR_LEN).ok()?;
    let data = body.checked_add(6)?;
    let mut out = Vec::with_capacity(HEADER_LEN + usize::from(body));
    out.extend(data.to_be_bytes());
    out.extend(body.to_be_bytes());
    out.extend([0; 4]);
    for descriptor in descriptors {
        out.extend(descriptor.lba.to_be_bytes());
        out.extend(descriptor.blocks.to_be_bytes());
        out.extend([0; 4]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_the_wire_and_lose_a_cut_descriptor() {
        let all = [UnmapDescriptor { lba: 1 << 40, blocks: 7 }, UnmapDescriptor { lba: 0, blocks: 0 }];
        let bytes = encode(&all).unwrap();
        assert_eq!(decode(&bytes), Ok(all.to_vec()));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Ok(all[..1].to_vec()));
        assert_eq!(decode(&bytes[..8]), Ok(vec![]));
        assert_eq!(decode(&bytes[..7]), Err(TooShort(7)));
        let mut short = bytes;
        short[2..4].copy_from_slice(&16u16.to_be_bytes());
        assert_eq!(decode(&short), Ok(all[..1].to_vec()), "UNMAP BLOCK DESCRIPTOR DATA LENGTH counts");
    }

    #[test]
    fn a_list_cannot_be_longer_than_its_length_field() {
        let one = UnmapDescriptor { lba: 0, blocks: 1 };
        assert!(encode(&vec![one; 4095]).is_some());
        assert_eq!(encode(&vec![one; 4096]), None);
    }
}
