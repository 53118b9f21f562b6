//! From what a list says in blocks to what is to be copied in bytes.

use lunkeep_common::scsi::Asc;
use lunkeep_common::scsi::third_party_copy::{BlockRange, Segment};

use super::super::config::MediumShape;

/// A run of bytes to copy from one medium to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte at the source.
    pub from: u64,
    /// First byte at the destination.
    pub to: u64,
    /// Count of bytes, at least one.
    pub len: u64,
}

/// What a segment copies; `None` when it copies nothing.
///
/// # Errors
/// The code for COPY ABORTED: the segment is not whole blocks of both, or a part of it is not there. The standard names no code for
/// the latter; this one is LIO's.
pub fn of_segment(segment: &Segment, from: &MediumShape, to: &MediumShape) -> Result<Option<Piece>, Asc> {
    let counted = if segment.counts_destination { to } else { from };
    let len = u64::from(segment.blocks) * u64::from(counted.logical_block);
    if !len.is_multiple_of(from.logical_block.into()) || !len.is_multiple_of(to.logical_block.into()) {
        return Err(Asc::UNEXPECTED_INEXACT_SEGMENT);
    }
    let start = |medium: &MediumShape, lba: u64| {
        let start = lba.checked_mul(medium.logical_block.into())?;
        start.checked_add(len).is_some_and(|end| end <= medium.size).then_some(start)
    };
    match (start(from, segment.source_lba), start(to, segment.destination_lba)) {
        (Some(from), Some(to)) => Ok((len > 0).then_some(Piece { from, to, len })),
        _ => Err(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE),
    }
}

/// Ranges of blocks, which lie within the medium, as first bytes and lengths.
#[must_use]
pub fn of_ranges(medium: &MediumShape, ranges: &[BlockRange]) -> Vec<(u64, u64)> {
    let block = u64::from(medium.logical_block);
    let bytes = |range: &BlockRange| (range.lba.saturating_mul(block), u64::from(range.blocks) * block);
    ranges.iter().map(bytes).filter(|(_, len)| *len > 0).collect()
}

/// What goes where when the bytes of `from`, one range after another and without the first `skip`, fill the ranges of `to`. Ends with
/// the shorter of the two.
#[must_use]
pub fn of_rod(from: &[(u64, u64)], skip: u64, to: &[(u64, u64)]) -> Vec<Piece> {
    let (mut skip, mut pieces) = (skip, Vec::new());
    let mut sources = from.iter().filter_map(|&(start, len)| {
        let skipped = skip.min(len);
        skip -= skipped;
        (skipped < len).then_some((start + skipped, len - skipped))
    });
    let mut source = (0, 0);
    for &(mut to, mut left) in to {
        while left > 0 {
            if source.1 == 0 {
                let Some(next) = sources.next() else { return pieces };
                source = next;
            }
            let len = left.min(source.1);
            pieces.push(Piece { from: source.0, to, len });
            source = (source.0 + len, source.1 - len);
            (to, left) = (to + len, left - len);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use lunkeep_common::scsi::third_party_copy::CscdId;

    use super::*;

    fn medium(size: u64, logical_block: u32) -> MediumShape {
        let physical_block = logical_block;
        MediumShape {
            size,
            logical_block,
            physical_block,
            allocation_unit: 4096,
            thin: true,
            read_only: false,
        }
    }

    fn segment(blocks: u16, source_lba: u64, destination_lba: u64, counts_destination: bool) -> Segment {
        let (source, destination) = (CscdId(0), CscdId(1));
        Segment { source, destination, counts_destination, blocks, source_lba, destination_lba }
    }

    #[test]
    fn a_segment_counts_the_blocks_of_one_side_and_fits_both() {
        let (small, large) = (medium(65536, 512), medium(65536, 4096));
        let piece = |from, to, len| Ok(Some(Piece { from, to, len }));
        assert_eq!(of_segment(&segment(8, 1, 2, false), &small, &large), piece(512, 8192, 4096));
        assert_eq!(of_segment(&segment(2, 1, 2, true), &small, &large), piece(512, 8192, 8192));
        assert_eq!(of_segment(&segment(0, 1, 2, true), &small, &large), Ok(None));
        assert_eq!(of_segment(&segment(128, 0, 0, false), &small, &large), piece(0, 0, 65536));
        let inexact = Err(Asc::UNEXPECTED_INEXACT_SEGMENT);
        assert_eq!(of_segment(&segment(7, 0, 0, false), &small, &large), inexact);
        let beyond = Err(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
        for (source, destination) in [(121, 0), (0, 16), (u64::MAX, 0), (0, u64::MAX), (1 << 55, 0)] {
            assert_eq!(of_segment(&segment(8, source, destination, false), &small, &large), beyond);
        }
    }

    #[test]
    fn ranges_of_a_rod_fill_ranges_of_a_destination_in_order() {
        let rod = [(100, 10), (300, 20), (50, 5)];
        let pieces = |skip, to: &[(u64, u64)]| {
            let all = of_rod(&rod, skip, to);
            all.iter().map(|piece| (piece.from, piece.to, piece.len)).collect::<Vec<_>>()
        };
        assert_eq!(pieces(0, &[(0, 35)]), [(100, 0, 10), (300, 10, 20), (50, 30, 5)]);
        assert_eq!(pieces(12, &[(0, 6), (900, 15)]), [(302, 0, 6), (308, 900, 12), (50, 912, 3)]);
        assert_eq!(pieces(34, &[(0, 2)]), [(54, 0, 1)], "no more than there is");
        assert_eq!(pieces(10, &[(7, 1)]), [(300, 7, 1)]);
        assert_eq!((pieces(35, &[(0, 1)]), pieces(99, &[(0, 1)]), pieces(0, &[])), (vec![], vec![], vec![]));
    }
}
