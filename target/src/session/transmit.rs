//! PDUs to the initiator. Sequence numbers and the window are filled in at the moment a PDU leaves.

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
use lunkeep_common::scsi::{Lun, SenseFormat, Status};
use lunkeep_common::serial::{CmdSn, DataSn, StatSn};

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
    },
    Reject {
        reason: RejectReason,
        bhs: Bhs,
    },
    /// The target drops every connection of the session.
    SessionDropped,
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
            let item = connection.queue.pop_front()?;
            if let Some(pdu) = self.encode(cid, item) {
                return Some(pdu);
            }
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
            Item::LogoutResponse { itt, response } => self.encode_logout(cid, itt, response)?,
            Item::Reject { reason, bhs } => {
                let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
                let header = Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: DataSn(0) };
                TargetPdu::with_data(TargetHeader::Reject(header), Bytes::copy_from_slice(&bhs))
            }
            Item::SessionDropped => self.encode_session_dropped(cid)?,
        };
        Some(pdu)
    }

    fn encode_logout(
        &mut self,
        cid: Cid,
        itt: InitiatorTaskTag,
        response: LogoutResult,
    ) -> Option<TargetPdu> {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
        let connection = self.connection_mut(cid)?;
        connection.finished = response == LogoutResult::Closed;
        // Nothing is kept for a session that logged out: at once is soon enough, and there is nothing to retain.
        let (time2wait, time2retain) = (0, 0);
        let header =
            LogoutResponse { response, itt, stat_sn, exp_cmd_sn, max_cmd_sn, time2wait, time2retain };
        Some(TargetPdu::new(TargetHeader::LogoutResponse(header)))
    }

    fn encode_session_dropped(&mut self, cid: Cid) -> Option<TargetPdu> {
        let (time2wait, time2retain) =
            (self.parameters.default_time2wait, self.parameters.default_time2retain);
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
        Some(TargetPdu::new(TargetHeader::AsyncMessage(AsyncMessage {
            event: AsyncEvent::SessionDropped,
            vendor_code: 0,
            lun: Lun::default(),
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            parameter1: 0,
            parameter2: time2wait,
            parameter3: time2retain,
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
        let segment_max = self.connection(cid)?.parameters.peer_max_recv_data_segment_length;
        let burst_max = self.bursts.max_burst_length;
        let task = self.tasks.get_mut(&handle)?;
        let itt = task.itt;
        let answer = task.answer.as_mut()?;
        let Some(piece) = answer.data_in.next_piece(segment_max, burst_max) else {
            return self.encode_response(cid, handle);
        };
        // RFC 7143 §11.7.3: status may ride on the last Data-In when there is no sense data.
        let rides = piece.is_last && answer.status == Status::Good && !task.write;
        let status = rides.then_some(DataInStatus { status: answer.status, residual: answer.residual });
        let numbers = if rides {
            self.forget_task(handle);
            self.consume_stat_sn(cid)?
        } else {
            self.push(cid, Item::Answer(handle));
            Numbers { stat_sn: StatSn(0), ..self.numbers(cid)? }
        };
        let header = DataIn {
            is_final: piece.is_final,
            acknowledge: false,
            status,
            lun: Lun::default(),
            itt,
            ttt: TargetTransferTag::RESERVED,
            stat_sn: numbers.stat_sn,
            exp_cmd_sn: numbers.exp_cmd_sn,
            max_cmd_sn: numbers.max_cmd_sn,
            data_sn: piece.data_sn,
            buffer_offset: piece.buffer_offset,
        };
        Some(TargetPdu::with_data(TargetHeader::DataIn(header), piece.data))
    }

    fn encode_response(&mut self, cid: Cid, handle: TaskHandle) -> Option<TargetPdu> {
        let task = self.tasks.get_mut(&handle)?;
        let itt = task.itt;
        let answer = task.answer.take()?;
        // RFC 7143 §11.4.8: the number of R2T and Data-In PDUs sent for the command.
        let exp_data_sn = DataSn(answer.data_in.pdus_sent().0.wrapping_add(task.out.r2t_sent().0));
        self.forget_task(handle);
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.consume_stat_sn(cid)?;
        let header = ScsiResponse {
            residual: answer.residual,
            bidirectional_residual: answer.bidirectional_residual,
            response: ServiceResponse::CommandCompleted,
            status: answer.status,
            itt,
            snack_tag: 0,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn,
        };
        let data =
            answer.sense.map_or_else(Bytes::new, |sense| sense_segment(&sense.encode(SenseFormat::Fixed)));
        Some(TargetPdu::with_data(TargetHeader::ScsiResponse(header), data))
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

/// Sense data as the data segment of a SCSI Response: a length, then the bytes (RFC 7143 §11.4.7).
fn sense_segment(sense: &[u8]) -> Bytes {
    let mut segment = BytesMut::with_capacity(2 + sense.len());
    segment.extend_from_slice(&u16::try_from(sense.len()).unwrap_or(u16::MAX).to_be_bytes());
    segment.extend_from_slice(sense);
    segment.freeze()
}
