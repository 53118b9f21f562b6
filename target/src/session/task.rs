//! One command from its arrival to its response.

use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::InitiatorTaskTag;
use lunkeep_common::pdu::scsi_response::Residual;
use lunkeep_common::scsi::{Lun, Sense, SenseFormat, Status};
use lunkeep_common::serial::StatSn;

use super::TaskHandle;
use super::data_in::{DataInTransfer, residual};
use super::data_out::DataOutTransfer;

/// How the device server ended a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskResult {
    /// SCSI status.
    pub status: Status,
    /// Sense data, with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// How it is laid out.
    pub sense_format: SenseFormat,
    /// Bytes for the initiator, before they are cut to its expected length.
    pub data_in: Vec<Bytes>,
}

impl TaskResult {
    /// CHECK CONDITION without data.
    #[must_use]
    pub const fn check_condition(sense: Sense) -> Self {
        Self {
            status: Status::CheckCondition,
            sense: Some(sense),
            sense_format: SenseFormat::Fixed,
            data_in: Vec::new(),
        }
    }

    /// A status with nothing else.
    #[must_use]
    pub const fn without_data(status: Status) -> Self {
        Self { status, sense: None, sense_format: SenseFormat::Fixed, data_in: Vec::new() }
    }
}

/// The response to come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) sense: Option<(Sense, SenseFormat)>,
    pub(super) data_in: DataInTransfer,
    /// Residual of the only direction, or of the write half of a bidirectional command.
    pub(super) residual: Residual,
    /// Residual of the read half of a bidirectional command.
    pub(super) bidirectional_residual: Residual,
    /// SNACK Tag of the last R-Data SNACK; 0 when there was none (RFC 7143 §11.16.3).
    pub(super) snack_tag: u32,
}

/// A command that has not been answered, or whose answer the initiator has not acknowledged.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) handle: TaskHandle,
    pub(super) itt: InitiatorTaskTag,
    /// The connection that the task is allegiant to (RFC 7143 §4.2.2.1).
    pub(super) cid: Cid,
    pub(super) lun: Lun,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) expected_in: u32,
    pub(super) expected_out: u32,
    pub(super) out: DataOutTransfer,
    /// Bytes that the device server would take.
    pub(super) out_length: u64,
    /// The data went to the device server.
    pub(super) delivered: bool,
    /// Bytes of the session's room that this task holds.
    pub(super) solicited: u64,
    /// Commands that are not immediate take a place in the command window.
    pub(super) takes_place: bool,
    pub(super) answer: Option<Answer>,
    /// The answer is queued for transmission.
    pub(super) answering: bool,
    /// StatSN of the response, once it was sent.
    pub(super) answered: Option<StatSn>,
    /// The connection is gone; the task waits until then for a new one (RFC 7143 §7.2.2).
    pub(super) suspended_until: Option<Instant>,
    /// When data that the initiator owes is given up; `None` until it is known since when it owes.
    pub(super) data_deadline: Option<Instant>,
}

impl Task {
    /// Whether data is on its way, or should be.
    pub(super) fn awaits_data(&self) -> bool {
        self.suspended_until.is_none() && !self.out.is_quiet()
    }

    pub(super) fn has_result(&self) -> bool {
        self.answer.is_some()
    }

    /// Keeps the first result; a task ends once.
    pub(super) fn set_result(&mut self, result: TaskResult) {
        if self.answer.is_some() {
            return;
        }
        let in_length = result.data_in.iter().map(|part| part.len() as u64).sum::<u64>();
        let in_residual = residual(self.expected_in, in_length);
        let out_residual = residual(self.expected_out, self.out_length);
        let (residual, bidirectional_residual) = match (self.read, self.write) {
            (true, true) => (out_residual, in_residual),
            (_, true) => (out_residual, Residual::None),
            // Neither bit: both expected lengths are zero, and whichever direction the command has overflows.
            (false, false) if in_length == 0 => (out_residual, Residual::None),
            (_, false) => (in_residual, Residual::None),
        };
        self.answer = Some(Answer {
            status: result.status,
            sense: result.sense.map(|sense| (sense, result.sense_format)),
            data_in: DataInTransfer::new(result.data_in, self.expected_in),
            residual,
            bidirectional_residual,
            snack_tag: 0,
        });
    }
}
