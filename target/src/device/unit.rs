//! The logical unit: nexuses, task set, unit attentions, and the way of a command through them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::scsi::opcode_table::{Operation, ReservationRule};
use lunkeep_common::scsi::{Asc, Cdb, Sense, SenseKey, Status};

use super::access_state::AccessState;
use super::attention::{Slot, UnitAttentions};
use super::commands::lba_status;
use super::commands::{self, Context, Next, Outcome};
use super::config::{InvalidShape, LogicalUnitConfig};
use super::copy::records::CopyRecords;
use super::copy::tokens::Tokens;
use super::fence::{Reservations, Resumed};
use super::media::{MediaFailure, MediaOp, MediaReply};
use super::nexus::Nexus;
use super::state::{MediumState, State};
use super::step::{Command, Completion, NexusId, Step, TaskId};
use super::task_order::{TaskOrder, takes_part};
use super::task_set::{Aborted, Held, Phase, TaskSet, Then};

/// What resets a logical unit (SAM-5 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// LOGICAL UNIT RESET.
    LogicalUnit,
    /// TARGET WARM RESET: a hard reset of every logical unit (RFC 7143 §11.5.1).
    TargetWarm,
    /// TARGET COLD RESET: as after power on; the engine ends the sessions besides (RFC 7143 §11.5.1).
    TargetCold,
}

impl Reset {
    const fn attention(self) -> Asc {
        match self {
            Self::LogicalUnit => Asc::BUS_DEVICE_RESET,
            Self::TargetWarm => Asc::SCSI_BUS_RESET,
            Self::TargetCold => Asc::POWER_ON_RESET,
        }
    }
}

/// A nexus that is attached.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) nexus: Arc<Nexus>,
    pub(super) slot: Slot,
    /// The unit is leaving its view.
    pub(super) leaving: bool,
    /// Which abort of its tasks as a whole was the last, or which attachment; see `copy`.
    pub(super) aborts: u64,
}

/// A direct access block device.
#[derive(Debug)]
pub struct LogicalUnit {
    pub(super) config: LogicalUnitConfig,
    pub(super) state: State,
    pub(super) nexuses: HashMap<NexusId, Attached>,
    pub(super) attentions: UnitAttentions,
    pub(super) tasks: TaskSet,
    order: TaskOrder,
    pub(super) reservations: Reservations,
    pub(super) copies: CopyRecords,
    /// Aborts and attachments so far.
    pub(super) aborts: u64,
    pub(super) tokens: Tokens,
    pub(super) access: AccessState,
}

impl LogicalUnit {
    /// A logical unit that has just been powered on.
    ///
    /// # Errors
    /// [`InvalidShape`] when no block device can have the medium's shape.
    pub fn new(config: LogicalUnitConfig) -> Result<Self, InvalidShape> {
        config.medium.checked()?;
        let (tasks, state) = (TaskSet::new(config.tasks), State::new(&config));
        Ok(Self {
            config,
            state,
            nexuses: HashMap::new(),
            attentions: UnitAttentions::default(),
            tasks,
            order: TaskOrder::default(),
            reservations: Reservations::default(),
            copies: CopyRecords::default(),
            aborts: 0,
            tokens: Tokens::default(),
            access: AccessState::default(),
        })
    }

    /// A nexus comes into being: a session logged in whose target has this logical unit.
    pub fn attach(&mut self, id: NexusId, nexus: Nexus) {
        self.aborts += 1;
        let slot = self.attentions.attach((nexus.initiator.clone(), nexus.target.clone()));
        self.nexuses
            .insert(id, Attached { nexus: Arc::new(nexus), slot, leaving: false, aborts: self.aborts });
    }

    /// I_T nexus loss (SAM-5 §6.3.4): its tasks are aborted, and when it comes back it is told so.
    pub fn detach(&mut self, id: NexusId) -> Aborted {
        let aborted = self.abort(|_, nexus| nexus == id, |_| None);
        if let Some(attached) = self.nexuses.remove(&id) {
            self.attentions.detach(attached.slot);
        }
        self.reservations.nexus_lost(id);
        self.state.preventing.remove(&id);
        self.copies.forget(id);
        aborted
    }

