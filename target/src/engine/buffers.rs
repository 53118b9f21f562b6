//! Buffers for reads, used again: memory that the allocator gives back to the system costs a page fault for each page, more than the
//! copy into it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::limits::BUFFERS_KEPT_MAX;

/// Lengths from here on are worth keeping; below, the allocator keeps its memory itself.
const KEPT_FROM: usize = 64 << 10;

/// Length of the buffers that are kept. A new one takes memory only as far as it is filled, so reads under way take what a session's
/// buffer space counts, and beside that there are only the few that are kept.
const KEPT_LEN: usize = 1 << 20;

/// Buffers that nobody uses.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

/// A buffer in use. It holds whatever the last use left in it until it is filled.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` bytes.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        if !(KEPT_FROM..=KEPT_LEN).contains(&len) {
            return Buffer { bytes: vec![0; len], len, home: None };
        }
        let kept = self.free().pop();
        Buffer { bytes: kept.unwrap_or_else(|| vec![0; KEPT_LEN]), len, home: Some(self.clone()) }
    }
}

impl Buffer {
    /// All of it, to be filled.
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.split_at_mut(self.len).0
    }

    /// The filled buffer, which comes back when the last copy of this is dropped.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.split_at(self.len).0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        let mut free = home.free();
        if free.len() < BUFFERS_KEPT_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_once_its_bytes_are_dropped() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take(128 << 10);
        first.as_mut().fill(7);
        let place = first.as_ref().as_ptr();
        let bytes = first.freeze();
        assert_eq!((bytes.len(), bytes.iter().all(|&byte| byte == 7)), (128 << 10, true));
        let copy = bytes.clone();
        drop(bytes);
        assert_ne!(buffers.take(128 << 10).as_ref().as_ptr(), place, "a copy is still there");
        buffers.free().clear();
        drop(copy);
        let again = buffers.take(200 << 10);
        assert_eq!((again.as_ref().as_ptr(), again.as_ref().len()), (place, 200 << 10));
    }

    #[test]
    fn small_and_very_large_buffers_are_not_kept_and_no_more_than_the_limit() {
        let buffers = Arc::new(Buffers::default());
        drop((buffers.take(0), buffers.take(KEPT_FROM - 1), buffers.take(KEPT_LEN + 1)));
        assert_eq!(buffers.free().len(), 0);
        let many: Vec<_> = (0..=BUFFERS_KEPT_MAX).map(|_| buffers.take(KEPT_FROM)).collect();
        drop(many);
        assert_eq!(buffers.free().len(), BUFFERS_KEPT_MAX);
    }
}
