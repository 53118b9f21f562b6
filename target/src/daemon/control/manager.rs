//! Does what is asked: opens and closes images, and has the engine serve them or not.
//!
//! One change runs at a time. The inventory has every image that is open; an image is in it before the engine serves it, and until the
//! engine has let go of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunkeep_common::name::{IscsiName, PortalGroupTag, Tsih};
use lunkeep_common::scsi::Lun as WireLun;

use super::{Refusal, media, model};
use crate::daemon::config::secret;
use crate::daemon::prepare::{OpenLun, Prepared, PreparedLun, PreparedTarget};
use crate::daemon::server_config::target_config;
use crate::daemon::spec::{
    Access, Authentication, CreateSpec, Credential, LunAddress, LunSpec, LunView, redirect_to,
};
use crate::device::MediumChange;
use crate::engine::config::{LunConfig, PortalGroups, Redirect};
use crate::engine::{ChangeError, LoggedOut, ParentFolders, ServerHandle, Which};
use crate::image::{Allocation, Disk as _, DiskError, Format};
use crate::store::StateLocation;

/// The running server, its images, and what is needed to open more.
#[derive(Debug)]
pub struct Manager {
    server: ServerHandle,
    portals: Vec<SocketAddr>,
    parents: Arc<ParentFolders>,
    state: StateLocation,
    /// Held by a change from its beginning to its end.
    changes: tokio::sync::Mutex<()>,
    inventory: Mutex<BTreeMap<IscsiName, PreparedTarget>>,
    /// The server has ended.
    closed: AtomicBool,
}

/// A LUN that was named, and is there.
struct Named {
    target: IscsiName,
    number: u16,
    lun: Arc<PreparedLun>,
}

impl Named {
    fn name(&self) -> String {
        LunAddress { target: self.target.clone(), number: self.number }.to_string()
    }

    fn changed(&self) -> model::LunChanged {
        let path = self.lun.image().spec.path.clone();
        model::LunChanged { lun: self.name(), path, size: self.lun.disk.geometry().size }
    }
}

impl Manager {
    /// Takes over what was prepared and is served by `server`, which listens on `portals`.
    #[must_use]
    pub fn new(
        server: ServerHandle,
        portals: Vec<SocketAddr>,
        prepared: Prepared,
        state: StateLocation,
    ) -> Self {
        let targets = prepared.targets.into_iter().map(|target| (target.name.clone(), target));
        Self {
            server,
            portals,
            parents: prepared.parents,
            state,
            changes: tokio::sync::Mutex::new(()),
            inventory: Mutex::new(targets.collect()),
            closed: AtomicBool::new(false),
        }
    }

    /// Closes every image. Answers with those that could not be closed. Blocks.
    #[must_use]
    pub fn close(&self) -> Vec<(PathBuf, DiskError)> {
        // A change that was begun comes to its end; none begins after it.
        let _one_at_a_time = self.changes.blocking_lock();
        self.closed.store(true, Ordering::SeqCst);
        let inventory = self.inventory();
        let mut closed = Vec::new();
        let mut failed = Vec::new();
        for lun in inventory.values().flat_map(|target| target.luns.values()) {
            if !closed.contains(&Arc::as_ptr(lun)) {
                closed.push(Arc::as_ptr(lun));
                let path = lun.image().spec.path.clone();
                failed.extend(lun.close().err().map(|error| (path, error)));
            }
        }
        failed
    }

