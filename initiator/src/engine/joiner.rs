//! Further connections of a session: at its beginning, and in place of lost ones.
//!
//! A session has as many connections as both sides agreed to (MaxConnections). One that is lost at error recovery level 2 is replaced
//! after Time2Wait; when none is left, that is tried until Time2Wait and Time2Retain are over and the target has forgotten the
//! session (RFC 7143 §7.5, §13.15, §13.16).

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunkeep_common::login::ConnectionState;
use lunkeep_common::login::initiator_side::{InitiatorLoginError, InitiatorSession};
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::login::LoginStatus;
use lunkeep_common::text::TargetAddress;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::config::Config;
use super::error::{Error, LostCause};
use super::login::{LoggedIn, Place, log_in};
use crate::limits::{REJOIN_PAUSE_MAX, REJOIN_PAUSE_MIN};
use crate::session::{FullFeature, SessionError};

/// Logs in connections for a session that is there.
pub(super) struct Joiner {
    config: Arc<Config>,
    portal: TargetAddress,
    session: InitiatorSession,
    wanted: usize,
    next_cid: u16,
    /// The CID of the connection that was lost last.
    lost_cid: Option<Cid>,
    /// The login that is under way.
    login: JoinSet<(Cid, Result<LoggedIn, Error>)>,
    /// When the next login may begin.
    at: Option<Instant>,
    /// How long to wait after the next failure.
    pause: Duration,
    /// When the target forgets the session; while no connection is left.
    until: Option<Instant>,
    /// Why the session has no connection.
    cause: Option<LostCause>,
}

impl Joiner {
    /// For a session whose first connection, with the CID `first`, is logged in at `portal`.
    pub(super) fn new(
        config: Arc<Config>,
        portal: TargetAddress,
        session: InitiatorSession,
        wanted: u16,
        first: Cid,
    ) -> Self {
        Self {
            config,
            portal,
            session,
            wanted: usize::from(wanted),
            next_cid: first.0,
            lost_cid: None,
            login: JoinSet::new(),
            at: None,
            pause: REJOIN_PAUSE_MIN,
            until: None,
            cause: None,
        }
    }

    /// Connections that the session should have.
    pub(super) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Logs in one more connection.
    pub(super) async fn join_now(&mut self, machine: &FullFeature) -> (Cid, Result<LoggedIn, Error>) {
        let place = self.place(machine, 1);
        let cid = place.cid;
        (cid, log_in(&self.config, &self.portal, &self.session, place).await)
    }

    /// A CID that nobody has. Where no connection is left it is that of the lost one, which the login logs out then
    /// (RFC 7143 §6.3.4).
    fn place(&mut self, machine: &FullFeature, links: usize) -> Place {
        let again = self.lost_cid.take().filter(|&cid| links == 0 && machine.is_free(cid));
        let cid = again.unwrap_or_else(|| {
            loop {
                self.next_cid = self.next_cid.wrapping_add(1);
                let cid = Cid(self.next_cid);
                if machine.is_free(cid) && machine.connection_state(cid) == ConnectionState::Free {
                    return cid;
                }
            }
        });
        Place { tsih: machine.tsih(), cid, cmd_sn: machine.cmd_sn() }
    }

    /// Why the session lost its last connection, for when there is no other.
    pub(super) fn note(&mut self, cause: LostCause) {
        self.cause = Some(cause);
    }

    /// A connection is gone.
    pub(super) fn lost(&mut self, machine: &FullFeature, now: Instant) {
        let parameters = machine.parameters();
        let wait = Duration::from_secs(parameters.default_time2wait.into());
        self.at = Some(self.at.map_or(now + wait, |at| at.max(now + wait)));
        self.lost_cid = machine.last_lost();
        if machine.connection_count() == 0 {
            let retain = Duration::from_secs(parameters.default_time2retain.into());
            self.until.get_or_insert(now + wait + retain);
        }
    }

    /// A connection was logged in.
    pub(super) fn succeeded(&mut self) {
        (self.at, self.until, self.cause) = (None, None, None);
        self.pause = REJOIN_PAUSE_MIN;
    }

    /// A login failed: it is tried again, unless the target says that there is nothing to come back to.
    ///
    /// # Errors
    /// [`LostCause::Rejoin`]; that the session is logged out, where that was asked for.
    pub(super) fn failed(
        &mut self,
        error: Error,
        machine: &FullFeature,
        now: Instant,
    ) -> Result<(), LostCause> {
        tracing::info!(portal = %self.portal, %error, "no connection in place of a lost one yet");
        let gone = matches!(
            &error,
            Error::Login {
                error: InitiatorLoginError::Refused { status: LoginStatus::SessionDoesNotExist },
                ..
            }
        );
        let cause = LostCause::Rejoin(Arc::new(error));
        if gone && machine.connection_count() == 0 {
            // The logout was carried out, and its answer was lost with the connection.
            let over = || LostCause::Session(SessionError::LoggedOut);
            return Err(if machine.is_logging_out() { over() } else { cause });
        }
        self.cause = Some(cause);
        self.at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(REJOIN_PAUSE_MAX);
        Ok(())
    }

    /// Whether a connection is missing that no login is under way for.
    fn is_short(&self, machine: &FullFeature, links: usize) -> bool {
        // A logout needs one connection to be answered on.
        let wanted = if machine.is_logging_out() { 1 } else { self.wanted };
        machine.keeps_tasks() && links < wanted && self.login.is_empty()
    }

    /// When [`Joiner::tend`] has something to do.
    pub(super) fn poll_time(&self, machine: &FullFeature, links: usize) -> Option<Instant> {
        let at = self.at.filter(|_| self.is_short(machine, links));
        at.into_iter().chain(self.until).min()
    }

    /// Begins the login of a connection that is missing, when its time has come.
    ///
    /// # Errors
    /// Why the session has no connection, once the target does not wait for one any more.
    pub(super) fn tend(
        &mut self,
        machine: &FullFeature,
        links: usize,
        now: Instant,
    ) -> Result<(), LostCause> {
        let closed = || LostCause::Session(SessionError::Closed);
        if links == 0 && self.until.is_some_and(|until| until <= now) {
            return Err(self.cause.take().unwrap_or_else(closed));
        }
        if self.is_short(machine, links) && self.at.is_none_or(|at| at <= now) {
            let place = self.place(machine, links);
            let (config, portal, session) = (self.config.clone(), self.portal.clone(), self.session.clone());
            let _: AbortHandle = self.login.spawn(async move {
                let cid = place.cid;
                (cid, log_in(&config, &portal, &session, place).await)
            });
        }
        Ok(())
    }

    /// Waits for the end of the login that is under way; for ever when there is none.
    pub(super) async fn joined(&mut self) -> (Cid, Result<LoggedIn, Error>) {
        match self.login.join_next().await {
            Some(joined) => joined.unwrap_or_else(|error: JoinError| {
                // It neither panics nor is it aborted while somebody waits here; the runtime may be going down.
                let cause = LostCause::Gone;
                tracing::debug!(%error, "a login is gone");
                (Cid(0), Err(Error::Lost { portal: self.portal.clone(), cause }))
            }),
            None => std::future::pending().await,
        }
    }
}
