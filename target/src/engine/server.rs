//! The server: binds the portals, accepts connections, ends everything in order.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lunkeep_common::login::offer::{OfferError, ValidOffer};
use lunkeep_common::login::target_side::Authentication;
use lunkeep_common::name::IscsiName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{
    AccessList, PortalConfig, PortalGroups, Redirect, ServerConfig, Settings, TargetConfig, UnitConfig,
};
use super::connection;
use super::handle::ServerHandle;
use super::listener;
use super::logins::{LoginPlace, Logins};
use super::sessions::Sessions;
use super::topology::{self, Topology};
use super::unit::LunView;
use super::view::mapped;
use crate::device::InvalidShape;
use crate::limits::COPIES_MAX;
use crate::session::TaskNumbers;
use crate::store::{LunStateError, StoreError, TooManyPorts};

/// Time between two tries to accept after the host had no file or memory left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server. Dropping it without [`Server::shutdown`] leaves its tasks running.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What every connection and session knows.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) portals: Vec<BoundPortal>,
    /// What is served now.
    pub(super) topology: RwLock<Topology>,
    /// Held by a change of what is served, from its beginning to its end.
    pub(super) changes: tokio::sync::Mutex<()>,
    pub(super) discovery_authentication: Authentication,
    pub(super) settings: Settings,
    pub(super) offer: ValidOffer,
    pub(super) sessions: Sessions,
    pub(super) logins: Arc<Logins>,
    pub(super) numbers: TaskNumbers,
    /// One for each third-party copy that may run at a time.
    pub(super) copies: Arc<Semaphore>,
    /// Everything that runs for the server; shutdown waits for it.
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A portal and the address it was bound to.
#[derive(Clone, Debug)]
pub(super) struct BoundPortal {
    pub(super) config: PortalConfig,
    pub(super) bound: SocketAddr,
}

impl Shared {
    /// What is served now. A session may be locked when this is called, so none is locked while it is held.
    pub(super) fn topology(&self) -> RwLockReadGuard<'_, Topology> {
        self.topology.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to be changed.
    pub(super) fn topology_mut(&self) -> RwLockWriteGuard<'_, Topology> {
        self.topology.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target and its logical units. It is replaced as a whole when it changes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: IscsiName,
    pub(super) alias: Option<String>,
    pub(super) authentication: Authentication,
    pub(super) access: AccessList,
    pub(super) portal_groups: PortalGroups,
    pub(super) redirect: Option<Redirect>,
    pub(super) units: LunView,
}

impl Target {
    pub(super) fn new(config: TargetConfig, units: LunView) -> Self {
        let TargetConfig { name, alias, authentication, access, portal_groups, redirect, .. } = config;
        Self { name, alias, authentication, access, portal_groups, redirect, units }
    }

    /// Whether an initiator may log in.
    pub(super) fn admits(&self, initiator: &IscsiName) -> bool {
        match &self.access {
            AccessList::Everyone => true,
            AccessList::Only(known) => known.contains_key(initiator),
        }
    }

    /// The LUN under which it exports the unit that is made from `unit`.
    pub(super) fn number_of(&self, unit: &Arc<UnitConfig>) -> Option<u16> {
        let mut luns = self.units.iter();
        luns.find(|(_, other)| Arc::ptr_eq(&other.config, unit)).map(|(number, _)| *number)
    }

