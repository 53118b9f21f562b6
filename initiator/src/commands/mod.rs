//! Typed SCSI operations on a LUN: what to send and how to read what comes. Nothing here is sent; see `engine::LunHandle`.

mod copy;
mod error;
mod operations;
mod request;
mod reservation;
#[cfg(test)]
mod tests;

pub use copy::{
    ExtendedCopy, PopulateToken, ReceiveCopyOperatingParameters, ReceiveCopyStatus,
    ReceiveRodTokenInformation, WriteUsingToken,
};
pub use error::CommandError;
pub use operations::{
    Inquiry, Operation, Read, ReadCapacity10, ReadCapacity16, ReportLuns, SynchronizeCache, TestUnitReady,
    VitalProductData, Write,
};
pub use request::{Completion, Request, Transfer};
pub use reservation::{
    PersistentReadFullStatus, PersistentReadKeys, PersistentReadReservation, PersistentReportCapabilities,
    PersistentReserveOut, Release, Reserve,
};
