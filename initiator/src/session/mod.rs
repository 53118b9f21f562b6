//! An iSCSI session from the initiator's side as a state machine (RFC 7143 §4.2, §7), from the end of its login on. No I/O, no
//! clock.
//!
//! [`FullFeature`] has methods of three kinds:
//!
//! * `submit`, `abort`, `manage`, `text`, `logout` are what our side wants;
//! * `handle_pdu` and `handle_time` are what came from outside;
//! * `poll_pdu`, `poll_event` and `poll_time` are what must happen next: after each call of the other kinds the caller drains
//!   the first two and sleeps until the third.
//!
//! ```text
//!  submit --> queue --(window open)--> sent --- status ----------------------> Event::Command
//!               |                       |  ^-- Data-In, R2T -> Data-Out
//!               |                       +- out of time or abort() --> ABORT TASK --> Event::Command (Aborted, TimedOut)
//!               +-- out of time or abort() ---------------------------------------> Event::Command (never sent)
//! ```
//!
//! Invariants: sequence numbers are given when a PDU is polled, so their order is the wire's order; each ticket ends in
//! exactly one event unless the session ends first; a command that was sent ends as timed out or aborted only after the target
//! confirmed that it is gone, so nobody takes a write for undone that may still land.
//!
//! At error recovery level 0 whatever breaks the order of a connection ends the session. At level 1 what is missing is asked for
//! again (`recovery`), and at level 2 the tasks of a lost connection go on on another one. A session has any number of connections;
//! each answers on the one that it was asked on (allegiance, RFC 7143 §4.2.2.1).
//!
//! Deliberately not here: login (`common`), sockets and reconnects (engine), what a CDB means (commands).

mod error;
mod exchange;
mod link;
mod receive;
mod recovery;
mod state;
mod task;
#[cfg(test)]
mod tests;
mod time;
mod transmit;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunkeep_common::login::SessionParameters;
use lunkeep_common::login::initiator_side::EstablishedLogin;
use lunkeep_common::name::{Cid, Tsih};
use lunkeep_common::pdu::InitiatorTaskTag;
use lunkeep_common::pdu::async_message::AsyncMessage;
use lunkeep_common::pdu::task_management::TaskManagementResult;
use lunkeep_common::scsi::Lun;
use lunkeep_common::serial::CmdSn;
use lunkeep_common::text::Pairs;

pub use error::{DataInFault, R2tFault, SessionError, SubmitError, TaskFailure, TextFailure};

use crate::commands::{Completion, Request, Transfer};
use crate::limits::{TASKS_MAX, TRANSFER_LEN_MAX};
use exchange::Exchange;
use link::Link;
use task::{AbortCause, Task};

/// What was asked of a session: a command, a task management function or a text exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For the end of a command, from its submission on. Then it is aborted.
    pub command: Duration,
    /// For an answer to anything else: ABORT TASK, NOP-Out, text, logout. Then the session ends.
    pub answer: Duration,
    /// Of silence until the target is asked by NOP-Out whether it is there.
    pub silence: Duration,
    /// Above error recovery level 0: for what was sent or asked for, until it is taken for lost and sent or asked for again.
    pub recovery: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            recovery: Duration::from_secs(2),
        }
    }
}

/// What came of a request, or of the target's own will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command ended.
    Command {
        /// Of [`FullFeature::submit`].
        ticket: Ticket,
        /// Its status with data, or why there is none.
        result: Result<Completion, TaskFailure>,
    },
    /// A task management function was answered.
    Management {
        /// Of [`FullFeature::manage`].
        ticket: Ticket,
        /// The target's answer.
        result: TaskManagementResult,
    },
    /// A text exchange ended.
    Text {
        /// Of [`FullFeature::text`].
        ticket: Ticket,
        /// All keys of the target, in order.
        result: Result<Pairs, TextFailure>,
    },
    /// The target tells something. Requests to log out or to negotiate are already being followed.
    Message {
        /// The message.
        message: AsyncMessage,
        /// Its data: sense of a SCSI event.
        data: Bytes,
    },
    /// The logout is done; close the connection.
    LoggedOut,
}

/// Whether new requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Log out when nothing is under way any more.
    Ending,
    /// The logout was sent.
    LoggingOut,
    Ended,
}

