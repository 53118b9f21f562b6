//! What happens when nothing comes.

use std::time::Instant;

use lunkeep_common::name::Cid;
use lunkeep_common::pdu::InitiatorTaskTag;

use super::exchange::Kind;
use super::link::Link;
use super::task::AbortCause;
use super::{FullFeature, Phase, SessionError};

impl FullFeature {
    /// When [`FullFeature::handle_time`] must be called at the latest; `None` when the session has ended.
    #[must_use]
    pub fn poll_time(&self) -> Option<Instant> {
        if self.phase == Phase::Ended {
            return None;
        }
        let tasks = self.tasks.values().filter(|task| !self.waits_for_abort(task)).map(|task| task.deadline);
        let exchanges = self.exchanges.values().map(|exchange| exchange.deadline);
        let silence = self.timing.silence;
        let silent = self.links.iter().filter(|link| !self.is_pinging(link.cid));
        let pings = silent.map(|link| link.last_heard + silence);
        tasks.chain(exchanges).chain(pings).chain(self.recover_at).min()
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
        if let Some(exchange) = self.exchanges.values().find(|exchange| exchange.deadline <= now) {
            let (what, limit) = (exchange.kind.name(), self.timing.answer);
            return Err(SessionError::Unanswered { what, limit });
        }
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

    fn waits_for_abort(&self, task: &super::Task) -> bool {
        task.abort == Some(AbortCause::Time)
    }

    pub(super) fn is_pinging(&self, cid: Cid) -> bool {
        self.exchanges.values().any(|exchange| exchange.cid == cid && matches!(exchange.kind, Kind::Ping))
    }
}
