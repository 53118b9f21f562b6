//! The gate that commands pass, and the fence that closes it: how a change of reservations becomes true.
//!
//! A command that may take access away goes through these steps, and is answered only after the last:
//!
//! 1. it is decided by the record in force what it would change, and the gate closes to the union of the old and the new rules;
//! 2. PREEMPT AND ABORT aborts every command of the preempted nexuses;
//! 3. every operation on the medium that the new rules would not let through is waited for, those of aborted commands and of
//!    nexuses that are gone included ([`super::Step::Fence`]);
//! 4. it is decided again, by the record in force now. When that shuts out someone who has operations on the medium, it goes on with
//!    step 2;
//! 5. the record is made durable, when it is to survive a loss of power ([`super::Step::Record`]);
//! 6. the new rules become the rules, and the unit attentions are established.
//!
//! When step 3 or 5 fails the old rules are in force again and the command ends with INTERNAL TARGET FAILURE. A command enters the task
//! set in the same step in which it passes the gate, so one that passed before is seen in step 3, and one that comes later meets the
//! closed gate.
//!
//! One command at a time is in steps 1 to 4, and one in step 5; the others wait in the order of their arrival. What shuts nobody
//! out passes a command that waits in step 3 (`Reservations::overtakes`): a node that registers, or defends what it has, must not
//! wait for the writes of another. A change takes effect at step 6, so what passed it came before it; that is why it is decided twice.
//! Those whom the waiting command shuts out, and its own sender, pass nothing: nobody escapes a fence that has begun by being quick.
//! PERSISTENT RESERVE IN never waits: it tells the record in force.
//!
//! A command that is aborted before step 5 is given up, and nothing has changed.

mod gate;
mod request;

use std::collections::HashSet;
use std::sync::Arc;

use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::persistent::{Key, OutAction, TransportId};
use lunkeep_common::scsi::{Asc, Sense, SenseKey, Status};

pub(super) use gate::Reservations;
use gate::{Fencing, Gate, Recording, Waiting};
pub(super) use request::Request;
use request::{Decided, Origin};

use super::attention::Slot;
use super::nexus::{ExportPort, Nexus};
use super::reservation::{Parameters, PrOut, Record, Refusal, Relation, World, apply};
use super::step::{Completion, NexusId, Step, TaskId};
use super::task_set::{Aborted, GATEWAY, Phase, Then};
use super::unit::LogicalUnit;
use crate::limits::{FENCE_ROUNDS_OVERTAKEN_MAX, RESERVATION_COMMANDS_WAITING_MAX};

/// What must leave the medium before a change of reservations may be made.
#[derive(Debug)]
pub struct Fence {
    /// Wait until each of these tasks has left the medium.
    pub drain: Vec<TaskId>,
    /// Tasks that PREEMPT AND ABORT ended. Those that drain must be waited for too.
    pub aborted: Aborted,
    /// What it would change, for the audit trail when it fails.
    pub event: ReservationEvent,
}

/// A change of reservations that nothing stands in the way of any more.
#[derive(Debug)]
pub struct Recorded {
    /// Make this durable first.
    pub persist: Option<Record>,
    /// Tasks that PREEMPT AND ABORT ended. None of them changes the medium.
    pub aborted: Aborted,
    /// For the audit trail.
    pub event: ReservationEvent,
    /// For the other gateways: unit attentions with who must be told.
    pub attentions: Vec<(Nexus, Asc)>,
    /// For the other gateways: whose commands are aborted.
    pub abort: Vec<Nexus>,
}

/// A change that another gateway made, and that is to be in force here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The change.
    pub event: ReservationEvent,
    /// Unit attentions with who must be told.
    pub attentions: Vec<(Nexus, Asc)>,
    /// Whose commands are aborted.
    pub abort: Vec<Nexus>,
}

/// Why a change of reservations was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceFailure {
    /// An operation on the medium took too long.
    DrainTimeout,
    /// The command was aborted, or refused because of another that was decided first, while it waited for the medium.
    GivenUp,
    /// The record could not be made durable, and it is unknown whether the old or the new one will be found.
    Persist,
    /// Another gateway changed the record first. Nothing was written.
    Replaced,
    /// This gateway has no part in the unit any more. Nothing was written.
    NotMember,
}

