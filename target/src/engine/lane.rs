//! The lane of a logical unit: short writes that one thread carries out one after another.
//!
//! A thread for each write costs more than the write: two switches for a copy into the page cache, which a file takes one at a time
//! anyway. So writes queue up, and one runner empties the queue; commands that a connection brings together cost one switch.
//!
//! A medium may stall, and what queues behind the write that met it must not wait for it: as long as something is queued
//! somebody watches, and when nothing has left the queue between two looks there are twice as many runners.
//!
//! This is the bookkeeping; who uses it starts the threads that [`Lane::push`] and [`Lane::look`] ask for.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What must be started for a job that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// A runner: it calls [`Lane::take`] until there is nothing.
    pub(super) runner: bool,
    /// Somebody who calls [`Lane::look`] from time to time until [`Look::Over`].
    pub(super) watch: bool,
}

/// What a look at a lane finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is queued: nobody needs to watch.
    Over,
    /// Jobs leave the queue.
    Moving,
    /// None has left it since the last look: so many more runners must be started.
    Stalled {
        /// They are counted already.
        runners: usize,
    },
}

#[derive(Debug)]
struct State<J> {
    queue: VecDeque<J>,
    runners: usize,
    watched: bool,
    /// Jobs that left the queue, and how many it were at the last look.
    taken: u64,
    seen: u64,
}

/// A queue of jobs and those who empty it.
#[derive(Debug)]
pub(super) struct Lane<J> {
    state: Mutex<State<J>>,
    runners_max: usize,
}

impl<J> Lane<J> {
    /// A lane with at most `runners_max` runners.
    pub(super) const fn new(runners_max: usize) -> Self {
        let queue = VecDeque::new();
        Self {
            state: Mutex::new(State { queue, runners: 0, watched: false, taken: 0, seen: 0 }),
            runners_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job. What is to be started counts as started.
    pub(super) fn push(&self, job: J) -> Start {
        let mut state = self.lock();
        state.queue.push_back(job);
        let runner = state.runners == 0;
        state.runners += usize::from(runner);
        // A job that comes to a lane without a runner waits for nobody.
        let watch = !runner && !state.watched;
        if watch {
            (state.watched, state.seen) = (true, state.taken);
        }
        Start { runner, watch }
    }

    /// The next job of a runner. Without one the runner has left and must not call again.
    pub(super) fn take(&self) -> Option<J> {
        let mut state = self.lock();
        let job = state.queue.pop_front();
        match job {
            Some(_) => state.taken += 1,
            None => state.runners -= 1,
        }
        job
    }

    /// A look of the watcher.
    pub(super) fn look(&self) -> Look {
        let mut state = self.lock();
        if state.queue.is_empty() {
            state.watched = false;
            return Look::Over;
        }
        if state.seen != state.taken {
            state.seen = state.taken;
            return Look::Moving;
        }
        let room = self.runners_max - state.runners;
        let runners = state.runners.min(state.queue.len()).min(room);
        state.runners += runners;
        Look::Stalled { runners }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(lane: &Lane<i32>, jobs: i32) {
        for job in 0..jobs {
            lane.push(job);
        }
    }

    fn start(runner: bool, watch: bool) -> Start {
        Start { runner, watch }
    }

    #[test]
    fn one_runner_takes_everything_in_order_and_leaves() {
        let lane = Lane::new(8);
        assert_eq!(lane.push(1), start(true, false));
        assert_eq!(lane.push(2), start(false, true));
        assert_eq!(lane.push(3), start(false, false));
        assert_eq!([0; 4].map(|_| lane.take()), [Some(1), Some(2), Some(3), None]);
        assert_eq!(lane.push(4), start(true, false), "the runner had left");
    }

    #[test]
    fn a_job_that_comes_before_the_runner_leaves_is_taken_by_it() {
        let lane = Lane::new(8);
        lane.push(1);
        lane.take();
        assert_eq!(lane.push(2), start(false, true), "it may be busy for long");
        assert_eq!(lane.take(), Some(2));
    }

    #[test]
    fn a_lane_that_moves_gets_no_more_runners_and_an_empty_one_no_looks() {
        let lane = Lane::new(8);
        fill(&lane, 4);
        lane.take();
        assert_eq!(lane.look(), Look::Moving);
        assert_eq!([0; 3].map(|_| lane.take()), [1, 2, 3].map(Some));
        assert_eq!(lane.look(), Look::Over);
        assert_eq!(lane.push(4), start(false, true), "it is watched anew");
    }

    #[test]
    fn runners_double_while_nothing_moves_up_to_the_jobs_and_to_the_limit() {
        let lane = Lane::new(6);
        fill(&lane, 100);
        lane.take();
        assert_eq!(lane.look(), Look::Moving);
        let looks = [0; 5].map(|_| lane.look());
        assert_eq!(looks, [1, 2, 2, 0, 0].map(|runners| Look::Stalled { runners }));
        let lane = Lane::new(64);
        fill(&lane, 3);
        lane.take();
        lane.look();
        let looks = [0; 3].map(|_| lane.look());
        assert_eq!(looks, [1, 2, 2].map(|runners| Look::Stalled { runners }), "never more than jobs wait");
    }
}
