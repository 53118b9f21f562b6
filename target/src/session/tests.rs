//! Drives a session by hand: PDUs in, events and PDUs out, a clock that moves only when told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunkeep_common::login::{ConnectionParameters, Offer, SessionParameters};
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::framer::RawPdu;
use lunkeep_common::pdu::logout::{LogoutReason, LogoutResult};
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::pdu::scsi_response::Residual;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::pdu::{
    DataOut, Header, InitiatorTaskTag, LogoutRequest, NopOut, ScsiCommand, SnackRequest, TargetHeader,
    TargetPdu, TargetTransferTag, TaskManagementRequest, TextRequest,
};
use lunkeep_common::scsi::{Asc, Lun, Sense, SenseKey, Status};
use lunkeep_common::serial::{CmdSn, DataSn, StatSn};
use lunkeep_common::text::address::{DiscoveredTarget, TargetAddress};

use super::*;

mod matrix;
mod recovery;
mod text;

const CID: Cid = Cid(1);
const FIRST_CMD_SN: u32 = 0xffff_fffe;

#[derive(Debug)]
struct Listing(usize);

impl Directory for Listing {
    fn send_targets(&self, which: SendTargets<'_>) -> Vec<DiscoveredTarget> {
        let target = |n: usize| DiscoveredTarget {
            name: format!("iqn.2026-11.org.example:disk{n}").parse().unwrap(),
            addresses: vec![TargetAddress { host: "192.0.2.1".into(), port: 3260, portal_group: None }],
        };
        match which {
            SendTargets::All => (0..self.0).map(target).collect(),
            SendTargets::Own => vec![target(0)],
            SendTargets::Named(name) => {
                (0..self.0).map(target).filter(|target| target.name == *name).collect()
            }
        }
    }
}

struct Peer {
    session: Session,
    now: Instant,
    cmd_sn: CmdSn,
}

impl Peer {
    fn new(
        kind: SessionKind,
        change: impl FnOnce(&mut SessionParameters, &mut ConnectionParameters, &mut SessionSettings),
    ) -> Self {
        let mut parameters = SessionParameters {
            initial_r2t: false,
            max_burst_length: 2048,
            first_burst_length: 1024,
            max_outstanding_r2t: 2,
            ..SessionParameters::default()
        };
        let mut connection = ConnectionParameters {
            peer_max_recv_data_segment_length: 1024,
            ..ConnectionParameters::default()
        };
        let mut settings = SessionSettings {
            queue_depth: 4,
            solicited_bytes_max: 1 << 20,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            recovery_interval: Duration::from_secs(1),
        };
        change(&mut parameters, &mut connection, &mut settings);
        let cmd_sn = CmdSn(FIRST_CMD_SN);
        let mut session = Session::new(
            kind,
            parameters,
            Offer::target().validate().unwrap(),
            settings,
            cmd_sn,
            TaskNumbers::default(),
        );
        let now = Instant::now();
        let directory = Arc::new(Listing(40));
        session.add_connection(
            NewConnection { cid: CID, parameters: connection, stat_sn: StatSn(100), directory },
            now,
        );
        Self { session, now, cmd_sn }
    }

    fn normal() -> Self {
        Self::new(SessionKind::Normal, |_, _, _| {})
    }

    fn send(&mut self, header: impl Header, data: &[u8]) {
        self.try_send(header, data).unwrap();
    }

    fn try_send(&mut self, header: impl Header, data: &[u8]) -> Result<(), ConnectionFault> {
        let raw = RawPdu { bhs: header.to_bhs(), ahs: Bytes::new(), data: Bytes::copy_from_slice(data) };
        self.session.handle_pdu(CID, raw, self.now)
    }

    fn read(&mut self, itt: u32, length: u32) -> TaskHandle {
        let command = ScsiCommand { read: true, ..self.command(itt, length) };
        self.send_command(command, &[])
    }

    fn write(&mut self, itt: u32, length: u32, immediate: &[u8], is_final: bool) -> TaskHandle {
        let command = ScsiCommand { write: true, is_final, ..self.command(itt, length) };
        self.send_command(command, immediate)
    }

