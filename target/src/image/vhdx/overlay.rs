//! A file whose log has been replayed in memory only: what a read-only open of an image sees that was not closed cleanly.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use super::log_entry::{Change, SECTOR_LEN};
use crate::image::BlockFile;

const PAGE: u64 = SECTOR_LEN as u64;

/// `inner` with some pages replaced. It is never written.
pub(super) struct Overlay {
    inner: Arc<dyn BlockFile>,
    /// Length of `inner`.
    inner_len: u64,
    /// Length as the log asks for it; what lies past `inner` is zero.
    len: u64,
    /// Ranges that the log made zero.
    zeroed: Vec<Range<u64>>,
    /// Pages by offset; they win over `zeroed`.
    pages: BTreeMap<u64, Box<[u8; SECTOR_LEN]>>,
    /// Bound of `pages` and of `zeroed`.
    changes_max: usize,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("inner", &self.inner)
            .field("len", &self.len)
            .field("pages", &self.pages.len())
            .finish_non_exhaustive()
    }
}

impl Overlay {
    /// `inner` seen as a file of at least `len` bytes, with room for `changes_max` changed pages.
    pub(super) fn new(inner: Arc<dyn BlockFile>, len: u64, changes_max: usize) -> io::Result<Self> {
        let inner_len = inner.len()?;
        let (zeroed, pages) = (Vec::new(), BTreeMap::new());
        Ok(Self { inner, inner_len, len: len.max(inner_len), zeroed, pages, changes_max })
    }

    /// Adds a change on top of those before.
    ///
    /// # Errors
    /// `OutOfMemory` when there are more changes than the overlay has room for.
    pub(super) fn add(&mut self, change: &Change<'_>) -> io::Result<()> {
        match change {
            Change::Page(offset, bytes) => {
                self.pages.insert(*offset, Box::new(**bytes));
            }
            Change::Zero(range) if range.is_empty() => {}
            Change::Zero(range) => {
                let gone: Vec<u64> = self.pages.range(range.clone()).map(|(offset, _)| *offset).collect();
                for offset in gone {
                    self.pages.remove(&offset);
                }
                self.zeroed.push(range.clone());
            }
        }
        if self.pages.len() > self.changes_max || self.zeroed.len() > self.changes_max {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "the log changes more than is held in memory for a read-only open",
            ));
        }
        Ok(())
    }

    fn changed_in(&self, range: &Range<u64>) -> bool {
        let first = range.start - range.start % PAGE;
        self.pages.range(first..range.end.max(first)).next().is_some()
            || self.zeroed.iter().any(|zero| zero.start < range.end && range.start < zero.end)
    }
}

/// The part of `buf`, which holds what is at `at`, that falls into `range`.
fn part<'a>(buf: &'a mut [u8], at: u64, range: &Range<u64>) -> Option<&'a mut [u8]> {
    let end = at.checked_add(u64::try_from(buf.len()).ok()?)?;
    let (start, end) = (range.start.max(at), range.end.min(end));
    if start >= end {
        return None;
    }
    buf.get_mut(usize::try_from(start - at).ok()?..usize::try_from(end - at).ok()?)
}

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the file was opened read-only"))
}

