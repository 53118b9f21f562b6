//! What passes a fence that waits for the medium, what waits for it, and what the fence then comes to.

use lunkeep_common::scsi::persistent::{BasicList, Key, OutAction};

use super::*;
use crate::limits::FENCE_ROUNDS_OVERTAKEN_MAX;

const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE_EXCLUSIVE: u8 = 1;
const REGISTRANTS_ONLY: u8 = 5;

/// Nodes 1 to 5; those up to 3 are registered, each with its number for a key, and 1 holds the reservation.
struct Waiting {
    bench: Bench,
    /// Writes at the medium.
    held: Vec<TaskId>,
    /// 2 preempts 3, whose write is at the medium.
    fence: TaskId,
}

impl Waiting {
    /// A PREEMPT waits for the writes of 3.
    fn new(kind: u8, abort: bool) -> Self {
        let mut bench = Bench::with(|config| config.tasks = TaskLimits::default());
        for number in 1..=5 {
            bench.attach(number);
        }
        let mut waiting = Self { bench, held: Vec::new(), fence: TaskId(0) };
        for number in 1..=3 {
            waiting.good(number, OutAction::Register, 0, 0, number);
        }
        waiting.good(1, OutAction::Reserve, kind, 1, 0);
        let (victim, writer) = if kind == REGISTRANTS_ONLY { (3, 3) } else { (1, 1) };
        waiting.write(writer);
        let action = if abort { OutAction::PreemptAndAbort } else { OutAction::Preempt };
        let (task, step) = waiting.out(2, action, kind, 2, victim);
        let Step::Fence(fence) = step else { panic!("{step:?}") };
        assert_eq!(fence.drain.len(), 1);
        waiting.fence = task;
        waiting
    }

    fn out(&mut self, from: u64, action: OutAction, kind: u8, key: u64, other: u64) -> (TaskId, Step) {
        let list = BasicList { key: Key(key), service_action_key: Key(other), ..Default::default() };
        let cdb = [0x5f, action as u8, kind, 0, 0, 0, 0, 0, 24, 0];
        let (task, step) = self.bench.begin_as(from, &cdb, 24);
        match step {
            Step::DataOut(_) => (task, self.bench.unit.data_out(task, vec![list.encode().into()])),
            other => (task, other),
        }
    }

