//! Calls and answers of several nodes, and whether some order of the calls explains them (Wing and Gong).

use std::collections::HashSet;

use super::rules::{Ask, Model, Verdict};

/// What the model knows, and PRGENERATION.
pub(crate) type State = (Model, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    Conflict,
    Check(u16),
    /// It failed, and changed nothing.
    Failed,
    /// It was aborted: nobody was told whether it changed anything.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) ask: Ask,
    pub(crate) sent: usize,
    /// When, and how; nothing when it never was.
    pub(crate) answered: Option<(usize, Outcome)>,
}

/// Whether some order of the calls, in which none comes before one that was answered before it was sent, leads from `start` to `last` and
/// explains every answer. States are those of the model with PRGENERATION.
pub(crate) fn explained(start: &State, calls: &[Call], last: &State) -> bool {
    assert!(calls.len() <= 128, "one bit for each call");
    search(calls, 0, start, last, &mut HashSet::new())
}

fn search(calls: &[Call], done: u128, now: &State, last: &State, dead: &mut HashSet<(u128, State)>) -> bool {
    if done.count_ones() as usize == calls.len() {
        return now == last;
    }
    if !dead.insert((done, now.clone())) {
        return false;
    }
    let open = |at: usize| done & (1 << at) == 0;
    let answers = calls.iter().enumerate().filter(|(at, _)| open(*at)).filter_map(|(_, call)| call.answered);
    let first_answer = answers.map(|(time, _)| time).min().unwrap_or(usize::MAX);
    for (at, call) in calls.iter().enumerate() {
        if !open(at) || call.sent > first_answer {
            continue;
        }
        let done = done | (1 << at);
        let outcome = call.answered.map_or(Outcome::Unknown, |(_, outcome)| outcome);
        if matches!(outcome, Outcome::Failed | Outcome::Unknown) && search(calls, done, now, last, dead) {
            return true;
        }
        let next = match (now.0.answer(call.ask), outcome) {
            (Verdict::Good(says), Outcome::Good | Outcome::Unknown) => {
                (says.next, now.1 + u32::from(says.counts))
            }
            (Verdict::Conflict, Outcome::Conflict) => now.clone(),
            (Verdict::Check(code), Outcome::Check(told)) if code == told => now.clone(),
            _ => continue,
        };
        if search(calls, done, &next, last, dead) {
            return true;
        }
    }
    false
}