    /// A command arrives. A command of a nexus that is not attached (any more) is [`Step::Aborted`]; one whose turn has not come is
    /// [`Step::Waiting`] until [`LogicalUnit::resume`] names it.
    pub fn begin(&mut self, command: Command<'_>) -> Step {
        let Some(attached) = self.nexuses.get(&command.nexus).cloned() else { return Step::Aborted };
        if attached.leaving {
            return self.stamped(Step::Done(Self::not_here()));
        }
        let opcode = command.cdb.first().copied().unwrap_or(0);
        // What ends a fight over the medium must not wait behind it; the session's window bounds these.
        if !passes_full_task_set(opcode)
            && let Some(status) = self.tasks.refusal(command.nexus)
        {
            return Step::Done(Completion::without_data(status));
        }
        let Command { nexus, task, attribute, expected_in, expected_out, now_ms, .. } = command;
        if takes_part(opcode, attribute) && !self.order.enter(task, nexus, attribute) {
            let cdb = command.cdb.to_vec();
            let held = Held { cdb, attribute, expected_in, expected_out, now_ms };
            // What reservations say is asked when its turn comes.
            self.tasks.insert(task, nexus, ReservationRule::Write, Phase::Dormant(held));
            return Step::Waiting;
        }
        self.begin_in_turn(&attached, &command)
    }

    /// Tasks whose turn came with what the last call ended, aborted or made wait for data. To be called after every other method
    /// that a task can end with.
    #[must_use]
    pub fn resume(&mut self) -> Vec<Resumed> {
        let mut resumed = Vec::new();
        loop {
            let turns = self.order.enable();
            if turns.is_empty() {
                return resumed;
            }
            for task in turns {
                let Some((nexus, held)) = self.tasks.take_dormant(task) else {
                    self.order.leave(task);
                    continue;
                };
                let Held { cdb, attribute, expected_in, expected_out, now_ms } = held;
                // REPORT LUNS, which has a use for the inventory, never waits.
                let luns = &[];
                let command =
                    Command { nexus, task, cdb: &cdb, attribute, expected_in, expected_out, now_ms, luns };
                let step = match self.nexuses.get(&nexus).cloned() {
                    Some(attached) => self.begin_in_turn(&attached, &command),
                    None => self.settled(task, Step::Aborted),
                };
                resumed.push(Resumed { nexus, task, step });
            }
        }
    }

    /// Whether a task waits for its turn.
    #[must_use]
    pub fn has_dormant(&self) -> bool {
        self.order.has_dormant()
    }

    /// A command whose turn it is.
    fn begin_in_turn(&mut self, attached: &Attached, command: &Command<'_>) -> Step {
        let mut rule = ReservationRule::Write;
        let outcome = self.process(attached, command, &mut rule);
        let step = self.advance(command.task, command.nexus, rule, outcome);
        let step = self.stamped(step);
        self.settled(command.task, step)
    }

    /// Notes where the step leaves the task in the order of tasks.
    pub(super) fn settled(&mut self, task: TaskId, step: Step) -> Step {
        match step {
            Step::Done(_) | Step::Aborted => self.order.leave(task),
            Step::DataOut(_) => self.order.awaits_data(task, true),
            Step::Media(_)
            | Step::Fence(_)
            | Step::Record(_)
            | Step::Erase(_)
            | Step::Copy(_)
            | Step::Waiting => {
                self.order.awaits_data(task, false);
            }
        }
        step
    }

    /// The task ended without a step.
    pub(super) fn left(&mut self, task: TaskId) {
        self.order.leave(task);
    }

    /// Aborts every task that `which` names.
    pub(super) fn abort(
        &mut self,
        which: impl Fn(TaskId, NexusId) -> bool,
        status: impl Fn(NexusId) -> Option<Status>,
    ) -> Aborted {
        let aborted = self.tasks.abort(which, status);
        // Those on the medium hold others up until they have left it.
        aborted.gone.iter().for_each(|gone| self.order.leave(gone.task));
        aborted
    }

    /// The data that [`Step::DataOut`] asked for, all of it that will come: the smaller of what was asked for and of what the
    /// initiator was ready to send. [`Step::Aborted`] when the task was aborted meanwhile.
    pub fn data_out(&mut self, task: TaskId, data: Vec<Bytes>) -> Step {
        let Some((nexus, rule, of)) = self.tasks.take_data_out(task) else { return Step::Aborted };
        let outcome = of.received(&self.config, &self.state, data);
        let step = self.advance(task, nexus, rule, outcome);
        let step = self.stamped(step);
        self.settled(task, step)
    }

