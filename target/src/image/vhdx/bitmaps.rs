//! Sector bitmaps (MS-VHDX 2.5.2): which sectors of a differencing disk's blocks are here and which are the parent's.
//!
//! A chunk's bitmap is a block of 1 MiB with one bit per sector, the least significant bit of a byte first. It says something
//! only of blocks that are "partially present". A writer sets bits after it wrote the sectors, so whoever sees a bit finds
//! the sectors; the order in which all this becomes durable is in the module documentation of the format.

use std::io;
use std::ops::Range;
use std::sync::PoisonError;

use super::bat::{Entry, PAGE_ENTRIES};
use super::bat_pages::BITMAP_PAGES;
use super::disk::{Mapping, Vhdx};
use super::transfer::Piece;
use crate::image::{BlockStatus, DiskError};

/// Sectors that a page speaks of.
const PAGE_SECTORS: u64 = 64 * PAGE_ENTRIES as u64;

/// A run of sectors of a block, and whether they are here.
pub(super) type Run = (Range<u64>, bool);

/// A run of sectors of a block that one page speaks of: the page, and the number of the first one's bit.
struct Segment {
    page: u32,
    bit: u64,
    sectors: Range<u64>,
}

impl Vhdx {
    /// The sectors of the block that a piece touches.
    pub(super) fn sectors_of(&self, piece: Piece) -> Range<u64> {
        let sector = self.shape.sector_len();
        piece.within / sector..(piece.within + piece.len) / sector
    }

    fn segments(&self, block: u64, sectors: Range<u64>) -> impl Iterator<Item = Segment> + use<> {
        let first = self.shape.first_sector(block);
        let base = self.shape.chunk_of(block) * BITMAP_PAGES;
        let mut at = sectors.start;
        std::iter::from_fn(move || {
            if at >= sectors.end {
                return None;
            }
            let (page, bit) = ((first + at) / PAGE_SECTORS, (first + at) % PAGE_SECTORS);
            let end = sectors.end.min(at + (PAGE_SECTORS - bit));
            let segment =
                Segment { page: u32::try_from(base + page).unwrap_or(u32::MAX), bit, sectors: at..end };
            at = end;
            Some(segment)
        })
    }

    /// Where the bitmap of `chunk` is, if it has one.
    fn bitmap_place(&self, chunk: u64) -> Result<Option<u64>, DiskError> {
        if let Some(known) = self.bitmaps.bitmap_at(chunk) {
            return Ok(Some(known));
        }
        let index = self.shape.bitmap_index(chunk);
        let found = self.bat.get(index).map_err(DiskError::Read)?;
        let limit = if found.page_changed { self.space.len() } else { self.opened_len() };
        let place = self.bitmap_offset(index, found.entry, limit).map_err(DiskError::Corrupt)?;
        if let Some(place) = place {
            self.bitmaps.learn_bitmap(chunk, place);
        }
        Ok(place)
    }

    /// Gives the chunk of `block` a bitmap if it has none.
    pub(super) fn ensure_bitmap(&self, block: u64) -> Result<(), DiskError> {
        let chunk = self.shape.chunk_of(block);
        let _one = self.new_bitmap.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bitmap_place(chunk)?.is_some() {
            return Ok(());
        }
        let place = self.allocate_bitmap()?;
        self.set_index(self.shape.bitmap_index(chunk), Entry::present(place), None)?;
        self.bitmaps.learn_bitmap(chunk, place);
        Ok(())
    }

    /// Finds the bitmap that speaks of `block`: its pages are loaded by its place.
    fn require_bitmap(&self, block: u64) -> Result<(), DiskError> {
        match self.bitmap_place(self.shape.chunk_of(block))? {
            Some(_) => Ok(()),
            None => Err(DiskError::Corrupt(format!(
                "block {block} is partly here, but there is no bitmap that says which part"
            ))),
        }
    }

    /// Cuts `sectors` of a partially present block into runs.
    pub(super) fn runs(&self, block: u64, sectors: Range<u64>) -> Result<Vec<Run>, DiskError> {
        self.require_bitmap(block)?;
        let mut runs: Vec<Run> = Vec::new();
        for segment in self.segments(block, sectors) {
            let Segment { page, bit, sectors } = segment;
            let part = self.bitmaps.look(page, |words| cut(words, bit, &sectors)).map_err(DiskError::Read)?;
            for (run, here) in part {
                match runs.last_mut() {
                    Some((last, same)) if *same == here && last.end == run.start => last.end = run.end,
                    _ => runs.push((run, here)),
                }
            }
        }
        Ok(runs)
    }

