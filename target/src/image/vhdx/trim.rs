//! Where the content of a file ends.
//!
//! After a crash the file may be longer than what its table speaks of: blocks whose entries were lost lie there, full of
//! payload. An open that has replayed the log cuts that off. Every other open leaves it and puts new blocks behind it: what
//! a file grows by is zero.

use std::io;
use std::ops::ControlFlow;

use super::MIB;
use super::bat_scan::scan;
use super::container::{Container, Reserved};
use super::mib_map::Map;
use crate::image::BlockFile;
use crate::limits::{MAX_VHDX_BAT_SCAN, MAX_VHDX_FILE_LEN};

/// What the search for fresh space needs to know of a [`Container`].
#[derive(Clone, Debug)]
pub(super) struct Extent {
    bat: std::ops::Range<u64>,
    shape: super::bat::Shape,
    /// End of the last part that is no block.
    parts_end: u64,
    /// Length of the file.
    len: u64,
}

impl Extent {
    /// The extent of `container`, whose file is `len` bytes long now.
    pub(super) fn of(container: &Container, len: u64) -> Self {
        Self { bat: container.bat(), shape: container.shape, parts_end: container.reserved.end(), len }
    }

    /// The end of the last thing in `file` that something refers to. A block may end past the end of the file.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn end_of_content(&self, file: &dyn BlockFile) -> io::Result<u64> {
        let mut end = self.parts_end;
        scan(file, self.bat.clone(), |index, entry| {
            // What points past the end of the file is damage, and no claim.
            if let Some(offset) = entry.claim().filter(|offset| *offset < self.len) {
                let length = if self.shape.block_of(index).is_some() { self.shape.block_size() } else { MIB };
                end = end.max(offset.saturating_add(length));
            }
            ControlFlow::Continue(())
        })?;
        Ok(end)
    }

    /// Places of `block_size` bytes to which nothing in `file`, of `len` bytes, refers, the first `most` of them; none when the table
    /// is too long to read as a whole. The table in `file` is the newest there is.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn free_places(
        &self,
        file: &dyn BlockFile,
        reserved: &Reserved,
        len: u64,
        most: usize,
    ) -> io::Result<Vec<u64>> {
        if self.bat.end - self.bat.start > MAX_VHDX_BAT_SCAN || len > MAX_VHDX_FILE_LEN {
            return Ok(Vec::new());
        }
        let (block, mut map) = (self.shape.block_size(), Map::new(len / MIB * MIB));
        reserved.iter().for_each(|range| {
            map.take(range);
        });
        scan(file, self.bat.clone(), |index, entry| {
            if let Some(offset) = entry.claim() {
                let length = if self.shape.block_of(index).is_some() { block } else { MIB };
                map.take(&(offset..offset.saturating_add(length)));
            }
            ControlFlow::Continue(())
        })?;
        let places = |run: std::ops::Range<u64>| {
            (0..(run.end - run.start) / block).map(move |n| run.start + n * block)
        };
        Ok(map.free_runs().flat_map(places).take(most).collect())
    }

    /// An offset from which on nothing is, nor may be: no block reaches there, and the file ends before.
    ///
    /// # Errors
    /// What the host reports.
    pub(super) fn fresh_space(&self, file: &dyn BlockFile) -> io::Result<u64> {
        let file_end = self.len.next_multiple_of(MIB);
        if self.bat.end - self.bat.start <= MAX_VHDX_BAT_SCAN {
            return Ok(file_end.max(self.end_of_content(file)?));
        }
        // A block that begins before the end of the file may end up to this much after it.
        Ok(file_end + (self.shape.block_size() - MIB))
    }
}
