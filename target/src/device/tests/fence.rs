//! The fence at the medium: what a nexus that was shut out had under way, and when it lands.
//!
//! Every write is tagged with its nexus and a number. The medium holds writes back as long as it can; only what the fence says
//! must be waited for goes through before the answer. A write of a nexus that is shut out must not land after it. The controls
//! leave out one safeguard each, and must be seen to fail.

use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::persistent::{BasicList, Key, OutAction, RegisterAndMoveList, TransportId};

use super::*;
use crate::device::reservation::{Parameters, PrOut};

/// What the driver does right, or leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Right,
    /// The answer does not wait for the medium.
    NoDrain,
    /// A command passes the gate first and enters the task set later.
    CheckBeforeEntering,
    /// PREEMPT AND ABORT leaves the commands of those alone who only were registered.
    OnlyHolders,
}

/// A unit with a medium that holds writes back.
struct Stalling {
    bench: Bench,
    variant: Variant,
    /// Commands at the medium: task, nexus, number.
    held: Vec<(TaskId, u64, u32)>,
    /// Commands that passed the gate and are not in the task set yet.
    late: Vec<(u64, u32)>,
    landed: Vec<(u64, u32)>,
    number: u32,
}

impl Stalling {
    fn new(variant: Variant) -> Self {
        let mut bench = Bench::with(|config| config.tasks = TaskLimits::default());
        let ports =
            [1, 2].map(|group| ExportPort { target: super::nexus(1).target, relative: group }).to_vec();
        let unit = LogicalUnit::new(bench.unit.config().clone()).unwrap();
        bench.unit =
            unit.with_reservations(ReservationSetup { ports, force_persist: true, ..Default::default() });
        for number in 1..=3 {
            bench.attach(number);
        }
        Self { bench, variant, held: Vec::new(), late: Vec::new(), landed: Vec::new(), number: 0 }
    }

    /// A write that reaches the medium and stays there.
    fn write(&mut self, nexus: u64) -> u32 {
        self.number += 1;
        if self.variant == Variant::CheckBeforeEntering {
            assert!(self.bench.unit.refused_now(NexusId(nexus), ReservationRule::Write).is_none());
            self.late.push((nexus, self.number));
            return self.number;
        }
        let (task, step) = self.bench.begin_as(nexus, &write_cdb(Form::Ten, 0, 1)[..10], 512);
        assert!(matches!(step, Step::DataOut(512)), "{step:?}");
        let step = self.bench.unit.data_out(task, vec![Bytes::from(vec![0xaa; 512])]);
        assert!(matches!(step, Step::Media(_)), "{step:?}");
        self.held.push((task, nexus, self.number));
        self.number
    }

    /// The medium finishes what it holds of these tasks.
    fn land(&mut self, which: impl Fn(TaskId) -> bool) {
        let (now, later) = std::mem::take(&mut self.held).into_iter().partition(|(task, ..)| which(*task));
        self.held = later;
        let now: Vec<(TaskId, u64, u32)> = now;
        for (task, nexus, number) in now {
            self.landed.push((nexus, number));
            let step = self.bench.unit.media_done(task, Ok(MediaReply::Done));
            assert!(matches!(step, Step::Done(_) | Step::Aborted), "{step:?}");
        }
    }

    /// The device is told that these tasks are over, although the medium still holds their writes.
    fn forget(&mut self, which: impl Fn(TaskId) -> bool) {
        let (now, later) = std::mem::take(&mut self.held).into_iter().partition(|(task, ..)| which(*task));
        self.held = later;
        let now: Vec<(TaskId, u64, u32)> = now;
        for (task, nexus, number) in now {
            self.late.push((nexus, number));
            self.bench.unit.media_done(task, Ok(MediaReply::Done));
        }
    }

