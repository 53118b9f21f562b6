//! A SCSI logical unit as a state machine: commands in, steps out. No I/O, no clock, no iSCSI.

pub mod media;
pub mod step;

pub use media::{MediaOp, MediaReply};
pub use step::{Command, Completion, NexusId, Step, TaskId};
