//! The library's front door.

use std::sync::Arc;

use lunkeep_common::login::initiator_side::{EstablishedLogin, InitiatorSession};
use lunkeep_common::name::IscsiName;
use lunkeep_common::text::address::{DiscoveredTarget, decode_listing};
use lunkeep_common::text::{Key, Pairs, TargetAddress};
use tokio::sync::{mpsc, watch};

use super::config::Config;
use super::direct::Direct;
use super::driver::Driver;
use super::error::Error;
use super::handle::{Session, SessionInfo};
use super::joiner::Joiner;
use super::login::{Place, log_in};
use crate::limits::{CONNECTIONS_MAX, TASKS_MAX};
use crate::session::FullFeature;

/// An initiator port that discovers targets and logs in to them.
#[derive(Clone, Debug)]
pub struct Initiator {
    config: Arc<Config>,
}

impl Initiator {
    /// An initiator. Nothing is done before the first call.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Asks a portal for all targets that this initiator may see (SendTargets=All in a discovery session).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn discover(&self, portal: &TargetAddress) -> Result<Vec<DiscoveredTarget>, Error> {
        let session = self.open(portal, InitiatorSession::Discovery).await?;
        let mut pairs = Pairs::new();
        pairs.push(Key::SendTargets, "All");
        let answer = session.text(pairs).await?;
        let portal = session.info().portal.clone();
        session.logout().await?;
        decode_listing(&answer).map_err(|error| Error::Listing { portal, error })
    }

    /// Logs in to a target. Must be called within a tokio runtime, which then drives the session.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn login(&self, portal: &TargetAddress, target: &IscsiName) -> Result<Session, Error> {
        self.open(portal, InitiatorSession::Normal { target: target.clone() }).await
    }

    /// Logs in to a target for a caller that drives the session itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn login_direct(&self, portal: &TargetAddress, target: &IscsiName) -> Result<Direct, Error> {
        let kind = InitiatorSession::Normal { target: target.clone() };
        Ok(self.direct(portal, kind).await?.0)
    }

    /// A session with all connections that were agreed on, and what the first login agreed to.
    async fn direct(
        &self,
        portal: &TargetAddress,
        kind: InitiatorSession,
    ) -> Result<(Direct, EstablishedLogin), Error> {
        let first = log_in(&self.config, portal, &kind, Place::FIRST).await?;
        let login = first.established.clone();
        let machine = FullFeature::new(&login, first.cid, self.config.timing, super::direct::now());
        let wanted = match kind {
            InitiatorSession::Normal { .. } => machine.parameters().max_connections.min(CONNECTIONS_MAX),
            InitiatorSession::Discovery => 1,
        };
        let joiner = Joiner::new(self.config.clone(), first.portal.clone(), kind, wanted, first.cid);
        let mut direct = Direct::new(first, machine, joiner);
        direct.connect_all().await?;
        Ok((direct, login))
    }

    async fn open(&self, portal: &TargetAddress, kind: InitiatorSession) -> Result<Session, Error> {
        let (direct, login) = self.direct(portal, kind.clone()).await?;
        let info = SessionInfo {
            portal: direct.portal().clone(),
            target: match kind {
                InitiatorSession::Normal { target } => Some(target),
                InitiatorSession::Discovery => None,
            },
            alias: login.target_alias,
            portal_group: login.portal_group,
            tsih: login.tsih,
            parameters: direct.machine().parameters().clone(),
            connection: login.connection,
        };
        let (ask, asks) = mpsc::channel(TASKS_MAX);
        let (end, ended) = watch::channel(None);
        let driver = Driver { direct, asks, end };
        tokio::spawn(driver.run());
        Ok(Session::new(ask, ended, info))
    }
}
