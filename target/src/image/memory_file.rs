//! A file in memory: a RAM disk, and what tests lay images into. It keeps only the pages that were written.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::BlockFile;

const PAGE: u64 = 4096;
type Page = Box<[u8; 4096]>;

/// A [`BlockFile`] in memory. It is never durable: [`BlockFile::sync_data`] does nothing.
#[derive(Debug, Default)]
pub struct MemoryFile {
    content: RwLock<Content>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    len: u64,
    /// By page number; a page that is absent is a hole. Bytes past `len` are zero.
    pages: BTreeMap<u64, Page>,
}

impl MemoryFile {
    /// A file of `len` bytes that takes no space yet.
    #[must_use]
    pub fn with_len(len: u64) -> Self {
        Self { content: RwLock::new(Content { len, pages: BTreeMap::new() }) }
    }

    /// Bytes of memory that the content takes.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        PAGE.saturating_mul(u64::try_from(self.read().pages.len()).unwrap_or(u64::MAX))
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for MemoryFile {
    /// A copy of the content as it is now.
    fn clone(&self) -> Self {
        Self { content: RwLock::new(self.read().clone()) }
    }
}

/// Cuts `range` at page boundaries: (page number, range within the page).
fn pages_of(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let page = at / PAGE;
        let end = range.end.min((page + 1) * PAGE);
        // Both are at most PAGE.
        #[expect(clippy::cast_possible_truncation, reason = "offsets within a page")]
        let within = (at - page * PAGE) as usize..(end - page * PAGE) as usize;
        at = end;
        Some((page, within))
    })
}

fn end_of(offset: u64, len: usize) -> io::Result<u64> {
    u64::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len))
        .filter(|end| *end <= i64::MAX.unsigned_abs())
        .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))
}

impl Content {
    fn put(&mut self, bytes: &[u8], offset: u64, end: u64) {
        let mut rest = bytes;
        for (page, within) in pages_of(offset..end) {
            let (now, later) = rest.split_at(within.len());
            rest = later;
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; 4096]));
            page[within].copy_from_slice(now);
        }
        self.len = self.len.max(end);
    }

    fn clear(&mut self, range: Range<u64>) {
        let whole = range.start.div_ceil(PAGE)..range.end / PAGE;
        if whole.start < whole.end {
            let gone: Vec<u64> = self.pages.range(whole.clone()).map(|(page, _)| *page).collect();
            for page in gone {
                self.pages.remove(&page);
            }
        }
        // The pages at the two ends, or the only one; what lies between was removed, and may be large.
        let first = range.start..range.end.min(whole.start.saturating_mul(PAGE));
        let last = first.end.max(whole.end.saturating_mul(PAGE))..range.end;
        for (page, within) in pages_of(first).chain(pages_of(last)) {
            if let Some(page) = self.pages.get_mut(&page) {
                page[within].fill(0);
            }
        }
    }
}

impl BlockFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.read().len)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = end_of(offset, buf.len())?;
        let content = self.read();
        if end > content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buf;
        for (page, within) in pages_of(offset..end) {
            let (now, later) = rest.split_at_mut(within.len());
            rest = later;
            match content.pages.get(&page) {
                Some(page) => now.copy_from_slice(&page[within]),
                None => now.fill(0),
            }
        }
        Ok(())
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_exact_at(buf, offset).map(|()| true)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut content = self.write();
        let mut at = offset;
        for buf in bufs {
            let end = end_of(at, buf.len())?;
            content.put(buf, at, end);
            at = end;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.write();
        if len < content.len {
            let end = content.len.next_multiple_of(PAGE);
            content.clear(len..end);
        }
        content.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        self.punch_hole(range)
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        let mut content = self.write();
        let end = range.end.min(content.len);
        if range.start < end {
            content.clear(range.start..end);
        }
        Ok(())
    }

    fn reserve(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let content = self.read();
        let mut found: Option<Range<u64>> = None;
        for page in content.pages.range(offset / PAGE..).map(|(page, _)| *page) {
            let start = page * PAGE;
            match &mut found {
                None => found = Some(start.max(offset)..start + PAGE),
                Some(range) if range.end == start => range.end += PAGE,
                Some(_) => break,
            }
        }
        Ok(found.filter(|r| r.start < content.len).map(|r| r.start..r.end.min(content.len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_reads_as_zero_and_past_the_end_is_an_error() {
        let file = MemoryFile::with_len(10_000);
        file.write_all_at(b"abc", 4094).unwrap();
        let mut buf = [1; 6];
        file.read_exact_at(&mut buf, 4093).unwrap();
        assert_eq!(&buf, b"\0abc\0\0");
        assert_eq!(file.read_exact_at(&mut buf, 9_995).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(file.allocated(), 8192);
    }

    #[test]
    fn bytes_cut_off_do_not_come_back_when_the_file_grows() {
        let file = MemoryFile::default();
        file.write_all_at(&[7; 9000], 0).unwrap();
        file.set_len(4097).unwrap();
        file.set_len(9000).unwrap();
        let mut buf = [1; 9000];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert!(buf[..4097].iter().all(|b| *b == 7) && buf[4097..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_punched_range_reads_as_zero_and_is_a_hole() {
        let file = MemoryFile::default();
        file.write_all_at(&[7; 20_000], 0).unwrap();
        file.punch_hole(100..16_385).unwrap();
        let mut buf = [1; 20_000];
        file.read_exact_at(&mut buf, 0).unwrap();
        assert!(buf.iter().enumerate().all(|(i, b)| (*b == 0) == (100..16_385).contains(&i)));
        assert_eq!(file.next_data(4096).unwrap(), Some(16_384..20_000));
        assert_eq!(file.next_data(20_000).unwrap(), None);
        assert_eq!(file.len().unwrap(), 20_000);
    }
}
