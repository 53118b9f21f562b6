//! What the operator changes about a unit while it serves: who sees it, through which ports, the shape of its medium and the medium
//! itself.
//!
//! Two kinds of change concern the medium:
//!
//! * What the medium holds stays the same ([`LogicalUnit::begin_change`] with [`MediumChange::Same`]): commands go on, and when it is
//!   over [`LogicalUnit::end_change`] tells the nexuses when its size is another.
//! * Another content ([`MediumChange::Loaded`], [`MediumChange::Replaced`]): a command of before must not meet the content of after.
//!   Those that wait for data are ended, those on the medium are waited for, new ones are refused until it is over; then every nexus is
//!   told that the medium may have changed.
//!
//! Nothing here touches the medium: the engine does, between the two calls.

use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::config::{InvalidShape, MediumShape};
use super::nexus::ExportPort;
use super::state::MediumState;
use super::step::{Completion, NexusId, TaskId};
use super::task_set::AbortedTask;
use super::unit::LogicalUnit;

/// What happens to a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediumChange {
    /// It holds the same as before: a snapshot, a larger size.
    Same,
    /// A medium is put in where there is none.
    Loaded,
    /// What it holds is thrown away for something older.
    Replaced {
        /// Also when a reservation is held.
        force: bool,
    },
}

/// Why a change cannot be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// FORMAT UNIT or SANITIZE.
    #[error("its medium is being erased (FORMAT UNIT or SANITIZE); wait until that has ended")]
    Erasing,
    /// Another change.
    #[error("another change of its medium is under way; wait until that has ended")]
    Changing,
    /// The medium is in.
    #[error("its medium is not ejected; eject it first")]
    NotEjected,
    /// The medium cannot be ejected and put in.
    #[error("its medium cannot be changed: it is not served as removable")]
    NotRemovable,
    /// PREVENT ALLOW MEDIUM REMOVAL.
    #[error("an initiator prevents the removal of its medium; force it, or have the initiator allow it")]
    Prevented,
    /// A reservation.
    #[error("an initiator has it reserved; force it, or have the initiator release it")]
    Reserved,
}

/// Commands that a change ended or waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// To be answered with what the change has for them: the medium never worked for them, or only reads.
    pub refused: Vec<AbortedTask>,
    /// On the medium. They end as they would have.
    pub finishing: Vec<TaskId>,
}

/// A change of the medium that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Exchange {
    #[default]
    None,
    /// Commands go on.
    Same,
    /// Commands that need the medium are refused with this.
    Other(Asc),
}

impl Exchange {
    pub(super) const fn refusal(self) -> Option<Sense> {
        match self {
            Self::None | Self::Same => None,
            Self::Other(asc) => Some(Sense::new(SenseKey::NotReady, asc)),
        }
    }
}

impl LogicalUnit {
    /// The unit leaves the view of these nexuses: their commands are answered as where there is no logical unit. When those that are
    /// `finishing` have ended, [`LogicalUnit::continue_withdrawal`] tells what is left.
    ///
    /// # Errors
    /// [`ChangeRefusal::Erasing`], [`ChangeRefusal::Changing`]; then nothing was changed.
    pub fn begin_withdrawal(&mut self, ids: &[NexusId]) -> Result<Interrupted, ChangeRefusal> {
        self.changeable()?;
        for id in ids {
            if let Some(attached) = self.nexuses.get_mut(id) {
                attached.leaving = true;
            }
        }
        let interrupted = self.tasks.withdraw(ids);
        Ok(self.interrupted_by(interrupted))
    }

    /// What was to be waited for has left the medium. When nothing changes it for these nexuses any more, they are detached.
    pub fn continue_withdrawal(&mut self, ids: &[NexusId]) -> Interrupted {
        let interrupted = self.tasks.withdraw(ids);
        let Interrupted { refused, finishing } = self.interrupted_by(interrupted);
        if finishing.is_empty() {
            // They have no tasks left that could be aborted.
            ids.iter().for_each(|&id| drop(self.detach(id)));
        }
        Interrupted { refused, finishing }
    }

    /// The answer to a command where there is no logical unit (any more).
    #[must_use]
    pub fn not_here() -> Completion {
        Completion::check_condition(Sense::illegal_request(Asc::LOGICAL_UNIT_NOT_SUPPORTED))
    }

    /// The LUNs that this nexus sees are others than before (SPC-4 §6.33).
    pub fn tell_inventory_changed(&mut self, id: NexusId) {
        if let Some(slot) = self.nexuses.get(&id).map(|attached| attached.slot) {
            self.attentions.establish(Asc::REPORTED_LUNS_CHANGED, |other| other == slot);
        }
    }

    /// The nexus asked another unit of the target for the inventory, and so knows it (SPC-4 §6.33).
    pub fn inventory_told(&mut self, id: NexusId) {
        if let Some(slot) = self.nexuses.get(&id).map(|attached| attached.slot) {
            self.attentions.clear(slot, Asc::REPORTED_LUNS_CHANGED);
        }
    }

    /// Other target ports lead to the unit than before. The Device Identification and SCSI Ports pages and the standard INQUIRY data
    /// tell of them, so every nexus is told.
    pub fn set_ports(&mut self, ports: Vec<ExportPort>) {
        if self.reservations.set_ports(ports) {
            self.establish_unit_attention(Asc::INQUIRY_DATA_CHANGED, None);
        }
    }

