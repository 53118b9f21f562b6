//! What the target sends.

use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::pdu::async_message::{AsyncEvent, AsyncMessage};
use lunkeep_common::pdu::data_in::DataIn;
use lunkeep_common::pdu::logout::LogoutResult;
use lunkeep_common::pdu::nop::NopIn;
use lunkeep_common::pdu::r2t::R2t;
use lunkeep_common::pdu::reject::Reject;
use lunkeep_common::pdu::scsi_response::{ScsiResponse, ServiceResponse, split_sense};
use lunkeep_common::pdu::text::TextResponse;
use lunkeep_common::pdu::{
    BHS_LEN, Header, InitiatorHeader, InitiatorTaskTag, TargetHeader, TargetPdu, TargetTransferTag,
};
use lunkeep_common::scsi::Lun;
use lunkeep_common::serial::{CmdSn, StatSn};
use tracing::debug;

use super::exchange::{Exchange, Kind};
use super::{Event, FullFeature, Phase, SessionError, TaskFailure, TextFailure};
use crate::commands::Completion;
use crate::limits::TEXT_ROUNDS_MAX;

impl FullFeature {
    /// Takes a PDU of the target.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle_pdu(&mut self, pdu: TargetPdu, now: Instant) -> Result<(), SessionError> {
        self.last_heard = now;
        let TargetPdu { header, data, .. } = pdu;
        match header {
            TargetHeader::DataIn(header) => self.data_in(&header, data)?,
            TargetHeader::ScsiResponse(header) => self.response(&header, &data)?,
            TargetHeader::R2t(header) => self.r2t(&header)?,
            TargetHeader::NopIn(header) => self.nop_in(&header)?,
            TargetHeader::TaskManagementResponse(header) => {
                self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
                self.consume(header.stat_sn)?;
                self.management_answered(header.itt, header.response, now)?;
            }
            TargetHeader::TextResponse(header) => self.text_response(&header, &data, now)?,
            TargetHeader::LogoutResponse(header) => {
                self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
                self.consume(header.stat_sn)?;
                if !matches!(self.exchanges.remove(&header.itt), Some(Exchange { kind: Kind::Logout, .. })) {
                    return Err(SessionError::UnexpectedPdu { name: "a logout response to no logout" });
                }
                self.phase = Phase::Ended;
                if header.response != LogoutResult::Closed {
                    return Err(SessionError::LogoutRefused { result: header.response });
                }
                self.events.push_back(Event::LoggedOut);
            }
            TargetHeader::AsyncMessage(header) => self.message(header, data, now)?,
            TargetHeader::Reject(header) => self.reject(&header, &data)?,
            header @ TargetHeader::LoginResponse(_) => {
                return Err(SessionError::UnexpectedPdu { name: header.name() });
            }
        }
        self.log_out_if_idle(now);
        Ok(())
    }

    /// The command window. MaxCmdSN never goes back, and counts only with an ExpCmdSN that fits it (RFC 7143 §4.2.2.1).
    fn numbers(&mut self, exp: CmdSn, max: CmdSn) {
        if max.next() >= exp && max > self.max_cmd_sn {
            self.max_cmd_sn = max;
        }
    }

    /// A status number: on one connection at recovery level 0 there is neither a hole nor a repetition.
    fn consume(&mut self, found: StatSn) -> Result<(), SessionError> {
        let expected = self.exp_stat_sn;
        if found != expected {
            return Err(SessionError::StatSn { expected, found });
        }
        self.exp_stat_sn = expected.next();
        Ok(())
    }

    fn data_in(&mut self, header: &DataIn, data: Bytes) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        let itt = header.itt;
        if header.status.is_some() {
            self.consume(header.stat_sn)?;
        }
        let Some(task) = self.tasks.get_mut(&itt) else {
            return late("Data-In", itt);
        };
        task.data_in.push(header, data).map_err(|fault| SessionError::DataIn { itt, fault })?;
        if let Some(end) = header.status {
            let data = std::mem::take(&mut task.data_in).finish();
            let completion =
                Completion { status: end.status, sense: Bytes::new(), data, residual: end.residual };
            self.end_task(itt, Ok(completion));
        }
        Ok(())
    }

    fn response(&mut self, header: &ScsiResponse, segment: &Bytes) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        self.consume(header.stat_sn)?;
        let itt = header.itt;
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

    fn r2t(&mut self, header: &R2t) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        let itt = header.itt;
        let (max_burst, outstanding) =
            (self.parameters.max_burst_length, self.parameters.max_outstanding_r2t);
        let Some(task) = self.tasks.get_mut(&itt) else {
            return late("R2T", itt);
        };
        let idle = !task.has_data_to_send();
        task.solicit(header, max_burst, outstanding).map_err(|fault| SessionError::R2t { itt, fault })?;
        if idle {
            self.solicited.push_back(itt);
        }
        Ok(())
    }

    fn nop_in(&mut self, header: &NopIn) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        if header.itt != InitiatorTaskTag::RESERVED {
            self.consume(header.stat_sn)?;
            return match self.exchanges.remove(&header.itt) {
                Some(Exchange { kind: Kind::Ping, .. }) => Ok(()),
                _ => Err(SessionError::UnexpectedPdu { name: "a NOP-In that answers no NOP-Out" }),
            };
        }
        if header.ttt != TargetTransferTag::RESERVED {
            self.push_nop(header.lun, InitiatorTaskTag::RESERVED, header.ttt);
        }
        Ok(())
    }

    fn text_response(
        &mut self,
        header: &TextResponse,
        data: &[u8],
        now: Instant,
    ) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        self.consume(header.stat_sn)?;
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
                        self.exchanges.insert(itt, Exchange { deadline, kind });
                        self.send_text(itt, header.lun, header.ttt, Bytes::new());
                        return Ok(());
                    }
                    Ok(Some(pairs)) => Ok(pairs),
                    Err(error) => Err(TextFailure::Text(error)),
                };
                self.events.push_back(Event::Text { ticket, result });
                Ok(())
            }
            // We have nothing to negotiate, and do not take part in what the target would like to.
            Some(Kind::Renegotiation) => Ok(()),
            _ => broken("there is no text request to answer"),
        }
    }

    fn message(&mut self, message: AsyncMessage, data: Bytes, now: Instant) -> Result<(), SessionError> {
        self.numbers(message.exp_cmd_sn, message.max_cmd_sn);
        self.consume(message.stat_sn)?;
        match message.event {
            AsyncEvent::LogoutRequested => self.logout(now),
            // Of one connection and of the session is the same: there is one.
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
    fn reject(&mut self, header: &Reject, data: &[u8]) -> Result<(), SessionError> {
        self.numbers(header.exp_cmd_sn, header.max_cmd_sn);
        self.consume(header.stat_sn)?;
        let reason = header.reason;
        let opcode = data.first().map_or(0xff, |byte| byte & 0x3f);
        let fatal = Err(SessionError::Rejected { opcode, reason });
        let Some(Ok(rejected)) = data.first_chunk::<BHS_LEN>().map(InitiatorHeader::decode) else {
            return fatal;
        };
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