    /// Sets the bits of `sectors`, whose bytes were written.
    pub(super) fn set_bits(&self, block: u64, sectors: Range<u64>) -> Result<(), DiskError> {
        self.change_bits(block, sectors, true)
    }

    /// Makes `sectors` the only ones of `block` that are here: what is left of an earlier life of the block goes.
    pub(super) fn reset_bits(&self, block: u64, sectors: Range<u64>) -> Result<(), DiskError> {
        let all = self.shape.sectors();
        self.change_bits(block, 0..sectors.start, false)?;
        self.change_bits(block, sectors.end..all, false)?;
        self.set_bits(block, sectors)
    }

    fn change_bits(&self, block: u64, sectors: Range<u64>, to: bool) -> Result<(), DiskError> {
        self.require_bitmap(block)?;
        for Segment { page, bit, sectors } in self.segments(block, sectors) {
            let bits = bit..bit + (sectors.end - sectors.start);
            self.bitmaps
                .update(page, |words| fill(words, &bits, to))
                .map_err(|e: io::Error| DiskError::Read(e))?;
        }
        Ok(())
    }

    /// Fills `buf` from the parent; without one there is nothing to be read there.
    pub(super) fn read_parent(&self, buf: &mut [u8], block: u64, within: u64) -> Result<(), DiskError> {
        match &self.backing {
            Some(backing) => backing.read(buf, block * self.shape.block_size() + within),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// Whether the parent has nothing but zeros that take no space where `piece` is.
    pub(super) fn is_empty_below(&self, piece: Piece) -> Result<bool, DiskError> {
        let offset = piece.block * self.shape.block_size() + piece.within;
        self.backing.as_ref().map_or(Ok(true), |backing| backing.is_empty(offset, piece.len))
    }

    /// Whether the start of `piece` is here, and for how much of it that holds.
    pub(super) fn is_here(&self, piece: Piece) -> Result<(bool, u64), DiskError> {
        let _held = self.share(piece.block);
        match self.mapping(piece.block)? {
            Mapping::Zero | Mapping::At(_) => Ok((true, piece.len)),
            Mapping::Parent => Ok((false, piece.len)),
            Mapping::Partial(_) => {
                let first = self.runs(piece.block, self.sectors_of(piece))?.into_iter().next();
                let len = |run: Range<u64>| (run.end - run.start) * self.shape.sector_len();
                Ok(first.map_or((true, piece.len), |(run, here)| (here, len(run))))
            }
        }
    }

    /// The status of the start of `piece`, and for how much of it that holds.
    pub(super) fn status(&self, piece: Piece) -> Result<(BlockStatus, u64), DiskError> {
        let below = |len: u64| match &self.backing {
            Some(backing) => backing.status(piece.block * self.shape.block_size() + piece.within, len),
            None => Ok((BlockStatus::Deallocated, len)),
        };
        if self.mapping(piece.block)? == Mapping::Zero {
            return Ok((BlockStatus::Deallocated, piece.len));
        }
        match self.is_here(piece)? {
            (true, len) => Ok((BlockStatus::Mapped, len)),
            (false, len) => below(len),
        }
    }
}

fn word_of(bit: u64) -> (usize, u64) {
    (usize::try_from(bit / 64).unwrap_or(usize::MAX), 1 << (bit % 64))
}

/// The runs of equal bits for `sectors`, whose first one has the number `bit`.
fn cut(words: &[u64; PAGE_ENTRIES], bit: u64, sectors: &Range<u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for sector in sectors.clone() {
        let (word, mask) = word_of(bit + (sector - sectors.start));
        let here = words.get(word).is_some_and(|word| word & mask != 0);
        match runs.last_mut() {
            Some((run, same)) if *same == here => run.end = sector + 1,
            _ => runs.push((sector..sector + 1, here)),
        }
    }
    runs
}

/// Gives the bits the value `to`. Answers whether that changed any.
fn fill(words: &mut [u64; PAGE_ENTRIES], bits: &Range<u64>, to: bool) -> bool {
    let mut changed = false;
    for bit in bits.clone() {
        let (word, mask) = word_of(bit);
        if let Some(word) = words.get_mut(word) {
            let now = if to { *word | mask } else { *word & !mask };
            changed |= now != *word;
            *word = now;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_filled_and_cut_across_words() {
        let mut words = [0; PAGE_ENTRIES];
        assert!(fill(&mut words, &(60..130), true) && !fill(&mut words, &(70..120), true));
        assert_eq!((words[0], words[1], words[2]), (0xf << 60, u64::MAX, 3));
        assert!(fill(&mut words, &(64..65), false));
        let runs = cut(&words, 58, &(0..80));
        assert_eq!(runs, [(0..2, false), (2..6, true), (6..7, false), (7..72, true), (72..80, false)]);
    }
}
