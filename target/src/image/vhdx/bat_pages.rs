//! The block allocation table, and the sector bitmaps, in memory: 4 KiB pages, loaded when they are needed, bounded in number.
//!
//! A disk of 64 TiB with 1 MiB blocks has a table of half a GiB, so it is never read as a whole.
//!
//! Invariants:
//! * A page that differs from the file, in memory or in the log, is pinned: it is not evicted before it was written in place.
//! * A page is loaded by one thread at a time and evicted only while another is loaded, so a page that is not in memory is
//!   not changing in the file either.
//! * A changed entry, the dirtiness of its page and the space that it freed become visible to the flush as one.
//!
//! Limits: [`MAX_VHDX_BAT_PAGES`] clean pages and about [`MAX_VHDX_DIRTY_PAGES`](crate::limits::MAX_VHDX_DIRTY_PAGES) pinned.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bat::{Entry, PAGE_ENTRIES, PAGE_LEN};
use super::{MIB, le};
use crate::image::BlockFile;
use crate::limits::MAX_VHDX_BAT_PAGES;

const SHARDS: usize = 16;

/// The table, paged.
#[derive(Debug)]
pub(super) struct BatPages {
    file: Arc<dyn BlockFile>,
    place: Place,
    shards: Vec<Shard>,
    /// One bit per page: whether this session has changed it.
    changed: Vec<AtomicU64>,
    dirty: Mutex<Dirty>,
}

/// Where the pages are in the file.
#[derive(Debug)]
enum Place {
    /// One behind the other from here on.
    Table(u64),
    /// In blocks of 1 MiB, the sector bitmaps of chunks, as far as they are known.
    Bitmaps(RwLock<HashMap<u64, u64>>),
}

/// Pages of a sector bitmap block.
pub(super) const BITMAP_PAGES: u64 = MIB / PAGE_LEN as u64;

/// What the next log entry has to carry.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Pages that differ from their newest image in the log. Each holds one pin.
    pub(super) pages: BTreeSet<u32>,
    /// Offsets of blocks that these pages no longer refer to.
    pub(super) freed: Vec<u64>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Held while a page is loaded and another is evicted for it.
    loading: Mutex<VecDeque<u32>>,
    pages: RwLock<HashMap<u32, Page>>,
}

#[derive(Debug)]
struct Page {
    entries: Box<[u64; PAGE_ENTRIES]>,
    used: AtomicBool,
    /// Once for being dirty, once for each image that is in the log and not in place.
    pins: u32,
}

/// An entry as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    /// The entry.
    pub(super) entry: Entry,
    /// Whether its page was changed in this session, and with that checked as a whole.
    pub(super) page_changed: bool,
}

/// Why an entry could not be changed.
#[derive(Debug)]
pub(super) enum ChangeError {
    /// The page could not be read.
    Read(io::Error),
    /// The page, as the file has it, was found to be bad.
    Damaged(String),
}

fn place(index: u64) -> (u32, usize) {
    let (page, within) = (index / PAGE_ENTRIES as u64, index % PAGE_ENTRIES as u64);
    (u32::try_from(page).unwrap_or(u32::MAX), usize::try_from(within).unwrap_or_default())
}

impl BatPages {
    /// The table of `entries` entries at `offset` of `file`. The last page lies within the file as a whole.
    pub(super) fn new(file: Arc<dyn BlockFile>, offset: u64, entries: u64) -> Self {
        Self::with(file, Place::Table(offset), entries.div_ceil(PAGE_ENTRIES as u64))
    }

    /// The sector bitmaps of `chunks` chunks, none of which has a known place yet.
    pub(super) fn bitmaps(file: Arc<dyn BlockFile>, chunks: u64) -> Self {
        Self::with(file, Place::Bitmaps(RwLock::default()), chunks * BITMAP_PAGES)
    }

    fn with(file: Arc<dyn BlockFile>, place: Place, pages: u64) -> Self {
        let pages = usize::try_from(pages).unwrap_or_default();
        Self {
            file,
            place,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            changed: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            dirty: Mutex::default(),
        }
    }

    /// Where page `page` is in the file, if that is known.
    pub(super) fn page_offset(&self, page: u32) -> Option<u64> {
        let page = u64::from(page);
        match &self.place {
            Place::Table(offset) => Some(offset + page * PAGE_LEN as u64),
            Place::Bitmaps(_) => {
                Some(self.bitmap_at(page / BITMAP_PAGES)? + page % BITMAP_PAGES * PAGE_LEN as u64)
            }
        }
    }

    /// Where the bitmap of `chunk` is, if that is known.
    pub(super) fn bitmap_at(&self, chunk: u64) -> Option<u64> {
        match &self.place {
            Place::Table(_) => None,
            Place::Bitmaps(known) => read(known).get(&chunk).copied(),
        }
    }

    /// Tells where the bitmap of `chunk` is. That never changes.
    pub(super) fn learn_bitmap(&self, chunk: u64, offset: u64) {
        if let Place::Bitmaps(known) = &self.place {
            write(known).insert(chunk, offset);
        }
    }

