//! Changes of the unit that commands make, and who is told of them; erasing.

use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::{Asc, Sense, SenseFormat, Status};

use super::erase::{Erase, EraseState, OverwritePattern, Progress};
use super::media::MediaFailure;
use super::online::Exchange;
use super::parameters::{EraseKind, SavedParameters};
use super::state::{Change, MediumState};
use super::step::{Completion, NexusId, Step, TaskId};
use super::task_set::Phase;
use super::unit::LogicalUnit;

impl LogicalUnit {
    /// How sense data goes out now.
    #[must_use]
    pub const fn sense_format(&self) -> SenseFormat {
        if self.state.mode.descriptor_sense { SenseFormat::Descriptor } else { SenseFormat::Fixed }
    }

    /// CHECK CONDITION for what the transport found wrong with a command.
    #[must_use]
    pub fn check_condition(&self, sense: Sense) -> Completion {
        Completion { sense_format: self.sense_format(), ..Completion::check_condition(sense) }
    }

    /// The step, with sense data in the format that is in force.
    pub(super) fn stamped(&self, mut step: Step) -> Step {
        if let Step::Done(completion) = &mut step {
            completion.sense_format = self.sense_format();
        }
        step
    }

    /// Makes a change that `nexus` asked for, and tells the others.
    pub(super) fn apply(&mut self, nexus: NexusId, change: Change) {
        match change {
            Change::Medium(medium) => {
                let loaded = self.state.medium == MediumState::Absent && medium == MediumState::Ready;
                self.state.medium = medium;
                if medium == MediumState::Absent {
                    self.lose_content();
                }
                if loaded {
                    self.establish_unit_attention(Asc::MEDIUM_MAY_HAVE_CHANGED, Some(nexus));
                }
            }
            Change::Prevent(true) => drop(self.state.preventing.insert(nexus)),
            Change::Prevent(false) => drop(self.state.preventing.remove(&nexus)),
            Change::Mode { values, saved } => {
                let changed = self.state.mode != values;
                self.state.mode = values;
                if saved {
                    self.state.saved.mode = values;
                }
                if changed {
                    self.establish_unit_attention(Asc::MODE_PARAMETERS_CHANGED, Some(nexus));
                }
            }
            Change::Identifying(saved) => {
                self.state.saved = saved;
                self.establish_unit_attention(Asc::DEVICE_IDENTIFIER_CHANGED, Some(nexus));
            }
            Change::Clock(clock) => {
                self.state.clock = clock;
                self.establish_unit_attention(Asc::TIMESTAMP_CHANGED, Some(nexus));
            }
            Change::EraseFailureLeft(saved) => {
                self.state.saved = saved;
                self.state.erase = EraseState::Idle;
            }
        }
    }

    /// SANITIZE or FORMAT UNIT passed every check.
    pub(super) fn begin_erase(
        &mut self,
        task: TaskId,
        nexus: NexusId,
        rule: ReservationRule,
        wanted: (EraseKind, Option<OverwritePattern>),
        immediate: bool,
    ) -> Step {
        if let Some(refusal) = self.refused_now(nexus, rule) {
            return Step::Done(refusal.completion());
        }
        if let Some(sense) = self.access.refusal() {
            return Step::Done(Completion::check_condition(sense));
        }
        // A fence that runs was not asked about the erasure, and would not wait for it.
        if self.reservations.is_changing() || self.state.saving || self.state.exchange != Exchange::None {
            return Step::Done(Completion::without_data(Status::Busy));
        }
        if let Some(sense) = self.state.erase.refusal().filter(|_| self.state.erase.is_running()) {
            return Step::Done(Completion::check_condition(sense));
        }
        let ((kind, pattern), progress) = (wanted, Progress::default());
        let before = SavedParameters { erasing: Some(kind), ..self.state.saved.clone() };
        let after = SavedParameters { erasing: None, ..before.clone() };
        let waiting = Some((task, immediate));
        self.state.erase = EraseState::Running { kind, progress: progress.clone(), waiting };
        self.state.saved = before.clone();
        self.tokens.changed(&(0..u64::MAX));
        self.tasks.insert(task, nexus, rule, Phase::Erase);
        Step::Erase(Box::new(Erase { pattern, progress, before, after }))
    }

    /// That the medium is being erased is durable. Gives the answer to a command that waited for no more.
    pub fn erase_begun(&mut self) -> Option<(TaskId, Completion)> {
        let EraseState::Running { waiting, .. } = &mut self.state.erase else { return None };
        let (task, _) = waiting.take_if(|(_, immediate)| *immediate)?;
        self.tasks.take_erase(task)?;
        self.left(task);
        Some((task, Completion::good()))
    }

    /// The erasure ended. Gives the answer to a command that waited for it.
    pub fn erase_done(&mut self, result: Result<(), MediaFailure>) -> Option<(TaskId, Completion)> {
        let EraseState::Running { kind, waiting, .. } = std::mem::take(&mut self.state.erase) else {
            return None;
        };
        match result {
            Ok(()) => self.state.saved.erasing = None,
            Err(failure) => {
                self.state.count_failure(failure);
                self.state.erase = EraseState::Failed(kind);
            }
        }
        let task = waiting.map(|(task, _)| task)?;
        self.tasks.take_erase(task)?;
        self.left(task);
        let completion = match self.state.erase.refusal() {
            None => Completion::good(),
            Some(sense) => self.check_condition(sense),
        };
        Some((task, completion))
    }

    /// The process ends: an erasure that runs is to give up.
    pub fn stop_erase(&self) {
        if let EraseState::Running { progress, .. } = &self.state.erase {
            progress.stop();
        }
    }
}