    fn command(&mut self, itt: u32, length: u32) -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: false,
            attribute: TaskAttribute::Simple,
            lun: Lun(3 << 48),
            itt: InitiatorTaskTag(itt),
            expected_data_transfer_length: length,
            cmd_sn: self.cmd_sn.advance(),
            exp_stat_sn: StatSn(0),
            cdb: [itt.to_be_bytes()[3]; 16],
        }
    }

    fn send_command(&mut self, command: ScsiCommand, immediate: &[u8]) -> TaskHandle {
        self.send(command, immediate);
        match self.session.poll_event() {
            Some(Event::Command(request)) => request.task,
            other => panic!("expected a command, got {other:?}"),
        }
    }

    fn data_out(
        &mut self,
        itt: u32,
        ttt: TargetTransferTag,
        sn: u32,
        offset: u32,
        data: &[u8],
        is_final: bool,
    ) {
        let header = DataOut {
            is_final,
            lun: Lun(3 << 48),
            itt: InitiatorTaskTag(itt),
            ttt,
            exp_stat_sn: StatSn(0),
            data_sn: DataSn(sn),
            buffer_offset: offset,
        };
        self.send(header, data);
    }

    fn good(&mut self, task: TaskHandle, data: &[u8]) {
        let data_in = if data.is_empty() { Vec::new() } else { vec![Bytes::copy_from_slice(data)] };
        self.session.complete(task, TaskResult { data_in, ..TaskResult::without_data(Status::Good) });
    }

    fn sent(&mut self) -> Vec<TargetPdu> {
        std::iter::from_fn(|| self.session.poll_transmit(CID)).collect()
    }

    /// The only PDU that is due.
    fn sent_one(&mut self) -> TargetPdu {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn rejected(&mut self) -> RejectReason {
        match self.sent_one().header {
            TargetHeader::Reject(reject) => reject.reason,
            other => panic!("expected a reject, got {other:?}"),
        }
    }

    fn nop_out(&mut self, itt: u32, ttt: TargetTransferTag, data: &[u8]) {
        let itt = InitiatorTaskTag(itt);
        let cmd_sn = self.cmd_sn;
        self.send(NopOut { immediate: true, lun: Lun(0), itt, ttt, cmd_sn, exp_stat_sn: StatSn(0) }, data);
    }

    fn manage(&mut self, function: TaskManagementFunction, itt: u32, referenced: u32) {
        let header = TaskManagementRequest {
            immediate: true,
            function,
            lun: Lun(3 << 48),
            itt: InitiatorTaskTag(itt),
            referenced_task_tag: InitiatorTaskTag(referenced),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: StatSn(0),
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(0),
        };
        self.send(header, &[]);
    }
}

fn r2ts(pdus: &[TargetPdu]) -> Vec<(u32, u32, TargetTransferTag)> {
    let r2t = |pdu: &TargetPdu| match &pdu.header {
        TargetHeader::R2t(r2t) => (r2t.buffer_offset, r2t.desired_data_transfer_length, r2t.ttt),
        other => panic!("expected an R2T, got {other:?}"),
    };
    pdus.iter().map(r2t).collect()
}

fn delivered(peer: &mut Peer) -> Vec<u8> {
    match peer.session.poll_event() {
        Some(Event::DataOut { data, .. }) => data.concat(),
        other => panic!("expected data, got {other:?}"),
    }
}

#[test]
fn a_command_reaches_the_device_with_its_lengths() {
    let mut peer = Peer::normal();
    let command = ScsiCommand { read: true, ..peer.command(7, 4096) };
    peer.send(command, &[]);
    let Some(Event::Command(request)) = peer.session.poll_event() else { panic!("no command") };
    assert_eq!((request.lun.number(), &request.cdb[..]), (Some(3), &[7; 16][..]));
    assert_eq!((request.expected_in, request.expected_out), (4096, 0));
    assert_eq!(peer.session.poll_event(), None);
}

