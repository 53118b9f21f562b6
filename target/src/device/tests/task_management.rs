//! Aborts in every phase of a task, and the limits of the task set.

use super::*;

fn entry(task: TaskId, nexus: u64) -> AbortedTask {
    AbortedTask { task, nexus: NexusId(nexus), status: None }
}

/// A bench with two nexuses and, of nexus `owner`, a task that waits for data, one that writes and one that reads.
fn busy(owner: u64) -> (Bench, [TaskId; 3]) {
    let mut bench = Bench::with(|config| config.tasks = TaskLimits { per_nexus: 8, total: 16 });
    bench.attach(2);
    let waiting = waiting(&mut bench, owner);
    let writing = writing(&mut bench, owner);
    let (reading, step) = bench.begin_as(owner, &read_cdb(Form::Ten, 0, 1), 0);
    assert!(matches!(step, Step::Media(MediaOp::Read { .. })));
    (bench, [waiting, writing, reading])
}

fn waiting(bench: &mut Bench, owner: u64) -> TaskId {
    let (task, step) = bench.begin_as(owner, &write_cdb(Form::Ten, 0, 1), 512);
    assert!(matches!(step, Step::DataOut(512)));
    task
}

fn writing(bench: &mut Bench, owner: u64) -> TaskId {
    let task = waiting(bench, owner);
    let step = bench.unit.data_out(task, vec![Bytes::from_static(&[1; 512])]);
    assert!(matches!(step, Step::Media(MediaOp::Write { .. })));
    task
}

/// What every way of aborting all three tasks must lead to.
fn assert_all_aborted(
    mut bench: Bench,
    [waiting, writing, reading]: [TaskId; 3],
    owner: u64,
    aborted: &Aborted,
) {
    assert_eq!(aborted.gone, [entry(waiting, owner)]);
    assert_eq!(aborted.draining, [entry(writing, owner)]);
    assert_eq!(aborted.reading, [entry(reading, owner)]);
    assert_eq!(bench.unit.task_count(), 2, "what is on the medium stays until it has drained");
    let late = bench.unit.data_out(waiting, vec![Bytes::from_static(&[1; 512])]);
    assert!(matches!(late, Step::Aborted), "data that comes late reaches no medium");
    assert!(matches!(bench.unit.media_done(writing, Ok(MediaReply::Done)), Step::Aborted));
    assert!(matches!(bench.unit.media_done(reading, Err(MediaFailure::Read)), Step::Aborted));
    assert_eq!(bench.unit.task_count(), 0);
}

#[test]
fn abort_task_set_aborts_every_phase_of_its_own_nexus() {
    let (mut bench, tasks) = busy(1);
    let other = waiting(&mut bench, 2);
    let aborted = bench.unit.abort_task_set(NexusId(1));
    assert!(matches!(bench.unit.data_out(other, vec![]), Step::Done(_)), "the other nexus goes on");
    assert_eq!(bench.take_attentions(2), []);
    assert_all_aborted(bench, tasks, 1, &aborted);
}

#[test]
fn a_logical_unit_reset_aborts_every_phase_of_every_nexus() {
    for owner in [1, 2] {
        let (mut bench, tasks) = busy(owner);
        let aborted = bench.unit.reset(Reset::LogicalUnit, NexusId(1));
        assert_all_aborted(bench, tasks, owner, &aborted);
    }
}

#[test]
fn nexus_loss_aborts_every_phase_and_no_new_command_is_taken() {
    let (mut bench, tasks) = busy(1);
    let aborted = bench.unit.detach(NexusId(1));
    assert!(matches!(bench.begin_as(1, &[0; 6], 0).1, Step::Aborted));
    assert_all_aborted(bench, tasks, 1, &aborted);
}

#[test]
fn clear_task_set_tells_the_other_nexuses_whose_tasks_it_cleared() {
    let (mut bench, tasks) = busy(2);
    bench.attach(3);
    let own = waiting(&mut bench, 1);
    let mut aborted = bench.unit.clear_task_set(NexusId(1));
    assert_eq!(aborted.gone.pop(), Some(entry(own, 1)));
    assert_eq!(bench.take_attentions(1), [], "it asked for it");
    assert_eq!(bench.take_attentions(2), [Asc::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR]);
    assert_eq!(bench.take_attentions(3), [], "it had no task");
    assert_all_aborted(bench, tasks, 2, &aborted);
}

#[test]
fn with_tas_cleared_tasks_of_others_end_with_task_aborted_instead_of_a_unit_attention() {
    let mut bench = Bench::with(|config| config.task_aborted_status = true);
    bench.attach(2);
    let (own, other) = (waiting(&mut bench, 1), writing(&mut bench, 2));
    let aborted = bench.unit.clear_task_set(NexusId(1));
    let status = Some(Status::TaskAborted);
    assert_eq!(aborted.gone, [entry(own, 1)]);
    assert_eq!(aborted.draining, [AbortedTask { status, ..entry(other, 2) }]);
    assert_eq!(bench.take_attentions(2), []);
    assert_eq!(good(bench.run(&[0x1a, 8, 0x0a, 0, 0xff, 0]))[4 + 5], 0x40, "the control page says TAS");
}

