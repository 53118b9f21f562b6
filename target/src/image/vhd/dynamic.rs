//! Dynamic disks: blocks get a place in the file when they are first written.
//!
//! The format has no journal, so the order of writes is everything:
//!
//! * A new block gets a place that nothing durable refers to, its bitmap and its payload are written there, and only then
//!   does the table in memory point at it. WRITE syncs nothing.
//! * A flush syncs (growth, bitmaps, payload), writes the changed table entries, and syncs again. Without new blocks one
//!   sync is enough. An entry is 4 bytes inside one sector: it is there or not, never half.
//! * A block that is given up loses its entry first. When that is durable its place is punched and may be used again.
//! * A block with sectors that count as never written (clear bitmap bits) is completed before its first write: those
//!   sectors are zeroed in place, that is synced, and then the bitmap is filled.
//!
//! Locks: each block belongs to one of a few [`RwLock`]s. Reading and overwriting share it; giving a block a place,
//! completing or freeing it exclude others, so that no reader still looks at a place which another block gets. `space` is
//! taken inside of it and held only for bookkeeping.

use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bitmap;
use super::layout::{Layout, Shape, UNALLOCATED};
use super::space::{Batch, Slot, Space};
use super::table::{Fullness, Table};
use crate::image::io_slices::IoCursor;
use crate::image::{Access, BlockFile, BlockStatus, Disk, DiskError, FlushGate, Geometry, Health};
use crate::limits::MAX_VHD_UNFLUSHED;

/// Locks for blocks. More than threads that are likely to write new blocks at the same time.
const STRIPES: u32 = 64;

/// A dynamic disk.
#[derive(Debug)]
pub(super) struct DynamicDisk {
    file: Arc<dyn BlockFile>,
    geometry: Geometry,
    shape: Shape,
    table: Table,
    stripes: Vec<RwLock<()>>,
    space: Mutex<Space>,
    gate: FlushGate,
    health: Health,
    /// Where header, table and the like end.
    metadata_end: u64,
}

/// The part of a request that lies in one block.
#[derive(Clone, Copy, Debug)]
struct Piece {
    block: u32,
    /// Offset in the block's payload.
    within: u64,
    len: u64,
}

impl DynamicDisk {
    /// A disk over a sound `layout`. For a writable one, `space` hands out places.
    pub(super) fn new(file: Arc<dyn BlockFile>, layout: Layout, space: Space, access: Access) -> Self {
        let shape = layout.shape;
        let geometry = Geometry {
            size: shape.size,
            logical_block: 512,
            physical_block: if layout.survey.aligned && shape.block_size >= 4096 { 4096 } else { 512 },
            allocation_unit: u32::try_from(shape.block_size).unwrap_or(u32::MAX),
            thin: true,
            read_only: access == Access::ReadOnly,
        };
        Self {
            file,
            geometry,
            shape,
            table: Table::new(layout.table),
            stripes: (0..STRIPES).map(|_| RwLock::new(())).collect(),
            space: Mutex::new(space),
            gate: FlushGate::default(),
            health: Health::new(access),
            metadata_end: layout.metadata_end,
        }
    }

