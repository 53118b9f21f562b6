//! A SCSI logical unit as a state machine: commands in, steps out. No I/O, no clock, no iSCSI.
//!
//! ```text
//! begin ──> Step::DataOut(n) ──data_out──> Step::Media(op) ──media_done──> Step::Done
//!       └─> Step::Media(op) ──media_done──> Step::Media(op) ...       └──> Step::Aborted
//!       └─> Step::Done
//! ```
//!
//! What the operator changes while the unit serves (who sees it, its ports, its medium) is in `online`.
//!
//! A command that changes reservations is a [`Step::Record`], after a [`Step::Fence`] when it takes access away: [`fence`] has the order,
//! [`reservation`] the meaning.
//!
//! [`LogicalUnit`] holds the task set ([`task_set`]) and the unit attentions; `commands` has one file per command family, each
//! a function from a parsed CDB to what comes next. [`absent`] answers where there is no logical unit.
//!
//! Invariants:
//! * A task has exactly one of: a step that the engine must act on, or an end. After `Done` or `Aborted` it is unknown here.
//! * Nothing reaches the medium of a task that was aborted, and one that is on the medium drains before it is reported over.
//! * Every offset and length in a [`MediaOp`] lies within the medium and is a multiple of the logical block.
//!
//! After every call the engine asks [`LogicalUnit::resume`] for tasks whose turn has come (`task_order`).
//!
//! Deliberately not here: overlapped commands and residuals (the transport's).

pub mod absent;
mod access_state;
mod attention;
mod changes;
mod commands;
pub mod config;
pub mod copy;
mod erase;
pub mod fence;
pub mod media;
pub mod nexus;
mod online;
mod parameters;
pub mod reservation;
mod state;
pub mod step;
mod task_order;
pub mod task_set;
mod unit;

use lunkeep_common::scsi::Cdb;
use lunkeep_common::scsi::report_luns::SelectReport;

pub use access_state::AccessState;
pub use config::{CommandLimits, Identity, InvalidShape, LogicalUnitConfig, MediumShape, TaskLimits};
pub use copy::{Copy, CopyPass, CopyTotals, Leg};
pub use erase::{Erase, OverwritePattern, Progress};
pub use fence::{Fence, FenceFailure, Followed, Recorded, ReservationEvent, ReservationSetup, Resumed};
pub use media::{MediaFailure, MediaOp, MediaReply};
pub use nexus::{ExportPort, Nexus};
pub use online::{ChangeRefusal, Interrupted, MediumChange};
pub use parameters::{EraseKind, ModeParameters, SavedParameters};
pub use step::{Command, Completion, NexusId, Step, TaskId};
pub use task_set::{Aborted, AbortedTask};
pub use unit::{LogicalUnit, Reset};

/// Whether a CDB asks for the inventory of logical units, in a form that is answered (REPORT LUNS, SPC-4 §6.33).
#[must_use]
pub fn reports_luns(cdb: &[u8]) -> bool {
    let select = match cdb.first() {
        Some(0xa0) => Cdb::parse(cdb),
        _ => return false,
    };
    matches!(select, Ok((_, Cdb::ReportLuns { select_report, .. })) if SelectReport::from_byte(select_report).is_some())
}

#[cfg(test)]
mod tests;
