//! Asking again for what did not come, sending again what did not arrive, and going on elsewhere when a connection is lost
//! (RFC 7143 §7). Nothing of this happens at error recovery level 0.
//!
//! What is missing shows by a number that is skipped, or by time: every [`Timing::recovery`](super::Timing::recovery) what has had no
//! answer is sent or asked for once more, and a NOP-Out on each connection brings the target's present numbers.

use std::time::{Duration, Instant};

use lunkeep_common::login::initiator_side::EstablishedLogin;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::logout::{LogoutReason, LogoutRequest, LogoutResult};
use lunkeep_common::pdu::scsi_response::ScsiResponse;
use lunkeep_common::pdu::snack::{SnackKind, SnackRequest};
use lunkeep_common::pdu::task_management::{
    TaskManagementFunction, TaskManagementRequest, TaskManagementResult,
};
use lunkeep_common::pdu::{
    Bhs, InitiatorHeader, InitiatorPdu, InitiatorTaskTag, Pdu, RejectReason, TargetTransferTag,
};
use lunkeep_common::scsi::Lun;
use lunkeep_common::serial::{CmdSn, StatSn};

use super::exchange::{Exchange, Kind};
use super::link::Link;
use super::task::Task;
use super::{FullFeature, Phase, SessionError, TaskFailure};
use crate::commands::Transfer;

impl FullFeature {
    /// Whether a PDU may be lost without the session.
    pub(super) const fn recovers(&self) -> bool {
        self.parameters.error_recovery_level >= 1
    }

    /// Whether the target keeps the tasks of a lost connection for another one.
    #[must_use]
    pub const fn keeps_tasks(&self) -> bool {
        self.parameters.error_recovery_level >= 2 && self.parameters.default_time2retain > 0
    }

    pub(super) fn link(&self, cid: Cid) -> Option<&Link> {
        self.links.iter().find(|link| link.cid == cid)
    }

