//! Changes of reservations that run into one another: whatever the schedule, the answers are those of some order in which the commands
//! could have come one after another.
//!
//! Three nodes send commands, and writes that the medium holds back; records, fences, aborts and failures come when the schedule says
//! so. The history of calls and answers must have [an order that the independent model explains](explained), answers and final state. And at every answer, nothing is
//! on the medium of a node that the record in force shuts out.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::device::reservation::tests::history::{Call, Outcome, State, explained};
use crate::device::reservation::tests::model::{request, seen};
use crate::device::reservation::tests::rules::{Ask, Model, NODES};
use crate::device::reservation::tests::{nexus, ports};
use crate::device::reservation::{Parameters, Record};

/// Commands that are under way at a time.
const CONCURRENT: usize = 4;
/// Commands in all: the search is exponential in what is concurrent, not in this.
const COMMANDS: usize = 14;

/// What a command waits for.
#[derive(Debug)]
enum Stage {
    Queued,
    Fence(Vec<TaskId>),
    Record,
}

struct Lab {
    bench: Bench,
    calls: Vec<Call>,
    of: HashMap<TaskId, usize>,
    stages: HashMap<TaskId, Stage>,
    /// Writes that the medium holds back, with their nodes.
    held: Vec<(TaskId, u8)>,
    time: usize,
    /// The record that each fence would have made when it began.
    first_decided: HashMap<usize, Record>,
}

impl Lab {
    fn new() -> Self {
        let mut bench = Bench::with(|config| config.tasks = TaskLimits { per_nexus: 64, total: 256 });
        let setup = ReservationSetup { ports: ports(), force_persist: true, ..Default::default() };
        bench.unit = LogicalUnit::new(bench.unit.config().clone()).unwrap().with_reservations(setup);
        for node in 0..NODES {
            bench.unit.attach(NexusId(node.into()), nexus(node));
        }
        let mut lab = Self {
            bench,
            calls: Vec::new(),
            of: HashMap::new(),
            stages: HashMap::new(),
            held: Vec::new(),
            time: 0,
            first_decided: HashMap::new(),
        };
        (0..NODES).for_each(|node| lab.clear_attentions(node));
        lab
    }

    /// Unit attentions are not what this is about, and would keep commands from being decided.
    fn clear_attentions(&mut self, node: u8) {
        self.bench.nexus = NexusId(node.into());
        while good(self.bench.run(&[0x03, 0, 0, 0, 252, 0]))[2] & 0x0f == 6 {}
    }

    fn send(&mut self, ask: Ask) {
        self.clear_attentions(ask.from);
        let out = request(ask);
        let list = match &out.parameters {
            Parameters::Basic(list) => list.encode(),
            Parameters::Move(list) => list.encode(),
        };
        let cdb = Cdb::PersistentReserveOut {
            action: out.action,
            scope: 0,
            kind: out.kind,
            parameter_list_length: u32::try_from(list.len()).unwrap(),
        };
        let (task, step) = self.bench.begin_as(ask.from.into(), &cdb.encode().unwrap()[..10], list.len());
        self.of.insert(task, self.calls.len());
        self.calls.push(Call { ask, sent: self.time, answered: None });
        let Step::DataOut(_) = step else { panic!("{step:?}") };
        let step = self.bench.unit.data_out(task, vec![list.into()]);
        self.take(task, step);
    }