    /// The LUNs that an initiator sees.
    pub(super) fn view(&self, initiator: &IscsiName) -> LunView {
        match &self.access {
            AccessList::Everyone => self.units.clone(),
            AccessList::Only(known) => match known.get(initiator) {
                None => LunView::new(),
                Some(map) => mapped(&self.units, map.as_ref()),
            },
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No portal given.
    #[error("no portal to listen on")]
    NoPortal,
    /// A portal's address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the host said.
        source: io::Error,
    },
    /// Two targets have one name.
    #[error("target {name} is given twice")]
    DuplicateTarget {
        /// The name.
        name: IscsiName,
    },
    /// Two LUNs of a target have one number.
    #[error("target {name} has LUN {number} twice")]
    DuplicateLun {
        /// The target.
        name: IscsiName,
        /// The LUN.
        number: u16,
    },
    /// A target has one unit under two numbers: an initiator would take it for two.
    #[error("target {name} has one logical unit as LUN {first} and as LUN {second}")]
    UnitTwice {
        /// The target.
        name: IscsiName,
        /// One number.
        first: u16,
        /// The other.
        second: u16,
    },
    /// No portal is in any of the target's portal groups.
    #[error("target {name}: no portal is in any of its portal groups")]
    NoPortalOfTarget {
        /// The target.
        name: IscsiName,
    },
    /// The targets have too many ports.
    #[error(transparent)]
    Ports(#[from] TooManyPorts),
    /// No block device can have a LUN's shape.
    #[error("target {name}, LUN {number}: {source}")]
    Shape {
        /// The target.
        name: IscsiName,
        /// The LUN.
        number: u16,
        /// What is wrong with it.
        source: InvalidShape,
    },
    /// What is kept of a LUN's reservations cannot be read, or the LUN is not ours to serve.
    #[error("target {name}, LUN {number}: {source}")]
    Reservations {
        /// The target.
        name: IscsiName,
        /// The LUN.
        number: u16,
        /// What is wrong.
        source: LunStateError,
    },
    /// What a LUN keeps cannot be understood.
    #[error("target {name}, LUN {number}: {source}")]
    Parameters {
        /// The target.
        name: IscsiName,
        /// The LUN.
        number: u16,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The values to negotiate contradict each other.
    #[error("login settings: {0}")]
    Offer(#[from] OfferError),
}

/// How a shutdown went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Sessions that were open.
    pub sessions: usize,
    /// Whether everything ended within the time given. When false, operations on a medium may still be running.
    pub complete: bool,
}

impl Server {
    /// Binds every portal and begins to serve. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left bound.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let groups: BTreeSet<_> = config.portals.iter().map(|portal| portal.group).collect();
        let groups: Vec<_> = groups.into_iter().collect();
        let topology = topology::build(config.targets, groups, &config.settings, config.port_numbers)?;
        let offer = config.settings.offer.clone().validate()?;
        let listeners = bind_all(&config.portals)?;
        let mut portals = Vec::new();
        for (portal, listener) in config.portals.into_iter().zip(&listeners) {
            let bound = listener
                .local_addr()
                .map_err(|source| StartError::Bind { address: portal.listen, source })?;
            portals.push(BoundPortal { config: portal, bound });
        }
        let shared = Arc::new(Shared {
            portals,
            topology: RwLock::new(topology),
            changes: tokio::sync::Mutex::new(()),
            discovery_authentication: config.discovery_authentication,
            sessions: Sessions::new(config.settings.sessions_max),
            logins: Arc::new(Logins::new(config.settings.logins_max)),
            settings: config.settings,
            offer,
            numbers: TaskNumbers::default(),
            copies: Arc::new(Semaphore::new(COPIES_MAX.into())),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.topology().units().for_each(|unit| unit.join(&shared));
        for (index, listener) in listeners.into_iter().enumerate() {
            shared.tasks.spawn(accept(shared.clone(), index, listener));
        }
        Ok(Self { shared })
    }

    /// A handle to look at the server and to change what it serves.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(self.shared.clone())
    }

    /// The addresses that were bound, in the order of the portals.
    #[must_use]
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.shared.portals.iter().map(|portal| portal.bound).collect()
    }

    /// Takes no more connections, tells the initiators, ends their sessions and waits until no operation touches a medium.
    pub async fn shutdown(self, grace: Duration) -> ShutdownReport {
        let sessions = self.shared.sessions.all().len();
        self.shared.stop.cancel();
        self.shared.topology().units().for_each(|unit| unit.lock().stop_erase());
        self.shared.tasks.close();
        let complete = tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_ok();
        ShutdownReport { sessions, complete }
    }
}

fn bind_all(portals: &[PortalConfig]) -> Result<Vec<TcpListener>, StartError> {
    if portals.is_empty() {
        return Err(StartError::NoPortal);
    }
    let bind = |portal: &PortalConfig| {
        listener::bind(portal.listen).map_err(|source| StartError::Bind { address: portal.listen, source })
    };
    portals.iter().map(bind).collect()
}

async fn accept(shared: Arc<Shared>, portal: usize, listener: TcpListener) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                // Here, so that the order of places is the order of arrival.
                let place = shared.logins.enter();
                shared.tasks.spawn(serve(shared.clone(), portal, stream, peer, place));
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, portal: usize, stream: TcpStream, peer: SocketAddr, place: LoginPlace) {
    tracing::debug!(%peer, "connection accepted");
    match connection::serve(&shared, portal, stream, peer, place).await {
        Ok(()) => tracing::debug!(%peer, "connection closed"),
        Err(error) => tracing::warn!(%peer, %error, "connection ended"),
    }
}
