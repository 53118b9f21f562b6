//! Dynamic and differencing disks: blocks get a place in the file when they are first written.
//!
//! The format has no journal, so the order of writes is everything:
//!
//! * A new block gets a place that nothing durable refers to, its bitmap and its payload are written there, and only then
//!   does the table in memory point at it. WRITE syncs nothing.
//! * A flush syncs (growth, bitmaps, payload), writes the changed table entries, and syncs again. Without new blocks one
//!   sync is enough. An entry is 4 bytes inside one sector: it is there or not, never half.
//! * A block that is given up loses its entry first. When that is durable its place is punched and may be used again.
//! * A clear bit in a block's bitmap means that the sector is not here: it reads as zero, or from the parent. A write sets the
//!   bit in memory after the payload; a flush syncs before it writes the bits, so none is durable before its sector.
//!   A new block that is written as a whole, or has no parent below it, has all bits set from the start.
//! * Zeroing in a differencing disk writes zeros where the parent has something: there is no other way to say "zero". The
//!   host gets the space back all the same.
//!
//! Locks: each block belongs to one of a few [`RwLock`]s. Reading and overwriting share it; giving a block a place,
//! completing or freeing it exclude others, so that no reader still looks at a place which another block gets. `space` is
//! taken inside of it and held only for bookkeeping.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bitmap;
use super::bits::Bitmaps;
use super::layout::{Layout, Shape};
use super::space::Space;
use super::table::{Fullness, Table};
use crate::image::chain::Backing;
use crate::image::io_slices::IoCursor;
use crate::image::{Access, BlockFile, BlockStatus, Disk, DiskError, FlushGate, Geometry, Health};

/// Locks for blocks. More than threads that are likely to write new blocks at the same time.
const STRIPES: u32 = 64;
/// Blocks that one call to `block_status` looks at.
const STATUS_BLOCKS: usize = 4096;

/// A dynamic disk.
#[derive(Debug)]
pub(super) struct DynamicDisk {
    pub(super) file: Arc<dyn BlockFile>,
    geometry: Geometry,
    pub(super) shape: Shape,
    pub(super) table: Table,
    stripes: Vec<RwLock<()>>,
    space: Mutex<Space>,
    gate: FlushGate,
    pub(super) health: Health,
    pub(super) bits: Bitmaps,
    /// The parent of a differencing disk.
    pub(super) backing: Option<Backing>,
    /// Where header, table and the like end.
    metadata_end: u64,
}

/// The part of a request that lies in one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) block: u32,
    /// Offset in the block's payload.
    pub(super) within: u64,
    pub(super) len: u64,
}

