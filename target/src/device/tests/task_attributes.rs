//! Task attributes as commands have them (SAM-5 §8.6). `task_order` has the order itself; here is what it does to commands.

use lunkeep_common::scsi::persistent::{BasicList, Key};

use super::*;

fn bench() -> Bench {
    let mut bench = Bench::with(|config| config.tasks = TaskLimits { per_nexus: 8, total: 16 });
    bench.attach(2);
    bench
}

fn begin(bench: &mut Bench, nexus: u64, attribute: TaskAttribute, cdb: &[u8], out: u32) -> (TaskId, Step) {
    let mut padded = cdb.to_vec();
    padded.resize(16, 0);
    bench.last_task += 1;
    let task = TaskId(bench.last_task);
    let step = bench.unit.begin(Command {
        nexus: NexusId(nexus),
        task,
        cdb: &padded,
        attribute,
        expected_in: 512,
        expected_out: out,
        now_ms: NOW_MS,
        luns: &[],
    });
    (task, step)
}

/// A read that is on the medium.
fn reading(bench: &mut Bench, nexus: u64, attribute: TaskAttribute) -> TaskId {
    let (task, step) = begin(bench, nexus, attribute, &read_cdb(Form::Ten, 0, 1), 0);
    assert!(matches!(step, Step::Media(MediaOp::Read { .. })), "{step:?}");
    task
}

/// A read whose turn has not come.
fn dormant(bench: &mut Bench, nexus: u64, attribute: TaskAttribute) -> TaskId {
    let (task, step) = begin(bench, nexus, attribute, &read_cdb(Form::Ten, 1, 1), 0);
    assert!(matches!(step, Step::Waiting), "{step:?}");
    task
}

fn finish(bench: &mut Bench, task: TaskId) {
    let step = bench.unit.media_done(task, Ok(MediaReply::Data(Bytes::from_static(&[0; 512]))));
    assert!(matches!(step, Step::Done(_) | Step::Aborted), "{step:?}");
}

/// The tasks that go on, all of which must be reads that go to the medium.
fn resumed(bench: &mut Bench) -> Vec<TaskId> {
    let on_medium = |resumed: Resumed| {
        assert!(matches!(resumed.step, Step::Media(MediaOp::Read { .. })), "{:?}", resumed.step);
        resumed.task
    };
    bench.unit.resume().into_iter().map(on_medium).collect()
}

#[test]
fn an_ordered_task_waits_for_older_ones_of_every_nexus_and_holds_younger_ones() {
    let mut bench = bench();
    let older =
        [reading(&mut bench, 1, TaskAttribute::Simple), reading(&mut bench, 2, TaskAttribute::Untagged)];
    let ordered = dormant(&mut bench, 1, TaskAttribute::Ordered);
    let younger =
        [dormant(&mut bench, 2, TaskAttribute::Simple), dormant(&mut bench, 1, TaskAttribute::Simple)];
    finish(&mut bench, older[0]);
    assert_eq!(resumed(&mut bench), []);
    finish(&mut bench, older[1]);
    assert_eq!(resumed(&mut bench), [ordered]);
    finish(&mut bench, ordered);
    assert_eq!(resumed(&mut bench), younger);
}

#[test]
fn a_head_of_queue_task_passes_all_and_the_others_wait_for_it() {
    let mut bench = bench();
    let older = reading(&mut bench, 1, TaskAttribute::Ordered);
    let younger = dormant(&mut bench, 1, TaskAttribute::Simple);
    let head = reading(&mut bench, 2, TaskAttribute::HeadOfQueue);
    finish(&mut bench, older);
    assert_eq!(resumed(&mut bench), []);
    finish(&mut bench, head);
    assert_eq!(resumed(&mut bench), [younger]);
}

#[test]
fn simple_tasks_wait_for_nobody_among_themselves() {
    let mut bench = bench();
    let tasks = [1, 2, 1].map(|nexus| reading(&mut bench, nexus, TaskAttribute::Simple));
    tasks.into_iter().rev().for_each(|task| finish(&mut bench, task));
    assert_eq!((resumed(&mut bench), bench.unit.task_count()), (vec![], 0));
}

