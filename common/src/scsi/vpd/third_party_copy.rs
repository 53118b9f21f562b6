//! Third-party Copy (SPC-4 §7.8.17; for its block device descriptors SBC-3 §6.5.6): which copies the copy manager can do.

use crate::scsi::bytes::{u8_at, u16_at, u32_at, u64_at};

/// Everything that the page is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThirdPartyCopy {
    /// Operation codes, each with its service actions.
    pub commands: Vec<(u8, Vec<u8>)>,
    /// Bounds on the list of an EXTENDED COPY.
    pub list: crate::scsi::third_party_copy::ListLimits,
    /// Type codes of descriptors that an EXTENDED COPY may have.
    pub descriptors: Vec<u8>,
    /// CSCD descriptor IDs that need no descriptor.
    pub cscd_ids: Vec<u16>,
    /// MAXIMUM SEGMENT LENGTH in bytes; zero is no limit but that of the descriptor.
    pub segment_len: u32,
    /// Copies at a time.
    pub concurrent_copies: u32,
    /// Bounds on tokens.
    pub tokens: TokenLimits,
    /// ROD types: number, whether tokens of it are made, whether they are taken.
    pub rod_types: Vec<(u32, bool, bool)>,
}

/// Bounds on tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    /// MAXIMUM RANGE DESCRIPTORS.
    pub ranges: u16,
    /// MAXIMUM INACTIVITY TIMEOUT in seconds.
    pub max_inactivity: u32,
    /// DEFAULT INACTIVITY TIMEOUT in seconds.
    pub default_inactivity: u32,
    /// MAXIMUM TOKEN TRANSFER SIZE in logical blocks.
    pub max_transfer: u64,
    /// OPTIMAL TRANSFER COUNT in logical blocks.
    pub optimal_transfer: u64,
    /// Bytes in a logical block.
    pub block_len: u32,
}

/// THIRD-PARTY COPY DESCRIPTOR TYPE (SPC-4 table 455).
mod kind {
    pub(super) const BLOCK_DEVICE_ROD_LIMITS: u16 = 0x0000;
    pub(super) const SUPPORTED_COMMANDS: u16 = 0x0001;
    pub(super) const PARAMETER_DATA: u16 = 0x0004;
    pub(super) const SUPPORTED_DESCRIPTORS: u16 = 0x0008;
    pub(super) const SUPPORTED_CSCD_IDS: u16 = 0x000c;
    pub(super) const ROD_TOKEN_FEATURES: u16 = 0x0106;
    pub(super) const SUPPORTED_ROD_TYPES: u16 = 0x0108;
    pub(super) const GENERAL_COPY_OPERATIONS: u16 = 0x8001;
}

/// A descriptor: header, body, and zeros up to a multiple of four.
fn descriptor(out: &mut Vec<u8>, kind: u16, mut body: Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
    out.extend(kind.to_be_bytes());
    out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.append(&mut body);
}

/// The bytes of a list behind its one-byte length.
fn counted(list: &[u8]) -> Vec<u8> {
    let len = u8::try_from(list.len()).unwrap_or(u8::MAX);
    [&[len], list].concat()
}

impl ThirdPartyCopy {
    /// The page's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        descriptor(&mut out, kind::BLOCK_DEVICE_ROD_LIMITS, self.tokens.rod_limits());
        let commands: Vec<u8> = self
            .commands
            .iter()
            .flat_map(|(opcode, actions)| [vec![*opcode], counted(actions)].concat())
            .collect();
        descriptor(&mut out, kind::SUPPORTED_COMMANDS, counted(&commands));
        descriptor(&mut out, kind::PARAMETER_DATA, self.parameter_data());
        descriptor(&mut out, kind::SUPPORTED_DESCRIPTORS, counted(&self.descriptors));
        let ids: Vec<u8> = self.cscd_ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        let ids_len = u16::try_from(ids.len()).unwrap_or(u16::MAX).to_be_bytes();
        descriptor(&mut out, kind::SUPPORTED_CSCD_IDS, [ids_len.as_slice(), &ids].concat());
        descriptor(&mut out, kind::ROD_TOKEN_FEATURES, self.tokens.features());
        descriptor(&mut out, kind::SUPPORTED_ROD_TYPES, self.rod_types());
        descriptor(&mut out, kind::GENERAL_COPY_OPERATIONS, self.general());
        out
    }

    fn parameter_data(&self) -> Vec<u8> {
        let mut body = vec![0; 28];
        body[4..6].copy_from_slice(&self.list.cscds.to_be_bytes());
        body[6..8].copy_from_slice(&self.list.segments.to_be_bytes());
        body[8..12].copy_from_slice(&self.list.descriptors_len.to_be_bytes());
        // MAXIMUM INLINE DATA LENGTH is zero.
        body
    }

    fn rod_types(&self) -> Vec<u8> {
        let mut body = vec![0; 4];
        for &(rod_type, made, taken) in &self.rod_types {
            body.extend(rod_type.to_be_bytes());
            // TOKEN_OUT, TOKEN_IN; ECPY_INT is zero: an EXTENDED COPY has no RODs of its own.
            body.extend([u8::from(made) | u8::from(taken) << 1, 0, 0, 0]);
            body.extend([0; 56]);
        }
        let len = u16::try_from(body.len() - 4).unwrap_or(u16::MAX);
        body[2..4].copy_from_slice(&len.to_be_bytes());
        body
    }

    fn general(&self) -> Vec<u8> {
        let mut body = vec![0; 32];
        body[..4].copy_from_slice(&self.concurrent_copies.to_be_bytes());
        body[4..8].copy_from_slice(&self.concurrent_copies.to_be_bytes());
        body[8..12].copy_from_slice(&self.segment_len.to_be_bytes());
        body
    }

    /// The descriptors of a body: type and bytes of each; ends at the first that is cut.
    #[must_use]
    pub fn descriptors(mut body: &[u8]) -> Vec<(u16, &[u8])> {
        let mut all = Vec::new();
        while let (Some(kind), Some(len)) = (u16_at(body, 0), u16_at(body, 2)) {
            let Some(one) = body.get(4..4 + usize::from(len)) else { break };
            all.push((kind, one));
            body = body.get(4 + usize::from(len)..).unwrap_or_default();
        }
        all
    }

    /// Whether a body names this service action of this operation code.
    #[must_use]
    pub fn names(body: &[u8], opcode: u8, service_action: u8) -> bool {
        let all = Self::descriptors(body);
        let Some((_, list)) = all.iter().find(|(kind, _)| *kind == kind::SUPPORTED_COMMANDS) else {
            return false;
        };
        let mut rest = list.get(1..1 + usize::from(u8_at(list, 0).unwrap_or(0))).unwrap_or_default();
        while let (Some(code), Some(count)) = (u8_at(rest, 0), u8_at(rest, 1)) {
            let actions = rest.get(2..2 + usize::from(count)).unwrap_or_default();
            if code == opcode && actions.contains(&service_action) {
                return true;
            }
            rest = rest.get(2 + usize::from(count)..).unwrap_or_default();
        }
        false
    }
}

