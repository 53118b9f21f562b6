//! Writing and zeroing within a dynamic disk, block by block. Locks and order are explained in `dynamic`.

use std::io::IoSlice;

use super::dynamic::{DynamicDisk, Piece};
use super::layout::UNALLOCATED;
use super::space::Slot;
use super::table::Fullness;
use crate::image::DiskError;

/// What a new block holds where the request reaches.
#[derive(Clone, Copy, Debug)]
enum Payload<'a> {
    Bytes(&'a [IoSlice<'a>]),
    /// Zeros, which a new place holds already.
    Zeros,
}

impl DynamicDisk {
    pub(super) fn write_piece(&self, piece: &Piece, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        {
            let _shared = self.share(piece.block);
            self.health.writable()?;
            if let Some(at) = self.table.get(piece.block) {
                return self.write_here(piece, at, bufs);
            }
        }
        let _alone = self.exclude(piece.block);
        self.health.writable()?;
        match self.table.get(piece.block) {
            Some(at) => self.write_here(piece, at, bufs),
            None => self.write_new(piece, Payload::Bytes(bufs)),
        }
    }

    fn write_here(&self, piece: &Piece, at: u64, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let full = self.is_full(piece.block, at)?;
        self.write_payload(piece, at, bufs)?;
        if full { Ok(()) } else { self.mark_here(piece, at) }
    }

    fn write_payload(&self, piece: &Piece, at: u64, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        self.file.write_all_vectored_at(bufs, self.payload(at, piece.within)).map_err(DiskError::of_write)
    }

    /// Sets the bits of a piece whose payload was written to the block at `at`.
    fn mark_here(&self, piece: &Piece, at: u64) -> Result<(), DiskError> {
        let load = |buf: &mut [u8]| self.file.read_exact_at(buf, at);
        let of = self.shape.sectors_in(piece.block);
        let full = self.bits.set((piece.block, at), load, sectors(piece), of).map_err(DiskError::Read)?;
        if full {
            self.table.set_fullness(piece.block, Fullness::Full);
        }
        Ok(())
    }

    fn write_new(&self, piece: &Piece, payload: Payload<'_>) -> Result<(), DiskError> {
        let slot = self.lock_space().take(&*self.file)?;
        let place = u32::try_from(slot.at / 512).unwrap_or(UNALLOCATED);
        let full = self.backing.is_none() || self.covers_block(piece);
        if let Err(e) = self.fill_slot(&slot, piece, payload, full) {
            self.lock_space().give_back(Slot { at: slot.at, zeroed: false });
            return Err(e);
        }
        if !full {
            self.bits.insert(piece.block, slot.at, sectors(piece));
        }
        let mut space = self.lock_space();
        let fullness = if full { Fullness::Full } else { Fullness::Partial };
        self.table.set(piece.block, place, fullness);
        space.changed.push(piece.block);
        Ok(())
    }

    fn fill_slot(
        &self,
        slot: &Slot,
        piece: &Piece,
        payload: Payload<'_>,
        full: bool,
    ) -> Result<(), DiskError> {
        if !slot.zeroed {
            self.file.zero_range(slot.at..slot.at + self.shape.slot_len()).map_err(DiskError::of_write)?;
        }
        // Clear bits are written too: the old footer may lie there.
        let mut bits = self.bitmap_buffer();
        bits.fill(if full { 0xff } else { 0 });
        match payload {
            Payload::Bytes(bufs) if piece.within == 0 => {
                let mut all = Vec::with_capacity(bufs.len() + 1);
                all.push(IoSlice::new(&bits));
                all.extend_from_slice(bufs);
                return self.file.write_all_vectored_at(&all, slot.at).map_err(DiskError::of_write);
            }
            _ => self.file.write_all_at(&bits, slot.at).map_err(DiskError::of_write)?,
        }
        match payload {
            Payload::Bytes(bufs) => self.write_payload(piece, slot.at, bufs),
            Payload::Zeros => Ok(()),
        }
    }

    /// Makes a piece read as zero. A whole block loses its place where the parent allows that.
    pub(super) fn zero_piece(&self, piece: &Piece, may_deallocate: bool) -> Result<(), DiskError> {
        let empty_below = self.is_empty_below(piece)?;
        if may_deallocate && empty_below && self.covers_block(piece) {
            return self.free(piece.block);
        }
        {
            let _shared = self.share(piece.block);
            self.health.writable()?;
            match self.table.get(piece.block) {
                Some(at) => return self.zero_here(piece, at, may_deallocate),
                None if empty_below => return Ok(()),
                None => {}
            }
        }
        let _alone = self.exclude(piece.block);
        self.health.writable()?;
        match self.table.get(piece.block) {
            Some(at) => self.zero_here(piece, at, may_deallocate),
            None => self.write_new(piece, Payload::Zeros),
        }
    }

    fn zero_here(&self, piece: &Piece, at: u64, may_deallocate: bool) -> Result<(), DiskError> {
        let full = self.is_full(piece.block, at)?;
        let start = self.payload(at, piece.within);
        let range = start..start + piece.len;
        if may_deallocate { self.file.punch_hole(range) } else { self.file.zero_range(range) }
            .map_err(DiskError::of_write)?;
        // Without a parent, sectors whose bits are clear read as zero anyway.
        if full || self.backing.is_none() { Ok(()) } else { self.mark_here(piece, at) }
    }

    /// Takes the block's place away; it reads as what is below it from now on, which is zero.
    fn free(&self, block: u32) -> Result<(), DiskError> {
        if self.table.get(block).is_none() {
            return Ok(());
        }
        let _alone = self.exclude(block);
        self.health.writable()?;
        if let Some(at) = self.table.get(block) {
            let mut space = self.lock_space();
            self.bits.forget(block);
            self.table.set(block, UNALLOCATED, Fullness::Unknown);
            space.changed.push(block);
            space.freed.push(at);
        }
        Ok(())
    }
}

fn sectors(piece: &Piece) -> std::ops::Range<u64> {
    piece.within / 512..(piece.within + piece.len) / 512
}