#[test]
fn good_status_rides_on_the_last_data_in() {
    let mut peer = Peer::normal();
    let task = peer.read(1, 2500);
    peer.good(task, &[5; 2500]);
    let sent = peer.sent();
    let pieces: Vec<_> = sent
        .iter()
        .map(|pdu| match &pdu.header {
            TargetHeader::DataIn(d) => {
                (d.buffer_offset, pdu.data.len(), d.is_final, d.data_sn.0, d.status.is_some())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [(0, 1024, false, 0, false), (1024, 1024, true, 1, false), (2048, 452, true, 2, true)];
    assert_eq!(pieces, expected);
    let TargetHeader::DataIn(last) = &sent[2].header else { panic!() };
    assert_eq!((last.stat_sn, last.status.unwrap().residual), (StatSn(100), Residual::None));
    assert_eq!(peer.session.task_count(), 0);
}

#[test]
fn a_short_read_reports_underflow_and_a_long_one_overflow() {
    for (expected, actual, residual) in
        [(4096, 1000, Residual::Underflow(3096)), (500, 1000, Residual::Overflow(500))]
    {
        let mut peer = Peer::normal();
        let task = peer.read(1, expected);
        peer.good(task, &vec![1; actual]);
        let sent = peer.sent_one();
        let TargetHeader::DataIn(data_in) = sent.header else { panic!() };
        assert_eq!(data_in.status.unwrap().residual, residual);
        assert_eq!(sent.data.len(), actual.min(expected as usize));
    }
}

#[test]
fn check_condition_carries_sense_in_a_response_of_its_own() {
    let mut peer = Peer::normal();
    let task = peer.read(1, 512);
    let sense = Sense::new(SenseKey::IllegalRequest, Asc::INVALID_FIELD_IN_CDB);
    peer.session.complete(task, TaskResult::check_condition(sense));
    let pdu = peer.sent_one();
    let TargetHeader::ScsiResponse(response) = pdu.header else { panic!() };
    assert_eq!((response.status, response.residual), (Status::CheckCondition, Residual::Underflow(512)));
    assert_eq!(usize::from(u16::from_be_bytes([pdu.data[0], pdu.data[1]])), pdu.data.len() - 2);
    assert_eq!((pdu.data[2], pdu.data[4], pdu.data[14]), (0x70, 0x05, 0x24));
}

#[test]
fn a_write_asks_for_what_did_not_come_unasked() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 5000, &[1; 200], false);
    peer.session.solicit(task, 5000);
    assert!(peer.sent().is_empty(), "the unsolicited burst is not over");
    peer.data_out(1, TargetTransferTag::RESERVED, 0, 200, &[2; 824], true);
    let asked = r2ts(&peer.sent());
    assert_eq!(asked.iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(), [(1024, 2048), (3072, 1928)]);
    peer.data_out(1, asked[0].2, 0, 1024, &[3; 2048], true);
    assert_eq!(peer.session.poll_event(), None);
    peer.data_out(1, asked[1].2, 0, 3072, &[4; 1928], true);
    let data = delivered(&mut peer);
    assert_eq!((data.len(), data[199], data[200], data[1023], data[1024], data[4999]), (5000, 1, 2, 2, 3, 4));
    peer.good(task, &[]);
    let TargetHeader::ScsiResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(
        (response.status, response.residual, response.exp_data_sn),
        (Status::Good, Residual::None, DataSn(2))
    );
}

#[test]
fn an_early_status_waits_for_data_that_is_on_its_way() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 1024, &[], false);
    peer.session.complete(
        task,
        TaskResult::check_condition(Sense::new(SenseKey::IllegalRequest, Asc::LBA_OUT_OF_RANGE)),
    );
    assert!(peer.sent().is_empty());
    peer.data_out(1, TargetTransferTag::RESERVED, 0, 0, &[2; 1024], true);
    let TargetHeader::ScsiResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(response.status, Status::CheckCondition);
    assert_eq!(peer.session.poll_event(), None, "the data is not handed to the device");
}

#[test]
fn a_write_that_expects_more_than_the_device_takes_is_cut() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 1000, &[9; 1000], true);
    peer.session.solicit(task, 512);
    assert_eq!(delivered(&mut peer).len(), 512);
    peer.good(task, &[]);
    let TargetHeader::ScsiResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(response.residual, Residual::Underflow(488));
}