    fn pieces(&self, offset: u64, len: u64) -> impl Iterator<Item = Piece> + use<> {
        let block_size = self.shape.block_size;
        let mut at = offset;
        let end = offset.saturating_add(len);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let within = at % block_size;
            let len = (block_size - within).min(end - at);
            // The disk has fewer than 2^32 blocks, and the caller stays within it.
            let block = u32::try_from(at / block_size).unwrap_or(u32::MAX);
            at += len;
            Some(Piece { block, within, len })
        })
    }

    fn stripe(&self, block: u32) -> Option<&RwLock<()>> {
        self.stripes.get(usize::try_from(block % STRIPES).unwrap_or(0))
    }

    fn share(&self, block: u32) -> Option<RwLockReadGuard<'_, ()>> {
        self.stripe(block).map(|lock| lock.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exclude(&self, block: u32) -> Option<RwLockWriteGuard<'_, ()>> {
        self.stripe(block).map(|lock| lock.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn payload(&self, at: u64, within: u64) -> u64 {
        at + self.shape.bitmap_len + within
    }

    fn covers_block(&self, piece: &Piece) -> bool {
        piece.within == 0 && piece.len >= self.shape.sectors_in(piece.block) * 512
    }

    /// Whether all sectors of the block at `at` count as written. `Ok(None)`: `read` could not tell without waiting.
    fn fullness(
        &self,
        block: u32,
        at: u64,
        read: impl FnOnce(&mut [u8], u64) -> std::io::Result<bool>,
    ) -> Result<Option<Fullness>, DiskError> {
        let known = self.table.fullness(block);
        if known != Fullness::Unknown {
            return Ok(Some(known));
        }
        let mut bits = self.bitmap_buffer();
        if !read(&mut bits, at).map_err(DiskError::Read)? {
            return Ok(None);
        }
        let full = bitmap::is_full(&bits, self.shape.sectors_in(block));
        let fullness = if full { Fullness::Full } else { Fullness::Partial };
        self.table.set_fullness(block, fullness);
        Ok(Some(fullness))
    }

    fn is_full(&self, block: u32, at: u64) -> Result<bool, DiskError> {
        let read = |buf: &mut [u8], at| self.file.read_exact_at(buf, at).map(|()| true);
        Ok(self.fullness(block, at, read)? == Some(Fullness::Full))
    }

    fn bitmap_buffer(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.shape.bitmap_len).unwrap_or(0)]
    }

    fn read_partial(&self, piece: &Piece, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let mut bits = self.bitmap_buffer();
        self.file.read_exact_at(&mut bits, at).map_err(DiskError::Read)?;
        let sectors = piece.within / 512..(piece.within + piece.len) / 512;
        let mut rest = buf;
        for (run, set) in bitmap::runs(&bits, sectors) {
            let len = usize::try_from((run.end - run.start) * 512).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            rest = later;
            if set {
                self.file.read_exact_at(now, self.payload(at, run.start * 512)).map_err(DiskError::Read)?;
            } else {
                now.fill(0);
            }
        }
        Ok(())
    }

    fn write_piece(&self, piece: &Piece, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        {
            let _shared = self.share(piece.block);
            self.health.writable()?;
            if let Some(at) = self.table.get(piece.block)
                && self.is_full(piece.block, at)?
            {
                return self.write_payload(piece, at, bufs);
            }
        }
        let _alone = self.exclude(piece.block);
        self.health.writable()?;
        match self.table.get(piece.block) {
            Some(at) => {
                if !self.is_full(piece.block, at)? {
                    self.complete(piece.block, at)?;
                }
                self.write_payload(piece, at, bufs)
            }
            None => self.write_new(piece, bufs),
        }
    }

    fn write_payload(&self, piece: &Piece, at: u64, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        self.file.write_all_vectored_at(bufs, self.payload(at, piece.within)).map_err(DiskError::of_write)
    }

    /// Zeroes what counts as never written, so that the bitmap may be filled with the next flush.
    fn complete(&self, block: u32, at: u64) -> Result<(), DiskError> {
        let mut bits = self.bitmap_buffer();
        self.file.read_exact_at(&mut bits, at).map_err(DiskError::Read)?;
        for (run, set) in bitmap::runs(&bits, 0..self.shape.sectors_in(block)) {
            if !set {
                let range = self.payload(at, run.start * 512)..self.payload(at, run.end * 512);
                self.file.zero_range(range).map_err(DiskError::of_write)?;
            }
        }
        self.lock_space().bitmaps.push(at);
        self.table.set_fullness(block, Fullness::Full);
        Ok(())
    }

    fn write_new(&self, piece: &Piece, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        let slot = self.lock_space().take(&*self.file)?;
        let place = u32::try_from(slot.at / 512).unwrap_or(UNALLOCATED);
        if let Err(e) = self.fill_slot(&slot, piece, bufs) {
            self.lock_space().give_back(Slot { at: slot.at, zeroed: false });
            return Err(e);
        }
        let mut space = self.lock_space();
        self.table.set(piece.block, place, Fullness::Full);
        space.changed.push(piece.block);
        Ok(())
    }

    fn fill_slot(&self, slot: &Slot, piece: &Piece, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
        if !slot.zeroed {
            self.file.zero_range(slot.at..slot.at + self.shape.slot_len()).map_err(DiskError::of_write)?;
        }
        let mut bits = self.bitmap_buffer();
        bits.fill(0xff);
        if piece.within == 0 {
            let mut all = Vec::with_capacity(bufs.len() + 1);
            all.push(IoSlice::new(&bits));
            all.extend_from_slice(bufs);
            return self.file.write_all_vectored_at(&all, slot.at).map_err(DiskError::of_write);
        }
        self.file.write_all_at(&bits, slot.at).map_err(DiskError::of_write)?;
        self.write_payload(piece, slot.at, bufs)
    }

    /// Takes the block's place away; it reads as zero from now on.
    fn free(&self, block: u32) -> Result<(), DiskError> {
        if self.table.get(block).is_none() {
            return Ok(());
        }
        let _alone = self.exclude(block);
        self.health.writable()?;
        if let Some(at) = self.table.get(block) {
            let mut space = self.lock_space();
            self.table.set(block, UNALLOCATED, Fullness::Unknown);
            space.changed.push(block);
            space.freed.push(at);
        }
        Ok(())
    }

    /// Keeps the list of what is not durable short.
    fn flush_if_much(&self) -> Result<(), DiskError> {
        let waiting = self.lock_space().waiting();
        if waiting < MAX_VHD_UNFLUSHED { Ok(()) } else { self.flush() }
    }

    /// One flush, while no other runs.
    fn flush_now(&self) -> Result<(), DiskError> {
        let batch = self.lock_space().take_batch(|block| self.table.raw(block));
        match self.write_batch(&batch) {
            Ok(()) => {
                self.reuse(&batch.freed);
                Ok(())
            }
            Err(DiskError::NoSpace) => {
                // Nothing durable points at anything that is not there: the next flush may try again.
                self.lock_space().put_back(batch);
                Err(DiskError::NoSpace)
            }
            Err(e) => {
                self.health.poison();
                Err(e)
            }
        }
    }

    fn write_batch(&self, batch: &Batch) -> Result<(), DiskError> {
        let places_something = batch.entries.iter().any(|(_, place)| *place != UNALLOCATED);
        if places_something || !batch.bitmaps.is_empty() {
            // Payload, bitmaps and growth before the entries that bring them to light.
            self.file.sync_data().map_err(DiskError::Write)?;
        }
        let mut bits = self.bitmap_buffer();
        bits.fill(0xff);
        for at in &batch.bitmaps {
            self.file.write_all_at(&bits, *at).map_err(DiskError::of_write)?;
        }
        for run in batch.entries.chunk_by(|(a, _), (b, _)| a.checked_add(1) == Some(*b)) {
            let Some((first, _)) = run.first() else { continue };
            let bytes: Vec<u8> = run.iter().flat_map(|(_, place)| place.to_be_bytes()).collect();
            let at = self.shape.table_offset + u64::from(*first) * 4;
            self.file.write_all_at(&bytes, at).map_err(DiskError::of_write)?;
        }
        self.file.sync_data().map_err(DiskError::Write)
    }

    /// Gives places back that no durable entry points at any more.
    fn reuse(&self, freed: &[u64]) {
        for at in freed {
            let punched = self.file.punch_hole(*at..*at + self.shape.slot_len());
            if let Err(e) = &punched {
                tracing::warn!(at, error = %e, "cannot give the space of an unmapped block back to the host");
            }
            self.lock_space().give_back(Slot { at: *at, zeroed: punched.is_ok() });
        }
    }

    /// Where the last block ends.
    fn end(&self) -> u64 {
        let last = self.table.places().max();
        last.map_or(0, |place| u64::from(place) * 512 + self.shape.slot_len()).max(self.metadata_end)
    }
}

