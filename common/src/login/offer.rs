//! What one side is ready to agree to, for every negotiated key.
//!
//! One type serves both sides; [`Offer::target`] and [`Offer::initiator`] are the usual values of each.

use std::ops::Deref;
use std::sync::Arc;

use super::parameters::TaskReporting;
use crate::limits::{DATA_SEGMENT_LEN_MAX, DATA_SEGMENT_LEN_MIN};
use crate::text::keys::{Key, Kind};

/// How much one side wants a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestPolicy {
    /// Never.
    Refuse,
    /// Only when the peer prefers it.
    Accept,
    /// Unless the peer cannot.
    Prefer,
    /// Always; a peer that cannot is refused.
    Require,
}

impl DigestPolicy {
    /// The list to offer, preferred value first; also what an answer may be.
    #[must_use]
    pub const fn values(self) -> &'static [&'static str] {
        match self {
            Self::Refuse => &["None"],
            Self::Accept => &["None", "CRC32C"],
            Self::Prefer => &["CRC32C", "None"],
            Self::Require => &["CRC32C"],
        }
    }
}

/// What one side offers and accepts. Lengths are in bytes, times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// HeaderDigest.
    pub header_digest: DigestPolicy,
    /// DataDigest.
    pub data_digest: DigestPolicy,
    /// Connections per session, 1 to 65535.
    pub max_connections: u16,
    /// Whether unsolicited Data-Out is to be refused.
    pub initial_r2t: bool,
    /// Whether data may come with the command.
    pub immediate_data: bool,
    /// Longest data segment that this side receives, 512 to 2^24-1.
    pub max_recv_data_segment_length: u32,
    /// Longest solicited sequence, 512 to 2^24-1.
    pub max_burst_length: u32,
    /// Longest unsolicited data, 512 to `max_burst_length`.
    pub first_burst_length: u32,
    /// Seconds to wait before a reconnect, 0 to 3600.
    pub default_time2wait: u16,
    /// Seconds that a session is kept without a connection, 0 to 3600.
    pub default_time2retain: u16,
    /// R2Ts under way per task, 1 to 65535.
    pub max_outstanding_r2t: u16,
    /// Whether data PDUs of a sequence must come in order.
    pub data_pdu_in_order: bool,
    /// Whether sequences must come in order.
    pub data_sequence_in_order: bool,
    /// 0 to 2.
    pub error_recovery_level: u8,
    /// Ways of task reporting that this side can do, preferred one first.
    pub task_reporting: &'static [TaskReporting],
    /// iSCSIProtocolLevel, 0 to 31.
    pub protocol_level: u8,
}

/// An offer that the protocol does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// A value out of the key's range.
    #[error("{key}={value} is out of range: RFC 7143 {clause} allows {low} to {high}", clause = key.row().clause)]
    OutOfRange {
        /// The key.
        key: Key,
        /// The value given.
        value: u32,
        /// Smallest value.
        low: u32,
        /// Largest value.
        high: u32,
    },
    /// FirstBurstLength above MaxBurstLength.
    #[error("FirstBurstLength={first} is larger than MaxBurstLength={max} (RFC 7143 13.14)")]
    FirstBurstTooLong {
        /// FirstBurstLength.
        first: u32,
        /// MaxBurstLength.
        max: u32,
    },
    /// An empty list.
    #[error("{key} has no value to offer")]
    Empty {
        /// The key.
        key: Key,
    },
}

impl Offer {
    /// A target's usual values: it takes unsolicited and immediate data and accepts digests either way.
    #[must_use]
    pub const fn target() -> Self {
        Self {
            header_digest: DigestPolicy::Accept,
            data_digest: DigestPolicy::Accept,
            max_connections: 1,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 256 * 1024,
            max_burst_length: 1024 * 1024,
            first_burst_length: 256 * 1024,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 8,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: &[TaskReporting::Rfc3720],
            protocol_level: 1,
        }
    }

    /// An initiator's usual values. Time2Wait and Time2Retain are 0, so that a takeover need not wait.
    #[must_use]
    pub const fn initiator() -> Self {
        Self { default_time2wait: 0, default_time2retain: 0, ..Self::target() }
    }

    /// Checks every value against its key's range.
    ///
    /// # Errors
    /// [`OfferError`] names the first key that does not fit.
    pub fn validate(self) -> Result<ValidOffer, OfferError> {
        let segment = (DATA_SEGMENT_LEN_MIN, DATA_SEGMENT_LEN_MAX);
        for (key, value) in [
            (Key::MaxConnections, u32::from(self.max_connections)),
            (Key::MaxBurstLength, self.max_burst_length),
            (Key::FirstBurstLength, self.first_burst_length),
            (Key::MaxRecvDataSegmentLength, self.max_recv_data_segment_length),
            (Key::DefaultTime2Wait, u32::from(self.default_time2wait)),
            (Key::DefaultTime2Retain, u32::from(self.default_time2retain)),
            (Key::MaxOutstandingR2T, u32::from(self.max_outstanding_r2t)),
            (Key::ErrorRecoveryLevel, u32::from(self.error_recovery_level)),
            (Key::IscsiProtocolLevel, u32::from(self.protocol_level)),
        ] {
            let (low, high) = match key.row().kind {
                Kind::Minimum { low, high } | Kind::Maximum { low, high } => (low, high),
                _ => segment,
            };
            if !(low..=high).contains(&value) {
                return Err(OfferError::OutOfRange { key, value, low, high });
            }
        }
        if self.first_burst_length > self.max_burst_length {
            let (first, max) = (self.first_burst_length, self.max_burst_length);
            return Err(OfferError::FirstBurstTooLong { first, max });
        }
        if self.task_reporting.is_empty() {
            return Err(OfferError::Empty { key: Key::TaskReporting });
        }
        Ok(ValidOffer(Arc::new(self)))
    }
}

/// An offer that was checked. Cheap to clone: one serves all logins of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidOffer(Arc<Offer>);

impl Deref for ValidOffer {
    type Target = Offer;

    fn deref(&self) -> &Offer {
        &self.0
    }
}
