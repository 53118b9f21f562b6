//! Drives a disk through a script over a [`CrashFile`], then looks at every file that a power cut could have left.
//!
//! Required of each: the check finds no error (leaks are allowed), the image opens, every sector holds what it held at the
//! last answered flush or something written to *this* sector since, a block that is written for the first time afterwards
//! does not bring old bytes to light, and the image is sound again after it was closed.

use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;

use lunkeep_target::image::{Access, BlockFile, BlockStatus, Disk, Environment, Format, Lineage, MemoryFile};

use crate::crash_file::{CrashFile, CrashImage, Syncs};
use crate::random::Random;
use crate::test_environment::TestEnvironment;

/// One thing that is done to the disk. Positions and lengths are in logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes bytes that tell their block and that no other step writes.
    Write {
        /// First block.
        at: u64,
        /// Blocks.
        count: u64,
    },
    /// [`Disk::write_zeroes`].
    Zero {
        /// First block.
        at: u64,
        /// Blocks.
        count: u64,
        /// The argument of the same name.
        may_deallocate: bool,
    },
    /// [`Disk::flush`].
    Flush,
    /// [`Disk::close`] and open again.
    Reopen,
    /// Open again without closing, as after the process was killed: the host's cache survives, the disk's memory does not.
    Kill,
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Which syncs work.
    pub syncs: Syncs,
    /// Images for each stretch between two syncs.
    pub per_stretch: usize,
    /// Seed of what is chosen at random.
    pub seed: u64,
}

/// A random script for a disk of `blocks` logical blocks with allocation units of `unit` blocks, which ends in a write
/// that is not flushed.
#[must_use]
pub fn random_script(blocks: u64, unit: u64, steps: usize, random: &mut Random) -> Vec<Step> {
    let mut script = Vec::with_capacity(steps);
    for _ in 0..steps {
        let at = random.below(blocks);
        let count = 1 + random.below((unit * 2).min(blocks - at));
        let whole = at / unit * unit;
        script.push(match random.below(10) {
            0..=4 => Step::Write { at, count },
            5 => Step::Zero { at, count, may_deallocate: random.one_in(2) },
            6 => Step::Zero { at, count, may_deallocate: true },
            7 => Step::Zero { at: whole, count: unit.min(blocks - whole), may_deallocate: true },
            8 => match random.below(2) {
                0 => Step::Reopen,
                _ => Step::Kill,
            },
            _ => Step::Flush,
        });
    }
    script.push(Step::Write { at: random.below(blocks), count: 1 });
    script
}

/// Runs `script` on the image in `image` and searches the power cuts. Answers how many were looked at.
///
/// # Errors
/// What was violated, and how to get there.
pub fn search(format: Format, image: &MemoryFile, script: &[Step], how: Search) -> Result<usize, String> {
    search_in(format, &Lineage::none(), image, script, how)
}

/// As [`search`] for an image with parents.
///
/// # Errors
/// As [`search`].
pub fn search_in(
    format: Format,
    lineage: &Lineage,
    image: &MemoryFile,
    script: &[Step],
    how: Search,
) -> Result<usize, String> {
    search_with(format, lineage, image, script, how, Eyes::Open)
}

/// As [`search_in`], but the disk is not read before it is written, neither in the script nor after a crash: a read brings tables
/// and bitmaps into memory, and what is wrong with them may show only without.
///
/// # Errors
/// As [`search`].
pub fn search_blind(
    format: Format,
    lineage: &Lineage,
    image: &MemoryFile,
    script: &[Step],
    how: Search,
) -> Result<usize, String> {
    search_with(format, lineage, image, script, how, Eyes::Shut)
}

/// Whether a disk is read before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eyes {
    Open,
    Shut,
}

fn search_with(
    format: Format,
    lineage: &Lineage,
    image: &MemoryFile,
    script: &[Step],
    how: Search,
    eyes: Eyes,
) -> Result<usize, String> {
    let file = Arc::new(CrashFile::new(image, how.syncs));
    let record = run(format, lineage, &file, script, eyes)?;
    let mut random = Random::new(how.seed);
    let flow = file.crash_images(how.per_stretch, &mut random, |image| {
        match record.verify(format, lineage, &image, eyes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(format!(
                "{e}\n  after {} changes, {}\n  seed {}, script {script:?}",
                image.after, image.story, how.seed
            )),
        }
    });
    match flow {
        ControlFlow::Continue(count) => Ok(count),
        ControlFlow::Break(violation) => Err(violation),
    }
}

/// What the script did, as far as a power cut has to respect it.
struct Record {
    block: usize,
    /// For each answered flush: changes asked for by then, and the content of the disk.
    flushed: Vec<(usize, Vec<u8>)>,
    /// For each block that a step may have changed: changes asked for before the step, the block, what it may hold.
    written: Vec<(usize, u64, Vec<u8>)>,
}

/// What a copy of `file` reads as.
fn content_apart(format: Format, lineage: &Lineage, file: MemoryFile) -> Result<Vec<u8>, String> {
    let env = TestEnvironment::shared();
    let disk = format
        .open_in(Arc::new(file), Access::ReadOnly, &env, lineage)
        .map_err(|e| format!("cannot open a copy: {e}"))?;
    content(&*disk)
}