    /// Runs a command that shuts others out to its answer.
    fn answer(&mut self, task: TaskId, mut step: Step, holders: &[u64]) -> Status {
        loop {
            step = match step {
                Step::Fence(fence) => {
                    let aborted = fence.aborted.draining.iter().map(|task| task.task);
                    let waits: Vec<TaskId> = fence.drain.iter().copied().chain(aborted).collect();
                    match self.variant {
                        Variant::NoDrain => self.forget(|task| waits.contains(&task)),
                        Variant::OnlyHolders => {
                            let skipped = |task: &TaskId, held: &[(TaskId, u64, u32)]| {
                                held.iter().any(|(other, nexus, _)| other == task && !holders.contains(nexus))
                            };
                            let held = self.held.clone();
                            self.forget(|task| waits.contains(&task) && skipped(&task, &held));
                        }
                        Variant::Right | Variant::CheckBeforeEntering => {}
                    }
                    self.land(|task| waits.contains(&task));
                    self.bench.unit.fence_drained(task, Ok(())).remove(0).step
                }
                Step::Record(_) => self.bench.unit.recorded(task, Ok(())).remove(0).step,
                Step::Done(completion) => return completion.status,
                other => panic!("{other:?}"),
            };
        }
    }

    fn persistent(&mut self, nexus: u64, out: &PrOut) -> Status {
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
        let cdb = cdb.encode().unwrap();
        let holders: Vec<u64> = (1..=3)
            .filter(|&id| {
                self.bench.unit.reservation_record().holds(&super::nexus(u8::try_from(id).unwrap()))
            })
            .collect();
        let (task, step) = self.bench.begin_as(nexus, &cdb[..10], list.len());
        let step = match step {
            Step::DataOut(_) => self.bench.unit.data_out(task, vec![list.into()]),
            other => other,
        };
        self.answer(task, step, &holders)
    }

    fn out(&mut self, nexus: u64, action: OutAction, kind: u8, key: u64, service_action_key: u64) {
        let list =
            BasicList { key: Key(key), service_action_key: Key(service_action_key), ..Default::default() };
        let out = PrOut { action, scope: 0, kind, parameters: Parameters::Basic(list) };
        assert_eq!(self.persistent(nexus, &out), Status::Good, "{out:?}");
    }

    fn register_all(&mut self) {
        for id in 1..=3 {
            self.out(id, OutAction::Register, 0, 0, id);
        }
    }

    fn reserve6(&mut self, nexus: u64) {
        let (task, step) = self.bench.begin_as(nexus, &[0x16, 0, 0, 0, 0, 0], 0);
        assert_eq!(self.answer(task, step, &[]), Status::Good);
    }
}

/// A way to shut nexuses out: what is set up, who then has writes under way, who sends what.
struct Way {
    name: &'static str,
    victims: &'static [u64],
    setup: fn(&mut Stalling),
    shut_out: fn(&mut Stalling),
}

const WAYS: &[Way] = &[
    Way {
        name: "PREEMPT of the holder",
        victims: &[1],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 1, 1, 0);
        },
        shut_out: |unit| unit.out(2, OutAction::Preempt, 1, 2, 1),
    },
    Way {
        name: "PREEMPT of a registrant",
        victims: &[3],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 5, 1, 0);
        },
        shut_out: |unit| unit.out(2, OutAction::Preempt, 5, 2, 3),
    },
    Way {
        name: "PREEMPT AND ABORT of the holder",
        victims: &[1],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 3, 1, 0);
        },
        shut_out: |unit| unit.out(2, OutAction::PreemptAndAbort, 3, 2, 1),
    },
    Way {
        name: "PREEMPT AND ABORT of a registrant",
        victims: &[3],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 5, 1, 0);
        },
        shut_out: |unit| unit.out(2, OutAction::PreemptAndAbort, 5, 2, 3),
    },
    Way {
        name: "RESERVE of a unit that was free",
        victims: &[2, 3],
        setup: |unit| unit.out(1, OutAction::Register, 0, 0, 1),
        shut_out: |unit| unit.out(1, OutAction::Reserve, 1, 1, 0),
    },
    Way {
        name: "REGISTER AND MOVE",
        victims: &[1],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 1, 1, 0);
        },
        shut_out: |unit| {
            let list = RegisterAndMoveList {
                key: Key(1),
                service_action_key: Key(2),
                unregister: false,
                activate_persist: false,
                relative_target_port: 1,
                transport_id: TransportId::Port(super::nexus(2).initiator),
            };
            let out = PrOut {
                action: OutAction::RegisterAndMove,
                scope: 0,
                kind: 0,
                parameters: Parameters::Move(list),
            };
            assert_eq!(unit.persistent(1, &out), Status::Good);
        },
    },
    Way {
        name: "unregistration of a registrant",
        victims: &[3],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 5, 1, 0);
        },
        shut_out: |unit| unit.out(3, OutAction::Register, 0, 3, 0),
    },
    Way {
        name: "unregistration under an all-registrants type",
        victims: &[3],
        setup: |unit| {
            unit.register_all();
            unit.out(1, OutAction::Reserve, 8, 1, 0);
        },
        shut_out: |unit| unit.out(3, OutAction::RegisterAndIgnoreExistingKey, 0, 0, 0),
    },
    Way { name: "RESERVE(6)", victims: &[2, 3], setup: |_| {}, shut_out: |unit| unit.reserve6(1) },
];

