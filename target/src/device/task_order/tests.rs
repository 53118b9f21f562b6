//! The order against the words of SAM-5, task by task: a model that is too slow to use and too plain to be wrong.

use TaskAttribute::{HeadOfQueue, Ordered, Simple};
use proptest::prelude::*;

use super::*;

/// What happens to the task set.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Comes(u64, TaskAttribute),
    /// The task at this place among those there are (modulo their number) ends, aborted or not.
    Ends(usize),
    /// It begins, or ceases, to wait for data, when it has had its turn.
    Awaits(usize, bool),
}

/// What is left out of the order, to see that the model finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    OrderedIsSimple,
    HeadIsSimple,
    DataIsForgotten,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    task: TaskId,
    nexus: u64,
    attribute: TaskAttribute,
    dormant: bool,
    awaits: bool,
}

/// In the order in which they came.
#[derive(Default)]
struct Model(Vec<Known>);

impl Model {
    /// Whether `b` may not begin before `a` has ended.
    fn waits_for(&self, b: usize, a: usize) -> bool {
        let head = self.0[a].attribute == HeadOfQueue;
        match self.0[b].attribute {
            HeadOfQueue => false,
            Ordered => head || a < b,
            _ => head || (a < b && self.0[a].attribute == Ordered),
        }
    }

    /// Whether an initiator that owes data is why `a` goes no further.
    fn stalled(&self, a: usize) -> bool {
        let own = |c: usize| c != a && self.0[c].nexus == self.0[a].nexus;
        self.0[a].awaits
            || self.0[a].dormant
                && (0..self.0.len()).any(|c| own(c) && self.waits_for(a, c) && self.stalled(c))
    }

    fn blocked(&self, b: usize) -> bool {
        (0..self.0.len()).any(|a| {
            a != b && self.waits_for(b, a) && !(self.0[a].nexus != self.0[b].nexus && self.stalled(a))
        })
    }

    fn unblocked(&self) -> Vec<TaskId> {
        (0..self.0.len()).filter(|&b| self.0[b].dormant && !self.blocked(b)).map(|b| self.0[b].task).collect()
    }

    fn turn(&mut self, tasks: &[TaskId]) {
        self.0.iter_mut().filter(|known| tasks.contains(&known.task)).for_each(|known| known.dormant = false);
    }
}

/// Plays what happens on the order and on the model; an error tells where they part.
fn play(happenings: &[Happening], fault: Fault) -> Result<(), String> {
    let (mut order, mut model, mut last) = (TaskOrder::default(), Model::default(), 0);
    for (at, &happening) in happenings.iter().enumerate() {
        let differs = |what: &str, found: String, expected: String| {
            Err(format!("{at}: {happening:?}: {what}: {found}, not {expected}"))
        };
        match happening {
            Happening::Comes(nexus, attribute) => {
                last += 1;
                let task = TaskId(last);
                let told = match (fault, attribute) {
                    (Fault::OrderedIsSimple, Ordered) | (Fault::HeadIsSimple, HeadOfQueue) => Simple,
                    _ => attribute,
                };
                model.0.push(Known { task, nexus, attribute, dormant: true, awaits: false });
                let expected = !model.blocked(model.0.len() - 1);
                let found = order.enter(task, NexusId(nexus), told);
                if found != expected {
                    return differs("turn at once", found.to_string(), expected.to_string());
                }
                if found {
                    model.turn(&[task]);
                }
            }
            Happening::Ends(which) if !model.0.is_empty() => {
                let which = which % model.0.len();
                order.leave(model.0.remove(which).task);
            }
            Happening::Awaits(which, awaits) if !model.0.is_empty() => {
                let which = which % model.0.len();
                let known = &mut model.0[which];
                if !known.dormant {
                    known.awaits = awaits;
                    order.awaits_data(known.task, awaits && fault != Fault::DataIsForgotten);
                }
            }
            Happening::Ends(_) | Happening::Awaits(..) => {}
        }
        let (found, expected) = (order.enable(), model.unblocked());
        if found != expected {
            return differs("turns", format!("{found:?}"), format!("{expected:?}"));
        }
        model.turn(&found);
        if order.len() != model.0.len() {
            return differs("members", order.len().to_string(), model.0.len().to_string());
        }
    }
    Ok(())
}

fn happening() -> impl Strategy<Value = Happening> {
    let attribute = prop_oneof![4 => Just(Simple), 2 => Just(Ordered), 1 => Just(HeadOfQueue)];
    prop_oneof![
        4 => (1..4u64, attribute).prop_map(|(nexus, attribute)| Happening::Comes(nexus, attribute)),
        3 => (0..16usize).prop_map(Happening::Ends),
        2 => ((0..16usize), any::<bool>()).prop_map(|(which, awaits)| Happening::Awaits(which, awaits)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_task_has_its_turn_when_the_standard_says(happenings in prop::collection::vec(happening(), 1..60)) {
        prop_assert_eq!(play(&happenings, Fault::None), Ok(()));
    }
}

/// The control: an order that leaves out one rule does not pass for one that keeps them all.
#[test]
fn an_order_that_leaves_out_a_rule_is_told_from_one_that_does_not() {
    let comes = Happening::Comes;
    let scripts: [(Fault, &[Happening]); 3] = [
        (Fault::OrderedIsSimple, &[comes(1, Simple), comes(2, Ordered)]),
        (Fault::HeadIsSimple, &[comes(1, Ordered), comes(1, HeadOfQueue)]),
        (Fault::DataIsForgotten, &[comes(1, Ordered), Happening::Awaits(0, true), comes(2, Simple)]),
    ];
    for (fault, script) in scripts {
        assert_eq!(play(script, Fault::None), Ok(()), "{fault:?}");
        assert!(play(script, fault).is_err(), "{fault:?}");
    }
}

#[test]
fn what_tells_and_what_decides_who_has_access_takes_no_part() {
    for (opcode, part) in [
        (0x28, true),
        (0x2a, true),
        (0x00, true),
        (0x12, false),
        (0xa0, false),
        (0x03, false),
        (0x5e, false),
        (0x5f, false),
        (0x16, false),
        (0x57, false),
        (0x48, false),
    ] {
        assert_eq!(takes_part(opcode, Simple), part, "{opcode:02x}h");
    }
    assert!(!takes_part(0x28, TaskAttribute::Aca));
    assert!(takes_part(0xee, Ordered), "one that is not there is refused in its turn");
}

/// Without a limit on the walk, a nexus that fills the task set with ORDERED tasks makes every end of a task expensive.
#[test]
fn the_walk_ends_at_the_first_task_that_holds_up_everyone() {
    let mut order = TaskOrder::default();
    assert!(order.enter(TaskId(0), NexusId(1), Simple));
    for task in 1..200_000 {
        assert!(!order.enter(TaskId(task), NexusId(1), Ordered));
    }
    for task in 0..199_999 {
        order.leave(TaskId(task));
        assert_eq!(order.enable(), [TaskId(task + 1)]);
    }
}