    /// The status of a command that is answered at once, but for its record.
    #[track_caller]
    fn at_once(&mut self, from: u64, action: OutAction, kind: u8, key: u64, other: u64) -> Status {
        let (task, step) = self.out(from, action, kind, key, other);
        match step {
            Step::Done(completion) => completion.status,
            Step::Record(_) => {
                let resumed = self.bench.unit.recorded(task, Ok(()));
                let [Resumed { step: Step::Done(completion), .. }, ..] = &resumed[..] else {
                    panic!("{resumed:?}")
                };
                completion.status
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn good(&mut self, from: u64, action: OutAction, kind: u8, key: u64, other: u64) {
        assert_eq!(self.at_once(from, action, kind, key, other), Status::Good);
    }

    #[track_caller]
    fn waits(&mut self, from: u64, action: OutAction, kind: u8, key: u64, other: u64) -> TaskId {
        let (task, step) = self.out(from, action, kind, key, other);
        assert!(matches!(step, Step::Waiting), "{step:?}");
        task
    }

    /// A write that reaches the medium and stays there.
    #[track_caller]
    fn write(&mut self, from: u64) {
        let (task, step) = self.bench.begin_as(from, &WRITE, 512);
        assert!(matches!(step, Step::DataOut(512)), "{from}: {step:?}");
        let step = self.bench.unit.data_out(task, vec![Bytes::from(vec![0xaa; 512])]);
        assert!(matches!(step, Step::Media(_)), "{from}: {step:?}");
        self.held.push(task);
    }

    fn is_refused(&mut self, from: u64) -> bool {
        let (_, step) = self.bench.begin_as(from, &WRITE, 512);
        matches!(&step, Step::Done(completion) if completion.status == Status::ReservationConflict)
    }

    fn land(&mut self) {
        for task in std::mem::take(&mut self.held) {
            self.bench.unit.media_done(task, Ok(MediaReply::Done));
        }
    }

    /// Everything lands; the statuses of the fence and of all that waited for it, in the order in which they are answered.
    fn end(&mut self) -> Vec<(u64, Status)> {
        self.land();
        let mut answers = Vec::new();
        let mut steps = self.bench.unit.fence_drained(self.fence, Ok(()));
        while !steps.is_empty() {
            let Resumed { nexus, task, step } = steps.remove(0);
            match step {
                Step::Done(completion) => answers.push((nexus.0, completion.status)),
                Step::Record(_) => steps.extend(self.bench.unit.recorded(task, Ok(()))),
                Step::Fence(_) => {
                    self.land();
                    steps.extend(self.bench.unit.fence_drained(task, Ok(())));
                }
                Step::Aborted => {}
                other => panic!("{other:?}"),
            }
        }
        answers
    }

    /// Keys in the order of their nodes.
    fn keys(&self) -> Vec<u64> {
        let record = self.bench.unit.reservation_record();
        record.registrations.values().map(|registration| registration.key.0).collect()
    }

    /// Type and key of the holder.
    fn held(&self) -> Option<(u8, u64)> {
        use crate::device::reservation::Holder;
        let record = self.bench.unit.reservation_record();
        let reservation = record.reservation.as_ref()?;
        let Holder::One(holder) = &reservation.holder else { panic!("no such type here") };
        Some((reservation.kind as u8, record.key_of(holder).unwrap().0))
    }
}

#[test]
fn a_node_registers_while_a_fence_waits_and_writes_at_once() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, true);
    assert!(unit.is_refused(4));
    unit.good(4, OutAction::Register, 0, 0, 4);
    unit.write(4);
    unit.good(5, OutAction::RegisterAndIgnoreExistingKey, 0, 0, 5);
    assert_eq!(unit.keys(), [1, 2, 3, 4, 5], "they are in force; the fence is not");
    assert!(unit.is_refused(3), "and the gate stays closed");
    assert_eq!(unit.end(), [(2, Status::Good)]);
    assert_eq!((unit.keys(), unit.held()), (vec![1, 2, 4, 5], Some((5, 1))));
}

#[test]
fn the_owner_defends_itself_while_a_fence_waits() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    unit.good(1, OutAction::RegisterAndIgnoreExistingKey, 0, 0, 0x11);
    unit.good(1, OutAction::Reserve, 5, 0x11, 0);
    assert_eq!(unit.at_once(1, OutAction::Preempt, 5, 0x11, 0x99), Status::ReservationConflict);
    unit.good(1, OutAction::Release, 5, 0x11, 0);
    assert_eq!(unit.held(), None);
    assert_eq!(unit.end(), [(2, Status::Good)]);
    assert_eq!(
        (unit.keys(), unit.held()),
        (vec![0x11, 2], None),
        "it was released before the other was preempted"
    );
}

#[test]
fn a_node_that_registers_with_the_preempted_key_is_shut_out_too_and_its_writes_are_waited_for() {
    for abort in [false, true] {
        let mut unit = Waiting::new(REGISTRANTS_ONLY, abort);
        unit.land();
        unit.good(4, OutAction::Register, 0, 0, 3);
        assert!(unit.is_refused(4), "the gate closed to it as it came");
        assert_eq!(unit.end(), [(2, Status::Good)]);
        assert_eq!(unit.keys(), [1, 2]);
        let told = unit.bench.take_attentions(4);
        assert_eq!(told, [Asc::REGISTRATIONS_PREEMPTED], "{abort}");
        assert!(unit.is_refused(4));
    }
}