    fn inventory(&self) -> MutexGuard<'_, BTreeMap<IscsiName, PreparedTarget>> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the change before, and keeps others waiting.
    async fn begin(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        let guard = self.changes.lock().await;
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refusal::conflict("the server ends"));
        }
        Ok(guard)
    }

    /// What is served now.
    pub(super) async fn status(self: Arc<Self>) -> model::Status {
        let running = self.server.targets();
        let inventory = self.inventory();
        let targets = running.into_iter().map(|target| {
            let own = inventory.get(&target.name);
            let luns = target.luns.iter().filter_map(|status| {
                let lun = own?.luns.get(&status.number)?;
                let (geometry, image) = (lun.disk.geometry(), lun.image());
                Some(model::Lun {
                    number: status.number,
                    path: image.spec.path.clone(),
                    format: image.format.name().to_owned(),
                    size: geometry.size,
                    block_size: geometry.logical_block,
                    chain: lun.disk.chain_depth(),
                    thin: geometry.thin,
                    read_only: geometry.read_only,
                    removable: lun.removable,
                    medium: status.medium,
                    reserved: status.reserved,
                    registrations: status.registrations,
                    tasks: status.tasks,
                    serial: lun.serial.clone(),
                    naa: lun.naa.to_string(),
                })
            });
            model::Target {
                name: target.name.to_string(),
                alias: target.alias.clone(),
                portal_groups: match &target.portal_groups {
                    PortalGroups::All => None,
                    PortalGroups::Only(groups) => Some(groups.iter().map(|group| group.0).collect()),
                },
                redirect: target.redirect.as_ref().map(|redirect| model::Redirect {
                    to: redirect.to.to_string(),
                    permanent: redirect.permanent,
                }),
                sessions: target.sessions,
                luns: luns.collect(),
            }
        });
        model::Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            portals: self.portals.iter().map(ToString::to_string).collect(),
            targets: targets.collect(),
        }
    }

    /// Who is logged in.
    pub(super) async fn sessions(self: Arc<Self>) -> model::Sessions {
        let sessions = self.server.sessions().into_iter().map(|session| model::Session {
            session: session.tsih.0,
            initiator: session.initiator.name.to_string(),
            isid: session.initiator.isid.to_string(),
            target: session.target.as_ref().map(|port| port.name.to_string()),
            portal_group: session.target.as_ref().map(|port| port.portal_group.0),
            connections: session.connections,
            tasks: session.tasks,
            luns: session.luns,
        });
        model::Sessions { sessions: sessions.collect() }
    }

    /// Asks initiators to log out.
    pub(super) async fn logout(
        self: Arc<Self>,
        request: model::Logout,
    ) -> Result<model::SessionsEnded, Refusal> {
        let which = match (request.session, &request.target) {
            (Some(tsih), None) => {
                if !self.server.sessions().iter().any(|session| session.tsih.0 == tsih) {
                    return Err(Refusal::absent(format!("there is no session {tsih}")));
                }
                Which::Session(Tsih(tsih))
            }
            (None, Some(target)) => Which::Target(self.target(Some(target))?),
            _ => return Err(Refusal::malformed("give exactly one of `session` and `target`")),
        };
        let ended = self.server.request_logout(&which, request.within).await;
        if ended.remaining > 0 {
            return Err(Refusal::failed(format!(
                "{} sessions have not ended: operations on a medium hold them",
                ended.remaining
            )));
        }
        Ok(sessions_ended(ended))
    }

    /// Serves one more target.
    pub(super) async fn add_target(
        self: Arc<Self>,
        request: model::AddTarget,
    ) -> Result<model::TargetChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let name = parsed::<IscsiName>(&request.name)?;
        if self.inventory().contains_key(&name) {
            return Err(Refusal::conflict(format!("target {name} is there already")));
        }
        let access = match request.initiators.as_slice() {
            [] => Access::Everyone,
            names => {
                let names = names.iter().map(|name| Ok((parsed(name)?, LunView::All)));
                Access::Only(names.collect::<Result<_, Refusal>>()?)
            }
        };
        let authentication = authentication(&request)?;
        let portal_groups = match request.portal_groups.as_slice() {
            [] => PortalGroups::All,
            groups => PortalGroups::Only(groups.iter().copied().map(PortalGroupTag).collect()),
        };
        let redirect = request.redirect.as_ref().map(redirect).transpose()?;
        let mut opened: BTreeMap<u16, OpenLun> = BTreeMap::new();
        for new in &request.luns {
            let number = free_number(new.number, |number| opened.contains_key(&number))?;
            if opened.contains_key(&number) {
                opened.into_values().for_each(OpenLun::give_up);
                return Err(Refusal::malformed(format!("LUN {number} is there twice")));
            }
            match self.open(&name, number, new, &opened).await {
                Ok(lun) => drop(opened.insert(number, lun)),
                Err(refusal) => {
                    opened.into_values().for_each(OpenLun::give_up);
                    return Err(refusal);
                }
            }
        }
        let luns = opened.iter().map(|(number, lun)| (*number, lun.lun().clone())).collect();
        let target = PreparedTarget {
            name: name.clone(),
            alias: request.alias.clone(),
            luns,
            authentication,
            access,
            portal_groups,
            redirect,
        };
        let added = match self.keep_ports(&name, &target.portal_groups, target.luns.values()) {
            Ok(()) => self.server.add_target(target_config(&target)).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = added {
            opened.into_values().for_each(OpenLun::give_up);
            return Err(refusal);
        }
        self.inventory().insert(name, target);
        Ok(model::TargetChanged { name: request.name, sessions: model::SessionsEnded::default() })
    }

    /// Sends initiators of a target elsewhere.
    pub(super) async fn redirect_target(
        self: Arc<Self>,
        request: model::RedirectTarget,
    ) -> Result<model::TargetRedirected, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let name = self.target(Some(&request.name))?;
        let redirect = request.redirect.as_ref().map(redirect).transpose()?;
        self.server.redirect(&name, redirect.clone()).await?;
        if let Some(target) = self.inventory().get_mut(&name) {
            target.redirect = redirect;
        }
        Ok(model::TargetRedirected { name: request.name, redirect: request.redirect })
    }

    /// Stops serving a target.
    pub(super) async fn remove_target(
        self: Arc<Self>,
        request: model::RemoveTarget,
    ) -> Result<model::TargetChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let name = self.target(Some(&request.name))?;
        let removed = self.server.remove_target(&name, request.within).await;
        let taken = match &removed {
            // Nobody can log in any more, but its media are in use: they are closed with the server.
            Err(ChangeError::SessionsRemain { .. }) | Err(_) => None,
            Ok(_) => self.inventory().remove(&name),
        };
        let removed = removed?;
        for (number, lun) in taken.into_iter().flat_map(|target| target.luns) {
            if removed.last.contains(&number) {
                close(lun).await?;
            }
        }
        Ok(model::TargetChanged { name: request.name, sessions: sessions_ended(removed.sessions) })
    }

    /// Serves one more LUN.
    pub(super) async fn add_lun(
        self: Arc<Self>,
        request: model::AddLun,
    ) -> Result<model::LunChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let target = self.target(request.target.as_deref())?;
        let taken: Vec<u16> =
            self.inventory().get(&target).map(|own| own.luns.keys().copied().collect()).unwrap_or_default();
        let number = free_number(request.lun.number, |number| taken.contains(&number))?;
        if taken.contains(&number) {
            return Err(Refusal::conflict(format!("target {target} has a LUN {number} already")));
        }
        let opened = self.open(&target, number, &request.lun, &BTreeMap::new()).await?;
        let lun = opened.lun().clone();
        let config = LunConfig { number, unit: lun.unit.clone() };
        let groups = self.inventory().get(&target).map(|own| own.portal_groups.clone()).unwrap_or_default();
        let added = match self.keep_ports(&target, &groups, [&lun]) {
            Ok(()) => self.server.add_lun(&target, config).await.map_err(Refusal::from),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = added {
            opened.give_up();
            return Err(refusal);
        }
        if let Some(own) = self.inventory().get_mut(&target) {
            own.luns.insert(number, lun.clone());
        }
        Ok(Named { target, number, lun }.changed())
    }

    /// Stops serving a LUN.
    pub(super) async fn remove_lun(
        self: Arc<Self>,
        request: model::LunName,
    ) -> Result<model::LunRemoved, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let named = self.named(&request.lun)?;
        let removed = self.server.remove_lun(&named.target, named.number).await;
        if matches!(removed, Ok(_) | Err(ChangeError::StillBusy { .. }))
            && let Some(target) = self.inventory().get_mut(&named.target)
        {
            target.luns.remove(&named.number);
        }
        let name = named.name();
        match removed {
            Ok(removed) => {
                if removed.last {
                    close(named.lun).await?;
                }
                Ok(model::LunRemoved { lun: name, closed: removed.last })
            }
            Err(error) => {
                if matches!(error, ChangeError::StillBusy { .. }) {
                    // Closing waits for the operations; whatever becomes of it, nobody sees the LUN any more.
                    tokio::spawn(close(named.lun));
                }
                Err(error.into())
            }
        }
    }

    /// Makes a LUN larger.
    pub(super) async fn grow_lun(
        self: Arc<Self>,
        request: model::GrowLun,
    ) -> Result<model::LunChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let (named, size) = (self.named(&request.lun)?, request.size);
        media::may_grow(&named.lun, size)?;
        let work = move |lun: &PreparedLun, parents: &Arc<ParentFolders>| media::grow(lun, parents, size);
        self.change(&named, MediumChange::Same, work).await?;
        Ok(named.changed())
    }

    /// Keeps the state of a LUN.
    pub(super) async fn snapshot_lun(
        self: Arc<Self>,
        request: model::SnapshotLun,
    ) -> Result<model::Snapshot, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let named = self.named(&request.lun)?;
        let base = media::may_snapshot(&named.lun, request.name.as_deref())?;
        let parent = base.clone();
        let work =
            move |lun: &PreparedLun, parents: &Arc<ParentFolders>| media::snapshot(lun, parents, &base);
        self.change(&named, MediumChange::Same, work).await?;
        let model::LunChanged { lun, path, .. } = named.changed();
        Ok(model::Snapshot { lun, path, parent })
    }

    /// Throws away what a LUN holds beyond the parent of its image.
    pub(super) async fn reset_lun(
        self: Arc<Self>,
        request: model::ForceLun,
    ) -> Result<model::LunChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let named = self.named(&request.lun)?;
        if !media::is_child(&named.lun) {
            let path = named.lun.image().spec.path.clone();
            return Err(Refusal::conflict(format!(
                "{} is no differencing disk: there is nothing that it could be reset to",
                path.display()
            )));
        }
        self.change(&named, MediumChange::Replaced { force: request.force }, media::reset).await?;
        Ok(named.changed())
    }

    /// Ejects the medium of a LUN.
    pub(super) async fn eject_medium(
        self: Arc<Self>,
        request: model::ForceLun,
    ) -> Result<model::LunChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let named = self.named(&request.lun)?;
        self.server.eject(&named.target, named.number, request.force).await?;
        Ok(named.changed())
    }

    /// Puts a medium into a LUN.
    pub(super) async fn insert_medium(
        self: Arc<Self>,
        request: model::InsertMedium,
    ) -> Result<model::LunChanged, Refusal> {
        let _one_at_a_time = self.begin().await?;
        let named = self.named(&request.lun)?;
        let other = match &request.path {
            None => None,
            Some(path) => {
                absolute(path)?;
                let path =
                    path.canonicalize().map_err(|e| Refusal::conflict(format!("{}: {e}", path.display())))?;
                Some(path).filter(|path| *path != named.lun.image().spec.path)
            }
        };
        let spec = match other {
            None => None,
            Some(path) => Some(LunSpec {
                path,
                format: format(request.format.as_deref())?,
                create: None,
                logical_block: block_size(request.block_size)?,
                read_only: request.read_only,
                removable: true,
                serial: None,
            }),
        };
        let work = move |lun: &PreparedLun, parents: &Arc<ParentFolders>| match spec {
            Some(spec) => media::insert(lun, parents, spec),
            None => Ok(()),
        };
        self.change(&named, MediumChange::Loaded, work).await?;
        Ok(named.changed())
    }

    async fn change(
        &self,
        named: &Named,
        change: MediumChange,
        work: impl FnOnce(&PreparedLun, &Arc<ParentFolders>) -> Result<(), String> + Send + 'static,
    ) -> Result<(), Refusal> {
        let (lun, parents) = (named.lun.clone(), self.parents.clone());
        let changed = self
            .server
            .change_medium(&named.target, named.number, change, move |_| work(&lun, &parents))
            .await;
        Ok(changed?)
    }

    /// The target of that name; without a name the only one.
    fn target(&self, name: Option<&str>) -> Result<IscsiName, Refusal> {
        let inventory = self.inventory();
        match name {
            Some(name) => {
                let name = parsed::<IscsiName>(name)?;
                let there = inventory.contains_key(&name);
                if there { Ok(name) } else { Err(Refusal::absent(format!("there is no target {name}"))) }
            }
            None => {
                let mut names = inventory.keys();
                match (names.next(), names.next()) {
                    (Some(only), None) => Ok(only.clone()),
                    _ => Err(Refusal::malformed(format!(
                        "{} targets are served: say which, as TARGET/NUMBER or with the target's name",
                        inventory.len()
                    ))),
                }
            }
        }
    }

    fn named(&self, text: &str) -> Result<Named, Refusal> {
        let (target, number) = match text.parse::<u16>() {
            Ok(number) => (self.target(None)?, number),
            Err(_) => {
                let address = parsed::<LunAddress>(text)?;
                (self.target(Some(address.target.as_str()))?, address.number)
            }
        };
        let lun = self.inventory().get(&target).and_then(|own| own.luns.get(&number)).cloned();
        let lun = lun.ok_or_else(|| Refusal::absent(format!("target {target} has no LUN {number}")))?;
        Ok(Named { target, number, lun })
    }

    /// Opens what is to be LUN `number` of `target`; beside what is served there are `others` that are about to be.
    async fn open(
        &self,
        target: &IscsiName,
        number: u16,
        new: &model::NewLun,
        others: &BTreeMap<u16, OpenLun>,
    ) -> Result<OpenLun, Refusal> {
        if number > WireLun::NUMBER_MAX {
            return Err(Refusal::malformed(format!("LUN numbers go from 0 to {}", WireLun::NUMBER_MAX)));
        }
        match (&new.path, &new.same_as) {
            (None, Some(same_as)) => {
                let named = self.named(same_as)?;
                let taken = self
                    .inventory()
                    .get(target)
                    .is_some_and(|own| own.luns.values().any(|lun| Arc::ptr_eq(lun, &named.lun)));
                if taken || others.values().any(|other| Arc::ptr_eq(other.lun(), &named.lun)) {
                    return Err(Refusal::conflict(format!(
                        "target {target} exports {same_as} already: an initiator would take it for two disks"
                    )));
                }
                Ok(OpenLun::Shared(named.lun))
            }
            (Some(path), None) => {
                let spec = lun_spec(path, new)?;
                let place = LunAddress { target: target.clone(), number }.to_string();
                let served: Vec<(String, Arc<PreparedLun>)> = {
                    let inventory = self.inventory();
                    let all = inventory.values().flat_map(|target| {
                        let name = &target.name;
                        target.luns.iter().map(move |(number, lun)| {
                            let address = LunAddress { target: name.clone(), number: *number };
                            (address.to_string(), lun.clone())
                        })
                    });
                    let soon =
                        others.iter().map(|(number, lun)| (format!("{target}/{number}"), lun.lun().clone()));
                    all.chain(soon).collect()
                };
                let (state, parents) = (self.state.clone(), self.parents.clone());
                let opening = tokio::task::spawn_blocking(move || {
                    OpenLun::open(&spec, &state, &parents, &place, &served)
                });
                let opened = opening.await.map_err(|error| Refusal::failed(error.to_string()))?;
                Ok(opened?)
            }
            _ => Err(Refusal::malformed("give exactly one of `path` and `same_as`")),
        }
    }

    /// Numbers the ports of a target before LUNs are served through them, and keeps the numbers with the LUNs.
    fn keep_ports<'a>(
        &self,
        target: &IscsiName,
        groups: &PortalGroups,
        luns: impl IntoIterator<Item = &'a Arc<PreparedLun>>,
    ) -> Result<(), Refusal> {
        for lun in luns {
            let known = lun.folder.port_numbers()?;
            let served = self.server.ports_in(target, groups);
            let all = self.server.number_ports(served.clone(), &known)?;
            let mut ports: std::collections::BTreeSet<_> =
                known.iter().map(|(port, _)| port.clone()).collect();
            ports.extend(served);
            let own = all.only(&ports);
            if own != known {
                lun.folder.keep_port_numbers(&own)?;
            }
        }
        Ok(())
    }
}

