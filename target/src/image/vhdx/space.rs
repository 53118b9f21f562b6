//! Space for payload blocks: at the end of the file, or where a block was that is gone.
//!
//! A place that a block gave back goes through four stations before another block may have it:
//!
//! 1. *freed*: it waits in [`super::bat_pages::Dirty`] until the log entry that takes it from its block is durable. Before
//!    that a crash would bring the old entry back, and two blocks would share the place.
//! 2. *unpunched*: it still holds the old bytes.
//! 3. *punched*: it reads as zero, but a crash may bring the old bytes back.
//! 4. *clean*: a sync has returned since. It is now like fresh space at the end of the file: it reads as zero, also
//!    after a crash. So a flush needs one sync for blocks in recycled places as for blocks in fresh ones.
//!
//! Places that were free when the file was opened are looked for when it is first changed, unless the table is too long to read as a
//! whole, and begin as *unpunched*.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::MIB;
use crate::image::BlockFile;
use crate::limits::MAX_VHDX_FREE_PLACES;

/// The file grows by at least this much, so that growing is rare.
const GROW: u64 = 32 * MIB;

/// The allocator of an image.
#[derive(Debug)]
pub(super) struct Space {
    block_size: u64,
    /// Length of the file as it is now.
    len: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next fresh block goes; not known before the first one is asked for.
    next: Option<u64>,
    unpunched: Vec<u64>,
    punched: Vec<u64>,
    clean: Vec<u64>,
}

