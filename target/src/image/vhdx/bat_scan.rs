//! Reading the whole block allocation table once, in order and in little memory. Holes of the file are passed over: their
//! entries are all "not present".

use std::io;
use std::ops::{ControlFlow, Range};

use super::bat::Entry;
use super::le;
use crate::image::BlockFile;

const CHUNK: usize = 256 << 10;

/// Calls `see` with index and value of the entries in `table`, a range of `file`, except for some that are zero. Stops
/// where `see` breaks.
///
/// # Errors
/// What the host reports.
pub(super) fn scan(
    file: &dyn BlockFile,
    table: Range<u64>,
    mut see: impl FnMut(u64, Entry) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut buf = vec![0; CHUNK];
    let mut at = table.start;
    while at < table.end {
        let Some(data) = file.next_data(at)?.filter(|data| data.start < table.end) else {
            return Ok(());
        };
        at = data.start.max(at);
        at -= (at - table.start) % 8;
        let end = data.end.min(table.end);
        while at < end {
            let len = (end - at).next_multiple_of(8).min(table.end - at).min(CHUNK as u64);
            let Some(buf) = usize::try_from(len).ok().and_then(|len| buf.get_mut(..len)) else {
                return Ok(());
            };
            file.read_exact_at(buf, at)?;
            for (index, entry) in ((at - table.start) / 8..).zip(buf.chunks_exact(8)) {
                let entry = Entry(le::u64_at(entry, 0));
                if entry.0 != 0 && see(index, entry).is_break() {
                    return Ok(());
                }
            }
            at += len;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    #[test]
    fn every_entry_that_is_not_zero_is_seen_once_and_holes_are_passed() {
        let table = 1 << 20..(1 << 20) + (1 << 40);
        let file = MemoryFile::with_len(1 << 41);
        let set = [0_u64, 1, 511, 512, 70_000, 200_000, (1 << 37) - 1];
        for index in set {
            file.write_all_at(&(index + 1).to_le_bytes(), table.start + index * 8).unwrap();
        }
        file.write_all_at(&[1; 8], table.start - 8).unwrap();
        file.write_all_at(&[1; 8], table.end).unwrap();
        let mut seen = Vec::new();
        scan(&file, table, |index, entry| {
            assert_eq!(entry.0, index + 1);
            seen.push(index);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, set);
    }
}