/// 4 writes before there is a reservation, so its write is at the medium when it joins those whom the fence shuts out.
#[test]
fn writes_that_were_under_way_before_a_node_joined_the_preempted_are_waited_for_in_a_second_round() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, true);
    unit.good(4, OutAction::Register, 0, 0, 4);
    unit.write(4);
    unit.good(4, OutAction::Register, 0, 4, 3);
    let first = unit.held.remove(0);
    unit.bench.unit.media_done(first, Ok(MediaReply::Done));
    let resumed = unit.bench.unit.fence_drained(unit.fence, Ok(())).remove(0);
    let Step::Fence(fence) = resumed.step else { panic!("{resumed:?}") };
    assert_eq!(fence.drain, unit.held, "it is told to wait for more");
    assert_eq!(fence.aborted.draining.len(), 1, "which is aborted like the first");
    assert_eq!(unit.end(), [(2, Status::Good)]);
    assert_eq!(unit.keys(), [1, 2]);
}

/// Every node that comes has a write under way, and takes the preempted key.
#[test]
fn after_some_rounds_of_waiting_nobody_passes_a_fence_any_more() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    for round in 1..FENCE_ROUNDS_OVERTAKEN_MAX {
        let node = u64::from(round) + 5;
        unit.bench.attach(node.try_into().unwrap());
        unit.good(node, OutAction::Register, 0, 0, node);
        unit.land();
        unit.write(node);
        unit.good(node, OutAction::Register, 0, node, 3);
        let resumed = unit.bench.unit.fence_drained(unit.fence, Ok(())).remove(0);
        assert!(matches!(resumed.step, Step::Fence(_)), "{round}: {resumed:?}");
    }
    unit.waits(4, OutAction::Register, 0, 0, 3);
    unit.waits(5, OutAction::Register, 0, 0, 5);
    assert_eq!(unit.end(), [(2, Status::Good), (4, Status::Good), (5, Status::Good)]);
    assert_eq!(unit.keys(), [1, 2, 3, 5], "who came too late to be preempted is registered");
}

#[test]
fn those_whom_a_fence_shuts_out_do_not_pass_it() {
    let mut unit = Waiting::new(WRITE_EXCLUSIVE, false);
    // The holder tries to slip away under another key, to give the reservation up, and to clear everything.
    unit.waits(1, OutAction::RegisterAndIgnoreExistingKey, 0, 0, 9);
    unit.waits(1, OutAction::Release, 1, 1, 0);
    unit.waits(1, OutAction::Clear, 0, 1, 0);
    let answers = unit.end();
    assert_eq!(answers[0], (2, Status::Good));
    assert_eq!(
        answers[1..],
        [
            (1, Status::Good), // it is a stranger now, and strangers may register
            (1, Status::ReservationConflict),
            (1, Status::ReservationConflict),
        ]
    );
    assert_eq!((unit.keys(), unit.held()), (vec![9, 2, 3], Some((1, 2))));
}

#[test]
fn commands_of_the_fencing_node_take_their_turn() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    unit.waits(2, OutAction::Register, 0, 2, 0);
    unit.waits(2, OutAction::Release, 5, 2, 0);
    assert_eq!(
        unit.end(),
        [
            (2, Status::Good),
            (2, Status::Good),
            (2, Status::ReservationConflict), // it had unregistered
        ]
    );
    assert_eq!(unit.keys(), [1]);
}

#[test]
fn a_clear_that_comes_while_a_fence_waits_comes_first_and_the_fence_finds_nobody_to_preempt() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, true);
    let (task, step) = unit.out(1, OutAction::Clear, 0, 1, 0);
    assert!(matches!(step, Step::Record(_)), "{step:?}");
    let resumed = unit.bench.unit.recorded(task, Ok(()));
    let answers: Vec<_> = resumed
        .iter()
        .map(|resumed| match &resumed.step {
            Step::Done(completion) => (resumed.nexus.0, completion.status),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answers, [(1, Status::Good), (2, Status::ReservationConflict)]);
    assert!(unit.bench.unit.fence_drained(unit.fence, Ok(())).is_empty(), "nobody waits any more");
    assert!(!unit.is_refused(4), "the gate is open");
}