impl Space {
    /// The allocator of a file of `len` bytes. `next` is where nothing is from on, if that is known.
    pub(super) fn new(block_size: u64, len: u64, next: Option<u64>) -> Self {
        let state = Mutex::new(State { next, ..State::default() });
        Self { block_size, len: AtomicU64::new(len), state }
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// The smallest number of whole MiBs that has room for everything allocated.
    pub(super) fn last_length(&self) -> u64 {
        self.state().next.unwrap_or_else(|| self.len()).next_multiple_of(MIB)
    }

    /// A place for a block that reads as zero, within the file. `start` finds where fresh space starts; it is asked once.
    ///
    /// # Errors
    /// What the host, or `start`, reports; then nothing was taken.
    pub(super) fn allocate(
        &self,
        file: &dyn BlockFile,
        start: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<u64> {
        let mut state = self.state();
        if let Some(place) = state.clean.pop() {
            // A block that was cut short by the end of the file needs its whole length now.
            if let Err(e) = self.grow(file, place.saturating_add(self.block_size)) {
                state.clean.push(place);
                return Err(e);
            }
            return Ok(place);
        }
        self.extend(&mut state, file, self.block_size, start)
    }

    /// A place of `len` bytes, a whole number of MiBs, at the end of the file. It reads as zero, also after a crash.
    ///
    /// # Errors
    /// As [`Space::allocate`].
    pub(super) fn allocate_fresh(
        &self,
        file: &dyn BlockFile,
        len: u64,
        start: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<u64> {
        let mut state = self.state();
        self.extend(&mut state, file, len, start)
    }

    fn extend(
        &self,
        state: &mut State,
        file: &dyn BlockFile,
        len: u64,
        start: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<u64> {
        let place = match state.next {
            Some(next) => next,
            None => start()?,
        };
        state.next = Some(place);
        let end = place.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
        if end > self.len() {
            let ahead = end.saturating_add(GROW.saturating_sub(len));
            self.grow(file, ahead).or_else(|_| self.grow(file, end))?;
        }
        state.next = Some(end);
        Ok(place)
    }

    /// Makes the file at least `len` bytes long.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn ensure_len(&self, file: &dyn BlockFile, len: u64) -> io::Result<()> {
        if len <= self.len() {
            return Ok(());
        }
        let _one = self.state();
        self.grow(file, len)
    }

    fn grow(&self, file: &dyn BlockFile, len: u64) -> io::Result<()> {
        if len > self.len() {
            file.set_len(len)?;
            self.len.store(len, Ordering::Release);
        }
        Ok(())
    }

    /// Takes places that no durable entry refers to any more, whatever they hold.
    pub(super) fn give_back(&self, places: impl IntoIterator<Item = u64>) {
        self.state().unpunched.extend(places);
    }

    /// Gives the space of up to `most` places back to the host. Returns whether there are more.
    pub(super) fn punch(&self, file: &dyn BlockFile, most: usize) -> bool {
        for _ in 0..most {
            let Some(place) = self.state().unpunched.pop() else { return false };
            // A place that cannot be punched is given up: it is a leak, and no harm.
            if file.punch_hole(self.within(place)).is_ok() {
                self.state().punched.push(place);
            }
        }
        !self.state().unpunched.is_empty()
    }

    /// What a sync that starts now makes clean: hand it to [`Space::settle`] when the sync has returned.
    pub(super) fn settling(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().punched)
    }

    /// Takes places that have read as zero since before a sync that has returned. Places beyond
    /// [`MAX_VHDX_FREE_PLACES`] are forgotten: they are leaks without space.
    pub(super) fn settle(&self, places: Vec<u64>) {
        let mut state = self.state();
        let room = MAX_VHDX_FREE_PLACES.saturating_sub(state.clean.len());
        state.clean.extend(places.into_iter().take(room));
    }

    /// Cuts off what lies past the last block, clean places at the end included. To be called when nothing is going on and
    /// the log is empty.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn cut(&self, file: &dyn BlockFile) -> io::Result<()> {
        let mut state = self.state();
        let mut end = state.next.unwrap_or_else(|| self.len());
        state.clean.sort_unstable();
        while state.clean.last().and_then(|place| place.checked_add(self.block_size)) == Some(end) {
            end = state.clean.pop().unwrap_or(end);
        }
        if end < self.len() {
            file.set_len(end)?;
            self.len.store(end, Ordering::Release);
        }
        Ok(())
    }

    fn within(&self, place: u64) -> Range<u64> {
        let len = self.len();
        place.min(len)..place.saturating_add(self.block_size).min(len)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    const BLOCK: u64 = 2 * MIB;

    #[test]
    fn fresh_space_is_handed_out_in_order_and_the_file_grows_in_big_steps() {
        let file = MemoryFile::with_len(4 * MIB);
        let space = Space::new(BLOCK, 4 * MIB, None);
        assert_eq!(space.allocate(&file, || Ok(5 * MIB)).unwrap(), 5 * MIB);
        assert_eq!(file.len().unwrap(), 5 * MIB + GROW);
        assert_eq!(space.allocate(&file, || Err(io::Error::other("asked twice"))).unwrap(), 7 * MIB);
        assert_eq!(space.last_length(), 9 * MIB);
        space.cut(&file).unwrap();
        assert_eq!(file.len().unwrap(), 9 * MIB);
    }

    #[test]
    fn a_place_is_not_handed_out_again_before_a_sync_that_started_after_it_was_punched() {
        let file = MemoryFile::with_len(64 * MIB);
        file.write_all_at(&[7; 4096], 8 * MIB).unwrap();
        let space = Space::new(BLOCK, 64 * MIB, Some(20 * MIB));
        space.give_back([8 * MIB]);
        assert_eq!(space.allocate(&file, || Ok(0)).unwrap(), 20 * MIB);
        let too_early = space.settling();
        assert!(!space.punch(&file, 8));
        space.settle(too_early);
        assert_eq!(space.allocate(&file, || Ok(0)).unwrap(), 22 * MIB);
        let settling = space.settling();
        assert_eq!(space.allocate(&file, || Ok(0)).unwrap(), 24 * MIB);
        space.settle(settling);
        assert_eq!(space.allocate(&file, || Ok(0)).unwrap(), 8 * MIB);
        assert_eq!(file.allocated(), 0, "the old bytes are gone");
    }

    #[test]
    fn places_at_the_end_are_cut_off_and_others_stay() {
        let file = MemoryFile::with_len(64 * MIB);
        let space = Space::new(BLOCK, 64 * MIB, Some(20 * MIB));
        space.settle(vec![18 * MIB, 10 * MIB, 16 * MIB]);
        space.cut(&file).unwrap();
        assert_eq!(file.len().unwrap(), 16 * MIB);
    }

    #[test]
    fn a_host_that_cannot_grow_the_file_leaves_the_allocator_as_it_was() {
        let file = MemoryFile::with_len(4 * MIB);
        let space = Space::new(BLOCK, 4 * MIB, Some(u64::MAX - MIB));
        assert!(space.allocate(&file, || Ok(0)).is_err());
        let space = Space::new(BLOCK, 4 * MIB, Some(1 << 63));
        assert!(space.allocate(&file, || Ok(0)).is_err() || space.len() > 1 << 63);
    }
}
