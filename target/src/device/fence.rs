//! The gate that commands pass, and the fence that closes it: how a change of reservations becomes true.
//!
//! A command that may take access away goes through these steps, and is answered only after the last:
//!
//! 1. the gate closes to the union of the old and the new rules;
//! 2. PREEMPT AND ABORT aborts every command of the preempted nexuses;
//! 3. every operation on the medium that the new rules would not let through is waited for, those of aborted commands and of
//!    nexuses that are gone included;
//! 4. the record is made durable, when it is to survive a loss of power;
//! 5. the new rules become the rules, and the unit attentions are established.
//!
//! Steps 3 and 4 are the engine's ([`super::Step::Fence`]). When either fails the old rules are in force again and the command ends
//! with INTERNAL TARGET FAILURE. A command enters the task set in the same step in which it passes the gate, so one that passed
//! before is seen in step 3, and one that comes later meets the closed gate.
//!
//! One fence runs at a time; commands that would begin another wait for it in the order of their arrival. PERSISTENT RESERVE IN
//! never waits: it tells the old record until step 5.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::persistent::{Key, OutAction, TransportId};
use lunkeep_common::scsi::{Asc, Sense, SenseKey, Status};

use super::attention::Slot;
use super::commands::{Next, Outcome};
use super::nexus::{ExportPort, Nexus};
use super::reservation::{
    Change, Parameters, PrOut, Record, Refusal, Relation, Reported, World, apply, passes, passes_reserved,
};
use super::step::{Completion, NexusId, Step, TaskId};
use super::task_set::{Aborted, Phase, Then};
use super::unit::LogicalUnit;
use crate::limits::RESERVATION_COMMANDS_WAITING_MAX;

/// What the engine must carry out before a change of reservations is true.
#[derive(Debug)]
pub struct Fence {
    /// Wait until each of these tasks has left the medium.
    pub drain: Vec<TaskId>,
    /// Tasks that PREEMPT AND ABORT ended. Those that drain must be waited for too.
    pub aborted: Aborted,
    /// After that, make this record durable.
    pub persist: Option<Record>,
    /// For the audit trail.
    pub event: ReservationEvent,
}

/// Why a fence failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceFailure {
    /// An operation on the medium took too long.
    DrainTimeout,
    /// The record could not be made durable, and it is unknown whether the old or the new one will be found.
    Persist,
}

/// A change of reservations, as an audit trail tells it.
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

/// A command that may change who has access.
#[derive(Debug)]
pub(super) enum Request {
    /// PERSISTENT RESERVE OUT.
    Out(PrOut),
    /// RESERVE of SPC-2.
    Reserve,
    /// RELEASE of SPC-2.
    Release,
}

/// The rules that commands are held to.
#[derive(Clone, Debug, Default)]
struct Gate {
    record: Arc<Record>,
    /// Who holds the RESERVE of SPC-2: a session, since it ends with that.
    reserved: Option<NexusId>,
}

/// A fence that is being carried out.
#[derive(Debug)]
struct Running {
    task: TaskId,
    nexus: NexusId,
    next: Gate,
    attentions: Vec<(Nexus, Asc)>,
    /// Who is told that its commands were cleared.
    cleared: Vec<Slot>,
    persists: bool,
}

/// Reservations of a logical unit.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    ports: Vec<ExportPort>,
    force_persist: bool,
    gate: Gate,
    running: Option<Running>,
    waiting: VecDeque<(TaskId, Request)>,
    /// A write of the record failed: which one is on the disk is not known.
    suspect: bool,
}

impl Gate {
    fn refuses(&self, id: NexusId, nexus: &Nexus, rule: ReservationRule) -> Option<Refusal> {
        if self.reserved.is_some_and(|holder| !passes_reserved(rule, holder == id)) {
            return Some(Refusal::Conflict);
        }
        let record = &*self.record;
        if record.lost {
            let needs_record = matches!(
                rule,
                ReservationRule::Read
                    | ReservationRule::Write
                    | ReservationRule::StartStop
                    | ReservationRule::Reserve
                    | ReservationRule::Release
            );
            let lost = Sense::new(SenseKey::DataProtect, Asc::PERSISTENT_RESERVATION_INFORMATION_LOST);
            return needs_record.then_some(Refusal::Sense(lost));
        }
        let reservation = record.reservation.as_ref()?;
        (!passes(rule, false, reservation.kind, record.relation(nexus))).then_some(Refusal::Conflict)
    }
}

