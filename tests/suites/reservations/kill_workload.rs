//! Three initiators that mix every PERSISTENT RESERVE OUT against the real process, which is killed at random points.
//!
//! What is found after each restart must be what some order of the commands leads to, from what was found after the restart before: every
//! answered command took effect as it was answered, each unanswered one did or did not, and nothing else happened. PRGENERATION counts
//! along, so that a command that changed nothing visible is not missed. The model is that of the target's own tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lunkeep_tests::random::Random;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::wire::INITIATOR;
use lunkeep_tests::{programs, report};

use super::history::{Call, Outcome, State, explained};
use super::rules::{Ask, Model, NODES};
use super::*;

/// Commands of one node in one life of the process: the search has a bit for each of all nodes.
const COMMANDS_MAX: usize = 40;

const REGISTER_AND_MOVE: u8 = 7;

fn serve(folder: &Folder) -> Target {
    Target::serve(programs!(), ["--disk", &format!("{},size=16M", folder.name("disk.img"))])
}

fn login(target: &Target, node: u8) -> Peer {
    let mut peer = Peer::login(target.portal(), &target.iqn(), u16::from(node) + 1);
    assert!(peer.is_ready(0));
    peer
}

/// Registrations, reservation and PRGENERATION, as an initiator is told them.
fn found(peer: &mut Peer) -> State {
    let generation = persistent_in(peer, 0, 0);
    assert_eq!(generation.status, GOOD, "{generation:?}");
    let generation = u32::from_be_bytes(generation.data[..4].try_into().unwrap());
    let mut model = Model::default();
    let kind = held(peer, 0).map(|(kind, _)| kind);
    model.held = kind.map(|kind| (kind, None));
    for (_, key, holds, _, name) in full_status(peer, 0) {
        let node = name.as_bytes().last().unwrap() - b'1';
        model.keys[usize::from(node)] = key;
        if let Some(kind) = kind.filter(|&kind| holds && kind < 7) {
            model.held = Some((kind, Some(node)));
        }
    }
    (model, generation)
}

/// A command that has a chance to succeed: keys are mostly those that the node gave itself last, or one of the others.
fn any_ask(random: &mut Random, from: u8) -> Ask {
    let action = [0, 0, 6, 6, 6, 1, 1, 2, 3, 4, 4, 5, 5, 7][pick(random, 14)];
    let kind = [1, 3, 5, 5, 6, 7, 8][pick(random, 7)];
    // Few keys, so that two nodes often have the same.
    let key = u64::try_from(pick(random, 4)).unwrap();
    let other = u64::try_from(pick(random, 4)).unwrap();
    let unregister = action == REGISTER_AND_MOVE && random.below(2) == 0;
    Ask { from, action, kind, key, other, to: (from + 1) % NODES, unregister }
}

fn pick(random: &mut Random, below: u64) -> usize {
    usize::try_from(random.below(below)).unwrap()
}

/// CDB and parameter list.
fn encoded(ask: Ask) -> ([u8; 10], Vec<u8>) {
    let (mut cdb, mut list) = basic(ask.action, ask.kind, ask.key, ask.other);
    if ask.action == REGISTER_AND_MOVE {
        let mut id = format!("{INITIATOR},i,0x80000000000{}", ask.to + 1).into_bytes();
        id.resize((id.len() + 1).next_multiple_of(4), 0);
        list.truncate(16);
        list.extend([0, u8::from(ask.unregister) << 1, 0, 1]);
        list.extend(u32::try_from(id.len() + 4).unwrap().to_be_bytes());
        list.extend([0x45, 0]);
        list.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
        list.extend(id);
        cdb[8] = u8::try_from(list.len()).unwrap();
    }
    (cdb, list)
}

/// One node's part of a life of the process: commands one after another until it is gone.
fn node(mut peer: Peer, from: u8, clock: &AtomicUsize, mut random: Random) -> Vec<Call> {
    let mut calls = Vec::new();
    // The key that it had last: most commands need it.
    let mut own = 0;
    while calls.len() < COMMANDS_MAX {
        let mut ask = any_ask(&mut random, from);
        if random.below(4) > 0 {
            ask.key = own;
        }
        let (cdb, list) = encoded(ask);
        let sent = clock.fetch_add(1, Ordering::SeqCst);
        let frame = peer.command_frame(0, &cdb, 0xa1, u32::try_from(list.len()).unwrap()).data(list);
        peer.send(&frame);
        let Some(answer) = peer.receive() else {
            calls.push(Call { ask, sent, answered: None });
            return calls;
        };
        peer.exp_stat_sn = answer.word_at(24).wrapping_add(1);
        let sense = answer.data.get(2..).unwrap_or_default();
        let outcome = match (answer.bhs[3], sense.get(2).map(|key| key & 0xf)) {
            (GOOD, _) => Outcome::Good,
            (CONFLICT, _) => Outcome::Conflict,
            // A unit attention: it was not looked at. That nobody registered this node knows it by this too.
            (CHECK_CONDITION, Some(6)) => continue,
            (CHECK_CONDITION, Some(5)) => Outcome::Check(u16::from_be_bytes([sense[12], sense[13]])),
            other => panic!("{other:?}: {answer:02x?}"),
        };
        if outcome == Outcome::Good && matches!(ask.action, 0 | 6) {
            own = ask.other;
        }
        calls.push(Call { ask, sent, answered: Some((clock.fetch_add(1, Ordering::SeqCst), outcome)) });
    }
    calls
}

