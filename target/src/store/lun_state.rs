//! The seams for more than one gateway: where a logical unit's reservations are kept, and who may serve it.
//!
//! One process with one state folder needs little of this. Several gateways in front of one medium keep the record where all of
//! them see it, and then a record may be replaced only by one who has seen the last.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::StoreError;
use crate::device::reservation::Record;
use crate::device::{AccessState, Followed};

/// Which record was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapTicket(pub u64);

/// A gateway, from when it joined until it leaves or is fenced: one that comes back is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What the other gateways are told of a record.
#[derive(Clone, Debug)]
pub struct Notice {
    /// To replace it with.
    pub ticket: SwapTicket,
    /// The record, and what follows from it.
    pub change: Followed,
}

/// To be called when the record of a [`Notice`] is in force and nothing that it shuts out is on the medium, and dropped when that cannot be
/// reached.
pub type Confirm = Box<dyn FnOnce() + Send>;

/// A gateway that is told what others made of the record.
pub trait Follower: Debug + Send + Sync {
    /// Puts a record in force. Returns at once.
    fn follow(&self, notice: Notice, confirm: Confirm);
}

/// Keeps the reservation record of one logical unit.
///
/// A change is made in this order: [`compare_and_swap`](Self::compare_and_swap), [`publish`](Self::publish), [`fence`](Self::fence) for each
/// member that was silent; only then is the command answered. A store that one process alone uses has nobody to tell, which is what
/// the methods do that are given here.
pub trait LunStateStore: Debug + Send + Sync {
    /// The record, and the ticket to replace it with. An empty one when none was ever kept.
    ///
    /// # Errors
    /// [`LunStateError::Damaged`] when there is a record that cannot be understood. That must never be taken for an empty one.
    fn load(&self) -> Result<(Record, SwapTicket), LunStateError>;

    /// Replaces the record that `expected` stands for, and returns when the new one survives a loss of power. Blocks.
    ///
    /// # Errors
    /// [`LunStateError::Replaced`] when someone else was faster, [`LunStateError::NotOwner`] when this process was fenced: then nothing was
    /// written. After any other error it is unknown which of the two records [`LunStateStore::load`] will find at the next start.
    fn compare_and_swap(&self, expected: SwapTicket, record: &Record) -> Result<SwapTicket, LunStateError>;

    /// From now on `follower` is told what others make of the record. A process joins before it serves.
    fn join(&self, _follower: Arc<dyn Follower>) {}

    /// Tells every other member of the record that `compare_and_swap` just wrote, and returns when each has confirmed it, or was silent for
    /// too long: those are given. They are the members by the record of who joined, not those who can be reached. Blocks.
    ///
    /// # Errors
    /// When it cannot be known who is a member, or this process is none.
    fn publish(&self, _notice: &Notice) -> Result<Vec<MemberId>, LunStateError> {
        Ok(Vec::new())
    }

    /// Returns when nothing of that member can reach the medium any more, whatever it does, and none of the other members can see the
    /// medium as it was before. Blocks.
    ///
    /// # Errors
    /// When that cannot be had. Then the command that needed it is not answered with GOOD.
    fn fence(&self, _member: MemberId) -> Result<(), LunStateError> {
        Ok(())
    }
}

/// Whether this process may serve a logical unit.
pub trait Ownership: Debug + Send + Sync {
    /// What it is now. Asked before each step of each command and again before each operation on the medium, so it must cost no
    /// more than the load of an atomic: who learns of a loss stores it there at once.
    fn access(&self) -> AccessState;
}

/// Why state of a logical unit cannot be loaded or kept.
#[derive(Debug, thiserror::Error)]
pub enum LunStateError {
    /// What was kept cannot be understood.
    #[error("{error}")]
    Damaged {
        /// What is wrong with it.
        error: StoreError,
        /// To replace it with.
        ticket: SwapTicket,
    },
    /// The host refused, or the file is not for this program.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record is not the one that was expected any more.
    #[error(
        "the reservation record was replaced by someone else (expected number {expected}, found {found})"
    )]
    Replaced {
        /// The ticket.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// Other processes serve the unit, and this one has no part in it.
    #[error("this process has no part in the LUN: {0}")]
    NotOwner(String),
}

/// The only process that there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysOwner;

impl Ownership for AlwaysOwner {
    fn access(&self) -> AccessState {
        AccessState::Active
    }
}

/// A record that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryState(Mutex<(Record, SwapTicket)>);

impl LunStateStore for MemoryState {
    fn load(&self) -> Result<(Record, SwapTicket), LunStateError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn compare_and_swap(&self, expected: SwapTicket, record: &Record) -> Result<SwapTicket, LunStateError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1 != expected {
            return Err(LunStateError::Replaced { expected: expected.0, found: kept.1.0 });
        }
        *kept = (record.clone(), SwapTicket(expected.0 + 1));
        Ok(kept.1)
    }
}