/// What landed after the answer although its nexus was shut out.
fn faults(way: &Way, variant: Variant) -> Vec<(u64, u32)> {
    let mut unit = Stalling::new(Variant::Right);
    (way.setup)(&mut unit);
    unit.variant = variant;
    for round in 0..3 {
        for &victim in way.victims {
            unit.write(victim);
            let _ = round;
        }
    }
    (way.shut_out)(&mut unit);
    let answered = unit.landed.len();
    unit.land(|_| true);
    let late = std::mem::take(&mut unit.late);
    unit.landed.extend(late);
    for &victim in way.victims {
        assert!(
            unit.bench.unit.refused_now(NexusId(victim), ReservationRule::Write).is_some(),
            "{}: {victim} is shut out",
            way.name
        );
    }
    unit.landed.split_off(answered).into_iter().filter(|(nexus, _)| way.victims.contains(nexus)).collect()
}

#[test]
fn nothing_of_a_nexus_that_was_shut_out_lands_after_the_answer() {
    for way in WAYS {
        assert_eq!(faults(way, Variant::Right), [], "{}", way.name);
    }
}

#[test]
fn control_without_waiting_for_the_medium_every_way_leaks() {
    for way in WAYS {
        assert_ne!(faults(way, Variant::NoDrain), [], "{}", way.name);
    }
}

#[test]
fn control_passing_the_gate_before_entering_the_task_set_leaks() {
    for way in WAYS {
        assert_ne!(faults(way, Variant::CheckBeforeEntering), [], "{}", way.name);
    }
}

#[test]
fn control_aborting_the_commands_of_holders_only_leaks() {
    let way = WAYS.iter().find(|way| way.name == "PREEMPT AND ABORT of a registrant").unwrap();
    assert_ne!(faults(way, Variant::OnlyHolders), []);
}

#[test]
fn writes_of_a_session_that_is_gone_are_waited_for() {
    let mut unit = Stalling::new(Variant::Right);
    unit.register_all();
    unit.out(1, OutAction::Reserve, 1, 1, 0);
    unit.write(1);
    unit.bench.unit.detach(NexusId(1));
    unit.out(2, OutAction::Preempt, 1, 2, 1);
    assert_eq!((unit.landed.len(), unit.held.len()), (1, 0));
}

#[test]
fn writes_of_those_who_keep_their_access_are_not_waited_for() {
    let mut unit = Stalling::new(Variant::Right);
    unit.register_all();
    unit.out(1, OutAction::Reserve, 5, 1, 0);
    unit.write(1);
    unit.write(2);
    unit.out(2, OutAction::PreemptAndAbort, 5, 2, 3);
    assert_eq!((unit.landed.len(), unit.held.len()), (0, 2));
}

/// A unit in which 2 preempts 1, whose write is at the medium.
fn half_fenced() -> (Stalling, TaskId) {
    let mut unit = Stalling::new(Variant::Right);
    unit.register_all();
    unit.out(1, OutAction::Reserve, 1, 1, 0);
    unit.write(1);
    let list = BasicList { key: Key(2), service_action_key: Key(1), ..Default::default() };
    let (task, _) = unit.bench.begin_as(2, &[0x5f, 4, 1, 0, 0, 0, 0, 0, 24, 0], 24);
    let step = unit.bench.unit.data_out(task, vec![list.encode().into()]);
    assert!(matches!(&step, Step::Fence(fence) if fence.drain.len() == 1), "{step:?}");
    (unit, task)
}