/// A life of the process that begins with `before`: its history, in the order of the calls.
fn life(folder: &Folder, random: &mut Random, before: &State) -> Vec<Call> {
    let target = serve(folder);
    let peers: Vec<_> = (0..NODES).map(|node| login(&target, node)).collect();
    let (clock, delay) = (Arc::new(AtomicUsize::new(0)), Duration::from_micros(random.below(25_000)));
    let threads: Vec<_> = (0..NODES)
        .zip(peers)
        .map(|(from, mut peer)| {
            if from == 0 {
                assert_eq!(found(&mut peer), *before, "reading and logging in change nothing");
            }
            let (clock, random) = (clock.clone(), Random::new(random.below(u64::MAX)));
            std::thread::spawn(move || node(peer, from, &clock, random))
        })
        .collect();
    std::thread::sleep(delay);
    target.kill();
    let mut calls: Vec<Call> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    calls.sort_by_key(|call| call.sent);
    calls
}

fn state_after(folder: &Folder) -> State {
    let target = serve(folder);
    let state = found(&mut login(&target, 0));
    target.kill();
    state
}

#[test]
fn whatever_three_initiators_did_before_a_kill_the_record_is_what_some_order_of_it_makes() {
    let rounds = if report::full() { 1000 } else { 12 };
    let seed = lunkeep_tests::random::seed("whatever_three_initiators_did_before_a_kill");
    let mut random = Random::new(seed);
    let folder = Folder::new();
    let mut before = state_after(&folder);
    assert_eq!(before, (Model::default(), 0));
    let (mut answered, mut open, mut kept) = (0, 0, 0);
    for round in 0..rounds {
        let calls = life(&folder, &mut random, &before);
        let after = state_after(&folder);
        assert!(
            explained(&before, &calls, &after),
            "round {round}: from {before:?} to {after:?} by {calls:#?}"
        );
        let unanswered: Vec<_> = calls.iter().filter(|call| call.answered.is_none()).collect();
        answered += calls.len() - unanswered.len();
        open += unanswered.len();
        // Of those, the ones without which the record cannot be explained.
        if !unanswered.is_empty() {
            let told: Vec<_> = calls.iter().filter(|call| call.answered.is_some()).cloned().collect();
            kept += usize::from(!explained(&before, &told, &after));
        }
        before = after;
    }
    assert!(answered > 0, "no command was ever answered");
    report::table(
        "kills of a reservation workload",
        &format!(
            "{rounds} kills: {answered} commands answered, {open} not, {kept} times one of these is in the record"
        ),
    );
}

/// What the check is worth: an answered command that is missing from the record, and one in it that nobody sent, are noticed.
#[test]
fn control_a_command_that_is_lost_and_one_that_nobody_sent_are_noticed() {
    let ask = |from, action, other| Ask { from, action, kind: 5, key: 0, other, to: 0, unregister: false };
    let call = |sent, ask, answered| Call { ask, sent, answered };
    let good = |at| Some((at, Outcome::Good));
    let calls = [call(0, ask(0, 0, 1), good(1)), call(2, ask(1, 6, 2), good(3)), call(4, ask(2, 0, 3), None)];
    let state = |keys, generation| (Model { keys, held: None }, generation);
    let start = state([0, 0, 0], 0);
    assert!(explained(&start, &calls, &state([1, 2, 0], 2)), "the unanswered one is lost");
    assert!(explained(&start, &calls, &state([1, 2, 3], 3)), "or it is kept");
    assert!(!explained(&start, &calls, &state([1, 0, 0], 1)), "an answered one is lost");
    assert!(!explained(&start, &calls, &state([1, 2, 2], 3)), "nobody sent this");
    assert!(!explained(&start, &calls, &state([1, 2, 0], 3)), "something happened that cannot be seen");
}
