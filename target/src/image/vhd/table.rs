//! The block table in memory: where each block is, and whether its bitmap is known to be full. Read without a lock.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::layout::UNALLOCATED;

/// What is known about a block's bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fullness {
    /// It was not looked at yet.
    Unknown,
    /// Every sector counts as written.
    Full,
    /// Some sectors were never written and read as zero.
    Partial,
}

/// One entry per block: 5 bytes of memory each.
#[derive(Debug)]
pub(super) struct Table {
    places: Box<[AtomicU32]>,
    fullness: Box<[AtomicU8]>,
}

impl Table {
    pub(super) fn new(places: Vec<u32>) -> Self {
        let fullness = places.iter().map(|_| AtomicU8::new(0)).collect();
        Self { places: places.into_iter().map(AtomicU32::new).collect(), fullness }
    }

    /// Where in the file `block` starts, bitmap first.
    pub(super) fn get(&self, block: u32) -> Option<u64> {
        let place = self.raw(block);
        (place != UNALLOCATED).then(|| u64::from(place) * 512)
    }

    /// The entry as the file has it.
    pub(super) fn raw(&self, block: u32) -> u32 {
        usize::try_from(block)
            .ok()
            .and_then(|i| self.places.get(i))
            .map_or(UNALLOCATED, |place| place.load(Ordering::Acquire))
    }

    /// Lets `block` start at sector `place`, or nowhere. Its content must be in the file before.
    pub(super) fn set(&self, block: u32, place: u32, fullness: Fullness) {
        self.set_fullness(block, fullness);
        if let Some(entry) = usize::try_from(block).ok().and_then(|i| self.places.get(i)) {
            entry.store(place, Ordering::Release);
        }
    }

    pub(super) fn fullness(&self, block: u32) -> Fullness {
        let code = usize::try_from(block).ok().and_then(|i| self.fullness.get(i));
        match code.map_or(0, |c| c.load(Ordering::Acquire)) {
            1 => Fullness::Full,
            2 => Fullness::Partial,
            _ => Fullness::Unknown,
        }
    }

    /// As [`Table::set_fullness`], unless something is known already: that is newer than what was read.
    pub(super) fn learn_fullness(&self, block: u32, fullness: Fullness) {
        let code = if fullness == Fullness::Full { 1 } else { 2 };
        if let Some(entry) = usize::try_from(block).ok().and_then(|i| self.fullness.get(i)) {
            let _ = entry.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    pub(super) fn set_fullness(&self, block: u32, fullness: Fullness) {
        let code = match fullness {
            Fullness::Unknown => 0,
            Fullness::Full => 1,
            Fullness::Partial => 2,
        };
        if let Some(entry) = usize::try_from(block).ok().and_then(|i| self.fullness.get(i)) {
            entry.store(code, Ordering::Release);
        }
    }

    /// Sectors where blocks start.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().map(|p| p.load(Ordering::Acquire)).filter(|p| *p != UNALLOCATED)
    }
}
