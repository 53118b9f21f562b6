//! The session against a scripted target: each test says what the target sends and what must come out.

mod data;
mod ends;
mod matrix;
mod requests;

use std::time::{Duration, Instant};

use bytes::Bytes;
use lunkeep_common::login::initiator_side::EstablishedLogin;
use lunkeep_common::login::{ConnectionParameters, SessionParameters};
use lunkeep_common::name::{Cid, Tsih};
use lunkeep_common::pdu::data_in::{DataIn, DataInStatus};
use lunkeep_common::pdu::data_out::DataOut;
use lunkeep_common::pdu::nop::{NopIn, NopOut};
use lunkeep_common::pdu::r2t::R2t;
use lunkeep_common::pdu::scsi_command::ScsiCommand;
use lunkeep_common::pdu::scsi_response::{Residual, ScsiResponse, ServiceResponse, sense_segment};
use lunkeep_common::pdu::task_management::{
    TaskManagementRequest, TaskManagementResponse, TaskManagementResult,
};
use lunkeep_common::pdu::{
    Digests, Framer, InitiatorHeader, InitiatorPdu, InitiatorTaskTag, Pdu, TargetHeader, TargetPdu,
    TargetTransferTag,
};
use lunkeep_common::scsi::{Lun, Status};
use lunkeep_common::serial::{CmdSn, DataSn, R2tSn, StatSn};

use super::*;

/// A session and the target's numbers.
struct Peer {
    session: FullFeature,
    start: Instant,
    now: Instant,
    stat_sn: StatSn,
    exp_cmd_sn: CmdSn,
    window: u32,
}

fn timing() -> Timing {
    Timing {
        command: Duration::from_secs(30),
        answer: Duration::from_secs(10),
        silence: Duration::from_secs(5),
        recovery: Duration::from_secs(1),
    }
}

/// Short limits, so that every way of cutting data is seen with little data: segments of 512 bytes to the target.
fn parameters() -> SessionParameters {
    SessionParameters {
        initial_r2t: false,
        immediate_data: true,
        max_burst_length: 2048,
        first_burst_length: 1024,
        max_outstanding_r2t: 2,
        ..SessionParameters::default()
    }
}

impl Peer {
    fn new() -> Self {
        Self::with(parameters())
    }

    fn with(parameters: SessionParameters) -> Self {
        let login = EstablishedLogin {
            tsih: Tsih(1),
            session: Some(parameters),
            connection: ConnectionParameters {
                peer_max_recv_data_segment_length: 512,
                ..ConnectionParameters::default()
            },
            portal_group: None,
            target_alias: None,
            cmd_sn: CmdSn(100),
            exp_stat_sn: StatSn(500),
            exp_cmd_sn: CmdSn(100),
            max_cmd_sn: CmdSn(131),
        };
        let now = Instant::now();
        Self {
            session: FullFeature::new(&login, Cid(0), timing(), now),
            start: now,
            now,
            stat_sn: StatSn(500),
            exp_cmd_sn: CmdSn(100),
            window: 31,
        }
    }

    fn submit(&mut self, transfer: Transfer) -> Ticket {
        self.session.submit(Lun(0), Request::new([0x2a; 16], transfer), self.now).unwrap()
    }

    /// The next PDU of the session, which must be readable for a target.
    fn pdu(&mut self) -> Option<InitiatorPdu> {
        let pdu = self.session.poll_pdu(Cid(0))?;
        let mut framer = Framer::default();
        framer.push(&pdu.encode(Digests::NONE).unwrap().to_bytes());
        assert_eq!(InitiatorPdu::decode(framer.next_pdu().unwrap().unwrap()).unwrap(), pdu);
        Some(pdu)
    }

    fn command(&mut self) -> Pdu<ScsiCommand> {
        let pdu = self.pdu().expect("a command was due");
        let InitiatorHeader::ScsiCommand(header) = pdu.header else { panic!("{pdu:?}") };
        self.exp_cmd_sn = header.cmd_sn.next();
        Pdu::with_data(header, pdu.data)
    }

    fn data_out(&mut self) -> Pdu<DataOut> {
        let pdu = self.pdu().expect("Data-Out was due");
        let InitiatorHeader::DataOut(header) = pdu.header else { panic!("{pdu:?}") };
        Pdu::with_data(header, pdu.data)
    }

    fn nop_out(&mut self) -> NopOut {
        let pdu = self.pdu().expect("NOP-Out was due");
        let InitiatorHeader::NopOut(header) = pdu.header else { panic!("{pdu:?}") };
        header
    }

