//! Takes a list of buffers apart at block boundaries, without copying.

use std::io::IoSlice;

/// Reads through a list of buffers.
#[derive(Debug)]
pub struct IoCursor<'a> {
    bufs: &'a [IoSlice<'a>],
    /// Bytes of the first buffer that were taken already.
    taken: usize,
}

impl<'a> IoCursor<'a> {
    /// At the start of `bufs`.
    #[must_use]
    pub fn new(bufs: &'a [IoSlice<'a>]) -> Self {
        Self { bufs, taken: 0 }
    }

    /// Bytes that are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let all: usize = self.bufs.iter().map(|b| b.len()).sum();
        u64::try_from(all.saturating_sub(self.taken)).unwrap_or(u64::MAX)
    }

    /// The next `len` bytes, or all that are left.
    pub fn take(&mut self, len: u64) -> Vec<IoSlice<'a>> {
        let mut wanted = usize::try_from(len).unwrap_or(usize::MAX);
        let mut out = Vec::new();
        while wanted > 0
            && let Some((first, rest)) = self.bufs.split_first()
        {
            let (taken, left) = (self.taken, first.len().saturating_sub(self.taken));
            let step = left.min(wanted);
            let bytes: &'a [u8] = first;
            if let Some(part) = bytes.get(taken..taken + step).filter(|p| !p.is_empty()) {
                out.push(IoSlice::new(part));
            }
            wanted -= step;
            if step == left {
                (self.bufs, self.taken) = (rest, 0);
            } else {
                self.taken += step;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_put_together_are_the_whole() {
        let bytes: Vec<u8> = (0..=99).collect();
        let bufs: Vec<IoSlice<'_>> =
            [0..10, 10..10, 10..64, 64..100].map(|r| IoSlice::new(&bytes[r])).to_vec();
        for step in [1, 7, 10, 64, 100, 1000] {
            let mut cursor = IoCursor::new(&bufs);
            let mut out = Vec::new();
            while cursor.remaining() > 0 {
                let piece = cursor.take(step);
                let len: usize = piece.iter().map(|b| b.len()).sum();
                assert_eq!(len as u64, step.min(100 - out.len() as u64));
                piece.iter().for_each(|b| out.extend_from_slice(b));
            }
            assert_eq!(out, bytes, "{step}");
            assert!(cursor.take(1).is_empty());
        }
    }
}
