//! The tasks of a logical unit, what each waits for, and how they are aborted (SAM-5 §5, §7).
//!
//! A task is here from `begin` until a [`Step::Done`](super::Step::Done) or [`Step::Aborted`](super::Step::Aborted) came out.
//! One that is aborted while the medium works for it stays until the medium has answered, so that a task management
//! function or a fence can be answered only after the last write has landed.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::scsi::Status;
use lunkeep_common::scsi::opcode_table::ReservationRule;

use super::commands::DataOutOf;
use super::config::TaskLimits;
use super::media::MediaOp;
use super::state::Change;
use super::step::{NexusId, TaskId};

/// Whose the tasks are that carry out what other gateways decided: no session's, and no abort's.
pub(super) const GATEWAY: NexusId = NexusId(0);

/// What to do when the medium has answered.
#[derive(Debug)]
pub(super) enum Then {
    /// The command is complete.
    Complete,
    /// The bytes that were read are the command's data.
    ReturnData,
    /// Go on with this operation.
    Run(MediaOp, Box<Then>),
    /// A difference that was found is at this byte of the medium plus what the medium says.
    Compared {
        /// First byte of the range.
        offset: u64,
    },
    /// A difference that was found is this many bytes into the data that came (COMPARE AND WRITE).
    ComparedData,
    /// The parts of a range that begins with this block are the command's data (GET LBA STATUS).
    ReturnStatus {
        /// First block of the range.
        lba: u64,
        /// ALLOCATION LENGTH.
        allocation_length: u32,
    },
    /// The command is complete with this status.
    Status(Status),
    /// This changes about the unit, and the command is complete.
    Apply(Change),
    /// The same, after a [`MediaOp::Save`]: what was saved is in force, whether or not the command was aborted.
    Saved(Change),
}

/// What a task waits for.
#[derive(Debug)]
pub(super) enum Phase {
    /// Data from the initiator.
    DataOut(DataOutOf),
    /// The changes of reservations of other commands.
    Queued,
    /// Operations on the medium of others, whom its own change of reservations would shut out.
    Fence,
    /// Its turn ([`task_order`](super::task_order)).
    Dormant(Held),
    /// An erasure, or its beginning. The erasure does not wait for the task.
    Erase,
    /// The medium, or the record of its own change of reservations.
    Medium {
        changes_medium: bool,
        /// The bytes that may change.
        touches: Range<u64>,
        then: Then,
        aborted: bool,
    },
}

/// A command whose turn has not come.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) cdb: Vec<u8>,
    pub(super) attribute: TaskAttribute,
    pub(super) expected_in: u32,
    pub(super) expected_out: u32,
    /// When it came.
    pub(super) now_ms: u64,
}

#[derive(Debug)]
struct Task {
    nexus: NexusId,
    rule: ReservationRule,
    phase: Phase,
}

/// A task that a task management function or a loss of nexus has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTask {
    /// The task.
    pub task: TaskId,
    /// Whose it was.
    pub nexus: NexusId,
    /// The status to send once the task is gone: TASK ABORTED for a task that another nexus aborted while TAS is one, else
    /// nothing (SAM-5 §5.3.1).
    pub status: Option<Status>,
}

/// Tasks that ended, and those that are about to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aborted {
    /// Over now. The medium did not work for them and never will.
    pub gone: Vec<AbortedTask>,
    /// The medium is changing something for them: [`Step::Aborted`](super::Step::Aborted) comes out of `media_done` when each is
    /// over. A task management function must not be answered before that.
    pub draining: Vec<AbortedTask>,
    /// The medium is reading for them, or making things stable. They come out of `media_done` as `Step::Aborted` too, but nothing
    /// has to wait for them.
    pub reading: Vec<AbortedTask>,
}

impl Aborted {
    /// Every task of the three lists.
    pub fn all(&self) -> impl Iterator<Item = &AbortedTask> {
        self.gone.iter().chain(&self.draining).chain(&self.reading)
    }

    /// Whether there is no task at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.draining.is_empty() && self.reading.is_empty()
    }
}

/// The tasks of a logical unit.
#[derive(Debug)]
pub(super) struct TaskSet {
    limits: TaskLimits,
    tasks: HashMap<TaskId, Task>,
    per_nexus: HashMap<NexusId, usize>,
}