fn status_of(unit: &mut Stalling, nexus: u64, cdb: &[u8]) -> Status {
    let (_, step) = unit.bench.begin_as(nexus, cdb, 512);
    match step {
        Step::Done(completion) => completion.status,
        Step::Media(_) | Step::DataOut(_) => Status::Good,
        other => panic!("{other:?}"),
    }
}

const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];

#[test]
fn while_a_fence_runs_neither_the_old_nor_the_new_rules_may_refuse() {
    let (mut unit, task) = half_fenced();
    for nexus in 1..=3 {
        assert_eq!(status_of(&mut unit, nexus, &WRITE), Status::ReservationConflict, "{nexus}");
    }
    assert_eq!(
        status_of(&mut unit, 1, &[0x5e, 1, 0, 0, 0, 0, 0, 0, 24, 0]),
        Status::Good,
        "PR IN does not wait"
    );
    unit.land(|_| true);
    recorded(&mut unit, task, Ok(()));
    assert_eq!(status_of(&mut unit, 2, &WRITE), Status::Good);
}

/// What comes of a change that nothing stands in the way of.
fn recorded(unit: &mut Stalling, task: TaskId, outcome: Result<(), FenceFailure>) -> Vec<Resumed> {
    let resumed = unit.bench.unit.fence_drained(task, Ok(()));
    let [Resumed { step: Step::Record(_), .. }] = &resumed[..] else { panic!("{resumed:?}") };
    unit.bench.unit.recorded(task, outcome)
}

#[test]
fn a_fence_that_fails_leaves_the_old_rules_and_says_so() {
    for failure in [FenceFailure::DrainTimeout, FenceFailure::Persist, FenceFailure::Replaced] {
        let (mut unit, task) = half_fenced();
        let before = unit.bench.unit.reservation_record().clone();
        let resumed = if failure == FenceFailure::DrainTimeout {
            unit.bench.unit.fence_drained(task, Err(failure)).remove(0)
        } else {
            unit.land(|_| true);
            recorded(&mut unit, task, Err(failure)).remove(0)
        };
        let Step::Done(completion) = resumed.step else { panic!() };
        if failure == FenceFailure::Replaced {
            assert_eq!(completion, Completion::without_data(Status::Busy), "nothing was lost: try again");
        } else {
            let failed = Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE);
            assert_eq!(completion.sense.unwrap(), failed);
        }
        assert_eq!(*unit.bench.unit.reservation_record(), before);
        assert_eq!(status_of(&mut unit, 1, &WRITE), Status::Good, "the old holder still holds");
        assert_eq!(status_of(&mut unit, 2, &WRITE), Status::ReservationConflict);
    }
}

#[test]
fn after_a_write_of_the_record_failed_the_next_command_writes_it_again_though_it_changes_nothing() {
    let (mut unit, task) = half_fenced();
    unit.land(|_| true);
    recorded(&mut unit, task, Err(FenceFailure::Persist));
    let list = BasicList { key: Key(1), ..Default::default() };
    let (task, _) = unit.bench.begin_as(1, &[0x5f, 1, 1, 0, 0, 0, 0, 0, 24, 0], 24);
    let step = unit.bench.unit.data_out(task, vec![list.encode().into()]);
    assert!(matches!(&step, Step::Record(change) if change.persist.is_some()), "{step:?}");
}

#[test]
fn an_engine_that_does_not_wait_is_told_again_to_wait() {
    let (mut unit, task) = half_fenced();
    let resumed = unit.bench.unit.fence_drained(task, Ok(())).remove(0);
    assert!(matches!(&resumed.step, Step::Fence(fence) if fence.drain.len() == 1), "{resumed:?}");
}

