//! Carries out changes of reservations: waits for the medium, makes the record durable, writes the audit trail, lets the commands that
//! waited go on.
//!
//! Nothing here goes through the pool of threads that serves the data: that may be full of operations on a medium that has
//! stalled, and it is then that a cluster wants its disk. Each record is written by a thread of its own; a logical unit writes one at a
//! time.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use lunkeep_common::scsi::Status;
use tokio::sync::oneshot;

use super::config::ReservationConfig;
use super::server::Shared;
use super::task_management::drop_task;
use super::unit::{FenceWaits, Unit};
use crate::device::reservation::Record;
use crate::device::{
    AbortedTask, AccessState, Fence, FenceFailure, Followed, LogicalUnit, NexusId, Recorded,
    ReservationEvent, Resumed, Step, TaskId,
};
use crate::store::{Confirm, Follower, LunStateError, Notice, SwapTicket};

/// Keeps the record of one logical unit.
#[derive(Debug)]
pub(super) struct RecordKeeper {
    config: ReservationConfig,
    /// The logical unit, for people.
    place: String,
    version: std::sync::Mutex<SwapTicket>,
}

impl RecordKeeper {
    pub(super) fn new(config: ReservationConfig, place: String) -> Self {
        Self { config, place, version: std::sync::Mutex::default() }
    }

    /// What was kept. A record that is damaged is one that is lost: the unit goes on without its medium until an initiator
    /// replaces it (SPC-5 §5.14.5.4).
    pub(super) fn load(&self) -> Result<Record, LunStateError> {
        if self.access() == AccessState::Unavailable {
            return Err(LunStateError::NotOwner("it has not joined, or was fenced".into()));
        }
        match self.config.store.load() {
            Ok((record, ticket)) => {
                *self.ticket() = ticket;
                Ok(record)
            }
            Err(LunStateError::Damaged { error, ticket }) => {
                tracing::error!(lun = %self.place, %error, "the reservations of a LUN are lost: it refuses access to its medium until REPLACE LOST RESERVATION");
                *self.ticket() = ticket;
                Ok(Record::lost())
            }
            Err(error) => Err(error),
        }
    }

    fn ticket(&self) -> std::sync::MutexGuard<'_, SwapTicket> {
        self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether this process may serve the unit now.
    pub(super) fn access(&self) -> AccessState {
        self.config.ownership.access()
    }

    /// From now on others' changes come to `follower`.
    pub(super) fn join(&self, follower: Arc<dyn Follower>) {
        self.config.store.join(follower);
    }

    /// A record of another gateway is in force.
    fn followed(&self, ticket: SwapTicket) {
        *self.ticket() = ticket;
    }

    /// Blocks until the record is durable, and in force at every gateway that can still reach the medium.
    fn persist(&self, record: &Record, change: Followed) -> Result<(), FenceFailure> {
        let failed = |error: LunStateError| {
            tracing::error!(lun = %self.place, %error, "a change of reservations was refused: its record could not be kept");
            match error {
                LunStateError::Replaced { .. } => FenceFailure::Replaced,
                LunStateError::NotOwner(_) => FenceFailure::NotMember,
                _ => FenceFailure::Persist,
            }
        };
        let store = &self.config.store;
        let ticket = {
            let mut ticket = self.ticket();
            *ticket = store.compare_and_swap(*ticket, record).map_err(failed)?;
            *ticket
        };
        // From here on the record is written: whatever fails now, it is not known to be as it was.
        let unknown = |error: LunStateError| {
            tracing::error!(lun = %self.place, %error, "a change of reservations is written, but not known to be in force everywhere");
            FenceFailure::Persist
        };
        for member in store.publish(&Notice { ticket, change }).map_err(unknown)? {
            tracing::warn!(lun = %self.place, ?member, "a gateway did not answer and is fenced");
            store.fence(member).map_err(unknown)?;
        }
        Ok(())
    }

