//! Block Device Characteristics, page B1h (SBC-3 §6.5.2).

use crate::scsi::bytes::{u8_at, u16_at};

/// What kind of medium it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCharacteristics {
    /// MEDIUM ROTATION RATE: 0 not reported, 1 non-rotating, else per minute.
    pub rotation_rate: u16,
    /// WABEREQ, two bits: what a read brings after SANITIZE with BLOCK ERASE. 0 not said, 1 anything without an error.
    pub after_block_erase: u8,
    /// NOMINAL FORM FACTOR, four bits: 0 not reported.
    pub form_factor: u8,
}

/// PAGE LENGTH.
const LEN: usize = 0x3c;

impl BlockCharacteristics {
    /// A medium that does not rotate.
    pub const NON_ROTATING: Self = Self { rotation_rate: 1, after_block_erase: 1, form_factor: 0 };

    /// The page's body, 60 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0..2].copy_from_slice(&self.rotation_rate.to_be_bytes());
        out[3] = self.after_block_erase << 6 | self.form_factor & 0x0f;
        out
    }

    /// Reads a body.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        Some(Self {
            rotation_rate: u16_at(body, 0)?,
            after_block_erase: u8_at(body, 3)? >> 6,
            form_factor: u8_at(body, 3)? & 0x0f,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characteristics_survive_the_wire() {
        let value = BlockCharacteristics { rotation_rate: 7200, after_block_erase: 1, form_factor: 2 };
        assert_eq!(BlockCharacteristics::decode(&value.encode()), Some(value));
        assert_eq!(BlockCharacteristics::decode(&value.encode()[..3]), None);
    }
}