#[test]
fn two_fences_keep_their_order_and_what_passes_the_first_passes_the_second_too() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    unit.good(4, OutAction::Register, 0, 0, 4);
    unit.waits(4, OutAction::Preempt, 5, 4, 2);
    unit.good(5, OutAction::Register, 0, 0, 5);
    unit.waits(5, OutAction::PreemptAndAbort, 5, 5, 3);
    assert_eq!(
        unit.end(),
        [
            (2, Status::Good),
            (4, Status::Good),
            (5, Status::ReservationConflict), // the first one took that key away
        ]
    );
    assert_eq!(unit.keys(), [1, 4, 5]);
}

#[test]
fn a_fence_that_takes_too_long_leaves_what_passed_it() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    unit.good(4, OutAction::Register, 0, 0, 4);
    let resumed = unit.bench.unit.fence_drained(unit.fence, Err(FenceFailure::DrainTimeout)).remove(0);
    assert!(matches!(&resumed.step, Step::Done(completion) if completion.status == Status::CheckCondition));
    assert_eq!((unit.keys(), unit.held()), (vec![1, 2, 3, 4], Some((5, 1))));
    assert!(!unit.is_refused(3) && !unit.is_refused(4));
}

#[test]
fn a_fence_that_was_given_up_lets_the_next_begin() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    let second = unit.waits(1, OutAction::Preempt, 5, 1, 2);
    let aborted = unit.bench.unit.abort_task(NexusId(2), unit.fence);
    assert_eq!((aborted.gone.len(), aborted.draining.len()), (1, 0), "whoever aborts it waits for nothing");
    let resumed = unit.bench.unit.after_abort();
    assert!(
        matches!(
            &resumed[..],
            [
                Resumed { step: Step::Aborted, nexus: NexusId(2), .. },
                Resumed { step: Step::Record(_), nexus: NexusId(1), .. },
            ]
        ),
        "{resumed:?}"
    );
    unit.bench.unit.recorded(second, Ok(()));
    assert_eq!(unit.keys(), [1, 3], "the first changed nothing, the second what it was for");
}

#[test]
fn while_a_record_is_written_what_comes_waits_for_it() {
    let mut unit = Waiting::new(REGISTRANTS_ONLY, false);
    let (register, step) = unit.out(4, OutAction::Register, 0, 0, 4);
    assert!(matches!(step, Step::Record(_)));
    unit.waits(5, OutAction::Register, 0, 0, 5);
    unit.land();
    assert!(unit.bench.unit.fence_drained(unit.fence, Ok(())).is_empty(), "one record at a time");
    let resumed = unit.bench.unit.recorded(register, Ok(()));
    let order: Vec<_> = resumed.iter().map(|resumed| resumed.nexus.0).collect();
    assert_eq!(order, [4, 2], "the fence goes on first; {resumed:?}");
    let resumed = unit.bench.unit.recorded(unit.fence, Ok(()));
    assert_eq!(resumed.iter().map(|resumed| resumed.nexus.0).collect::<Vec<_>>(), [2, 5]);
}

#[test]
fn registering_is_answered_while_reserve_of_spc2_waits_and_that_then_conflicts() {
    let mut bench = Bench::with(|config| config.tasks = TaskLimits::default());
    (1..=5).for_each(|number| bench.attach(number));
    let mut unit = Waiting { bench, held: Vec::new(), fence: TaskId(0) };
    unit.write(3);
    let (task, step) = unit.bench.begin_as(2, &[0x16, 0, 0, 0, 0, 0], 0);
    assert!(matches!(step, Step::Fence(_)));
    unit.fence = task;
    let (second, step) = unit.bench.begin_as(1, &[0x16, 0, 0, 0, 0, 0], 0);
    assert!(matches!(step, Step::Waiting), "{second:?}: {step:?}");
    unit.good(4, OutAction::Register, 0, 0, 4);
    assert_eq!(unit.end(), []);
    assert_eq!(unit.keys(), [4]);
}