impl BlockFile for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = u64::try_from(buf.len()).ok().and_then(|len| offset.checked_add(len));
        let Some(end) = end.filter(|end| *end <= self.len) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if let Some(there) = part(buf, offset, &(0..self.inner_len)) {
            self.inner.read_exact_at(there, offset)?;
        }
        if let Some(past) = part(buf, offset, &(self.inner_len..self.len)) {
            past.fill(0);
        }
        for range in &self.zeroed {
            if let Some(zero) = part(buf, offset, range) {
                zero.fill(0);
            }
        }
        for (start, page) in self.pages.range(offset - offset % PAGE..end.max(offset)) {
            let from = usize::try_from(offset.saturating_sub(*start)).unwrap_or(SECTOR_LEN);
            if let Some(to) = part(buf, offset, &(*start..start.saturating_add(PAGE)))
                && let Some(bytes) = page.get(from..).and_then(|bytes| bytes.get(..to.len()))
            {
                to.copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        let end = u64::try_from(buf.len()).ok().and_then(|len| offset.checked_add(len));
        match end {
            Some(end) if end <= self.inner_len && !self.changed_in(&(offset..end)) => {
                self.inner.read_cached_at(buf, offset)
            }
            _ => Ok(false),
        }
    }

    fn write_all_vectored_at(&self, _bufs: &[IoSlice<'_>], _offset: u64) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        read_only()
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero_range(&self, _range: Range<u64>) -> io::Result<()> {
        read_only()
    }

    fn punch_hole(&self, _range: Range<u64>) -> io::Result<()> {
        read_only()
    }

    fn reserve(&self, _range: Range<u64>) -> io::Result<()> {
        read_only()
    }

    /// A page of the overlay counts as data even where the file has a hole.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let inner = if offset < self.inner_len { self.inner.next_data(offset)? } else { None };
        let page = self.pages.range(offset - offset % PAGE..).next();
        let page = page.map(|(start, _)| (*start).max(offset)..start.saturating_add(PAGE).min(self.len));
        Ok(match (inner, page.filter(|range| !range.is_empty())) {
            (Some(inner), Some(page)) if page.start < inner.start => Some(page),
            // Zeroed ranges are told as data: that is allowed, and they are rare.
            (Some(inner), _) => Some(inner),
            (None, page) => page,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    fn overlay() -> Overlay {
        let file = MemoryFile::default();
        file.write_all_at(&[1; 40_000], 0).unwrap();
        let mut overlay = Overlay::new(Arc::new(file), 60_000, 3).unwrap();
        overlay.add(&Change::Page(4096, &[2; 4096])).unwrap();
        overlay.add(&Change::Zero(4096..16_384)).unwrap();
        overlay.add(&Change::Page(8192, &[3; 4096])).unwrap();
        overlay.add(&Change::Page(53_248, &[4; 4096])).unwrap();
        overlay
    }

    #[test]
    fn later_changes_win_and_what_lies_past_the_file_is_zero() {
        let mut buf = [9; 60_000];
        overlay().read_exact_at(&mut buf, 0).unwrap();
        let expected = |at: usize| match at {
            ..4096 | 16_384..40_000 => 1,
            8192..12_288 => 3,
            53_248..57_344 => 4,
            _ => 0,
        };
        assert!(buf.iter().enumerate().all(|(at, byte)| *byte == expected(at)));
        let mut part = [9; 5000];
        overlay().read_exact_at(&mut part, 9000).unwrap();
        assert!(part.iter().enumerate().all(|(at, byte)| *byte == expected(9000 + at)));
        assert!(overlay().read_exact_at(&mut part, 55_001).is_err());
    }

    #[test]
    fn only_what_the_log_did_not_touch_comes_from_the_cache() {
        let mut buf = [9; 100];
        assert!(overlay().read_cached_at(&mut buf, 0).unwrap());
        assert!(!overlay().read_cached_at(&mut buf, 4090).unwrap());
        assert!(!overlay().read_cached_at(&mut buf, 12_300).unwrap());
        assert!(!overlay().read_cached_at(&mut buf, 39_990).unwrap());
    }

    #[test]
    fn changed_pages_count_as_data_and_too_many_are_an_error() {
        assert_eq!(overlay().next_data(45_000).unwrap(), Some(53_248..57_344));
        assert_eq!(overlay().next_data(58_000).unwrap(), None);
        let mut overlay = overlay();
        overlay.add(&Change::Page(0, &[2; 4096])).unwrap();
        assert!(overlay.add(&Change::Page(20_480, &[2; 4096])).is_err());
    }

    #[test]
    fn nothing_is_ever_written() {
        assert!(overlay().write_all_at(&[1], 0).is_err());
        assert!(overlay().set_len(1).is_err());
        assert!(overlay().punch_hole(0..1).is_err());
    }
}
