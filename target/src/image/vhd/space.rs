//! Where new blocks go, and what the next flush has to write.
//!
//! New blocks come from freed places first, else from the end of the file, which grows by one block at a time with a footer
//! at the new end: also without a clean close the file is one that any program accepts. The old footer is overwritten by
//! the new block's bitmap, or stays in the gap before it.
//!
//! A freed place is handed out again only after the table without it is durable: otherwise a power cut could leave the
//! old entry pointing at another block's data.

use std::ops::Range;

use super::bits::{Bitmaps, DirtyBits};
use super::footer::Footer;
use super::layout::Shape;
use crate::image::{BlockFile, DiskError};
use crate::limits::MAX_VHD_FREE_SLOTS;

/// A place for one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where it starts, in bytes.
    pub(super) at: u64,
    /// Whether it reads as zero. If not, it has to be zeroed before a block may start there.
    pub(super) zeroed: bool,
}

/// What one flush makes durable.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Blocks whose table entry changed: ascending, each once, with the entry to write.
    pub(super) entries: Vec<(u32, u32)>,
    /// Bitmaps that changed: where the block starts, and the bits.
    pub(super) bitmaps: Vec<DirtyBits>,
    /// Where blocks started that have no entry any more.
    pub(super) freed: Vec<u64>,
}

/// The allocator and the list of what is not durable yet.
#[derive(Debug)]
pub(super) struct Space {
    shape: Shape,
    footer: Footer,
    /// Where the last block or the metadata ends.
    end: u64,
    /// Length of the file, see [`Shape::is_trimmed`].
    len: u64,
    free: Vec<Slot>,
    /// Blocks whose entry changed since the last batch, in any order, some more than once.
    pub(super) changed: Vec<u32>,
    /// See [`Batch::freed`].
    pub(super) freed: Vec<u64>,
}

impl Space {
    /// A file whose last block or metadata ends at `end` and which is `len` bytes long; `gaps` lie between its blocks.
    pub(super) fn new(shape: Shape, footer: Footer, end: u64, len: u64, gaps: &[Range<u64>]) -> Self {
        let mut space =
            Self { shape, footer, end, len, free: Vec::new(), changed: Vec::new(), freed: Vec::new() };
        for gap in gaps.iter().rev() {
            let mut at = shape.slot_after(gap.start);
            while at + shape.slot_len() <= gap.end && space.free.len() < MAX_VHD_FREE_SLOTS {
                space.give_back(Slot { at, zeroed: false });
                at += shape.stride();
            }
        }
        space
    }

    /// A place for a block; nobody else gets it.
    pub(super) fn take(&mut self, file: &dyn BlockFile) -> Result<Slot, DiskError> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        let at = self.shape.slot_after(self.end);
        // The table has 32 bits for a sector, and all ones mean "nowhere".
        if at / 512 >= u64::from(u32::MAX) {
            return Err(DiskError::NoSpace);
        }
        self.grow(file, at + self.shape.slot_len())?;
        Ok(Slot { at, zeroed: true })
    }

    fn grow(&mut self, file: &dyn BlockFile, end: u64) -> Result<(), DiskError> {
        let len = Shape::file_len(end);
        let grown = file.set_len(len).and_then(|()| file.write_all_at(self.footer.bytes(), len - 512));
        grown.map_err(|e| {
            // Back to where the old footer is the last thing in the file. If that fails too, the copy at the start remains.
            let _ = file.set_len(self.len);
            DiskError::of_write(e)
        })?;
        (self.end, self.len) = (end, len);
        Ok(())
    }

    /// Takes a place back that no durable table entry points at. Beyond the bound it stays unused until the next check.
    pub(super) fn give_back(&mut self, slot: Slot) {
        if self.free.len() < MAX_VHD_FREE_SLOTS {
            self.free.push(slot);
        }
    }

    /// How much the next flush has to write.
    pub(super) fn waiting(&self) -> usize {
        self.changed.len()
    }

    /// Takes what the next flush has to write. `entry` tells the table's entry of a block.
    pub(super) fn take_batch(&mut self, entry: impl Fn(u32) -> u32, bits: &Bitmaps) -> Batch {
        let mut blocks = std::mem::take(&mut self.changed);
        blocks.sort_unstable();
        blocks.dedup();
        Batch {
            entries: blocks.into_iter().map(|block| (block, entry(block))).collect(),
            // After the blocks: a new block's bits are there before the block is.
            bitmaps: bits.take_dirty(),
            freed: std::mem::take(&mut self.freed),
        }
    }

    /// Puts a batch back that could not be written, for the next flush.
    pub(super) fn put_back(&mut self, batch: Batch, bits: &Bitmaps) {
        self.changed.extend(batch.entries.iter().map(|(block, _)| *block));
        bits.put_back(&batch.bitmaps);
        self.freed.extend(batch.freed);
    }

    /// Cuts the file off behind `end`, where its last block ends. The footer is durable in its new place before the old one
    /// goes.
    pub(super) fn trim(&mut self, file: &dyn BlockFile, end: u64) -> Result<(), DiskError> {
        if !self.shape.is_trimmed(end, self.len) {
            let len = Shape::file_len(end);
            file.write_all_at(self.footer.bytes(), len - 512).map_err(DiskError::of_write)?;
            file.sync_data().map_err(DiskError::Write)?;
            file.set_len(len).map_err(DiskError::of_write)?;
            file.sync_data().map_err(DiskError::Write)?;
            self.len = len;
        }
        Ok(())
    }
}