/// A change of reservations, as an audit trail and other gateways are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationEvent {
    /// The service action, or RESERVE.
    pub action: &'static str,
    /// Who.
    pub nexus: Nexus,
    /// RESERVATION KEY.
    pub key: Key,
    /// SERVICE ACTION RESERVATION KEY.
    pub service_action_key: Key,
    /// Registrations that it ended, other than the sender's, with their keys.
    pub removed: Vec<(Nexus, Key)>,
    /// Commands of others and of its own that it aborted.
    pub aborted: usize,
    /// The record that it makes.
    pub record: Arc<Record>,
}

/// What a logical unit is told of reservations before its first command.
#[derive(Clone, Debug, Default)]
pub struct ReservationSetup {
    /// The target ports that lead to it.
    pub ports: Vec<ExportPort>,
    /// The record survives a loss of power whatever APTPL says.
    pub force_persist: bool,
    /// What survived.
    pub record: Record,
}

/// A command that goes on, or ends, because a fence is over.
#[derive(Debug)]
pub struct Resumed {
    /// Whose it is.
    pub nexus: NexusId,
    /// The task.
    pub task: TaskId,
    /// What comes next.
    pub step: Step,
}

impl LogicalUnit {
    /// Tells it what is known of reservations. To be called before its first command.
    #[must_use]
    pub fn with_reservations(mut self, setup: ReservationSetup) -> Self {
        self.reservations = Reservations::new(setup);
        self
    }

    /// Registrations and reservation as they are in force.
    #[must_use]
    pub fn reservation_record(&self) -> &Record {
        self.reservations.record()
    }

    /// Whether a power-on that this nexus causes takes no reservation away that is not its own (TARGET COLD RESET).
    #[must_use]
    pub fn power_on_is_harmless(&self, id: NexusId) -> bool {
        let record = self.reservations.record();
        let empty = record.registrations.is_empty();
        let holds = self.nexuses.get(&id).is_some_and(|attached| record.holds(&attached.nexus));
        self.reservations.persists(record) || empty || holds
    }

    /// Nothing that [`Step::Fence`] of `task` named is on the medium any more, or it took too long. Gives what comes next for this
    /// task and for those that waited for it; nothing when the task is not waited for any more.
    pub fn fence_drained(&mut self, task: TaskId, outcome: Result<(), FenceFailure>) -> Vec<Resumed> {
        let Some(fencing) = self.reservations.fencing.as_mut().filter(|fencing| fencing.origin.task == task)
        else {
            return Vec::new();
        };
        fencing.drained = true;
        match outcome {
            Ok(()) => self.go_on(Vec::new()),
            Err(failure) => {
                let steps = self.end_fencing(Step::Done(failed(failure))).into_iter().collect();
                self.go_on(steps)
            }
        }
    }

    /// Whether it is for this command that a fence waits; not any more when it was aborted, or refused because of another.
    #[must_use]
    pub fn waits_with(&self, task: TaskId) -> bool {
        self.reservations.fencing.as_ref().is_some_and(|fencing| fencing.origin.task == task)
    }

    /// The engine has carried out [`Step::Record`] of `task`, or could not. Gives what comes next for this task and for those that
    /// waited for it.
    pub fn recorded(&mut self, task: TaskId, outcome: Result<(), FenceFailure>) -> Vec<Resumed> {
        let Some(recording) = self.reservations.recording.take_if(|recording| recording.task == task) else {
            return Vec::new();
        };
        let alive = self.tasks.take_medium(task).is_some_and(|(.., aborted)| !aborted);
        match outcome {
            // A RESERVE whose session or command is gone would be held by nobody. A PERSISTENT RESERVE OUT may be durable
            // already, and its nexus lives on.
            Ok(()) if alive || recording.next.reserved.is_none() => {
                self.reservations.gate = recording.next;
                self.reservations.suspect &= !recording.persists;
                for (nexus, asc) in recording.attentions {
                    self.attentions.establish_for(&(nexus.initiator, nexus.target), asc);
                }
            }
            Err(FenceFailure::Persist) => self.reservations.suspect = true,
            Ok(()) | Err(_) => {}
        }
        self.tell_cleared_slots(&recording.cleared);
        let step = self.stamped(match outcome {
            _ if !alive => Step::Aborted,
            Ok(()) => Step::Done(Completion::good()),
            Err(failure) => Step::Done(failed(failure)),
        });
        let mut steps = vec![Resumed { nexus: recording.nexus, task, step }];
        steps.extend(self.decide_again());
        self.go_on(steps)
    }

