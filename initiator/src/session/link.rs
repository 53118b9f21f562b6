//! One connection of a session: what is to be sent on it, and which statuses came on it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use lunkeep_common::login::ConnectionParameters;
use lunkeep_common::login::initiator_side::EstablishedLogin;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::{InitiatorPdu, InitiatorTaskTag};
use lunkeep_common::serial::StatSn;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) cid: Cid,
    pub(super) parameters: ConnectionParameters,
    /// The first status that did not come.
    pub(super) exp_stat_sn: StatSn,
    /// Statuses that came after one that did not.
    early: BTreeSet<u32>,
    /// One after the last status that the target is known to have sent.
    known: StatSn,
    /// Immediate requests and answers; sequence numbers are set when they leave.
    pub(super) urgent: VecDeque<InitiatorPdu>,
    /// The task whose unsolicited data is being sent: it must be complete before the next command goes out.
    pub(super) unsolicited: Option<InitiatorTaskTag>,
    /// Tasks with solicited data to send, served in turn.
    pub(super) solicited: VecDeque<InitiatorTaskTag>,
    pub(super) last_heard: Instant,
    /// The target asked for a logout on it.
    pub(super) logout_requested: bool,
}

impl Link {
    pub(super) fn new(login: &EstablishedLogin, cid: Cid, now: Instant) -> Self {
        Self {
            cid,
            parameters: login.connection.clone(),
            exp_stat_sn: login.exp_stat_sn,
            early: BTreeSet::new(),
            known: login.exp_stat_sn,
            urgent: VecDeque::new(),
            unsolicited: None,
            solicited: VecDeque::new(),
            last_heard: now,
            logout_requested: false,
        }
    }

    /// Notes a status that came, in order or not; false when it came before.
    pub(super) fn take_status(&mut self, stat_sn: StatSn) -> bool {
        if stat_sn < self.exp_stat_sn || self.early.contains(&stat_sn.0) {
            return false;
        }
        self.reveal(stat_sn.next());
        self.early.insert(stat_sn.0);
        while self.early.remove(&self.exp_stat_sn.0) {
            self.exp_stat_sn.advance();
        }
        true
    }

    /// The target says which status it will send next.
    pub(super) fn reveal(&mut self, next: StatSn) {
        if next > self.known {
            self.known = next;
        }
    }

    /// The first run of statuses that were sent and did not come: its first number and its length.
    pub(super) fn missing(&self) -> Option<(StatSn, u32)> {
        if self.exp_stat_sn == self.known {
            return None;
        }
        let came = self.early.iter().map(|&number| StatSn(number).distance_from(self.exp_stat_sn)).min();
        Some((self.exp_stat_sn, came.unwrap_or_else(|| self.known.distance_from(self.exp_stat_sn))))
    }

    /// Drops what is to be sent for a task.
    pub(super) fn forget(&mut self, tag: InitiatorTaskTag) {
        self.unsolicited.take_if(|sending| *sending == tag);
        self.solicited.retain(|&sending| sending != tag);
    }
}
