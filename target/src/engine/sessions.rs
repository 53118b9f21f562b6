//! The sessions of a server: by nexus, by initiator port, by TSIH (RFC 7143 §4.4.3, §6.3.5).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunkeep_common::login::target_side::LoginRefusal;
use lunkeep_common::name::{InitiatorPort, TargetPort, Tsih};

use super::session_task::SessionHandle;
use crate::device::NexusId;

/// An I_T nexus by value: what survives a reconnect.
pub(super) type NexusKey = (InitiatorPort, TargetPort);

#[derive(Debug, Default)]
struct Tables {
    by_key: HashMap<NexusKey, Arc<SessionHandle>>,
    by_nexus: HashMap<NexusId, Arc<SessionHandle>>,
    by_tsih: HashMap<Tsih, NexusId>,
    last_tsih: u16,
}

/// All sessions of the server.
#[derive(Debug)]
pub(super) struct Sessions {
    tables: Mutex<Tables>,
    next_nexus: AtomicU64,
    max: usize,
}

/// What an attempt to add a session came to.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is in.
    Added(Arc<SessionHandle>),
    /// A session of the same nexus is in its place and must end first (RFC 7143 §6.3.5, session reinstatement).
    Occupied(Arc<SessionHandle>),
    /// No room.
    Full(LoginRefusal),
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self { tables: Mutex::default(), next_nexus: AtomicU64::new(1), max }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the session that `make` builds, unless its nexus has one already. `key` is `None` for discovery sessions, which
    /// replace nobody.
    pub(super) fn add(
        &self,
        key: Option<NexusKey>,
        make: impl FnOnce(NexusId, Tsih) -> SessionHandle,
    ) -> Admission {
        let mut tables = self.tables();
        if let Some(present) = key.as_ref().and_then(|key| tables.by_key.get(key)) {
            return Admission::Occupied(present.clone());
        }
        if tables.by_nexus.len() >= self.max {
            return Admission::Full(LoginRefusal::OutOfResources);
        }
        let Some(tsih) = tables.free_tsih() else { return Admission::Full(LoginRefusal::OutOfResources) };
        let nexus = NexusId(self.next_nexus.fetch_add(1, Ordering::Relaxed));
        let session = Arc::new(make(nexus, tsih));
        tables.by_tsih.insert(tsih, nexus);
        tables.by_nexus.insert(nexus, session.clone());
        if let Some(key) = key {
            tables.by_key.insert(key, session.clone());
        }
        Admission::Added(session)
    }

    pub(super) fn remove(&self, session: &SessionHandle) {
        let mut tables = self.tables();
        tables.by_nexus.remove(&session.nexus);
        tables.by_tsih.remove(&session.tsih);
        tables.by_key.retain(|_, present| present.nexus != session.nexus);
    }

    pub(super) fn of_nexus(&self, nexus: NexusId) -> Option<Arc<SessionHandle>> {
        self.tables().by_nexus.get(&nexus).cloned()
    }

    /// The session with that handle, if it is open for that nexus.
    pub(super) fn find(&self, key: &NexusKey, tsih: Tsih) -> Option<Arc<SessionHandle>> {
        self.tables().by_key.get(key).filter(|session| session.tsih == tsih).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<SessionHandle>> {
        self.tables().by_nexus.values().cloned().collect()
    }
}

impl Tables {
    /// A TSIH that is not in use; 0 means "new session" and is never given (RFC 7143 §11.12.6).
    fn free_tsih(&mut self) -> Option<Tsih> {
        for _ in 0..=u16::MAX {
            self.last_tsih = self.last_tsih.checked_add(1).unwrap_or(1);
            if !self.by_tsih.contains_key(&Tsih(self.last_tsih)) {
                return Some(Tsih(self.last_tsih));
            }
        }
        None
    }
}