    /// Gives up a fence whose command was aborted, and goes on with those that waited for it. To be called after every abort, reset
    /// and detachment.
    pub fn after_abort(&mut self) -> Vec<Resumed> {
        let given_up = |fencing: &Fencing| !self.tasks.is_fencing(fencing.origin.task);
        let ended = self.reservations.fencing.as_ref().is_some_and(given_up);
        let steps = if ended { self.end_fencing(Step::Aborted) } else { None };
        self.go_on(steps.into_iter().collect())
    }

    /// Another gateway made a change: it comes into force here like a command of this one, after those whom it shuts out have left the
    /// medium, and before commands that wait. The step's task is no session's.
    pub fn follow(&mut self, task: TaskId, followed: Followed) -> Step {
        let nexus = Arc::new(followed.event.nexus.clone());
        let origin = Origin { task, id: GATEWAY, nexus, rule: ReservationRule::Always };
        match self.start(Waiting { origin, request: Request::Follow(Box::new(followed)) }) {
            Ok(step) => step,
            Err(waiting) => {
                self.tasks.insert(task, GATEWAY, ReservationRule::Always, Phase::Queued);
                self.reservations.waiting.push_front(*waiting);
                Step::Waiting
            }
        }
    }

    /// Why a command of this nexus may not go on now.
    pub(super) fn refused_now(&self, id: NexusId, rule: ReservationRule) -> Option<Refusal> {
        let Some(attached) = self.nexuses.get(&id) else { return Some(Refusal::Conflict) };
        self.reservations.refuses(id, &attached.nexus, rule)
    }

    /// A command that may change who has access arrives, with all its data.
    pub(super) fn request(
        &mut self,
        task: TaskId,
        id: NexusId,
        rule: ReservationRule,
        request: Request,
    ) -> Step {
        let Some(nexus) = self.nexuses.get(&id).map(|attached| attached.nexus.clone()) else {
            return Step::Aborted;
        };
        let waiting = Waiting { origin: Origin { task, id, nexus, rule }, request };
        let behind_own = self.reservations.waiting.iter().any(|other| other.origin.id == id);
        let waiting = if behind_own {
            waiting
        } else {
            match self.start(waiting) {
                Ok(step) => return step,
                Err(waiting) => *waiting,
            }
        };
        if self.reservations.waiting.len() >= RESERVATION_COMMANDS_WAITING_MAX {
            let tasks = &self.tasks;
            self.reservations.waiting.retain(|other| tasks.is_queued(other.origin.task));
        }
        if self.reservations.waiting.len() >= RESERVATION_COMMANDS_WAITING_MAX {
            return Step::Done(Completion::without_data(Status::Busy));
        }
        self.tasks.insert(task, id, rule, Phase::Queued);
        self.reservations.waiting.push_back(waiting);
        Step::Waiting
    }

    /// Begins a command, unless it has to wait for others.
    fn start(&mut self, waiting: Waiting) -> Result<Step, Box<Waiting>> {
        // What is being written decides what this one means.
        if self.reservations.recording.is_some() {
            return Err(waiting.into());
        }
        let fencing = self.reservations.fencing.as_ref();
        let of_gateway = matches!(waiting.request, Request::Follow(_));
        if !of_gateway && fencing.is_some_and(|fencing| fencing.concerns(&waiting.origin.nexus)) {
            return Err(waiting.into());
        }
        let is_fencing = fencing.is_some();
        let decided = match self.decide(&waiting.origin, &waiting.request) {
            Ok(decided) => decided,
            Err(completion) => {
                if matches!(waiting.request, Request::Release) && completion.status == Status::Good {
                    self.reservations.nexus_lost(waiting.origin.id);
                }
                return Ok(Step::Done(completion));
            }
        };
        if is_fencing
            && !(self.reservations.overtakes(&waiting.request, &decided)
                && self.shut_out(&decided.next).is_empty())
        {
            return Err(waiting.into());
        }
        let Waiting { origin, request } = waiting;
        if is_fencing {
            return Ok(self.record(origin, decided, Aborted::default(), (0, Vec::new())));
        }
        let fencing = Fencing::new(origin, request, &self.reservations.gate.record, decided.next.clone());
        Ok(self.fence_or_record(fencing, decided))
    }

