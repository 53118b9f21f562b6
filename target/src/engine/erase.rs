//! Erases a whole medium (SANITIZE, FORMAT UNIT). Called on a thread that may block for as long as that takes.

use std::io::IoSlice;
use std::sync::{Arc, Weak};

use super::media::{MediaError, check_served};
use super::range_lock::Use;
use super::server::Shared;
use super::unit::Unit;
use crate::device::{Completion, Erase, LogicalUnit, NexusId, OverwritePattern, Progress, TaskId};
use crate::image::{BlockStatus, Disk, DiskError};

/// Bytes between two looks at whether to give up.
const CHUNK: u64 = 4 << 20;

/// Who is told how it went.
struct Asker {
    shared: Weak<Shared>,
    nexus: NexusId,
}

impl Asker {
    /// Its session may be gone.
    fn complete(&self, answer: Option<(TaskId, Completion)>) {
        let session = self.shared.upgrade().and_then(|shared| shared.sessions.of_nexus(self.nexus));
        if let (Some(session), Some((task, completion))) = (session, answer) {
            session.complete(task, completion);
        }
    }
}

/// Starts an erasure; the command is answered when it has begun, or when it has ended.
pub(super) fn start(shared: &Weak<Shared>, nexus: NexusId, unit: &Arc<Unit>, erase: Erase) {
    let (asker, unit) = (Asker { shared: shared.clone(), nexus }, unit.clone());
    let tasks = shared.upgrade().map(|shared| shared.tasks.clone());
    let work = move || {
        let result = run(&asker, &unit, &erase);
        if let Err(error) = &result {
            tracing::error!(%error, nexus = asker.nexus.0, "erasing a medium failed");
        }
        let done = |unit: &mut LogicalUnit| unit.erase_done(result.map_err(|error| error.failure()));
        unit.with(&asker.shared, done, |answer| asker.complete(answer));
    };
    // Shutdown waits for what the tracker knows.
    match tasks {
        Some(tasks) => drop(tasks.spawn_blocking(work)),
        None => drop(tokio::task::spawn_blocking(work)),
    }
}

fn run(asker: &Asker, unit: &Arc<Unit>, erase: &Erase) -> Result<(), MediaError> {
    unit.parameters.save(&erase.before)?;
    unit.with(&asker.shared, LogicalUnit::erase_begun, |answer| asker.complete(answer));
    let disk = &*unit.disk;
    // What was on its way to the medium lands before it is erased, not after.
    let held = unit.ranges.hold(0..disk.geometry().size, Use::Alone);
    match &erase.pattern {
        None => discard(unit, &erase.progress)?,
        Some(pattern) => overwrite(unit, pattern, &erase.progress)?,
    }
    drop(held);
    unit.parameters.save(&erase.after)?;
    Ok(())
}

/// Zeros over everything that has a place in the image, and only then gives the places up: what a place held must not be left in
/// it.
fn discard(unit: &Unit, progress: &Progress) -> Result<(), MediaError> {
    let disk = &*unit.disk;
    let size = disk.geometry().size;
    let passes: &[bool] = if disk.geometry().thin { &[false, true] } else { &[false] };
    for (pass, &give_up) in (0..).zip(passes) {
        let mut at = 0;
        while at < size {
            check(unit, progress)?;
            // Zeroed ranges that keep their space may look like holes, so what is given up is not looked for.
            let (status, len) =
                if give_up { (BlockStatus::Mapped, size - at) } else { disk.block_status(at, size - at)? };
            at += if status == BlockStatus::Mapped { zero(disk, at, len, give_up)? } else { len };
            progress.set(size.saturating_mul(pass) + at, size.saturating_mul(passes.len() as u64));
        }
        disk.flush()?;
    }
    Ok(())
}

/// Zeros at most a chunk, and says how much. Chunks end where the image's units of allocation may, so that a unit can be given up as
/// a whole.
fn zero(disk: &dyn Disk, at: u64, len: u64, give_up: bool) -> Result<u64, DiskError> {
    let unit = u64::from(disk.geometry().allocation_unit).max(CHUNK);
    let len = len.min((at / unit + 1) * unit - at);
    disk.write_zeroes(at, len, give_up)?;
    Ok(len)
}

/// Every pass is on stable storage before the next one begins.
fn overwrite(unit: &Unit, pattern: &OverwritePattern, progress: &Progress) -> Result<(), MediaError> {
    let disk = &*unit.disk;
    let size = disk.geometry().size;
    let total = size.saturating_mul(pattern.passes.into());
    for pass in 0..pattern.passes {
        let complement = pattern.invert && pass % 2 == 1;
        let block: Vec<u8> =
            pattern.block.iter().map(|byte| if complement { !byte } else { *byte }).collect();
        let chunk = block.repeat(usize::try_from(CHUNK).unwrap_or(0) / block.len().max(1));
        let mut at = 0;
        while at < size {
            check(unit, progress)?;
            let len = usize::try_from(size - at).unwrap_or(usize::MAX).min(chunk.len());
            disk.write_at(&[IoSlice::new(&chunk[..len])], at)?;
            at += len as u64;
            progress.set(size.saturating_mul(pass.into()) + at, total);
        }
        disk.flush()?;
    }
    Ok(())
}

fn check(unit: &Unit, progress: &Progress) -> Result<(), MediaError> {
    if progress.is_stopped() { Err(MediaError::Stopped) } else { check_served(unit) }
}