    /// Whether a nexus holds a reservation, of whichever kind.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.reservations.is_reserved()
    }

    /// Whether a medium is in.
    #[must_use]
    pub fn has_medium(&self) -> bool {
        self.state.medium != MediumState::Absent
    }

    /// The operator ejects the medium; what was written must be stable already. Every nexus learns it from its next command.
    ///
    /// # Errors
    /// [`ChangeRefusal`].
    pub fn eject(&mut self, force: bool) -> Result<(), ChangeRefusal> {
        self.changeable()?;
        if !self.config.removable {
            return Err(ChangeRefusal::NotRemovable);
        }
        if !force && !self.state.preventing.is_empty() {
            return Err(ChangeRefusal::Prevented);
        }
        self.state.preventing.clear();
        self.state.medium = MediumState::Absent;
        self.lose_content();
        Ok(())
    }

    /// A change of the medium begins. It ends with [`LogicalUnit::end_change`].
    ///
    /// # Errors
    /// [`ChangeRefusal`]; then nothing was changed.
    pub fn begin_change(&mut self, change: MediumChange) -> Result<Interrupted, ChangeRefusal> {
        self.changeable()?;
        let asc = match change {
            MediumChange::Same => {
                self.state.exchange = Exchange::Same;
                return Ok(Interrupted::default());
            }
            MediumChange::Loaded if !self.config.removable => return Err(ChangeRefusal::NotRemovable),
            MediumChange::Loaded if self.has_medium() => return Err(ChangeRefusal::NotEjected),
            MediumChange::Loaded => Asc::MEDIUM_NOT_PRESENT,
            MediumChange::Replaced { force: false } if self.is_reserved() => {
                return Err(ChangeRefusal::Reserved);
            }
            MediumChange::Replaced { .. } => Asc::BECOMING_READY,
        };
        self.state.exchange = Exchange::Other(asc);
        // Neither a copy nor a token may reach from the old content into the new one.
        self.end_copies_of(|_| true);
        self.tokens.changed(&(0..u64::MAX));
        self.lose_content();
        let interrupted = self.tasks.clear_medium();
        Ok(self.interrupted_by(interrupted))
    }

    /// Those that are gone hold nobody up any more.
    fn interrupted_by(&mut self, (refused, finishing): (Vec<AbortedTask>, Vec<TaskId>)) -> Interrupted {
        for task in
            refused.iter().filter(|task| !self.tasks.has(task.task)).map(|task| task.task).collect::<Vec<_>>()
        {
            self.left(task);
        }
        Interrupted { refused, finishing }
    }

    /// The answer to commands that a change ended.
    #[must_use]
    pub fn interrupted(&self) -> Completion {
        let refusal = self.state.exchange.refusal();
        let sense = refusal.unwrap_or(Sense::new(SenseKey::NotReady, Asc::BECOMING_READY));
        Completion { sense_format: self.sense_format(), ..Completion::check_condition(sense) }
    }

    /// The change is over, and the medium has this shape; `None`: nothing came of it, and all is as before.
    ///
    /// # Errors
    /// [`InvalidShape`] when no logical unit can have it; then the unit has no medium, or keeps the shape that it had.
    pub fn end_change(
        &mut self,
        change: MediumChange,
        shape: Option<MediumShape>,
    ) -> Result<(), InvalidShape> {
        self.state.exchange = Exchange::None;
        let Some(shape) = shape else { return Ok(()) };
        let old = self.config.medium;
        // An image that takes the place of its parent or child allocates in its own way. How it does that, and whether it could give
        // blocks up, stays what initiators were told: they are not interrupted for a hint.
        let shape = match change {
            MediumChange::Loaded => shape,
            MediumChange::Same | MediumChange::Replaced { .. } => MediumShape { size: shape.size, ..old },
        };
        let new = shape.checked()?;
        self.config.medium = new;
        // What a smaller medium does not hold any more.
        self.tokens.changed(&(new.size..u64::MAX));
        match change {
            MediumChange::Same if old.size != new.size => {
                self.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, None);
            }
            MediumChange::Same => {}
            MediumChange::Loaded | MediumChange::Replaced { .. } => {
                if change == MediumChange::Loaded {
                    self.state.medium = MediumState::Ready;
                }
                self.establish_unit_attention(Asc::MEDIUM_MAY_HAVE_CHANGED, None);
            }
        }
        // What the Block Limits and Logical Block Provisioning pages tell.
        let pages = |shape: &MediumShape| {
            (shape.logical_block, shape.physical_block, shape.allocation_unit, shape.thin)
        };
        if pages(&old) != pages(&new) {
            self.establish_unit_attention(Asc::INQUIRY_DATA_CHANGED, None);
        }
        Ok(())
    }

    /// What the medium held is gone: no token stands for it any more, and no copy goes on with what comes instead.
    pub(super) fn lose_content(&mut self) {
        self.tokens.changed(&(0..u64::MAX));
        self.end_copies_of(|_| true);
    }

    /// Whether a change may begin.
    ///
    /// # Errors
    /// [`ChangeRefusal::Erasing`], [`ChangeRefusal::Changing`].
    pub fn changeable(&self) -> Result<(), ChangeRefusal> {
        if self.state.erase.is_running() {
            Err(ChangeRefusal::Erasing)
        } else if self.state.exchange != Exchange::None {
            Err(ChangeRefusal::Changing)
        } else {
            Ok(())
        }
    }
}
