//! An iSCSI session as a state machine (RFC 7143 §4.2, §7): PDUs in, events and PDUs out. No I/O, no clock.
//!
//! A [`Session`] begins where login ends. Its methods are of four kinds:
//!
//! * `handle_*` take what came from outside: a PDU, a timeout;
//! * `poll_event` gives what the engine must do next ([`Event`]), `poll_transmit` the next PDU of a connection;
//! * `solicit`, `complete`, `abort_task`, `task_management_done`, `logout_done` bring what came of an event;
//! * the rest are getters.
//!
//! After each `handle_*` or result the caller drains `poll_event` until `None`, then `poll_transmit`.
//!
//! Invariants: sequence numbers are given at the moment of transmission, so their order is the wire's order; a command ends in
//! exactly one response, or in none when it was aborted; a task tag is free again when its response has left; data that a peer
//! may still owe for a task is awaited before its response, so that late data never meets a reused tag.
//!
//! Deliberately not here: what a SCSI command means (the device), which LUNs exist (the engine), login (`common`).

mod connection;
mod data_in;
mod data_out;
mod event;
mod fence;
mod receive;
mod recovery;
mod state;
mod task;
mod task_management;
#[cfg(test)]
mod tests;
mod text;
mod transmit;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunkeep_common::login::{ConnectionParameters, SessionParameters, SessionState, ValidOffer};
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::async_message::AsyncEvent;
use lunkeep_common::pdu::logout::LogoutResult;
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::{Bhs, DataOut, FrameError, InitiatorPdu, InitiatorTaskTag, TargetTransferTag};
use lunkeep_common::scsi::Sense;
use lunkeep_common::serial::{CmdSn, StatSn};
use lunkeep_common::window::CommandWindow;

use connection::Connection;
use data_out::BurstLimits;
use fence::Fences;
use task::Task;
use transmit::{Item, Message};

pub use event::{Event, ManagementScope, ScsiRequest};
pub use recovery::LostTask;
pub use task::TaskResult;
pub use text::{Directory, SendTargets};
pub use transmit::LogoutEnds;

/// A task of any session, unique during the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskHandle(pub u64);

/// Hands out [`TaskHandle`]s; shared by all sessions of the process.
#[derive(Clone, Debug, Default)]
pub struct TaskNumbers(Arc<AtomicU64>);