    fn take(&mut self, task: TaskId, step: Step) {
        let outcome = match step {
            Step::Waiting => {
                self.stages.insert(task, Stage::Queued);
                return;
            }
            Step::Fence(fence) => {
                self.first_decided.entry(self.of[&task]).or_insert_with(|| (*fence.event.record).clone());
                self.dropped(&fence.aborted);
                let aborted = fence.aborted.draining.iter().map(|aborted| aborted.task);
                self.stages.insert(task, Stage::Fence(fence.drain.into_iter().chain(aborted).collect()));
                return;
            }
            Step::Record(change) => {
                self.dropped(&change.aborted);
                self.stages.insert(task, Stage::Record);
                return;
            }
            Step::Aborted => Outcome::Unknown,
            Step::Done(completion) => match (completion.status, completion.sense) {
                (Status::Good, _) => Outcome::Good,
                (Status::ReservationConflict, _) => Outcome::Conflict,
                (Status::CheckCondition, Some(sense)) if sense.asc == Asc::INTERNAL_TARGET_FAILURE => {
                    Outcome::Failed
                }
                (Status::CheckCondition, Some(sense)) => {
                    Outcome::Check(u16::from_be_bytes([sense.asc.code, sense.asc.qualifier]))
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        self.answer(task, outcome);
    }

    fn answer(&mut self, task: TaskId, outcome: Outcome) {
        self.stages.remove(&task);
        let Some(&call) = self.of.get(&task) else { return };
        if self.calls[call].answered.is_none() {
            self.calls[call].answered = Some((self.time, outcome));
        }
        let state = seen(self.bench.unit.reservation_record());
        for &(write, node) in &self.held {
            assert!(may_write(&state, node), "{write:?} of {node} is on the medium in {state:?}");
        }
    }

    /// Tasks that a PREEMPT AND ABORT ended.
    fn dropped(&mut self, aborted: &Aborted) {
        for task in aborted.gone.iter().chain(&aborted.draining).map(|aborted| aborted.task) {
            if !matches!(self.stages.get(&task), Some(Stage::Record)) {
                self.answer(task, Outcome::Unknown);
            }
        }
    }

    fn resumed(&mut self, resumed: Vec<Resumed>) {
        for Resumed { task, step, .. } in resumed {
            self.take(task, step);
        }
    }

    fn staged(&self, which: impl Fn(&Stage) -> bool) -> Vec<TaskId> {
        let mut tasks: Vec<_> =
            self.stages.iter().filter(|(_, stage)| which(stage)).map(|(task, _)| *task).collect();
        tasks.sort_unstable();
        tasks
    }

    fn write(&mut self, node: u8) {
        self.clear_attentions(node);
        let (task, step) = self.bench.begin_as(node.into(), &write_cdb(Form::Ten, 0, 1)[..10], 512);
        if matches!(step, Step::DataOut(_)) {
            let step = self.bench.unit.data_out(task, vec![Bytes::from(vec![0xaa; 512])]);
            assert!(matches!(step, Step::Media(_)), "{step:?}");
            self.held.push((task, node));
        }
    }

    fn land(&mut self, at: usize) {
        let (task, _) = self.held.remove(at);
        self.bench.unit.media_done(task, Ok(MediaReply::Done));
    }

    /// Ends the wait of a fence: as it must when nothing is left to wait for, and else as a failure.
    fn end_wait(&mut self, task: TaskId) {
        let Some(Stage::Fence(waits)) = self.stages.get(&task) else { return };
        let quiet = self.held.iter().all(|(held, _)| !waits.contains(held));
        let outcome = if quiet { Ok(()) } else { Err(FenceFailure::DrainTimeout) };
        // Until the device says otherwise it waits for nothing it could be asked about again.
        self.stages.insert(task, Stage::Queued);
        let resumed = self.bench.unit.fence_drained(task, outcome);
        self.resumed(resumed);
    }

    fn record(&mut self, task: TaskId, outcome: Result<(), FenceFailure>) {
        let resumed = self.bench.unit.recorded(task, outcome);
        self.resumed(resumed);
    }

    /// One step of the schedule.
    fn step(&mut self, choice: u32) {
        self.time += 1;
        let [what, a, b, c] = choice.to_le_bytes();
        let pick = |of: &[TaskId]| of.get(usize::from(a) % of.len().max(1)).copied();
        match what % 16 {
            0..=5 if self.calls.len() < COMMANDS && self.stages.len() < CONCURRENT => {
                let ask = any_ask(self.bench.unit.reservation_record(), a, b, c);
                self.send(ask);
            }
            6..=8 => self.write(a % NODES),
            9 | 10 if !self.held.is_empty() => self.land(usize::from(a) % self.held.len()),
            11 | 12 => {
                if let Some(task) = pick(&self.staged(|stage| matches!(stage, Stage::Record))) {
                    let failure = if b < 16 { FenceFailure::Persist } else { FenceFailure::Replaced };
                    let outcome = if b < 24 { Err(failure) } else { Ok(()) };
                    if outcome == Err(FenceFailure::Replaced) {
                        // BUSY is no answer of the model's.
                        return;
                    }
                    self.record(task, outcome);
                }
            }
            13 | 14 => {
                let quiet = |stage: &Stage| match stage {
                    Stage::Fence(waits) => b < 16 || self.held.iter().all(|(held, _)| !waits.contains(held)),
                    _ => false,
                };
                if let Some(task) = pick(&self.staged(quiet)) {
                    self.end_wait(task);
                }
            }
            15 if b < 96 => {
                if let Some(task) = pick(&self.staged(|_| true)) {
                    let node = self.calls[self.of[&task]].ask.from;
                    let aborted = self.bench.unit.abort_task(NexusId(node.into()), task);
                    self.dropped(&aborted);
                    let resumed = self.bench.unit.after_abort();
                    self.resumed(resumed);
                }
            }
            _ => {}
        }
    }

    /// Everything that is under way comes to its end.
    fn finish(&mut self) {
        while !self.stages.is_empty() {
            self.time += 1;
            while !self.held.is_empty() {
                self.land(0);
            }
            for task in self.staged(|stage| matches!(stage, Stage::Record)) {
                self.record(task, Ok(()));
            }
            for task in self.staged(|stage| matches!(stage, Stage::Fence(_))) {
                self.end_wait(task);
            }
        }
    }
}

fn may_write(state: &Model, node: u8) -> bool {
    match state.held {
        None => true,
        Some((1 | 3, holder)) => holder == Some(node),
        Some(_) => state.key(node) != 0,
    }
}

/// A command that has a chance to succeed: its key is mostly the right one.
fn any_ask(record: &Record, a: u8, b: u8, c: u8) -> Ask {
    let state = seen(record);
    let from = a % NODES;
    let action = [0, 0, 6, 6, 1, 1, 2, 3, 4, 4, 5, 5, 5, 7][usize::from(b) % 14];
    let key = if c & 1 == 0 || c & 2 == 0 { state.key(from) } else { u64::from(c >> 2) % 3 };
    let other = if matches!(action, 4 | 5) && c & 8 == 0 {
        state.key((from + 1 + (c >> 4) % 2) % NODES)
    } else {
        u64::from(c >> 3) % 3
    };
    let kind = [1, 3, 5, 5, 6, 7, 8][usize::from(a / NODES) % 7];
    let to = (from + 1) % NODES;
    Ask { from, action, kind, key, other, to, unregister: action == 7 && c & 16 != 0 }
}

/// Before the first call.
fn start() -> State {
    (Model::default(), 0)
}

fn run(schedule: &[u32]) -> Lab {
    let mut lab = Lab::new();
    schedule.iter().for_each(|&choice| lab.step(choice));
    lab.finish();
    lab
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_history_is_one_of_commands_that_came_one_after_another(
        schedule in prop::collection::vec(any::<u32>(), 0..160)
    ) {
        let lab = run(&schedule);
        let record = lab.bench.unit.reservation_record();
        prop_assert!(
            explained(&start(), &lab.calls, &(seen(record), record.generation)),
            "{record:?}\n{:#?}", lab.calls
        );
    }
}

/// A schedule is drawn from this; each of the controls counts over as many.
fn schedules() -> impl Iterator<Item = Vec<u32>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state >> 32).unwrap()
        };
        (0..160).map(|_| next()).collect()
    })
    .take(300)
}