fn run(
    format: Format,
    lineage: &Lineage,
    file: &Arc<CrashFile>,
    script: &[Step],
    eyes: Eyes,
) -> Result<Record, String> {
    let env = TestEnvironment::shared();
    let open = || {
        format
            .open_in(Arc::clone(file) as Arc<dyn BlockFile>, Access::ReadWrite, &env, lineage)
            .map_err(|e| format!("cannot open the image of the script: {e}"))
    };
    let before = file.now();
    let mut disk = open()?;
    let block = disk.geometry().logical_block as usize;
    let mut model = match eyes {
        Eyes::Open => content(&*disk)?,
        Eyes::Shut => content_apart(format, lineage, before)?,
    };
    let mut record = Record { block, flushed: vec![(0, model.clone())], written: Vec::new() };
    for (generation, step) in script.iter().enumerate() {
        let before = file.changes();
        let mut may_hold = |block_number: u64, bytes: &[u8]| {
            record.written.push((before, block_number, bytes.to_vec()));
        };
        let bytes = |at: u64, count: u64| at * block as u64..(at + count) * block as u64;
        let failed = |e| format!("step {generation}, {step:?}: {e}");
        match *step {
            Step::Write { at, count } => {
                let payload: Vec<u8> =
                    (at..at + count).flat_map(|b| stamp(b, generation as u64, block)).collect();
                for (number, piece) in (at..).zip(payload.chunks(block)) {
                    may_hold(number, piece);
                }
                let (left, right) = payload.split_at(payload.len() / 2 / block * block);
                disk.write_at(&[IoSlice::new(left), IoSlice::new(right)], at * block as u64)
                    .map_err(failed)?;
                splice(&mut model, at * block as u64, &payload);
            }
            Step::Zero { at, count, may_deallocate } => {
                (at..at + count).for_each(|number| may_hold(number, &vec![0; block]));
                let range = bytes(at, count);
                disk.write_zeroes(range.start, range.end - range.start, may_deallocate).map_err(failed)?;
                splice(&mut model, range.start, &vec![0; usize::try_from(count).unwrap_or(0) * block]);
            }
            Step::Flush => {
                disk.flush().map_err(failed)?;
                record.flushed.push((file.changes(), model.clone()));
            }
            Step::Reopen => {
                disk.close().map_err(failed)?;
                record.flushed.push((file.changes(), model.clone()));
                disk = open()?;
            }
            Step::Kill => {
                drop(disk);
                let left = file.now();
                disk = open()?;
                model = match eyes {
                    Eyes::Open => content(&*disk)?,
                    Eyes::Shut => content_apart(format, lineage, left)?,
                };
                let after = file.changes();
                record.allowed(after, &model).map_err(|e| format!("step {generation}, {step:?}: {e}"))?;
            }
        }
        if eyes == Eyes::Shut {
            continue;
        }
        let now = content(&*disk)?;
        if let Some(wrong) = differs(&now, &model, block) {
            return Err(format!("step {generation}, {step:?}: block {wrong} reads wrong without any crash"));
        }
    }
    if eyes == Eyes::Shut {
        let now = content(&*disk)?;
        if let Some(wrong) = differs(&now, &model, block) {
            return Err(format!("block {wrong} reads wrong at the end without any crash"));
        }
    }
    Ok(record)
}

impl Record {
    fn verify(
        &self,
        format: Format,
        lineage: &Lineage,
        image: &CrashImage,
        eyes: Eyes,
    ) -> Result<(), String> {
        let env = TestEnvironment::shared();
        if eyes == Eyes::Shut {
            return self.verify_blind(format, lineage, image);
        }
        let file: Arc<dyn BlockFile> = Arc::new(image.file.clone());
        sound(format, &file, &env, "the file after the crash")?;
        let open = |access| {
            format
                .open_in(Arc::clone(&file), access, &env, lineage)
                .map_err(|e| format!("cannot open for {access:?}: {e}"))
        };
        let seen = content(&*open(Access::ReadOnly)?)?;
        self.allowed(image.after, &seen).map_err(|e| format!("read-only: {e}"))?;
        let disk = open(Access::ReadWrite)?;
        if content(&*disk)? != seen {
            return Err("a read-only and a writable open show different content".to_owned());
        }
        let expected = fill_first_blocks(&*disk, seen, self.block)?;
        if let Some(wrong) = differs(&content(&*disk)?, &expected, self.block) {
            return Err(format!("a first write to another block of its unit changed block {wrong}"));
        }
        disk.close().map_err(|e| format!("cannot close: {e}"))?;
        sound(format, &file, &env, "the file after it was opened and closed")?;
        let again = content(&*open(Access::ReadWrite)?)?;
        differs(&again, &expected, self.block)
            .map_or(Ok(()), |wrong| Err(format!("block {wrong} changed by closing and opening")))
    }

