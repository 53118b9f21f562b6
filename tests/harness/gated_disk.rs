//! A disk whose writes, and reads if a test wants it, wait at a gate: what a slow or dying medium looks like, under a test's control.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use lunkeep_target::image::{BlockStatus, Disk, DiskError, Geometry};

/// How long a write may be waited for. Generous: it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Counts {
    open: bool,
    waiting: usize,
    passed: usize,
    reads_held: bool,
    readers: usize,
}

/// Lets everything through but writes, which wait until the gate is opened.
#[derive(Debug)]
pub struct GatedDisk {
    inner: Arc<dyn Disk>,
    counts: Mutex<Counts>,
    changed: Condvar,
    /// Reads and writes fail from now on.
    broken: AtomicBool,
    /// Writes panic.
    defective: AtomicBool,
}

impl GatedDisk {
    /// A closed gate in front of `inner`.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self {
            inner,
            counts: Mutex::default(),
            changed: Condvar::new(),
            broken: AtomicBool::new(false),
            defective: AtomicBool::new(false),
        }
    }

    /// Lets the writes that wait, and all later ones, through.
    pub fn open(&self) {
        self.counts.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    /// Stops writes again.
    pub fn close_gate(&self) {
        self.counts.lock().unwrap().open = false;
    }

    /// Stops reads.
    pub fn hold_reads(&self) {
        self.counts.lock().unwrap().reads_held = true;
    }

    /// Lets reads through again.
    pub fn release_reads(&self) {
        self.counts.lock().unwrap().reads_held = false;
        self.changed.notify_all();
    }

    /// Returns when a read waits.
    ///
    /// # Panics
    /// When none comes.
    pub fn await_read(&self) {
        let counts = self.counts.lock().unwrap();
        let come = self.changed.wait_timeout_while(counts, PATIENCE, |counts| counts.readers == 0).unwrap();
        assert!(!come.1.timed_out(), "waiting for a read: {:?}", *come.0);
    }

    /// Makes every read and write fail.
    pub fn break_medium(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Makes writes panic, or no longer.
    pub fn set_defective(&self, defective: bool) {
        self.defective.store(defective, Ordering::SeqCst);
    }

    /// Returns when `count` writes wait at the gate.
    ///
    /// # Panics
    /// When they do not come.
    pub fn await_writes(&self, count: usize) {
        let counts = self.counts.lock().unwrap();
        let enough =
            self.changed.wait_timeout_while(counts, PATIENCE, |counts| counts.waiting < count).unwrap();
        assert!(!enough.1.timed_out(), "waiting for {count} writes: {:?}", *enough.0);
    }

    /// Writes that reached the medium.
    pub fn passed(&self) -> usize {
        self.counts.lock().unwrap().passed
    }

    fn check(&self) -> Result<(), DiskError> {
        if self.broken.load(Ordering::SeqCst) {
            Err(DiskError::Read(std::io::ErrorKind::Other.into()))
        } else {
            Ok(())
        }
    }

    fn pass(&self) -> Result<(), DiskError> {
        let mut counts = self.counts.lock().unwrap();
        counts.waiting += 1;
        self.changed.notify_all();
        counts = self.changed.wait_while(counts, |counts| !counts.open).unwrap();
        counts.waiting -= 1;
        counts.passed += 1;
        drop(counts);
        assert!(!self.defective.load(Ordering::SeqCst), "a defect that a test asked for");
        if self.broken.load(Ordering::SeqCst) {
            Err(DiskError::Write(std::io::ErrorKind::Other.into()))
        } else {
            Ok(())
        }
    }
}

impl Disk for GatedDisk {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let mut counts = self.counts.lock().unwrap();
        counts.readers += 1;
        self.changed.notify_all();
        counts = self.changed.wait_while(counts, |counts| counts.reads_held).unwrap();
        counts.readers -= 1;
        drop(counts);
        self.check()?;
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        self.pass()?;
        self.inner.write_at(bufs, offset)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        self.pass()?;
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