impl TaskNumbers {
    /// A number that no other task has.
    #[must_use]
    pub fn next(&self) -> TaskHandle {
        TaskHandle(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether the session reaches logical units (RFC 7143 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// SCSI commands are served.
    Normal,
    /// SendTargets and logout only.
    Discovery,
}

/// What the operator may set for sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// Commands that may be outstanding at once; the command window's size.
    pub queue_depth: u32,
    /// Bytes of write data that may be asked for by commands that are not done yet, over all commands of the session: what waits
    /// for a slow medium counts as what is on its way.
    pub solicited_bytes_max: u64,
    /// Quiet time on a connection after which the target asks for a sign of life with NOP-In.
    pub ping_interval: Duration,
    /// How long an answer to that may take before the connection is given up.
    pub ping_timeout: Duration,
    /// Above error recovery level 0: how long data that was asked for may take before it is asked for again, and how long a status
    /// may stay unacknowledged before the initiator is told our numbers by NOP-In.
    pub recovery_interval: Duration,
}

/// Why a connection cannot go on. The peer is at fault in all of them; the engine closes the connection once what is queued
/// has left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFault {
    /// No answer to NOP-In in time.
    #[error("no answer to NOP-In within {0:?}")]
    PingTimeout(Duration),
    /// At error recovery level 0 a damaged PDU that is not Data-Out cannot be recovered (RFC 7143 §7.8).
    #[error("data digest error in a PDU with opcode {opcode:#04x}; error recovery level 0 cannot recover it")]
    DataDigest {
        /// Opcode of the damaged PDU.
        opcode: u8,
    },
    /// A login request after the login phase.
    #[error("login request in full feature phase")]
    LoginInFullFeature,
    /// It asks for more and more without acknowledging what it got.
    #[error("{0} answers wait for the initiator to acknowledge earlier ones")]
    Unacknowledged(usize),
}

/// A session in full feature phase. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Session {
    kind: SessionKind,
    parameters: SessionParameters,
    /// What is offered when the initiator negotiates again.
    offer: ValidOffer,
    bursts: BurstLimits,
    settings: SessionSettings,
    window: CommandWindow,
    /// Commands that arrived ahead of a hole in the CmdSN sequence.
    held: HashMap<CmdSn, (Cid, Bhs, InitiatorPdu)>,
    /// Their unsolicited data.
    early_data: HashMap<InitiatorTaskTag, Vec<(DataOut, Bytes)>>,
    connections: Vec<Connection>,
    tasks: HashMap<TaskHandle, Task>,
    by_itt: HashMap<InitiatorTaskTag, TaskHandle>,
    /// Requests other than SCSI commands whose answer is still to come.
    requests: HashMap<InitiatorTaskTag, PendingRequest>,
    events: VecDeque<Event>,
    numbers: TaskNumbers,
    next_ttt: u32,
    /// Tags of R2Ts whose task was aborted: data for them is dropped without a word.
    stale_tags: VecDeque<TargetTransferTag>,
    /// Tasks that wait for room in `solicited_bytes_max`.
    waiting_for_room: VecDeque<TaskHandle>,
    solicited_bytes: u64,
    /// Tasks whose response was sent and is not acknowledged; only above error recovery level 0.
    answered: HashMap<TaskHandle, Task>,
    answered_by_itt: HashMap<InitiatorTaskTag, TaskHandle>,
    /// Lost connections whose tasks are kept, and until when.
    lost: Vec<(Cid, Instant)>,
    /// Tasks that were given a new connection in this very PDU.
    reassigned: Vec<TaskHandle>,
    fences: Fences,
    /// Task management requests whose response is fenced.
    fenced: HashSet<InitiatorTaskTag>,
    /// The initiator logs the session out.
    ending: bool,
    /// Mistakes of the initiator that were logged.
    mistakes_logged: u32,
}

/// A request other than a SCSI command whose answer is still to come.
#[derive(Clone, Copy, Debug)]
struct PendingRequest {
    /// The connection that the answer goes to.
    cid: Cid,
    /// The connection that a logout is about.
    logs_out: Option<Cid>,
}

/// What login hands over to a new connection of a session.
#[derive(Debug)]
pub struct NewConnection {
    /// Connection ID.
    pub cid: Cid,
    /// Negotiated for this connection.
    pub parameters: ConnectionParameters,
    /// First StatSN of full feature phase.
    pub stat_sn: StatSn,
    /// What this connection's portal tells in discovery.
    pub directory: Arc<dyn Directory>,
}

impl Session {
    /// A session whose leading connection has just logged in; `cmd_sn` is the first CmdSN to expect.
    #[must_use]
    pub fn new(
        kind: SessionKind,
        parameters: SessionParameters,
        offer: ValidOffer,
        settings: SessionSettings,
        cmd_sn: CmdSn,
        numbers: TaskNumbers,
    ) -> Self {
        let bursts = BurstLimits {
            max_burst_length: parameters.max_burst_length,
            first_burst_length: parameters.first_burst_length,
            // RFC 7143 §13.19: one at a time where data can be asked for again in order.
            max_outstanding_r2t: if parameters.error_recovery_level > 0 {
                1
            } else {
                parameters.max_outstanding_r2t
            },
        };
        Self {
            kind,
            parameters,
            offer,
            bursts,
            settings,
            window: CommandWindow::new(cmd_sn, settings.queue_depth),
            held: HashMap::new(),
            early_data: HashMap::new(),
            connections: Vec::new(),
            tasks: HashMap::new(),
            by_itt: HashMap::new(),
            requests: HashMap::new(),
            events: VecDeque::new(),
            numbers,
            next_ttt: 0,
            stale_tags: VecDeque::new(),
            waiting_for_room: VecDeque::new(),
            solicited_bytes: 0,
            answered: HashMap::new(),
            answered_by_itt: HashMap::new(),
            lost: Vec::new(),
            reassigned: Vec::new(),
            fences: Fences::default(),
            fenced: HashSet::new(),
            ending: false,
            mistakes_logged: 0,
        }
    }