#[test]
fn a_write_whose_data_comes_after_the_fence_meets_the_new_rules() {
    let mut unit = Stalling::new(Variant::Right);
    unit.register_all();
    let (write, step) = unit.bench.begin_as(1, &WRITE, 512);
    assert!(matches!(step, Step::DataOut(_)));
    unit.out(2, OutAction::Reserve, 1, 2, 0);
    let step = unit.bench.unit.data_out(write, vec![vec![0; 512].into()]);
    assert!(
        matches!(&step, Step::Done(completion) if completion.status == Status::ReservationConflict),
        "{step:?}"
    );
}

#[test]
fn changes_of_reservations_take_their_turn_and_the_loser_of_a_race_learns_it() {
    let (mut unit, task) = half_fenced();
    let list = BasicList { key: Key(3), service_action_key: Key(1), ..Default::default() };
    let (second, _) = unit.bench.begin_as(3, &[0x5f, 4, 1, 0, 0, 0, 0, 0, 24, 0], 24);
    let step = unit.bench.unit.data_out(second, vec![list.encode().into()]);
    assert!(matches!(step, Step::Waiting), "{step:?}");
    unit.land(|_| true);
    let resumed = recorded(&mut unit, task, Ok(()));
    let statuses: Vec<_> = resumed
        .iter()
        .map(|resumed| match &resumed.step {
            Step::Done(completion) => (resumed.nexus.0, completion.status),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(statuses, [(2, Status::Good), (3, Status::ReservationConflict)], "exactly one wins");
}

#[test]
fn a_full_task_set_keeps_no_change_of_reservations_out() {
    let mut unit = Stalling::new(Variant::Right);
    unit.register_all();
    unit.out(1, OutAction::Reserve, 5, 1, 0);
    while status_of(&mut unit, 2, &WRITE) == Status::Good {}
    assert_eq!(status_of(&mut unit, 2, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 24, 0]), Status::Good);
    unit.out(2, OutAction::PreemptAndAbort, 5, 2, 3);
}

#[test]
fn a_reset_while_reserve_waits_leaves_nobody_reserved() {
    let mut unit = Stalling::new(Variant::Right);
    unit.write(2);
    let (task, step) = unit.bench.begin_as(1, &[0x16, 0, 0, 0, 0, 0], 0);
    assert!(matches!(step, Step::Fence(_)));
    let aborted = unit.bench.unit.reset(Reset::LogicalUnit, NexusId(1));
    assert!(aborted.gone.iter().any(|aborted| aborted.task == task), "it is given up");
    let resumed = unit.bench.unit.after_abort();
    assert!(matches!(&resumed[..], [Resumed { step: Step::Aborted, .. }]), "{resumed:?}");
    unit.land(|_| true);
    assert!(unit.bench.unit.fence_drained(task, Ok(())).is_empty());
    unit.bench.take_attentions(2);
    assert_eq!(status_of(&mut unit, 2, &WRITE), Status::Good);
}

#[test]
fn commands_that_preempt_and_abort_ended_are_told_of_by_status_or_by_attention() {
    for tas in [false, true] {
        let mut unit = Stalling::new(Variant::Right);
        unit.bench.unit.state.mode.task_aborted_status = tas;
        unit.register_all();
        let (waiting, _) = unit.bench.begin_as(3, &WRITE, 512);
        let list = BasicList { key: Key(2), service_action_key: Key(3), ..Default::default() };
        let (task, _) = unit.bench.begin_as(2, &[0x5f, 5, 1, 0, 0, 0, 0, 0, 24, 0], 24);
        let Step::Record(change) = unit.bench.unit.data_out(task, vec![list.encode().into()]) else {
            panic!()
        };
        let status = tas.then_some(Status::TaskAborted);
        assert_eq!(change.aborted.gone, [AbortedTask { task: waiting, nexus: NexusId(3), status }]);
        unit.bench.unit.recorded(task, Ok(()));
        let mut expected = vec![Asc::REGISTRATIONS_PREEMPTED];
        if !tas {
            expected.push(Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
        }
        assert_eq!(unit.bench.take_attentions(3), expected);
        assert_eq!(unit.bench.take_attentions(1), []);
        assert_eq!(unit.bench.take_attentions(2), []);
    }
}
