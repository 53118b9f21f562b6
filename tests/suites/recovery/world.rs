//! Our initiator's and our target's session machines, joined by a network that fails as its seed says. No socket, no thread; the
//! clock moves only when nothing else can.
//!
//! A PDU can be damaged in its data (the receiver sees its header and a wrong data digest), lost (its header is damaged and the
//! framing is not), or go down with its connection. The two sides notice a cut at different times, and log in again under the old
//! CID or a new one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunkeep_common::login::initiator_side::EstablishedLogin;
use lunkeep_common::login::{ConnectionParameters, Offer, SessionParameters};
use lunkeep_common::name::{Cid, Tsih};
use lunkeep_common::pdu::logout::{LogoutReason, LogoutResult};
use lunkeep_common::pdu::task_management::TaskManagementResult;
use lunkeep_common::pdu::{Digests, Framer, RawPdu, TargetPdu};
use lunkeep_common::scsi::{Lun, SenseFormat, Status};
use lunkeep_common::serial::{CmdSn, StatSn};
use lunkeep_common::text::address::DiscoveredTarget;
use lunkeep_initiator::commands::{Request, Transfer};
use lunkeep_initiator::session::{Event as Outcome, FullFeature, Ticket, Timing};
use lunkeep_target::session::{
    Directory, Event, LogoutEnds, ManagementScope, NewConnection, SendTargets, Session, SessionKind,
    SessionSettings, TaskHandle, TaskNumbers, TaskResult,
};
use lunkeep_tests::random::Random;

const SLOT: usize = 4096;
const SLOTS: usize = 24;

/// Steps after which a run is taken for stuck: some ten times what the longest takes.
const STEPS_MAX: usize = 200_000;

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) level: u8,
    pub(super) connections: u16,
    pub(super) commands: usize,
    /// One PDU in so many is damaged or lost; 0 for none.
    pub(super) losses: u64,
    /// One step in so many cuts a connection; 0 for none.
    pub(super) cuts: u64,
    /// Time2Wait in seconds.
    pub(super) wait: u16,
    /// What the network may do to a safeguard that a control switches off.
    pub(super) sabotage: Sabotage,
}

/// A safeguard that a control takes away, by keeping its PDUs from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    /// No SNACK reaches the target.
    Snacks,
    /// No R2T reaches the initiator after the first of each task.
    RecoveryR2ts,
    /// No TASK REASSIGN reaches the target.
    Reassigns,
    /// No command reaches the target a second time.
    Retries,
}

#[derive(Debug)]
struct Nobody;

impl Directory for Nobody {
    fn send_targets(&self, _: SendTargets<'_>) -> Vec<DiscoveredTarget> {
        Vec::new()
    }
}

/// A connection's PDUs on their way.
struct Wire {
    cid: Cid,
    up: VecDeque<RawPdu>,
    down: VecDeque<RawPdu>,
}

/// What a command is to do, and to which slot.
#[derive(Clone, Debug)]
enum Work {
    Write { slot: usize, data: Bytes },
    Read { slot: usize, expected: Bytes },
}

/// What the medium does for a task when its time comes.
enum MediumOp {
    Write { slot: usize, data: Vec<u8> },
    Read { slot: usize, len: usize },
}

pub(super) struct World {
    plan: Plan,
    random: Random,
    now: Instant,
    target: Session,
    initiator: FullFeature,
    wires: Vec<Wire>,
    /// Connections that one side has not noticed the end of.
    target_unaware: Vec<(Cid, Instant)>,
    initiator_unaware: Vec<(Cid, Instant)>,
    /// When the initiator logs in again, and under which CID.
    logins: Vec<(Instant, Cid)>,
    next_cid: u16,
    medium: Vec<Vec<u8>>,
    media: Vec<(Instant, TaskHandle, MediumOp)>,
    writing: HashMap<TaskHandle, usize>,
    /// How often each slot's content of a command was written, by its first eight bytes.
    written: HashMap<[u8; 8], u32>,
    busy: BTreeMap<usize, ()>,
    content: Vec<Bytes>,
    work: HashMap<Ticket, Work>,
    submitted: usize,
    pub(super) completed: usize,
    pub(super) faults: usize,
    pub(super) cuts: usize,
    seen_commands: HashMap<u32, u32>,
    seen_r2ts: HashMap<u32, u32>,
}

fn connection() -> ConnectionParameters {
    ConnectionParameters {
        digests: Digests { header: true, data: true },
        max_recv_data_segment_length: 512,
        peer_max_recv_data_segment_length: 512,
    }
}