    fn management(&mut self) -> TaskManagementRequest {
        let pdu = self.pdu().expect("a task management function was due");
        let InitiatorHeader::TaskManagementRequest(header) = pdu.header else { panic!("{pdu:?}") };
        header
    }

    /// Gives the PDU the target's numbers and hands it in. StatSN is used up where the PDU has a status.
    fn send(&mut self, header: impl Into<TargetHeader>, data: impl Into<Bytes>) -> Result<(), SessionError> {
        self.send_on(Cid(0), header, data)
    }

    fn send_on(
        &mut self,
        cid: Cid,
        header: impl Into<TargetHeader>,
        data: impl Into<Bytes>,
    ) -> Result<(), SessionError> {
        let mut header = header.into();
        use TargetHeader as H;
        let (stat, exp, max, consumes) = match &mut header {
            H::NopIn(h) => {
                (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, h.itt != InitiatorTaskTag::RESERVED)
            }
            H::ScsiResponse(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
            H::TaskManagementResponse(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
            H::LoginResponse(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
            H::TextResponse(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
            H::DataIn(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, h.status.is_some()),
            H::LogoutResponse(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
            H::R2t(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, false),
            H::AsyncMessage(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
            H::Reject(h) => (&mut h.stat_sn, &mut h.exp_cmd_sn, &mut h.max_cmd_sn, true),
        };
        *stat = if consumes { self.stat_sn.advance() } else { self.stat_sn };
        *exp = self.exp_cmd_sn;
        *max = self.exp_cmd_sn.plus(self.window);
        self.session.handle_pdu(cid, TargetPdu::with_data(header, data.into()), self.now)
    }

    fn respond(&mut self, itt: InitiatorTaskTag, status: Status, sense: &[u8]) {
        self.send(response(itt, status), sense_segment(sense)).unwrap();
    }

    fn tick(&mut self, seconds: u64) -> Result<(), SessionError> {
        self.now = self.start + Duration::from_secs(seconds);
        self.session.handle_time(self.now)
    }

    fn event(&mut self) -> Option<Event> {
        self.session.poll_event()
    }

    /// The next event, which ends this command.
    fn result(&mut self, ticket: Ticket) -> Result<Completion, TaskFailure> {
        match self.event() {
            Some(Event::Command { ticket: ended, result }) if ended == ticket => result,
            other => panic!("the end of {ticket:?} was due: {other:?}"),
        }
    }
}

const N: CmdSn = CmdSn(0);

fn response(itt: InitiatorTaskTag, status: Status) -> ScsiResponse {
    ScsiResponse {
        residual: Residual::None,
        bidirectional_residual: Residual::None,
        response: ServiceResponse::CommandCompleted,
        status,
        itt,
        snack_tag: 0,
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        exp_data_sn: DataSn(0),
    }
}

fn data_in(itt: InitiatorTaskTag, data_sn: u32, buffer_offset: u32, status: Option<DataInStatus>) -> DataIn {
    DataIn {
        is_final: status.is_some(),
        acknowledge: false,
        status,
        lun: Lun(0),
        itt,
        ttt: TargetTransferTag::RESERVED,
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        data_sn: DataSn(data_sn),
        buffer_offset,
    }
}

fn good(residual: Residual) -> Option<DataInStatus> {
    Some(DataInStatus { status: Status::Good, residual })
}

fn r2t(itt: InitiatorTaskTag, r2t_sn: u32, buffer_offset: u32, len: u32) -> R2t {
    R2t {
        lun: Lun(0),
        itt,
        ttt: TargetTransferTag(0x1000 + r2t_sn),
        stat_sn: StatSn(0),
        exp_cmd_sn: N,
        max_cmd_sn: N,
        r2t_sn: R2tSn(r2t_sn),
        buffer_offset,
        desired_data_transfer_length: len,
    }
}

fn nop_in(itt: InitiatorTaskTag, ttt: TargetTransferTag) -> NopIn {
    NopIn { lun: Lun(7), itt, ttt, stat_sn: StatSn(0), exp_cmd_sn: N, max_cmd_sn: N }
}

fn managed(itt: InitiatorTaskTag, response: TaskManagementResult) -> TaskManagementResponse {
    TaskManagementResponse { response, itt, stat_sn: StatSn(0), exp_cmd_sn: N, max_cmd_sn: N }
}

/// Bytes that tell their own place.
fn pattern(len: usize) -> Bytes {
    (0..len).map(|n| u8::try_from(n / 7 % 251).unwrap()).collect()
}
