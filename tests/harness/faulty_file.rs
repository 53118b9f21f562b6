//! A file in memory that counts syncs and fails when a test wants it to.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lunkeep_target::image::{BlockFile, MemoryFile};

/// What is done to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading a range.
    Read(Range<u64>),
    /// Writing a range.
    Write(Range<u64>),
    /// Changing the length to this.
    SetLen(u64),
    /// Syncing.
    Sync,
    /// Zeroing or punching a range.
    Zero(Range<u64>),
}

type Rule = Box<dyn Fn(&Operation) -> Option<io::ErrorKind> + Send + Sync>;

/// A file that asks a rule before each operation whether it fails.
pub struct FaultyFile {
    file: MemoryFile,
    rule: Mutex<Rule>,
    syncs: AtomicU64,
}

impl std::fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyFile").finish_non_exhaustive()
    }
}

impl FaultyFile {
    /// A file with this content where nothing fails yet.
    pub fn new(file: MemoryFile) -> Self {
        Self { file, rule: Mutex::new(Box::new(|_| None)), syncs: AtomicU64::new(0) }
    }

    /// From now on `rule` says what fails, and how.
    pub fn fail(&self, rule: impl Fn(&Operation) -> Option<io::ErrorKind> + Send + Sync + 'static) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.fail(|_| None);
    }

    /// Syncs since the last call.
    pub fn take_syncs(&self) -> u64 {
        self.syncs.swap(0, Ordering::Relaxed)
    }

    /// The content now.
    pub fn content(&self) -> MemoryFile {
        self.file.clone()
    }

    fn ask(&self, operation: &Operation) -> io::Result<()> {
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        rule(operation).map_or(Ok(()), |kind| Err(kind.into()))
    }
}

impl BlockFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.ask(&Operation::Read(offset..offset + buf.len() as u64))?;
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        self.ask(&Operation::Write(offset..offset + len as u64))?;
        self.file.write_all_vectored_at(bufs, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ask(&Operation::SetLen(len))?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.ask(&Operation::Sync)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        self.ask(&Operation::Zero(range.clone()))?;
        self.file.zero_range(range)
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        self.ask(&Operation::Zero(range.clone()))?;
        self.file.punch_hole(range)
    }

    fn reserve(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.file.next_data(offset)
    }
}