    /// The medium has answered to [`Step::Media`]. This must be called for aborted tasks too: they are over with it.
    pub fn media_done(&mut self, task: TaskId, result: Result<MediaReply, MediaFailure>) -> Step {
        let step = self.after_media(task, result);
        self.settled(task, step)
    }

    fn after_media(&mut self, task: TaskId, result: Result<MediaReply, MediaFailure>) -> Step {
        let Some((nexus, rule, then, aborted)) = self.tasks.take_medium(task) else { return Step::Aborted };
        if let Err(failure) = result {
            self.state.count_failure(failure);
        }
        let saves = matches!(then, Then::Saved(_));
        if saves {
            self.state.saving = false;
        }
        // What was saved is in force, also when nobody waits for the answer any more.
        if aborted && !(saves && result.is_ok()) {
            return Step::Aborted;
        }
        let outcome = result.map_err(Sense::from).and_then(|reply| self.after_medium(then, reply));
        let step = self.advance(task, nexus, rule, outcome);
        if aborted { Step::Aborted } else { self.stamped(step) }
    }

    /// ABORT TASK (SAM-5 §7.2): a task of this nexus. Nothing is aborted when there is no such task, or it is another nexus's.
    pub fn abort_task(&mut self, nexus: NexusId, task: TaskId) -> Aborted {
        self.abort(|id, owner| id == task && owner == nexus, |_| None)
    }

    /// ABORT TASK SET (SAM-5 §7.3): every task of this nexus.
    pub fn abort_task_set(&mut self, nexus: NexusId) -> Aborted {
        self.end_copies_of(|id| id == nexus);
        self.abort(|_, owner| owner == nexus, |_| None)
    }

    /// CLEAR TASK SET (SAM-5 §7.5): every task. The other nexuses whose tasks were cleared are told.
    pub fn clear_task_set(&mut self, nexus: NexusId) -> Aborted {
        self.end_copies_of(|_| true);
        let status = self.status_for_others(nexus);
        let aborted = self.abort(|_, _| true, status);
        if !self.state.mode.task_aborted_status {
            self.tell_cleared(nexus, &aborted);
        }
        aborted
    }

    /// A reset (SAM-5 §6.3) that a nexus asked for: every task is aborted and every nexus is told. With TAS the tasks of others end with
    /// TASK ABORTED (SPC-4 §7.5.8), but not where their sessions end too. `Reset::TargetCold` starts the medium.
    pub fn reset(&mut self, kind: Reset, by: NexusId) -> Aborted {
        self.end_copies_of(|_| true);
        let status = self.status_for_others(by);
        let aborted = self.abort(|_, _| true, |owner| status(owner).filter(|_| kind != Reset::TargetCold));
        self.attentions.establish(kind.attention(), |_| true);
        self.reservations.reset(kind == Reset::TargetCold);
        self.state.reset(kind != Reset::LogicalUnit);
        if kind == Reset::TargetCold && self.state.medium == MediumState::Stopped {
            self.state.medium = MediumState::Ready;
        }
        aborted
    }

    /// Something changed that every nexus must be told of, except the one that caused it.
    pub fn establish_unit_attention(&mut self, asc: Asc, except: Option<NexusId>) {
        let except = except.and_then(|id| self.nexuses.get(&id)).map(|attached| attached.slot);
        self.attentions.establish(asc, |slot| Some(slot) != except);
    }

    /// How many tasks there are, those that drain included.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// What it was made from.
    #[must_use]
    pub const fn config(&self) -> &LogicalUnitConfig {
        &self.config
    }

    /// TASK ABORTED for tasks of nexuses other than `nexus` while TAS is one (SAM-5 §5.3.1).
    pub(super) fn status_for_others(&self, nexus: NexusId) -> impl Fn(NexusId) -> Option<Status> + use<> {
        let tas = self.state.mode.task_aborted_status;
        move |owner| (tas && owner != nexus).then_some(Status::TaskAborted)
    }

    fn tell_cleared(&mut self, by: NexusId, aborted: &Aborted) {
        let cleared = self.slots_of_others(by, aborted);
        self.attentions.establish(Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR, |slot| cleared.contains(&slot));
    }

    /// Where the unit attentions are of the nexuses, other than `by`, whose tasks were aborted.
    pub(super) fn slots_of_others(&self, by: NexusId, aborted: &Aborted) -> Vec<Slot> {
        let others = aborted.all().filter(|task| task.nexus != by);
        others.filter_map(|task| self.nexuses.get(&task.nexus)).map(|attached| attached.slot).collect()
    }

