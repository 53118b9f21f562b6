//! A handle of the running server: looks at what is served, and changes it.
//!
//! One change runs at a time. What a session sees changes in one step, under the lock of the topology, so that a login comes before a
//! change or after it. Everything that waits (for operations on a medium, for sessions to end) waits after that step.
//!
//! Not here: images and their files. Who calls opens and closes them.

mod sessions;
mod status;

use std::sync::Arc;
use std::time::Duration;

use lunkeep_common::name::{IscsiName, TargetPort};

use super::config::{LunConfig, PortalGroups, Redirect, TargetConfig};
use super::reservations;
use super::server::{Shared, StartError, Target};
use super::session_task::SessionHandle;
use super::task_management::drop_task;
use super::unit::{FenceWaits, Finishing, Unit};
use crate::device::{
    AbortedTask, ChangeRefusal, Completion, InvalidShape, LogicalUnit, MediumChange, MediumShape, NexusId,
    Resumed,
};
use crate::image::{Disk, Geometry};
use crate::store::{PortNumbers, TooManyPorts};

pub use sessions::{LoggedOut, RemovedTarget, Which};
pub use status::{LunStatus, SessionStatus, TargetStatus};

/// Looks at a running server and changes what it serves. Cheap to clone; it keeps the server's state alive, not its sockets.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    pub(super) shared: Arc<Shared>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such target.
    #[error("there is no target {0}")]
    NoTarget(IscsiName),
    /// There is no such LUN.
    #[error("target {0} has no LUN {1}")]
    NoLun(IscsiName, u16),
    /// The configuration does not fit what is served.
    #[error(transparent)]
    Refused(#[from] StartError),
    /// The logical unit is in a state in which it cannot be changed.
    #[error("target {target}, LUN {number}: {refusal}")]
    Unit {
        /// The target.
        target: IscsiName,
        /// The LUN.
        number: u16,
        /// Why.
        refusal: ChangeRefusal,
    },
    /// Operations on the medium take too long. The LUN is out of every view already; nothing else is.
    #[error(
        "target {target}, LUN {number}: no initiator sees it any more, but operations on its medium have not ended within {waited:?}; \
         its image stays open until they do"
    )]
    StillBusy {
        /// The target.
        target: IscsiName,
        /// The LUN.
        number: u16,
        /// How long.
        waited: Duration,
    },
    /// Operations on the medium take too long. Nothing was changed.
    #[error(
        "target {target}, LUN {number}: operations on its medium have not ended within {waited:?}; nothing was changed"
    )]
    Busy {
        /// The target.
        target: IscsiName,
        /// The LUN.
        number: u16,
        /// How long.
        waited: Duration,
    },
    /// Sessions of a removed target have not ended. Nobody can log in to it any more; nothing else was changed.
    #[error(
        "target {target}: nobody can log in any more, but {sessions} sessions have not ended: operations on a medium hold them"
    )]
    SessionsRemain {
        /// The target.
        target: IscsiName,
        /// How many.
        sessions: usize,
    },
    /// The medium has a shape that no logical unit can have.
    #[error("target {target}, LUN {number}: {source}")]
    Shape {
        /// The target.
        target: IscsiName,
        /// The LUN.
        number: u16,
        /// What is wrong with it.
        source: InvalidShape,
    },
    /// The work on the image failed. The LUN is as it was, unless the text says otherwise.
    #[error("target {target}, LUN {number}: {reason}")]
    Work {
        /// The target.
        target: IscsiName,
        /// The LUN.
        number: u16,
        /// Why.
        reason: String,
    },
}

/// A LUN that was taken out of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedLun {
    /// No other target exports its unit: nothing uses the medium any more.
    pub last: bool,
}

/// The shape that a logical unit has with a disk.
#[must_use]
pub fn shape_of(geometry: Geometry) -> MediumShape {
    MediumShape {
        size: geometry.size,
        logical_block: geometry.logical_block,
        physical_block: geometry.physical_block,
        allocation_unit: geometry.allocation_unit,
        thin: geometry.thin,
        read_only: geometry.read_only,
    }
}

