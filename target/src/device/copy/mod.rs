//! Third-party copy as a logical unit sees it: the command that asks for one, and the reads and writes that come of it.
//!
//! A command that copies becomes a [`enum@Copy`], which the engine's copy manager carries out. What the copy does to a medium is a *leg*: a
//! read or a write that enters the task set of its logical unit, for the nexus of the command, in the same step in which it passes the
//! gate of that unit's reservations. So a fence waits for the legs that passed, and shuts out those that come later, and whoever aborts
//! commands finds them.
//!
//! Between its legs a copy is no task of the unit that it reads or writes. What aborts the tasks of its nexus there must end it all the
//! same: a [`CopyPass`] notes the last such abort, and a leg with an old pass is [`Step::Aborted`].
//!
//! The command's own task stays in the task set of the unit that got it for as long as the copy runs, as if on the medium. Before each
//! leg the copy manager asks whether it goes on: [`LogicalUnit::copy_reads`], [`LogicalUnit::copy_writes`]. While it writes, its task is one
//! that changes a medium, whichever that is: its abort, and a fence of its unit, wait until the copy has stopped. While it reads nothing has
//! to wait for it, so a source that stalls holds up neither.
//!
//! Deliberately not here: which logical units a nexus can see. The engine finds sources and destinations among those of the session.

pub mod pieces;
pub(super) mod records;
pub(super) mod tokens;

use bytes::Bytes;
use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::opcode_table::{Operation, ReservationRule};
use lunkeep_common::scsi::third_party_copy::{
    CopyStatus, ExtendedCopyList, ListIdUsage, PopulateTokenList, RodToken, TransferCount,
    WriteUsingTokenList,
};
use lunkeep_common::scsi::{Asc, Sense, SenseKey, Status};

use super::commands::{self, Next};
use super::config::MediumShape;
use super::media::MediaOp;
use super::step::{Completion, NexusId, Step, TaskId};
use super::task_set::{Phase, Then};
use super::unit::{Attached, LogicalUnit};
use records::ListId;

/// A third-party copy that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// EXTENDED COPY.
    Segments(ExtendedCopyList),
    /// POPULATE TOKEN: give 40 bytes that nobody can guess to `LogicalUnit::make_token`.
    MakeToken(PopulateTokenList),
    /// WRITE USING TOKEN: the destination is the logical unit itself.
    UseToken(Box<WriteUsingTokenList>),
}

/// A command that copies, with what is kept of it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) copy: Copy,
    /// Under which its status is kept.
    pub(super) list: Option<ListId>,
}

impl Request {
    pub(super) fn segments(list: ExtendedCopyList) -> Self {
        let id = ListId::One(list.list_identifier);
        Self { list: (list.usage != ListIdUsage::None).then_some(id), copy: Copy::Segments(list) }
    }
}

/// What lets one copy into one logical unit.
#[derive(Clone, Copy, Debug)]
pub struct CopyPass {
    nexus: NexusId,
    aborts: u64,
    /// The medium.
    pub medium: MediumShape,
}

/// A read or a write of a copy. Offsets and lengths are in bytes and multiples of the logical block.
#[derive(Clone, Debug)]
pub enum Leg {
    /// Read from here as data or as a hole; see [`MediaOp::ReadForCopy`].
    Read {
        /// First byte.
        offset: u64,
        /// Count of bytes, at least one.
        len: u64,
        /// What comes is a multiple of this many bytes.
        granule: u32,
    },
    /// Write.
    Write {
        /// First byte.
        offset: u64,
        /// What to write.
        data: Bytes,
    },
    /// Make a hole, or write zeros where there can be none.
    Zero {
        /// First byte.
        offset: u64,
        /// Count of bytes, at least one.
        len: u64,
    },
}

impl Leg {
    /// First byte and count of bytes.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        match self {
            Self::Read { offset, len, .. } | Self::Zero { offset, len } => (*offset, *len),
            Self::Write { offset, data } => (*offset, data.len() as u64),
        }
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyTotals {
    /// Segments that are complete.
    pub segments: u16,
    /// Bytes that were written.
    pub bytes: u64,
}

/// COPY ABORTED with this code, in this segment (SPC-4 §5.16.7.4).
#[must_use]
pub const fn copy_aborted(asc: Asc, segment: u16) -> Completion {
    Completion::check_condition(Sense::new(SenseKey::CopyAborted, asc).with_command_specific(segment as u64))
}

impl LogicalUnit {
    /// Whether this is a name of the logical unit.
    #[must_use]
    pub fn is_named(&self, name: &Designation) -> bool {
        match (name.association, &name.designator) {
            (Association::LogicalUnit, Designator::Naa(naa)) => *naa == self.config.identity.naa,
            _ => commands::names_of_unit(&self.config.identity).any(|own| own == *name),
        }
    }

