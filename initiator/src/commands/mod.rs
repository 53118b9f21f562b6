//! Typed SCSI operations on a LUN.

mod request;

pub use request::{Completion, Request, Transfer};
