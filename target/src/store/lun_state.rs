//! The seams for more than one gateway: where a logical unit's reservations are kept, and who may serve it.
//!
//! One process with one state folder needs little of this. Several gateways in front of one medium keep the record where all of
//! them see it, and then a record may be replaced only by one who has seen the last.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;
use crate::device::reservation::Record;

/// Which record was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapTicket(pub u64);

/// Keeps the reservation record of one logical unit.
pub trait LunStateStore: Debug + Send + Sync {
    /// The record, and the ticket to replace it with. An empty one when none was ever kept.
    ///
    /// # Errors
    /// [`LunStateError::Damaged`] when there is a record that cannot be understood. That must never be taken for an empty one.
    fn load(&self) -> Result<(Record, SwapTicket), LunStateError>;

    /// Replaces the record that `expected` stands for, and returns when the new one survives a loss of power. Blocks.
    ///
    /// # Errors
    /// [`LunStateError::Replaced`] when someone else was faster. After any other error it is unknown which of the two records
    /// [`LunStateStore::load`] will find at the next start.
    fn compare_and_swap(&self, expected: SwapTicket, record: &Record) -> Result<SwapTicket, LunStateError>;
}

/// Whether this process may serve a logical unit.
pub trait Ownership: Debug + Send + Sync {
    /// Returns when this process is known to be an owner now. Asked before the unit is served, and before each change of its
    /// record.
    ///
    /// # Errors
    /// [`LunStateError::NotOwner`].
    fn confirm(&self) -> Result<(), LunStateError>;
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
    /// Another process serves the unit.
    #[error("this process does not own the LUN: {0}")]
    NotOwner(String),
}

/// The only process that there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysOwner;

impl Ownership for AlwaysOwner {
    fn confirm(&self) -> Result<(), LunStateError> {
        Ok(())
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
