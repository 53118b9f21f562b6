//! One session under load: keeps its queue depth and notes how long each command took.

use std::collections::HashMap;
use std::time::Instant;

use lunkeep_common::scsi::{Lun, Status};

use super::plan::{Direction, Share};
use super::tally::Tally;
use crate::cli::failure::{Exit, Failure};
use crate::commands::{CommandError, Completion, Operation, TestUnitReady};
use crate::engine::Direct;
use crate::limits::UNIT_ATTENTIONS_MAX;
use crate::session::{Event, TaskFailure, Ticket};

/// When commands count: those that end in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

/// A session whose unit attentions are over.
pub(super) struct Worker {
    direct: Direct,
    lun: Lun,
    share: Share,
    under_way: HashMap<Ticket, (Instant, Direction)>,
}

impl Worker {
    /// Clears what a new session is told first (power on, SPC-4 §5.14).
    pub(super) async fn start(mut direct: Direct, lun: Lun, share: Share) -> Result<Self, Failure> {
        let request = TestUnitReady.request().map_err(|error| Failure::local(error.to_string()))?;
        for _ in 0..UNIT_ATTENTIONS_MAX {
            direct.submit(lun, request.clone())?;
            if finished(next(&mut direct).await?, TestUnitReady.name())?.status == Status::Good {
                let under_way = HashMap::with_capacity(share.depth);
                return Ok(Self { direct, lun, share, under_way });
            }
        }
        Err(Failure { exit: Exit::Device, message: format!("LUN {lun} does not become ready") })
    }

    /// Puts load on until the window is over, then logs out.
    pub(super) async fn run(mut self, window: Window) -> Result<Tally, Failure> {
        let mut tally = Tally::new(self.share.len());
        let mut now = Instant::now();
        let mut leaving = false;
        loop {
            if now >= window.end && !leaving {
                leaving = true;
                self.direct.logout();
            }
            while !leaving && self.under_way.len() < self.share.depth {
                let (direction, place) = self.share.next();
                let request = self.share.request(direction, place);
                let request = request.map_err(|error| Failure::local(error.to_string()))?;
                let ticket = self.direct.submit(self.lun, request)?;
                self.under_way.insert(ticket, (now, direction));
            }
            self.direct.turn().await?;
            // One look at the clock for all that came together: after the receive, and before the next commands leave.
            now = Instant::now();
            while let Some(event) = self.direct.poll_event() {
                match event {
                    Event::Command { ticket, result } => {
                        let Some((begun, direction)) = self.under_way.remove(&ticket) else { continue };
                        self.check(direction, result)?;
                        if (window.start..window.end).contains(&now) {
                            tally.count(direction, now.saturating_duration_since(begun));
                        }
                    }
                    Event::LoggedOut => return Ok(tally),
                    _ => {}
                }
            }
        }
    }

    /// A command that failed would be counted as a fast one.
    fn check(&self, direction: Direction, result: Result<Completion, TaskFailure>) -> Result<(), Failure> {
        let (name, expected) = match direction {
            Direction::Read => ("READ(16)", self.share.len()),
            Direction::Write => ("WRITE(16)", 0),
        };
        let completion = finished(result, name)?;
        let device = |message| Err(Failure { exit: Exit::Device, message });
        if completion.status != Status::Good {
            let (status, sense) = (completion.status, completion.decoded_sense());
            let error = CommandError::Status { operation: name, status, sense };
            return device(format!("LUN {}: {error}", self.lun));
        }
        if completion.data.len() as u64 != expected {
            let len = completion.data.len();
            return device(format!("LUN {}: {name} brought {len} bytes, not {expected}", self.lun));
        }
        Ok(())
    }
}

/// The result of the only command under way.
async fn next(direct: &mut Direct) -> Result<Result<Completion, TaskFailure>, Failure> {
    loop {
        if let Some(Event::Command { result, .. }) = direct.poll_event() {
            return Ok(result);
        }
        direct.turn().await?;
    }
}

fn finished(result: Result<Completion, TaskFailure>, name: &str) -> Result<Completion, Failure> {
    result.map_err(|failure| Failure { exit: Exit::Device, message: format!("{name}: {failure}") })
}
