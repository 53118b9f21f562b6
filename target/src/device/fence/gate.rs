//! The rules that commands are held to, and the changes of them that are under way.

use std::collections::VecDeque;
use std::sync::Arc;

use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::persistent::OutAction;
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::super::attention::Slot;
use super::super::commands::{Next, Outcome};
use super::super::nexus::{ExportPort, Nexus};
use super::super::reservation::{Change, PrOut, Record, Refusal, Reported, passes, passes_reserved};
use super::super::step::{Completion, NexusId, TaskId};
use super::request::{Decided, Origin, Request};
use super::{FENCE_ROUNDS_OVERTAKEN_MAX, ReservationSetup};

/// The rules that commands are held to.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    pub(super) record: Arc<Record>,
    /// Who holds the RESERVE of SPC-2: a session, since it ends with that.
    pub(super) reserved: Option<NexusId>,
}

/// A command that waits until those whom it shuts out have left the medium.
#[derive(Debug)]
pub(super) struct Fencing {
    pub(super) origin: Origin,
    pub(super) request: Request,
    /// What it would make of the record in force.
    pub(super) next: Gate,
    /// Who has a registration or a reservation to lose by it.
    losers: Vec<Nexus>,
    /// Who is told that its commands were cleared.
    pub(super) cleared: Vec<Slot>,
    /// Commands that it aborted.
    pub(super) aborted: usize,
    /// How often it began to wait.
    pub(super) rounds: u32,
    /// What it waited for has left the medium.
    pub(super) drained: bool,
}

/// A change that is being made durable.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) task: TaskId,
    pub(super) nexus: NexusId,
    pub(super) next: Gate,
    pub(super) attentions: Vec<(Nexus, Asc)>,
    /// Who is told that its commands were cleared.
    pub(super) cleared: Vec<Slot>,
    pub(super) persists: bool,
}

/// A command that waits for others.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) origin: Origin,
    pub(super) request: Request,
}

/// Reservations of a logical unit.
#[derive(Debug, Default)]
pub(in super::super) struct Reservations {
    ports: Vec<ExportPort>,
    force_persist: bool,
    pub(super) gate: Gate,
    pub(super) fencing: Option<Fencing>,
    pub(super) recording: Option<Recording>,
    /// In the order of arrival.
    pub(super) waiting: VecDeque<Waiting>,
    /// A write of the record failed: which one is on the disk is not known.
    pub(super) suspect: bool,
}

