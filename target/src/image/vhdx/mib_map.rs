//! Which MiBs of a file are taken: everything in a VHDX file lies at whole ones.

use std::ops::Range;

use super::MIB;

/// One bit for each MiB of a file.
pub(super) struct Map {
    words: Vec<u64>,
    mibs: u64,
}

impl Map {
    /// Of a file of `len` bytes, of which nothing is taken.
    pub(super) fn new(len: u64) -> Self {
        let mibs = len.div_ceil(MIB);
        Self { words: vec![0; usize::try_from(mibs.div_ceil(64)).unwrap_or_default()], mibs }
    }

    /// Where the file ends, in whole MiBs.
    pub(super) fn end(&self) -> u64 {
        self.mibs * MIB
    }

    /// Takes what of `range` lies within the file. Answers whether all of that was free.
    pub(super) fn take(&mut self, range: &Range<u64>) -> bool {
        let mut free = true;
        for mib in range.start / MIB..range.end.div_ceil(MIB).min(self.mibs) {
            if let Some(word) = usize::try_from(mib / 64).ok().and_then(|n| self.words.get_mut(n)) {
                let bit = 1 << (mib % 64);
                free &= *word & bit == 0;
                *word |= bit;
            }
        }
        free
    }

    /// Each range of which nothing is taken, in bytes; neighbours are one range.
    pub(super) fn free_runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(at, false)?;
            at = self.next(start, true).unwrap_or(self.mibs);
            Some(start * MIB..at * MIB)
        })
    }

    /// The first MiB from `from` on that is taken, or that is not.
    fn next(&self, from: u64, taken: bool) -> Option<u64> {
        let mut mib = from;
        while mib < self.mibs {
            let word = usize::try_from(mib / 64).ok().and_then(|n| self.words.get(n)).copied()?;
            let wanted = if taken { word } else { !word } >> (mib % 64);
            if wanted != 0 {
                return Some(mib + u64::from(wanted.trailing_zeros())).filter(|mib| *mib < self.mibs);
            }
            mib = (mib / 64 + 1) * 64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_runs_lie_between_what_is_taken() {
        for mibs in [1, 63, 64, 65, 200] {
            let mut map = Map::new(mibs * MIB - 5);
            assert_eq!(map.free_runs().next(), Some(0..mibs * MIB));
            assert_eq!(map.free_runs().count(), 1, "{mibs}");
            assert!(map.take(&(0..MIB)));
            assert!(!map.take(&(0..MIB)));
            assert_eq!(map.free_runs().count(), usize::from(mibs > 1));
        }
        let mut map = Map::new(130 * MIB);
        for mib in [0, 1, 62, 65, 127, 129] {
            map.take(&(mib * MIB + 1..mib * MIB + 2));
        }
        let runs: Vec<_> = map.free_runs().map(|run| (run.start / MIB, run.end / MIB)).collect();
        assert_eq!(runs, [(2, 62), (63, 65), (66, 127), (128, 129)]);
        map.take(&(100 * MIB..1000 * MIB));
        assert_eq!(map.free_runs().last(), Some(66 * MIB..100 * MIB));
    }
}