    /// From a command to what comes next, in the order of SAM-5 §5.3.2: unit attentions before anything of the CDB.
    ///
    /// The rule of its row that holds for reservations is left in `rule`.
    fn process(
        &mut self,
        Attached { nexus, slot, .. }: &Attached,
        command: &Command<'_>,
        rule: &mut ReservationRule,
    ) -> Outcome {
        let opcode = command.cdb.first().copied().unwrap_or(0);
        if !passes_unit_attention(opcode)
            && let Some(asc) = self.attentions.take(*slot)
        {
            return Err(Sense::unit_attention(asc));
        }
        if command.attribute == TaskAttribute::Aca {
            // There is never an auto contingent allegiance here: NACA is not supported (SAM-5 §8.6).
            return Err(Sense::illegal_request(Asc::INVALID_MESSAGE));
        }
        let (info, cdb) = Cdb::parse(command.cdb)
            .map_err(|error| self.state.refusal_while_erasing(command.cdb).unwrap_or_else(|| error.into()))?;
        if !commands::supported(&self.config, info) {
            return Err(Sense::illegal_request(Asc::INVALID_OPERATION_CODE));
        }
        *rule = match cdb {
            Cdb::StartStopUnit { start: true, .. } | Cdb::PreventAllowMediumRemoval { prevent: false } => {
                ReservationRule::Allowed
            }
            _ => info.reservation,
        };
        if let Some(sense) = self.access.refuses(info) {
            return Err(sense);
        }
        if let Some(refusal) = self.reservations.refuses(command.nexus, nexus, *rule) {
            return refusal.into();
        }
        if let Some(sense) = self.state.refusal(&self.config, info) {
            return Err(sense);
        }
        let attention = match cdb {
            // REQUEST SENSE reports and clears it; REPORT LUNS clears the one that asks for it (SPC-4 §6.39, §6.33).
            Cdb::RequestSense { .. } => self.attentions.take(*slot),
            Cdb::ReportLuns { .. } => {
                self.attentions.clear(*slot, Asc::REPORTED_LUNS_CHANGED);
                None
            }
            _ => None,
        };
        let config = &self.config;
        let (record, reported) = (self.reservations.record(), self.reservations.reported());
        let (state, ports, copies) = (&self.state, self.reservations.ports(), &self.copies);
        let access = self.access;
        let context =
            Context { config, nexus, command, state, ports, access, attention, record, reported, copies };
        let outcome = commands::dispatch(&context, cdb);
        if let Cdb::ReceiveCopyStatus { list_identifier, .. } = cdb {
            self.copies.status_told(command.nexus, list_identifier);
        }
        outcome
    }

