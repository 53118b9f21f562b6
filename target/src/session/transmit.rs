//! PDUs to the initiator. Sequence numbers and the window are filled in at the moment a PDU leaves.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::async_message::AsyncEvent;
use lunkeep_common::pdu::data_in::DataInStatus;
use lunkeep_common::pdu::logout::LogoutResult;
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::scsi_response::ServiceResponse;
use lunkeep_common::pdu::task_management::TaskManagementResult;
use lunkeep_common::pdu::{
    AsyncMessage, Bhs, DataIn, InitiatorTaskTag, LogoutResponse, NopIn, R2t, Reject, ScsiResponse,
    TargetHeader, TargetPdu, TargetTransferTag, TaskManagementResponse, TextResponse,
};
use lunkeep_common::scsi::{Lun, Status};
use lunkeep_common::serial::{CmdSn, DataSn, StatSn};

use super::connection::Retained;
use super::data_in::DataInPiece;
use super::data_out::R2tRequest;
use super::{Session, TaskHandle};

/// Something to send on a connection.
#[derive(Debug)]
pub(super) enum Item {
    R2t {
        task: TaskHandle,
        request: R2tRequest,
    },
    /// The data and status of a task. Comes back to the end of the queue after each Data-In PDU, so that a long
    /// answer does not hold up short ones.
    Answer(TaskHandle),
    TaskManagementResponse {
        itt: InitiatorTaskTag,
        response: TaskManagementResult,
    },
    /// An answer to a NOP-Out, or a ping of our own.
    NopIn {
        answer_to: Option<InitiatorTaskTag>,
        ttt: TargetTransferTag,
        data: Bytes,
    },
    Text {
        itt: InitiatorTaskTag,
        ttt: TargetTransferTag,
        is_final: bool,
        continues: bool,
        data: Bytes,
    },
    LogoutResponse {
        itt: InitiatorTaskTag,
        response: LogoutResult,
        ends: LogoutEnds,
    },
    Reject {
        reason: RejectReason,
        bhs: Bhs,
    },
    /// An asynchronous message.
    Message(Message),
    /// Statuses that were sent and that the initiator missed.
    StatusAgain {
        next: StatSn,
        until: StatSn,
    },
    /// Data-In PDUs that were sent and that the initiator missed, by DataSN.
    DataAgain {
        task: TaskHandle,
        run: Range<u32>,
    },
    /// R2Ts that were sent and that the initiator missed, by R2TSN.
    R2tAgain {
        task: TaskHandle,
        run: Range<u32>,
    },
    /// The unacknowledged data of an answered task in new pieces, then its response.
    AnswerAgain(TaskHandle),
}

impl Item {
    /// Whether it takes a status number when it leaves.
    pub(super) fn takes_status(&self) -> bool {
        match self {
            Self::R2t { .. } => false,
            Self::NopIn { answer_to, .. } => answer_to.is_some(),
            _ => !self.is_repetition(),
        }
    }

    /// Whether it was sent before.
    pub(super) const fn is_repetition(&self) -> bool {
        matches!(
            self,
            Self::StatusAgain { .. } | Self::DataAgain { .. } | Self::R2tAgain { .. } | Self::AnswerAgain(_)
        )
    }
}

/// What an asynchronous message says (RFC 7143 §11.9).
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) event: AsyncEvent,
    pub(super) lun: Lun,
    pub(super) parameters: [u16; 3],
}

impl Message {
    pub(super) const fn new(event: AsyncEvent) -> Self {
        Self { event, lun: Lun(0), parameters: [0; 3] }
    }
}

/// Whose end a logout response announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutEnds {
    /// The session's, and this connection with it.
    Session,
    /// This connection's.
    Connection,
    /// Another connection's.
    OtherConnection,
}

/// The numbers that every target PDU carries.
struct Numbers {
    stat_sn: StatSn,
    exp_cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
}

impl Session {
    /// The next PDU for a connection; `None` when nothing is due.
    pub fn poll_transmit(&mut self, cid: Cid) -> Option<TargetPdu> {
        loop {
            let connection = self.connection_mut(cid)?;
            if connection.finished {
                return None;
            }
            let stat_sn = connection.stat_sn;
            let item = connection.next_item()?;
            if let Some(pdu) = self.encode(cid, item) {
                self.retain(cid, stat_sn, &pdu);
                return Some(pdu);
            }
        }
    }

