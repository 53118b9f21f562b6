//! Commands that may change who has access: what came, and what it would change.

use std::sync::Arc;

use lunkeep_common::scsi::Asc;
use lunkeep_common::scsi::opcode_table::ReservationRule;
use lunkeep_common::scsi::persistent::Key;

use super::super::nexus::Nexus;
use super::super::reservation::{PrOut, Record};
use super::super::step::{NexusId, TaskId};
use super::gate::Gate;
use super::{Followed, ReservationEvent};

/// A command that may change who has access.
#[derive(Debug)]
pub(in super::super) enum Request {
    /// PERSISTENT RESERVE OUT.
    Out(PrOut),
    /// RESERVE of SPC-2.
    Reserve,
    /// RELEASE of SPC-2.
    Release,
    /// What another gateway made of the record.
    Follow(Box<Followed>),
}

/// Where a command came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) task: TaskId,
    pub(super) id: NexusId,
    pub(super) nexus: Arc<Nexus>,
    pub(super) rule: ReservationRule,
}

/// What a command would change.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) next: Gate,
    pub(super) attentions: Vec<(Nexus, Asc)>,
    /// Whose commands are aborted.
    pub(super) abort: Vec<Nexus>,
    /// To be made durable.
    pub(super) persist: Option<Record>,
    pub(super) action: &'static str,
    pub(super) key: Key,
    pub(super) service_action_key: Key,
    pub(super) removed: Vec<(Nexus, Key)>,
}

impl Decided {
    /// RESERVE of SPC-2.
    pub(super) fn reserve(record: Arc<Record>, holder: NexusId) -> Self {
        Self {
            next: Gate { record, reserved: Some(holder) },
            attentions: Vec::new(),
            abort: Vec::new(),
            persist: None,
            action: "RESERVE of SPC-2",
            key: Key::default(),
            service_action_key: Key::default(),
            removed: Vec::new(),
        }
    }

    /// What another gateway decided. It keeps its record itself.
    pub(super) fn follow(followed: &Followed) -> Self {
        let Followed { event, attentions, abort } = followed.clone();
        Self {
            // With registrations there is no RESERVE of SPC-2, and it changes nothing else.
            next: Gate { record: event.record, reserved: None },
            attentions,
            abort,
            persist: None,
            action: event.action,
            key: event.key,
            service_action_key: event.service_action_key,
            removed: event.removed,
        }
    }

    /// For the audit trail.
    pub(super) fn event(&self, origin: &Origin, aborted: usize) -> ReservationEvent {
        ReservationEvent {
            action: self.action,
            nexus: Nexus::clone(&origin.nexus),
            key: self.key,
            service_action_key: self.service_action_key,
            removed: self.removed.clone(),
            aborted,
            record: self.next.record.clone(),
        }
    }
}