    /// Lets a copy of this nexus in; `None` when the nexus is not attached, or is about to lose the unit.
    #[must_use]
    pub fn join_copy(&self, nexus: NexusId) -> Option<CopyPass> {
        let attached = self.nexuses.get(&nexus).filter(|attached| !attached.leaving)?;
        Some(CopyPass { nexus, aborts: attached.aborts, medium: self.config.medium })
    }

    /// A leg of a copy, as the task `task` that no session knows. It gives [`Step::Media`], after which `media_done` is to be called as
    /// for every other task, [`Step::Done`] with why the unit refuses it, or [`Step::Aborted`].
    pub fn begin_leg(&mut self, task: TaskId, pass: &CopyPass, leg: Leg) -> Step {
        let passes = |attached: &Attached| attached.aborts == pass.aborts && !attached.leaving;
        if !self.nexuses.get(&pass.nexus).is_some_and(passes) {
            return Step::Aborted;
        }
        let medium = &self.config.medium;
        let (offset, len) = leg.extent();
        if len == 0 || offset.checked_add(len).is_none_or(|end| end > medium.size) {
            return Step::Done(Completion::check_condition(Sense::illegal_request(Asc::LBA_OUT_OF_RANGE)));
        }
        let (info, op) = match leg {
            Leg::Read { offset, len, granule } => {
                (Operation::Read16.info(), MediaOp::ReadForCopy { offset, len, granule })
            }
            Leg::Write { offset, data } => {
                let op = MediaOp::Write { offset, data: vec![data], force_unit_access: false };
                (Operation::Write16.info(), op)
            }
            Leg::Zero { offset, len } => {
                let pattern = vec![0; usize::try_from(medium.logical_block).unwrap_or(0)].into();
                (Operation::Write16.info(), MediaOp::WriteSame { offset, len, pattern, unmap: medium.thin })
            }
        };
        if let Some(sense) = self.state.refusal(&self.config, info) {
            return Step::Done(Completion::check_condition(sense));
        }
        self.advance(task, pass.nexus, info.reservation, Ok(Next::Media { op, then: Then::Complete }))
    }

    /// A command that copies passed every check of its own.
    pub(super) fn begin_copy(
        &mut self,
        task: TaskId,
        nexus: NexusId,
        rule: ReservationRule,
        request: Request,
    ) -> Step {
        if let Some(refusal) = self.refused_now(nexus, rule) {
            return Step::Done(refusal.completion());
        }
        if let Some(sense) = self.state.exchange.refusal() {
            return Step::Done(Completion::check_condition(sense));
        }
        let Request { copy, list } = request;
        let action = match &copy {
            Copy::Segments(_) => Operation::ExtendedCopyLid1,
            Copy::MakeToken(_) => Operation::PopulateToken,
            Copy::UseToken(_) => Operation::WriteUsingToken,
        };
        if let Some(list) = list
            && !self.copies.begin(nexus, list, task, action.info().service_action.unwrap_or(0))
        {
            // SPC-4 §6.4.3.2: the list identifier is one of a copy that runs.
            let sense = Sense::illegal_request(Asc::OPERATION_IN_PROGRESS);
            return Step::Done(Completion::check_condition(sense));
        }
        let phase =
            Phase::Medium { changes_medium: false, touches: 0..0, then: Then::Complete, aborted: false };
        self.tasks.insert(task, nexus, rule, phase);
        Step::Copy(Box::new(copy))
    }

    /// Whether a copy may read on: its command was neither aborted nor shut out meanwhile, and the unit is still there with its
    /// medium. Notes how far it is.
    pub fn copy_reads(&mut self, task: TaskId, totals: CopyTotals) -> bool {
        self.copies.progress(task, totals);
        self.tasks.set_changing(task, false);
        self.copy_goes_on(task)
    }

    /// The same of its next write. From here to the next call, or to [`LogicalUnit::copy_done`], who aborts it must wait.
    pub fn copy_writes(&mut self, task: TaskId) -> bool {
        let goes_on = self.copy_goes_on(task);
        self.tasks.set_changing(task, goes_on);
        goes_on
    }

    fn copy_goes_on(&self, task: TaskId) -> bool {
        let Some((nexus, rule)) = self.tasks.on_medium(task) else { return false };
        // Nobody waits for all of a copy: neither a fence, nor a change of the medium, nor the removal of the unit.
        let leaving = self.nexuses.get(&nexus).is_none_or(|attached| attached.leaving);
        !leaving && self.state.exchange.refusal().is_none() && self.refused_now(nexus, rule).is_none()
    }