    /// What `look` sees in page `page`, which is read when it is not in memory.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn look<T>(&self, page: u32, look: impl Fn(&[u64; PAGE_ENTRIES]) -> T) -> io::Result<T> {
        loop {
            if let Some(slot) = read(&self.shard(page).pages).get(&page) {
                slot.used.store(true, Ordering::Relaxed);
                return Ok(look(&slot.entries));
            }
            self.load(page)?;
        }
    }

    /// Lets `change` change page `page`; it answers whether it did.
    ///
    /// # Errors
    /// What the host reports; then nothing was changed.
    pub(super) fn update(
        &self,
        page: u32,
        change: impl Fn(&mut [u64; PAGE_ENTRIES]) -> bool,
    ) -> io::Result<()> {
        loop {
            {
                let mut dirty = self.dirty();
                if let Some(slot) = write(&self.shard(page).pages).get_mut(&page) {
                    slot.used.store(true, Ordering::Relaxed);
                    if change(&mut slot.entries) && dirty.pages.insert(page) {
                        slot.pins += 1;
                    }
                    return Ok(());
                }
            }
            self.load(page)?;
        }
    }

    /// The entry at `index`, reading its page when it is not in memory.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn get(&self, index: u64) -> io::Result<Lookup> {
        loop {
            if let Some(found) = self.peek(index) {
                return Ok(found);
            }
            self.load(place(index).0)?;
        }
    }

    /// The entry at `index`, if its page is in memory.
    pub(super) fn peek(&self, index: u64) -> Option<Lookup> {
        let (page, within) = place(index);
        let pages = read(&self.shard(page).pages);
        let slot = pages.get(&page)?;
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        let entry = Entry(slot.entries.get(within).copied()?);
        Some(Lookup { entry, page_changed: self.is_changed(page) })
    }

    /// Sets the entry at `index`, and hands `freed` to the flush that makes this durable. Before the first change to a page
    /// `check` sees its other entries, as the file has them, with their indices; what it finds wrong keeps the page as it is.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing was changed.
    pub(super) fn set(
        &self,
        index: u64,
        entry: Entry,
        freed: Option<u64>,
        check: impl Fn(u64, Entry) -> Result<(), String>,
    ) -> Result<(), ChangeError> {
        let (page, within) = place(index);
        let shard = self.shard(page);
        loop {
            let mut dirty = self.dirty();
            let mut pages = write(&shard.pages);
            if let Some(slot) = pages.get_mut(&page) {
                if !self.is_changed(page) {
                    let first = u64::from(page) * PAGE_ENTRIES as u64;
                    for (n, raw) in (first..).zip(slot.entries.iter()) {
                        if n != index {
                            check(n, Entry(*raw)).map_err(ChangeError::Damaged)?;
                        }
                    }
                    self.mark_changed(page);
                }
                if let Some(to) = slot.entries.get_mut(within) {
                    *to = entry.0;
                }
                if dirty.pages.insert(page) {
                    slot.pins += 1;
                }
                dirty.freed.extend(freed);
                return Ok(());
            }
            drop((pages, dirty));
            self.load(page).map_err(ChangeError::Read)?;
        }
    }

    /// How much the next flush has to carry: dirty pages, and blocks that wait to be free.
    pub(super) fn pressure(&self) -> (usize, usize) {
        let dirty = self.dirty();
        (dirty.pages.len(), dirty.freed.len())
    }

    /// Takes what is dirty. The pins of the pages go over to the caller.
    pub(super) fn take_dirty(&self) -> Dirty {
        std::mem::take(&mut *self.dirty())
    }

    /// Gives back what could not be logged.
    pub(super) fn restore(&self, taken: Dirty) {
        let mut twice = Vec::new();
        {
            let mut dirty = self.dirty();
            dirty.freed.extend(taken.freed);
            for page in taken.pages {
                if !dirty.pages.insert(page) {
                    twice.push(page);
                }
            }
        }
        for page in twice {
            self.unpin(page);
        }
    }

    /// The bytes of a pinned page as it is now.
    pub(super) fn image(&self, page: u32) -> Option<Box<[u8; PAGE_LEN]>> {
        let pages = read(&self.shard(page).pages);
        let slot = pages.get(&page)?;
        let mut bytes = Box::new([0; PAGE_LEN]);
        for (entry, to) in slot.entries.iter().zip(bytes.chunks_exact_mut(8)) {
            to.copy_from_slice(&entry.to_le_bytes());
        }
        Some(bytes)
    }

    /// Takes one pin off a page.
    pub(super) fn unpin(&self, page: u32) {
        if let Some(slot) = write(&self.shard(page).pages).get_mut(&page) {
            slot.pins = slot.pins.saturating_sub(1);
        }
    }

    /// Pages in memory.
    #[cfg(test)]
    pub(super) fn resident(&self) -> usize {
        self.shards.iter().map(|shard| read(&shard.pages).len()).sum()
    }

    fn load(&self, page: u32) -> io::Result<()> {
        let shard = self.shard(page);
        let mut order = shard.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if read(&shard.pages).contains_key(&page) {
            return Ok(());
        }
        let mut bytes = [0; PAGE_LEN];
        let offset = self.page_offset(page).ok_or(io::ErrorKind::NotFound)?;
        self.file.read_exact_at(&mut bytes, offset)?;
        let mut entries = Box::new([0; PAGE_ENTRIES]);
        for (entry, from) in entries.iter_mut().zip(bytes.chunks_exact(8)) {
            *entry = le::u64_at(from, 0);
        }
        let mut pages = write(&shard.pages);
        if pages.len() >= MAX_VHDX_BAT_PAGES / SHARDS {
            evict(&mut pages, &mut order);
        }
        pages.insert(page, Page { entries, used: AtomicBool::new(true), pins: 0 });
        order.push_back(page);
        Ok(())
    }

    fn shard(&self, page: u32) -> &Shard {
        let n = usize::try_from(page).unwrap_or_default() % SHARDS;
        &self.shards[n]
    }

    fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_changed(&self, page: u32) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|n| self.changed.get(n));
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 != 0)
    }

    fn mark_changed(&self, page: u32) {
        if let Some(word) = usize::try_from(page / 64).ok().and_then(|n| self.changed.get(n)) {
            word.fetch_or(1 << (page % 64), Ordering::Release);
        }
    }
}