    /// Aborts and waits for what `decided` shuts out; when there is nothing to wait for, it can be recorded.
    fn fence_or_record(&mut self, mut fencing: Fencing, decided: Decided) -> Step {
        let Origin { task, id, rule, .. } = fencing.origin;
        let aborted = self.abort_of(task, id, &decided.abort);
        if !self.state.mode.task_aborted_status {
            fencing.cleared.extend(self.slots_of_others(id, &aborted));
        }
        fencing.aborted += aborted.all().count();
        let drain = self.shut_out(&decided.next);
        if drain.is_empty() && aborted.draining.is_empty() {
            let before = (fencing.aborted, fencing.cleared);
            return self.record(fencing.origin, decided, aborted, before);
        }
        fencing.rounds += 1;
        fencing.drained = false;
        let event = decided.event(&fencing.origin, fencing.aborted);
        self.tasks.insert(task, id, rule, Phase::Fence);
        self.reservations.fencing = Some(fencing);
        Step::Fence(Box::new(Fence { drain, aborted, event }))
    }

    fn record(
        &mut self,
        origin: Origin,
        decided: Decided,
        aborted: Aborted,
        (aborted_count, cleared): (usize, Vec<Slot>),
    ) -> Step {
        let event = decided.event(&origin, aborted_count);
        let Decided { next, attentions, abort, persist, .. } = decided;
        let Origin { task, id, rule, .. } = origin;
        let told = attentions.clone();
        self.reservations.recording =
            Some(Recording { task, nexus: id, next, attentions, cleared, persists: persist.is_some() });
        // As if on the medium: whoever aborts it must wait, because it may change who has access until it is over.
        let phase =
            Phase::Medium { changes_medium: true, touches: 0..0, then: Then::Complete, aborted: false };
        self.tasks.insert(task, id, rule, phase);
        Step::Record(Box::new(Recorded { persist, aborted, event, attentions: told, abort }))
    }

    /// The fence that waits, when the record has changed under it: the gate closes to what it would make of that.
    fn decide_again(&mut self) -> Option<Resumed> {
        let fencing = self.reservations.fencing.as_ref()?;
        match self.decide(&fencing.origin, &fencing.request) {
            Ok(decided) => {
                let record = self.reservations.gate.record.clone();
                if let Some(fencing) = &mut self.reservations.fencing {
                    fencing.aims_at(&record, decided.next);
                }
                None
            }
            Err(completion) => self.end_fencing(Step::Done(completion)),
        }
    }

    /// The fence that waits is over, without a change.
    fn end_fencing(&mut self, step: Step) -> Option<Resumed> {
        let fencing = self.reservations.fencing.take()?;
        let Origin { task, id: nexus, .. } = fencing.origin;
        self.tasks.end_fence(task);
        self.tell_cleared_slots(&fencing.cleared);
        let step = self.stamped(step);
        Some(Resumed { nexus, task, step })
    }

    /// Goes on with the fence, when nothing holds it up any more, and with what waits.
    fn go_on(&mut self, mut steps: Vec<Resumed>) -> Vec<Resumed> {
        if self.reservations.recording.is_none()
            && let Some(fencing) = self.reservations.fencing.take_if(|fencing| fencing.drained)
        {
            let Origin { task, id: nexus, .. } = fencing.origin;
            match self.decide(&fencing.origin, &fencing.request) {
                Ok(decided) => {
                    let mut fencing = fencing;
                    fencing.aims_at(&self.reservations.gate.record, decided.next.clone());
                    let step = self.fence_or_record(fencing, decided);
                    steps.push(Resumed { nexus, task, step });
                }
                Err(completion) => {
                    self.reservations.fencing = Some(fencing);
                    steps.extend(self.end_fencing(Step::Done(completion)));
                }
            }
        }
        let mut blocked: HashSet<NexusId> = HashSet::new();
        for waiting in std::mem::take(&mut self.reservations.waiting) {
            let Origin { task, id, .. } = waiting.origin;
            if !self.tasks.is_queued(task) {
                // It was aborted meanwhile.
                continue;
            }
            let started = if blocked.contains(&id) { Err(Box::new(waiting)) } else { self.start(waiting) };
            match started {
                Err(waiting) => {
                    blocked.insert(id);
                    self.reservations.waiting.push_back(*waiting);
                }
                Ok(step) => {
                    // What goes on has entered the task set anew.
                    if matches!(step, Step::Done(_) | Step::Aborted) {
                        self.tasks.take_queued(task);
                    }
                    let step = self.stamped(step);
                    steps.push(Resumed { nexus: id, task, step });
                }
            }
        }
        steps
    }