impl ServerHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Gives ports their relative target port identifiers, those of `known` where they are free, and tells the numbers of all ports. To
    /// be called, and the answer kept, before a unit that was served earlier is added.
    ///
    /// # Errors
    /// [`TooManyPorts`].
    pub fn number_ports(
        &self,
        ports: Vec<TargetPort>,
        known: &PortNumbers,
    ) -> Result<PortNumbers, TooManyPorts> {
        self.shared.topology_mut().number(ports, known).cloned()
    }

    /// The target ports that a target, served or not, has in these portal groups.
    #[must_use]
    pub fn ports_in(&self, target: &IscsiName, groups: &PortalGroups) -> Vec<TargetPort> {
        self.shared.topology().ports_in(target, groups)
    }

    /// Sends initiators that log in to a target elsewhere, or with `None` takes them in again. Sessions that are there stay:
    /// [`ServerHandle::request_logout`] ends them.
    ///
    /// # Errors
    /// [`ChangeError::NoTarget`].
    pub async fn redirect(&self, name: &IscsiName, redirect: Option<Redirect>) -> Result<(), ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let mut topology = self.shared.topology_mut();
        let target = topology.targets.get_mut(name).ok_or_else(|| ChangeError::NoTarget(name.clone()))?;
        *target = Arc::new(Target { redirect, ..Target::clone(target) });
        Ok(())
    }

    /// Serves one more target.
    ///
    /// # Errors
    /// [`ChangeError::Refused`].
    pub async fn add_target(&self, config: TargetConfig) -> Result<(), ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let name = config.name.clone();
        self.shared.topology_mut().add_target(config, &self.shared.settings)?;
        self.shared.topology().units().for_each(|unit| unit.join(&self.shared));
        tracing::info!(target = %name, "target added");
        Ok(())
    }

    /// Adds a LUN to a target. Sessions see it at once, and are told.
    ///
    /// # Errors
    /// [`ChangeError::NoTarget`], [`ChangeError::Refused`].
    pub async fn add_lun(&self, target: &IscsiName, lun: LunConfig) -> Result<(), ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let mut topology = self.shared.topology_mut();
        let served = topology.targets.get(target).ok_or_else(|| ChangeError::NoTarget(target.clone()))?;
        let served = served.clone();
        topology.add_lun(&served, &lun, &self.shared.settings)?;
        topology.units().for_each(|unit| unit.join(&self.shared));
        for session in self.sessions_of(target) {
            let Some(port) = &session.target else { continue };
            let nexus = topology.nexus(&session.initiator, port);
            if let Ok(target) = topology.target(target) {
                session.view.change(session.nexus, &nexus, target.view(&session.initiator.name));
            }
        }
        tracing::info!(%target, lun = lun.number, "LUN added");
        Ok(())
    }

    /// Takes a LUN out of a target: at once out of every view, so that commands are answered as where there is no logical unit. Commands
    /// that are changing the medium end as they would have; after this has returned none of them touches it any more.
    ///
    /// # Errors
    /// [`ChangeError`]; only after [`ChangeError::StillBusy`] something was changed.
    pub async fn remove_lun(&self, target: &IscsiName, number: u16) -> Result<RemovedLun, ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let (unit, last, sessions, finishing) = {
            let mut topology = self.shared.topology_mut();
            let (served, unit) = find(topology.targets.get(target), target, number)?;
            let sessions: Vec<_> = self
                .sessions_of(target)
                .into_iter()
                .filter(|session| session.view.now().all().any(|other| Arc::ptr_eq(other, &unit)))
                .collect();
            let ids: Vec<NexusId> = sessions.iter().map(|session| session.nexus).collect();
            let finishing = unit
                .interrupt(&self.shared, |unit| unit.begin_withdrawal(&ids))
                .map_err(|refusal| ChangeError::Unit { target: target.clone(), number, refusal })?;
            let last = !topology.remove_lun(&served, number);
            for session in &sessions {
                let Some(port) = &session.target else { continue };
                let nexus = topology.nexus(&session.initiator, port);
                if let Ok(target) = topology.target(target) {
                    session.view.change(session.nexus, &nexus, target.view(&session.initiator.name));
                }
            }
            (unit, last, sessions, finishing)
        };
        tracing::info!(%target, lun = number, "LUN removed");
        let left = tokio::spawn(leave(self.shared.clone(), unit, sessions, finishing));
        let waited = self.shared.settings.drain_timeout;
        match tokio::time::timeout(waited, left).await {
            Ok(_) => Ok(RemovedLun { last }),
            Err(_) => Err(ChangeError::StillBusy { target: target.clone(), number, waited }),
        }
    }

    /// Changes the medium of a LUN: prepares the logical unit as `change` needs it, runs `work`, which exchanges or changes the disk
    /// in place, on a thread that may block, and tells the initiators what is different.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change_medium<T: Send + 'static>(
        &self,
        target: &IscsiName,
        number: u16,
        change: MediumChange,
        work: impl FnOnce(&dyn Disk) -> Result<T, String> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let (_, unit) = find(self.shared.topology().targets.get(target), target, number)?;
        let Finishing { refused, finishing, resumed, answer } = unit
            .interrupt(&self.shared, |unit| unit.begin_change(change))
            .map_err(|refusal| ChangeError::Unit { target: target.clone(), number, refusal })?;
        // However this ends, also when nobody waits for it any more, the unit does not stay in between.
        let mut guard = ChangeGuard { unit: unit.clone(), change, over: false };
        answer_all(&self.shared, &refused, &answer);
        resume_all(&self.shared, resumed);
        let waited = self.shared.settings.drain_timeout;
        let finished = async {
            for left in finishing {
                // An error means that the unit is gone, and the task with it.
                let _ = left.await;
            }
        };
        if tokio::time::timeout(waited, finished).await.is_err() {
            return Err(ChangeError::Busy { target: target.clone(), number, waited });
        }
        let failed = |reason: String| ChangeError::Work { target: target.clone(), number, reason };
        // Runs to its end whatever becomes of the caller, and only then is the change over.
        let worked = self.shared.tasks.spawn_blocking(move || {
            let result = work(&*unit.disk);
            let shape = result.is_ok().then(|| shape_of(unit.disk.geometry()));
            let told = guard.end(shape);
            (result, told)
        });
        let (result, told) = worked.await.map_err(|error| failed(error.to_string()))?;
        let result = result.map_err(failed)?;
        told.map_err(|source| ChangeError::Shape { target: target.clone(), number, source })?;
        Ok(result)
    }

    /// The operator ejects the medium of a removable LUN, after what was written has been made stable.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn eject(&self, target: &IscsiName, number: u16, force: bool) -> Result<(), ChangeError> {
        let _one_at_a_time = self.shared.changes.lock().await;
        let (_, unit) = find(self.shared.topology().targets.get(target), target, number)?;
        let refused = |refusal| ChangeError::Unit { target: target.clone(), number, refusal };
        let failed = |reason: String| ChangeError::Work { target: target.clone(), number, reason };
        unit.lock().eject(force).map_err(refused)?;
        let flushing = unit.disk.clone();
        let read_only = flushing.geometry().read_only;
        if !read_only {
            // Writes that began before are made stable by whoever wants that of them.
            let flushed = self.shared.tasks.spawn_blocking(move || flushing.flush()).await;
            flushed.map_err(|error| failed(error.to_string()))?.map_err(|error| {
                failed(format!("it is ejected, but not all is on stable storage: {error}"))
            })?;
        }
        Ok(())
    }

    /// The disk that a LUN is served from.
    ///
    /// # Errors
    /// [`ChangeError::NoTarget`], [`ChangeError::NoLun`].
    pub fn disk(&self, target: &IscsiName, number: u16) -> Result<Arc<dyn Disk>, ChangeError> {
        let (_, unit) = find(self.shared.topology().targets.get(target), target, number)?;
        Ok(unit.disk.clone())
    }

    pub(super) fn sessions_of(&self, target: &IscsiName) -> Vec<Arc<SessionHandle>> {
        let own =
            |session: &Arc<SessionHandle>| session.target.as_ref().is_some_and(|port| port.name == *target);
        self.shared.sessions.all().into_iter().filter(own).collect()
    }
}

