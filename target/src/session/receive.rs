//! PDUs from the initiator: order of commands, and what each PDU does (RFC 7143 §4.2.2.1, §11).

use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::framer::RawPdu;
use lunkeep_common::pdu::logout::{LogoutReason, LogoutResult};
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::{
    Ahs, Bhs, DataOut, InitiatorHeader, InitiatorPdu, InitiatorTaskTag, LogoutRequest, NopOut, Pdu,
    ScsiCommand, TargetTransferTag,
};
use lunkeep_common::scsi::{Asc, Sense, SenseKey};
use lunkeep_common::serial::{CmdSn, StatSn};
use lunkeep_common::window::Arrival;

use super::data_out::{DataOutTransfer, Taken};
use super::event::{Event, ScsiRequest};
use super::state::AfterLogout;
use super::task::Task;
use super::transmit::{Item, LogoutEnds};
use super::{ConnectionFault, PendingRequest, Session, SessionKind};
use crate::limits;

/// Opcode bits of the first byte of a header (RFC 7143 §11.2.1.2).
const OPCODE_MASK: u8 = 0x3f;

/// Opcode of SCSI Data-Out.
const DATA_OUT: u8 = 0x05;

/// How a PDU takes part in the command sequence.
struct Numbering {
    cmd_sn: CmdSn,
    immediate: bool,
}

impl Session {
    /// Takes a whole PDU from a connection.
    ///
    /// # Errors
    /// A [`ConnectionFault`] that ends the connection once its queue has left.
    pub fn handle_pdu(&mut self, cid: Cid, raw: RawPdu, now: Instant) -> Result<(), ConnectionFault> {
        match self.connection_mut(cid) {
            Some(connection) if !connection.finished => connection.heard(now),
            _ => return Ok(()),
        }
        let bhs = raw.bhs;
        let pdu = match InitiatorPdu::decode(raw) {
            Ok(pdu) => pdu,
            Err(error) => {
                if self.logs_mistake() {
                    tracing::warn!(cid = cid.0, %error, "rejected a PDU");
                }
                self.reject(cid, error.reject_reason(), bhs);
                return self.check_backlog(cid);
            }
        };
        if !matches!(pdu.header, InitiatorHeader::LoginRequest(_)) {
            self.acknowledge_status(cid, exp_stat_sn(&bhs));
        }
        self.check_backlog(cid)?;
        let Some(Numbering { cmd_sn, immediate }) = numbering(&pdu.header) else {
            return self.deliver(cid, bhs, pdu);
        };
        match self.window.arrive(cmd_sn, immediate) {
            Arrival::Deliver => {
                self.deliver(cid, bhs, pdu)?;
                self.deliver_held()
            }
            Arrival::Future => {
                self.held.insert(cmd_sn, (cid, bhs, pdu));
                Ok(())
            }
            // RFC 7143 §4.2.2.1: ignored without a word.
            Arrival::Duplicate | Arrival::OutOfWindow => Ok(()),
        }
    }

    /// A PDU whose data digest was wrong; its header was sound.
    ///
    /// # Errors
    /// [`ConnectionFault::DataDigest`] when the PDU cannot be done without at error recovery level 0.
    pub fn handle_data_digest_error(
        &mut self,
        cid: Cid,
        bhs: Bhs,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        match self.connection_mut(cid) {
            Some(connection) if !connection.finished => connection.heard(now),
            _ => return Ok(()),
        }
        self.acknowledge_status(cid, exp_stat_sn(&bhs));
        self.reject(cid, RejectReason::DataDigestError, bhs);
        let opcode = bhs[0] & OPCODE_MASK;
        if opcode == DATA_OUT {
            self.lose_data(&DataOut::decode(&bhs));
        } else if !self.recovers() {
            return Err(ConnectionFault::DataDigest { opcode });
        }
        // A request comes again under its CmdSN (RFC 7143 §7.2.1).
        Ok(())
    }

    /// A PDU whose header was damaged, and of which nothing is known (RFC 7143 §7.7). Its absence shows later: by a number that
    /// is missing, or by time.
    pub fn handle_lost_pdu(&mut self, cid: Cid, now: Instant) {
        if let Some(connection) = self.connection_mut(cid) {
            connection.heard(now);
        }
    }

    /// RFC 7143 §7.8: the target asks for the data again, or ends the task with CHECK CONDITION.
    fn lose_data(&mut self, header: &DataOut) {
        let Some(&handle) = self.by_itt.get(&header.itt) else { return };
        if self.is_stale(header.ttt) {
            return;
        }
        if !self.recovers() {
            let sense = Sense::new(SenseKey::AbortedCommand, Asc::PROTOCOL_SERVICE_CRC_ERROR);
            return self.fail_task(handle, sense);
        }
        let Some(task) = self.tasks.get_mut(&handle) else { return };
        if task.out.receive_damaged(header) == Taken::SequenceLost {
            self.recover_data(handle, false);
        }
    }

