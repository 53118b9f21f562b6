//! Requests other than SCSI commands: task management, text, ping, logout. All of them are sent immediate, so that a full command
//! window never keeps them (RFC 7143 §4.2.2.1).

use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::limits::DATA_SEGMENT_LEN_MIN;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::logout::{LogoutReason, LogoutRequest};
use lunkeep_common::pdu::nop::NopOut;
use lunkeep_common::pdu::task_management::{
    TaskManagementFunction, TaskManagementRequest, TaskManagementResult,
};
use lunkeep_common::pdu::text::TextRequest;
use lunkeep_common::pdu::{InitiatorPdu, InitiatorTaskTag, Pdu, TargetTransferTag};
use lunkeep_common::scsi::Lun;
use lunkeep_common::serial::{CmdSn, DataSn, StatSn};
use lunkeep_common::text::{Pairs, TextReceiver};

use super::task::AbortCause;
use super::{Event, FullFeature, Phase, SessionError, SubmitError, TaskFailure, Ticket};

/// A request under way that is not a command.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) deadline: Instant,
    pub(super) kind: Kind,
    /// Where it was asked.
    pub(super) cid: Cid,
    /// What was sent, to be sent again where that can be lost, and when last.
    pub(super) request: Option<(InitiatorPdu, Instant)>,
    /// Connections that were given up because nothing answered on them.
    pub(super) given_up: u32,
}

#[derive(Debug)]
pub(super) enum Kind {
    Ping,
    /// ABORT TASK for one of our tasks.
    Abort {
        task: InitiatorTaskTag,
    },
    /// A function that our caller asked for.
    Management {
        ticket: Ticket,
        function: TaskManagementFunction,
        lun: Lun,
        before: CmdSn,
    },
    Text {
        ticket: Ticket,
        receiver: TextReceiver,
        rounds: u32,
    },
    /// An empty request, because the target asked for a negotiation.
    Renegotiation,
    Logout,
    /// Removes a lost connection, so that its tasks can go on elsewhere.
    RemoveConnection {
        cid: Cid,
    },
    /// TASK REASSIGN.
    Reassign {
        task: InitiatorTaskTag,
    },
}

impl Kind {
    /// For messages: what was not answered.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ping => "NOP-Out",
            Self::Abort { .. } => "ABORT TASK",
            Self::Management { .. } => "a task management function",
            Self::Text { .. } | Self::Renegotiation => "a Text Request",
            Self::Logout => "the logout",
            Self::RemoveConnection { .. } => "the removal of a lost connection",
            Self::Reassign { .. } => "TASK REASSIGN",
        }
    }
}

impl FullFeature {
    /// Sends a task management function that concerns a logical unit or the whole target; for one task see
    /// [`FullFeature::abort`]. Tasks of this session that it ended end as [`TaskFailure::Aborted`].
    ///
    /// # Errors
    /// [`SubmitError::Ending`].
    pub fn manage(
        &mut self,
        function: TaskManagementFunction,
        lun: Lun,
        now: Instant,
    ) -> Result<Ticket, SubmitError> {
        self.check_open()?;
        let ticket = self.new_ticket();
        let kind = Kind::Management { ticket, function, lun, before: self.cmd_sn };
        self.send_management(function, lun, None, kind, now);
        Ok(ticket)
    }

    /// Sends keys, and collects all text that the target answers with.
    ///
    /// # Errors
    /// [`SubmitError::Ending`]; [`SubmitError::TooLong`] for text that does not fit 512 bytes, which every target takes.
    pub fn text(&mut self, pairs: &Pairs, now: Instant) -> Result<Ticket, SubmitError> {
        self.check_open()?;
        let data = pairs.encode();
        if data.len() > DATA_SEGMENT_LEN_MIN as usize {
            return Err(SubmitError::TooLong { len: data.len(), limit: DATA_SEGMENT_LEN_MIN });
        }
        let ticket = self.new_ticket();
        let itt = self.begin(Kind::Text { ticket, receiver: TextReceiver::default(), rounds: 0 }, now);
        self.send_text(itt, Lun(0), TargetTransferTag::RESERVED, data);
        Ok(ticket)
    }