#[test]
fn a_command_is_judged_when_its_turn_comes() {
    let mut bench = bench();
    let ordered = reading(&mut bench, 1, TaskAttribute::Ordered);
    // Neither the wrong CDB nor a unit attention is told before.
    let (wrong, step) = begin(&mut bench, 1, TaskAttribute::Simple, &read_cdb(Form::Ten, BLOCKS, 1), 0);
    assert!(matches!(step, Step::Waiting));
    let unknown = begin(&mut bench, 2, TaskAttribute::Simple, &[0xee], 0).0;
    bench.unit.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, Some(NexusId(1)));
    finish(&mut bench, ordered);
    let ended: Vec<_> = bench
        .unit
        .resume()
        .into_iter()
        .map(|Resumed { nexus, task, step }| match step {
            Step::Done(completion) => (nexus, task, sense(completion)),
            other => panic!("{other:?}"),
        })
        .collect();
    let attention = Sense::unit_attention(Asc::CAPACITY_DATA_CHANGED);
    assert_eq!(ended, [(NexusId(1), wrong, out_of_range(BLOCKS)), (NexusId(2), unknown, attention)]);
    assert_eq!(bench.unit.task_count(), 0);
}

#[test]
fn a_dormant_task_counts_as_a_task_and_can_be_aborted() {
    let mut bench = bench();
    let first = reading(&mut bench, 1, TaskAttribute::Simple);
    let ordered = dormant(&mut bench, 1, TaskAttribute::Ordered);
    let other = dormant(&mut bench, 2, TaskAttribute::Simple);
    assert_eq!(bench.unit.task_count(), 3);
    let aborted = bench.unit.abort_task(NexusId(1), ordered);
    assert_eq!(aborted.gone, [AbortedTask { task: ordered, nexus: NexusId(1), status: None }]);
    assert_eq!(resumed(&mut bench), [other], "what waited for it goes on");
    finish(&mut bench, first);
    finish(&mut bench, other);
    assert_eq!(bench.unit.task_count(), 0);
}

#[test]
fn every_way_to_lose_the_tasks_of_one_nexus_lets_the_others_go_on() {
    let ways: [fn(&mut LogicalUnit) -> Aborted; 3] = [
        |unit| unit.abort_task_set(NexusId(1)),
        |unit| unit.detach(NexusId(1)),
        |unit| unit.abort_task(NexusId(1), TaskId(u64::MAX)),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let mut bench = bench();
        let ordered = reading(&mut bench, 1, TaskAttribute::Ordered);
        let other = dormant(&mut bench, 2, TaskAttribute::Simple);
        drop(way(&mut bench.unit));
        // An aborted task holds the others up until it has left the medium.
        assert_eq!(resumed(&mut bench), []);
        finish(&mut bench, ordered);
        assert_eq!(resumed(&mut bench), [other], "{number}");
    }
}

#[test]
fn a_reset_and_clear_task_set_end_dormant_tasks_too() {
    let ways: [fn(&mut LogicalUnit) -> Aborted; 2] =
        [|unit| unit.reset(Reset::LogicalUnit, NexusId(1)), |unit| unit.clear_task_set(NexusId(1))];
    for way in ways {
        let mut bench = bench();
        let ordered = reading(&mut bench, 1, TaskAttribute::Ordered);
        let other = dormant(&mut bench, 2, TaskAttribute::Simple);
        let aborted = way(&mut bench.unit);
        assert_eq!(aborted.gone.iter().map(|gone| gone.task).collect::<Vec<_>>(), [other]);
        finish(&mut bench, ordered);
        assert_eq!((resumed(&mut bench), bench.unit.task_count()), (vec![], 0));
    }
}

#[test]
fn an_initiator_that_owes_data_holds_up_only_its_own_nexus() {
    let mut bench = bench();
    let (write, step) = begin(&mut bench, 1, TaskAttribute::Ordered, &write_cdb(Form::Ten, 0, 1), 512);
    assert!(matches!(step, Step::DataOut(512)));
    let own = dormant(&mut bench, 1, TaskAttribute::Simple);
    let other = reading(&mut bench, 2, TaskAttribute::Simple);
    let other_ordered = dormant(&mut bench, 2, TaskAttribute::Ordered);
    finish(&mut bench, other);
    assert_eq!(resumed(&mut bench), [other_ordered]);
    finish(&mut bench, other_ordered);
    // Once it has paid, everyone waits for it.
    assert!(matches!(bench.unit.data_out(write, vec![Bytes::from_static(&[1; 512])]), Step::Media(_)));
    let late = dormant(&mut bench, 2, TaskAttribute::Simple);
    assert!(matches!(bench.unit.media_done(write, Ok(MediaReply::Done)), Step::Done(_)));
    assert_eq!(resumed(&mut bench), [own, late]);
}

