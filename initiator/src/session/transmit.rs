//! What goes out next, and in which order: immediate requests, unsolicited data of the last command, commands while the window
//! is open, then solicited data of all tasks in turn.

use lunkeep_common::name::Cid;
use lunkeep_common::pdu::data_out::DataOut;
use lunkeep_common::pdu::scsi_command::ScsiCommand;
use lunkeep_common::pdu::{InitiatorHeader, InitiatorPdu, InitiatorTaskTag, Pdu};
use lunkeep_common::serial::StatSn;

use super::FullFeature;
use crate::commands::Transfer;

impl FullFeature {
    /// The next PDU to send on a connection, with its sequence numbers; `None` when there is nothing to send now.
    pub fn poll_pdu(&mut self, cid: Cid) -> Option<InitiatorPdu> {
        let link = self.link_mut(cid)?;
        if let Some(mut pdu) = link.urgent.pop_front() {
            self.stamp(cid, &mut pdu.header);
            return Some(pdu);
        }
        if let Some(itt) = link.unsolicited {
            let next = self.next_data_out(cid, itt);
            let link = self.link_mut(cid)?;
            if !next.as_ref().is_some_and(|sent| sent.burst_goes_on) {
                link.unsolicited = None;
            }
            if let Some(DataOutSent { pdu, burst_goes_on, more }) = next {
                if !burst_goes_on && more {
                    link.solicited.push_back(itt);
                }
                return Some(pdu);
            }
        }
        if let Some(pdu) = self.next_retry(cid) {
            return Some(pdu);
        }
        if self.cmd_sn <= self.max_cmd_sn
            && let Some(itt) = self.queue.pop_front()
            && let Some(pdu) = self.command(cid, itt)
        {
            return Some(pdu);
        }
        while let Some(itt) = self.link_mut(cid)?.solicited.pop_front() {
            if let Some(DataOutSent { pdu, more, .. }) = self.next_data_out(cid, itt) {
                if more {
                    self.link_mut(cid)?.solicited.push_back(itt);
                }
                return Some(pdu);
            }
        }
        None
    }

    /// The command of a task, with its immediate data; unsolicited Data-Out is begun. A task that was sent before keeps its CmdSN
    /// (RFC 7143 §7.2.1).
    pub(super) fn command(&mut self, cid: Cid, itt: InitiatorTaskTag) -> Option<InitiatorPdu> {
        let link = self.link(cid)?;
        let (exp_stat_sn, segment_max) =
            (link.exp_stat_sn, link.parameters.peer_max_recv_data_segment_length);
        let (parameters, now) = (&self.parameters, self.now);
        let task = self.tasks.get_mut(&itt)?;
        let len = task.out_len();
        let first_burst = len.min(parameters.first_burst_length);
        let immediate = if parameters.immediate_data { first_burst.min(segment_max) } else { 0 };
        let unsolicited = !parameters.initial_r2t && immediate < first_burst;
        task.forget_bursts();
        if unsolicited {
            task.begin_unsolicited(immediate, first_burst);
        }
        let cmd_sn = match task.sent {
            Some(cmd_sn) => cmd_sn,
            None => self.cmd_sn.advance(),
        };
        task.sent = Some(cmd_sn);
        task.sent_at = now;
        task.cid = cid;
        let expected = match task.request.transfer {
            Transfer::In(expected) => expected,
            _ => len,
        };
        let header = ScsiCommand {
            immediate: false,
            is_final: !unsolicited,
            read: matches!(task.request.transfer, Transfer::In(_)),
            write: matches!(task.request.transfer, Transfer::Out(_)),
            attribute: task.request.attribute,
            lun: task.lun,
            itt,
            expected_data_transfer_length: expected,
            cmd_sn,
            exp_stat_sn,
            cdb: task.request.cdb,
        };
        let data = task.data_out().slice(..immediate as usize);
        let link = self.link_mut(cid)?;
        link.forget(itt);
        if unsolicited {
            link.unsolicited = Some(itt);
        }
        Some(Pdu::with_data(header, data).into())
    }

    fn next_data_out(&mut self, cid: Cid, itt: InitiatorTaskTag) -> Option<DataOutSent> {
        let link = self.link(cid)?;
        let (exp_stat_sn, segment_max) =
            (link.exp_stat_sn, link.parameters.peer_max_recv_data_segment_length);
        let task = self.tasks.get_mut(&itt)?;
        let piece = task.next_piece(segment_max)?;
        let header = DataOut {
            is_final: piece.is_final,
            lun: task.lun,
            itt,
            ttt: piece.ttt,
            exp_stat_sn,
            data_sn: piece.data_sn,
            buffer_offset: piece.offset,
        };
        Some(DataOutSent {
            pdu: Pdu::with_data(header, piece.data).into(),
            burst_goes_on: !piece.is_final,
            more: task.has_data_to_send(),
        })
    }

    /// Sets CmdSN, which immediate requests do not use up, and ExpStatSN.
    fn stamp(&self, cid: Cid, header: &mut InitiatorHeader) {
        let acknowledged = self.link(cid).map_or(StatSn(0), |link| link.exp_stat_sn);
        let (cmd_sn, exp_stat_sn) = match header {
            InitiatorHeader::NopOut(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::ScsiCommand(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::TaskManagementRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::LoginRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::TextRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::LogoutRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::DataOut(h) => return h.exp_stat_sn = acknowledged,
            InitiatorHeader::SnackRequest(h) => return h.exp_stat_sn = acknowledged,
        };
        *cmd_sn = self.cmd_sn;
        *exp_stat_sn = acknowledged;
    }
}

/// The next Data-Out of a task.
struct DataOutSent {
    pdu: InitiatorPdu,
    /// Whether it was not the last of its burst.
    burst_goes_on: bool,
    /// Whether the task has more to send, in this burst or in another.
    more: bool,
}