impl TokenLimits {
    fn rod_limits(&self) -> Vec<u8> {
        let mut body = vec![0; 32];
        body[6..8].copy_from_slice(&self.ranges.to_be_bytes());
        body[8..12].copy_from_slice(&self.max_inactivity.to_be_bytes());
        body[12..16].copy_from_slice(&self.default_inactivity.to_be_bytes());
        body[16..24].copy_from_slice(&self.max_transfer.to_be_bytes());
        body[24..32].copy_from_slice(&self.optimal_transfer.to_be_bytes());
        body
    }

    /// Tokens are for this target only. One that is never used lives as long as its inactivity timeout.
    fn features(&self) -> Vec<u8> {
        let mut body = vec![0; 44];
        body[12..16].copy_from_slice(&1u32.to_be_bytes());
        body[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        body[20..24].copy_from_slice(&self.max_inactivity.to_be_bytes());
        body[42..44].copy_from_slice(&48u16.to_be_bytes());
        // Block ROD device type specific features (SBC-3 §6.5.6.3).
        let bytes = |blocks: u64| blocks.saturating_mul(self.block_len.into()).to_be_bytes();
        let mut block = vec![0; 48];
        block[2..4].copy_from_slice(&44u16.to_be_bytes());
        block[8..16].copy_from_slice(&bytes(self.max_transfer));
        block[16..24].copy_from_slice(&bytes(self.optimal_transfer));
        block[24..32].copy_from_slice(&bytes(self.optimal_transfer));
        block[32..40].copy_from_slice(&bytes(self.optimal_transfer));
        body.append(&mut block);
        body
    }

    /// Reads the Block Device ROD Limits descriptor of a page's body; `None` when it has none. The length of a block is not in it.
    #[must_use]
    pub fn decode(body: &[u8], block_len: u32) -> Option<Self> {
        let all = ThirdPartyCopy::descriptors(body);
        let (_, limits) = all.iter().find(|(kind, _)| *kind == kind::BLOCK_DEVICE_ROD_LIMITS)?;
        Some(Self {
            ranges: u16_at(limits, 6)?,
            max_inactivity: u32_at(limits, 8)?,
            default_inactivity: u32_at(limits, 12)?,
            max_transfer: u64_at(limits, 16)?,
            optimal_transfer: u64_at(limits, 24)?,
            block_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::third_party_copy::ListLimits;

    fn page() -> ThirdPartyCopy {
        ThirdPartyCopy {
            commands: vec![(0x83, vec![0, 0x10]), (0x84, vec![7])],
            list: ListLimits { cscds: 1, segments: 2, descriptors_len: 3 },
            descriptors: vec![2, 0xe4],
            cscd_ids: vec![0xffff],
            segment_len: 4,
            concurrent_copies: 5,
            tokens: TokenLimits {
                ranges: 6,
                max_inactivity: 7,
                default_inactivity: 8,
                max_transfer: 9,
                optimal_transfer: 10,
                block_len: 512,
            },
            rod_types: vec![(0x0080_0001, true, true), (0xffff_0001, false, true)],
        }
    }

    #[test]
    fn descriptors_ascend_and_are_multiples_of_four_with_the_standards_lengths() {
        let body = page().encode();
        let found: Vec<_> =
            ThirdPartyCopy::descriptors(&body).iter().map(|(kind, one)| (*kind, one.len())).collect();
        let expected = [
            (0, 0x20),
            (1, 8),
            (4, 0x1c),
            (8, 4),
            (0x0c, 4),
            (0x106, 0x5c),
            (0x108, 4 + 2 * 64),
            (0x8001, 0x20),
        ];
        assert_eq!(found, expected);
        assert_eq!(body.len(), expected.iter().map(|(_, len)| 4 + len).sum::<usize>());
        for end in 0..body.len() {
            assert!(ThirdPartyCopy::descriptors(&body[..end]).len() < 8);
        }
    }

    #[test]
    fn commands_and_token_limits_survive_the_wire() {
        let body = page().encode();
        let named = [(0x83, 0), (0x83, 0x10), (0x84, 7)];
        assert!(named.iter().all(|&(code, action)| ThirdPartyCopy::names(&body, code, action)));
        assert!(!ThirdPartyCopy::names(&body, 0x83, 0x11) && !ThirdPartyCopy::names(&body, 0x84, 0));
        assert_eq!(TokenLimits::decode(&body, 512), Some(page().tokens));
    }
}
