//! Sector bitmaps in memory, of blocks that have sectors which are not theirs: those read as zero, or from the parent.
//!
//! A bitmap is loaded while its block is held and nobody else loads, so an old copy never replaces a newer one. One that
//! differs from the file, or is being written there, stays; the others go when there are too many.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bitmap;
use crate::limits::MAX_VHD_BITMAP_MEMORY;

/// A bitmap that a flush has to write.
#[derive(Clone, Debug)]
pub(super) struct DirtyBits {
    pub(super) block: u32,
    /// Where the block starts, and with it the bitmap.
    pub(super) at: u64,
    pub(super) bits: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    bits: Vec<u8>,
    /// Differs from what was last taken for the file.
    dirty: bool,
    /// Was taken and may not be in the file yet.
    taken: bool,
}

/// The bitmaps of the blocks that are partly written.
#[derive(Debug)]
pub(super) struct Bitmaps {
    len: usize,
    /// How many are dirty.
    dirty: AtomicUsize,
    entries: RwLock<HashMap<u32, Entry>>,
}

impl Bitmaps {
    /// For bitmaps of `len` bytes.
    pub(super) fn new(len: u64) -> Self {
        Self {
            len: usize::try_from(len).unwrap_or(0),
            dirty: AtomicUsize::new(0),
            entries: RwLock::default(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<u32, Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<u32, Entry>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` sees in the bitmap of `block`, which starts at `at` and is held by the caller. `load` reads it when it is not
    /// here.
    pub(super) fn with<T>(
        &self,
        (block, at): (u32, u64),
        load: impl FnOnce(&mut [u8]) -> io::Result<()>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<T> {
        if let Some(entry) = self.read().get(&block) {
            return Ok(look(&entry.bits));
        }
        let mut entries = self.write();
        Ok(look(&self.entry(&mut entries, (block, at), load)?.bits))
    }

    /// Sets the bits of `sectors`; their bytes are in the file's cache. Answers whether all of the first `of` are set now.
    pub(super) fn set(
        &self,
        (block, at): (u32, u64),
        load: impl FnOnce(&mut [u8]) -> io::Result<()>,
        sectors: Range<u64>,
        of: u64,
    ) -> io::Result<bool> {
        let mut entries = self.write();
        let entry = self.entry(&mut entries, (block, at), load)?;
        if !bitmap::runs(&entry.bits, sectors.clone()).all(|(_, set)| set) {
            bitmap::set(&mut entry.bits, sectors);
            self.count(&mut entry.dirty, true);
        }
        Ok(bitmap::is_full(&entry.bits, of))
    }

    fn entry<'a>(
        &self,
        entries: &'a mut HashMap<u32, Entry>,
        (block, at): (u32, u64),
        load: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<&'a mut Entry> {
        if !entries.contains_key(&block) {
            if entries.len().saturating_mul(self.len) > MAX_VHD_BITMAP_MEMORY {
                entries.retain(|_, entry| entry.dirty || entry.taken);
            }
            let mut bits = vec![0; self.len];
            load(&mut bits)?;
            entries.insert(block, Entry { at, bits, dirty: false, taken: false });
        }
        entries.get_mut(&block).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The bitmap of a new block at `at`, of which only `sectors` are written.
    pub(super) fn insert(&self, block: u32, at: u64, sectors: Range<u64>) {
        let mut bits = vec![0; self.len];
        bitmap::set(&mut bits, sectors);
        let mut entry = Entry { at, bits, dirty: false, taken: false };
        self.count(&mut entry.dirty, true);
        self.write().insert(block, entry);
    }

    /// Forgets the bitmap of a block that lost its place.
    pub(super) fn forget(&self, block: u32) {
        if let Some(mut entry) = self.write().remove(&block) {
            self.count(&mut entry.dirty, false);
        }
    }

    fn count(&self, dirty: &mut bool, now: bool) {
        match (std::mem::replace(dirty, now), now) {
            (false, true) => {
                self.dirty.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.dirty.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// How many bitmaps a flush has to write.
    pub(super) fn waiting(&self) -> usize {
        self.dirty.load(Ordering::Relaxed)
    }

    /// Takes what the next flush has to write.
    pub(super) fn take_dirty(&self) -> Vec<DirtyBits> {
        let mut entries = self.write();
        let dirty = entries.iter_mut().filter(|(_, entry)| entry.dirty);
        let taken = dirty.map(|(block, entry)| {
            self.count(&mut entry.dirty, false);
            entry.taken = true;
            DirtyBits { block: *block, at: entry.at, bits: entry.bits.clone() }
        });
        taken.collect()
    }

    /// Tells that what was taken is in the file.
    pub(super) fn written(&self, taken: &[DirtyBits]) {
        self.end(taken, false);
    }

    /// Tells that what was taken did not reach the file.
    pub(super) fn put_back(&self, taken: &[DirtyBits]) {
        self.end(taken, true);
    }

    fn end(&self, taken: &[DirtyBits], again: bool) {
        let mut entries = self.write();
        for bits in taken {
            if let Some(entry) = entries.get_mut(&bits.block).filter(|entry| entry.at == bits.at) {
                entry.taken = false;
                let dirty = entry.dirty || again;
                self.count(&mut entry.dirty, dirty);
            }
        }
    }
}