#[test]
fn breaking_the_order_of_data_ends_the_command_and_tells_the_device() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 2048, &[], true);
    peer.session.solicit(task, 2048);
    let ttt = r2ts(&peer.sent())[0].2;
    peer.data_out(1, ttt, 27, 0, &[0; 2048], true);
    let sense = Sense::new(SenseKey::AbortedCommand, Asc::DATA_PHASE_ERROR);
    assert_eq!(
        peer.session.poll_event(),
        Some(Event::Abandon { task, lun: Lun(3 << 48), sense: sense.clone() })
    );
    assert!(peer.sent().is_empty(), "the device may still be at it");
    peer.data_out(1, ttt, 0, 0, &[0; 2048], true);
    assert_eq!(peer.session.poll_event(), None, "a broken command takes no more data");
    peer.session.complete(task, TaskResult::check_condition(sense));
    let TargetHeader::ScsiResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(response.status, Status::CheckCondition);
    peer.data_out(1, ttt, 28, 0, &[0; 2048], true);
    assert!(peer.sent().is_empty(), "late data is dropped without a word");
}

#[test]
fn unsolicited_data_that_was_not_agreed_is_refused() {
    let mut peer = Peer::new(SessionKind::Normal, |session, _, _| session.immediate_data = false);
    let command = ScsiCommand { write: true, ..peer.command(1, 512) };
    peer.send(command, &[1; 512]);
    assert_eq!(peer.rejected(), RejectReason::ProtocolError);
    let mut peer = Peer::new(SessionKind::Normal, |session, _, _| session.initial_r2t = true);
    let command = ScsiCommand { write: true, is_final: false, ..peer.command(1, 512) };
    peer.send(command, &[]);
    assert_eq!(peer.rejected(), RejectReason::ProtocolError);
    let mut peer = Peer::normal();
    let command = ScsiCommand { write: true, ..peer.command(1, 512) };
    peer.send(command, &[1; 513]);
    assert_eq!(peer.rejected(), RejectReason::ProtocolError);
    assert_eq!(peer.session.task_count(), 0);
}

#[test]
fn a_tag_in_use_is_refused_and_the_first_task_is_unharmed() {
    let mut peer = Peer::normal();
    let task = peer.read(1, 512);
    let again = ScsiCommand { read: true, ..peer.command(1, 512) };
    peer.send(again, &[]);
    assert_eq!(peer.rejected(), RejectReason::TaskInProgress);
    peer.good(task, &[0; 512]);
    assert!(matches!(peer.sent_one().header, TargetHeader::DataIn(_)));
}

#[test]
fn commands_outside_the_window_are_ignored() {
    let mut peer = Peer::normal();
    for wrong in [peer.cmd_sn.plus(4), peer.cmd_sn.plus(u32::MAX)] {
        let command = ScsiCommand { cmd_sn: wrong, ..peer.command(9, 0) };
        peer.send(command, &[]);
        peer.cmd_sn = CmdSn(FIRST_CMD_SN);
        assert_eq!(peer.session.poll_event(), None);
        assert!(peer.sent().is_empty());
    }
}