    fn write_down(&self, event: &ReservationEvent, outcome: Result<(), FenceFailure>) {
        tell(&self.place, event, outcome);
        if let Some(audit) = &self.config.audit
            && let Err(error) = audit.append(SystemTime::now(), event, outcome)
        {
            tracing::error!(lun = %self.place, %error, "a change of reservations is missing from the audit trail");
        }
    }
}

/// Begins to wait for those whom a command shuts out. What had to be noted when it was decided is in `waits`.
pub(super) fn start_fence(
    shared: &Arc<Shared>,
    unit: &Arc<Unit>,
    task: TaskId,
    fence: Fence,
    waits: FenceWaits,
) {
    let Fence { aborted, event, .. } = fence;
    aborted.gone.iter().chain(&aborted.reading).for_each(|task| drop_task(shared, task));
    let deadline = unit.fence_deadline(task, shared.settings.drain_timeout);
    let (shared, unit) = (shared.clone(), unit.clone());
    shared.clone().tasks.spawn(async move {
        let outcome = drain(&shared, waits, deadline).await;
        if let Err(failure) = outcome {
            write_failure(&unit, event.clone(), failure).await;
        }
        // The medium may have become quiet in the moment in which the command was aborted.
        let mut over = false;
        let drained = |unit: &mut LogicalUnit| {
            over = !unit.waits_with(task);
            unit.fence_drained(task, outcome)
        };
        let go_on = |(resumed, waits)| resume(&shared, &unit, resumed, waits);
        unit.steps(&Arc::downgrade(&shared), drained, go_on);
        if over && outcome.is_ok() {
            write_failure(&unit, event, FenceFailure::GivenUp).await;
        }
    });
}

async fn write_failure(unit: &Arc<Unit>, event: ReservationEvent, failure: FenceFailure) {
    let unit = unit.clone();
    // What goes wrong with the trail does not change the outcome.
    let _ = on_own_thread(move || unit.keeper.write_down(&event, Err(failure))).await;
}

/// Makes a change durable, on a thread of its own.
pub(super) fn record(shared: &Arc<Shared>, unit: &Arc<Unit>, task: TaskId, change: Recorded) {
    let Recorded { persist, aborted, event, attentions, abort } = change;
    aborted.all().for_each(|task| drop_task(shared, task));
    let (shared, unit) = (shared.clone(), unit.clone());
    let change = Followed { event, attentions, abort };
    shared.clone().tasks.spawn(async move {
        let outcome = keep(&unit, persist, change).await;
        unit.steps(
            &Arc::downgrade(&shared),
            |unit| unit.recorded(task, outcome),
            |(resumed, waits)| {
                resume(&shared, &unit, resumed, waits);
            },
        );
    });
}

async fn keep(unit: &Arc<Unit>, persist: Option<Record>, change: Followed) -> Result<(), FenceFailure> {
    if persist.is_none() && unit.keeper.config.audit.is_none() {
        tell(&unit.keeper.place, &change.event, Ok(()));
        return Ok(());
    }
    let unit = unit.clone();
    let done = on_own_thread(move || {
        let event = change.event.clone();
        let outcome = persist.map_or(Ok(()), |record| unit.keeper.persist(&record, change));
        unit.keeper.write_down(&event, outcome);
        outcome
    });
    // Without an answer nothing is known of the record.
    done.await.unwrap_or(Err(FenceFailure::Persist))
}

/// The pool of threads may be full of operations on a medium that has stalled. `None` when the work was not done.
async fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = oneshot::channel();
    // Nobody waits any more when the server was dropped.
    let work = move || drop(sender.send(work()));
    if let Err(error) = std::thread::Builder::new().name("reservations".into()).spawn(work) {
        tracing::error!(%error, "no thread for a change of reservations");
        return None;
    }
    done.await.ok()
}