    fn tell_cleared_slots(&mut self, cleared: &[Slot]) {
        self.attentions.establish(Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR, |slot| cleared.contains(&slot));
    }

    /// What a command would change by the record in force, or how it ends without changing it.
    fn decide(&self, origin: &Origin, request: &Request) -> Result<Decided, Completion> {
        let Origin { id, nexus, rule, .. } = origin;
        let gate = &self.reservations.gate;
        if let Some(refusal) = gate.refuses(*id, nexus, *rule) {
            return Err(refusal.completion());
        }
        match request {
            Request::Follow(followed) => Ok(Decided::follow(followed)),
            Request::Out(out) => {
                let known: Vec<_> = if names_device(out) {
                    self.attentions.initiators().cloned().collect()
                } else {
                    Vec::new()
                };
                let world = World { ports: self.reservations.ports(), known: &known };
                let change = apply(&gate.record, world, nexus, out).map_err(Refusal::completion)?;
                self.reservations.decided(out, change).ok_or_else(Completion::good)
            }
            Request::Reserve | Request::Release => {
                // SPC-4 §5.13.3: with registrations these do nothing, and say so only to whom it is the truth.
                if !gate.record.registrations.is_empty() {
                    let kind = gate.record.reservation.as_ref().map(|reservation| reservation.kind);
                    let good = kind.is_some_and(|kind| match gate.record.relation(nexus) {
                        Relation::Holder => true,
                        Relation::Registrant => kind.admits_registrants(),
                        Relation::Stranger => false,
                    });
                    return Err(if good { Completion::good() } else { Completion::conflict() });
                }
                if matches!(request, Request::Release) || gate.reserved == Some(*id) {
                    return Err(Completion::good());
                }
                Ok(Decided::reserve(gate.record.clone(), *id))
            }
        }
    }

    /// Tasks that are changing the medium and that `next` would not let through. What a nexus that is gone had begun cannot be
    /// asked any more who it was, and is waited for too.
    fn shut_out(&self, next: &Gate) -> Vec<TaskId> {
        let stays = |id: NexusId, rule: ReservationRule| {
            let attached = self.nexuses.get(&id);
            attached.is_some_and(|attached| next.refuses(id, &attached.nexus, rule).is_none())
        };
        let changing = self.tasks.changing().into_iter();
        changing.filter(|&(_, id, rule)| !stays(id, rule)).map(|(task, ..)| task).collect()
    }

    /// Aborts every command of these nexuses but `except`.
    fn abort_of(&mut self, except: TaskId, by: NexusId, nexuses: &[Nexus]) -> Aborted {
        if nexuses.is_empty() {
            return Aborted::default();
        }
        let nexuses: HashSet<&Nexus> = nexuses.iter().collect();
        let preempted = self.nexuses.iter().filter(|(_, attached)| nexuses.contains(&*attached.nexus));
        let ids: HashSet<NexusId> = preempted.map(|(id, _)| *id).collect();
        self.end_copies_of(|id| ids.contains(&id));
        let status = self.status_for_others(by);
        self.abort(|task, owner| task != except && ids.contains(&owner), status)
    }
}

/// How a command ends whose change was not made.
const fn failed(failure: FenceFailure) -> Completion {
    match failure {
        FenceFailure::Replaced => Completion::without_data(Status::Busy),
        FenceFailure::NotMember => {
            let asc = Asc::TARGET_PORT_IN_UNAVAILABLE_STATE;
            Completion::check_condition(Sense::new(SenseKey::NotReady, asc))
        }
        FenceFailure::DrainTimeout | FenceFailure::GivenUp | FenceFailure::Persist => {
            Completion::check_condition(Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE))
        }
    }
}

/// Whether a TransportID without an ISID is among those of the command.
fn names_device(out: &PrOut) -> bool {
    let Parameters::Basic(list) = &out.parameters else { return false };
    out.action == OutAction::Register
        && list.initiator_ports.iter().flatten().any(|id| matches!(id, TransportId::Device(_)))
}