#[test]
fn a_command_ahead_of_a_hole_waits_for_the_hole() {
    let mut peer = Peer::normal();
    let first = ScsiCommand { read: true, ..peer.command(1, 512) };
    let second = ScsiCommand { read: true, ..peer.command(2, 512) };
    peer.send(second, &[]);
    assert_eq!(peer.session.poll_event(), None);
    peer.send(first, &[]);
    let order: Vec<_> = std::iter::from_fn(|| peer.session.poll_event())
        .map(|event| match event {
            Event::Command(request) => request.cdb[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [1, 2]);
}

#[test]
fn the_window_closes_as_tasks_pile_up_and_opens_as_they_end() {
    let mut peer = Peer::normal();
    let tasks: Vec<_> = (0..4).map(|itt| peer.read(itt, 512)).collect();
    let fifth = ScsiCommand { read: true, ..peer.command(9, 512) };
    peer.send(fifth.clone(), &[]);
    assert_eq!(peer.session.poll_event(), None, "the window is full");
    peer.good(tasks[0], &[0; 512]);
    let TargetHeader::DataIn(answer) = peer.sent_one().header else { panic!() };
    assert_eq!(answer.max_cmd_sn, answer.exp_cmd_sn, "one place is free");
    peer.send(fifth, &[]);
    assert!(matches!(peer.session.poll_event(), Some(Event::Command(_))));
}

#[test]
fn immediate_commands_have_a_limit_of_their_own() {
    let mut peer = Peer::normal();
    let limit = u32::try_from(crate::limits::IMMEDIATE_COMMANDS_MAX).unwrap();
    for itt in 0..=limit {
        let cmd_sn = peer.cmd_sn;
        let command = ScsiCommand { immediate: true, cmd_sn, ..peer.command(itt, 0) };
        peer.cmd_sn = cmd_sn;
        peer.send(command, &[]);
    }
    assert_eq!(peer.rejected(), RejectReason::ImmediateCommandReject);
    assert_eq!(peer.session.task_count(), crate::limits::IMMEDIATE_COMMANDS_MAX);
}

#[test]
fn a_short_answer_does_not_wait_behind_a_long_one() {
    let mut peer = Peer::normal();
    let (long, short) = (peer.read(1, 10_240), peer.read(2, 16));
    peer.good(long, &[1; 10_240]);
    peer.good(short, &[2; 16]);
    let order: Vec<_> = peer
        .sent()
        .iter()
        .map(|pdu| match &pdu.header {
            TargetHeader::DataIn(data_in) => data_in.itt.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order[..3], [1, 2, 1]);
}

#[test]
fn an_aborted_task_gets_no_response_and_its_late_data_is_dropped() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 2048, &[], true);
    peer.session.solicit(task, 2048);
    let ttt = r2ts(&peer.sent())[0].2;
    peer.manage(TaskManagementFunction::AbortTask, 50, 1);
    let event = peer.session.poll_event();
    let Some(Event::TaskManagement { cid, itt, scope, .. }) = event else { panic!("{event:?}") };
    assert_eq!(scope, ManagementScope::Task { task, lun: Lun(3 << 48) });
    peer.session.abort_task(task);
    peer.session.task_management_done(cid, itt, TaskManagementResult::FunctionComplete);
    let TargetHeader::TaskManagementResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(response.response, TaskManagementResult::FunctionComplete);
    peer.data_out(1, ttt, 0, 0, &[0; 2048], true);
    peer.good(task, &[]);
    assert!(peer.sent().is_empty());
    assert_eq!(peer.session.poll_event(), None);
}

#[test]
fn data_that_nobody_asked_for_is_refused() {
    let mut peer = Peer::normal();
    peer.data_out(77, TargetTransferTag(1234), 0, 0, &[0; 4], true);
    assert_eq!(peer.rejected(), RejectReason::InvalidPduField);
}

#[test]
fn functions_that_need_no_device_are_answered_at_once() {
    use TaskManagementFunction as F;
    use TaskManagementResult as R;
    for (function, expected) in [
        (F::AbortTask, R::TaskDoesNotExist),
        (F::TaskReassign, R::ReassignmentNotSupported),
        (F::ClearAca, R::NotSupported),
        (F::Other(14), R::NotSupported),
    ] {
        let mut peer = Peer::normal();
        peer.manage(function, 5, 99);
        let TargetHeader::TaskManagementResponse(response) = peer.sent_one().header else { panic!() };
        assert_eq!(response.response, expected, "{function:?}");
    }
}

#[test]
fn a_ping_is_echoed_and_uses_a_status_number() {
    let mut peer = Peer::normal();
    peer.nop_out(8, TargetTransferTag::RESERVED, b"hello");
    let pdu = peer.sent_one();
    let TargetHeader::NopIn(nop) = pdu.header else { panic!() };
    assert_eq!((nop.itt.0, nop.stat_sn, &pdu.data[..]), (8, StatSn(100), &b"hello"[..]));
    peer.nop_out(9, TargetTransferTag::RESERVED, b"");
    let TargetHeader::NopIn(nop) = peer.sent_one().header else { panic!() };
    assert_eq!(nop.stat_sn, StatSn(101));
}

#[test]
fn a_quiet_connection_is_pinged_and_given_up_when_it_stays_quiet() {
    let mut peer = Peer::normal();
    assert_eq!(peer.session.poll_timeout(CID, peer.now), Some(peer.now + Duration::from_secs(10)));
    peer.now += Duration::from_secs(10);
    peer.session.handle_timeout(CID, peer.now).unwrap();
    let TargetHeader::NopIn(ping) = peer.sent_one().header else { panic!() };
    assert_eq!((ping.itt, ping.stat_sn), (InitiatorTaskTag::RESERVED, StatSn(100)));
    peer.nop_out(u32::MAX, ping.ttt, b"");
    assert!(peer.sent().is_empty());
    peer.now += Duration::from_secs(10);
    peer.session.handle_timeout(CID, peer.now).unwrap();
    peer.now += Duration::from_secs(5);
    let fault = peer.session.handle_timeout(CID, peer.now).unwrap_err();
    assert_eq!(fault, ConnectionFault::PingTimeout(Duration::from_secs(5)));
}

#[test]
fn nothing_follows_a_logout_response() {
    let mut peer = Peer::normal();
    let task = peer.read(1, 512);
    let logout = LogoutRequest {
        immediate: true,
        reason: LogoutReason::CloseSession,
        itt: InitiatorTaskTag(9),
        cid: CID,
        cmd_sn: peer.cmd_sn,
        exp_stat_sn: StatSn(0),
    };
    peer.send(logout, &[]);
    let event = peer.session.poll_event();
    assert!(matches!(event, Some(Event::Logout { itt: InitiatorTaskTag(9), .. })), "{event:?}");
    assert!(!peer.session.is_finished(CID));
    peer.session.logout_done(CID, InitiatorTaskTag(9), LogoutResult::Closed, LogoutEnds::Session);
    let TargetHeader::LogoutResponse(response) = peer.sent_one().header else { panic!() };
    assert_eq!(response.response, LogoutResult::Closed);
    assert!(peer.session.is_finished(CID));
    peer.good(task, &[0; 512]);
    assert!(peer.sent().is_empty());
}

#[test]
fn logging_out_a_connection_that_is_not_there_fails() {
    let mut peer = Peer::normal();
    for (reason, expected) in [
        (LogoutReason::CloseConnection, LogoutResult::CidNotFound),
        (LogoutReason::RemoveForRecovery, LogoutResult::RecoveryNotSupported),
    ] {
        let cmd_sn = peer.cmd_sn;
        let (itt, cid, exp_stat_sn) = (InitiatorTaskTag(9), Cid(77), StatSn(0));
        peer.send(LogoutRequest { immediate: true, reason, itt, cid, cmd_sn, exp_stat_sn }, &[]);
        let TargetHeader::LogoutResponse(response) = peer.sent_one().header else { panic!() };
        assert_eq!(response.response, expected);
        assert!(!peer.session.is_finished(CID));
    }
}

#[test]
fn a_reject_carries_the_header_of_what_it_rejects() {
    let mut peer = Peer::normal();
    let mut bhs = [0_u8; 48];
    bhs[0] = 0x1c;
    let raw = RawPdu { bhs, ahs: Bytes::new(), data: Bytes::new() };
    peer.session.handle_pdu(CID, raw, peer.now).unwrap();
    let pdu = peer.sent_one();
    let TargetHeader::Reject(reject) = pdu.header else { panic!() };
    assert_eq!((reject.reason, &pdu.data[..]), (RejectReason::CommandNotSupported, &bhs[..]));
}

#[test]
fn snack_is_a_protocol_error_at_level_zero() {
    let mut peer = Peer::normal();
    let header = SnackRequest {
        kind: lunkeep_common::pdu::snack::SnackKind::Status,
        lun: Lun(0),
        itt: InitiatorTaskTag::RESERVED,
        ttt: TargetTransferTag::RESERVED,
        exp_stat_sn: StatSn(0),
        beg_run: 0,
        run_length: 0,
    };
    peer.send(header, &[]);
    assert_eq!(peer.rejected(), RejectReason::ProtocolError);
}

#[test]
fn a_discovery_session_takes_no_scsi_commands() {
    let mut peer = Peer::new(SessionKind::Discovery, |_, _, _| {});
    let command = peer.command(1, 0);
    peer.send(command, &[]);
    assert_eq!(peer.rejected(), RejectReason::CommandNotSupported);
    assert_eq!(peer.session.poll_event(), None);
}

fn ask(peer: &mut Peer, itt: u32, ttt: TargetTransferTag, text: &[u8]) -> TargetPdu {
    let header = TextRequest {
        immediate: true,
        is_final: true,
        continues: false,
        lun: Lun(0),
        itt: InitiatorTaskTag(itt),
        ttt,
        cmd_sn: peer.cmd_sn,
        exp_stat_sn: StatSn(0),
    };
    peer.send(header, text);
    peer.sent_one()
}

#[test]
fn a_long_listing_spans_responses_and_ends() {
    let mut peer = Peer::new(SessionKind::Discovery, |_, _, _| {});
    let mut ttt = TargetTransferTag::RESERVED;
    let mut text = Vec::new();
    let mut request: &[u8] = b"SendTargets=All\0";
    for _ in 0..20 {
        let pdu = ask(&mut peer, 1, ttt, request);
        let TargetHeader::TextResponse(response) = pdu.header else { panic!() };
        text.extend_from_slice(&pdu.data);
        assert!(pdu.data.len() <= 1024);
        assert_ne!(response.is_final, response.continues);
        if response.is_final {
            assert_eq!(response.ttt, TargetTransferTag::RESERVED);
            break;
        }
        (ttt, request) = (response.ttt, b"");
    }
    let listing = String::from_utf8(text).unwrap();
    assert_eq!(listing.matches("TargetName=").count(), 40);
    assert!(listing.ends_with('\0'));
}

#[test]
fn who_may_ask_for_which_targets_follows_appendix_c() {
    for (kind, value, expected) in [
        (SessionKind::Normal, "All", "SendTargets=Reject\0"),
        (SessionKind::Discovery, "", "SendTargets=Reject\0"),
        (SessionKind::Discovery, "nonsense", "SendTargets=Reject\0"),
        (SessionKind::Discovery, "iqn.2026-11.org.example:absent", ""),
        (SessionKind::Normal, "", "TargetName=iqn.2026-11.org.example:disk0\0TargetAddress=192.0.2.1:3260\0"),
        (
            SessionKind::Discovery,
            "iqn.2026-11.org.example:disk7",
            "TargetName=iqn.2026-11.org.example:disk7\0TargetAddress=192.0.2.1:3260\0",
        ),
    ] {
        let mut peer = Peer::new(kind, |_, _, _| {});
        let pdu = ask(&mut peer, 1, TargetTransferTag::RESERVED, format!("SendTargets={value}\0").as_bytes());
        assert_eq!(String::from_utf8_lossy(&pdu.data), expected, "{kind:?} {value}");
    }
}

#[test]
fn a_text_request_with_a_tag_we_did_not_give_is_refused() {
    let mut peer = Peer::normal();
    let pdu = ask(&mut peer, 1, TargetTransferTag(77), b"");
    assert!(
        matches!(pdu.header, TargetHeader::Reject(reject) if reject.reason == RejectReason::InvalidPduField)
    );
}

#[test]
fn a_damaged_data_out_ends_its_command_only() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 512, &[], true);
    peer.session.solicit(task, 512);
    let ttt = r2ts(&peer.sent())[0].2;
    let header = DataOut {
        is_final: true,
        lun: Lun(0),
        itt: InitiatorTaskTag(1),
        ttt,
        exp_stat_sn: StatSn(0),
        data_sn: DataSn(0),
        buffer_offset: 0,
    };
    peer.session.handle_data_digest_error(CID, header.to_bhs(), peer.now).unwrap();
    let Some(Event::Abandon { sense, .. }) = peer.session.poll_event() else { panic!("the device is told") };
    peer.session.complete(task, TaskResult::check_condition(sense));
    let sent = peer.sent();
    assert!(matches!(&sent[0].header, TargetHeader::Reject(r) if r.reason == RejectReason::DataDigestError));
    assert!(matches!(&sent[1].header, TargetHeader::ScsiResponse(r) if r.status == Status::CheckCondition));
    assert_eq!((sent[1].data[4], sent[1].data[14], sent[1].data[15]), (0x0b, 0x47, 0x05));
}

