//! The library's front door.

use lunkeep_common::login::initiator_side::InitiatorSession;
use lunkeep_common::name::IscsiName;
use lunkeep_common::text::address::{DiscoveredTarget, decode_listing};
use lunkeep_common::text::{Key, Pairs, TargetAddress};
use tokio::sync::{mpsc, watch};

use super::config::Config;
use super::direct::Direct;
use super::driver::Driver;
use super::error::Error;
use super::handle::{Session, SessionInfo};
use super::login::{CID, LoggedIn, log_in};
use crate::limits::TASKS_MAX;
use crate::session::FullFeature;

/// An initiator port that discovers targets and logs in to them.
#[derive(Clone, Debug)]
pub struct Initiator {
    config: Config,
}

impl Initiator {
    /// An initiator. Nothing is done before the first call.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config }
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
        Ok(self.direct(log_in(&self.config, portal, &kind).await?))
    }

    fn direct(&self, logged_in: LoggedIn) -> Direct {
        let LoggedIn { portal, established, receiver, sender } = logged_in;
        let machine = FullFeature::new(&established, CID, self.config.timing, super::direct::now());
        Direct { portal, machine, receiver, sender }
    }

    async fn open(&self, portal: &TargetAddress, kind: InitiatorSession) -> Result<Session, Error> {
        let logged_in = log_in(&self.config, portal, &kind).await?;
        let login = logged_in.established.clone();
        let direct = self.direct(logged_in);
        let info = SessionInfo {
            portal: direct.portal.clone(),
            target: match kind {
                InitiatorSession::Normal { target } => Some(target),
                InitiatorSession::Discovery => None,
            },
            alias: login.target_alias,
            portal_group: login.portal_group,
            tsih: login.tsih,
            parameters: direct.machine.parameters().clone(),
            connection: login.connection,
        };
        let (ask, asks) = mpsc::channel(TASKS_MAX);
        let (end, ended) = watch::channel(None);
        let driver = Driver { direct, asks, end };
        tokio::spawn(driver.run());
        Ok(Session::new(ask, ended, info))
    }
}