    /// Adds a connection that has just logged in. One with the same CID must have been removed before.
    pub fn add_connection(&mut self, connection: NewConnection, now: Instant) {
        self.lost.retain(|&(cid, _)| cid != connection.cid);
        self.connections.push(Connection::new(connection, now));
    }

    /// Whether one more connection may log in: one with a new CID, or in place of one that is there (RFC 7143 §6.3.4).
    #[must_use]
    pub fn admits(&self, cid: Cid) -> bool {
        let taken = self.connections.iter().filter(|connection| connection.cid != cid).count();
        self.kind == SessionKind::Normal
            && !self.ending
            && taken < usize::from(self.parameters.max_connections)
    }

    /// Whether this connection is there.
    #[must_use]
    pub fn has_connection(&self, cid: Cid) -> bool {
        self.connection(cid).is_some()
    }

    /// Whether nothing is left that an initiator could come back for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state() == SessionState::Free
    }

    /// Connections that have something to send.
    pub fn ready(&self) -> impl Iterator<Item = Cid> {
        self.connections.iter().filter(|connection| !connection.queue.is_empty()).map(|ready| ready.cid)
    }

    /// The next thing for the engine to do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Session::handle_timeout`] wants to be called for a connection.
    pub fn poll_timeout(&mut self, cid: Cid, now: Instant) -> Option<Instant> {
        let settings = self.settings;
        let gap = !self.held.is_empty() && self.recovers();
        let watches = self.recovers() || self.fences.is_standing();
        let overdue = self.next_overdue(cid, now);
        let connection = self.connection_mut(cid)?;
        let reveals = gap || watches && connection.is_unacknowledged();
        let timeout = connection.next_timeout(&settings, reveals, now);
        Some(overdue.map_or(timeout, |overdue| overdue.min(timeout)))
    }

    /// Sends a NOP-In after a quiet time, and gives the connection up when that is not answered. Asks again for data that does
    /// not come, where that was agreed.
    ///
    /// # Errors
    /// [`ConnectionFault::PingTimeout`].
    pub fn handle_timeout(&mut self, cid: Cid, now: Instant) -> Result<(), ConnectionFault> {
        self.recover_overdue(cid, now);
        let (settings, recovers) = (self.settings, self.recovers());
        let ttt = self.allocate_ttt();
        match self.connection_mut(cid) {
            Some(connection) => connection.handle_timeout(&settings, ttt, recovers, now),
            None => Ok(()),
        }
    }

    /// The device server takes `wanted` bytes for a task: moves what is there, asks for the rest.
    pub fn solicit(&mut self, handle: TaskHandle, wanted: u64) {
        if let Some(task) = self.tasks.get_mut(&handle) {
            task.out.want(wanted);
            task.out_length = wanted;
            self.progress(handle);
        }
    }

    /// The device server ended a task. The response leaves once the initiator owes no more data for it.
    pub fn complete(&mut self, handle: TaskHandle, result: TaskResult) {
        let recovers = self.recovers();
        if let Some(task) = self.tasks.get_mut(&handle) {
            task.set_result(result);
            if let (true, Some(answer)) = (recovers, task.answer.as_mut()) {
                answer.data_in.keep_history();
            }
            self.progress(handle);
        }
    }

    /// Drops an aborted task: no response will be sent for it (SAM-5 §7.2, TAS = 0).
    pub fn abort_task(&mut self, handle: TaskHandle) {
        self.forget_task(handle);
    }

    /// The engine has ended what a logout asked to end. From here on nothing can join a session that ends with it.
    pub fn logout_done(&mut self, cid: Cid, itt: InitiatorTaskTag, response: LogoutResult, ends: LogoutEnds) {
        self.ending |= ends == LogoutEnds::Session;
        if let Some(request) = self.requests.remove(&itt) {
            if response != LogoutResult::Closed {
                self.stay(request);
            }
            self.push(cid, Item::LogoutResponse { itt, response, ends });
        }
    }

    /// The stream of a connection cannot be followed any further. Rejects the PDU at fault, if its header could be read.
    pub fn handle_frame_error(&mut self, cid: Cid, error: &FrameError) {
        if let FrameError::DataTooLong { bhs, .. } | FrameError::AhsTooLong { bhs, .. } = error {
            self.reject(cid, RejectReason::InvalidPduField, **bhs);
        }
    }

    /// The target ends the session: nothing can join it any more, and nothing of it is kept.
    pub fn end(&mut self) {
        self.ending = true;
        self.lost.clear();
    }

    /// Whether either side ends the session.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether nothing would be left of the session without this connection.
    #[must_use]
    pub fn is_last(&self, cid: Cid) -> bool {
        self.lost.is_empty() && self.connections.iter().all(|connection| connection.cid == cid)
    }

    /// Tells the initiator on a connection that the target ends the session (RFC 7143 §11.9.1, event 3).
    pub fn announce_drop(&mut self, cid: Cid) {
        let parameters = [0, self.parameters.default_time2wait, self.parameters.default_time2retain];
        self.requeue(cid, Item::Message(Message { parameters, ..Message::new(AsyncEvent::SessionDropped) }));
    }

    /// Seconds that the initiator waits before it comes back (DefaultTime2Wait).
    #[must_use]
    pub const fn time2wait(&self) -> u16 {
        self.parameters.default_time2wait
    }

    /// Tells the initiator that the target drops a connection (RFC 7143 §11.9.1, event 2): on that connection, for as far as it still
    /// carries anything, and on another one, from which it knows even when that one carries nothing any more.
    pub fn announce_connection_drop(&mut self, dropped: Cid) {
        let SessionParameters { default_time2wait, default_time2retain, .. } = self.parameters;
        let parameters = [dropped.0, default_time2wait, default_time2retain];
        let message = Message { parameters, ..Message::new(AsyncEvent::ConnectionDropped) };
        let open = |cid: &Cid| self.connection_state(*cid).is_open();
        let cids = self.connections.iter().map(|connection| connection.cid).filter(open);
        let (own, other): (Vec<_>, Vec<_>) = cids.partition(|&cid| cid == dropped);
        own.into_iter()
            .chain(other.into_iter().next())
            .for_each(|cid| self.requeue(cid, Item::Message(message)));
    }

    /// Asks the initiator on each connection to log out within so many seconds (RFC 7143 §11.9.1, event 1).
    pub fn request_logout(&mut self, seconds: u16) {
        let message = Message { parameters: [0, 0, seconds], ..Message::new(AsyncEvent::LogoutRequested) };
        for connection in &mut self.connections {
            connection.logout_requested = true;
            connection.push(Item::Message(message));
        }
    }

    /// Whether the connection has sent everything it will ever send, a logout response last.
    #[must_use]
    pub fn is_finished(&self, cid: Cid) -> bool {
        !self.connection_state(cid).is_open()
    }

    /// The command window, for the last login response.
    #[must_use]
    pub fn window(&self) -> &CommandWindow {
        &self.window
    }

    /// Tasks that have not been answered.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    fn connection(&self, cid: Cid) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.cid == cid)
    }

    fn connection_mut(&mut self, cid: Cid) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.cid == cid)
    }

    /// A target transfer tag that is not in use: they wrap after 2^32 - 1, far beyond what can be outstanding.
    fn allocate_ttt(&mut self) -> TargetTransferTag {
        let tag = TargetTransferTag(self.next_ttt);
        self.next_ttt = self.next_ttt.wrapping_add(1);
        if self.next_ttt == TargetTransferTag::RESERVED.0 {
            self.next_ttt = 0;
        }
        tag
    }

    /// Ends a task with CHECK CONDITION because of what the initiator sent for it; the device must drop it too.
    ///
    /// The response waits for that: the data may be complete and on its way to the medium when more comes that nobody asked for.
    fn fail_task(&mut self, handle: TaskHandle, sense: Sense) {
        if let Some(task) = self.tasks.get_mut(&handle) {
            self.stale_tags.extend(task.out.outstanding_tags());
            task.out.abandon();
            let lun = task.lun;
            self.events.push_back(Event::Abandon { task: handle, lun, sense });
            self.trim_stale_tags();
        }
    }

    /// Whether one more mistake of the initiator is worth a line in the log.
    fn logs_mistake(&mut self) -> bool {
        let max = crate::limits::MISTAKES_LOGGED_MAX;
        self.mistakes_logged = self.mistakes_logged.saturating_add(1);
        if self.mistakes_logged == max {
            tracing::warn!("further mistakes in this session are not logged");
        }
        self.mistakes_logged < max
    }

    /// Whether so many answers wait for acknowledgments that the initiator cannot be meant well.
    fn check_backlog(&self, cid: Cid) -> Result<(), ConnectionFault> {
        let held_back = self.connection(cid).map_or(0, Connection::held_back) + self.fences.held_back();
        if held_back > crate::limits::ANSWERS_HELD_BACK_MAX {
            return Err(ConnectionFault::Unacknowledged(held_back));
        }
        Ok(())
    }

    fn forget_task(&mut self, handle: TaskHandle) {
        self.end_task(handle);
    }

    /// Takes a task out, and gives back what it held.
    fn end_task(&mut self, handle: TaskHandle) -> Option<Task> {
        let task = self.tasks.remove(&handle)?;
        self.by_itt.remove(&task.itt);
        self.stale_tags.extend(task.out.outstanding_tags());
        self.trim_stale_tags();
        self.waiting_for_room.retain(|waiting| *waiting != handle);
        self.release_room(task.solicited);
        if task.takes_place {
            self.window.reopen();
        }
        Some(task)
    }

    fn trim_stale_tags(&mut self) {
        let excess = self.stale_tags.len().saturating_sub(crate::limits::STALE_TRANSFER_TAGS_MAX);
        self.stale_tags.drain(..excess);
    }

    /// Moves a task on after something about it changed.
    fn progress(&mut self, handle: TaskHandle) {
        let Some(task) = self.tasks.get_mut(&handle) else { return };
        if task.has_result() {
            // RFC 7143 §4.2.5.2 lets a target answer early; we wait for the data it owes, so that the tag is clean.
            if task.out.is_quiet() && !task.answering && task.suspended_until.is_none() {
                task.answering = true;
                let (cid, solicited) = (task.cid, std::mem::take(&mut task.solicited));
                self.release_room(solicited);
                self.push(cid, Item::Answer(handle));
            }
        } else if task.out.is_complete() && !task.delivered {
            task.delivered = true;
            let data = task.out.take_data();
            self.events.push_back(Event::DataOut { task: handle, lun: task.lun, data });
        } else {
            self.send_r2ts(handle);
        }
    }

    /// Sends as many R2Ts for a task as MaxOutstandingR2T and the session's room allow.
    fn send_r2ts(&mut self, handle: TaskHandle) {
        loop {
            let full = self.solicited_bytes >= self.settings.solicited_bytes_max;
            let ttt = self.allocate_ttt();
            let Some(task) = self.tasks.get_mut(&handle) else { return };
            if full && task.solicited == 0 && task.out.wants_more() {
                self.waiting_for_room.push_back(handle);
                return;
            }
            if task.suspended_until.is_some() {
                return;
            }
            let Some(request) = task.out.next_r2t(&self.bursts, || ttt) else { return };
            task.data_deadline = None;
            task.solicited += u64::from(request.length);
            self.solicited_bytes += u64::from(request.length);
            let cid = task.cid;
            self.push(cid, Item::R2t { task: handle, request });
        }
    }

    fn release_room(&mut self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.solicited_bytes -= bytes;
        while self.solicited_bytes < self.settings.solicited_bytes_max {
            let Some(handle) = self.waiting_for_room.pop_front() else { return };
            self.send_r2ts(handle);
        }
    }
}
