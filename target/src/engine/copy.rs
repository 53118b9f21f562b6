//! The copy manager: carries out third-party copies between the logical units that a session sees (SPC-4 §5.16).
//!
//! One chunk at a time is read from the source and written to the destination, each as a leg that passes its logical unit's own gate;
//! [`crate::device::copy`] says why nothing of a nexus that was shut out, or whose commands were aborted, lands afterwards. Holes are
//! copied as holes. The memory of a copy is one chunk, and the number of copies has a limit.
//!
//! All logical units of a copy are entered before anything is copied: a list that names one that is not there copies nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lunkeep_common::scsi::designator::Designation;
use lunkeep_common::scsi::third_party_copy::rod::rod_type;
use lunkeep_common::scsi::third_party_copy::{
    CscdId, ExtendedCopyList, RodToken, Segment, WriteUsingTokenList,
};
use lunkeep_common::scsi::{Asc, Sense, SenseKey, Status};

use super::media;
use super::server::Shared;
use super::session_task::{SessionHandle, now_ms};
use super::unit::Unit;
use crate::device::copy::copy_aborted;
use crate::device::copy::pieces::{self, Piece};
use crate::device::{
    Completion, Copy, CopyPass, CopyTotals, Leg, LogicalUnit, MediaFailure, MediaReply, Step, TaskId,
};
use crate::limits::{COPY_CHUNK, WRITE_SAME_LEN_MAX};

/// Starts a copy. Its command ends with it.
pub(super) fn start(session: &Arc<SessionHandle>, unit: &Arc<Unit>, task: TaskId, copy: Copy) {
    // Without the server there is nobody left to answer.
    let Some(shared) = session.shared.upgrade() else { return };
    let (session, unit) = (session.clone(), unit.clone());
    let mut manager = Manager { session, shared: shared.clone(), unit, task, totals: CopyTotals::default() };
    if let Copy::MakeToken(list) = &copy {
        let mut random = [0; 40];
        return match getrandom::fill(&mut random) {
            Ok(()) => manager.finish(|unit| unit.make_token(task, list, &random, now_ms())),
            Err(error) => {
                tracing::error!(%error, "no random bytes for a token");
                let sense = Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE);
                manager.end(Err(Completion::check_condition(sense)));
            }
        };
    }
    let own = manager.session.copies.clone().try_acquire_owned();
    let (Ok(own), Ok(permit)) = (own, shared.copies.clone().try_acquire_owned()) else {
        return manager.end(Err(Completion::without_data(Status::Busy)));
    };
    shared.tasks.spawn(async move {
        let result = match copy {
            Copy::Segments(list) => manager.copy_segments(&list).await,
            Copy::UseToken(list) => manager.use_token(&list).await,
            Copy::MakeToken(_) => Ok(()),
        };
        drop((own, permit));
        manager.end(result);
    });
}

/// One copy.
struct Manager {
    session: Arc<SessionHandle>,
    shared: Arc<Shared>,
    /// The logical unit that got the command.
    unit: Arc<Unit>,
    task: TaskId,
    totals: CopyTotals,
}

/// A logical unit that a copy was let into.
#[derive(Clone)]
struct Operand {
    unit: Arc<Unit>,
    pass: CopyPass,
}

/// Why a copy stopped.
enum Stop {
    /// Its command was aborted or shut out.
    Ended,
    /// The source refused, or failed.
    Source(Completion),
    /// The destination refused, or failed.
    Destination(Completion),
}

/// What was read.
enum Found {
    Data(Bytes),
    Hole(u64),
}

impl Manager {
    fn end(&self, result: Result<(), Completion>) {
        self.finish(|unit| unit.copy_done(self.task, self.totals, result));
    }

    /// The command is over: its answer, when it has one, may go, and so may who waited for it to leave the medium.
    fn finish(&self, last: impl FnOnce(&mut LogicalUnit) -> Step) {
        self.unit.with(&self.session.shared, last, |step| {
            self.unit.left_medium(self.task);
            if let Step::Done(completion) = step {
                self.session.complete(self.task, completion);
            }
        });
    }

