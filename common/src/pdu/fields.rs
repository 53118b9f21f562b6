//! Reading and writing the fields of a basic header segment at fixed offsets.
//!
//! Every offset here is a literal of the calling codec; a wrong one fails that codec's first test, not a peer's PDU.

use super::{BHS_LEN, Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;

/// Bit 7 of byte 1: F, or T in login, or always one.
pub(super) const FINAL: u8 = 0x80;
/// Bit 6 of byte 1: C in login and text, A in Data-In.
pub(super) const CONTINUE: u8 = 0x40;
/// Bit 6 of byte 0: I.
pub(super) const IMMEDIATE: u8 = 0x40;
/// The opcode's bits of byte 0.
pub(super) const OPCODE_MASK: u8 = 0x3f;

pub(super) fn u16_at(bhs: &Bhs, at: usize) -> u16 {
    u16::from_be_bytes([bhs[at], bhs[at + 1]])
}

pub(super) fn u32_at(bhs: &Bhs, at: usize) -> u32 {
    u32::from_be_bytes([bhs[at], bhs[at + 1], bhs[at + 2], bhs[at + 3]])
}

pub(super) fn lun(bhs: &Bhs) -> Lun {
    Lun(u64::from(u32_at(bhs, 8)) << 32 | u64::from(u32_at(bhs, 12)))
}

pub(super) fn itt(bhs: &Bhs) -> InitiatorTaskTag {
    InitiatorTaskTag(u32_at(bhs, 16))
}

pub(super) fn ttt(bhs: &Bhs) -> TargetTransferTag {
    TargetTransferTag(u32_at(bhs, 20))
}

pub(super) fn immediate(bhs: &Bhs) -> bool {
    bhs[0] & IMMEDIATE != 0
}

pub(super) fn is_final(bhs: &Bhs) -> bool {
    bhs[1] & FINAL != 0
}

pub(super) fn continues(bhs: &Bhs) -> bool {
    bhs[1] & CONTINUE != 0
}

/// `mask` when `on`, else 0.
pub(super) fn bit(on: bool, mask: u8) -> u8 {
    if on { mask } else { 0 }
}

/// A header under construction: all bytes that nobody sets are zero, as reserved fields must be sent.
pub(super) struct Fields(Bhs);

impl Fields {
    /// Bytes 0 and 1. `first` is the opcode, with the I bit where the PDU has one.
    pub(super) fn new(first: u8, flags: u8) -> Self {
        let mut bhs = [0; BHS_LEN];
        bhs[0] = first;
        bhs[1] = flags;
        Self(bhs)
    }

    pub(super) fn u8(mut self, at: usize, value: u8) -> Self {
        self.0[at] = value;
        self
    }

    pub(super) fn bytes<const N: usize>(mut self, at: usize, value: [u8; N]) -> Self {
        self.0[at..at + N].copy_from_slice(&value);
        self
    }

    pub(super) fn u16(self, at: usize, value: u16) -> Self {
        self.bytes(at, value.to_be_bytes())
    }

    pub(super) fn u32(self, at: usize, value: u32) -> Self {
        self.bytes(at, value.to_be_bytes())
    }

    pub(super) fn lun(self, lun: Lun) -> Self {
        self.bytes(8, lun.0.to_be_bytes())
    }

    pub(super) fn itt(self, itt: InitiatorTaskTag) -> Self {
        self.u32(16, itt.0)
    }

    pub(super) fn ttt(self, ttt: TargetTransferTag) -> Self {
        self.u32(20, ttt.0)
    }

    pub(super) fn build(self) -> Bhs {
        self.0
    }
}
