//! What changes about a logical unit while it serves: medium, mode parameters, clock, counters.

use std::collections::BTreeSet;

use lunkeep_common::scsi::opcode_table::{Lookup, MediumAccess, Operation, OperationInfo, lookup};
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::config::LogicalUnitConfig;
use super::erase::EraseState;
use super::media::{MediaFailure, MediaOp};
use super::online::Exchange;
use super::parameters::{EraseKind, ModeParameters, SavedParameters};
use super::step::NexusId;
use crate::limits::COPY_CHUNK;

/// Whether the medium can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediumState {
    Ready,
    /// START STOP UNIT stopped it.
    Stopped,
    /// It was ejected.
    Absent,
}

/// Where the timestamp comes from (SPC-4 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The host.
    Host,
    /// SET TIMESTAMP: milliseconds to add to the host's clock, modulo 2^48.
    Set(u64),
}

/// Counters of LOG SENSE.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) verified_bytes: u64,
    pub(super) read_errors: u64,
    pub(super) write_errors: u64,
}

/// A change that a command makes once it has succeeded.
#[derive(Debug)]
pub(super) enum Change {
    Medium(MediumState),
    Prevent(bool),
    Mode { values: ModeParameters, saved: bool },
    Identifying(SavedParameters),
    Clock(Clock),
    EraseFailureLeft(SavedParameters),
}

/// All that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) medium: MediumState,
    /// The operator changes the medium.
    pub(super) exchange: Exchange,
    /// Nexuses that prevent the removal of the medium.
    pub(super) preventing: BTreeSet<NexusId>,
    pub(super) mode: ModeParameters,
    pub(super) default_mode: ModeParameters,
    pub(super) saved: SavedParameters,
    /// What must survive a restart is being written: a second change must not overtake it.
    pub(super) saving: bool,
    pub(super) clock: Clock,
    pub(super) erase: EraseState,
    pub(super) counters: Counters,
}

impl State {
    pub(super) fn new(config: &LogicalUnitConfig) -> Self {
        let default_mode = ModeParameters {
            write_cache: true,
            descriptor_sense: false,
            software_write_protect: false,
            task_aborted_status: config.task_aborted_status,
        };
        let saved = config.saved.clone().unwrap_or_else(|| SavedParameters::new(default_mode));
        Self {
            medium: MediumState::Ready,
            exchange: Exchange::None,
            preventing: BTreeSet::new(),
            mode: saved.mode,
            default_mode,
            erase: saved.erasing.map_or(EraseState::Idle, EraseState::Failed),
            saved,
            saving: false,
            clock: Clock::Host,
            counters: Counters::default(),
        }
    }

    /// A reset of the logical unit (SAM-5 §6.3.3): saved mode parameters are in force again, removal is allowed.
    pub(super) fn reset(&mut self, hard: bool) {
        self.mode = self.saved.mode;
        self.preventing.clear();
        if hard {
            self.clock = Clock::Host;
        }
    }

    /// Why such a command cannot be processed now.
    pub(super) fn refusal(&self, config: &LogicalUnitConfig, info: &OperationInfo) -> Option<Sense> {
        let while_erasing = passes_erasing(info.operation);
        let after_failure = while_erasing || passes_failed_erase(info.operation, &self.erase);
        let passes = if self.erase.is_running() { while_erasing } else { after_failure };
        if let Some(sense) = self.erase.refusal().filter(|_| !passes) {
            return Some(sense);
        }
        let needs_medium = info.access != MediumAccess::None || info.operation == Operation::TestUnitReady;
        if let Some(sense) = self.exchange.refusal()
            && (needs_medium || needs_capacity(info.operation))
        {
            return Some(sense);
        }
        match self.medium {
            MediumState::Absent if needs_medium || needs_capacity(info.operation) => {
                return Some(Sense::new(SenseKey::NotReady, Asc::MEDIUM_NOT_PRESENT));
            }
            MediumState::Stopped if needs_medium => {
                return Some(Sense::new(SenseKey::NotReady, Asc::INITIALIZING_COMMAND_REQUIRED));
            }
            _ => {}
        }
        let changes = matches!(info.access, MediumAccess::Write | MediumAccess::Erase);
        let protection = self.write_protection(config).filter(|_| changes)?;
        Some(Sense::new(SenseKey::DataProtect, protection))
    }

