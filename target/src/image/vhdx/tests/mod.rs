//! Tests of the format as a whole, over files in memory.

mod behaviour;
mod concurrency;
mod failures;
mod gate_file;
mod huge;
mod logs;
mod raw_log;

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use super::MIB;
use crate::image::{
    Access, BlockFile, CheckReport, CreateOptions, Disk, Environment, Lineage, MemoryFile, OpenError,
    Severity,
};

/// Identifiers that no other environment of this run gives, and a clock that stands still.
#[derive(Debug, Default)]
struct TestEnvironment;

static GUIDS: AtomicU64 = AtomicU64::new(1);

impl Environment for TestEnvironment {
    fn random_guid(&self) -> io::Result<Uuid> {
        let count = GUIDS.fetch_add(1, Ordering::Relaxed);
        Ok(Uuid::from_u64_pair(count.wrapping_mul(0x9e37_79b9_7f4a_7c15), count))
    }

    fn unix_time(&self) -> u64 {
        1_800_000_000
    }
}

fn env() -> Arc<dyn Environment> {
    Arc::new(TestEnvironment)
}

fn options(size: u64, block: u64) -> CreateOptions {
    CreateOptions { block_size: Some(block), ..CreateOptions::dynamic(size) }
}

fn created(options: &CreateOptions) -> Arc<MemoryFile> {
    let file = Arc::new(MemoryFile::default());
    super::create(&*file, options, &TestEnvironment).unwrap();
    file
}

fn open(file: &Arc<MemoryFile>) -> Arc<dyn Disk> {
    try_open(file, Access::ReadWrite).unwrap()
}

fn try_open(file: &Arc<MemoryFile>, access: Access) -> Result<Arc<dyn Disk>, OpenError> {
    super::open(Arc::clone(file) as Arc<dyn BlockFile>, access, &env(), &Lineage::none())
}

fn check(file: &Arc<MemoryFile>) -> CheckReport {
    super::check(&(Arc::clone(file) as Arc<dyn BlockFile>), false, &env()).unwrap()
}

/// The check's findings of errors and leaks.
fn complaints(file: &Arc<MemoryFile>) -> Vec<String> {
    let bad = |severity| severity != Severity::Note;
    check(file).findings.into_iter().filter(|f| bad(f.severity)).map(|f| f.message).collect()
}

fn write(disk: &dyn Disk, offset: u64, bytes: &[u8]) {
    disk.write_at(&[IoSlice::new(bytes)], offset).unwrap();
}

fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xEE; len];
    disk.read_at(&mut buf, offset).unwrap();
    buf
}

fn bytes_at(file: &dyn BlockFile, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    file.read_exact_at(&mut buf, offset).unwrap();
    buf
}

/// A copy of the file as it is: what is left when the process ends here and the host goes on.
fn killed(file: &MemoryFile) -> Arc<MemoryFile> {
    Arc::new(file.clone())
}

/// What a [`ProbeFile`] does instead of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Writes that touch the range fail.
    Write(u64, u64, io::ErrorKind),
    /// The file does not grow.
    SetLen(io::ErrorKind),
    /// Syncs fail.
    Sync,
}

/// A file in memory that counts syncs and fails when told to.
#[derive(Debug)]
struct ProbeFile {
    inner: Arc<MemoryFile>,
    syncs: AtomicU64,
    fault: Mutex<Option<Fault>>,
}

impl ProbeFile {
    fn new(inner: &Arc<MemoryFile>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), syncs: AtomicU64::new(0), fault: Mutex::new(None) })
    }

    fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Syncs since the last call.
    fn syncs(&self) -> u64 {
        self.syncs.swap(0, Ordering::SeqCst)
    }

    fn open(self: &Arc<Self>) -> Arc<dyn Disk> {
        super::open(Arc::clone(self) as Arc<dyn BlockFile>, Access::ReadWrite, &env(), &Lineage::none())
            .unwrap()
    }
}

impl BlockFile for ProbeFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset)
    }
    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        self.inner.read_cached_at(buf, offset)
    }
    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let end = offset + bufs.iter().map(|b| b.len() as u64).sum::<u64>();
        match *self.fault.lock().unwrap() {
            Some(Fault::Write(from, to, kind)) if offset < to && from < end => Err(kind.into()),
            _ => self.inner.write_all_vectored_at(bufs, offset),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        match *self.fault.lock().unwrap() {
            Some(Fault::SetLen(kind)) => Err(kind.into()),
            _ => self.inner.set_len(len),
        }
    }
    fn sync_data(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match *self.fault.lock().unwrap() {
            Some(Fault::Sync) => Err(io::Error::other("the disk is gone")),
            _ => self.inner.sync_data(),
        }
    }
    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.zero_range(range)
    }
    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.punch_hole(range)
    }
    fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.reserve(range)
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.inner.next_data(offset)
    }
}
