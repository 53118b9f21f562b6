//! A block's sector bitmap: one bit per sector, the most significant bit first. In a dynamic disk a clear bit means that
//! the sector was never written and reads as zero, whatever lies in its place.

use std::ops::Range;

/// Bytes of the bitmap of blocks of `block_size` bytes: a bit per sector, rounded up to whole sectors.
pub(super) fn bitmap_len(block_size: u32) -> u64 {
    u64::from(block_size).div_ceil(512 * 8).next_multiple_of(512)
}

/// Whether the bit of `sector` is set.
fn is_set(bitmap: &[u8], sector: u64) -> bool {
    let byte = usize::try_from(sector / 8).ok().and_then(|i| bitmap.get(i)).copied().unwrap_or(0);
    byte & (0x80 >> (sector % 8)) != 0
}

/// Cuts `sectors` into runs of equal bits: the run and whether its bits are set.
pub(super) fn runs(bitmap: &[u8], sectors: Range<u64>) -> impl Iterator<Item = (Range<u64>, bool)> + '_ {
    let mut at = sectors.start;
    std::iter::from_fn(move || {
        if at >= sectors.end {
            return None;
        }
        let start = at;
        let set = is_set(bitmap, start);
        while at < sectors.end && is_set(bitmap, at) == set {
            at += 1;
        }
        Some((start..at, set))
    })
}

/// Sets the bits of `sectors`; what the bitmap does not have is left out.
pub(super) fn set(bitmap: &mut [u8], sectors: Range<u64>) {
    for sector in sectors {
        if let Some(byte) = usize::try_from(sector / 8).ok().and_then(|i| bitmap.get_mut(i)) {
            *byte |= 0x80 >> (sector % 8);
        }
    }
}

/// Whether the bits of the first `sectors` sectors are all set.
pub(super) fn is_full(bitmap: &[u8], sectors: u64) -> bool {
    runs(bitmap, 0..sectors).all(|(_, set)| set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitmap_has_a_bit_per_sector_in_whole_sectors() {
        for (block, len) in [(512, 512), (2 << 20, 512), (4 << 20, 1024), (1 << 28, 65_536)] {
            assert_eq!(bitmap_len(block), len, "{block}");
        }
    }

    #[test]
    fn the_most_significant_bit_is_the_first_sector() {
        let bitmap = [0b1010_0000, 0b0000_0001];
        let found: Vec<_> = runs(&bitmap, 1..16).collect();
        assert_eq!(found, [(1..2, false), (2..3, true), (3..15, false), (15..16, true)]);
        assert!(!is_full(&bitmap, 16) && is_full(&bitmap, 1) && is_full(&[0xff, 0xf0], 12));
        let mut bits = [0; 2];
        set(&mut bits, 1..2);
        set(&mut bits, 7..100);
        assert_eq!(bits, [0b0100_0001, 0xff]);
        assert!(!is_full(&[0xff], 9), "a bitmap that ends early is not full");
    }
}