#[test]
fn a_change_of_who_has_access_waits_for_no_order_and_keeps_nobody_waiting() {
    for attribute in [TaskAttribute::Simple, TaskAttribute::Ordered, TaskAttribute::HeadOfQueue] {
        let mut bench = bench();
        let stuck = reading(&mut bench, 1, TaskAttribute::Ordered);
        let list = BasicList { service_action_key: Key(7), ..BasicList::default() }.encode();
        let register = [0x5f, 0x06, 0, 0, 0, 0, 0, 0, 24, 0];
        let (task, step) = begin(&mut bench, 2, attribute, &register, 24);
        assert!(matches!(step, Step::DataOut(24)), "{step:?}");
        assert!(matches!(bench.unit.data_out(task, vec![list.into()]), Step::Record(_)));
        // While its fence runs, a task that comes to the head of the queue, and what is told, pass.
        let head = reading(&mut bench, 1, TaskAttribute::HeadOfQueue);
        finish(&mut bench, head);
        assert!(matches!(
            begin(&mut bench, 2, TaskAttribute::Simple, &[0x12, 0, 0, 0, 36], 0).1,
            Step::Done(_)
        ));
        finish(&mut bench, stuck);
        let simple = reading(&mut bench, 1, TaskAttribute::Simple);
        assert!(matches!(bench.unit.recorded(task, Ok(())).remove(0).step, Step::Done(_)));
        finish(&mut bench, simple);
        assert_eq!((resumed(&mut bench), bench.unit.task_count()), (vec![], 0));
    }
}

#[test]
fn format_unit_holds_an_ordered_task_until_it_is_answered_but_sanitize_refuses_it() {
    for (cdb, waits) in [([0x04, 0], true), ([0x48, 0x02], false)] {
        let mut bench = bench();
        let (erasing, step) = begin(&mut bench, 1, TaskAttribute::Simple, &cdb, 0);
        assert!(matches!(step, Step::Erase(_)), "{step:?}");
        assert_eq!(bench.unit.erase_begun(), None, "it is answered when it is over");
        let (ordered, step) = begin(&mut bench, 2, TaskAttribute::Ordered, &[0; 6], 0);
        if waits {
            assert!(matches!(step, Step::Waiting), "{step:?}");
            assert_eq!(bench.unit.erase_done(Ok(())), Some((erasing, Completion::good())));
            let resumed = bench.unit.resume();
            assert_eq!(resumed.iter().map(|resumed| resumed.task).collect::<Vec<_>>(), [ordered]);
        } else {
            let Step::Done(completion) = step else { panic!("{step:?}") };
            assert_eq!(sense(completion).asc, Asc::SANITIZE_IN_PROGRESS);
        }
    }
}

#[test]
fn the_pages_say_what_is_so() {
    let mut bench = bench();
    let inquiry = good(bench.run(&[0x12, 0, 0, 0, 0xff, 0]));
    assert_eq!(inquiry[7] & 0x02, 0x02, "CMDQUE");
    let extended = good(bench.run(&[0x12, 1, 0x86, 0, 0xff, 0]));
    assert_eq!(extended[5] & 0x07, 0x07, "HEADSUP, ORDSUP, SIMPSUP");
    let control = good(bench.run(&[0x1a, 8, 0x0a, 0, 0xff, 0]));
    assert_eq!((control[4 + 2] & 0xe0, control[4 + 3] & 0xf0), (0, 0x10), "TST, QUEUE ALGORITHM MODIFIER");
}

#[test]
fn a_task_whose_turn_has_not_come_is_answered_when_its_nexus_leaves_and_holds_nobody_up() {
    let mut bench = bench();
    let first = reading(&mut bench, 1, TaskAttribute::Simple);
    let ordered = dormant(&mut bench, 2, TaskAttribute::Ordered);
    let behind = dormant(&mut bench, 1, TaskAttribute::Simple);
    let interrupted = bench.unit.begin_withdrawal(&[NexusId(2)]).unwrap();
    assert_eq!(interrupted.refused.iter().map(|task| task.task).collect::<Vec<_>>(), [ordered]);
    assert_eq!(resumed(&mut bench), [behind]);
    finish(&mut bench, first);
    finish(&mut bench, behind);
    assert_eq!(bench.unit.task_count(), 0);
}