impl Disk for DynamicDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let mut rest = buf;
        let len = u64::try_from(rest.len()).unwrap_or(u64::MAX);
        for piece in self.pieces(offset, len) {
            let (now, later) = rest.split_at_mut(usize::try_from(piece.len).unwrap_or(0));
            rest = later;
            let _shared = self.share(piece.block);
            self.health.readable()?;
            match self.table.get(piece.block) {
                None => now.fill(0),
                Some(at) if self.is_full(piece.block, at)? => {
                    self.file.read_exact_at(now, self.payload(at, piece.within)).map_err(DiskError::Read)?;
                }
                Some(at) => self.read_partial(&piece, at, now)?,
            }
        }
        Ok(())
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        let mut rest = buf;
        let len = u64::try_from(rest.len()).unwrap_or(u64::MAX);
        for piece in self.pieces(offset, len) {
            let (now, later) = rest.split_at_mut(usize::try_from(piece.len).unwrap_or(0));
            rest = later;
            let Some(Ok(_shared)) = self.stripe(piece.block).map(RwLock::try_read) else {
                return Ok(false);
            };
            self.health.readable()?;
            let Some(at) = self.table.get(piece.block) else {
                now.fill(0);
                continue;
            };
            let full = self.fullness(piece.block, at, |buf, at| self.file.read_cached_at(buf, at))?;
            if full != Some(Fullness::Full)
                || !self.file.read_cached_at(now, self.payload(at, piece.within)).map_err(DiskError::Read)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        let mut cursor = IoCursor::new(bufs);
        for piece in self.pieces(offset, cursor.remaining()) {
            self.write_piece(&piece, &cursor.take(piece.len))?;
        }
        self.flush_if_much()
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        self.health.writable()?;
        for piece in self.pieces(offset, len) {
            if may_deallocate && self.covers_block(&piece) {
                self.free(piece.block)?;
                continue;
            }
            let _shared = self.share(piece.block);
            self.health.writable()?;
            // Where bits are clear the sectors read as zero already, and zeros underneath do no harm.
            if let Some(at) = self.table.get(piece.block) {
                let start = self.payload(at, piece.within);
                let range = start..start + piece.len;
                if may_deallocate { self.file.punch_hole(range) } else { self.file.zero_range(range) }
                    .map_err(DiskError::of_write)?;
            }
        }
        self.flush_if_much()
    }

    fn unmap(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.health.writable()?;
        for piece in self.pieces(offset, len).filter(|piece| self.covers_block(piece)) {
            self.free(piece.block)?;
        }
        self.flush_if_much()
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.health.access() == Access::ReadOnly {
            return self.health.readable();
        }
        self.health.writable()?;
        self.gate.flush(|| {
            self.health.writable()?;
            self.flush_now()
        })
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        self.health.readable()?;
        let mut found: Option<(BlockStatus, u64)> = None;
        for piece in self.pieces(offset, len) {
            let status = match self.table.get(piece.block) {
                Some(_) => BlockStatus::Mapped,
                None => BlockStatus::Deallocated,
            };
            match &mut found {
                None => found = Some((status, piece.len)),
                Some((first, so_far)) if *first == status => *so_far += piece.len,
                Some(_) => break,
            }
        }
        Ok(found.unwrap_or((BlockStatus::Mapped, len)))
    }

    fn close(&self) -> Result<(), DiskError> {
        let state = match self.health.access() {
            Access::ReadOnly => self.health.readable(),
            Access::ReadWrite => self.health.writable(),
        };
        if !self.health.close() {
            return state;
        }
        // Whoever holds a lock finishes, whoever comes later finds the disk closed.
        let _all: Vec<_> =
            self.stripes.iter().map(|lock| lock.write().unwrap_or_else(PoisonError::into_inner)).collect();
        if self.health.access() == Access::ReadOnly || matches!(state, Err(DiskError::Poisoned)) {
            return state;
        }
        self.gate.flush(|| {
            self.flush_now()?;
            self.lock_space().trim(&*self.file, self.end())
        })
    }
}