    /// Keeps what took a status number, where it can be asked for again.
    fn retain(&mut self, cid: Cid, stat_sn: StatSn, pdu: &TargetPdu) {
        let recovers = self.recovers();
        if let Some(connection) = self.connection_mut(cid)
            && recovers
            && connection.stat_sn != stat_sn
        {
            connection.retained.push_back(Retained { stat_sn, pdu: pdu.clone() });
        }
    }

    /// The PDU of an item; `None` when its task is gone.
    fn encode(&mut self, cid: Cid, item: Item) -> Option<TargetPdu> {
        let pdu = match item {
            Item::Answer(handle) => return self.encode_answer(cid, handle),
            Item::R2t { task, request } => return self.encode_r2t(cid, task, request),
            Item::TaskManagementResponse { itt, response } => {
                let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
                let header = TaskManagementResponse { response, itt, stat_sn, exp_cmd_sn, max_cmd_sn };
                TargetPdu::new(TargetHeader::TaskManagementResponse(header))
            }
            Item::NopIn { answer_to, ttt, data } => {
                // RFC 7143 §11.19.2: StatSN advances only when a NOP-Out is answered.
                let numbers = if answer_to.is_some() { self.consume_stat_sn(cid) } else { self.numbers(cid) };
                let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = numbers?;
                let itt = answer_to.unwrap_or(InitiatorTaskTag::RESERVED);
                let header = NopIn { lun: Lun::default(), itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn };
                TargetPdu::with_data(TargetHeader::NopIn(header), data)
            }
            Item::Text { itt, ttt, is_final, continues, data } => {
                let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
                let lun = Lun::default();
                let header =
                    TextResponse { is_final, continues, lun, itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn };
                TargetPdu::with_data(TargetHeader::TextResponse(header), data)
            }
            Item::LogoutResponse { itt, response, ends } => self.encode_logout(cid, itt, response, ends)?,
            Item::Reject { reason, bhs } => {
                let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
                let header = Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: DataSn(0) };
                TargetPdu::with_data(TargetHeader::Reject(header), Bytes::copy_from_slice(&bhs))
            }
            Item::Message(message) => self.encode_message(cid, message)?,
            Item::StatusAgain { next, until } => return self.encode_status_again(cid, next, until),
            Item::DataAgain { task, run } => return self.encode_data_again(cid, task, run),
            Item::R2tAgain { task, run } => return self.encode_r2t_again(cid, task, run),
            Item::AnswerAgain(handle) => return self.encode_answer_again(cid, handle),
        };
        Some(pdu)
    }

    fn encode_logout(
        &mut self,
        cid: Cid,
        itt: InitiatorTaskTag,
        response: LogoutResult,
        ends: LogoutEnds,
    ) -> Option<TargetPdu> {
        let (mut time2wait, mut time2retain) =
            (self.parameters.default_time2wait, self.parameters.default_time2retain);
        if ends == LogoutEnds::Session {
            // Nothing is kept for a session that logged out: at once is soon enough, and there is nothing to retain.
            (time2wait, time2retain) = (0, 0);
        }
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
        let connection = self.connection_mut(cid)?;
        connection.finished = response == LogoutResult::Closed && ends != LogoutEnds::OtherConnection;
        let header =
            LogoutResponse { response, itt, stat_sn, exp_cmd_sn, max_cmd_sn, time2wait, time2retain };
        Some(TargetPdu::new(TargetHeader::LogoutResponse(header)))
    }

    fn encode_message(&mut self, cid: Cid, message: Message) -> Option<TargetPdu> {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
        let [parameter1, parameter2, parameter3] = message.parameters;
        Some(TargetPdu::new(TargetHeader::AsyncMessage(AsyncMessage {
            event: message.event,
            vendor_code: 0,
            lun: message.lun,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            parameter1,
            parameter2,
            parameter3,
        })))
    }

    fn encode_r2t(&mut self, cid: Cid, handle: TaskHandle, request: R2tRequest) -> Option<TargetPdu> {
        let itt = self.tasks.get(&handle)?.itt;
        let lun = self.tasks.get(&handle)?.lun;
        // RFC 7143 §11.8.2: carries the next StatSN without consuming it.
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.numbers(cid)?;
        Some(TargetPdu::new(TargetHeader::R2t(R2t {
            lun,
            itt,
            ttt: request.ttt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            r2t_sn: request.r2t_sn,
            buffer_offset: request.buffer_offset,
            desired_data_transfer_length: request.length,
        })))
    }

    /// The next Data-In, or the SCSI Response, of a task.
    fn encode_answer(&mut self, cid: Cid, handle: TaskHandle) -> Option<TargetPdu> {
        let recovers = self.recovers();
        let Some((piece, itt)) = self.next_piece(cid, handle)? else {
            return self.encode_response(cid, handle);
        };
        let task = self.tasks.get(&handle)?;
        let answer = task.answer.as_ref()?;
        // RFC 7143 §11.7.3: status may ride on the last Data-In when there is no sense data. Where PDUs may be asked for again it
        // does not: data and status have numbers of their own.
        let rides = piece.is_last && answer.status == Status::Good && !task.write && !recovers;
        let status = rides.then_some(DataInStatus { status: answer.status, residual: answer.residual });
        let lun = task.lun;
        let numbers = if rides {
            self.forget_task(handle);
            self.consume_stat_sn(cid)?
        } else {
            self.requeue(cid, Item::Answer(handle));
            self.numbers(cid)?
        };
        Some(data_in(piece, itt, lun, status, &numbers))
    }

    /// The next piece of a task's data; the inner `None` when all is sent.
    fn next_piece(
        &mut self,
        cid: Cid,
        handle: TaskHandle,
    ) -> Option<Option<(DataInPiece, InitiatorTaskTag)>> {
        let segment_max = self.connection(cid)?.parameters.peer_max_recv_data_segment_length;
        let burst_max = self.bursts.max_burst_length;
        let tag = self.allocate_ttt();
        let task = self.task_or_answered(handle)?;
        let itt = task.itt;
        let piece = task.answer.as_mut()?.data_in.next_piece(segment_max, burst_max, || tag);
        Some(piece.map(|piece| (piece, itt)))
    }

    fn encode_response(&mut self, cid: Cid, handle: TaskHandle) -> Option<TargetPdu> {
        let stat_sn = self.connection(cid)?.stat_sn;
        let pdu = self.response_pdu(cid, handle)?;
        if self.recovers() {
            self.keep_answered(handle, stat_sn);
        } else {
            self.forget_task(handle);
        }
        // The place in the window that the task gave back is told at once.
        let Numbers { exp_cmd_sn, max_cmd_sn, .. } = self.consume_stat_sn(cid)?;
        let mut pdu = pdu;
        set_window(&mut pdu, exp_cmd_sn, max_cmd_sn);
        Some(pdu)
    }

    /// The SCSI Response of a task, with the next StatSN.
    fn response_pdu(&mut self, cid: Cid, handle: TaskHandle) -> Option<TargetPdu> {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.numbers(cid)?;
        let task = self.task_or_answered(handle)?;
        let answer = task.answer.as_ref()?;
        // RFC 7143 §11.4.8: the number of R2T and Data-In PDUs sent for the command.
        let exp_data_sn = DataSn(answer.data_in.pdus_sent().0.wrapping_add(task.out.r2t_sent().0));
        let header = ScsiResponse {
            residual: answer.residual,
            bidirectional_residual: answer.bidirectional_residual,
            response: ServiceResponse::CommandCompleted,
            status: answer.status,
            itt: task.itt,
            snack_tag: answer.snack_tag,
            stat_sn: task.answered.unwrap_or(stat_sn),
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn,
        };
        let sense = answer.sense.as_ref();
        let data = sense.map_or_else(Bytes::new, |(sense, format)| sense_segment(&sense.encode(*format)));
        Some(TargetPdu::with_data(TargetHeader::ScsiResponse(header), data))
    }

    fn encode_status_again(&mut self, cid: Cid, next: StatSn, until: StatSn) -> Option<TargetPdu> {
        let Numbers { exp_cmd_sn, max_cmd_sn, .. } = self.numbers(cid)?;
        if next.next() < until {
            self.requeue(cid, Item::StatusAgain { next: next.next(), until });
        }
        // What was acknowledged meanwhile is not there any more.
        let mut pdu = self.connection_mut(cid)?.retained(next)?.clone();
        set_window(&mut pdu, exp_cmd_sn, max_cmd_sn);
        Some(pdu)
    }

    fn encode_data_again(&mut self, cid: Cid, handle: TaskHandle, mut run: Range<u32>) -> Option<TargetPdu> {
        let numbers = self.numbers(cid)?;
        let data_sn = run.next()?;
        let task = self.task_or_answered(handle)?;
        let (itt, lun) = (task.itt, task.lun);
        let piece = task.answer.as_ref()?.data_in.replica(DataSn(data_sn));
        self.requeue(cid, Item::DataAgain { task: handle, run });
        Some(data_in(piece?, itt, lun, None, &numbers))
    }

    fn encode_r2t_again(&mut self, cid: Cid, handle: TaskHandle, mut run: Range<u32>) -> Option<TargetPdu> {
        let r2t_sn = run.next()?;
        let request = self.tasks.get(&handle)?.out.replica(r2t_sn)?;
        self.requeue(cid, Item::R2tAgain { task: handle, run });
        self.encode_r2t(cid, handle, request)
    }

    /// RFC 7143 §11.16.3: the response comes again under its number, with the SNACK Tag.
    fn encode_answer_again(&mut self, cid: Cid, handle: TaskHandle) -> Option<TargetPdu> {
        let numbers = self.numbers(cid)?;
        if let Some((piece, itt)) = self.next_piece(cid, handle)? {
            let lun = self.answered.get(&handle)?.lun;
            self.requeue(cid, Item::AnswerAgain(handle));
            return Some(data_in(piece, itt, lun, None, &numbers));
        }
        let stat_sn = self.answered.get(&handle)?.answered?;
        let pdu = self.response_pdu(cid, handle)?;
        self.connection_mut(cid)?.retained(stat_sn)?.clone_from(&pdu);
        Some(pdu)
    }

    fn numbers(&self, cid: Cid) -> Option<Numbers> {
        let stat_sn = self.connection(cid)?.stat_sn;
        Some(Numbers { stat_sn, exp_cmd_sn: self.window.exp_cmd_sn(), max_cmd_sn: self.window.max_cmd_sn() })
    }

    fn consume_stat_sn(&mut self, cid: Cid) -> Option<Numbers> {
        let numbers = self.numbers(cid)?;
        self.connection_mut(cid)?.stat_sn.advance();
        Some(numbers)
    }
}

