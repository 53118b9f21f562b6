//! The independent model of the reservation rules in a walk through every state that three nexuses with two keys can reach.
//!
//! Whatever the [model](super::rules) says of a command must be what [`apply`] says: status, next state, generation, unit attentions with their recipients, and whose commands are aborted.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use lunkeep_common::scsi::Asc;

use super::rules::{Ask, Model, NODES, Says, Verdict};
use super::*;

const KEYS: u64 = 2;
const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];
/// Commands from the first state on. The whole space is closed long before: the test asserts it.
const DEPTH: usize = 12;

fn commands() -> Vec<Ask> {
    let mut all = Vec::new();
    for from in 0..NODES {
        for action in 0..=7 {
            let kinds: &[u8] = if matches!(action, 1 | 2 | 4 | 5) { &TYPES } else { &[0] };
            let destinations = if action == 7 { 0..NODES } else { 0..1 };
            for &kind in kinds {
                for key in 0..=KEYS {
                    for other in 0..=KEYS {
                        for to in destinations.clone() {
                            for unregister in [false, true] {
                                if unregister && action != 7 {
                                    continue;
                                }
                                all.push(Ask { from, action, kind, key, other, to, unregister });
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

pub(in crate::device) fn request(ask: Ask) -> PrOut {
    let action = OutAction::from_bits(ask.action).unwrap();
    if action == OutAction::RegisterAndMove {
        return move_to(ask.to, ask.key, ask.other, ask.unregister);
    }
    basic(action, ask.kind, ask.key, ask.other)
}

fn number(nexus: &Nexus) -> u8 {
    // The last letter of the name tells them apart.
    nexus.initiator.name.as_str().bytes().last().unwrap() - b'a'
}

fn code(asc: Asc) -> u16 {
    u16::from_be_bytes([asc.code, asc.qualifier])
}

pub(in crate::device) fn seen(record: &Record) -> Model {
    let mut model = Model::default();
    for (nexus, registration) in &record.registrations {
        model.keys[usize::from(number(nexus))] = registration.key.0;
    }
    model.held = record.reservation.as_ref().map(|reservation| {
        let holder = match &reservation.holder {
            Holder::AllRegistrants => None,
            Holder::One(nexus) => Some(number(nexus)),
        };
        (reservation.kind as u8, holder)
    });
    model
}

fn verdict(record: &Record, ask: Ask) -> (Verdict, Option<Record>) {
    static NEXUSES: LazyLock<Vec<Nexus>> = LazyLock::new(|| (0..NODES).map(nexus).collect());
    static PORTS: LazyLock<Vec<ExportPort>> = LazyLock::new(ports);
    let world = World { ports: &PORTS, known: &[] };
    match apply(record, world, &NEXUSES[usize::from(ask.from)], &request(ask)) {
        Err(Refusal::Conflict) => (Verdict::Conflict, None),
        Err(Refusal::Sense(sense)) => (Verdict::Check(code(sense.asc)), None),
        Ok(change) => {
            let told: Vec<_> =
                change.attentions.iter().map(|(nexus, asc)| (number(nexus), code(*asc))).collect();
            let says = Says {
                next: seen(&change.record),
                counts: change.record.generation != record.generation,
                told: told.iter().copied().collect(),
                aborted: change.abort.iter().map(number).collect(),
            };
            assert_eq!(says.told.len(), told.len(), "told twice: {told:?}");
            (Verdict::Good(says), Some(change.record))
        }
    }
}

/// Every state that can be reached, with the number of steps to it.
fn explore(mut visit: impl FnMut(&Record, Ask, &(Verdict, Option<Record>))) -> (usize, usize) {
    let commands = commands();
    let mut reached: HashSet<Model> = HashSet::from([Model::default()]);
    let mut frontier = vec![Record::default()];
    for depth in 0..DEPTH {
        let mut next = Vec::new();
        for record in &frontier {
            for &ask in &commands {
                let answer = verdict(record, ask);
                visit(record, ask, &answer);
                if let Some(changed) = answer.1
                    && reached.insert(seen(&changed))
                {
                    next.push(changed);
                }
            }
        }
        if next.is_empty() {
            return (reached.len(), depth);
        }
        frontier = next;
    }
    panic!("{DEPTH} commands do not reach every state");
}

#[test]
fn every_command_in_every_reachable_state_does_what_the_model_says() {
    let mut compared = 0;
    let (states, depth) = explore(|record, ask, answer| {
        let state = seen(record);
        assert_eq!(answer.0, state.answer(ask), "{ask:?} in {state:?}");
        compared += 1;
        let Some(record) = &answer.1 else { return };
        assert!(record.registrations.values().all(|registration| !registration.key.is_zero()));
        match record.reservation.as_ref().map(|reservation| &reservation.holder) {
            Some(Holder::One(nexus)) => assert!(record.registrations.contains_key(nexus)),
            Some(Holder::AllRegistrants) => assert!(!record.registrations.is_empty()),
            None => {}
        }
    });
    // 27 ways to be registered; with n registered each of 4 types can be held by n, and each of 2 by all.
    let by_count: BTreeMap<u32, u32> = [(0, 1), (1, 6), (2, 12), (3, 8)].into();
    let expected: u32 =
        by_count.iter().map(|(n, ways)| ways * (1 + 4 * n + if *n > 0 { 2 } else { 0 })).sum();
    assert_eq!(states, expected as usize, "after {depth} commands; {compared} compared");
}

#[test]
fn control_a_preempt_that_takes_any_key_for_the_holders_is_noticed() {
    let mut record = Record::default();
    for ask in [(0, 0, 0, 1), (1, 0, 0, 2), (0, 1, 1, 0)] {
        let (from, action, key, other) = ask;
        let kind = action;
        let ask = Ask { from, action, kind, key, other, to: 0, unregister: false };
        record = verdict(&record, ask).1.unwrap();
    }
    // The key of an owner who was preempted before, by someone who was faster.
    let stale = Ask { from: 1, action: 4, kind: 1, key: 2, other: 3, to: 0, unregister: false };
    let model = seen(&record).answer(stale);
    assert_eq!(model, Verdict::Conflict);
    assert_eq!(verdict(&record, stale).0, model);
    let holder = seen(&record).held.unwrap().1.unwrap();
    let blind = Ask { other: seen(&record).key(holder), ..stale };
    assert_ne!(verdict(&record, blind).0, model, "two owners, each with the answer GOOD");
}