    /// Takes no more requests and logs out when those under way have ended.
    pub fn logout(&mut self, now: Instant) {
        if self.phase == Phase::Open {
            self.phase = Phase::Ending;
            self.log_out_if_idle(now);
        }
    }

    /// Sends the logout once nothing is under way.
    pub(super) fn log_out_if_idle(&mut self, now: Instant) {
        let waits = |exchange: &Exchange| !matches!(exchange.kind, Kind::Ping | Kind::Renegotiation);
        if self.phase != Phase::Ending || !self.tasks.is_empty() || self.exchanges.values().any(waits) {
            return;
        }
        self.phase = Phase::LoggingOut;
        let itt = self.begin(Kind::Logout, now);
        let header = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CloseSession,
            itt,
            cid: self.main_cid(),
            cmd_sn: CmdSn(0),
            exp_stat_sn: StatSn(0),
        };
        self.send_request(itt, Pdu::new(header).into());
    }

    /// Aborts a task: at once when it was not sent, else by asking the target.
    pub(super) fn abort_task(&mut self, itt: InitiatorTaskTag, cause: AbortCause, now: Instant) {
        let Some(task) = self.tasks.get_mut(&itt) else { return };
        let Some(ref_cmd_sn) = task.sent else {
            self.end_task(itt, Err(failure(cause, false)));
            return self.log_out_if_idle(now);
        };
        let under_way = task.abort.is_some();
        // A command that its caller gave up and that then runs out of time has run out of time.
        task.abort = Some(cause);
        let lun = task.lun;
        if !under_way {
            let function = TaskManagementFunction::AbortTask;
            self.send_management(function, lun, Some((itt, ref_cmd_sn)), Kind::Abort { task: itt }, now);
        }
    }

    fn send_management(
        &mut self,
        function: TaskManagementFunction,
        lun: Lun,
        task: Option<(InitiatorTaskTag, CmdSn)>,
        kind: Kind,
        now: Instant,
    ) {
        let itt = self.begin(kind, now);
        let (referenced_task_tag, ref_cmd_sn) = task.unwrap_or((InitiatorTaskTag::RESERVED, CmdSn(0)));
        let header = TaskManagementRequest {
            immediate: true,
            function,
            lun,
            itt,
            referenced_task_tag,
            cmd_sn: CmdSn(0),
            exp_stat_sn: StatSn(0),
            ref_cmd_sn,
            exp_data_sn: DataSn(0),
        };
        self.send_request(itt, Pdu::new(header).into());
    }

    /// The answer to a task management function.
    pub(super) fn management_answered(
        &mut self,
        itt: InitiatorTaskTag,
        result: TaskManagementResult,
        now: Instant,
    ) -> Result<(), SessionError> {
        use TaskManagementResult as R;
        let Some(exchange) = self.exchanges.remove(&itt) else { return Ok(()) };
        let Exchange { kind, deadline, cid, request, given_up } = exchange;
        match kind {
            Kind::Abort { task: tag } => {
                let (recovers, answer) = (self.recovers(), self.timing.answer);
                let Some(task) = self.tasks.get_mut(&tag) else { return Ok(()) };
                let cause = task.abort.take().unwrap_or(AbortCause::Caller);
                match (result, cause) {
                    // Its status may still come, or come again, where PDUs are recovered: then that is how it ended.
                    (R::TaskDoesNotExist, _) if recovers && !task.doubted => {
                        task.doubted = true;
                        task.deadline = task.deadline.max(now + answer);
                    }
                    (R::TaskDoesNotExist, AbortCause::Time) if recovers => {
                        return Err(SessionError::NotAborted { result });
                    }
                    (R::TaskDoesNotExist, AbortCause::Caller) if recovers => {}
                    // A task that does not exist, and whose status did not come before this answer on the one connection
                    // there is, is gone.
                    (R::FunctionComplete | R::TaskDoesNotExist, _) => {
                        self.end_task(tag, Err(failure(cause, true)));
                    }
                    // The caller's wish was refused; the command goes on.
                    (_, AbortCause::Caller) => {}
                    (result, AbortCause::Time) => return Err(SessionError::NotAborted { result }),
                }
            }
            Kind::Management { ticket, function, lun, before } => {
                if result == R::FunctionComplete {
                    self.end_tasks_of(function, lun, before);
                }
                self.events.push_back(Event::Management { ticket, result });
            }
            Kind::Reassign { task } => self.reassigned(task, result, now),
            other => {
                self.exchanges.insert(itt, Exchange { kind: other, deadline, cid, request, given_up });
                return Err(SessionError::UnexpectedPdu {
                    name: "a task management response to another request",
                });
            }
        }
        self.log_out_if_idle(now);
        Ok(())
    }

    /// Tasks that a completed function ended on the target: no status will come for them (RFC 7143 §4.2.3.3).
    fn end_tasks_of(&mut self, function: TaskManagementFunction, lun: Lun, before: CmdSn) {
        use TaskManagementFunction as F;
        let ends = |task_lun: Lun| match function {
            F::AbortTaskSet | F::ClearTaskSet | F::LogicalUnitReset => task_lun == lun,
            F::TargetWarmReset | F::TargetColdReset => true,
            _ => false,
        };
        let mut ended: Vec<_> = self
            .tasks
            .iter()
            .filter_map(|(&tag, task)| {
                Some((task.sent?, tag)).filter(|&(sn, _)| ends(task.lun) && sn < before)
            })
            .collect();
        ended.sort_by_key(|(sn, _)| sn.distance_from(before));
        for (_, tag) in ended {
            self.end_task(tag, Err(TaskFailure::Aborted));
        }
    }

    pub(super) fn send_text(&mut self, itt: InitiatorTaskTag, lun: Lun, ttt: TargetTransferTag, data: Bytes) {
        let header = TextRequest {
            immediate: true,
            is_final: true,
            continues: false,
            lun,
            itt,
            ttt,
            cmd_sn: CmdSn(0),
            exp_stat_sn: StatSn(0),
        };
        self.send_request(itt, Pdu::with_data(header, data).into());
    }

    /// Asks the target on a connection whether it is there.
    pub(super) fn ping(&mut self, cid: Cid, now: Instant) {
        let itt = self.begin_on(cid, Kind::Ping, now);
        let header = nop(Lun(0), itt, TargetTransferTag::RESERVED);
        self.send_request(itt, Pdu::new(header).into());
    }

    /// Queues a request of an exchange on its connection, and keeps it where it may have to be sent again.
    pub(super) fn send_request(&mut self, itt: InitiatorTaskTag, pdu: InitiatorPdu) {
        let (recovers, now) = (self.recovers(), self.now);
        let Some(exchange) = self.exchanges.get_mut(&itt) else { return };
        let cid = exchange.cid;
        if recovers {
            exchange.request = Some((pdu.clone(), now));
        }
        self.push_urgent(cid, pdu);
    }

    /// Queues an immediate PDU on a connection.
    pub(super) fn push_urgent(&mut self, cid: Cid, pdu: InitiatorPdu) {
        if let Some(link) = self.link_mut(cid) {
            link.urgent.push_back(pdu);
        }
    }

    /// Begins an exchange: about a task on the connection of that task, else on the first one.
    pub(super) fn begin(&mut self, kind: Kind, now: Instant) -> InitiatorTaskTag {
        let of_task = match &kind {
            Kind::Abort { task } => self.tasks.get(task).map(|task| task.cid),
            _ => None,
        };
        let cid = of_task.filter(|&cid| self.link(cid).is_some()).unwrap_or_else(|| self.main_cid());
        self.begin_on(cid, kind, now)
    }

    pub(super) fn begin_on(&mut self, cid: Cid, kind: Kind, now: Instant) -> InitiatorTaskTag {
        let itt = self.new_tag();
        self.now = now;
        let deadline = now + self.timing.answer;
        let exchange = Exchange { deadline, kind, cid, request: None, given_up: 0 };
        self.exchanges.insert(itt, exchange);
        itt
    }
}

pub(super) fn nop(lun: Lun, itt: InitiatorTaskTag, ttt: TargetTransferTag) -> NopOut {
    NopOut { immediate: true, lun, itt, ttt, cmd_sn: CmdSn(0), exp_stat_sn: StatSn(0) }
}

const fn failure(cause: AbortCause, sent: bool) -> TaskFailure {
    match cause {
        AbortCause::Caller => TaskFailure::Aborted,
        AbortCause::Time => TaskFailure::TimedOut { sent },
    }
}
