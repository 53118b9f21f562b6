//! One connection of a session: its send queue, its status numbers, what may have to be sent again, its signs of life.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::login::ConnectionParameters;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::logout::LogoutReason;
use lunkeep_common::pdu::{InitiatorTaskTag, TargetPdu, TargetTransferTag};
use lunkeep_common::serial::StatSn;

use super::text::{Directory, TextExchange};
use super::transmit::Item;
use super::{ConnectionFault, NewConnection, SessionSettings};
use crate::limits;

/// A NOP-In that has not been answered.
#[derive(Debug)]
struct Ping {
    ttt: TargetTransferTag,
    sent: Instant,
    /// How often it was sent.
    tries: u32,
}

/// The logout that ends a connection, while it is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// Its tag, which tells its repetition.
    pub(super) itt: InitiatorTaskTag,
    pub(super) reason: LogoutReason,
    /// It came on this connection, so that what comes after it was sent after it.
    pub(super) asked_here: bool,
}

/// A PDU that took a status number, kept until the initiator has acknowledged it.
#[derive(Debug)]
pub(super) struct Retained {
    pub(super) stat_sn: StatSn,
    pub(super) pdu: TargetPdu,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) cid: Cid,
    pub(super) parameters: ConnectionParameters,
    /// StatSN of the next status.
    pub(super) stat_sn: StatSn,
    /// The initiator's ExpStatSN: every status before it has arrived.
    pub(super) acknowledged: StatSn,
    /// In the order of their numbers; empty at error recovery level 0.
    pub(super) retained: VecDeque<Retained>,
    pub(super) queue: VecDeque<Item>,
    pub(super) text: TextExchange,
    pub(super) directory: Arc<dyn Directory>,
    /// A logout that ends this connection is under way.
    pub(super) leaving: Option<Leaving>,
    /// The initiator was asked to log out.
    pub(super) logout_requested: bool,
    /// The logout response has left: nothing may follow it.
    pub(super) finished: bool,
    last_heard: Instant,
    ping: Option<Ping>,
    /// When a NOP-In is to tell the initiator our numbers, so that it finds out what it has missed.
    reveal_at: Option<Instant>,
}

impl Connection {
    pub(super) fn new(new: NewConnection, now: Instant) -> Self {
        Self {
            cid: new.cid,
            parameters: new.parameters,
            stat_sn: new.stat_sn,
            acknowledged: new.stat_sn,
            retained: VecDeque::new(),
            queue: VecDeque::new(),
            text: TextExchange::default(),
            directory: new.directory,
            leaving: None,
            logout_requested: false,
            finished: false,
            last_heard: now,
            ping: None,
            reveal_at: None,
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.queue.push_back(item);
    }

    /// The next item that may leave: once as many statuses are unacknowledged as are kept, only what has none.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        if self.retained.len() < limits::STATUSES_RETAINED_MAX {
            return self.queue.pop_front();
        }
        let free = self.queue.iter().position(|item| !item.takes_status())?;
        self.queue.remove(free)
    }

    /// Items that wait until the initiator acknowledges a status.
    pub(super) fn held_back(&self) -> usize {
        if self.retained.len() < limits::STATUSES_RETAINED_MAX { 0 } else { self.queue.len() }
    }

    /// Whether a status was sent that the initiator has not acknowledged.
    pub(super) fn is_unacknowledged(&self) -> bool {
        self.acknowledged != self.stat_sn
    }

    /// Whether a status is about to be sent.
    pub(super) fn has_status_queued(&self) -> bool {
        self.queue.iter().any(Item::takes_status)
    }

    /// Takes an ExpStatSN. Numbers that go back or were not given yet say nothing.
    pub(super) fn acknowledge(&mut self, exp_stat_sn: StatSn) {
        if exp_stat_sn > self.acknowledged && exp_stat_sn <= self.stat_sn {
            self.acknowledged = exp_stat_sn;
            self.reveal_at = None;
            while self.retained.front().is_some_and(|first| first.stat_sn < exp_stat_sn) {
                self.retained.pop_front();
            }
        }
    }

    /// A status that was sent and not acknowledged.
    pub(super) fn retained(&mut self, stat_sn: StatSn) -> Option<&mut TargetPdu> {
        self.retained.iter_mut().find(|kept| kept.stat_sn == stat_sn).map(|kept| &mut kept.pdu)
    }

    /// Something arrived: the peer lives. Only the answer itself ends a ping, so that its tag cannot be answered twice.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        if let Some(ping) = &mut self.ping {
            ping.sent = now;
        }
    }

    /// Takes the answer to a NOP-In; false when no NOP-In with that tag is waiting.
    pub(super) fn pong(&mut self, ttt: TargetTransferTag) -> bool {
        self.ping.take_if(|ping| ping.ttt == ttt).is_some()
    }

    fn liveness_timeout(&self, settings: &SessionSettings) -> Instant {
        match &self.ping {
            Some(ping) => ping.sent + settings.ping_timeout,
            None => self.last_heard + settings.ping_interval,
        }
    }

    /// When to look after this connection. `reveals`: the initiator may have missed something.
    pub(super) fn next_timeout(
        &mut self,
        settings: &SessionSettings,
        reveals: bool,
        now: Instant,
    ) -> Instant {
        let alive = self.liveness_timeout(settings);
        if !reveals {
            self.reveal_at = None;
        } else if self.reveal_at.is_none() {
            self.reveal_at = Some(now + settings.recovery_interval);
        }
        self.reveal_at.map_or(alive, |reveal| reveal.min(alive))
    }

    /// `recovers`: a NOP-In or its answer may have been lost without the connection, so that one silence proves nothing.
    pub(super) fn handle_timeout(
        &mut self,
        settings: &SessionSettings,
        ttt: TargetTransferTag,
        recovers: bool,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let lapsed = now >= self.liveness_timeout(settings);
        let reveal = self.reveal_at.is_some_and(|at| at <= now);
        if !lapsed && !reveal {
            return Ok(());
        }
        if reveal {
            self.reveal_at = Some(now + settings.recovery_interval);
        }
        let tries_max = if recovers { limits::PINGS_MAX } else { 1 };
        match &mut self.ping {
            Some(ping) if lapsed && ping.tries >= tries_max => {
                return Err(ConnectionFault::PingTimeout(settings.ping_timeout));
            }
            Some(ping) => {
                if lapsed {
                    ping.sent = now;
                    ping.tries += 1;
                }
            }
            None => self.ping = Some(Ping { ttt, sent: now, tries: 1 }),
        }
        let ttt = self.ping.as_ref().map_or(ttt, |ping| ping.ttt);
        self.push(Item::NopIn { answer_to: None, ttt, data: Bytes::new() });
        Ok(())
    }
}
