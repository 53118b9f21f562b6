//! Response fences (RFC 7143 §4.2.2.3.3): on a session of several connections a response that must be seen after all earlier
//! ones, and before all later ones, waits until the earlier ones are acknowledged, and holds the later ones until it is
//! acknowledged itself.
//!
//! On a session of one connection the order of status numbers does the same.

use std::collections::VecDeque;

use lunkeep_common::login::TaskReporting;
use lunkeep_common::name::Cid;
use lunkeep_common::serial::StatSn;

use super::Session;
use super::transmit::Item;

/// What waits for a fence, and the fence.
#[derive(Debug, Default)]
pub(super) struct Fences {
    standing: Option<Fence>,
    behind: VecDeque<Behind>,
}

#[derive(Debug)]
struct Fence {
    cid: Cid,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Earlier responses are not all acknowledged.
    Waiting(Box<Item>),
    /// Sent with this number.
    Sent(StatSn),
}

/// A response that came after a fence.
#[derive(Debug)]
struct Behind {
    cid: Cid,
    item: Item,
    fenced: bool,
}

impl Fences {
    pub(super) fn is_standing(&self) -> bool {
        self.standing.is_some()
    }

    /// Responses that wait behind a fence.
    pub(super) fn held_back(&self) -> usize {
        self.behind.len()
    }
}

impl Session {
    /// Queues an item on its connection, or behind the fence that stands.
    pub(super) fn push(&mut self, cid: Cid, item: Item) {
        if self.fences.is_standing() && item.takes_status() {
            self.fences.behind.push_back(Behind { cid, item, fenced: false });
        } else {
            self.requeue(cid, item);
        }
    }

    /// Queues an item on its connection whatever fence stands: it has begun already, or is no response.
    pub(super) fn requeue(&mut self, cid: Cid, item: Item) {
        if let Some(connection) = self.connection_mut(cid) {
            connection.push(item);
        }
    }

    /// Queues a response that is fenced, where that was agreed and has a meaning.
    pub(super) fn push_fenced(&mut self, cid: Cid, item: Item) {
        let fences =
            self.parameters.task_reporting != TaskReporting::Rfc3720 && self.parameters.max_connections > 1;
        if !fences {
            return self.push(cid, item);
        }
        self.fences.behind.push_back(Behind { cid, item, fenced: true });
        self.advance_fences();
    }

    /// Moves fences on after an acknowledgment, a transmission, or the loss of a connection.
    pub(super) fn advance_fences(&mut self) {
        loop {
            match self.fences.standing.take() {
                None => {
                    let Some(Behind { cid, item, fenced }) = self.fences.behind.pop_front() else { return };
                    if fenced {
                        let state = State::Waiting(Box::new(item));
                        self.fences.standing = Some(Fence { cid, state });
                    } else {
                        self.requeue(cid, item);
                    }
                }
                Some(Fence { cid, state: State::Waiting(item) }) => {
                    let Some(own) = self.connection(cid).map(|own| own.stat_sn) else { continue };
                    let clear = |connection: &super::connection::Connection| {
                        !connection.has_status_queued() && !connection.is_unacknowledged()
                    };
                    if !self.connections.iter().all(clear) {
                        self.fences.standing = Some(Fence { cid, state: State::Waiting(item) });
                        return;
                    }
                    self.requeue(cid, *item);
                    self.fences.standing = Some(Fence { cid, state: State::Sent(own) });
                }
                Some(Fence { cid, state: State::Sent(stat_sn) }) => {
                    let passed =
                        self.connection(cid).is_none_or(|connection| connection.acknowledged > stat_sn);
                    if !passed {
                        self.fences.standing = Some(Fence { cid, state: State::Sent(stat_sn) });
                        return;
                    }
                }
            }
        }
    }
}
