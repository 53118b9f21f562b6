//! What happens when nothing comes.

use std::time::Instant;

use lunkeep_common::name::Cid;
use lunkeep_common::pdu::InitiatorTaskTag;

use super::exchange::{Exchange, Kind};
use super::link::Link;
use super::task::AbortCause;
use super::{FullFeature, Phase, SessionError};
use crate::limits::CONNECTIONS_GIVEN_UP_MAX;

impl FullFeature {
    /// When [`FullFeature::handle_time`] must be called at the latest; `None` when the session has ended.
    #[must_use]
    pub fn poll_time(&self) -> Option<Instant> {
        if self.phase == Phase::Ended {
            return None;
        }
        let tasks = self.tasks.values().filter(|task| !self.waits_for_abort(task)).map(|task| task.deadline);
        let exchanges = self
            .exchanges
            .values()
            .filter(|exchange| self.is_asked(exchange))
            .map(|exchange| exchange.deadline);
        let silence = self.timing.silence;
        let silent = self.links.iter().filter(|link| !self.is_pinging(link.cid));
        let pings = silent.map(|link| link.last_heard + silence);
        tasks.chain(exchanges).chain(pings).chain(self.recover_at).chain(self.next_removal()).min()
    }

    /// Ends what has run out of time.
    ///
    /// # Errors
    /// [`SessionError::Unanswered`]: the session is over.
    pub fn handle_time(&mut self, now: Instant) -> Result<(), SessionError> {
        self.now = now;
        if self.phase == Phase::Ended {
            return Ok(());
        }
        self.give_up_unanswered(now)?;
        self.remove_lost(now);
        let mut late: Vec<InitiatorTaskTag> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.deadline <= now && !self.waits_for_abort(task))
            .map(|(&tag, _)| tag)
            .collect();
        late.sort();
        for tag in late {
            self.abort_task(tag, AbortCause::Time, now);
        }
        let silence = self.timing.silence;
        let silent = |link: &&Link| link.last_heard + silence <= now && !self.is_pinging(link.cid);
        let silent: Vec<_> = self.links.iter().filter(silent).map(|link| link.cid).collect();
        silent.into_iter().for_each(|cid| self.ping(cid, now));
        self.recover(now);
        Ok(())
    }

    /// Whether somebody can answer: while the session has no connection, nobody can.
    fn is_asked(&self, exchange: &Exchange) -> bool {
        self.link(exchange.cid).is_some()
    }

    /// Nothing answered in time. Where tasks are kept it is the connection that is given up, and what was asked is asked on another.
    fn give_up_unanswered(&mut self, now: Instant) -> Result<(), SessionError> {
        let limit = self.timing.answer;
        loop {
            let overdue = |exchange: &&mut Exchange| exchange.deadline <= now;
            let links = &self.links;
            let mut asked = self
                .exchanges
                .values_mut()
                .filter(|exchange| links.iter().any(|link| link.cid == exchange.cid));
            let Some(exchange) = asked.find(overdue) else { return Ok(()) };
            let (what, cid) = (exchange.kind.name(), exchange.cid);
            exchange.given_up += 1;
            if exchange.given_up > CONNECTIONS_GIVEN_UP_MAX || !self.keeps_tasks() {
                return Err(SessionError::Unanswered { what, limit });
            }
            self.lose_connection(cid, now)?;
        }
    }

    fn waits_for_abort(&self, task: &super::Task) -> bool {
        task.abort == Some(AbortCause::Time)
    }

    pub(super) fn is_pinging(&self, cid: Cid) -> bool {
        self.exchanges.values().any(|exchange| exchange.cid == cid && matches!(exchange.kind, Kind::Ping))
    }
}
