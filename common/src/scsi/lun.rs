//! Logical unit numbers: eight bytes on the wire, a small number in conversation (SAM-5 §4.7).

use std::fmt;

/// A logical unit number as it stands on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lun(pub u64);

impl Lun {
    /// Highest number that [`Lun::from_number`] can express: 14 bits of flat space addressing.
    pub const NUMBER_MAX: u16 = 0x3fff;

    /// The REPORT LUNS well-known logical unit, C1 01 (SPC-4 §8.2).
    pub const REPORT_LUNS_WELL_KNOWN: Self = Self(0xc101 << 48);

    /// The wire form of LUN `number`: peripheral device addressing below 256 (SAM-5 §4.7.7.2), flat space addressing
    /// above (SAM-5 §4.7.7.3). `None` above [`Lun::NUMBER_MAX`].
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0..=0xff => Some(Self((number as u64) << 48)),
            0x100..=Self::NUMBER_MAX => Some(Self((0x4000 | number as u64) << 48)),
            _ => None,
        }
    }

    /// The number of a single-level LUN in either addressing method; `None` for bus numbers other than zero, for
    /// multi-level structures and for well-known logical units.
    #[must_use]
    pub const fn number(self) -> Option<u16> {
        let first = (self.0 >> 48) as u16;
        if self.0 << 16 != 0 {
            return None;
        }
        match first >> 14 {
            0b00 if first < 0x100 => Some(first),
            0b01 => Some(first & Self::NUMBER_MAX),
            _ => None,
        }
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "{number}"),
            None => write!(f, "{:#018x}", self.0),
        }
    }
}

impl fmt::Debug for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lun({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_both_addressing_methods() {
        for number in [0, 1, 255, 256, 4095, Lun::NUMBER_MAX] {
            assert_eq!(Lun::from_number(number).unwrap().number(), Some(number));
        }
        assert_eq!(Lun::from_number(Lun::NUMBER_MAX + 1), None);
        assert_eq!(Lun(0x4001 << 48).number(), Some(1), "flat addressing of a small number is the same unit");
    }

    #[test]
    fn other_structures_have_no_number() {
        assert_eq!(Lun(0x0100 << 48).number(), None, "bus 1");
        assert_eq!(Lun(1).number(), None, "multi-level");
        assert_eq!(Lun::REPORT_LUNS_WELL_KNOWN.number(), None);
    }
}