#[test]
fn a_damaged_command_ends_the_connection_at_level_zero() {
    let mut peer = Peer::normal();
    let command = peer.command(1, 512);
    let fault = peer.session.handle_data_digest_error(CID, command.to_bhs(), peer.now).unwrap_err();
    assert_eq!(fault, ConnectionFault::DataDigest { opcode: 1 });
    assert_eq!(peer.rejected(), RejectReason::DataDigestError);
}

#[test]
fn data_on_order_stays_within_the_sessions_room() {
    let mut peer = Peer::new(SessionKind::Normal, |_, _, settings| settings.solicited_bytes_max = 2048);
    let tasks: Vec<_> = (0..3).map(|itt| peer.write(itt, 2048, &[], true)).collect();
    tasks.iter().for_each(|&task| peer.session.solicit(task, 2048));
    for itt in 0..3 {
        let asked = r2ts(&peer.sent());
        assert_eq!(asked.len(), 1, "only one task may hold the room");
        peer.data_out(itt, asked[0].2, 0, 0, &[0; 2048], true);
        assert_eq!(delivered(&mut peer).len(), 2048);
        peer.session.abort_task(tasks[itt as usize]);
    }
}

#[test]
fn data_that_a_slow_medium_holds_counts_as_much_as_data_on_its_way() {
    let mut peer = Peer::new(SessionKind::Normal, |_, _, settings| settings.solicited_bytes_max = 2048);
    let tasks: Vec<_> = (0..2).map(|itt| peer.write(itt, 2048, &[], true)).collect();
    tasks.iter().for_each(|&task| peer.session.solicit(task, 2048));
    let asked = r2ts(&peer.sent());
    peer.data_out(0, asked[0].2, 0, 0, &[0; 2048], true);
    assert_eq!(delivered(&mut peer).len(), 2048);
    assert!(peer.sent().is_empty(), "the device has not written it yet");
    peer.good(tasks[0], &[]);
    let asks = |pdu: &TargetPdu| matches!(pdu.header, TargetHeader::R2t(_));
    assert_eq!(peer.sent().iter().filter(|pdu| asks(pdu)).count(), 1);
}

