//! A file that remembers every change, and can say what a power cut at any moment may have left of it.
//!
//! Killing a process proves nothing about syncs: the page cache survives. Here everything since the last completed
//! [`BlockFile::sync_data`] may be there, be missing, or be torn between two sectors, each change for itself.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lunkeep_target::image::{BlockFile, MemoryFile};

use crate::random::Random;

/// Sectors are written whole or not at all, even by a failing disk.
const SECTOR: usize = 512;

/// Which syncs do what they promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// All of them.
    Honest,
    /// None: the control that shows that a suite notices a missing sync.
    None,
    /// All but those whose number, counted from zero, leaves `remainder` when divided by `divisor`.
    AllBut {
        /// What the number is divided by; not zero.
        divisor: u64,
        /// What must be left.
        remainder: u64,
    },
}

impl Syncs {
    fn works(self, number: u64) -> bool {
        match self {
            Self::Honest => true,
            Self::None => false,
            Self::AllBut { divisor, remainder } => number % divisor.max(1) != remainder,
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Zero(Range<u64>),
    SetLen(u64),
    Sync,
}

/// A file in memory that records.
#[derive(Debug)]
pub struct CrashFile {
    syncs: Syncs,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    before: MemoryFile,
    now: MemoryFile,
    changes: Vec<Change>,
    asked_to_sync: u64,
}

/// What a power cut left, and when it happened.
#[derive(Debug)]
pub struct CrashImage {
    /// The file as the next start finds it.
    pub file: MemoryFile,
    /// How many changes had been asked for when the power went.
    pub after: usize,
    /// Which of them are there, for the message of a failing test.
    pub story: String,
}

impl CrashFile {
    /// Starts recording on a file whose content is durable.
    #[must_use]
    pub fn new(content: &MemoryFile, syncs: Syncs) -> Self {
        let state =
            State { before: content.clone(), now: content.clone(), changes: Vec::new(), asked_to_sync: 0 };
        Self { syncs, state: Mutex::new(state) }
    }

    /// How many changes were asked for so far. A moment between two changes, to compare with [`CrashImage::after`].
    #[must_use]
    pub fn changes(&self) -> usize {
        self.lock().changes.len()
    }

    /// The file as it is now, apart from this one.
    #[must_use]
    pub fn now(&self) -> MemoryFile {
        self.lock().now.clone()
    }

    /// How many syncs were asked for so far, honest or not.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().asked_to_sync
    }

    /// Shows `visit` what power cuts may leave: for every stretch between two syncs each prefix whole, with each single
    /// change missing, each single change alone, torn writes, and random choices. `per_stretch` bounds the images of a
    /// stretch; what is beyond is chosen at random. Answers how many there were.
    pub fn crash_images<B>(
        &self,
        per_stretch: usize,
        random: &mut Random,
        mut visit: impl FnMut(CrashImage) -> ControlFlow<B>,
    ) -> ControlFlow<B, usize> {
        let (durable, changes) = {
            let state = self.lock();
            (state.before.clone(), state.changes.clone())
        };
        let mut count = 0;
        let mut start = 0;
        while start <= changes.len() {
            let rest = changes.get(start..).unwrap_or_default();
            let len = rest.iter().position(|c| matches!(c, Change::Sync)).unwrap_or(rest.len());
            let stretch = rest.get(..len).unwrap_or_default();
            for choice in choices(stretch, per_stretch, random) {
                let file = durable.clone();
                for (change, kept) in stretch.iter().zip(&choice.kept) {
                    apply(&file, change, kept);
                }
                count += 1;
                let story = format!("of the changes {start}..{}: {:?}", start + choice.until, choice.kept);
                visit(CrashImage { file, after: start + choice.until, story })?;
            }
            for change in stretch {
                apply(&durable, change, &Kept::Whole);
            }
            start += len + 1;
        }
        ControlFlow::Continue(count)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) {
        let mut state = self.lock();
        apply(&state.now, &change, &Kept::Whole);
        state.changes.push(change);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kept {
    Whole,
    Nothing,
    /// Of the sectors the change touches, those whose bit is set (beyond 64 the bits repeat).
    Sectors(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Choice {
    /// The power goes after this many changes of the stretch.
    until: usize,
    /// One for each change before that.
    kept: Vec<Kept>,
}

fn choices(stretch: &[Change], most: usize, random: &mut Random) -> Vec<Choice> {
    let len = stretch.len();
    let mut systematic = Vec::new();
    for until in 0..=len {
        systematic.push(Choice { until, kept: vec![Kept::Whole; until] });
        for missing in 0..until {
            let mut kept = vec![Kept::Whole; until];
            kept[missing] = Kept::Nothing;
            systematic.push(Choice { until, kept });
        }
        if let Some(last) = until.checked_sub(1) {
            for torn in [1, 2, 0x5555_5555_5555_5555, u64::MAX << 1] {
                let mut kept = vec![Kept::Whole; until];
                kept[last] = Kept::Sectors(torn);
                systematic.push(Choice { until, kept });
            }
        }
    }
    for alone in 0..len {
        let mut kept = vec![Kept::Nothing; len];
        kept[alone] = Kept::Whole;
        systematic.push(Choice { until: len, kept });
    }
    systematic.push(Choice { until: len, kept: vec![Kept::Nothing; len] });
    let mut chosen: HashSet<Choice> = HashSet::new();
    let mut picked = Vec::new();
    let mut take = |choice: Choice| {
        if chosen.insert(choice.clone()) {
            picked.push(choice);
        }
    };
    let all = systematic.len() <= most;
    for choice in systematic.iter().rev().filter(|_| all) {
        take(choice.clone());
    }
    if !all {
        // The whole, the nothing and a fair choice of the rest.
        take(Choice { until: len, kept: vec![Kept::Whole; len] });
        take(Choice { until: len, kept: vec![Kept::Nothing; len] });
        for _ in 0..most / 2 {
            let index = random.below(systematic.len() as u64);
            if let Some(choice) = usize::try_from(index).ok().and_then(|i| systematic.get(i)) {
                take(choice.clone());
            }
        }
    }
    let samples = if len > 1 { (most / 2).min(len * 4) } else { 0 };
    for _ in 0..samples {
        let until = usize::try_from(random.below(len as u64 + 1)).unwrap_or(len);
        let kept = (0..until)
            .map(|_| match random.below(4) {
                0 => Kept::Nothing,
                1 => Kept::Sectors(random.next_u64()),
                _ => Kept::Whole,
            })
            .collect();
        take(Choice { until, kept });
    }
    picked
}

/// Memory does not fail in these calls, and what it holds was accepted once already.
fn apply(file: &MemoryFile, change: &Change, kept: &Kept) {
    let done = match (change, kept) {
        (_, Kept::Nothing) | (Change::Sync, _) => Ok(()),
        (Change::SetLen(len), _) => file.set_len(*len),
        (Change::Write { offset, bytes }, kept) => {
            pieces(*offset..offset + bytes.len() as u64, kept).into_iter().try_for_each(|piece| {
                let at = |position: u64| usize::try_from(position - offset).unwrap_or(bytes.len());
                file.write_all_at(bytes.get(at(piece.start)..at(piece.end)).unwrap_or_default(), piece.start)
            })
        }
        (Change::Zero(range), kept) => {
            pieces(range.clone(), kept).into_iter().try_for_each(|piece| file.punch_hole(piece))
        }
    };
    debug_assert!(done.is_ok(), "memory refused {change:?}");
}

/// The parts of `range` that are kept, cut between sectors.
fn pieces(range: Range<u64>, kept: &Kept) -> Vec<Range<u64>> {
    let Kept::Sectors(bits) = kept else {
        return vec![range];
    };
    let sector = SECTOR as u64;
    let mut out = Vec::new();
    let mut at = range.start;
    let mut number = 0;
    while at < range.end {
        let end = range.end.min((at / sector + 1) * sector);
        if bits >> (number % 64) & 1 == 1 {
            out.push(at..end);
        }
        at = end;
        number += 1;
    }
    out
}

impl BlockFile for CrashFile {
    fn len(&self) -> io::Result<u64> {
        self.lock().now.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.lock().now.read_exact_at(buf, offset)
    }

    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        self.change(Change::Write { offset, bytes });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        let number = state.asked_to_sync;
        state.asked_to_sync += 1;
        if self.syncs.works(number) {
            state.changes.push(Change::Sync);
        }
        Ok(())
    }

    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        self.change(Change::Zero(range));
        Ok(())
    }

    fn punch_hole(&self, range: Range<u64>) -> io::Result<()> {
        self.change(Change::Zero(range));
        Ok(())
    }

    fn reserve(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.lock().now.next_data(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(file: &CrashFile) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let flow: ControlFlow<(), usize> = file.crash_images(1000, &mut Random::new(1), |image| {
            let mut bytes = vec![0; usize::try_from(image.file.len().unwrap()).unwrap()];
            image.file.read_exact_at(&mut bytes, 0).unwrap();
            seen.push(bytes);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        seen
    }

    #[test]
    fn what_was_synced_is_in_every_image_and_what_was_not_is_in_some() {
        let file = CrashFile::new(&MemoryFile::with_len(1024), Syncs::Honest);
        file.write_all_at(&[1; 512], 0).unwrap();
        file.sync_data().unwrap();
        let before = contents(&file).len();
        file.write_all_at(&[2; 1024], 0).unwrap();
        let later = contents(&file).split_off(before);
        assert!(later.iter().all(|b| b[0] == 1 || b[0] == 2));
        assert!(later.iter().any(|b| b[0] == 1 && b[512] == 2), "torn: only the second sector");
        assert!(later.iter().any(|b| b[0] == 2 && b[512] == 0), "torn: only the first sector");
    }

    #[test]
    fn a_sync_that_does_nothing_lets_an_earlier_write_vanish_behind_a_later_one() {
        for (syncs, vanishes) in [(Syncs::Honest, false), (Syncs::None, true)] {
            let file = CrashFile::new(&MemoryFile::with_len(1024), syncs);
            file.write_all_at(&[1; 512], 0).unwrap();
            file.sync_data().unwrap();
            file.write_all_at(&[2; 512], 512).unwrap();
            assert_eq!(contents(&file).iter().any(|b| b[0] == 0 && b[512] == 2), vanishes, "{syncs:?}");
        }
    }
}
