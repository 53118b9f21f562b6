//! What the target sends.

use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::login::TaskReporting;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::async_message::{AsyncEvent, AsyncMessage};
use lunkeep_common::pdu::data_in::DataIn;
use lunkeep_common::pdu::logout::{LogoutResponse, LogoutResult};
use lunkeep_common::pdu::nop::NopIn;
use lunkeep_common::pdu::r2t::R2t;
use lunkeep_common::pdu::reject::Reject;
use lunkeep_common::pdu::scsi_response::{ScsiResponse, ServiceResponse, split_sense};
use lunkeep_common::pdu::text::TextResponse;
use lunkeep_common::pdu::{
    BHS_LEN, Header, InitiatorHeader, InitiatorTaskTag, Pdu, TargetHeader, TargetPdu, TargetTransferTag,
};
use lunkeep_common::scsi::Lun;
use lunkeep_common::serial::{CmdSn, StatSn};
use tracing::debug;

use super::exchange::{Exchange, Kind, nop};
use super::{Event, FullFeature, Phase, SessionError, TaskFailure, TextFailure};
use crate::commands::Completion;
use crate::limits::TEXT_ROUNDS_MAX;

impl FullFeature {
    /// Takes a PDU of the target from a connection.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle_pdu(&mut self, cid: Cid, pdu: TargetPdu, now: Instant) -> Result<(), SessionError> {
        self.now = now;
        // RFC 7143 §11.15: nothing follows the Logout Response.
        if self.phase == Phase::Ended {
            return Ok(());
        }
        let Some(link) = self.link_mut(cid) else { return Ok(()) };
        link.last_heard = now;
        let TargetPdu { header, data, .. } = pdu;
        match header {
            TargetHeader::DataIn(header) => self.data_in(cid, &header, data)?,
            TargetHeader::ScsiResponse(header) => self.response(cid, &header, &data)?,
            TargetHeader::R2t(header) => self.r2t(cid, &header)?,
            TargetHeader::NopIn(header) => self.nop_in(cid, &header)?,
            TargetHeader::TaskManagementResponse(header) => {
                self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
                if self.consume(cid, header.stat_sn)? {
                    self.management_answered(header.itt, header.response, now)?;
                }
            }
            TargetHeader::TextResponse(header) => self.text_response(cid, &header, &data, now)?,
            TargetHeader::LogoutResponse(header) => self.logged_out(cid, &header, now)?,
            TargetHeader::AsyncMessage(header) => self.message(cid, header, data, now)?,
            TargetHeader::Reject(header) => self.reject(cid, &header, &data)?,
            header @ TargetHeader::LoginResponse(_) => {
                return Err(SessionError::UnexpectedPdu { name: header.name() });
            }
        }
        self.log_out_if_idle(now);
        Ok(())
    }

    fn logged_out(&mut self, cid: Cid, header: &LogoutResponse, now: Instant) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        if !self.consume(cid, header.stat_sn)? {
            return Ok(());
        }
        match self.exchanges.remove(&header.itt).map(|exchange| exchange.kind) {
            Some(Kind::Logout) => {}
            Some(Kind::RemoveConnection { cid: lost }) => {
                return self.connection_removed(lost, header.response, now);
            }
            None if self.recovers() => return Ok(()),
            _ => return Err(SessionError::UnexpectedPdu { name: "a logout response to no logout" }),
        }
        self.phase = Phase::Ended;
        if header.response != LogoutResult::Closed {
            return Err(SessionError::LogoutRefused { result: header.response });
        }
        self.events.push_back(Event::LoggedOut);
        Ok(())
    }

    /// The command window. MaxCmdSN never goes back, and counts only with an ExpCmdSN that fits it (RFC 7143 §4.2.2.1).
    fn numbers(&mut self, exp: CmdSn, max: CmdSn) {
        if max.next() < exp {
            return;
        }
        if exp > self.exp_cmd_sn {
            self.exp_cmd_sn = exp;
        }
        if max > self.max_cmd_sn {
            self.max_cmd_sn = max;
        }
    }

    /// A status number. At recovery level 0 there is neither a hole nor a repetition; else it says whether this one is new.
    fn consume(&mut self, cid: Cid, found: StatSn) -> Result<bool, SessionError> {
        let recovers = self.recovers();
        let Some(link) = self.link_mut(cid) else { return Ok(false) };
        let expected = link.exp_stat_sn;
        if found != expected && !recovers {
            return Err(SessionError::StatSn { expected, found });
        }
        let new = link.take_status(found);
        if found != expected {
            self.request_missing_status(cid);
        }
        Ok(new)
    }

    fn data_in(&mut self, cid: Cid, header: &DataIn, data: Bytes) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        let itt = header.itt;
        if header.status.is_some() && !self.consume(cid, header.stat_sn)? {
            return Ok(());
        }
        let recovers = self.recovers();
        let Some(task) = self.tasks.get_mut(&itt) else {
            return late("Data-In", itt);
        };
        let taken =
            if recovers { task.data_in.push_or_keep(header, data) } else { task.data_in.push(header, data) };
        taken.map_err(|fault| SessionError::DataIn { itt, fault })?;
        if let Some(end) = header.status {
            let data = std::mem::take(&mut task.data_in).finish();
            let completion =
                Completion { status: end.status, sense: Bytes::new(), data, residual: end.residual };
            self.end_task(itt, Ok(completion));
        } else if recovers {
            if header.acknowledge {
                task.acknowledge = Some((header.lun, header.ttt));
            }
            return self.data_came(cid, itt);
        }
        Ok(())
    }

    pub(super) fn response(
        &mut self,
        cid: Cid,
        header: &ScsiResponse,
        segment: &Bytes,
    ) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        let itt = header.itt;
        if self.recovers() && self.waits_for_data(cid, header, segment) {
            return Ok(());
        }
        if !self.consume(cid, header.stat_sn)? {
            return Ok(());
        }
        let Some(task) = self.tasks.get_mut(&itt) else {
            return late("SCSI Response", itt);
        };
        let result = match (header.response, split_sense(segment)) {
            (ServiceResponse::CommandCompleted, Ok((sense, _))) => Ok(Completion {
                status: header.status,
                sense: Bytes::copy_from_slice(&sense),
                data: std::mem::take(&mut task.data_in).finish(),
                residual: header.residual,
            }),
            (ServiceResponse::CommandCompleted, Err(error)) => Err(TaskFailure::Response(error)),
            (ServiceResponse::TargetFailure, _) => Err(TaskFailure::Target { response: 0x01 }),
            (ServiceResponse::Vendor(response), _) => Err(TaskFailure::Target { response }),
        };
        self.end_task(itt, result);
        Ok(())
    }

    fn r2t(&mut self, cid: Cid, header: &R2t) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        let (itt, recovers) = (header.itt, self.recovers());
        if recovers {
            self.reveal_status(cid, header.stat_sn);
        }
        let (max_burst, outstanding) =
            (self.parameters.max_burst_length, self.parameters.max_outstanding_r2t);
        let Some(task) = self.tasks.get_mut(&itt) else {
            return late("R2T", itt);
        };
        let idle = !task.has_data_to_send();
        let taken = task
            .solicit(header, max_burst, outstanding, recovers)
            .map_err(|fault| SessionError::R2t { itt, fault })?;
        let Some(link) = self.link_mut(cid) else { return Ok(()) };
        if recovers && taken {
            // What was left of its data was given up by the target, if it asks already.
            link.forget(itt);
        }
        if idle || recovers && taken {
            link.solicited.push_back(itt);
        }
        Ok(())
    }

    fn nop_in(&mut self, cid: Cid, header: &NopIn) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        if header.itt != InitiatorTaskTag::RESERVED {
            if !self.consume(cid, header.stat_sn)? {
                return Ok(());
            }
            return match self.exchanges.remove(&header.itt) {
                Some(Exchange { kind: Kind::Ping, .. }) => Ok(()),
                None if self.recovers() => Ok(()),
                _ => Err(SessionError::UnexpectedPdu { name: "a NOP-In that answers no NOP-Out" }),
            };
        }
        if self.recovers() {
            self.reveal_status(cid, header.stat_sn);
        }
        if header.ttt != TargetTransferTag::RESERVED {
            let answer = nop(header.lun, InitiatorTaskTag::RESERVED, header.ttt);
            self.push_urgent(cid, Pdu::new(answer).into());
        }
        Ok(())
    }

    fn text_response(
        &mut self,
        cid: Cid,
        header: &TextResponse,
        data: &[u8],
        now: Instant,
    ) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        if !self.consume(cid, header.stat_sn)? {
            return Ok(());
        }
        let itt = header.itt;
        let broken = |rule| Err(SessionError::Text { itt, rule });
        let more = !header.is_final;
        if more && header.ttt == TargetTransferTag::RESERVED {
            return broken("more is to come, but there is no Target Transfer Tag to ask for it (11.11.4)");
        }
        match self.exchanges.remove(&itt).map(|exchange| exchange.kind) {
            Some(Kind::Text { ticket, mut receiver, rounds }) => {
                if rounds >= TEXT_ROUNDS_MAX {
                    return broken("the text does not end");
                }
                // Every piece but the last is kept as it is: a pair may be cut anywhere.
                let result = match receiver.push(data, more) {
                    Ok(None) => {
                        let deadline = now + self.timing.answer;
                        let kind = Kind::Text { ticket, receiver, rounds: rounds + 1 };
                        let exchange = Exchange { deadline, kind, cid, request: None, given_up: 0 };
                        self.exchanges.insert(itt, exchange);
                        self.send_text(itt, header.lun, header.ttt, Bytes::new());
                        return Ok(());
                    }
                    Ok(Some(pairs)) => Ok(pairs),
                    Err(error) => Err(TextFailure::Text(error)),
                };
                self.events.push_back(Event::Text { ticket, result });
                Ok(())
            }
            None if self.recovers() => Ok(()),
            // We have nothing to negotiate, and do not take part in what the target would like to.
            Some(Kind::Renegotiation) => Ok(()),
            _ => broken("there is no text request to answer"),
        }
    }

    fn message(
        &mut self,
        cid: Cid,
        message: AsyncMessage,
        data: Bytes,
        now: Instant,
    ) -> Result<(), SessionError> {
        self.numbers(message.exp_cmd_sn, message.max_cmd_sn);
        if !self.consume(cid, message.stat_sn)? {
            return Ok(());
        }
        match message.event {
            AsyncEvent::LogoutRequested => {
                if let Some(link) = self.link_mut(cid) {
                    link.logout_requested = true;
                }
                self.logout(now);
            }
            // The connection will be closed, and that is when it is lost; another one is lost now (Parameter1 names it).
            AsyncEvent::ConnectionDropped if self.keeps_tasks() => {
                let dropped = Cid(message.parameter1);
                if dropped != cid && self.link(dropped).is_some() {
                    self.lose_connection(dropped, now)?;
                }
            }
            event @ (AsyncEvent::ConnectionDropped | AsyncEvent::SessionDropped) => {
                return Err(SessionError::Dropped {
                    event,
                    time2wait: message.parameter2,
                    time2retain: message.parameter3,
                });
            }
            AsyncEvent::NegotiationRequested => {
                let itt = self.begin(Kind::Renegotiation, now);
                self.send_text(itt, Lun(0), TargetTransferTag::RESERVED, Bytes::new());
            }
            // RFC 7143 §11.9.1: the tasks of this unit are over, and the target is told that this is known.
            AsyncEvent::TasksTerminated if self.parameters.task_reporting == TaskReporting::FastAbort => {
                self.tasks_terminated(cid, message.lun);
                let known = nop(message.lun, InitiatorTaskTag::RESERVED, TargetTransferTag::RESERVED);
                self.push_urgent(cid, Pdu::new(known).into());
            }
            AsyncEvent::TasksTerminated => {
                return Err(SessionError::UnexpectedPdu {
                    name: "an asynchronous message of FastAbort, which was not agreed",
                });
            }
            AsyncEvent::ScsiEvent | AsyncEvent::Vendor(_) => {}
        }
        self.events.push_back(Event::Message { message, data });
        Ok(())
    }

    /// A PDU of ours was refused. Only what surely does not leave a hole in the sequence of commands is survived.
    fn reject(&mut self, cid: Cid, header: &Reject, data: &[u8]) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        if !self.consume(cid, header.stat_sn)? {
            return Ok(());
        }
        let reason = header.reason;
        let opcode = data.first().map_or(0xff, |byte| byte & 0x3f);
        let fatal = Err(SessionError::Rejected { opcode, reason });
        let Some(Ok(rejected)) = data.first_chunk::<BHS_LEN>().map(InitiatorHeader::decode) else {
            return fatal;
        };
        if self.recovers() && self.rejected_for_now(&rejected, reason) {
            return Ok(());
        }
        match rejected {
            InitiatorHeader::ScsiCommand(command) if header.exp_cmd_sn > command.cmd_sn => {
                self.end_task(command.itt, Err(TaskFailure::Rejected { reason }));
                Ok(())
            }
            // The task ends with a status of its own (RFC 7143 §7.8).
            InitiatorHeader::DataOut(_) => Ok(()),
            InitiatorHeader::TextRequest(request) => match self.exchanges.remove(&request.itt) {
                Some(Exchange { kind: Kind::Text { ticket, .. }, .. }) => {
                    let result = Err(TextFailure::Rejected { reason });
                    self.events.push_back(Event::Text { ticket, result });
                    Ok(())
                }
                Some(Exchange { kind: Kind::Renegotiation, .. }) => Ok(()),
                _ => fatal,
            },
            _ => fatal,
        }
    }
}

/// For a task that has ended: what was under way when it was aborted still arrives.
fn late(what: &'static str, itt: InitiatorTaskTag) -> Result<(), SessionError> {
    debug!(what, itt = itt.0, "dropped: the task has ended");
    Ok(())
}
