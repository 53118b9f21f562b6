//! A file in memory that holds up a read or a write until it is told to go on.

use std::sync::Condvar;
use std::time::Duration;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
}

#[derive(Debug, Default)]
struct State {
    held: Option<(Kind, Range<u64>)>,
    waiting: usize,
}

#[derive(Debug)]
pub(super) struct GateFile {
    inner: Arc<MemoryFile>,
    state: Mutex<State>,
    changed: Condvar,
}

impl GateFile {
    pub(super) fn new(inner: &Arc<MemoryFile>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), state: Mutex::default(), changed: Condvar::new() })
    }

    pub(super) fn open(self: &Arc<Self>) -> Arc<dyn Disk> {
        super::super::open(
            Arc::clone(self) as Arc<dyn BlockFile>,
            Access::ReadWrite,
            &env(),
            &crate::image::Lineage::none(),
        )
        .unwrap()
    }

    /// From now on what touches `range` waits.
    pub(super) fn hold(&self, kind: Kind, range: Range<u64>) {
        self.state.lock().unwrap().held = Some((kind, range));
    }

    /// Returns when something waits.
    pub(super) fn until_held(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.waiting == 0).unwrap());
    }

    pub(super) fn release(&self) {
        self.state.lock().unwrap().held = None;
        self.changed.notify_all();
    }

    fn pass(&self, kind: Kind, range: &Range<u64>) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let held = |state: &mut State| {
            state.held.as_ref().is_some_and(|(k, r)| *k == kind && r.start < range.end && range.start < r.end)
        };
        if !held(&mut state) {
            state.waiting -= 1;
            return;
        }
        let mut state = self.changed.wait_while(state, held).unwrap();
        state.waiting -= 1;
    }
}

/// Gives another thread time to do what it must not be able to do. When it is too slow to try, a mistake is missed; a right
/// program never fails by it.
pub(super) fn let_it_try() {
    std::thread::sleep(Duration::from_millis(40));
}

impl BlockFile for GateFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.pass(Kind::Read, &(offset..offset + buf.len() as u64));
        self.inner.read_exact_at(buf, offset)
    }
    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len = bufs.iter().map(|buf| buf.len() as u64).sum::<u64>();
        self.pass(Kind::Write, &(offset..offset + len));
        self.inner.write_all_vectored_at(bufs, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
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