fn find(
    served: Option<&Arc<Target>>,
    target: &IscsiName,
    number: u16,
) -> Result<(Arc<Target>, Arc<Unit>), ChangeError> {
    let served = served.ok_or_else(|| ChangeError::NoTarget(target.clone()))?;
    let unit = served.units.get(&number).ok_or_else(|| ChangeError::NoLun(target.clone(), number))?;
    Ok((served.clone(), unit.clone()))
}

/// Waits until nothing of these sessions is on a unit that was taken out of their views.
async fn leave(
    shared: Arc<Shared>,
    unit: Arc<Unit>,
    sessions: Vec<Arc<SessionHandle>>,
    mut interrupted: Finishing,
) {
    let ids: Vec<NexusId> = sessions.iter().map(|session| session.nexus).collect();
    loop {
        answer_all(&shared, &interrupted.refused, &LogicalUnit::not_here());
        resume_all(&shared, interrupted.resumed);
        if interrupted.finishing.is_empty() {
            break;
        }
        for left in interrupted.finishing {
            // An error means that the unit is gone, and the task with it.
            let _ = left.await;
        }
        match unit.interrupt(&shared, |unit| Ok(unit.continue_withdrawal(&ids))) {
            Ok(next) => interrupted = next,
            Err(_) => break,
        }
    }
    // Where nothing had to be waited for, the nexuses are on it still.
    if let Ok(last) = unit.interrupt(&shared, |unit| Ok(unit.continue_withdrawal(&ids))) {
        answer_all(&shared, &last.refused, &LogicalUnit::not_here());
        resume_all(&shared, last.resumed);
    }
    sessions.iter().for_each(|session| session.view.left(&unit));
}

fn answer_all(shared: &Shared, tasks: &[AbortedTask], answer: &Completion) {
    for task in tasks {
        match shared.sessions.of_nexus(task.nexus) {
            Some(session) => session.complete(task.task, answer.clone()),
            None => drop_task(shared, task),
        }
    }
}

fn resume_all(shared: &Arc<Shared>, resumed: Vec<(Arc<Unit>, Resumed, FenceWaits)>) {
    for (unit, resumed, waits) in resumed {
        reservations::resume(shared, &unit, resumed, waits);
    }
}

/// Ends a change of a medium when it is dropped.
struct ChangeGuard {
    unit: Arc<Unit>,
    change: MediumChange,
    over: bool,
}

impl ChangeGuard {
    fn end(&mut self, shape: Option<MediumShape>) -> Result<(), InvalidShape> {
        self.over = true;
        self.unit.lock().end_change(self.change, shape)
    }
}

impl Drop for ChangeGuard {
    fn drop(&mut self) {
        if !self.over {
            // Without a shape there is none that could be wrong.
            let _ = self.end(None);
        }
    }
}
