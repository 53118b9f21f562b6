//! The block allocation table: its arithmetic and its entries (MS-VHDX 2.5). It is read and kept by [`super::bat_pages`].
//!
//! After each *chunk* of payload entries comes one entry for the chunk's sector bitmap, also in disks that have no bitmaps.
//! Forgetting that reads wrong blocks from 4 GiB on.

use super::MIB;

/// Bytes of a page of the table: the unit in which it is kept, logged and written.
pub(super) const PAGE_LEN: usize = 4096;
/// Entries in a page.
pub(super) const PAGE_ENTRIES: usize = PAGE_LEN / 8;

/// How the table of a disk is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    block_size: u64,
    /// Payload blocks of the disk.
    blocks: u64,
    /// Payload blocks in a chunk: as many as one bitmap block can speak for.
    ratio: u64,
    /// Logical sectors of a payload block.
    sectors: u64,
    /// Whether the disk has a parent, and with it bitmaps.
    differencing: bool,
}

impl Shape {
    /// The shape for a valid block size, disk size and logical sector size.
    pub(super) fn new(block_size: u32, size: u64, logical_sector: u32) -> Self {
        let block_size = u64::from(block_size);
        let ratio = ((1 << 23) * u64::from(logical_sector) / block_size).max(1);
        let sectors = block_size / u64::from(logical_sector.max(1));
        Self { block_size, blocks: size.div_ceil(block_size), ratio, sectors, differencing: false }
    }

    /// The same for a disk with a parent.
    pub(super) fn with_bitmaps(self) -> Self {
        Self { differencing: true, ..self }
    }

    /// Whether the disk has a parent.
    pub(super) fn is_differencing(self) -> bool {
        self.differencing
    }

    /// Index of the entry of a chunk's bitmap.
    pub(super) fn bitmap_index(self, chunk: u64) -> u64 {
        chunk * (self.ratio + 1) + self.ratio
    }

    /// The chunk that a block belongs to.
    pub(super) fn chunk_of(self, block: u64) -> u64 {
        block / self.ratio
    }

    /// Chunks of the disk.
    pub(super) fn chunks(self) -> u64 {
        self.blocks.div_ceil(self.ratio)
    }

    /// Number of the block's first sector within its chunk.
    pub(super) fn first_sector(self, block: u64) -> u64 {
        block % self.ratio * self.sectors
    }

    /// Logical sectors of a block.
    pub(super) fn sectors(self) -> u64 {
        self.sectors
    }

    /// Bytes of a logical sector.
    pub(super) fn sector_len(self) -> u64 {
        self.block_size / self.sectors.max(1)
    }

    /// Bytes of a payload block.
    pub(super) fn block_size(self) -> u64 {
        self.block_size
    }

    /// Payload blocks of the disk; at least one.
    pub(super) fn blocks(self) -> u64 {
        self.blocks
    }

    /// Entries that the disk needs.
    pub(super) fn entries(self) -> u64 {
        if self.differencing {
            return self.entries_with_bitmaps();
        }
        self.blocks + self.blocks.saturating_sub(1) / self.ratio
    }

    /// Entries that a differencing disk of the same size needs: every chunk is whole.
    pub(super) fn entries_with_bitmaps(self) -> u64 {
        self.blocks.div_ceil(self.ratio) * (self.ratio + 1)
    }

    /// Index of the entry of payload block `block`.
    pub(super) fn index(self, block: u64) -> u64 {
        block + block / self.ratio
    }

    /// What the entry at `index` stands for: a payload block, or (`None`) the bitmap of a chunk.
    pub(super) fn block_of(self, index: u64) -> Option<u64> {
        let (chunk, within) = (index / (self.ratio + 1), index % (self.ratio + 1));
        (within < self.ratio).then_some(chunk * self.ratio + within)
    }
}

/// State of a payload block (MS-VHDX 2.5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Never written.
    NotPresent,
    /// Content without meaning.
    Undefined,
    /// Reads as zero.
    Zero,
    /// Deallocated; an offset, if there is one, is only kept for it.
    Unmapped,
    /// In the file.
    FullyPresent,
    /// In the file where the bitmap says so, else in the parent.
    PartiallyPresent,
    /// A number without meaning.
    Invalid(u8),
}

