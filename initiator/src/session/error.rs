//! Why a session ends, and why a single request fails.

use std::time::Duration;

use lunkeep_common::pdu::async_message::AsyncEvent;
use lunkeep_common::pdu::logout::LogoutResult;
use lunkeep_common::pdu::task_management::TaskManagementResult;
use lunkeep_common::pdu::{FrameError, InitiatorTaskTag, PduError, RejectReason};
use lunkeep_common::serial::{DataSn, R2tSn, StatSn};
use lunkeep_common::text::TextError;

/// Why the session is over. What goes on the wire is always the same: the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The stream cannot be cut into PDUs. At fault: the target or the network.
    #[error("the target's stream cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// A PDU cannot be read. At fault: the target.
    #[error("a PDU of the target cannot be read: {0}")]
    Pdu(#[from] PduError),
    /// A PDU that has no place in the full feature phase. At fault: the target.
    #[error("the target sent {name}, which has no place in the full feature phase")]
    UnexpectedPdu {
        /// Its name.
        name: &'static str,
    },
    /// A status is missing or came twice; error recovery level 0 has no way to ask for it. At fault: the target.
    #[error("the target sent {found:?} where {expected:?} was due (RFC 7143 4.2.2.2)")]
    StatSn {
        /// What was due.
        expected: StatSn,
        /// What came.
        found: StatSn,
    },
    /// Data-In that does not follow what came before. At fault: the target.
    #[error("Data-In for task {:#x}: {fault}", itt.0)]
    DataIn {
        /// The task.
        itt: InitiatorTaskTag,
        /// What is wrong.
        fault: DataInFault,
    },
    /// An R2T that cannot be served. At fault: the target.
    #[error("R2T for task {:#x}: {fault}", itt.0)]
    R2t {
        /// The task.
        itt: InitiatorTaskTag,
        /// What is wrong.
        fault: R2tFault,
    },
    /// A text response that cannot be followed. At fault: the target.
    #[error("Text Response for task {:#x}: {rule}", itt.0)]
    Text {
        /// The task.
        itt: InitiatorTaskTag,
        /// The rule that was broken.
        rule: &'static str,
    },
    /// The target rejected a PDU of ours in a way that leaves the two sides apart. At fault: unclear.
    #[error("the target rejected a PDU with opcode {opcode:#04x}: {reason:?}")]
    Rejected {
        /// Opcode of our PDU.
        opcode: u8,
        /// The reason.
        reason: RejectReason,
    },
    /// The target says that it drops the connection or the session.
    #[error("the target drops the session ({event:?}); it asks for {time2wait} s before a reconnect")]
    Dropped {
        /// Its event.
        event: AsyncEvent,
        /// Seconds to wait before a reconnect.
        time2wait: u16,
        /// Seconds that the target keeps the session's state, counted after the wait.
        time2retain: u16,
    },
    /// Nothing came from the target in time. At fault: the target or the network.
    #[error("the target did not answer {what} within {}", seconds(*limit))]
    Unanswered {
        /// What was not answered.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// A command ran out of time and the target would not abort it, so its fate is unknown.
    #[error("a command ran out of time and the target would not abort it ({result:?})")]
    NotAborted {
        /// The target's answer to ABORT TASK.
        result: TaskManagementResult,
    },
    /// A PDU of the target was damaged, and error recovery level 0 has no way to get it again. At fault: the network.
    #[error(
        "a PDU of the target with opcode {opcode:#04x} has a wrong data digest; error recovery level 0 cannot recover it"
    )]
    Unrecoverable {
        /// Its opcode.
        opcode: u8,
    },
    /// The target closed the connection without a word.
    #[error("the target closed the connection")]
    Closed,
    /// The session ended as it should.
    #[error("the session is logged out")]
    LoggedOut,
    /// The target refused the logout.
    #[error("the target answered the logout with {result:?}")]
    LogoutRefused {
        /// Its answer.
        result: LogoutResult,
    },
}

fn seconds(limit: Duration) -> String {
    format!("{:.1} s", limit.as_secs_f64())
}

/// What is wrong with a Data-In PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataInFault {
    /// A PDU is missing or came twice.
    #[error("{found:?} came where {expected:?} was due")]
    DataSn {
        /// What was due.
        expected: DataSn,
        /// What came.
        found: DataSn,
    },
    /// Not where the last PDU ended (DataPDUInOrder=Yes and DataSequenceInOrder=Yes are agreed).
    #[error("Buffer Offset {found} came where {expected} was due")]
    Offset {
        /// Where the last PDU ended.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// More than the command asked for.
    #[error("{end} bytes came, {limit} were asked for")]
    TooLong {
        /// End of the data that came.
        end: u64,
        /// Expected Data Transfer Length.
        limit: u32,
    },
}

/// What is wrong with an R2T.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum R2tFault {
    /// An R2T is missing or came twice.
    #[error("{found:?} came where {expected:?} was due")]
    R2tSn {
        /// What was due.
        expected: R2tSn,
        /// What came.
        found: R2tSn,
    },
    /// Data that the command does not have.
    #[error("it asks for bytes {offset} to {end}, the command has {available}")]
    OutOfRange {
        /// Buffer Offset.
        offset: u32,
        /// End of what is asked for.
        end: u64,
        /// Bytes that the command has.
        available: u32,
    },
    /// Longer than MaxBurstLength.
    #[error("it asks for {len} bytes, MaxBurstLength is {limit}")]
    TooLong {
        /// Desired Data Transfer Length.
        len: u32,
        /// MaxBurstLength.
        limit: u32,
    },
    /// More at a time than MaxOutstandingR2T.
    #[error("more than MaxOutstandingR2T={limit} are under way")]
    TooMany {
        /// MaxOutstandingR2T.
        limit: u16,
    },
}

/// Why a command has no SCSI status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskFailure {
    /// The target could not process it (RFC 7143 §11.4.3).
    #[error("the target failed to process the command (iSCSI response {response:#04x})")]
    Target {
        /// Response code.
        response: u8,
    },
    /// The target rejected its PDU.
    #[error("the target rejected the command: {reason:?}")]
    Rejected {
        /// The reason.
        reason: RejectReason,
    },
    /// Its connection was lost, and the target does not have it any more: whether it had an effect is unknown.
    #[error("the command was lost with its connection ({result:?})")]
    NotReassigned {
        /// The target's answer to TASK REASSIGN.
        result: TaskManagementResult,
    },
    /// It was aborted as the caller asked.
    #[error("the command was aborted")]
    Aborted,
    /// It ran out of time; it was aborted, or never sent.
    #[error("the command ran out of time{}", if *sent { " and was aborted" } else { " before the target had room for it" })]
    TimedOut {
        /// Whether it was sent: only then may it have had an effect.
        sent: bool,
    },
    /// The sense data of the response cannot be read.
    #[error("the response of the target cannot be read: {0}")]
    Response(PduError),
}

/// Why a text exchange has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFailure {
    /// The text cannot be read.
    #[error("text of the target: {0}")]
    Text(#[from] TextError),
    /// The target rejected the request.
    #[error("the target rejected the text request: {reason:?}")]
    Rejected {
        /// The reason.
        reason: RejectReason,
    },
}

/// Why a request was not taken. At fault: our caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// No more requests fit; wait for one to end.
    #[error("the session holds as many commands as it can")]
    Full,
    /// The session is logging out.
    #[error("the session is logging out")]
    Ending,
    /// The data is longer than one request may have.
    #[error("{len} bytes are too long for one request; the limit is {limit}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        limit: u32,
    },
}