    /// The first thing that happens to the image is that it is opened for writing and written.
    fn verify_blind(&self, format: Format, lineage: &Lineage, image: &CrashImage) -> Result<(), String> {
        let env = TestEnvironment::shared();
        let mut expected = content_apart(format, lineage, image.file.clone())?;
        self.allowed(image.after, &expected).map_err(|e| format!("read-only: {e}"))?;
        let file: Arc<dyn BlockFile> = Arc::new(image.file.clone());
        let disk = format
            .open_in(Arc::clone(&file), Access::ReadWrite, &env, lineage)
            .map_err(|e| format!("cannot open for writing: {e}"))?;
        let geometry = disk.geometry();
        // From the end: what lies behind is written first.
        let unit = u64::from(geometry.allocation_unit);
        for at in (0..geometry.size.div_ceil(unit)).rev().map(|number| number * unit) {
            let bytes = stamp(at / self.block as u64, u64::MAX, self.block);
            disk.write_at(&[IoSlice::new(&bytes)], at)
                .map_err(|e| format!("cannot write after the crash: {e}"))?;
            splice(&mut expected, at, &bytes);
        }
        disk.close().map_err(|e| format!("cannot close: {e}"))?;
        sound(format, &file, &env, "the file after it was written and closed")?;
        let again = format.open_in(file, Access::ReadOnly, &env, lineage).map_err(|e| e.to_string())?;
        differs(&content(&*again)?, &expected, self.block)
            .map_or(Ok(()), |wrong| Err(format!("block {wrong} changed by writing others")))
    }

    /// Whether each block holds what it held at the last flush answered before the crash, or what was written to it since.
    fn allowed(&self, after: usize, seen: &[u8]) -> Result<(), String> {
        let flushed = self.flushed.iter().rev().find(|(at, _)| *at <= after);
        let Some((since, base)) = flushed else {
            return Err("the script has no state from before it".to_owned());
        };
        if seen.len() != base.len() {
            return Err(format!("the disk has {} bytes instead of {}", seen.len(), base.len()));
        }
        for (number, now) in (0u64..).zip(seen.chunks(self.block)) {
            let old = piece_of(base, number, self.block);
            let new = self
                .written
                .iter()
                .filter(|(at, block, _)| *block == number && (*since..=after).contains(at));
            if now != old && !new.into_iter().any(|(_, _, bytes)| bytes == now) {
                return Err(format!(
                    "block {number} holds {}, at the last answered flush it held {}",
                    describe(now),
                    describe(old)
                ));
            }
        }
        Ok(())
    }
}

fn sound(
    format: Format,
    file: &Arc<dyn BlockFile>,
    env: &Arc<dyn Environment>,
    what: &str,
) -> Result<(), String> {
    let report = format.check(file, false, env).map_err(|e| format!("cannot check {what}: {e}"))?;
    if report.is_sound() { Ok(()) } else { Err(format!("check of {what} found {:?}", report.findings)) }
}

/// Writes the first block of every unit that has no space yet, where old bytes would come to light. With a parent the status
/// does not tell that, so every unit is written.
fn fill_first_blocks(disk: &dyn Disk, mut content: Vec<u8>, block: usize) -> Result<Vec<u8>, String> {
    let geometry = disk.geometry();
    let unit = u64::from(geometry.allocation_unit);
    let mut at = 0;
    while at < geometry.size {
        let (status, _) = disk.block_status(at, geometry.size - at).map_err(|e| e.to_string())?;
        if status == BlockStatus::Deallocated || disk.chain_depth() > 1 {
            let bytes = stamp(at / block as u64, u64::MAX, block);
            disk.write_at(&[IoSlice::new(&bytes)], at)
                .map_err(|e| format!("cannot write after the crash: {e}"))?;
            splice(&mut content, at, &bytes);
        }
        at += unit;
    }
    Ok(content)
}

/// All bytes of the disk.
///
/// # Errors
/// What the disk says.
pub fn content(disk: &dyn Disk) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; usize::try_from(disk.geometry().size).map_err(|e| e.to_string())?];
    disk.read_at(&mut bytes, 0).map_err(|e| format!("cannot read: {e}"))?;
    Ok(bytes)
}

/// Bytes for `block` that no other block and no other `generation` has.
#[must_use]
pub fn stamp(block: u64, generation: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(b"blk=");
        bytes.extend_from_slice(&block.to_be_bytes());
        bytes.extend_from_slice(b"gen=");
        bytes.extend_from_slice(&generation.to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn describe(bytes: &[u8]) -> String {
    if bytes.iter().all(|b| *b == 0) {
        return "zeros".to_owned();
    }
    let number = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
    match (bytes.starts_with(b"blk="), number(4), number(16)) {
        (true, Some(block), Some(generation)) => format!("the bytes of block {block}, step {generation}"),
        _ => "bytes that no step wrote".to_owned(),
    }
}

fn piece_of(content: &[u8], number: u64, block: usize) -> &[u8] {
    let start = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(block);
    content.get(start..start.saturating_add(block)).unwrap_or_default()
}

fn splice(content: &mut [u8], offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    if let Some(place) = content.get_mut(start..start.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

fn differs(a: &[u8], b: &[u8], block: usize) -> Option<usize> {
    a.chunks(block).zip(b.chunks(block)).position(|(a, b)| a != b)
}
