//! REPORT LUNS data (SPC-4 §6.33).

use super::bytes::{u32_at, u64_at};
use super::lun::Lun;

/// SELECT REPORT of SPC-4 table 287.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectReport {
    /// 00h: logical units except well-known ones.
    Addressable = 0,
    /// 01h: well-known logical units only.
    WellKnown = 1,
    /// 02h: all.
    All = 2,
}

impl SelectReport {
    /// The value of a CDB; `None` when it is reserved or vendor specific.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Addressable),
            1 => Some(Self::WellKnown),
            2 => Some(Self::All),
            _ => None,
        }
    }
}

/// The LUN list, not yet cut to an allocation length.
#[must_use]
pub fn encode(luns: impl IntoIterator<Item = Lun>) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend(luns.into_iter().flat_map(|lun| lun.0.to_be_bytes()));
    let len = u32::try_from(out.len() - 8).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// The LUNs of a list that may be cut, and the byte count of the whole list: when it is larger than eight times the LUNs, ask
/// again with a larger allocation length. `None` without a header.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(Vec<Lun>, u32)> {
    let len = u32_at(bytes, 0)?;
    let body = bytes.get(8..)?;
    let stated = usize::try_from(len).unwrap_or(usize::MAX);
    let body = body.get(..body.len().min(stated))?;
    Some((body.chunks_exact(8).filter_map(|lun| u64_at(lun, 0)).map(Lun).collect(), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_the_wire_and_tell_when_they_are_cut() {
        let luns = [Lun(0), Lun(1 << 48)];
        let bytes = encode(luns);
        assert_eq!(decode(&bytes), Some((luns.to_vec(), 16)));
        assert_eq!(decode(&bytes[..23]), Some((luns[..1].to_vec(), 16)));
        assert_eq!(decode(&bytes[..7]), None);
    }
}