    /// A copy ended: with everything copied, or with why it was not. Gives the end of its command.
    pub fn copy_done(&mut self, task: TaskId, totals: CopyTotals, result: Result<(), Completion>) -> Step {
        self.copies.progress(task, totals);
        self.end_copy(task, result, None)
    }

    /// The bytes for a token are there: 40 that nobody can guess. `now_ms` is the host's clock.
    pub fn make_token(
        &mut self,
        task: TaskId,
        list: &PopulateTokenList,
        random: &[u8; 40],
        now_ms: u64,
    ) -> Step {
        let Some((nexus, _)) = self.tasks.on_medium(task) else {
            return self.end_copy(task, Err(Completion::good()), None);
        };
        // A write that is under way may land now or later. A token that is made meanwhile would stand for either.
        let medium = &self.config.medium;
        let ranges = tokens::byte_ranges(medium, &list.ranges);
        if self.tasks.touched().any(|touched| ranges.iter().any(|range| tokens::overlap(range, &touched))) {
            return self.end_copy(task, Err(Completion::without_data(Status::Busy)), None);
        }
        let blocks: u64 = list.ranges.iter().map(|range| u64::from(range.blocks)).sum();
        let token = tokens::new_token(&self.config, blocks, random);
        match self.tokens.add(nexus, token.clone(), ranges, list.inactivity_timeout, now_ms) {
            Ok(()) => {
                let bytes = blocks.saturating_mul(medium.logical_block.into());
                self.copies.progress(task, CopyTotals { segments: 0, bytes });
                self.end_copy(task, Ok(()), Some(token))
            }
            Err(sense) => self.end_copy(task, Err(Completion::check_condition(sense)), None),
        }
    }

    /// What a token of this unit stands for, as ranges of bytes; `None` when it is not of this unit. Counts as a use of the token.
    ///
    /// # Errors
    /// The sense to send when the token is of no use any more.
    pub fn token_ranges(&mut self, token: &RodToken, now_ms: u64) -> Option<Result<Vec<(u64, u64)>, Sense>> {
        self.tokens.ranges(token, now_ms)
    }

    /// Whether what was read for a token is still what the token stands for.
    ///
    /// # Errors
    /// The sense to send when it is not.
    pub fn check_token(&mut self, token: &RodToken, now_ms: u64) -> Result<(), Sense> {
        let unknown = Err(Sense::illegal_request(Asc::TOKEN_UNKNOWN));
        self.tokens.ranges(token, now_ms).unwrap_or(unknown).map(|_ranges| ())
    }

    /// The initiator wants no more of a token.
    pub fn delete_token(&mut self, token: &RodToken) {
        self.tokens.delete(token);
    }

    /// Copies of these nexuses end before their next leg.
    pub(super) fn end_copies_of(&mut self, which: impl Fn(NexusId) -> bool) {
        self.aborts += 1;
        let all = self.nexuses.iter_mut().filter(|(id, _)| which(**id));
        all.for_each(|(_, attached)| attached.aborts = self.aborts);
    }

    fn end_copy(&mut self, task: TaskId, result: Result<(), Completion>, token: Option<RodToken>) -> Step {
        let step = self.copy_ended(task, result, token);
        self.settled(task, step)
    }

    fn copy_ended(&mut self, task: TaskId, result: Result<(), Completion>, token: Option<RodToken>) -> Step {
        let aborted = self.tasks.take_medium(task).is_none_or(|(.., aborted)| aborted);
        let completion = match result {
            Ok(()) => Completion::good(),
            Err(completion) => completion,
        };
        let step = self.stamped(if aborted { Step::Aborted } else { Step::Done(completion) });
        let (status, completion) = match &step {
            Step::Done(completion) if completion.status == Status::Good => {
                (CopyStatus::Completed, completion)
            }
            Step::Done(completion) => (CopyStatus::Failed, completion),
            _ => {
                // Nobody is told that an aborted copy copied anything.
                let failed = Completion::without_data(Status::TaskAborted);
                self.copies.end(task, CopyStatus::Failed, failed.status, Vec::new(), None);
                return step;
            }
        };
        if completion.status == Status::Busy {
            // It never began.
            self.copies.never_begun(task);
            return step;
        }
        let sense = completion.sense.as_ref().map(|sense| sense.encode(completion.sense_format));
        self.copies.end(task, status, completion.status, sense.unwrap_or_default(), token);
        step
    }
}

impl From<CopyTotals> for TransferCount {
    fn from(totals: CopyTotals) -> Self {
        Self { status: CopyStatus::InProgress, segments: totals.segments, bytes: totals.bytes }
    }
}