    pub(super) fn link_mut(&mut self, cid: Cid) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.cid == cid)
    }

    /// The connection for what belongs to no task.
    pub(super) fn main_cid(&self) -> Cid {
        self.links.first().map_or(Cid(0), |link| link.cid)
    }

    /// A PDU whose data was damaged: it is as if it had not come. What it was shows by what is missing (RFC 7143 §7.8).
    ///
    /// # Errors
    /// [`SessionError::Unrecoverable`] at error recovery level 0: the session is over.
    pub fn handle_damaged(&mut self, cid: Cid, bhs: &Bhs, now: Instant) -> Result<(), SessionError> {
        if self.phase == Phase::Ended {
            return Ok(());
        }
        if !self.recovers() {
            return Err(SessionError::Unrecoverable { opcode: bhs[0] & 0x3f });
        }
        self.now = now;
        if let Some(link) = self.link_mut(cid) {
            link.last_heard = now;
        }
        self.arm(now);
        Ok(())
    }

    /// Whether a new connection may have this CID. One that was removed for recovery keeps it for good: a repeated request to remove
    /// it may still be on its way, and would remove the new one.
    #[must_use]
    pub fn is_free(&self, cid: Cid) -> bool {
        self.link(cid).is_none() && !self.removed.contains(&cid)
    }

    /// Another connection of the session, or one in place of a lost one with the same CID, has logged in; see
    /// [`FullFeature::is_free`].
    pub fn add_connection(&mut self, login: &EstablishedLogin, cid: Cid, now: Instant) {
        self.now = now;
        self.links.push(Link::new(login, cid, now));
        if login.exp_cmd_sn > self.exp_cmd_sn {
            self.exp_cmd_sn = login.exp_cmd_sn;
        }
        if login.max_cmd_sn > self.max_cmd_sn {
            self.max_cmd_sn = login.max_cmd_sn;
        }
        // A login with its CID logs a lost connection out (RFC 7143 §6.3.4).
        self.lost.retain(|&(lost, _)| lost != cid);
        self.move_tasks(cid, cid, now);
        self.remove_lost(now);
        self.arm(now);
    }

    /// A connection is gone, and its tasks wait for another one. Of no effect when it is not there or the session is logged out.
    ///
    /// # Errors
    /// [`SessionError::Closed`] where tasks are not kept: the session is over.
    pub fn lose_connection(&mut self, cid: Cid, now: Instant) -> Result<(), SessionError> {
        if self.phase == Phase::Ended || self.link(cid).is_none() {
            return Ok(());
        }
        // Nothing is under way during the logout of the session but the logout itself, and that ends the lost connection too.
        let asked_here = |exchange: &Exchange| matches!(exchange.kind, Kind::Logout) && exchange.cid == cid;
        let logging_out = self.phase == Phase::LoggingOut;
        let needed = !logging_out || self.exchanges.values().any(asked_here);
        if needed && !self.keeps_tasks() {
            return Err(SessionError::Closed);
        }
        if logging_out {
            self.links.retain(|link| link.cid != cid);
            self.exchanges.retain(|_, exchange| exchange.cid != cid || matches!(exchange.kind, Kind::Logout));
            if let Some(to) = self.links.first().map(|link| link.cid) {
                self.move_exchanges(to, now);
            }
            self.arm(now);
            return Ok(());
        }
        self.now = now;
        self.links.retain(|link| link.cid != cid);
        for task in self.tasks.values_mut().filter(|task| task.sent.is_some() && task.cid == cid) {
            task.lost = true;
            task.response = None;
            task.acknowledge = None;
            task.forget_bursts();
            task.data_in.forget_early();
        }
        // A ping was about this connection; a task that was moved to it is moved again.
        self.exchanges.retain(|_, exchange| {
            exchange.cid != cid || !matches!(exchange.kind, Kind::Ping | Kind::Reassign { .. })
        });
        let wait = Duration::from_secs(self.parameters.default_time2wait.into());
        self.lost.push((cid, now + wait));
        self.remove_lost(now);
        self.arm(now);
        Ok(())
    }

    /// The connection that was lost last and is not removed: a login may take its place.
    #[must_use]
    pub fn last_lost(&self) -> Option<Cid> {
        self.lost.last().map(|&(cid, _)| cid)
    }

    /// When the removal of a lost connection is due.
    pub(super) fn next_removal(&self) -> Option<Instant> {
        self.lost.iter().map(|&(_, due)| due).min().filter(|_| !self.links.is_empty())
    }

    /// Asks on a connection that is there to remove those that are lost (RFC 7143 §11.14).
    pub(super) fn remove_lost(&mut self, now: Instant) {
        let Some(cid) = self.links.first().map(|link| link.cid) else { return };
        self.move_exchanges(cid, now);
        let (due, later) = std::mem::take(&mut self.lost).into_iter().partition(|&(_, due)| due <= now);
        self.lost = later;
        let due: Vec<(Cid, Instant)> = due;
        for (lost, _) in due {
            self.removed.insert(lost);
            let itt = self.begin_on(cid, Kind::RemoveConnection { cid: lost }, now);
            let header = LogoutRequest {
                immediate: true,
                reason: LogoutReason::RemoveForRecovery,
                itt,
                cid: lost,
                cmd_sn: CmdSn(0),
                exp_stat_sn: StatSn(0),
            };
            self.send_request(itt, Pdu::new(header).into());
        }
    }

    /// What was asked on a connection that is gone is asked again on this one, at once: the target keeps the tasks of a lost
    /// connection for a limited time, and connections may come and go faster than patience runs out.
    fn move_exchanges(&mut self, to: Cid, now: Instant) {
        let (links, answer) = (&self.links, self.timing.answer);
        let orphans = self
            .exchanges
            .iter_mut()
            .filter(|(_, exchange)| !links.iter().any(|link| link.cid == exchange.cid));
        let mut again = Vec::new();
        for (&itt, exchange) in orphans {
            exchange.cid = to;
            exchange.deadline = now + answer;
            if let Some((pdu, sent)) = &mut exchange.request {
                *sent = now;
                again.push((itt, pdu.clone()));
            }
        }
        again.sort_by_key(|(itt, _)| *itt);
        again.into_iter().for_each(|(_, pdu)| self.push_urgent(to, pdu));
    }

    pub(super) fn connection_removed(
        &mut self,
        lost: Cid,
        result: LogoutResult,
        now: Instant,
    ) -> Result<(), SessionError> {
        match result {
            // Not found: its time is over, and so are its tasks; reassigning them says so.
            LogoutResult::Closed | LogoutResult::CidNotFound => {
                let to = self.main_cid();
                self.move_tasks(lost, to, now);
                Ok(())
            }
            result => Err(SessionError::LogoutRefused { result }),
        }
    }

    /// Lets the tasks of a lost connection go on on another one: a command that the target did not get is sent again, others are
    /// reassigned (RFC 7143 §7.2).
    fn move_tasks(&mut self, lost: Cid, to: Cid, now: Instant) {
        let mut moving: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.lost && task.cid == lost)
            .filter_map(|(&itt, task)| Some((task.sent?, itt)))
            .collect();
        let base = self.exp_cmd_sn.plus(1 << 31);
        moving.sort_by_key(|(cmd_sn, _)| cmd_sn.distance_from(base));
        for (cmd_sn, itt) in moving {
            let exp_cmd_sn = self.exp_cmd_sn;
            let Some(task) = self.tasks.get_mut(&itt) else { continue };
            task.lost = false;
            task.cid = to;
            if cmd_sn >= exp_cmd_sn {
                task.sent_at = now;
                self.retries.push_back(itt);
            } else {
                self.reassign(itt, now);
            }
        }
    }

    fn reassign(&mut self, task_tag: InitiatorTaskTag, now: Instant) {
        let Some(task) = self.tasks.get(&task_tag) else { return };
        let (cid, lun, exp_data_sn) = (task.cid, task.lun, task.data_in.next_sn());
        let itt = self.begin_on(cid, Kind::Reassign { task: task_tag }, now);
        let header = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::TaskReassign,
            lun,
            itt,
            referenced_task_tag: task_tag,
            cmd_sn: CmdSn(0),
            exp_stat_sn: StatSn(0),
            ref_cmd_sn: CmdSn(0),
            exp_data_sn,
        };
        self.send_request(itt, Pdu::new(header).into());
    }

    pub(super) fn reassigned(&mut self, itt: InitiatorTaskTag, result: TaskManagementResult, now: Instant) {
        use TaskManagementResult as R;
        match result {
            R::FunctionComplete => {}
            // A request that came twice, or a connection that is not yet removed: the task goes on, or is tried again.
            R::TaskStillAllegiant => self.arm(now),
            _ => {
                self.end_task(itt, Err(TaskFailure::NotReassigned { result }));
            }
        }
    }

    /// The target sends a status next that was not heard of: what is before it is missing.
    pub(super) fn reveal_status(&mut self, cid: Cid, next: StatSn) {
        if let Some(link) = self.link_mut(cid) {
            link.reveal(next);
        }
        self.request_missing_status(cid);
    }

    pub(super) fn request_missing_status(&mut self, cid: Cid) {
        let now = self.now;
        if let Some((from, count)) = self.link(cid).and_then(Link::missing) {
            let snack = snack(SnackKind::Status, InitiatorTaskTag::RESERVED, from.0, count);
            self.push_urgent(cid, snack);
        }
        self.arm(now);
    }

    /// Data of a task came: asks for what is missing before it, acknowledges it, and ends the task if that was all.
    pub(super) fn data_came(&mut self, cid: Cid, itt: InitiatorTaskTag) -> Result<(), SessionError> {
        let Some(task) = self.tasks.get_mut(&itt) else { return Ok(()) };
        let end = task.response.as_ref().map(|(response, _)| response.exp_data_sn);
        if let Some((from, count)) = task.data_in.missing(end) {
            // Once for each hole; then again by time.
            if task.snacked != Some(from) {
                task.snacked = Some(from);
                self.push_urgent(cid, snack(SnackKind::DataOrR2t, itt, from.0, count));
            }
            let now = self.now;
            self.arm(now);
            return Ok(());
        }
        if let Some((lun, ttt)) = task.acknowledge.take() {
            let mut request =
                snack_request(SnackKind::DataAck, InitiatorTaskTag::RESERVED, task.data_in.next_sn().0, 0);
            (request.lun, request.ttt) = (lun, ttt);
            self.push_urgent(cid, Pdu::new(request).into());
        }
        let Some(task) = self.tasks.get_mut(&itt) else { return Ok(()) };
        match task.response.take() {
            Some((header, segment)) => self.response(cid, &header, &segment),
            None => Ok(()),
        }
    }

    /// Whether a response came before all data; then it is not acknowledged yet (RFC 7143 §7.9).
    pub(super) fn waits_for_data(&mut self, cid: Cid, header: &ScsiResponse, segment: &bytes::Bytes) -> bool {
        let Some(task) = self.tasks.get_mut(&header.itt) else { return false };
        let reads = matches!(task.request.transfer, Transfer::In(_));
        let Some((from, count)) = task.data_in.missing(reads.then_some(header.exp_data_sn)) else {
            return false;
        };
        task.response = Some((header.clone(), segment.clone()));
        task.snacked = Some(from);
        self.push_urgent(cid, snack(SnackKind::DataOrR2t, header.itt, from.0, count));
        let now = self.now;
        self.arm(now);
        true
    }

    /// Whether a Reject says only that a PDU must come again, or came once too often.
    pub(super) fn rejected_for_now(&mut self, rejected: &InitiatorHeader, reason: RejectReason) -> bool {
        match (rejected, reason) {
            // Whatever it was, its absence is noticed: commands and requests by time, data by the target.
            (_, RejectReason::DataDigestError | RejectReason::TaskInProgress) => {}
            // A SNACK that crossed with what it asked for.
            (InitiatorHeader::SnackRequest(_), _) => {}
            _ => return false,
        }
        let now = self.now;
        self.arm(now);
        true
    }

    /// FastAbort: no status will come for the tasks of this connection on a logical unit.
    pub(super) fn tasks_terminated(&mut self, cid: Cid, lun: Lun) {
        let over = |task: &Task| task.sent.is_some() && task.cid == cid && task.lun == lun;
        let mut over: Vec<_> =
            self.tasks.iter().filter(|(_, task)| over(task)).map(|(&itt, _)| itt).collect();
        over.sort_unstable();
        for itt in over {
            self.end_task(itt, Err(TaskFailure::Aborted));
        }
    }

    /// The next command that is sent again on a connection.
    pub(super) fn next_retry(&mut self, cid: Cid) -> Option<InitiatorPdu> {
        let at = self
            .retries
            .iter()
            .position(|itt| self.tasks.get(itt).is_none_or(|task| task.cid == cid && !task.lost))?;
        let itt = self.retries.remove(at)?;
        self.command(cid, itt)
    }

    /// Makes sure that [`FullFeature::recover`] runs in time.
    pub(super) fn arm(&mut self, now: Instant) {
        if self.recovers() {
            self.recover_at.get_or_insert(now + self.timing.recovery);
        }
    }

    /// Looks for what has had no answer for too long.
    pub(super) fn recover(&mut self, now: Instant) {
        if !self.recovers() || self.recover_at.is_none_or(|at| at > now) {
            return;
        }
        self.recover_at = None;
        let patience = self.timing.recovery;
        let cids: Vec<_> = self.links.iter().map(|link| link.cid).collect();
        for &cid in &cids {
            self.request_missing_status(cid);
        }
        let exp_cmd_sn = self.exp_cmd_sn;
        let mut sent: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| !task.lost)
            .filter_map(|(&itt, task)| Some((task.sent?, itt)))
            .collect();
        sent.sort_by_key(|(_, itt)| *itt);
        for (cmd_sn, itt) in sent {
            let Some(task) = self.tasks.get_mut(&itt) else { continue };
            let end = task.response.as_ref().map(|(response, _)| response.exp_data_sn);
            if let Some((from, count)) = task.data_in.missing(end) {
                let cid = task.cid;
                self.push_urgent(cid, snack(SnackKind::DataOrR2t, itt, from.0, count));
            } else if cmd_sn >= exp_cmd_sn && task.sent_at + patience <= now && !self.retries.contains(&itt) {
                task.sent_at = now;
                self.retries.push_back(itt);
            }
        }
        let mut again = Vec::new();
        for exchange in self.exchanges.values_mut() {
            if let Some((pdu, sent)) = &mut exchange.request
                && *sent + patience <= now
            {
                *sent = now;
                again.push((exchange.cid, pdu.clone()));
            }
        }
        again.into_iter().for_each(|(cid, pdu)| self.push_urgent(cid, pdu));
        // What the target may have sent last and nothing followed: its answer tells its numbers.
        for cid in cids {
            if self.tasks.values().any(|task| task.sent.is_some() && task.cid == cid) && !self.is_pinging(cid)
            {
                self.ping(cid, now);
            }
        }
        let waits = self.tasks.values().any(|task| task.sent.is_some()) || !self.exchanges.is_empty();
        if waits {
            self.arm(now);
        }
    }
}

fn snack_request(kind: SnackKind, itt: InitiatorTaskTag, beg_run: u32, run_length: u32) -> SnackRequest {
    let (lun, ttt) = (Lun(0), TargetTransferTag::RESERVED);
    SnackRequest { kind, lun, itt, ttt, exp_stat_sn: StatSn(0), beg_run, run_length }
}

fn snack(kind: SnackKind, itt: InitiatorTaskTag, beg_run: u32, run_length: u32) -> InitiatorPdu {
    Pdu::new(snack_request(kind, itt, beg_run, run_length)).into()
}