    async fn copy_segments(&mut self, list: &ExtendedCopyList) -> Result<(), Completion> {
        let (mut plan, mut entered) = (Vec::new(), HashMap::new());
        for (number, segment) in (0..).zip(&list.segments) {
            plan.push((number, self.plan(list, segment, number, &mut entered)?));
        }
        for (number, planned) in plan {
            if let Some((from, to, piece)) = planned {
                let copied = self.copy(&from, &to, piece, None).await;
                // Whatever one of them said, the standard has one code for it (SPC-4 §5.16.7.4).
                copied.map_err(|stop| {
                    self.log(&stop);
                    copy_aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, number)
                })?;
            }
            self.totals.segments += 1;
        }
        Ok(())
    }

    /// From where to where a segment copies; `None` when it copies nothing.
    fn plan(
        &self,
        list: &ExtendedCopyList,
        segment: &Segment,
        number: u16,
        entered: &mut HashMap<u16, Operand>,
    ) -> Result<Option<(Operand, Operand, Piece)>, Completion> {
        // Each is looked for once, however many segments there are.
        let mut operand = |id: CscdId| {
            if let Some(known) = entered.get(&id.0) {
                return Ok(known.clone());
            }
            let found = self.operand(list, id, number)?;
            entered.insert(id.0, found.clone());
            Ok(found)
        };
        let (from, to) = (operand(segment.source)?, operand(segment.destination)?);
        let piece = pieces::of_segment(segment, &from.pass.medium, &to.pass.medium);
        let piece = piece.map_err(|asc| copy_aborted(asc, number))?;
        Ok(piece.map(|piece| (from, to, piece)))
    }

    /// The logical unit that a segment means, among those that the session sees.
    fn operand(&self, list: &ExtendedCopyList, id: CscdId, segment: u16) -> Result<Operand, Completion> {
        let aborted = |asc| copy_aborted(asc, segment);
        let not_reachable = || aborted(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
        if id == CscdId::OWN {
            return self.enter(&self.unit).ok_or_else(not_reachable);
        }
        let cscd = list.cscds.get(usize::from(id.0)).ok_or_else(|| aborted(Asc::UNREACHABLE_COPY_TARGET))?;
        if cscd.device_type != 0 {
            return Err(aborted(Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE));
        }
        let unit = self.named(&cscd.designation).ok_or_else(not_reachable)?;
        let operand = self.enter(&unit).ok_or_else(not_reachable)?;
        if cscd.block_len != 0 && cscd.block_len != operand.pass.medium.logical_block {
            // At its DISK BLOCK LENGTH.
            let sense = Sense::invalid_field_in_parameter_list(16 + 32 * id.0 + 29, None);
            return Err(Completion::check_condition(sense));
        }
        Ok(operand)
    }

    fn named(&self, name: &Designation) -> Option<Arc<Unit>> {
        self.session.view.now().units.values().find(|unit| unit.lock().is_named(name)).cloned()
    }

    fn enter(&self, unit: &Arc<Unit>) -> Option<Operand> {
        let pass = unit.lock().join_copy(self.session.nexus)?;
        Some(Operand { unit: unit.clone(), pass })
    }

    async fn use_token(&mut self, list: &WriteUsingTokenList) -> Result<(), Completion> {
        let Some(to) = self.enter(&self.unit) else {
            return Err(copy_aborted(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE, 0));
        };
        let ranges = pieces::of_ranges(&to.pass.medium, &list.ranges);
        if list.token.rod_type() == rod_type::BLOCK_DEVICE_ZERO {
            for (offset, len) in ranges {
                self.zero(&to, offset, len).await.map_err(|stop| self.told(stop))?;
            }
            return Ok(());
        }
        let unknown = || Completion::check_condition(Sense::illegal_request(Asc::TOKEN_UNKNOWN));
        let name = list.token.creator().get(4..28).and_then(Designation::decode);
        let (name, _) = name.ok_or_else(unknown)?;
        // Who cannot see the logical unit cannot use its tokens.
        let from = self.named(&name).and_then(|unit| self.enter(&unit)).ok_or_else(unknown)?;
        let rod = from.unit.lock().token_ranges(&list.token, now_ms()).ok_or_else(unknown)?;
        let rod = rod.map_err(Completion::check_condition)?;
        let result = self.copy_rod(&from, &rod, &to, &ranges, list).await;
        if list.delete_token {
            from.unit.lock().delete_token(&list.token);
        }
        result
    }

    async fn copy_rod(
        &mut self,
        from: &Operand,
        rod: &[(u64, u64)],
        to: &Operand,
        ranges: &[(u64, u64)],
        list: &WriteUsingTokenList,
    ) -> Result<(), Completion> {
        let total = |ranges: &[(u64, u64)]| ranges.iter().map(|(_, len)| len).sum::<u64>();
        let invalid =
            |byte| Err(Completion::check_condition(Sense::invalid_field_in_parameter_list(byte, None)));
        let skip = list.offset.checked_mul(to.pass.medium.logical_block.into());
        // Beyond the end of the data: at OFFSET INTO ROD, or at the ranges.
        let Some(skip) = skip.filter(|skip| *skip <= total(rod)) else { return invalid(8) };
        let pieces = pieces::of_rod(rod, skip, ranges);
        let granule = granule(from, to);
        let whole = |piece: &Piece| piece.len.is_multiple_of(granule);
        if total(ranges) > total(rod) - skip || !pieces.iter().all(whole) {
            return invalid(536);
        }
        for piece in pieces {
            let copied = self.copy(from, to, piece, Some(&list.token)).await;
            copied.map_err(|stop| self.told(stop))?;
        }
        Ok(())
    }

    /// How WRITE USING TOKEN ends when it stops. What its own logical unit refuses it tells in its own words, as long as that cannot be
    /// taken for a command that changed nothing.
    fn told(&self, stop: Stop) -> Completion {
        self.log(&stop);
        let failed = copy_aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, 0);
        match stop {
            Stop::Ended => failed,
            Stop::Source(told) => {
                let token =
                    told.sense.as_ref().is_some_and(|sense| sense.asc.code == Asc::TOKEN_REVOKED.code);
                if token { told } else { failed }
            }
            Stop::Destination(told) if told.sense.is_some() || self.totals.bytes == 0 => told,
            Stop::Destination(_) => failed,
        }
    }

    /// The initiator is told no more than that a copy failed.
    fn log(&self, stop: &Stop) {
        let initiator = &self.session.initiator;
        let (who, told) = match stop {
            Stop::Ended => return tracing::info!(%initiator, "a third-party copy was stopped"),
            Stop::Source(told) => ("source", told),
            Stop::Destination(told) => ("destination", told),
        };
        let (status, sense) = (told.status, told.sense.as_ref().map(ToString::to_string));
        tracing::info!(%initiator, who, ?status, sense, "a third-party copy was refused or failed");
    }

    /// Before each chunk.
    fn may_read(&self) -> Result<(), Stop> {
        let goes_on = self.unit.lock().copy_reads(self.task, self.totals);
        if goes_on { Ok(()) } else { Err(Stop::Ended) }
    }

    /// Writes, if the command still may.
    async fn write(&mut self, to: &Operand, leg: Leg) -> Result<(), Stop> {
        let goes_on = self.unit.lock().copy_writes(self.task);
        if !goes_on {
            return Err(Stop::Ended);
        }
        let len = leg.extent().1;
        self.leg(to, leg).await.map_err(Stop::Destination)?;
        self.totals.bytes += len;
        Ok(())
    }

    async fn copy(
        &mut self,
        from: &Operand,
        to: &Operand,
        piece: Piece,
        token: Option<&RodToken>,
    ) -> Result<(), Stop> {
        let Piece { from: source, to: destination, len } = piece;
        // Within one medium the end goes first when the beginning would overwrite it.
        let overlaps = Arc::ptr_eq(&from.unit, &to.unit) && (source + 1..source + len).contains(&destination);
        let mut done = 0;
        while done < len {
            self.may_read()?;
            let left = len - done;
            let (at, found) = if overlaps {
                let chunk = left.min(COPY_CHUNK.into());
                (left - chunk, Found::Data(self.read_all(from, source + left - chunk, chunk).await?))
            } else {
                let most = left.min(WRITE_SAME_LEN_MAX.into());
                (done, self.read(from, source + done, most, granule(from, to)).await?)
            };
            if let Some(token) = token {
                let valid = from.unit.lock().check_token(token, now_ms());
                valid.map_err(|sense| Stop::Source(Completion::check_condition(sense)))?;
            }
            let (leg, moved) = match found {
                Found::Hole(len) => (Leg::Zero { offset: destination + at, len }, len),
                Found::Data(data) => {
                    let len = data.len() as u64;
                    (Leg::Write { offset: destination + at, data }, len)
                }
            };
            self.write(to, leg).await?;
            done += moved;
        }
        Ok(())
    }

    async fn zero(&mut self, to: &Operand, offset: u64, len: u64) -> Result<(), Stop> {
        let mut done = 0;
        while done < len {
            self.may_read()?;
            let part = (len - done).min(WRITE_SAME_LEN_MAX.into());
            self.write(to, Leg::Zero { offset: offset + done, len: part }).await?;
            done += part;
        }
        Ok(())
    }

    /// What the first of these bytes are; the length of what comes is a multiple of `granule`.
    async fn read(&self, from: &Operand, offset: u64, len: u64, granule: u64) -> Result<Found, Stop> {
        let granule = u32::try_from(granule).unwrap_or(COPY_CHUNK);
        match self.leg(from, Leg::Read { offset, len, granule }).await {
            Ok(Some(MediaReply::Data(data))) if !data.is_empty() => Ok(Found::Data(data)),
            Ok(Some(MediaReply::Hole(len))) if len > 0 => Ok(Found::Hole(len)),
            Ok(_) => {
                let sense = Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE);
                Err(Stop::Source(Completion::check_condition(sense)))
            }
            Err(completion) => Err(Stop::Source(completion)),
        }
    }

    /// All of these bytes, which are no more than a chunk, with the zeros of holes.
    async fn read_all(&self, from: &Operand, offset: u64, len: u64) -> Result<Bytes, Stop> {
        let mut all = BytesMut::new();
        while (all.len() as u64) < len {
            let done = all.len() as u64;
            match self.read(from, offset + done, len - done, granule(from, from)).await? {
                Found::Data(data) => all.extend_from_slice(&data),
                Found::Hole(hole) => all.resize(all.len() + usize::try_from(hole).unwrap_or(0), 0),
            }
        }
        Ok(all.freeze())
    }

    /// Carries out a leg. Gives what was read.
    ///
    /// # Errors
    /// What the logical unit would answer to a command that did the same.
    async fn leg(&self, operand: &Operand, leg: Leg) -> Result<Option<MediaReply>, Completion> {
        let task = TaskId(self.shared.numbers.next().0);
        let unit = &operand.unit;
        let mut step = unit.lock().begin_leg(task, &operand.pass, leg);
        let mut found = None;
        loop {
            step = match step {
                Step::Media(op) => {
                    let result = match run(unit, op).await {
                        Ok(reply @ (MediaReply::Data(_) | MediaReply::Hole(_))) => {
                            found = Some(reply);
                            Ok(MediaReply::Done)
                        }
                        other => other,
                    };
                    let next = unit.lock().media_done(task, result);
                    unit.left_medium(task);
                    next
                }
                Step::Done(completion) if completion.status == Status::Good => return Ok(found),
                Step::Done(completion) => return Err(completion),
                // The copy's commands in that logical unit were aborted; nothing else comes out of a leg.
                _ => return Err(copy_aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, 0)),
            };
        }
    }
}

/// Bytes of the larger of the two logical blocks.
fn granule(from: &Operand, to: &Operand) -> u64 {
    from.pass.medium.logical_block.max(to.pass.medium.logical_block).into()
}

/// Runs an operation on one of the unit's threads.
async fn run(unit: &Arc<Unit>, op: crate::device::MediaOp) -> Result<MediaReply, MediaFailure> {
    // The semaphore is never closed.
    let thread = unit.threads.clone().acquire_owned().await;
    let unit = unit.clone();
    let work = tokio::task::spawn_blocking(move || {
        let result = media::run(&unit, op);
        drop(thread);
        result
    });
    match work.await {
        Ok(result) => result.map_err(|error| {
            tracing::error!(%error, "an operation of a third-party copy on the medium failed");
            error.failure()
        }),
        // It panicked, or the runtime ends: nothing is known of what it did.
        Err(_) => Err(MediaFailure::Write),
    }
}
