//! Which task may run before which: SIMPLE, ORDERED and HEAD OF QUEUE (SAM-5 §8.6).
//!
//! There is one task set for all nexuses (TST 000b of the control mode page):
//!
//! * a SIMPLE task waits for every HEAD OF QUEUE task, and for ORDERED tasks that are older;
//! * an ORDERED task waits for every HEAD OF QUEUE task, and for every task that is older;
//! * a HEAD OF QUEUE task waits for none.
//!
//! A task that waits is dormant: its CDB is not looked at before its turn. SIMPLE tasks have no order among themselves, which is
//! what QUEUE ALGORITHM MODIFIER 1 says.
//!
//! One thing is done differently on purpose. A task whose initiator owes it data, or that is behind such a task of its own nexus,
//! holds up only its own nexus: otherwise an initiator that begins an ORDERED write and never sends the data would stop the
//! disk for everyone. In the order of its own nexus it stays where it is.
//!
//! Deliberately not here: what a task does, and how it is aborted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::scsi::opcode_table::{Operation, ReservationRule, TABLE};

use super::step::{NexusId, TaskId};

/// Whether a command waits for others and holds others up.
///
/// What only tells who is there and what is wrong is processed at once, as if it were HEAD OF QUEUE (SAM-5 §8.2). So is what decides
/// who has access: a node that takes over must not wait for a task of the node that hangs. It has an order of its own,
/// [`fence`](super::fence). SANITIZE is processed as if it were HEAD OF QUEUE (SBC-4), and while it erases, the others are refused
/// and do not wait (SBC-3 §4.11.2). A task with the ACA attribute is refused at once.
pub(super) fn takes_part(opcode: u8, attribute: TaskAttribute) -> bool {
    use ReservationRule::{PersistentIn, PersistentOut, Release, Reserve};
    let listed =
        [Operation::Inquiry, Operation::ReportLuns, Operation::RequestSense, Operation::SanitizeBlockErase];
    let at_once = attribute == TaskAttribute::Aca
        || listed.iter().any(|operation| operation.info().opcode == opcode)
        || TABLE.iter().any(|info| {
            info.opcode == opcode
                && matches!(info.reservation, PersistentIn | PersistentOut | Reserve | Release)
        });
    !at_once
}

/// What a task does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Waits for its turn.
    Dormant,
    /// Has had its turn and waits for data of its initiator.
    AwaitsData,
    /// Has had its turn.
    Enabled,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    task: TaskId,
    nexus: NexusId,
    attribute: TaskAttribute,
    standing: Standing,
}

/// The tasks that take part, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct TaskOrder {
    members: BTreeMap<u64, Member>,
    places: HashMap<TaskId, u64>,
    next: u64,
    dormant: usize,
    /// Count of ORDERED ones.
    ordered: usize,
    /// Places of HEAD OF QUEUE ones.
    heads: BTreeSet<u64>,
}

/// What a task meets that comes after some others.
#[derive(Default)]
struct Before {
    /// Someone is there who holds everyone up.
    any: bool,
    /// An ORDERED task is there that holds everyone up.
    ordered: bool,
    /// Nexuses with a task that holds up its own nexus only, and those with an ORDERED one.
    stalled: HashSet<NexusId>,
    stalled_ordered: HashSet<NexusId>,
}

impl Before {
    fn holds_up(&self, member: &Member) -> bool {
        match member.attribute {
            TaskAttribute::HeadOfQueue => false,
            TaskAttribute::Ordered => self.any || self.stalled.contains(&member.nexus),
            _ => self.ordered || self.stalled_ordered.contains(&member.nexus),
        }
    }

    /// Whether the task is behind one of its own nexus that waits for data.
    fn stalls(&self, member: &Member) -> bool {
        match member.attribute {
            TaskAttribute::HeadOfQueue => false,
            TaskAttribute::Ordered => self.stalled.contains(&member.nexus),
            _ => self.stalled_ordered.contains(&member.nexus),
        }
    }