#[test]
fn the_schedules_make_fences_that_others_pass_and_that_fail_and_that_are_given_up() {
    let (mut fences, mut passed, mut failed, mut given_up) = (0, 0, 0, 0);
    for schedule in schedules() {
        let lab = run(&schedule);
        for &call in lab.first_decided.keys() {
            let Call { sent, answered, .. } = lab.calls[call];
            let (end, outcome) = answered.unwrap();
            fences += 1;
            failed += usize::from(outcome == Outcome::Failed);
            given_up += usize::from(outcome == Outcome::Unknown);
            let others = lab.calls.iter().enumerate().filter(|(at, _)| *at != call);
            let during = |other: &Call| {
                other.sent > sent && other.answered.is_some_and(|(t, o)| t < end && o == Outcome::Good)
            };
            passed += usize::from(outcome == Outcome::Good && others.clone().any(|(_, other)| during(other)));
        }
    }
    assert!(fences > 40 && passed > 5 && failed > 5 && given_up > 5, "{fences} {passed} {failed} {given_up}");
}

#[test]
fn control_a_fence_that_makes_what_was_decided_when_it_began_is_found() {
    let mut found = 0;
    for schedule in schedules() {
        let lab = run(&schedule);
        let last = lab
            .calls
            .iter()
            .enumerate()
            .filter(|(_, call)| call.answered.is_some_and(|(_, o)| o == Outcome::Good));
        let Some((at, _)) = last.max_by_key(|(_, call)| call.answered.map(|(time, _)| time)) else {
            continue;
        };
        let Some(stale) = lab.first_decided.get(&at) else { continue };
        found += usize::from(!explained(&start(), &lab.calls, &(seen(stale), stale.generation)));
    }
    assert!(found > 0);
}

#[test]
fn control_an_answer_that_no_order_explains_is_found() {
    let mut found = 0;
    for schedule in schedules() {
        let mut lab = run(&schedule);
        let record = lab.bench.unit.reservation_record().clone();
        let Some(call) =
            lab.calls.iter_mut().rev().find(|call| matches!(call.answered, Some((_, Outcome::Conflict))))
        else {
            continue;
        };
        call.answered = call.answered.map(|(time, _)| (time, Outcome::Good));
        found += usize::from(!explained(&start(), &lab.calls, &(seen(&record), record.generation)));
    }
    assert!(found > 50, "{found}");
}