/// Puts out a page that was not used since its last turn and is not pinned; none when there is no such page.
fn evict(pages: &mut HashMap<u32, Page>, order: &mut VecDeque<u32>) {
    for _ in 0..2 * order.len() {
        let Some(page) = order.pop_front() else { return };
        let Some(slot) = pages.get(&page) else { continue };
        if slot.pins == 0 && !slot.used.swap(false, Ordering::Relaxed) {
            pages.remove(&page);
            return;
        }
        order.push_back(page);
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    const PAGES: u64 = 3 * MAX_VHDX_BAT_PAGES as u64;

    fn table() -> BatPages {
        let file = MemoryFile::with_len(4096 + PAGES * PAGE_LEN as u64);
        BatPages::new(Arc::new(file), 4096, PAGES * PAGE_ENTRIES as u64)
    }

    fn ok(_: u64, _: Entry) -> Result<(), String> {
        Ok(())
    }

    #[test]
    fn memory_stays_bounded_while_the_whole_table_is_read() {
        let table = table();
        for page in 0..PAGES {
            table.get(page * PAGE_ENTRIES as u64).unwrap();
        }
        assert_eq!(table.resident(), MAX_VHDX_BAT_PAGES);
    }

    #[test]
    fn a_dirty_page_stays_until_its_image_was_written_in_place() {
        let table = table();
        table.set(5, Entry(99 << 20 | 6), None, ok).unwrap();
        let sweep = || {
            for page in 1..PAGES {
                table.get(page * PAGE_ENTRIES as u64).unwrap();
            }
        };
        sweep();
        assert_eq!(table.peek(5).unwrap().entry, Entry(99 << 20 | 6));
        let taken = table.take_dirty();
        assert_eq!(taken.pages.iter().copied().collect::<Vec<_>>(), [0]);
        assert_eq!(le::u64_at(&table.image(0).unwrap()[..], 40), 99 << 20 | 6);
        // Dirty again while the first image is on its way, then both are done with.
        table.set(6, Entry::ZERO, Some(7), ok).unwrap();
        table.unpin(0);
        sweep();
        assert_eq!(table.peek(6).unwrap().entry, Entry::ZERO);
        assert_eq!(table.take_dirty().freed, [7]);
        table.unpin(0);
        sweep();
        assert_eq!(table.peek(6), None);
    }

    #[test]
    fn what_is_given_back_is_dirty_again_and_holds_one_pin() {
        let table = table();
        table.set(5, Entry::ZERO, Some(1), ok).unwrap();
        let taken = table.take_dirty();
        table.set(6, Entry::ZERO, Some(2), ok).unwrap();
        table.restore(taken);
        let taken = table.take_dirty();
        assert_eq!((taken.pages.len(), taken.freed), (1, vec![2, 1]));
        assert_eq!(read(&table.shard(0).pages)[&0].pins, 1);
    }

    #[test]
    fn a_page_with_a_bad_entry_is_not_changed() {
        let table = table();
        let bad = |index: u64, _| if index == 9 { Err("bad".to_owned()) } else { Ok(()) };
        assert!(matches!(table.set(5, Entry::ZERO, None, bad), Err(ChangeError::Damaged(_))));
        assert_eq!(table.get(5).unwrap(), Lookup { entry: Entry(0), page_changed: false });
        // The entry that is about to be replaced is not looked at.
        table.set(9, Entry::ZERO, None, bad).unwrap();
        assert!(table.get(5).unwrap().page_changed);
        assert_eq!(table.pressure(), (1, 0));
    }
}
