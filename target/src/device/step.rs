//! What the engine hands to a logical unit, and what it gets back.

use bytes::Bytes;
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::scsi::{Lun, Sense, SenseFormat, Status};

use super::copy::Copy;
use super::erase::Erase;
use super::fence::{Fence, Recorded};
use super::media::MediaOp;

/// A live I_T nexus. The engine numbers them; two sessions never share a number during the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NexusId(pub u64);

/// A task, unique over all sessions during the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskId(pub u64);

/// A SCSI command as it reaches the logical unit.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// Who sent it.
    pub nexus: NexusId,
    /// The task that it becomes.
    pub task: TaskId,
    /// The CDB, 16 bytes or longer.
    pub cdb: &'a [u8],
    /// Task attribute.
    pub attribute: TaskAttribute,
    /// Bytes that the initiator is ready to receive.
    pub expected_in: u32,
    /// Bytes that the initiator is ready to send.
    pub expected_out: u32,
    /// The host's clock: milliseconds since 1970-01-01 00:00 UTC.
    pub now_ms: u64,
    /// Every logical unit that this nexus may see, for REPORT LUNS.
    pub luns: &'a [Lun],
}

/// What must happen next for a task.
#[derive(Debug)]
pub enum Step {
    /// The command takes this many bytes from the initiator. The transport moves the smaller of this and `expected_out`
    /// and calls `LogicalUnit::data_out`; the difference is the residual.
    DataOut(u64),
    /// Run this on the medium, then call `LogicalUnit::media_done`.
    Media(MediaOp),
    /// Wait for the medium, then call `LogicalUnit::fence_drained`.
    Fence(Box<Fence>),
    /// Make a change of reservations durable, then call `LogicalUnit::recorded`.
    Record(Box<Recorded>),
    /// Carry this out beside the tasks, then call `LogicalUnit::erase_begun` and `LogicalUnit::erase_done`. The task may have been
    /// answered, or be gone, before it ends.
    Erase(Box<Erase>),
    /// Carry out this copy, leg by leg, then call `LogicalUnit::copy_done`.
    Copy(Box<Copy>),
    /// Nothing now: another change of reservations comes first, and what becomes of this one comes out of `fence_drained`, `recorded` or
    /// `after_abort`.
    Waiting,
    /// The task ended with this.
    Done(Completion),
    /// The task was aborted while it was on the medium; it is over now and has no status to send.
    Aborted,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// SCSI status.
    pub status: Status,
    /// Sense data, with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// How the sense data is laid out: D_SENSE of the control mode page (SPC-4 §7.5.8).
    pub sense_format: SenseFormat,
    /// All bytes for the initiator in order, before they are cut to its expected length (the difference is the residual).
    pub data_in: Vec<Bytes>,
}

impl Completion {
    /// GOOD without data.
    #[must_use]
    pub const fn good() -> Self {
        Self::without_data(Status::Good)
    }

    /// GOOD with data for the initiator.
    #[must_use]
    pub fn data(data: impl Into<Bytes>) -> Self {
        Self { data_in: vec![data.into()], ..Self::without_data(Status::Good) }
    }

    /// RESERVATION CONFLICT.
    #[must_use]
    pub const fn conflict() -> Self {
        Self::without_data(Status::ReservationConflict)
    }

    /// CHECK CONDITION.
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