fn raw(bytes: Bytes) -> RawPdu {
    let mut framer = Framer::default();
    framer.push(&bytes);
    framer.next_pdu().expect("a sound PDU").expect("a whole PDU")
}

impl World {
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let parameters = SessionParameters {
            max_connections: plan.connections,
            error_recovery_level: plan.level,
            initial_r2t: random.one_in(2),
            immediate_data: random.one_in(2),
            max_burst_length: 1024 << random.below(3),
            first_burst_length: 1024,
            max_outstanding_r2t: 1,
            default_time2wait: plan.wait,
            default_time2retain: 60,
            ..SessionParameters::default()
        };
        let settings = SessionSettings {
            queue_depth: 8,
            solicited_bytes_max: 8192,
            ping_interval: Duration::from_secs(600),
            ping_timeout: Duration::from_secs(600),
            recovery_interval: Duration::from_secs(2),
        };
        let now = Instant::now();
        let offer = Offer::target().validate().unwrap();
        let cmd_sn = CmdSn(u32::MAX - 5);
        let numbers = TaskNumbers::default();
        let mut target =
            Session::new(SessionKind::Normal, parameters.clone(), offer, settings, cmd_sn, numbers);
        let established = |stat_sn, target: &Session| EstablishedLogin {
            tsih: Tsih(1),
            session: Some(parameters.clone()),
            connection: connection(),
            portal_group: None,
            target_alias: None,
            cmd_sn,
            exp_stat_sn: stat_sn,
            exp_cmd_sn: target.window().exp_cmd_sn(),
            max_cmd_sn: target.window().max_cmd_sn(),
        };
        let login = established(StatSn(u32::MAX - 3), &target);
        let first = NewConnection {
            cid: Cid(0),
            parameters: connection(),
            stat_sn: login.exp_stat_sn,
            directory: Arc::new(Nobody),
        };
        target.add_connection(first, now);
        let timing = Timing {
            command: Duration::from_secs(100_000),
            answer: Duration::from_secs(100_000),
            silence: Duration::from_secs(600),
            recovery: Duration::from_secs(3),
        };
        let initiator = FullFeature::new(&login, Cid(0), timing, now);
        let mut world = Self {
            plan,
            random,
            now,
            target,
            initiator,
            wires: vec![Wire { cid: Cid(0), up: VecDeque::new(), down: VecDeque::new() }],
            target_unaware: Vec::new(),
            initiator_unaware: Vec::new(),
            logins: Vec::new(),
            next_cid: 1,
            medium: vec![vec![0; SLOT]; SLOTS],
            media: Vec::new(),
            writing: HashMap::new(),
            written: HashMap::new(),
            busy: BTreeMap::new(),
            content: vec![Bytes::from(vec![0; SLOT]); SLOTS],
            work: HashMap::new(),
            submitted: 0,
            completed: 0,
            faults: 0,
            cuts: 0,
            seen_commands: HashMap::new(),
            seen_r2ts: HashMap::new(),
        };
        for _ in 1..plan.connections {
            let cid = world.new_cid();
            world.log_in(cid);
        }
        world
    }

    fn new_cid(&mut self) -> Cid {
        self.next_cid += 1;
        Cid(self.next_cid)
    }

    /// Runs until every command has ended and everything fits.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn run(mut self) -> Result<Self, String> {
        for _ in 0..STEPS_MAX {
            self.step()?;
            if self.completed == self.plan.commands {
                return self.check();
            }
        }
        let (open, now) = (self.work.len(), self.now);
        Err(format!("{open} commands do not end: {:?}, {now:?}", self.initiator))
    }

    fn check(self) -> Result<Self, String> {
        if let Some((id, times)) = self.written.iter().find(|(_, times)| **times != 1) {
            return Err(format!("the data {id:02x?} was written {times} times"));
        }
        for (slot, content) in self.content.iter().enumerate() {
            if self.medium[slot] != content[..] {
                return Err(format!("slot {slot} does not hold what was written last"));
            }
        }
        match self.initiator_is_idle() {
            true => Ok(self),
            false => Err("a command ended twice or an event is left".into()),
        }
    }

    fn initiator_is_idle(&self) -> bool {
        self.work.is_empty() && self.busy.is_empty()
    }

    fn step(&mut self) -> Result<(), String> {
        self.drain()?;
        let mut moved = false;
        match self.random.below(12) {
            0 => moved = self.submit(),
            1..=3 => {
                let at = self.random.index(self.wires.len());
                moved = self.transmit_up(at);
            }
            4..=6 => {
                let at = self.random.index(self.wires.len());
                moved = self.transmit_down(at);
            }
            7 | 8 => moved = self.deliver_up()?,
            9 | 10 => moved = self.deliver_down()?,
            _ => {
                self.now += Duration::from_millis(self.random.below(20));
                if self.plan.cuts > 0 && self.random.one_in(self.plan.cuts) {
                    self.cut();
                }
            }
        }
        if !moved && !self.can_move() {
            self.wait();
        }
        self.pass_time()
    }

    /// Whether something other than the clock can happen.
    fn can_move(&mut self) -> bool {
        // Every connection, not one by chance: the clock must not run while a PDU waits to be sent.
        while (0..self.wires.len()).any(|at| self.transmit_up(at) || self.transmit_down(at)) {}
        self.wires.iter().any(|wire| !wire.up.is_empty() || !wire.down.is_empty())
            || self.submitted < self.plan.commands && self.busy.len() < SLOTS
    }

    /// Moves the clock to the next thing that is due.
    fn wait(&mut self) {
        let cids: Vec<_> = self.wires.iter().map(|wire| wire.cid).collect();
        let mut due: Vec<Instant> = Vec::new();
        for cid in cids {
            due.extend(self.target.poll_timeout(cid, self.now));
        }
        due.extend(self.target.poll_retention());
        due.extend(self.initiator.poll_time());
        due.extend(self.media.iter().map(|(at, ..)| *at));
        due.extend(self.logins.iter().map(|(at, _)| *at));
        due.extend(self.target_unaware.iter().chain(&self.initiator_unaware).map(|(_, at)| *at));
        if let Some(next) = due.into_iter().min() {
            self.now = self.now.max(next);
        }
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let now = self.now;
        let due = |list: &mut Vec<(Cid, Instant)>| {
            let (over, rest) = list.drain(..).partition::<Vec<_>, _>(|(_, at)| *at <= now);
            *list = rest;
            over
        };
        for (cid, _) in due(&mut self.target_unaware) {
            self.target.remove_connection(cid, now);
        }
        for (cid, _) in due(&mut self.initiator_unaware) {
            self.initiator.lose_connection(cid, now).map_err(|error| error.to_string())?;
            let cid = if self.random.one_in(2) { cid } else { self.new_cid() };
            let wait = Duration::from_secs(self.plan.wait.into());
            self.logins.push((now + wait + Duration::from_millis(self.random.below(8000)), cid));
        }
        while let Some(at) = self.logins.iter().position(|(at, _)| *at <= now) {
            let (_, cid) = self.logins.remove(at);
            self.log_in(cid);
        }
        while let Some(at) = self.media.iter().position(|(at, ..)| *at <= now) {
            let (_, task, op) = self.media.remove(at);
            self.finish(task, op);
        }
        for at in 0..self.wires.len() {
            let cid = self.wires[at].cid;
            if self.target.poll_timeout(cid, now).is_some_and(|at| at <= now) {
                self.target.handle_timeout(cid, now).map_err(|fault| fault.to_string())?;
            }
        }
        if self.target.poll_retention().is_some_and(|at| at <= now) {
            let lost = self.target.handle_retention(now);
            if !lost.is_empty() {
                return Err(format!("nobody came back for {lost:?}"));
            }
        }
        if self.initiator.poll_time().is_some_and(|at| at <= now) {
            self.initiator.handle_time(now).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn submit(&mut self) -> bool {
        let slot = self.random.index(SLOTS);
        if self.submitted == self.plan.commands || self.busy.contains_key(&slot) {
            return false;
        }
        self.submitted += 1;
        self.busy.insert(slot, ());
        let mut cdb = [0; 16];
        cdb[1] = u8::try_from(slot).unwrap();
        let (transfer, work) = if self.random.one_in(2) {
            cdb[0] = 0x28;
            (Transfer::In(4096), Work::Read { slot, expected: self.content[slot].clone() })
        } else {
            cdb[0] = 0x2a;
            let mut data = vec![0; SLOT];
            self.random.fill(&mut data);
            let data = Bytes::from(data);
            (Transfer::Out(data.clone()), Work::Write { slot, data })
        };
        let ticket = self.initiator.submit(Lun(0), Request::new(cdb, transfer), self.now).unwrap();
        self.work.insert(ticket, work);
        true
    }

    fn transmit_up(&mut self, at: usize) -> bool {
        let Some(wire) = self.wires.get_mut(at) else { return false };
        let Some(pdu) = self.initiator.poll_pdu(wire.cid) else { return false };
        wire.up.push_back(raw(pdu.encode(Digests::NONE).unwrap().to_bytes()));
        true
    }

    fn transmit_down(&mut self, at: usize) -> bool {
        let Some(wire) = self.wires.get_mut(at) else { return false };
        let Some(pdu) = self.target.poll_transmit(wire.cid) else { return false };
        wire.down.push_back(raw(pdu.encode(Digests::NONE).unwrap().to_bytes()));
        true
    }

    fn fails(&mut self) -> bool {
        let fails = self.plan.losses > 0 && self.random.one_in(self.plan.losses);
        self.faults += usize::from(fails);
        fails
    }

    fn deliver_up(&mut self) -> Result<bool, String> {
        let at = self.random.index(self.wires.len());
        let Some(wire) = self.wires.get_mut(at) else { return Ok(false) };
        let (cid, Some(pdu)) = (wire.cid, wire.up.pop_front()) else { return Ok(false) };
        let fault = |fault: lunkeep_target::session::ConnectionFault| fault.to_string();
        if self.is_sabotaged_up(&pdu) {
            return Ok(true);
        }
        if self.fails() {
            if pdu.data.is_empty() || self.random.one_in(2) {
                self.target.handle_lost_pdu(cid, self.now);
            } else {
                self.target.handle_data_digest_error(cid, pdu.bhs, self.now).map_err(fault)?;
            }
        } else {
            self.target.handle_pdu(cid, pdu, self.now).map_err(fault)?;
        }
        Ok(true)
    }

    fn deliver_down(&mut self) -> Result<bool, String> {
        let at = self.random.index(self.wires.len());
        let Some(wire) = self.wires.get_mut(at) else { return Ok(false) };
        let (cid, Some(pdu)) = (wire.cid, wire.down.pop_front()) else { return Ok(false) };
        if self.is_sabotaged_down(&pdu) {
            return Ok(true);
        }
        if self.fails() {
            if !pdu.data.is_empty() && self.random.one_in(2) {
                self.initiator.handle_damaged(cid, &pdu.bhs, self.now).map_err(|error| error.to_string())?;
            }
            return Ok(true);
        }
        let pdu = TargetPdu::decode(pdu).map_err(|error| error.to_string())?;
        self.initiator.handle_pdu(cid, pdu, self.now).map_err(|error| error.to_string())?;
        Ok(true)
    }

    fn is_sabotaged_up(&mut self, pdu: &RawPdu) -> bool {
        let itt = u32::from_be_bytes([pdu.bhs[16], pdu.bhs[17], pdu.bhs[18], pdu.bhs[19]]);
        match (self.plan.sabotage, pdu.bhs[0] & 0x3f) {
            (Sabotage::Snacks, 0x10) => true,
            (Sabotage::Reassigns, 0x02) => pdu.bhs[1] & 0x7f == 8,
            (Sabotage::Retries, 0x01) => {
                let seen = self.seen_commands.entry(itt).or_default();
                *seen += 1;
                *seen > 1
            }
            _ => false,
        }
    }

    fn is_sabotaged_down(&mut self, pdu: &RawPdu) -> bool {
        if self.plan.sabotage != Sabotage::RecoveryR2ts || pdu.bhs[0] & 0x3f != 0x31 {
            return false;
        }
        let word = |at: usize| u32::from_be_bytes(pdu.bhs[at..at + 4].try_into().unwrap());
        // One R2T for each part of the data; what asks for a part again is kept away.
        let until = word(40) + word(44);
        let seen = self.seen_r2ts.entry(word(16)).or_default();
        let again = until <= *seen;
        *seen = until.max(*seen);
        again
    }

    /// Cuts a connection; each side notices in its own time.
    fn cut(&mut self) {
        if self.wires.is_empty() {
            return;
        }
        self.cuts += 1;
        let at = self.random.index(self.wires.len());
        let wire = self.wires.remove(at);
        let later = |random: &mut Random, now| now + Duration::from_millis(random.below(5000));
        self.target_unaware.push((wire.cid, later(&mut self.random, self.now)));
        self.initiator_unaware.push((wire.cid, later(&mut self.random, self.now)));
    }

    /// The initiator logs in a connection, in place of one with its CID.
    fn log_in(&mut self, cid: Cid) {
        let cid = if self.initiator.is_free(cid) { cid } else { self.new_cid() };
        if self.target.has_connection(cid) {
            self.target_unaware.retain(|(unaware, _)| *unaware != cid);
            self.target.remove_connection(cid, self.now);
        }
        if !self.target.admits(cid) {
            // An old connection is still there for the target: tried again later.
            self.logins.push((self.now + Duration::from_secs(1), cid));
            return;
        }
        let stat_sn = StatSn(u32::try_from(self.random.below(1 << 32)).unwrap());
        let connection_parameters = connection();
        let new = NewConnection { cid, parameters: connection(), stat_sn, directory: Arc::new(Nobody) };
        self.target.add_connection(new, self.now);
        let window = self.target.window();
        let login = EstablishedLogin {
            tsih: Tsih(1),
            session: None,
            connection: connection_parameters,
            portal_group: None,
            target_alias: None,
            cmd_sn: self.initiator.cmd_sn(),
            exp_stat_sn: stat_sn,
            exp_cmd_sn: window.exp_cmd_sn(),
            max_cmd_sn: window.max_cmd_sn(),
        };
        self.initiator.add_connection(&login, cid, self.now);
        self.wires.push(Wire { cid, up: VecDeque::new(), down: VecDeque::new() });
    }

    /// What both machines ask for now.
    fn drain(&mut self) -> Result<(), String> {
        while let Some(event) = self.target.poll_event() {
            self.serve(event)?;
        }
        while let Some(outcome) = self.initiator.poll_event() {
            self.note(outcome)?;
        }
        Ok(())
    }

    fn serve(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Command(request) => {
                let slot = usize::from(request.cdb[1]);
                if request.cdb[0] == 0x28 {
                    self.begin(request.task, MediumOp::Read { slot, len: SLOT });
                } else {
                    self.writing.insert(request.task, slot);
                    self.target.solicit(request.task, SLOT as u64);
                }
            }
            Event::DataOut { task, data, .. } => {
                let slot = self.writing.remove(&task).ok_or("data of a write came twice")?;
                self.begin(task, MediumOp::Write { slot, data: data.concat() });
            }
            Event::Abandon { .. } => return Err("the target gave up a command".into()),
            Event::TaskManagement { cid, itt, scope, .. } => {
                if let ManagementScope::Task { .. } = scope {
                    return Err("nobody aborts here".into());
                }
                self.target.task_management_done(cid, itt, TaskManagementResult::Rejected);
            }
            Event::Logout { cid, itt, reason, subject } => {
                if reason != LogoutReason::RemoveForRecovery {
                    return Err(format!("{reason:?}"));
                }
                self.target.suspend_connection(subject, self.now);
                self.target_unaware.retain(|(unaware, _)| *unaware != subject);
                self.target.remove_connection(subject, self.now);
                self.target.logout_done(cid, itt, LogoutResult::Closed, LogoutEnds::OtherConnection);
            }
        }
        Ok(())
    }

    fn begin(&mut self, task: TaskHandle, op: MediumOp) {
        let at = self.now + Duration::from_millis(self.random.below(3000));
        self.media.push((at, task, op));
    }

    fn finish(&mut self, task: TaskHandle, op: MediumOp) {
        let data_in = match op {
            MediumOp::Write { slot, data } => {
                *self.written.entry(data[..8].try_into().unwrap()).or_default() += 1;
                self.medium[slot] = data;
                Vec::new()
            }
            MediumOp::Read { slot, len } => vec![Bytes::copy_from_slice(&self.medium[slot][..len])],
        };
        self.target.complete(
            task,
            TaskResult { status: Status::Good, sense: None, sense_format: SenseFormat::Fixed, data_in },
        );
    }

    fn note(&mut self, outcome: Outcome) -> Result<(), String> {
        let Outcome::Command { ticket, result } = outcome else { return Err(format!("{outcome:?}")) };
        let work = self.work.remove(&ticket).ok_or_else(|| format!("{ticket:?} ended twice"))?;
        self.completed += 1;
        let completion = result.map_err(|failure| format!("{ticket:?} failed: {failure}"))?;
        if completion.status != Status::Good {
            return Err(format!("{ticket:?}: {:?}", completion.status));
        }
        match work {
            Work::Read { slot, expected } => {
                self.busy.remove(&slot);
                if completion.data != expected {
                    return Err(format!(
                        "{ticket:?} read {} bytes that are not those of slot {slot}",
                        completion.data.len()
                    ));
                }
            }
            Work::Write { slot, data } => {
                self.busy.remove(&slot);
                if self.written.get(&data[..8]) != Some(&1) {
                    return Err(format!("{ticket:?} was answered and is not on the medium once"));
                }
                self.content[slot] = data;
            }
        }
        Ok(())
    }
}
