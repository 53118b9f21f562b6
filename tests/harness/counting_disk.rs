//! A disk that counts how often each tagged write reached it: what shows that a command was carried out once.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use lunkeep_target::image::{BlockStatus, Disk, DiskError, Geometry};

/// Bytes at the beginning of a write that tell it from every other.
pub const TAG_LEN: usize = 16;

/// The first bytes of a write.
pub type Tag = [u8; TAG_LEN];

/// Passes everything on, and notes the tag of each write.
#[derive(Debug)]
pub struct CountingDisk {
    inner: Arc<dyn Disk>,
    writes: Mutex<HashMap<Tag, u32>>,
}

impl CountingDisk {
    /// Counts what reaches `inner`.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, writes: Mutex::default() }
    }

    /// How often the write with this tag came.
    pub fn times(&self, tag: &Tag) -> u32 {
        self.writes.lock().unwrap().get(tag).copied().unwrap_or_default()
    }

    /// Writes that came more than once.
    pub fn repeated(&self) -> Vec<Tag> {
        self.writes.lock().unwrap().iter().filter(|(_, times)| **times > 1).map(|(tag, _)| *tag).collect()
    }
}

impl Disk for CountingDisk {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        let mut tag: Tag = [0; TAG_LEN];
        let bytes = bufs.iter().flat_map(|buf| buf.iter().copied());
        tag.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        *self.writes.lock().unwrap().entry(tag).or_default() += 1;
        self.inner.write_at(bufs, offset)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        self.inner.write_zeroes(offset, len, may_deallocate)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.inner.flush()
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        self.inner.block_status(offset, len)
    }

    fn close(&self) -> Result<(), DiskError> {
        self.inner.close()
    }
}
