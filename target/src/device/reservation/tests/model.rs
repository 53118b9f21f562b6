//! An independent model of the reservation rules, and a walk through every state that three nexuses with two keys can reach.
//!
//! The model is written from the tables of SPC-4 §5.13 and shares no code and no shape with the implementation: nexuses are numbers,
//! keys are small numbers, a reservation is a type and the set of its holders. Whatever it says of a command must be what
//! [`apply`] says: status, next state, generation, unit attentions with their recipients, and whose commands are aborted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use lunkeep_common::scsi::Asc;

use super::*;

const NODES: u8 = 3;
const KEYS: u64 = 2;
const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];
/// Commands from the first state on. The whole space is closed long before: the test asserts it.
const DEPTH: usize = 12;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::device) struct Model {
    keys: [u64; NODES as usize],
    /// Type, and the holder, or none for the types that all registrants hold.
    pub(in crate::device) held: Option<(u8, Option<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::device) struct Says {
    pub(in crate::device) next: Model,
    pub(in crate::device) counts: bool,
    told: BTreeSet<(u8, u16)>,
    aborted: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::device) enum Verdict {
    Good(Says),
    Conflict,
    /// Additional sense code and qualifier.
    Check(u16),
}

#[derive(Clone, Copy, Debug)]
pub(in crate::device) struct Ask {
    pub(in crate::device) from: u8,
    pub(in crate::device) action: u8,
    pub(in crate::device) kind: u8,
    pub(in crate::device) key: u64,
    pub(in crate::device) other: u64,
    /// Destination and UNREG of REGISTER AND MOVE.
    pub(in crate::device) to: u8,
    pub(in crate::device) unregister: bool,
}

impl Model {
    fn registered(&self) -> Vec<u8> {
        (0..NODES).filter(|&node| self.keys[usize::from(node)] != 0).collect()
    }

    pub(in crate::device) fn key(&self, node: u8) -> u64 {
        self.keys[usize::from(node)]
    }

    fn holder(&self, node: u8) -> bool {
        match self.held {
            Some((_, Some(holder))) => holder == node,
            Some((_, None)) => self.key(node) != 0,
            None => false,
        }
    }

    fn set(&mut self, kind: u8, node: u8) {
        self.held = Some((kind, if kind < 7 { Some(node) } else { None }));
    }

    pub(in crate::device) fn answer(&self, ask: Ask) -> Verdict {
        let me = ask.from;
        let mine = self.key(me);
        let mut says =
            Says { next: self.clone(), counts: true, told: BTreeSet::new(), aborted: BTreeSet::new() };
        let others: Vec<u8> = self.registered().into_iter().filter(|&node| node != me).collect();
        // Table "REGISTER": an unregistered nexus must give 0, a registered one its key. Other service actions, but for
        // REGISTER AND IGNORE EXISTING KEY, need a registration and its key.
        match ask.action {
            0 if ask.key != mine => return Verdict::Conflict,
            7 if mine == 0 => {
                return if self.held.is_some() { Verdict::Conflict } else { Verdict::Check(0x2400) };
            }
            1..=5 | 7 if mine == 0 || ask.key != mine => return Verdict::Conflict,
            _ => {}
        }
        match ask.action {
            0 | 6 => {
                says.next.keys[usize::from(me)] = ask.other;
                if ask.other == 0 && mine != 0 {
                    match self.held {
                        Some((kind, Some(holder))) if holder == me => {
                            says.next.held = None;
                            if kind >= 5 {
                                says.told = others.iter().map(|&node| (node, 0x2a04)).collect();
                            }
                        }
                        Some((_, None)) if others.is_empty() => says.next.held = None,
                        _ => {}
                    }
                }
            }
            1 => {
                says.counts = false;
                match self.held {
                    None => says.next.set(ask.kind, me),
                    Some((kind, _)) if kind == ask.kind && self.holder(me) => {}
                    Some(_) => return Verdict::Conflict,
                }
            }
            2 => {
                says.counts = false;
                if let Some((kind, _)) = self.held.filter(|_| self.holder(me)) {
                    if kind != ask.kind {
                        return Verdict::Check(0x2604);
                    }
                    says.next.held = None;
                    if kind >= 5 {
                        says.told = others.iter().map(|&node| (node, 0x2a04)).collect();
                    }
                }
            }
            3 => {
                says.next = Model::default();
                says.told = others.iter().map(|&node| (node, 0x2a03)).collect();
            }
            4 | 5 => return self.preempt(ask, says),
            7 => {
                if ask.other == 0 {
                    return Verdict::Check(0x2600);
                }
                let Some((kind, holder)) = self.held else { return Verdict::Check(0x2400) };
                if holder != Some(me) {
                    return Verdict::Conflict;
                }
                if ask.to == me {
                    return Verdict::Check(0x2600);
                }
                says.next.keys[usize::from(ask.to)] = ask.other;
                says.next.held = Some((kind, Some(ask.to)));
                if ask.unregister {
                    says.next.keys[usize::from(me)] = 0;
                }
            }
            _ => unreachable!(),
        }
        Verdict::Good(says)
    }

    fn preempt(&self, ask: Ask, mut says: Says) -> Verdict {
        let me = ask.from;
        let with_key: Vec<u8> =
            self.registered().into_iter().filter(|&node| self.key(node) == ask.other).collect();
        // (whose registrations end, whose commands a PREEMPT AND ABORT ends, whether the sender becomes the holder)
        let (gone, victims, takes): (Vec<u8>, Vec<u8>, bool) = match self.held {
            Some((_, None)) if ask.other == 0 => {
                let all: Vec<u8> = self.registered().into_iter().filter(|&node| node != me).collect();
                (all.clone(), all, true)
            }
            _ if ask.other == 0 => return Verdict::Check(0x2600),
            _ if with_key.is_empty() => return Verdict::Conflict,
            Some((_, Some(holder))) if self.key(holder) == ask.other => {
                (with_key.iter().copied().filter(|&node| node != me).collect(), with_key, true)
            }
            Some((_, None)) => {
                (with_key.iter().copied().filter(|&node| node != me).collect(), with_key, false)
            }
            _ => (with_key.clone(), with_key, false),
        };
        for &node in &gone {
            says.next.keys[usize::from(node)] = 0;
            if node != me {
                says.told.insert((node, 0x2a05));
            }
        }
        if takes {
            let old = self.held.map(|(kind, _)| kind);
            says.next.set(ask.kind, me);
            if old != Some(ask.kind) {
                let rest = says.next.registered().into_iter().filter(|&node| node != me);
                says.told.extend(rest.map(|node| (node, 0x2a04)));
            }
        }
        if ask.action == 5 {
            says.aborted = victims.into_iter().collect();
        }
        Verdict::Good(says)
    }
}

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