#[test]
fn with_tas_a_reset_ends_tasks_of_others_with_task_aborted_unless_it_ends_their_sessions() {
    for (kind, told) in [(Reset::LogicalUnit, true), (Reset::TargetWarm, true), (Reset::TargetCold, false)] {
        let mut bench = Bench::with(|config| config.task_aborted_status = true);
        bench.attach(2);
        let (own, other) = (waiting(&mut bench, 1), writing(&mut bench, 2));
        let aborted = bench.unit.reset(kind, NexusId(1));
        let status = told.then_some(Status::TaskAborted);
        assert_eq!(aborted.gone, [entry(own, 1)]);
        assert_eq!(aborted.draining, [AbortedTask { status, ..entry(other, 2) }]);
    }
}

#[test]
fn abort_task_finds_only_a_task_of_its_own_nexus() {
    let (mut bench, [waiting, writing, reading]) = busy(1);
    assert!(bench.unit.abort_task(NexusId(2), waiting).is_empty(), "not its own");
    assert!(bench.unit.abort_task(NexusId(1), TaskId(999)).is_empty(), "no such task");
    assert_eq!(bench.unit.abort_task(NexusId(1), waiting).gone, [entry(waiting, 1)]);
    assert_eq!(bench.unit.abort_task(NexusId(1), writing).draining, [entry(writing, 1)]);
    assert_eq!(bench.unit.abort_task(NexusId(1), reading).reading, [entry(reading, 1)]);
    assert!(bench.unit.abort_task(NexusId(1), waiting).is_empty(), "gone is gone");
}

#[test]
fn a_second_function_waits_for_what_still_drains_but_gives_no_second_status() {
    let mut bench = Bench::with(|config| config.task_aborted_status = true);
    bench.attach(2);
    let task = writing(&mut bench, 2);
    assert_eq!(bench.unit.abort_task(NexusId(2), task).draining, [entry(task, 2)]);
    assert_eq!(bench.unit.clear_task_set(NexusId(1)).draining, [entry(task, 2)]);
    assert!(matches!(bench.unit.media_done(task, Ok(MediaReply::Done)), Step::Aborted));
    assert!(bench.unit.clear_task_set(NexusId(1)).is_empty());
}

#[test]
fn a_task_that_is_aborted_between_two_operations_does_not_reach_the_second() {
    let mut bench = Bench::new();
    let mut cdb = read_cdb(Form::Ten, 0, 1);
    cdb[1] |= 8;
    let (task, step) = bench.begin(&cdb, 0);
    assert!(matches!(step, Step::Media(MediaOp::Flush)));
    assert_eq!(bench.unit.abort_task_set(NexusId(1)).reading, [entry(task, 1)]);
    assert!(matches!(bench.unit.media_done(task, Ok(MediaReply::Done)), Step::Aborted));
}

#[test]
fn an_aborted_stop_does_not_stop() {
    let mut bench = Bench::new();
    let (task, _) = bench.begin(&[0x1b, 0, 0, 0, 0, 0], 0);
    bench.unit.abort_task(NexusId(1), task);
    assert!(matches!(bench.unit.media_done(task, Ok(MediaReply::Done)), Step::Aborted));
    good(bench.run(&[0; 6]));
}

#[test]
fn calls_for_the_wrong_phase_change_nothing() {
    let (mut bench, [waiting, writing, _]) = busy(1);
    assert!(matches!(bench.unit.media_done(waiting, Ok(MediaReply::Done)), Step::Aborted));
    assert!(matches!(bench.unit.data_out(writing, vec![]), Step::Aborted));
    assert_eq!(bench.unit.task_count(), 3);
}

#[test]
fn one_task_more_than_the_nexus_may_have_ends_with_task_set_full() {
    let mut bench = Bench::new();
    let tasks: Vec<_> = (0..3).map(|_| waiting(&mut bench, 1)).collect();
    let completion = bench.run(&[0; 6]);
    assert_eq!((completion.status, completion.sense), (Status::TaskSetFull, None));
    bench.unit.abort_task(NexusId(1), tasks[0]);
    good(bench.run(&[0; 6]));
}

#[test]
fn a_full_logical_unit_is_busy_for_a_nexus_without_tasks() {
    let mut bench = Bench::new();
    bench.attach(2);
    bench.attach(3);
    for owner in [1, 1, 1, 2, 2] {
        waiting(&mut bench, owner);
    }
    let statuses = [2, 3].map(|owner| match bench.begin_as(owner, &[0; 6], 0).1 {
        Step::Done(completion) => completion.status,
        step => panic!("{step:?}"),
    });
    assert_eq!(statuses, [Status::TaskSetFull, Status::Busy]);
    let drained = bench.unit.detach(NexusId(1));
    assert_eq!(drained.gone.len(), 3);
    assert!(matches!(bench.begin_as(3, &[0; 6], 0).1, Step::Done(c) if c.status == Status::Good));
}

#[test]
fn a_full_task_set_takes_no_unit_attention_with_it() {
    let mut bench = Bench::new();
    let tasks: Vec<_> = (0..3).map(|_| waiting(&mut bench, 1)).collect();
    bench.unit.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, None);
    assert_eq!(bench.run(&[0; 6]).status, Status::TaskSetFull);
    bench.unit.abort_task(NexusId(1), tasks[0]);
    assert_eq!(bench.take_attentions(1), [Asc::CAPACITY_DATA_CHANGED]);
}
