//! Cylinders, heads and sectors: what a footer records for BIOSes of the nineties.

/// A geometry as a footer records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chs {
    pub(super) cylinders: u16,
    pub(super) heads: u8,
    pub(super) sectors: u8,
}

impl Chs {
    /// The largest that fits; disks that are larger record it too, so it says nothing about a size.
    pub(super) const MAXIMUM: Self = Self { cylinders: 65535, heads: 16, sectors: 255 };

    /// The geometry that the specification's algorithm gives a disk. It may address a little less than the disk.
    pub(super) fn for_size(size: u64) -> Self {
        let total = (size / 512).min(65535 * 16 * 255);
        let (sectors, heads) = if total >= 65535 * 16 * 63 {
            (255, 16)
        } else {
            let heads = (total / 17).div_ceil(1024).max(4);
            if heads <= 16 && total / 17 < heads * 1024 {
                (17, heads)
            } else if total / 31 < 16 * 1024 {
                (31, 16)
            } else {
                (63, 16)
            }
        };
        let cylinders = total / sectors / heads;
        // The bound of `total` keeps each in its field.
        Self {
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
            heads: u8::try_from(heads).unwrap_or(u8::MAX),
            sectors: u8::try_from(sectors).unwrap_or(u8::MAX),
        }
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        let [c0, c1, heads, sectors] = bytes;
        Self { cylinders: u16::from_be_bytes([c0, c1]), heads, sectors }
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        let [c0, c1] = self.cylinders.to_be_bytes();
        [c0, c1, self.heads, self.sectors]
    }

    /// Bytes that it addresses.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors) * 512
    }

    pub(super) fn is_maximum(self) -> bool {
        self == Self::MAXIMUM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_are_those_that_other_programs_record() {
        // Virtual PC's 127 GiB, a Windows 10 fixed disk of 10 MiB, DiscUtils' 3 MiB, the limit and beyond.
        for (size, expected) in [
            (136_365_211_648, (65_278, 16, 255)),
            (3_145_728, (90, 4, 17)),
            (10_485_760, (301, 4, 17)),
            (65_535 * 16 * 255 * 512, (65_535, 16, 255)),
            (2040 << 30, (65_535, 16, 255)),
        ] {
            let chs = Chs::for_size(size);
            assert_eq!((chs.cylinders, chs.heads, chs.sectors), expected, "{size}");
            assert_eq!(Chs::from_bytes(chs.to_bytes()), chs);
            assert!(chs.bytes() <= size || size < 512);
        }
    }
}
