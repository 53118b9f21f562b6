//! What goes out next, and in which order: immediate requests, unsolicited data of the last command, commands while the window
//! is open, then solicited data of all tasks in turn.

use lunkeep_common::pdu::data_out::DataOut;
use lunkeep_common::pdu::scsi_command::ScsiCommand;
use lunkeep_common::pdu::{InitiatorHeader, InitiatorPdu, InitiatorTaskTag, Pdu};

use super::FullFeature;
use crate::commands::Transfer;

impl FullFeature {
    /// The next PDU to send, with its sequence numbers; `None` when there is nothing to send now.
    pub fn poll_pdu(&mut self) -> Option<InitiatorPdu> {
        if let Some(mut pdu) = self.urgent.pop_front() {
            self.stamp(&mut pdu.header);
            return Some(pdu);
        }
        if let Some(itt) = self.unsolicited {
            let next = self.next_data_out(itt);
            if !next.as_ref().is_some_and(|sent| sent.burst_goes_on) {
                self.unsolicited = None;
            }
            if let Some(DataOutSent { pdu, burst_goes_on, more }) = next {
                if !burst_goes_on && more {
                    self.solicited.push_back(itt);
                }
                return Some(pdu);
            }
        }
        if self.cmd_sn <= self.max_cmd_sn
            && let Some(itt) = self.queue.pop_front()
            && let Some(pdu) = self.command(itt)
        {
            return Some(pdu);
        }
        while let Some(itt) = self.solicited.pop_front() {
            if let Some(DataOutSent { pdu, more, .. }) = self.next_data_out(itt) {
                if more {
                    self.solicited.push_back(itt);
                }
                return Some(pdu);
            }
        }
        None
    }

    /// The command of a task, with its immediate data; unsolicited Data-Out is begun.
    fn command(&mut self, itt: InitiatorTaskTag) -> Option<InitiatorPdu> {
        let task = self.tasks.get_mut(&itt)?;
        let len = task.out_len();
        let first_burst = len.min(self.parameters.first_burst_length);
        let immediate = if self.parameters.immediate_data {
            first_burst.min(self.connection.peer_max_recv_data_segment_length)
        } else {
            0
        };
        let unsolicited = !self.parameters.initial_r2t && immediate < first_burst;
        if unsolicited {
            task.begin_unsolicited(immediate, first_burst);
            self.unsolicited = Some(itt);
        }
        let cmd_sn = self.cmd_sn.advance();
        task.sent = Some(cmd_sn);
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
            exp_stat_sn: self.exp_stat_sn,
            cdb: task.request.cdb,
        };
        Some(Pdu::with_data(header, task.data_out().slice(..immediate as usize)).into())
    }

    fn next_data_out(&mut self, itt: InitiatorTaskTag) -> Option<DataOutSent> {
        let task = self.tasks.get_mut(&itt)?;
        let piece = task.next_piece(self.connection.peer_max_recv_data_segment_length)?;
        let header = DataOut {
            is_final: piece.is_final,
            lun: task.lun,
            itt,
            ttt: piece.ttt,
            exp_stat_sn: self.exp_stat_sn,
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
    fn stamp(&self, header: &mut InitiatorHeader) {
        let (cmd_sn, exp_stat_sn) = match header {
            InitiatorHeader::NopOut(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::ScsiCommand(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::TaskManagementRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::LoginRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::TextRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::LogoutRequest(h) => (&mut h.cmd_sn, &mut h.exp_stat_sn),
            InitiatorHeader::DataOut(h) => return h.exp_stat_sn = self.exp_stat_sn,
            InitiatorHeader::SnackRequest(h) => return h.exp_stat_sn = self.exp_stat_sn,
        };
        *cmd_sn = self.cmd_sn;
        *exp_stat_sn = self.exp_stat_sn;
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