    /// Delivers commands that were waiting for the one just delivered.
    fn deliver_held(&mut self) -> Result<(), ConnectionFault> {
        while let Some(cmd_sn) = self.window.release() {
            match self.held.remove(&cmd_sn) {
                // It was sent before the logout, which ends it without an answer (RFC 7143 §11.14).
                Some((cid, _, pdu)) if self.is_ended_by_logout(cid) => {
                    if let InitiatorHeader::ScsiCommand(command) = &pdu.header {
                        self.early_data.remove(&command.itt);
                    }
                    self.window.reopen();
                }
                Some((cid, bhs, pdu)) => self.carry_out(cid, bhs, pdu, None)?,
                // It was aborted before its turn.
                None => self.window.reopen(),
            }
        }
        Ok(())
    }

    /// Takes a PDU whose turn it is as it arrives.
    fn deliver(&mut self, cid: Cid, bhs: Bhs, pdu: InitiatorPdu) -> Result<(), ConnectionFault> {
        let after_logout = self.after_logout(cid, &pdu.header);
        self.carry_out(cid, bhs, pdu, after_logout)
    }

    fn carry_out(
        &mut self,
        cid: Cid,
        bhs: Bhs,
        pdu: InitiatorPdu,
        after_logout: Option<AfterLogout>,
    ) -> Result<(), ConnectionFault> {
        let Pdu { header, ahs, data } = pdu;
        let normal = self.kind == SessionKind::Normal;
        let takes_place = numbering(&header).is_some_and(|numbering| !numbering.immediate);
        let becomes_task =
            normal && after_logout.is_none() && matches!(header, InitiatorHeader::ScsiCommand(_));
        let outcome = match header {
            _ if after_logout == Some(AfterLogout::Refused) => Err(RejectReason::ProtocolError),
            _ if after_logout == Some(AfterLogout::Dropped) => Ok(()),
            InitiatorHeader::NopOut(nop) => self.receive_nop(cid, &nop, data),
            InitiatorHeader::TextRequest(text) => self.receive_text(cid, &text, &data),
            InitiatorHeader::LogoutRequest(logout) => self.receive_logout(cid, &logout),
            InitiatorHeader::LoginRequest(_) => {
                self.reject(cid, RejectReason::ProtocolError, bhs);
                return Err(ConnectionFault::LoginInFullFeature);
            }
            InitiatorHeader::ScsiCommand(command) if normal => self.receive_command(cid, command, &ahs, data),
            InitiatorHeader::DataOut(header) if normal => self.receive_data_out(&header, data),
            InitiatorHeader::TaskManagementRequest(request) if normal => {
                self.receive_task_management(cid, &request)
            }
            InitiatorHeader::SnackRequest(snack) if normal && self.recovers() => {
                self.receive_snack(cid, &snack)
            }
            // RFC 7143 §11.16: at error recovery level 0 SNACK is a protocol error.
            InitiatorHeader::SnackRequest(_) if normal => Err(RejectReason::ProtocolError),
            // RFC 7143 §4.3: a discovery session serves text and logout.
            _ => Err(RejectReason::CommandNotSupported),
        };
        // A task gives its place in the command window back when it is answered; everything else does at once.
        if takes_place && !(becomes_task && outcome.is_ok()) {
            self.window.reopen();
        }
        if let Err(reason) = outcome {
            if self.logs_mistake() {
                tracing::warn!(cid = cid.0, opcode = bhs[0] & OPCODE_MASK, ?reason, "rejected a PDU");
            }
            self.reject(cid, reason, bhs);
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, cid: Cid, reason: RejectReason, bhs: Bhs) {
        self.push(cid, Item::Reject { reason, bhs });
    }

    fn receive_nop(&mut self, cid: Cid, nop: &NopOut, data: Bytes) -> Result<(), RejectReason> {
        let Some(connection) = self.connection_mut(cid) else { return Ok(()) };
        if nop.ttt != TargetTransferTag::RESERVED && !connection.pong(nop.ttt) {
            tracing::debug!(cid = cid.0, ttt = nop.ttt.0, "NOP-Out answers no NOP-In");
        }
        if nop.itt != InitiatorTaskTag::RESERVED {
            // RFC 7143 §11.19.3: the ping's data comes back, cut to what the initiator takes.
            let segment_max = connection.parameters.peer_max_recv_data_segment_length as usize;
            let data = data.slice(..data.len().min(segment_max));
            connection.push(Item::NopIn { answer_to: Some(nop.itt), ttt: TargetTransferTag::RESERVED, data });
        }
        Ok(())
    }

    fn receive_logout(&mut self, cid: Cid, logout: &LogoutRequest) -> Result<(), RejectReason> {
        self.begin_request(cid, logout.itt)?;
        let live = self.connection(logout.cid).is_some();
        let known = live || self.lost.iter().any(|&(lost, _)| lost == logout.cid);
        let recovery = logout.reason == LogoutReason::RemoveForRecovery;
        if recovery && self.parameters.error_recovery_level < 2 {
            // RFC 7143 §11.14.1: recovery needs error recovery level 2.
            self.logout_done(
                cid,
                logout.itt,
                LogoutResult::RecoveryNotSupported,
                LogoutEnds::OtherConnection,
            );
        } else if logout.reason != LogoutReason::CloseSession && !known {
            self.logout_done(cid, logout.itt, LogoutResult::CidNotFound, LogoutEnds::OtherConnection);
        } else {
            let session = logout.reason == LogoutReason::CloseSession;
            self.ending |= session;
            let subject = if session { cid } else { logout.cid };
            self.leave(cid, logout);
            self.events.push_back(Event::Logout { cid, itt: logout.itt, reason: logout.reason, subject });
        }
        Ok(())
    }

    /// Notes a request other than a SCSI command, so that its tag is not used twice and their number stays bounded.
    pub(super) fn begin_request(&mut self, cid: Cid, itt: InitiatorTaskTag) -> Result<(), RejectReason> {
        if itt == InitiatorTaskTag::RESERVED {
            return Err(RejectReason::InvalidPduField);
        }
        if self.by_itt.contains_key(&itt) || self.requests.contains_key(&itt) {
            return Err(RejectReason::TaskInProgress);
        }
        if self.requests.len() >= limits::REQUESTS_PER_SESSION_MAX {
            return Err(RejectReason::ImmediateCommandReject);
        }
        self.requests.insert(itt, PendingRequest { cid, logs_out: None });
        Ok(())
    }

    fn receive_command(
        &mut self,
        cid: Cid,
        command: ScsiCommand,
        ahs: &[Ahs],
        immediate: Bytes,
    ) -> Result<(), RejectReason> {
        // RFC 7143 §4.2.2.1: a target bounds the immediate commands that it takes; others are bounded by the window.
        let immediate_tasks = self.tasks.values().filter(|task| !task.takes_place);
        if command.immediate && immediate_tasks.count() >= limits::IMMEDIATE_COMMANDS_MAX {
            return Err(RejectReason::ImmediateCommandReject);
        }
        let itt = command.itt;
        if itt == InitiatorTaskTag::RESERVED {
            return Err(RejectReason::InvalidPduField);
        }
        if self.by_itt.contains_key(&itt) || self.requests.contains_key(&itt) {
            return Err(RejectReason::TaskInProgress);
        }
        let (expected_in, expected_out) = expected_lengths(&command, ahs);
        let unsolicited_follows = !command.is_final;
        self.check_unsolicited(&command, expected_out, &immediate)?;
        let handle = self.numbers.next();
        let cdb = Bytes::copy_from_slice(&command.full_cdb(ahs));
        self.tasks.insert(
            handle,
            Task {
                handle,
                itt,
                cid,
                lun: command.lun,
                read: command.read,
                write: command.write,
                expected_in,
                expected_out,
                out: DataOutTransfer::new(expected_out, immediate, unsolicited_follows),
                out_length: 0,
                delivered: false,
                solicited: 0,
                takes_place: !command.immediate,
                answer: None,
                answering: false,
                answered: None,
                suspended_until: None,
                data_deadline: None,
            },
        );
        // The initiator uses a tag again only when it has all that it wanted of the old task.
        if let Some(old) = self.answered_by_itt.get(&itt).copied() {
            self.forget_answered(old);
        }
        self.by_itt.insert(itt, handle);
        self.events.push_back(Event::Command(ScsiRequest {
            task: handle,
            lun: command.lun,
            cdb,
            attribute: command.attribute,
            expected_in,
            expected_out,
        }));
        for (header, data) in self.early_data.remove(&itt).unwrap_or_default() {
            self.receive_data_out(&header, data)?;
        }
        Ok(())
    }

    /// What ImmediateData, InitialR2T and FirstBurstLength allow (RFC 7143 §11.3.1, §13.10, §13.11, §13.14).
    fn check_unsolicited(
        &self,
        command: &ScsiCommand,
        expected_out: u32,
        immediate: &Bytes,
    ) -> Result<(), RejectReason> {
        let limit = expected_out.min(self.bursts.first_burst_length) as usize;
        let allowed = self.parameters.immediate_data && immediate.len() <= limit;
        if !immediate.is_empty() && !allowed {
            return Err(RejectReason::ProtocolError);
        }
        if !command.is_final && (self.parameters.initial_r2t || !command.write) {
            return Err(RejectReason::ProtocolError);
        }
        Ok(())
    }

    fn receive_data_out(&mut self, header: &DataOut, data: Bytes) -> Result<(), RejectReason> {
        let Some(&handle) = self.by_itt.get(&header.itt) else {
            if header.ttt == TargetTransferTag::RESERVED {
                self.keep_early_data(header, data);
            }
            return self.receive_stale_data(header);
        };
        if self.is_stale(header.ttt) {
            return Ok(());
        }
        let (bursts, recovers) = (self.bursts, self.recovers());
        let Some(task) = self.tasks.get_mut(&handle).filter(|task| !task.out.is_abandoned()) else {
            return Ok(());
        };
        let taken = if recovers {
            task.out.receive_or_recover(header, data, &bursts)
        } else {
            task.out.receive(header, data, &bursts).map(|()| Taken::Data)
        };
        match taken {
            Ok(Taken::Data) => {
                task.data_deadline = None;
                self.progress(handle);
            }
            Ok(Taken::Dropped) => {}
            Ok(Taken::SequenceLost) => self.recover_data(handle, false),
            Err(error) => {
                if self.logs_mistake() {
                    tracing::warn!(itt = header.itt.0, %error, "ended a command because of its data");
                }
                self.fail_task(handle, error.sense());
            }
        }
        Ok(())
    }

    /// Unsolicited data of a command that waits for its turn: what the turn depends on may come on another connection, after it.
    fn keep_early_data(&mut self, header: &DataOut, data: Bytes) {
        let waits = self.held.values().any(|(_, _, pdu)| {
            matches!(&pdu.header, InitiatorHeader::ScsiCommand(command) if command.itt == header.itt)
        });
        if !waits {
            return;
        }
        let kept = self.early_data.entry(header.itt).or_default();
        let bytes: usize = kept.iter().map(|(_, data)| data.len()).sum();
        let room = (self.bursts.first_burst_length as usize).saturating_sub(bytes);
        if data.len() <= room && kept.len() < limits::EARLY_DATA_PDUS_MAX {
            kept.push((header.clone(), data));
        }
    }

    /// Data for a task that was aborted is dropped; data that nobody asked for is refused.
    fn receive_stale_data(&self, header: &DataOut) -> Result<(), RejectReason> {
        if header.ttt == TargetTransferTag::RESERVED || self.is_stale(header.ttt) {
            return Ok(());
        }
        Err(RejectReason::InvalidPduField)
    }

    fn is_stale(&self, ttt: TargetTransferTag) -> bool {
        self.stale_tags.contains(&ttt)
    }
}

/// ExpStatSN, which stands at one place in every request of the full feature phase (RFC 7143 §11.3).
fn exp_stat_sn(bhs: &Bhs) -> StatSn {
    StatSn(u32::from_be_bytes([bhs[28], bhs[29], bhs[30], bhs[31]]))
}

/// The CmdSN of a PDU that carries one; `None` for Data-Out, SNACK and login.
fn numbering(header: &InitiatorHeader) -> Option<Numbering> {
    let (cmd_sn, immediate) = match header {
        InitiatorHeader::NopOut(pdu) => (pdu.cmd_sn, pdu.immediate),
        InitiatorHeader::ScsiCommand(pdu) => (pdu.cmd_sn, pdu.immediate),
        InitiatorHeader::TaskManagementRequest(pdu) => (pdu.cmd_sn, pdu.immediate),
        InitiatorHeader::TextRequest(pdu) => (pdu.cmd_sn, pdu.immediate),
        InitiatorHeader::LogoutRequest(pdu) => (pdu.cmd_sn, pdu.immediate),
        InitiatorHeader::LoginRequest(_) | InitiatorHeader::DataOut(_) | InitiatorHeader::SnackRequest(_) => {
            return None;
        }
    };
    Some(Numbering { cmd_sn, immediate })
}

/// What the initiator expects to receive and to send (RFC 7143 §11.3.4, §11.2.2.4).
fn expected_lengths(command: &ScsiCommand, ahs: &[Ahs]) -> (u32, u32) {
    let length = command.expected_data_transfer_length;
    let read_half = ahs.iter().find_map(|segment| match segment {
        Ahs::BidirectionalReadLength(length) => Some(*length),
        _ => None,
    });
    match (command.read, command.write) {
        (true, true) => (read_half.unwrap_or(0), length),
        (true, false) => (length, 0),
        (false, true) => (0, length),
        (false, false) => (0, 0),
    }
}