#[test]
fn a_command_that_is_aborted_while_it_waits_for_room_leaves_the_line() {
    let mut peer = Peer::new(SessionKind::Normal, |_, _, settings| settings.solicited_bytes_max = 2048);
    let first = peer.write(0, 2048, &[], true);
    peer.session.solicit(first, 2048);
    for itt in 1..100 {
        let task = peer.write(itt, 2048, &[], true);
        peer.session.solicit(task, 2048);
        peer.session.abort_task(task);
    }
    assert!(peer.session.waiting_for_room.is_empty());
}

#[test]
fn data_in_tiny_pieces_takes_no_more_memory_than_data_in_large_ones() {
    let mut peer = Peer::normal();
    let task = peer.write(1, 2048, &[], true);
    peer.session.solicit(task, 2048);
    let ttt = r2ts(&peer.sent())[0].2;
    let data: Vec<u8> = (0..2048_u32).map(|n| n.to_le_bytes()[0]).collect();
    for (n, byte) in (0..).zip(&data) {
        peer.data_out(1, ttt, n, n, &[*byte], n == 2047);
    }
    let Some(Event::DataOut { data: pieces, .. }) = peer.session.poll_event() else {
        panic!("all data came")
    };
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces.concat(), data);
}

#[test]
fn an_initiator_that_asks_on_and_on_without_acknowledging_loses_its_connection() {
    let mut peer = Peer::new(SessionKind::Normal, |session, _, _| session.error_recovery_level = 1);
    let mut ping = |n: u32| {
        let (itt, ttt, cmd_sn) = (InitiatorTaskTag(n), TargetTransferTag::RESERVED, peer.cmd_sn);
        let ping = NopOut { immediate: true, lun: Lun(0), itt, ttt, cmd_sn, exp_stat_sn: StatSn(100) };
        let taken = peer.try_send(ping, &[1; 64]);
        peer.sent();
        taken
    };
    let kept = crate::limits::STATUSES_RETAINED_MAX + crate::limits::ANSWERS_HELD_BACK_MAX;
    let answered = (0..).take_while(|&n| ping(n).is_ok()).count();
    assert!((kept..kept + 4).contains(&answered), "{answered} pings were taken");
}

#[test]
fn a_lost_connection_takes_its_tasks_along() {
    let mut peer = Peer::normal();
    let (first, second) = (peer.read(1, 512), peer.read(2, 512));
    let lost = peer.session.remove_connection(CID, peer.now);
    let mut lost: Vec<_> = lost.into_iter().map(|lost| lost.task).collect();
    lost.sort();
    assert_eq!(lost, [first, second]);
    assert_eq!(peer.session.task_count(), 0);
    peer.good(first, &[0; 512]);
    assert!(peer.sent().is_empty());
}