impl TaskSet {
    pub(super) fn new(limits: TaskLimits) -> Self {
        Self { limits, tasks: HashMap::new(), per_nexus: HashMap::new() }
    }

    /// Why there is no room for another task of this nexus: TASK SET FULL when it has a task here, BUSY when it has none and could
    /// therefore wait forever for one to end (SAM-5 §5.3.1).
    pub(super) fn refusal(&self, nexus: NexusId) -> Option<Status> {
        let own = self.per_nexus.get(&nexus).copied().unwrap_or(0);
        if own < self.limits.per_nexus && self.tasks.len() < self.limits.total {
            None
        } else if own > 0 {
            Some(Status::TaskSetFull)
        } else {
            Some(Status::Busy)
        }
    }

    /// The task now waits for this.
    pub(super) fn insert(&mut self, task: TaskId, nexus: NexusId, rule: ReservationRule, phase: Phase) {
        if self.tasks.insert(task, Task { nexus, rule, phase }).is_none() {
            *self.per_nexus.entry(nexus).or_default() += 1;
        }
    }

    /// Takes a task that waits for data; `None` when there is none, that is, when it was aborted.
    pub(super) fn take_data_out(&mut self, task: TaskId) -> Option<(NexusId, ReservationRule, DataOutOf)> {
        if !matches!(self.tasks.get(&task)?.phase, Phase::DataOut(_)) {
            return None;
        }
        match self.remove(task)? {
            Task { nexus, rule, phase: Phase::DataOut(of) } => Some((nexus, rule, of)),
            Task { .. } => None,
        }
    }

    /// Takes a task that waits for the fences of others; `None` when it was aborted.
    pub(super) fn take_queued(&mut self, task: TaskId) -> Option<(NexusId, ReservationRule)> {
        if !matches!(self.tasks.get(&task)?.phase, Phase::Queued) {
            return None;
        }
        self.remove(task).map(|task| (task.nexus, task.rule))
    }

    /// Takes a task that waits for its turn; `None` when it was aborted.
    pub(super) fn take_dormant(&mut self, task: TaskId) -> Option<(NexusId, Held)> {
        if !matches!(self.tasks.get(&task)?.phase, Phase::Dormant(_)) {
            return None;
        }
        match self.remove(task)? {
            Task { nexus, phase: Phase::Dormant(held), .. } => Some((nexus, held)),
            Task { .. } => None,
        }
    }

