//! The library's front door.

use lunkeep_common::login::initiator_side::InitiatorSession;
use lunkeep_common::name::IscsiName;
use lunkeep_common::text::address::{DiscoveredTarget, decode_listing};
use lunkeep_common::text::{Key, Pairs, TargetAddress};
use tokio::sync::{mpsc, watch};

use super::config::Config;
use super::driver::Driver;
use super::error::Error;
use super::handle::{Session, SessionInfo};
use super::login::{CID, log_in};
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

    async fn open(&self, portal: &TargetAddress, kind: InitiatorSession) -> Result<Session, Error> {
        let logged_in = log_in(&self.config, portal, &kind).await?;
        let login = &logged_in.established;
        let machine =
            FullFeature::new(login, CID, self.config.timing, tokio::time::Instant::now().into_std());
        let info = SessionInfo {
            portal: logged_in.portal.clone(),
            target: match kind {
                InitiatorSession::Normal { target } => Some(target),
                InitiatorSession::Discovery => None,
            },
            alias: login.target_alias.clone(),
            portal_group: login.portal_group,
            tsih: login.tsih,
            parameters: machine.parameters().clone(),
            connection: login.connection.clone(),
        };
        let (ask, asks) = mpsc::channel(TASKS_MAX);
        let (end, ended) = watch::channel(None);
        let driver = Driver {
            portal: logged_in.portal,
            machine,
            receiver: logged_in.receiver,
            sender: logged_in.sender,
            asks,
            end,
        };
        tokio::spawn(driver.run());
        Ok(Session::new(ask, ended, info))
    }
}