/// Waits until nothing that is shut out can touch the medium any more.
async fn drain(shared: &Arc<Shared>, waits: FenceWaits, deadline: Instant) -> Result<(), FenceFailure> {
    let (limit, over) = (tokio::time::sleep_until(deadline.into()), waits.over);
    let over = async move {
        match over {
            Some(over) => drop(over.await),
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit, over);
    let mut failure = None;
    for left in waits.shut_out {
        if failure.is_none() {
            failure = tokio::select! {
                biased;
                _ = left => None,
                () = &mut over => Some(FenceFailure::GivenUp),
                () = &mut limit => Some(FenceFailure::DrainTimeout),
            };
        }
    }
    for (task, mut left) in waits.aborted {
        if failure.is_none() {
            failure = tokio::select! {
                biased;
                _ = &mut left => None,
                () = &mut over => Some(FenceFailure::GivenUp),
                () = &mut limit => Some(FenceFailure::DrainTimeout),
            };
            if failure.is_none() {
                drop_task(shared, &task);
                continue;
            }
        }
        drop_later(shared, task, left);
    }
    if failure == Some(FenceFailure::DrainTimeout) {
        tracing::error!(
            limit = ?shared.settings.drain_timeout,
            "operations on the medium of nexuses that were to be shut out took too long"
        );
    }
    failure.map_or(Ok(()), Err)
}

/// An aborted task is over when it has left the medium, whatever became of the fence.
fn drop_later(shared: &Arc<Shared>, task: AbortedTask, left: oneshot::Receiver<()>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let _ = left.await;
        drop_task(&shared, &task);
    });
}

/// A unit as the other gateways see it.
#[derive(Debug)]
pub(super) struct UnitFollower {
    pub(super) shared: Weak<Shared>,
    pub(super) unit: Weak<Unit>,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Follower for UnitFollower {
    fn follow(&self, Notice { ticket, change }: Notice, confirm: Confirm) {
        let (Some(shared), Some(unit)) = (self.shared.upgrade(), self.unit.upgrade()) else { return };
        let _context = self.runtime.enter();
        let task = TaskId(shared.numbers.next().0);
        let confirm = {
            let unit = unit.clone();
            Box::new(move || {
                unit.keeper.followed(ticket);
                confirm();
            })
        };
        unit.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(task, confirm);
        unit.step(
            &self.shared,
            task,
            |unit| unit.follow(task, change),
            |step, waits| resume(&shared, &unit, Resumed { nexus: NexusId(0), task, step }, waits),
        );
    }
}

/// What comes out of a change for a task, whose session may be another than the one that the change was for.
pub(super) fn resume(
    shared: &Arc<Shared>,
    unit: &Arc<Unit>,
    Resumed { nexus, task, step }: Resumed,
    waits: FenceWaits,
) {
    match step {
        Step::Fence(fence) => return start_fence(shared, unit, task, *fence, waits),
        Step::Record(change) => return record(shared, unit, task, *change),
        Step::Waiting => return,
        Step::Done(completion) => {
            let followed = unit.followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
            if let Some(confirm) = followed.filter(|_| completion.status == Status::Good) {
                confirm();
            } else if let Some(session) = shared.sessions.of_nexus(nexus) {
                session.complete(task, completion);
            }
        }
        // A change is not followed by these.
        Step::Aborted | Step::DataOut(_) | Step::Media(_) | Step::Erase(_) | Step::Copy(_) => {}
    }
    // Whoever aborted it waits for it as for an operation on the medium.
    unit.left_medium(task);
}

/// One event for each change, for people and for programs.
fn tell(lun: &str, event: &ReservationEvent, outcome: Result<(), FenceFailure>) {
    let removed: Vec<String> =
        event.removed.iter().map(|(nexus, key)| format!("{} {key}", nexus.initiator)).collect();
    tracing::info!(
        target: "lunkeep::reservations",
        lun,
        action = event.action,
        initiator = %event.nexus.initiator,
        port = %event.nexus.target,
        key = %event.key,
        service_action_key = %event.service_action_key,
        ?removed,
        aborted = event.aborted,
        generation = event.record.generation,
        reservation = ?event.record.reservation.as_ref().map(|reservation| reservation.kind),
        failure = ?outcome.err(),
        "reservations"
    );
}
