//! How an operation of a session gets to the medium: in place, in the logical unit's lane, or on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::lane::Look;
use super::media::{self, MediaError};
use super::session_task::SessionHandle;
use super::unit::Unit;
use crate::device::{MediaOp, MediaReply, TaskId};
use crate::limits::LANE_WRITE_MAX;

/// Reads up to this length are tried in place before a thread is asked: a page-cache hit costs less than the switch.
const INLINE_READ_MAX: u32 = 256 << 10;

/// Between two looks at a lane whose writes may have met a medium that stalls.
const LANE_PATIENCE: Duration = Duration::from_millis(2);

/// Buffer space is counted in units of this many bytes.
pub(super) const BUFFER_UNIT: u32 = 4 << 10;

impl SessionHandle {
    /// Runs an operation: in place when the page cache has the answer, otherwise on a thread that may block, as soon as the
    /// session has buffer space for it.
    pub(super) fn start_media(self: &Arc<Self>, unit: &Arc<Unit>, task: TaskId, op: MediaOp) {
        let units = self.units_for(&op);
        let permit = self.buffers.clone().try_acquire_many_owned(units).ok();
        if let (Some(_), &MediaOp::Read { offset, len }) = (&permit, &op)
            && len <= INLINE_READ_MAX
            && let Some(data) = media::read_cached(unit, offset, len)
        {
            return self.finish_media(unit, task, Ok(MediaReply::Data(data)), permit);
        }
        let (session, unit) = (self.clone(), unit.clone());
        if is_short_write(&op) {
            return queue(&unit, Job { session, task, op });
        }
        match (permit, unit.threads.clone().try_acquire_owned().ok()) {
            (Some(space), Some(thread)) => session.run_media(unit, task, op, Permits { space, thread }),
            (space, _) => {
                tokio::spawn(async move {
                    // The semaphores are never closed.
                    let space = match space {
                        Some(space) => Ok(space),
                        None => session.buffers.clone().acquire_many_owned(units).await,
                    };
                    if let (Ok(space), Ok(thread)) = (space, unit.threads.clone().acquire_owned().await) {
                        session.run_media(unit, task, op, Permits { space, thread });
                    }
                });
            }
        }
    }

    fn run_media(self: Arc<Self>, unit: Arc<Unit>, task: TaskId, op: MediaOp, permits: Permits) {
        tokio::task::spawn_blocking(move || {
            let result = media::run(&unit, op);
            drop(permits.thread);
            self.finish_media(&unit, task, result, Some(permits.space));
        });
    }

    fn finish_media(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        task: TaskId,
        result: Result<MediaReply, MediaError>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let result = result.map(|reply| held(reply, permit)).map_err(|error| {
            tracing::error!(%error, initiator = %self.initiator, "an operation on the medium failed");
            error.failure()
        });
        unit.step(
            &self.shared,
            task,
            |unit| unit.media_done(task, result),
            |step, waits| {
                unit.left_medium(task);
                self.take_step(unit, task, step, waits);
            },
        );
    }

    /// Buffer units that an operation needs; never more than the session has, so that it can always run alone.
    fn units_for(&self, op: &MediaOp) -> u32 {
        match op {
            MediaOp::Read { len, .. } => len.div_ceil(BUFFER_UNIT).clamp(1, self.buffer_units),
            // What changes the medium waits for no space: its data is counted by the session, and a fence waits for it, which an
            // initiator that takes none of its reads must not hold up.
            _ => 0,
        }
    }
}

/// A short write that waits in a logical unit's lane.
#[derive(Debug)]
pub(super) struct Job {
    session: Arc<SessionHandle>,
    task: TaskId,
    op: MediaOp,
}

/// Whether an operation is over as soon as the page cache has its data. What waits for stable storage must not hold up others.
fn is_short_write(op: &MediaOp) -> bool {
    let MediaOp::Write { data, force_unit_access: false, .. } = op else { return false };
    data.iter().map(Bytes::len).sum::<usize>() <= LANE_WRITE_MAX
}

fn queue(unit: &Arc<Unit>, job: Job) {
    let start = unit.lane.push(job);
    if start.runner {
        start_runner(unit.clone());
    }
    if start.watch {
        let unit = unit.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LANE_PATIENCE).await;
                match unit.lane.look() {
                    Look::Over => return,
                    Look::Moving => {}
                    Look::Stalled { runners } => (0..runners).for_each(|_| start_runner(unit.clone())),
                }
            }
        });
    }
}

/// Starts a runner of the unit's lane as soon as the unit has a thread for it.
fn start_runner(unit: Arc<Unit>) {
    let run = |unit: Arc<Unit>, thread: OwnedSemaphorePermit| {
        tokio::task::spawn_blocking(move || {
            while let Some(Job { session, task, op }) = unit.lane.take() {
                let result = media::run(&unit, op);
                session.finish_media(&unit, task, result, None);
            }
            drop(thread);
        });
    };
    match unit.threads.clone().try_acquire_owned() {
        Ok(thread) => run(unit, thread),
        Err(_) => drop(tokio::spawn(async move {
            // The semaphore is never closed.
            if let Ok(thread) = unit.threads.clone().acquire_owned().await {
                run(unit, thread);
            }
        })),
    }
}

/// What an operation needs to run: space for its data, and a thread of its logical unit.
struct Permits {
    space: OwnedSemaphorePermit,
    thread: OwnedSemaphorePermit,
}

/// Ties the data of a read to its buffer permit: the space is free again when the last byte has left.
fn held(reply: MediaReply, permit: Option<OwnedSemaphorePermit>) -> MediaReply {
    struct Held(Bytes, #[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    match reply {
        MediaReply::Data(data) => MediaReply::Data(Bytes::from_owner(Held(data, permit))),
        other => other,
    }
}