    fn after_medium(&mut self, then: Then, reply: MediaReply) -> Outcome {
        match (then, reply) {
            (Then::Complete | Then::Compared { .. }, MediaReply::Done) => Ok(Next::Done(Completion::good())),
            (Then::ReturnData, MediaReply::Data(data)) => Ok(Next::Done(Completion::data(data))),
            (Then::Run(op, then), MediaReply::Done) => Ok(Next::Media { op, then: *then }),
            (Then::Compared { offset }, MediaReply::Miscompare { at }) => {
                let lba = (offset + at) / u64::from(self.config.medium.logical_block);
                Err(Sense::new(SenseKey::Miscompare, Asc::MISCOMPARE_DURING_VERIFY).with_information(lba))
            }
            (Then::ComparedData, MediaReply::Done) => Ok(Next::Done(Completion::good())),
            (Then::ComparedData, MediaReply::Miscompare { at }) => {
                // The first byte that differs, counted from the beginning of the data (SBC-3 §5.2).
                Err(Sense::new(SenseKey::Miscompare, Asc::MISCOMPARE_DURING_VERIFY).with_information(at))
            }
            (Then::ReturnStatus { lba, allocation_length }, MediaReply::Status(parts)) => {
                lba_status::told(&self.config.medium, lba, allocation_length, &parts).map(Next::Done)
            }
            (Then::Status(status), MediaReply::Done) => Ok(Next::Done(Completion::without_data(status))),
            (Then::Apply(change) | Then::Saved(change), MediaReply::Done) => Ok(Next::Change(change)),
            // The engine answered a question that was not asked: nothing may be claimed about the medium.
            _ => Err(Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE)),
        }
    }

    pub(super) fn advance(
        &mut self,
        task: TaskId,
        nexus: NexusId,
        rule: ReservationRule,
        outcome: Outcome,
    ) -> Step {
        match outcome {
            Err(sense) => Step::Done(Completion::check_condition(sense)),
            Ok(Next::Done(completion)) => Step::Done(completion),
            Ok(Next::Change(change)) => {
                self.apply(nexus, change);
                Step::Done(Completion::good())
            }
            Ok(Next::Erase { kind, pattern, immediate }) => {
                self.begin_erase(task, nexus, rule, (kind, pattern), immediate)
            }
            Ok(Next::Copy(request)) => self.begin_copy(task, nexus, rule, request),
            Ok(Next::Reservation(request)) => {
                // Nobody is shut out while the medium is erased: that goes on whoever asked for it.
                if let Some(sense) = self.state.erase.refusal().filter(|_| self.state.erase.is_running()) {
                    return Step::Done(Completion::check_condition(sense));
                }
                self.request(task, nexus, rule, request)
            }
            Ok(Next::DataOut { len, of }) => {
                self.tasks.insert(task, nexus, rule, Phase::DataOut(of));
                Step::DataOut(len)
            }
            Ok(Next::Media { op, then }) => {
                // Its data may have taken a while to come, or an operation before this one to run: the gate is looked at again, and
                // in one step with the entry into the set that a fence looks at, so that neither can miss the other.
                if let Some(refusal) = self.refused_now(nexus, rule) {
                    return Step::Done(refusal.completion());
                }
                if let Some(sense) = self.access.refusal() {
                    return Step::Done(Completion::check_condition(sense));
                }
                // The same holds for a medium that is being changed.
                let on_medium = !matches!(op, MediaOp::Save(_));
                if let Some(sense) = self.state.exchange.refusal().filter(|_| on_medium) {
                    return Step::Done(Completion::check_condition(sense));
                }
                let (op, then) = if self.state.mode.write_cache { (op, then) } else { stable(op, then) };
                self.state.count(&op);
                self.state.saving |= matches!(op, MediaOp::Save(_));
                let (changes_medium, touches) = (op.changes_medium(), op.touches());
                self.revoke_tokens(&op);
                let phase = Phase::Medium { changes_medium, touches, then, aborted: false };
                self.tasks.insert(task, nexus, rule, phase);
                Step::Media(op)
            }
        }
    }
}

impl LogicalUnit {
    /// What an operation is about to change is not any more what a token stands for.
    fn revoke_tokens(&mut self, op: &MediaOp) {
        if self.tokens.is_empty() {
            return;
        }
        match op {
            MediaOp::Unmap { ranges } => {
                ranges
                    .iter()
                    .for_each(|(offset, len)| self.tokens.changed(&(*offset..offset.saturating_add(*len))));
            }
            other => self.tokens.changed(&other.touches()),
        }
    }
}

/// Without a write cache a command is answered when what it wrote is stable (SBC-3 §6.4.5).
fn stable(mut op: MediaOp, then: Then) -> (MediaOp, Then) {
    match &mut op {
        MediaOp::Write { force_unit_access, .. }
        | MediaOp::CompareAndWrite { force_unit_access, .. }
        | MediaOp::OrWrite { force_unit_access, .. } => *force_unit_access = true,
        MediaOp::WriteSame { .. } | MediaOp::Unmap { .. } => {
            return (op, Then::Run(MediaOp::Flush, Box::new(then)));
        }
        _ => {}
    }
    (op, then)
}

/// Commands that a full task set does not keep out: Windows gives the owner of a disk about three seconds to defend it.
fn passes_full_task_set(opcode: u8) -> bool {
    use Operation::{
        PersistentReserveInReadKeys, PersistentReserveOutRegister, Release6, Release10, Reserve6, Reserve10,
    };
    [PersistentReserveInReadKeys, PersistentReserveOutRegister, Reserve6, Reserve10, Release6, Release10]
        .iter()
        .any(|operation| operation.info().opcode == opcode)
}

/// Commands that are processed while a unit attention is pending, and leave it pending or report it in their own way
/// (SAM-5 §5.14).
fn passes_unit_attention(opcode: u8) -> bool {
    [Operation::Inquiry, Operation::ReportLuns, Operation::RequestSense]
        .iter()
        .any(|operation| operation.info().opcode == opcode)
}