/// A session in the full feature phase. See the [module](self).
#[derive(Debug)]
pub struct FullFeature {
    parameters: SessionParameters,
    tsih: Tsih,
    links: Vec<Link>,
    /// Lost connections whose tasks wait, and whose removal for recovery was not asked for yet; and when it may be, which is
    /// Time2Wait after the loss (RFC 7143 §13.15).
    lost: Vec<(Cid, Instant)>,
    /// Lost connections that the target was asked to remove.
    removed: HashSet<Cid>,
    timing: Timing,
    /// CmdSN of the next command.
    cmd_sn: CmdSn,
    /// The target has every command before this one.
    exp_cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    next_tag: u32,
    next_ticket: u64,
    tasks: HashMap<InitiatorTaskTag, Task>,
    tags: HashMap<Ticket, InitiatorTaskTag>,
    exchanges: HashMap<InitiatorTaskTag, Exchange>,
    /// Tasks that were not sent yet.
    queue: VecDeque<InitiatorTaskTag>,
    /// Commands to send again.
    retries: VecDeque<InitiatorTaskTag>,
    events: VecDeque<Event>,
    phase: Phase,
    /// When to look for what was lost.
    recover_at: Option<Instant>,
    /// The time that the caller told last.
    now: Instant,
}

impl FullFeature {
    /// The state after a login. `parameters` is what was agreed when the session's first connection logged in.
    #[must_use]
    pub fn new(login: &EstablishedLogin, cid: Cid, timing: Timing, now: Instant) -> Self {
        Self {
            parameters: login.session.clone().unwrap_or_default(),
            tsih: login.tsih,
            links: vec![Link::new(login, cid, now)],
            lost: Vec::new(),
            removed: HashSet::new(),
            timing,
            cmd_sn: login.cmd_sn,
            exp_cmd_sn: login.exp_cmd_sn,
            max_cmd_sn: login.max_cmd_sn,
            next_tag: 1,
            next_ticket: 1,
            tasks: HashMap::new(),
            tags: HashMap::new(),
            exchanges: HashMap::new(),
            queue: VecDeque::new(),
            retries: VecDeque::new(),
            events: VecDeque::new(),
            phase: Phase::Open,
            recover_at: None,
            now,
        }
    }

    /// What was agreed for the session.
    #[must_use]
    pub const fn parameters(&self) -> &SessionParameters {
        &self.parameters
    }

    /// The session's handle, for the login of another connection.
    #[must_use]
    pub const fn tsih(&self) -> Tsih {
        self.tsih
    }

    /// CmdSN of the next command, for the login of another connection.
    #[must_use]
    pub const fn cmd_sn(&self) -> CmdSn {
        self.cmd_sn
    }

    /// Whether [`FullFeature::submit`] takes one more command.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.tasks.len() < TASKS_MAX
    }

    /// Connections that are there.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.links.len()
    }

    /// Whether the Logout Request was sent.
    #[must_use]
    pub fn is_logging_out(&self) -> bool {
        self.phase == Phase::LoggingOut
    }

    /// Whether a logout was asked for, by either side.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Takes a command. It goes out as soon as the target's window has room.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit(&mut self, lun: Lun, request: Request, now: Instant) -> Result<Ticket, SubmitError> {
        self.check_open()?;
        if !self.has_room() {
            return Err(SubmitError::Full);
        }
        let len = match &request.transfer {
            Transfer::None => 0,
            Transfer::In(len) => *len as usize,
            Transfer::Out(data) => data.len(),
        };
        if len > TRANSFER_LEN_MAX as usize {
            return Err(SubmitError::TooLong { len, limit: TRANSFER_LEN_MAX });
        }
        let (tag, ticket) = (self.new_tag(), self.new_ticket());
        self.tasks.insert(tag, Task::new(ticket, lun, request, now + self.timing.command));
        self.tags.insert(ticket, tag);
        self.queue.push_back(tag);
        self.now = now;
        self.arm(now);
        Ok(ticket)
    }

    /// Gives up a command: it ends as aborted when the target has confirmed that, or as it would have ended if that comes
    /// first. Of no effect when it has ended already.
    pub fn abort(&mut self, ticket: Ticket, now: Instant) {
        if let Some(&tag) = self.tags.get(&ticket) {
            self.abort_task(tag, AbortCause::Caller, now);
        }
    }

    /// The next event, in the order in which things happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn check_open(&self) -> Result<(), SubmitError> {
        if self.phase == Phase::Open { Ok(()) } else { Err(SubmitError::Ending) }
    }

    fn new_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket - 1)
    }

    /// A tag that nothing under way has. Tags are not used again before 2^32 others were.
    fn new_tag(&mut self) -> InitiatorTaskTag {
        loop {
            let tag = InitiatorTaskTag(self.next_tag);
            self.next_tag = self.next_tag.wrapping_add(1);
            if tag != InitiatorTaskTag::RESERVED
                && !self.tasks.contains_key(&tag)
                && !self.exchanges.contains_key(&tag)
            {
                return tag;
            }
        }
    }

    /// Ends a task with a result. `false` when there is no such task.
    fn end_task(&mut self, tag: InitiatorTaskTag, result: Result<Completion, TaskFailure>) -> bool {
        let Some(task) = self.tasks.remove(&tag) else { return false };
        self.tags.remove(&task.ticket);
        if task.sent.is_none() {
            self.queue.retain(|&queued| queued != tag);
        }
        self.events.push_back(Event::Command { ticket: task.ticket, result });
        true
    }
}