fn data_in(
    piece: DataInPiece,
    itt: InitiatorTaskTag,
    lun: Lun,
    status: Option<DataInStatus>,
    numbers: &Numbers,
) -> TargetPdu {
    let header = DataIn {
        is_final: piece.is_final,
        acknowledge: piece.acknowledge.is_some(),
        status,
        // RFC 7143 §11.7.4: the LUN goes with the tag, which is there when an acknowledgment is asked for.
        lun: piece.acknowledge.map_or_else(Lun::default, |_| lun),
        itt,
        ttt: piece.acknowledge.unwrap_or(TargetTransferTag::RESERVED),
        stat_sn: status.map_or(StatSn(0), |_| numbers.stat_sn),
        exp_cmd_sn: numbers.exp_cmd_sn,
        max_cmd_sn: numbers.max_cmd_sn,
        data_sn: piece.data_sn,
        buffer_offset: piece.buffer_offset,
    };
    TargetPdu::with_data(TargetHeader::DataIn(header), piece.data)
}

/// Sets the present ExpCmdSN and MaxCmdSN of a PDU that carries a status.
fn set_window(pdu: &mut TargetPdu, exp: CmdSn, max: CmdSn) {
    let (exp_cmd_sn, max_cmd_sn) = match &mut pdu.header {
        TargetHeader::NopIn(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::ScsiResponse(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::TaskManagementResponse(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::LoginResponse(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::TextResponse(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::DataIn(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::LogoutResponse(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::R2t(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::AsyncMessage(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
        TargetHeader::Reject(h) => (&mut h.exp_cmd_sn, &mut h.max_cmd_sn),
    };
    *exp_cmd_sn = exp;
    *max_cmd_sn = max;
}

/// Sense data as the data segment of a SCSI Response: a length, then the bytes (RFC 7143 §11.4.7).
fn sense_segment(sense: &[u8]) -> Bytes {
    let mut segment = BytesMut::with_capacity(2 + sense.len());
    segment.extend_from_slice(&u16::try_from(sense.len()).unwrap_or(u16::MAX).to_be_bytes());
    segment.extend_from_slice(sense);
    segment.freeze()
}