impl Refusal {
    pub(super) fn completion(self) -> Completion {
        match self {
            Self::Conflict => Completion::conflict(),
            Self::Sense(sense) => Completion::check_condition(sense),
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Ok(Next::Done(refusal.completion()))
    }
}

impl Reservations {
    /// Why a command may not pass now; while a fence runs, neither the old nor the new rules may refuse it.
    pub(super) fn refuses(&self, id: NexusId, nexus: &Nexus, rule: ReservationRule) -> Option<Refusal> {
        let next = self.running.as_ref().map(|running| &running.next);
        self.gate.refuses(id, nexus, rule).or_else(|| {
            // What a RESERVE and a service action mean is decided when their turn comes.
            let decided_later = matches!(
                rule,
                ReservationRule::PersistentIn
                    | ReservationRule::PersistentOut
                    | ReservationRule::Reserve
                    | ReservationRule::Release
            );
            next.filter(|_| !decided_later)?.refuses(id, nexus, rule)
        })
    }

    pub(super) fn ports(&self) -> &[ExportPort] {
        &self.ports
    }

    pub(super) const fn is_fencing(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn record(&self) -> &Record {
        &self.gate.record
    }

    pub(super) fn reported(&self) -> Reported {
        Reported { persists: self.persists(&self.gate.record) }
    }

    fn persists(&self, record: &Record) -> bool {
        self.force_persist || record.activate_persist
    }

    /// A session ended: its RESERVE ends with it (SPC-2 §5.5.1).
    pub(super) fn nexus_lost(&mut self, id: NexusId) {
        if self.gate.reserved == Some(id) {
            self.gate.reserved = None;
        }
    }

    /// A reset ends a RESERVE; one that counts as power-on also what does not survive a loss of power (RFC 7143 §11.5.1).
    pub(super) fn reset(&mut self, power_on: bool) {
        self.gate.reserved = None;
        if !power_on {
            return;
        }
        if !self.persists(&self.gate.record) {
            self.gate.record = Arc::new(self.gate.record.survivor(false));
        }
        let force = self.force_persist;
        if let Some(running) = &mut self.running
            && !(force || running.next.record.activate_persist)
        {
            running.next.record = Arc::new(running.next.record.survivor(false));
            running.attentions.clear();
        }
    }
}

impl LogicalUnit {
    /// Tells it what is known of reservations. To be called before its first command.
    #[must_use]
    pub fn with_reservations(mut self, setup: ReservationSetup) -> Self {
        let ReservationSetup { ports, force_persist, record } = setup;
        let gate = Gate { record: Arc::new(record), reserved: None };
        self.reservations = Reservations { ports, force_persist, gate, ..Reservations::default() };
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

    /// The engine has carried out [`Step::Fence`](super::Step::Fence) of `task`, or could not. Gives what comes next for this task and for those that
    /// waited for it.
    pub fn fence_done(&mut self, task: TaskId, outcome: Result<(), FenceFailure>) -> Vec<Resumed> {
        let Some(running) = self.reservations.running.take_if(|running| running.task == task) else {
            return Vec::new();
        };
        let alive = self.tasks.take_medium(task).is_some_and(|(.., aborted)| !aborted);
        match outcome {
            // A RESERVE whose session or command is gone would be held by nobody. A PERSISTENT RESERVE OUT may be durable
            // already, and its nexus lives on.
            Ok(()) if alive || running.next.reserved.is_none() => {
                self.reservations.gate = running.next;
                self.reservations.suspect &= !running.persists;
                for (nexus, asc) in running.attentions {
                    self.attentions.establish_for(&(nexus.initiator, nexus.target), asc);
                }
            }
            Ok(()) | Err(FenceFailure::DrainTimeout) => {}
            Err(FenceFailure::Persist) => self.reservations.suspect = true,
        }
        self.attentions
            .establish(Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR, |slot| running.cleared.contains(&slot));
        let step = self.stamped(match outcome {
            _ if !alive => Step::Aborted,
            Ok(()) => Step::Done(Completion::good()),
            Err(_) => Step::Done(Completion::check_condition(Sense::new(
                SenseKey::HardwareError,
                Asc::INTERNAL_TARGET_FAILURE,
            ))),
        });
        let mut steps = vec![Resumed { nexus: running.nexus, task, step }];
        while self.reservations.running.is_none()
            && let Some((task, request)) = self.reservations.waiting.pop_front()
        {
            // Those that were aborted meanwhile are gone.
            if let Some((nexus, rule)) = self.tasks.take_queued(task) {
                let step = self.start(task, nexus, rule, request);
                let step = self.stamped(step);
                steps.push(Resumed { nexus, task, step });
            }
        }
        steps
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
        if self.reservations.running.is_none() {
            return self.start(task, id, rule, request);
        }
        if self.reservations.waiting.len() >= RESERVATION_COMMANDS_WAITING_MAX {
            let aborted = |(task, _): &(TaskId, Request)| self.tasks.is_queued(*task);
            self.reservations.waiting.retain(aborted);
        }
        if self.reservations.waiting.len() >= RESERVATION_COMMANDS_WAITING_MAX {
            return Step::Done(Completion::without_data(Status::Busy));
        }
        self.tasks.insert(task, id, rule, Phase::Queued);
        self.reservations.waiting.push_back((task, request));
        Step::Waiting
    }

    fn start(&mut self, task: TaskId, id: NexusId, rule: ReservationRule, request: Request) -> Step {
        let Some(nexus) = self.nexuses.get(&id).map(|attached| attached.nexus.clone()) else {
            return Step::Aborted;
        };
        let gate = &self.reservations.gate;
        if let Some(refusal) = gate.refuses(id, &nexus, rule) {
            return Step::Done(refusal.completion());
        }
        match request {
            Request::Out(out) => {
                let known: Vec<_> = if names_device(&out) {
                    self.attentions.initiators().cloned().collect()
                } else {
                    Vec::new()
                };
                let world = World { ports: &self.reservations.ports, known: &known };
                match apply(&gate.record, world, &nexus, &out) {
                    Ok(change) => self.start_change(task, id, rule, &nexus, &out, change),
                    Err(refusal) => Step::Done(refusal.completion()),
                }
            }
            Request::Reserve | Request::Release => {
                // SPC-4 §5.13.3: with registrations these do nothing, and say so only to whom it is the truth.
                if !gate.record.registrations.is_empty() {
                    let kind = gate.record.reservation.as_ref().map(|reservation| reservation.kind);
                    let good = kind.is_some_and(|kind| match gate.record.relation(&nexus) {
                        Relation::Holder => true,
                        Relation::Registrant => kind.admits_registrants(),
                        Relation::Stranger => false,
                    });
                    return Step::Done(if good { Completion::good() } else { Completion::conflict() });
                }
                if matches!(request, Request::Release) {
                    self.reservations.nexus_lost(id);
                    return Step::Done(Completion::good());
                }
                if gate.reserved == Some(id) {
                    return Step::Done(Completion::good());
                }
                self.start_reserve(task, id, rule, &nexus)
            }
        }
    }

    fn start_change(
        &mut self,
        task: TaskId,
        id: NexusId,
        rule: ReservationRule,
        nexus: &Nexus,
        out: &PrOut,
        change: Change,
    ) -> Step {
        let old = self.reservations.gate.record.clone();
        let persists = self.reservations.persists(&change.record);
        let must_persist = persists || self.reservations.persists(&old) || self.reservations.suspect;
        if change.record == *old && change.abort.is_empty() && !self.reservations.suspect {
            return Step::Done(Completion::good());
        }
        let aborted = self.abort_of(task, id, &change.abort);
        let cleared =
            if self.state.mode.task_aborted_status { Vec::new() } else { self.slots_of_others(id, &aborted) };
        let record = Arc::new(change.record);
        let event = ReservationEvent {
            action: out.action.name(),
            nexus: nexus.clone(),
            key: out.key(),
            service_action_key: out.service_action_key(),
            removed: change
                .removed
                .into_iter()
                .map(|nexus| {
                    let key = old.key_of(&nexus).unwrap_or_default();
                    (nexus, key)
                })
                .collect(),
            aborted: aborted.all().count(),
            record: record.clone(),
        };
        let persist = must_persist.then(|| record.survivor(persists));
        let next = Gate { record, reserved: None };
        let running = Running {
            task,
            nexus: id,
            next,
            attentions: change.attentions,
            cleared,
            persists: persist.is_some(),
        };
        self.run_fence(rule, running, aborted, persist, event)
    }

    fn start_reserve(&mut self, task: TaskId, id: NexusId, rule: ReservationRule, nexus: &Nexus) -> Step {
        let record = self.reservations.gate.record.clone();
        let event = ReservationEvent {
            action: "RESERVE of SPC-2",
            nexus: nexus.clone(),
            key: Key::default(),
            service_action_key: Key::default(),
            removed: Vec::new(),
            aborted: 0,
            record: record.clone(),
        };
        let next = Gate { record, reserved: Some(id) };
        let running =
            Running { task, nexus: id, next, attentions: Vec::new(), cleared: Vec::new(), persists: false };
        self.run_fence(rule, running, Aborted::default(), None, event)
    }

    fn run_fence(
        &mut self,
        rule: ReservationRule,
        running: Running,
        aborted: Aborted,
        persist: Option<Record>,
        event: ReservationEvent,
    ) -> Step {
        let (task, id) = (running.task, running.nexus);
        let drain = self.shut_out(&running.next, task);
        self.reservations.running = Some(running);
        // As if on the medium: whoever aborts it must wait, because it may change who has access until it is over.
        let phase = Phase::Medium { changes_medium: true, then: Then::Complete, aborted: false };
        self.tasks.insert(task, id, rule, phase);
        Step::Fence(Box::new(Fence { drain, aborted, persist, event }))
    }

    /// Tasks that are changing the medium and that `next` would not let through. What a nexus that is gone had begun cannot be
    /// asked any more who it was, and is waited for too.
    fn shut_out(&self, next: &Gate, except: TaskId) -> Vec<TaskId> {
        let stays = |id: NexusId, rule: ReservationRule| {
            let attached = self.nexuses.get(&id);
            attached.is_some_and(|attached| next.refuses(id, &attached.nexus, rule).is_none())
        };
        let changing = self.tasks.changing().into_iter();
        changing
            .filter(|&(task, id, rule)| task != except && !stays(id, rule))
            .map(|(task, ..)| task)
            .collect()
    }

    /// Aborts every command of these nexuses but `except`.
    fn abort_of(&mut self, except: TaskId, by: NexusId, nexuses: &[Nexus]) -> Aborted {
        if nexuses.is_empty() {
            return Aborted::default();
        }
        let nexuses: HashSet<&Nexus> = nexuses.iter().collect();
        let preempted = self.nexuses.iter().filter(|(_, attached)| nexuses.contains(&*attached.nexus));
        let ids: HashSet<NexusId> = preempted.map(|(id, _)| *id).collect();
        let status = self.status_for_others(by);
        self.tasks.abort(|task, owner| task != except && ids.contains(&owner), status)
    }
}

/// Whether a TransportID without an ISID is among those of the command.
fn names_device(out: &PrOut) -> bool {
    let Parameters::Basic(list) = &out.parameters else { return false };
    out.action == OutAction::Register
        && list.initiator_ports.iter().flatten().any(|id| matches!(id, TransportId::Device(_)))
}