    /// The medium is being erased: then every command but those that are named ends with that, whatever else is wrong with it (SBC-3
    /// §4.11.2). For a CDB with a field that is refused.
    pub(super) fn refusal_while_erasing(&self, cdb: &[u8]) -> Option<Sense> {
        let service_action = cdb.get(1)? & 0x1f;
        let Lookup::Found(info) = lookup(*cdb.first()?, service_action) else { return None };
        let refused = self.erase.is_running() && !passes_erasing(info.operation);
        self.erase.refusal().filter(|_| refused)
    }

    /// Why the medium takes no writes.
    fn write_protection(&self, config: &LogicalUnitConfig) -> Option<Asc> {
        if config.medium.read_only {
            Some(Asc::WRITE_PROTECTED)
        } else {
            self.mode.software_write_protect.then_some(Asc::SOFTWARE_WRITE_PROTECTED)
        }
    }

    /// Counts an operation that begins.
    pub(super) fn count(&mut self, op: &MediaOp) {
        let counters = &mut self.counters;
        let add = |counter: &mut u64, bytes: u64| *counter = counter.saturating_add(bytes);
        match op {
            MediaOp::Read { len, .. } => add(&mut counters.read_bytes, (*len).into()),
            MediaOp::ReadForCopy { len, .. } => add(&mut counters.read_bytes, (*len).min(COPY_CHUNK.into())),
            MediaOp::Verify { len, .. } => add(&mut counters.verified_bytes, *len),
            MediaOp::Write { data, .. }
            | MediaOp::WriteAndVerify { data, .. }
            | MediaOp::OrWrite { data, .. }
            | MediaOp::CompareAndWrite { write: data, .. } => {
                add(&mut counters.written_bytes, super::task_set::total_len(data));
            }
            MediaOp::WriteSame { len, .. } => add(&mut counters.written_bytes, *len),
            MediaOp::Unmap { .. }
            | MediaOp::Flush
            | MediaOp::Prefetch { .. }
            | MediaOp::BlockStatus { .. }
            | MediaOp::Save(_) => {}
        }
    }

    /// Counts an operation that failed.
    pub(super) fn count_failure(&mut self, failure: MediaFailure) {
        match failure {
            MediaFailure::Read | MediaFailure::Damaged => self.counters.read_errors += 1,
            MediaFailure::Write | MediaFailure::NoSpace => self.counters.write_errors += 1,
            MediaFailure::ReadOnly | MediaFailure::Save | MediaFailure::NotServed(_) => {}
        }
    }
}

/// Commands that tell of a medium that must be there, stopped or not.
fn needs_capacity(operation: Operation) -> bool {
    matches!(operation, Operation::ReadCapacity10 | Operation::ReadCapacity16)
}

/// Commands that are processed while the medium is being erased (SBC-3 §4.11.2, §4.32.2).
fn passes_erasing(operation: Operation) -> bool {
    use Operation::{
        Inquiry, LogSense, ModeSense6, ModeSense10, ReadCapacity10, ReadCapacity16, ReportLuns,
        ReportSupportedOperationCodes, ReportSupportedTaskManagementFunctions, RequestSense,
    };
    matches!(
        operation,
        Inquiry
            | LogSense
            | ModeSense6
            | ModeSense10
            | ReadCapacity10
            | ReadCapacity16
            | ReportLuns
            | ReportSupportedOperationCodes
            | ReportSupportedTaskManagementFunctions
            | RequestSense
    )
}

/// Commands that end a failed erasure, or do not look at the medium (SBC-3 §4.11.4).
fn passes_failed_erase(operation: Operation, erase: &EraseState) -> bool {
    use Operation::{FormatUnit, SanitizeBlockErase, SanitizeExitFailureMode, SanitizeOverwrite};
    let sanitize = matches!(operation, SanitizeBlockErase | SanitizeOverwrite | SanitizeExitFailureMode);
    let format = operation == FormatUnit && matches!(erase, EraseState::Failed(EraseKind::Format));
    let reservation = matches!(operation.info().opcode, 0x16 | 0x17 | 0x56 | 0x57 | 0x5e | 0x5f);
    sanitize || format || reservation
}