impl DynamicDisk {
    /// A disk over a sound `layout`. For a writable one, `space` hands out places.
    pub(super) fn new(
        file: Arc<dyn BlockFile>,
        layout: Layout,
        space: Space,
        access: Access,
        backing: Option<Backing>,
    ) -> Self {
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
            bits: Bitmaps::new(shape.bitmap_len),
            backing,
            metadata_end: layout.metadata_end,
        }
    }

    pub(super) fn pieces(&self, offset: u64, len: u64) -> impl Iterator<Item = Piece> + use<> {
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

    pub(super) fn share(&self, block: u32) -> Option<RwLockReadGuard<'_, ()>> {
        self.stripe(block).map(|lock| lock.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn exclude(&self, block: u32) -> Option<RwLockWriteGuard<'_, ()>> {
        self.stripe(block).map(|lock| lock.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn lock_space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn payload(&self, at: u64, within: u64) -> u64 {
        at + self.shape.bitmap_len + within
    }

    pub(super) fn covers_block(&self, piece: &Piece) -> bool {
        piece.within == 0 && piece.len >= self.shape.sectors_in(piece.block) * 512
    }

    /// Whether all sectors of the block at `at` are here. `Ok(None)`: `read` could not tell without waiting.
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
        self.table.learn_fullness(block, fullness);
        Ok(Some(fullness))
    }

    pub(super) fn is_full(&self, block: u32, at: u64) -> Result<bool, DiskError> {
        let read = |buf: &mut [u8], at| self.file.read_exact_at(buf, at).map(|()| true);
        Ok(self.fullness(block, at, read)? == Some(Fullness::Full))
    }

    pub(super) fn bitmap_buffer(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.shape.bitmap_len).unwrap_or(0)]
    }

    /// Cuts the piece of a block at `at` that is partly here into runs of sectors that are, and that are not.
    fn runs(&self, piece: &Piece, at: u64) -> Result<Vec<(Range<u64>, bool)>, DiskError> {
        let sectors = piece.within / 512..(piece.within + piece.len) / 512;
        let load = |buf: &mut [u8]| self.file.read_exact_at(buf, at);
        let runs = self.bits.with((piece.block, at), load, |bits| bitmap::runs(bits, sectors).collect());
        runs.map_err(DiskError::Read)
    }

    fn disk_offset(&self, block: u32, within: u64) -> u64 {
        u64::from(block) * self.shape.block_size + within
    }

    /// Fills `buf` with what is there without this file: the parent's bytes, or zeros.
    fn read_below(&self, buf: &mut [u8], block: u32, within: u64) -> Result<(), DiskError> {
        match &self.backing {
            Some(backing) => backing.read(buf, self.disk_offset(block, within)),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// Whether a range of a block reads as zero and takes no space without this file.
    pub(super) fn is_empty_below(&self, piece: &Piece) -> Result<bool, DiskError> {
        let offset = self.disk_offset(piece.block, piece.within);
        self.backing.as_ref().map_or(Ok(true), |backing| backing.is_empty(offset, piece.len))
    }

    fn read_partial(&self, piece: &Piece, at: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let mut rest = buf;
        for (run, here) in self.runs(piece, at)? {
            let len = usize::try_from((run.end - run.start) * 512).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            rest = later;
            if here {
                self.file.read_exact_at(now, self.payload(at, run.start * 512)).map_err(DiskError::Read)?;
            } else {
                self.read_below(now, piece.block, run.start * 512)?;
            }
        }
        Ok(())
    }

    /// Whether the start of `piece` is here, and for how much of it that holds.
    fn is_here(&self, piece: &Piece) -> Result<(bool, u64), DiskError> {
        let _shared = self.share(piece.block);
        match self.table.get(piece.block) {
            None => Ok((self.backing.is_none(), piece.len)),
            Some(at) if self.backing.is_some() && !self.is_full(piece.block, at)? => {
                let first = self.runs(piece, at)?.into_iter().next();
                Ok(first.map_or((true, piece.len), |(run, here)| (here, (run.end - run.start) * 512)))
            }
            Some(_) => Ok((true, piece.len)),
        }
    }

    /// The status of the start of `piece`, and for how much of it that holds.
    fn status(&self, piece: &Piece) -> Result<(BlockStatus, u64), DiskError> {
        let below = |within: u64, len: u64| match &self.backing {
            Some(backing) => backing.status(self.disk_offset(piece.block, within), len),
            None => Ok((BlockStatus::Deallocated, len)),
        };
        if self.table.get(piece.block).is_none() {
            return below(piece.within, piece.len);
        }
        match self.is_here(piece)? {
            (true, len) => Ok((BlockStatus::Mapped, len)),
            (false, len) => below(piece.within, len),
        }
    }

    pub(super) fn metadata_end(&self) -> u64 {
        self.metadata_end
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
                None => self.read_below(now, piece.block, piece.within)?,
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
                match &self.backing {
                    None => now.fill(0),
                    Some(backing) => {
                        if !backing.read_cached(now, self.disk_offset(piece.block, piece.within))? {
                            return Ok(false);
                        }
                    }
                }
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
            self.zero_piece(&piece, may_deallocate)?;
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
        for piece in self.pieces(offset, len).take(STATUS_BLOCKS) {
            let (status, len) = self.status(&piece)?;
            match &mut found {
                None => found = Some((status, len)),
                Some((first, so_far)) if *first == status => *so_far += len,
                Some(_) => break,
            }
            if len < piece.len {
                break;
            }
        }
        Ok(found.unwrap_or((BlockStatus::Mapped, len)))
    }

    fn holds(&self, offset: u64, len: u64) -> Result<(bool, u64), DiskError> {
        self.health.readable()?;
        self.pieces(offset, len).next().map_or(Ok((true, len)), |piece| self.is_here(&piece))
    }

    fn chain_depth(&self) -> usize {
        1 + self.backing.as_ref().map_or(0, |backing| backing.disk().chain_depth())
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