/// An entry of the table, as it is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    /// A block that reads as zero and has no space. The offset is reserved in this state, so it is zero.
    pub(super) const ZERO: Self = Self(2);

    /// A block at `offset`, a multiple of 1 MiB.
    pub(super) fn present(offset: u64) -> Self {
        Self(offset & !(MIB - 1) | 6)
    }

    /// A block at `offset` of which only some sectors are here.
    pub(super) fn partial(offset: u64) -> Self {
        Self(offset & !(MIB - 1) | 7)
    }

    /// The state.
    pub(super) fn state(self) -> State {
        match self.0 & 7 {
            0 => State::NotPresent,
            1 => State::Undefined,
            2 => State::Zero,
            3 => State::Unmapped,
            6 => State::FullyPresent,
            7 => State::PartiallyPresent,
            other => State::Invalid(u8::try_from(other).unwrap_or(u8::MAX)),
        }
    }

    /// Where the block is, in bytes; it has a meaning in some states only.
    pub(super) fn offset(self) -> u64 {
        self.0 & !(MIB - 1)
    }

    /// Bits that must be zero.
    pub(super) fn reserved(self) -> u64 {
        self.0 & (MIB - 1) & !7
    }

    /// The space that the entry lays claim to, whether it holds data or is only kept.
    pub(super) fn claim(self) -> Option<u64> {
        match self.state() {
            State::FullyPresent | State::PartiallyPresent => Some(self.offset()),
            State::Undefined | State::Unmapped => Some(self.offset()).filter(|offset| *offset != 0),
            State::NotPresent | State::Zero | State::Invalid(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bitmap_entry_of_a_chunk_comes_after_its_payload_entries() {
        // 512-byte sectors and 32 MiB blocks: 128 blocks, 4 GiB, in a chunk.
        let shape = Shape::new(32 << 20, 12 << 30, 512);
        assert_eq!(shape.index(127), 127);
        assert_eq!(shape.index(128), 129);
        assert_eq!(shape.index(256), 258);
        assert_eq!(shape.block_of(127), Some(127));
        assert_eq!(shape.block_of(128), None);
        assert_eq!(shape.block_of(129), Some(128));
        assert_eq!((shape.blocks(), shape.entries(), shape.entries_with_bitmaps()), (384, 386, 387));
    }

    #[test]
    fn the_ratio_follows_block_and_sector_size() {
        for (block, sector, ratio) in
            [(1, 512, 4096), (2, 512, 2048), (32, 4096, 1024), (256, 512, 16), (1, 4096, 32768)]
        {
            assert_eq!(Shape::new(block << 20, 64 << 40, sector).ratio, ratio);
        }
    }

    #[test]
    fn index_and_block_are_each_others_inverse_at_every_chunk_edge() {
        let shape = Shape::new(256 << 20, 64 << 40, 512);
        for block in (0..shape.blocks()).step_by(15).chain([shape.blocks() - 1]) {
            assert_eq!(shape.block_of(shape.index(block)), Some(block));
        }
        assert_eq!(shape.index(shape.blocks() - 1), shape.entries() - 1);
    }

    #[test]
    fn an_entry_keeps_state_offset_and_reserved_bits_apart() {
        let entry = Entry(0x1234_5678_9ab0_0000 | 6);
        assert_eq!((entry.state(), entry.offset()), (State::FullyPresent, 0x1234_5678_9ab0_0000));
        assert_eq!(entry.reserved(), 0);
        assert_eq!(Entry(6 | 8).reserved(), 8);
        assert_eq!(Entry::present(5 << 20).0, 5 << 20 | 6);
        assert_eq!(Entry(5).state(), State::Invalid(5));
        assert_eq!(Entry(7 << 20 | 2).claim(), None);
        assert_eq!(Entry(7 << 20 | 3).claim(), Some(7 << 20));
        assert_eq!(Entry(3).claim(), None);
    }
}