impl Gate {
    pub(super) fn refuses(&self, id: NexusId, nexus: &Nexus, rule: ReservationRule) -> Option<Refusal> {
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

impl Fencing {
    pub(super) fn new(origin: Origin, request: Request, record: &Record, next: Gate) -> Self {
        let mut fencing = Self {
            origin,
            request,
            next: Gate::default(),
            losers: Vec::new(),
            cleared: Vec::new(),
            aborted: 0,
            rounds: 0,
            drained: false,
        };
        fencing.aims_at(record, next);
        fencing
    }

    /// It would now make `next` of `record`.
    pub(super) fn aims_at(&mut self, record: &Record, next: Gate) {
        let loses = |nexus: &Nexus| {
            next.record.key_of(nexus) != record.key_of(nexus)
                || record.holds(nexus) && !next.record.holds(nexus)
        };
        self.losers = record.registrations.keys().filter(|nexus| loses(nexus)).cloned().collect();
        self.next = next;
    }

    /// Whether it is this nexus's own command, or takes something from it.
    pub(super) fn concerns(&self, nexus: &Nexus) -> bool {
        *self.origin.nexus == *nexus || self.losers.contains(nexus)
    }
}

impl Refusal {
    pub(in super::super) fn completion(self) -> Completion {
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
    pub(super) fn new(setup: ReservationSetup) -> Self {
        let ReservationSetup { ports, force_persist, record } = setup;
        let gate = Gate { record: Arc::new(record), reserved: None };
        Self { ports, force_persist, gate, ..Self::default() }
    }

    /// Why a command may not pass now; while a change is under way, neither the old nor the new rules may refuse it.
    pub(in super::super) fn refuses(
        &self,
        id: NexusId,
        nexus: &Nexus,
        rule: ReservationRule,
    ) -> Option<Refusal> {
        let refusal = self.gate.refuses(id, nexus, rule);
        // What a RESERVE and a service action mean is decided when their turn comes.
        let decided_later = matches!(
            rule,
            ReservationRule::PersistentIn
                | ReservationRule::PersistentOut
                | ReservationRule::Reserve
                | ReservationRule::Release
        );
        if refusal.is_some() || decided_later {
            return refusal;
        }
        let fencing = self.fencing.iter().map(|fencing| &fencing.next);
        let mut under_way = fencing.chain(self.recording.iter().map(|recording| &recording.next));
        under_way.find_map(|next| next.refuses(id, nexus, rule))
    }

    /// Whether these are others than before.
    pub(in super::super) fn set_ports(&mut self, ports: Vec<ExportPort>) -> bool {
        let changed = self.ports != ports;
        self.ports = ports;
        changed
    }

    pub(in super::super) fn is_reserved(&self) -> bool {
        self.gate.reserved.is_some() || self.gate.record.reservation.is_some()
    }

    pub(in super::super) fn ports(&self) -> &[ExportPort] {
        &self.ports
    }

    /// Whether a change is under way.
    pub(in super::super) const fn is_changing(&self) -> bool {
        self.fencing.is_some() || self.recording.is_some()
    }

    pub(in super::super) fn record(&self) -> &Record {
        &self.gate.record
    }

    pub(in super::super) fn reported(&self) -> Reported {
        Reported { persists: self.persists(&self.gate.record) }
    }

    pub(super) fn persists(&self, record: &Record) -> bool {
        self.force_persist || record.activate_persist
    }

    /// A session ended: its RESERVE ends with it (SPC-2 §5.5.1).
    pub(in super::super) fn nexus_lost(&mut self, id: NexusId) {
        if self.gate.reserved == Some(id) {
            self.gate.reserved = None;
        }
    }

    /// A reset ends a RESERVE; one that counts as power-on also what does not survive a loss of power (RFC 7143 §11.5.1).
    pub(in super::super) fn reset(&mut self, power_on: bool) {
        self.gate.reserved = None;
        if !power_on {
            return;
        }
        if !self.persists(&self.gate.record) {
            self.gate.record = Arc::new(self.gate.record.survivor(false));
        }
        let force = self.force_persist;
        if let Some(recording) = &mut self.recording
            && !(force || recording.next.record.activate_persist)
        {
            recording.next.record = Arc::new(recording.next.record.survivor(false));
            recording.attentions.clear();
        }
    }

    /// What a change comes to; nothing when nothing changes.
    pub(super) fn decided(&self, out: &PrOut, change: Change) -> Option<Decided> {
        let old = &self.gate.record;
        let persists = self.persists(&change.record);
        let must_persist = persists || self.persists(old) || self.suspect;
        if change.record == **old && change.abort.is_empty() && !self.suspect {
            return None;
        }
        let record = Arc::new(change.record);
        let with_key = |nexus: Nexus| {
            let key = old.key_of(&nexus).unwrap_or_default();
            (nexus, key)
        };
        Some(Decided {
            attentions: change.attentions,
            abort: change.abort,
            persist: must_persist.then(|| record.survivor(persists)),
            action: out.action.name(),
            key: out.key(),
            service_action_key: out.service_action_key(),
            removed: change.removed.into_iter().map(with_key).collect(),
            next: Gate { record, reserved: self.gate.reserved },
        })
    }

    /// Whether a change may be made before that of the fence that waits, given that it shuts nobody out: service actions that take
    /// nothing from others, and CLEAR, which takes everything from all but keeps nobody from the medium. The fence is then decided
    /// anew; after some rounds of waiting nothing passes it any more, so that it ends.
    pub(super) fn overtakes(&self, request: &Request, decided: &Decided) -> bool {
        let Some(fencing) = &self.fencing else { return true };
        let out = match request {
            Request::Out(out) => out,
            // It is in force elsewhere already.
            Request::Follow(_) => return true,
            Request::Reserve | Request::Release => return false,
        };
        let (old, new) = (&self.gate.record, &decided.next.record);
        let leaves_alone = match out.action {
            OutAction::Clear => true,
            OutAction::Register | OutAction::RegisterAndIgnoreExistingKey | OutAction::Release => {
                fencing.losers.iter().all(|nexus| {
                    old.key_of(nexus) == new.key_of(nexus) && old.holds(nexus) == new.holds(nexus)
                }) && old.key_of(&fencing.origin.nexus) == new.key_of(&fencing.origin.nexus)
            }
            _ => false,
        };
        leaves_alone && !fencing.drained && fencing.rounds < FENCE_ROUNDS_OVERTAKEN_MAX
    }
}
