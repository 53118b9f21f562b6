//! What both sides agreed to, typed.

use crate::pdu::Digests;

/// How a task management function that affects several sessions is reported (RFC 7143 §13.23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TaskReporting {
    /// Responses as RFC 3720 has them.
    #[default]
    Rfc3720,
    /// Responses fenced (RFC 7143 §4.2.2.3.3).
    ResponseFence,
    /// FastAbort multi-task abort (RFC 7143 §4.2.3.4).
    FastAbort,
}

impl TaskReporting {
    /// All ways, in the order of the clause.
    pub const ALL: [Self; 3] = [Self::Rfc3720, Self::ResponseFence, Self::FastAbort];

    /// The value on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence",
            Self::FastAbort => "FastAbort",
        }
    }
}

/// What holds for a session. Lengths are in bytes, times in seconds. The default is what RFC 7143 §13 says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionParameters {
    /// Connections that the session may have.
    pub max_connections: u16,
    /// Whether the first burst needs an R2T: then there is no unsolicited Data-Out.
    pub initial_r2t: bool,
    /// Whether data may come with the command.
    pub immediate_data: bool,
    /// Longest solicited sequence.
    pub max_burst_length: u32,
    /// Longest unsolicited data, immediate data included; never above `max_burst_length`.
    pub first_burst_length: u32,
    /// Seconds to wait before a reconnect.
    pub default_time2wait: u16,
    /// Seconds that a session is kept without a connection.
    pub default_time2retain: u16,
    /// R2Ts under way per task.
    pub max_outstanding_r2t: u16,
    /// Whether data PDUs of a sequence come in order.
    pub data_pdu_in_order: bool,
    /// Whether sequences come in order.
    pub data_sequence_in_order: bool,
    /// 0, 1 or 2.
    pub error_recovery_level: u8,
    /// Task reporting.
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel.
    pub protocol_level: u8,
}

impl Default for SessionParameters {
    fn default() -> Self {
        Self {
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
        }
    }
}

/// What holds for one connection. Lengths are in bytes. The default is what RFC 7143 §13 says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionParameters {
    /// The digests of PDUs in both directions, from the first PDU of the full feature phase on.
    pub digests: Digests,
    /// Longest data segment that this side declared to receive.
    pub max_recv_data_segment_length: u32,
    /// Longest data segment that the peer declared to receive: the bound for what this side sends.
    pub peer_max_recv_data_segment_length: u32,
}

impl Default for ConnectionParameters {
    fn default() -> Self {
        use crate::limits::DATA_SEGMENT_LEN_DEFAULT;
        Self {
            digests: Digests::NONE,
            max_recv_data_segment_length: DATA_SEGMENT_LEN_DEFAULT,
            peer_max_recv_data_segment_length: DATA_SEGMENT_LEN_DEFAULT,
        }
    }
}
