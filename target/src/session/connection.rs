//! One connection of a session: its send queue, its status numbers, its signs of life.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lunkeep_common::login::ConnectionParameters;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::TargetTransferTag;
use lunkeep_common::serial::StatSn;

use super::text::{Directory, TextExchange};
use super::transmit::Item;
use super::{ConnectionFault, NewConnection, SessionSettings};

/// A NOP-In that has not been answered.
#[derive(Debug)]
struct Ping {
    ttt: TargetTransferTag,
    sent: Instant,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) cid: Cid,
    pub(super) parameters: ConnectionParameters,
    /// StatSN of the next status.
    pub(super) stat_sn: StatSn,
    pub(super) queue: VecDeque<Item>,
    pub(super) text: TextExchange,
    pub(super) directory: Arc<dyn Directory>,
    /// The logout response has left: nothing may follow it.
    pub(super) finished: bool,
    last_heard: Instant,
    ping: Option<Ping>,
}

impl Connection {
    pub(super) fn new(new: NewConnection, now: Instant) -> Self {
        Self {
            cid: new.cid,
            parameters: new.parameters,
            stat_sn: new.stat_sn,
            queue: VecDeque::new(),
            text: TextExchange::default(),
            directory: new.directory,
            finished: false,
            last_heard: now,
            ping: None,
        }
    }

    pub(super) fn push(&mut self, item: Item) {
        self.queue.push_back(item);
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

    pub(super) fn next_timeout(&self, settings: &SessionSettings) -> Instant {
        match &self.ping {
            Some(ping) => ping.sent + settings.ping_timeout,
            None => self.last_heard + settings.ping_interval,
        }
    }

    pub(super) fn handle_timeout(
        &mut self,
        settings: &SessionSettings,
        ttt: TargetTransferTag,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        if now < self.next_timeout(settings) {
            return Ok(());
        }
        if self.ping.is_some() {
            return Err(ConnectionFault::PingTimeout(settings.ping_timeout));
        }
        self.ping = Some(Ping { ttt, sent: now });
        self.push(Item::NopIn { answer_to: None, ttt, data: Bytes::new() });
        Ok(())
    }
}