    /// Whether a task waits for the fences of others.
    pub(super) fn is_queued(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| matches!(task.phase, Phase::Queued))
    }

    /// Whether a task waits for those whom it shuts out.
    pub(super) fn is_fencing(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|task| matches!(task.phase, Phase::Fence))
    }

    /// Ends a task that waits for those whom it shuts out.
    pub(super) fn end_fence(&mut self, task: TaskId) {
        if self.is_fencing(task) {
            self.remove(task);
        }
    }

    /// Takes a task that waits for an erasure; `None` when it was aborted.
    pub(super) fn take_erase(&mut self, task: TaskId) -> Option<NexusId> {
        if !matches!(self.tasks.get(&task)?.phase, Phase::Erase) {
            return None;
        }
        self.remove(task).map(|task| task.nexus)
    }

    /// Takes a task whose medium has answered, and says whether it was aborted meanwhile.
    pub(super) fn take_medium(&mut self, task: TaskId) -> Option<(NexusId, ReservationRule, Then, bool)> {
        if !matches!(self.tasks.get(&task)?.phase, Phase::Medium { .. }) {
            return None;
        }
        match self.remove(task)? {
            Task { nexus, rule, phase: Phase::Medium { then, aborted, .. } } => {
                Some((nexus, rule, then, aborted))
            }
            Task { .. } => None,
        }
    }

    /// Tasks that are changing the medium, aborted ones too, in the order of their numbers.
    pub(super) fn changing(&self) -> Vec<(TaskId, NexusId, ReservationRule)> {
        let changing = |task: &Task| matches!(task.phase, Phase::Medium { changes_medium: true, .. });
        let mut all: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| changing(task))
            .map(|(id, task)| (*id, task.nexus, task.rule))
            .collect();
        all.sort_unstable_by_key(|(id, ..)| *id);
        all
    }

    /// Whose a task is that is on the medium, and its rule; `None` when there is none, or it was aborted.
    pub(super) fn on_medium(&self, task: TaskId) -> Option<(NexusId, ReservationRule)> {
        let task = self.tasks.get(&task)?;
        matches!(task.phase, Phase::Medium { aborted: false, .. }).then_some((task.nexus, task.rule))
    }

    /// Whether a task that is on the medium can change one now.
    pub(super) fn set_changing(&mut self, task: TaskId, changes: bool) {
        if let Some(Task { phase: Phase::Medium { changes_medium, .. }, .. }) = self.tasks.get_mut(&task) {
            *changes_medium = changes;
        }
    }

    /// The bytes that tasks are changing, aborted ones too.
    pub(super) fn touched(&self) -> impl Iterator<Item = Range<u64>> {
        self.tasks.values().filter_map(|task| match &task.phase {
            Phase::Medium { touches, .. } => Some(touches.clone()),
            _ => None,
        })
    }

    fn remove(&mut self, task: TaskId) -> Option<Task> {
        let removed = self.tasks.remove(&task)?;
        if let Some(count) = self.per_nexus.get_mut(&removed.nexus) {
            *count -= 1;
            if *count == 0 {
                self.per_nexus.remove(&removed.nexus);
            }
        }
        Some(removed)
    }

    /// Aborts every task that `which` names. Tasks that are aborted already are reported again while they drain: a second
    /// function must wait for them too.
    pub(super) fn abort(
        &mut self,
        which: impl Fn(TaskId, NexusId) -> bool,
        status: impl Fn(NexusId) -> Option<Status>,
    ) -> Aborted {
        let mut ids: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(id, task)| task.nexus != GATEWAY && which(**id, task.nexus))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        let mut aborted = Aborted::default();
        for id in ids {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let mut entry = AbortedTask { task: id, nexus: task.nexus, status: status(task.nexus) };
            match &mut task.phase {
                Phase::DataOut(_) | Phase::Queued | Phase::Dormant(_) | Phase::Fence | Phase::Erase => {
                    self.remove(id);
                    aborted.gone.push(entry);
                }
                Phase::Medium { changes_medium, aborted: already, .. } => {
                    if std::mem::replace(already, true) {
                        // Whoever aborted it first decided whether it has a status.
                        entry.status = None;
                    }
                    let list = if *changes_medium { &mut aborted.draining } else { &mut aborted.reading };
                    list.push(entry);
                }
            }
        }
        aborted
    }

    /// Ends the tasks of these nexuses that do not change the medium, and names those that do.
    pub(super) fn withdraw(&mut self, nexuses: &[NexusId]) -> (Vec<AbortedTask>, Vec<TaskId>) {
        self.interrupt(|task| nexuses.contains(&task.nexus))
    }

    /// Ends the tasks that wait for data for the medium, or read it, and names those that change it.
    pub(super) fn clear_medium(&mut self) -> (Vec<AbortedTask>, Vec<TaskId>) {
        self.interrupt(|task| match &task.phase {
            Phase::DataOut(of) => of.is_for_medium(),
            Phase::Medium { .. } => true,
            // One whose turn has not come meets what there is then.
            Phase::Queued | Phase::Dormant(_) | Phase::Fence | Phase::Erase => false,
        })
    }

    fn interrupt(&mut self, which: impl Fn(&Task) -> bool) -> (Vec<AbortedTask>, Vec<TaskId>) {
        let mut ids: Vec<TaskId> =
            self.tasks.iter().filter(|(_, task)| which(task)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let (mut refused, mut finishing) = (Vec::new(), Vec::new());
        for id in ids {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let entry = AbortedTask { task: id, nexus: task.nexus, status: None };
            match &mut task.phase {
                Phase::Medium { changes_medium: true, .. } => finishing.push(id),
                Phase::Medium { aborted, .. } => {
                    // What it brings is dropped when it comes. One that was aborted before has no answer.
                    if !std::mem::replace(aborted, true) {
                        refused.push(entry);
                    }
                }
                Phase::DataOut(_) | Phase::Queued | Phase::Dormant(_) | Phase::Fence | Phase::Erase => {
                    self.remove(id);
                    refused.push(entry);
                }
            }
        }
        (refused, finishing)
    }

    /// Whether there is such a task.
    pub(super) fn has(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// How many tasks there are, those that drain included.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }
}

/// Length of data that came in pieces.
pub(super) fn total_len(data: &[Bytes]) -> u64 {
    data.iter().map(|piece| piece.len() as u64).sum()
}
