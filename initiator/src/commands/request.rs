//! A SCSI command as the session takes it, and what comes of it.

use bytes::Bytes;
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::pdu::scsi_response::Residual;
use lunkeep_common::scsi::{Sense, Status};

/// Data that goes with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// None.
    None,
    /// At most so many bytes from the target.
    In(u32),
    /// These bytes to the target.
    Out(Bytes),
}

/// A command for one logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The CDB; shorter ones are followed by zeroes (RFC 7143 §11.3.5).
    pub cdb: [u8; 16],
    /// Its data.
    pub transfer: Transfer,
    /// Task attribute.
    pub attribute: TaskAttribute,
}

impl Request {
    /// A SIMPLE command.
    #[must_use]
    pub const fn new(cdb: [u8; 16], transfer: Transfer) -> Self {
        Self { cdb, transfer, attribute: TaskAttribute::Simple }
    }
}

/// How a command ended that the target processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// SCSI status.
    pub status: Status,
    /// Sense data as sent; empty unless there is any.
    pub sense: Bytes,
    /// Data from the target, complete up to its length.
    pub data: Bytes,
    /// Difference to the length that was expected.
    pub residual: Residual,
}

impl Completion {
    /// The sense data, if there is any that can be read.
    #[must_use]
    pub fn decoded_sense(&self) -> Option<Sense> {
        Sense::decode(&self.sense)
    }
}