/// Closes the image of a LUN that is served no more.
async fn close(lun: Arc<PreparedLun>) -> Result<(), Refusal> {
    let path = lun.image().spec.path.clone();
    let closed = tokio::task::spawn_blocking(move || lun.close()).await;
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::failed(format!(
            "{}: it is served no more, but could not be closed: {error}; what was written last may be lost",
            path.display()
        ))
    };
    closed.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

fn sessions_ended(ended: LoggedOut) -> model::SessionsEnded {
    let LoggedOut { obeyed, dropped, remaining } = ended;
    model::SessionsEnded { obeyed, dropped, remaining }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error: T::Err| Refusal::malformed(error.to_string()))
}

fn format(text: Option<&str>) -> Result<Option<Format>, Refusal> {
    text.map(parsed).transpose()
}

fn block_size(bytes: Option<u32>) -> Result<Option<u32>, Refusal> {
    match bytes {
        None | Some(512 | 4096) => Ok(bytes),
        Some(other) => Err(Refusal::malformed(format!("a block size is 512 or 4096, not {other}"))),
    }
}

fn absolute(path: &Path) -> Result<(), Refusal> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(Refusal::malformed(format!("{} is not an absolute path", path.display())))
    }
}

fn lun_spec(path: &Path, new: &model::NewLun) -> Result<LunSpec, Refusal> {
    absolute(path)?;
    let allocation = if new.fixed { Allocation::Fixed } else { Allocation::Dynamic };
    if new.fixed && new.size.is_none() {
        return Err(Refusal::malformed("`fixed` says how an image is created, but there is no `size`"));
    }
    Ok(LunSpec {
        path: path.to_owned(),
        format: format(new.format.as_deref())?,
        create: new.size.map(|size| CreateSpec { size, allocation }),
        logical_block: block_size(new.block_size)?,
        read_only: new.read_only,
        removable: new.removable,
        serial: new.serial.as_deref().map(parsed).transpose()?,
    })
}

fn redirect(asked: &model::Redirect) -> Result<Redirect, Refusal> {
    let to = redirect_to(&asked.to).map_err(Refusal::malformed)?;
    Ok(Redirect { to, permanent: asked.permanent })
}

/// The number that was asked for, or the lowest that is free.
fn free_number(wanted: Option<u16>, taken: impl Fn(u16) -> bool) -> Result<u16, Refusal> {
    let free = || (0..=WireLun::NUMBER_MAX).find(|number| !taken(*number));
    wanted.or_else(free).ok_or_else(|| Refusal::conflict("the target has as many LUNs as it can have"))
}

fn authentication(request: &model::AddTarget) -> Result<Authentication, Refusal> {
    let users = match (&request.chap_user, &request.chap_secret_file) {
        (None, None) => Vec::new(),
        (Some(name), Some(path)) => {
            absolute(path)?;
            let secret = secret::from_file(path).map_err(Refusal::conflict)?;
            vec![Credential { name: name.clone(), secret }]
        }
        _ => return Err(Refusal::malformed("`chap_user` and `chap_secret_file` go together")),
    };
    Authentication::chap(users, None).map_err(Refusal::malformed)
}
