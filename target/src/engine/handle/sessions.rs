//! Ending sessions in good order: the initiator is asked to log out, and when it does not, the session is dropped with a word
//! (RFC 7143 §11.9.1, events 1 and 3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunkeep_common::name::{IscsiName, Tsih};

use super::{ChangeError, ServerHandle};
use crate::engine::session_task::SessionHandle;

/// Time that a session has to end once it was told to, beyond the time its operations may take.
const END_MARGIN: Duration = Duration::from_secs(5);

/// Sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those of one target.
    Target(IscsiName),
    /// The one with this handle (TSIH).
    Session(Tsih),
}

/// How sessions ended that were asked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoggedOut {
    /// Sessions that ended within the time that their initiators were given.
    pub obeyed: usize,
    /// Sessions that were dropped after it.
    pub dropped: usize,
    /// Sessions that have not ended: operations on a medium hold them.
    pub remaining: usize,
}

/// A target that was taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedTarget {
    /// How its sessions ended.
    pub sessions: LoggedOut,
    /// Its LUNs whose units no other target exports: nothing uses their media any more.
    pub last: Vec<u16>,
}

impl ServerHandle {
    /// Asks initiators to log out within so many seconds (`None`: the time after which they may come back, Time2Wait), drops the
    /// sessions that do not, and waits until they have ended. They may log in again.
    pub async fn request_logout(&self, which: &Which, within: Option<u16>) -> LoggedOut {
        let sessions = match which {
            Which::Target(target) => self.sessions_of(target),
            Which::Session(tsih) => {
                self.shared.sessions.all().into_iter().filter(|session| session.tsih == *tsih).collect()
            }
        };
        self.end_sessions(sessions, within).await
    }

    /// Takes a target out: nobody can log in to it any more, its sessions end as with [`ServerHandle::request_logout`]. After this has
    /// returned nothing of them touches a medium.
    ///
    /// # Errors
    /// [`ChangeError`]; only after [`ChangeError::SessionsRemain`] something was changed.
    pub async fn remove_target(
        &self,
        name: &IscsiName,
        within: Option<u16>,
    ) -> Result<RemovedTarget, ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let (sessions, last) = {
            let mut topology = self.shared.topology_mut();
            let target = topology.targets.get(name).ok_or_else(|| ChangeError::NoTarget(name.clone()))?;
            for (number, unit) in &target.units {
                unit.lock().changeable().map_err(|refusal| ChangeError::Unit {
                    target: name.clone(),
                    number: *number,
                    refusal,
                })?;
            }
            let removed = topology.remove_target(name).ok_or_else(|| ChangeError::NoTarget(name.clone()))?;
            let elsewhere = |number: &u16| {
                let own = removed.units.get(number);
                own.is_some_and(|own| topology.units().any(|unit| Arc::ptr_eq(unit, own)))
            };
            let last = removed.units.keys().filter(|number| !elsewhere(number)).copied().collect();
            (self.sessions_of(name), last)
        };
        tracing::info!(target = %name, sessions = sessions.len(), "target removed");
        let sessions = self.end_sessions(sessions, within).await;
        if sessions.remaining > 0 {
            return Err(ChangeError::SessionsRemain { target: name.clone(), sessions: sessions.remaining });
        }
        Ok(RemovedTarget { sessions, last })
    }

    async fn end_sessions(&self, sessions: Vec<Arc<SessionHandle>>, within: Option<u16>) -> LoggedOut {
        let mut ended = LoggedOut::default();
        let begun = Instant::now();
        let deadlines: Vec<Instant> = sessions
            .iter()
            .map(|session| {
                let mut machine = session.lock();
                let seconds = within.unwrap_or_else(|| machine.time2wait());
                machine.request_logout(seconds);
                begun + Duration::from_secs(seconds.into())
            })
            .collect();
        sessions.iter().for_each(|session| session.wake());
        let mut rest = Vec::new();
        for (session, deadline) in sessions.into_iter().zip(deadlines) {
            if closed_by(&session, deadline).await {
                ended.obeyed += 1;
            } else {
                tracing::info!(initiator = %session.initiator, "the initiator did not log out in time: its session is dropped");
                session.cancel.cancel();
                rest.push(session);
            }
        }
        let deadline = Instant::now() + self.shared.settings.drain_timeout + END_MARGIN;
        for session in rest {
            if closed_by(&session, deadline).await {
                ended.dropped += 1;
            } else {
                ended.remaining += 1;
            }
        }
        ended
    }
}

async fn closed_by(session: &SessionHandle, deadline: Instant) -> bool {
    let mut closed = session.closed.subscribe();
    matches!(tokio::time::timeout_at(deadline.into(), closed.wait_for(|&closed| closed)).await, Ok(Ok(_)))
}