    fn add(&mut self, member: &Member, stalled: bool) {
        let ordered = member.attribute == TaskAttribute::Ordered;
        if stalled {
            self.stalled.insert(member.nexus);
            if ordered {
                self.stalled_ordered.insert(member.nexus);
            }
        } else {
            self.any = true;
            self.ordered |= ordered;
        }
    }
}

impl TaskOrder {
    /// A task comes. True when it is its turn at once; otherwise it is dormant until [`TaskOrder::enable`] names it.
    pub(super) fn enter(&mut self, task: TaskId, nexus: NexusId, attribute: TaskAttribute) -> bool {
        let place = self.next;
        self.next += 1;
        self.members.insert(place, Member { task, nexus, attribute, standing: Standing::Dormant });
        self.places.insert(task, place);
        self.dormant += 1;
        match attribute {
            TaskAttribute::HeadOfQueue => drop(self.heads.insert(place)),
            TaskAttribute::Ordered => self.ordered += 1,
            _ => {}
        }
        let head = attribute == TaskAttribute::HeadOfQueue;
        let plain = self.ordered == 0 && self.heads.is_empty();
        let turn = head || plain || self.unblocked().contains(&place);
        if turn {
            self.turn(place);
        }
        turn
    }

    /// The task is over.
    pub(super) fn leave(&mut self, task: TaskId) {
        let Some(place) = self.places.remove(&task) else { return };
        let Some(member) = self.members.remove(&place) else { return };
        self.dormant -= usize::from(member.standing == Standing::Dormant);
        self.ordered -= usize::from(member.attribute == TaskAttribute::Ordered);
        self.heads.remove(&place);
    }

    /// A task that has had its turn begins, or has ceased, to wait for data.
    pub(super) fn awaits_data(&mut self, task: TaskId, awaits: bool) {
        let Some(member) = self.places.get(&task).and_then(|place| self.members.get_mut(place)) else {
            return;
        };
        member.standing = if awaits { Standing::AwaitsData } else { Standing::Enabled };
    }

    /// The tasks whose turn it is now, in the order in which they came.
    pub(super) fn enable(&mut self) -> Vec<TaskId> {
        if self.dormant == 0 {
            return Vec::new();
        }
        let places = self.unblocked();
        places.into_iter().filter_map(|place| self.turn(place)).collect()
    }

    /// Whether a task waits for its turn.
    pub(super) const fn has_dormant(&self) -> bool {
        self.dormant > 0
    }

    fn turn(&mut self, place: u64) -> Option<TaskId> {
        let member = self.members.get_mut(&place)?;
        member.standing = Standing::Enabled;
        self.dormant -= 1;
        Some(member.task)
    }

    /// Places of the dormant tasks that nothing holds up.
    fn unblocked(&self) -> Vec<u64> {
        let (mut head, mut stalled_heads) = (false, HashSet::new());
        for member in self.heads.iter().filter_map(|place| self.members.get(place)) {
            if member.standing == Standing::AwaitsData {
                stalled_heads.insert(member.nexus);
            } else {
                head = true;
            }
        }
        if head {
            // Everyone else waits.
            return Vec::new();
        }
        let (mut before, mut found) = (Before::default(), Vec::new());
        for (&place, member) in &self.members {
            let behind_head =
                member.attribute != TaskAttribute::HeadOfQueue && stalled_heads.contains(&member.nexus);
            let blocked = before.holds_up(member) || behind_head;
            let dormant = member.standing == Standing::Dormant;
            if dormant && !blocked {
                found.push(place);
            }
            let stalled = match member.standing {
                Standing::AwaitsData => true,
                Standing::Dormant => behind_head || before.stalls(member),
                Standing::Enabled => false,
            };
            before.add(member, stalled);
            // Behind it only what came to the head of the queue had its turn, and that when it came.
            if before.ordered {
                break;
            }
        }
        found
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }
}

#[cfg(test)]
mod tests;
