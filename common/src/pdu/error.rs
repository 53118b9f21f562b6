//! What is wrong with a received PDU, and the Reject that says so (RFC 7143 §11.17, §7.8).

use super::RejectReason;

/// Why a header, its additional header segments or its data segment cannot be used. Always the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// An opcode that RFC 7143 does not define for the peer's direction. On the wire: Reject 05h.
    #[error("opcode {opcode:#04x} is not one that {sender} sends")]
    UnknownOpcode {
        /// The opcode without the I bit.
        opcode: u8,
        /// `an initiator` or `a target`.
        sender: &'static str,
    },
    /// A field holds a value without a meaning. On the wire: Reject 09h.
    #[error("{pdu}: field {field} holds {value:#x}, which RFC 7143 leaves undefined")]
    UndefinedValue {
        /// Name of the PDU.
        pdu: &'static str,
        /// Name of the field.
        field: &'static str,
        /// What was received.
        value: u32,
    },
    /// Fields that are fine alone contradict each other. On the wire: Reject 04h.
    #[error("{pdu}: {rule}")]
    Contradiction {
        /// Name of the PDU.
        pdu: &'static str,
        /// The rule that was broken, with its clause.
        rule: &'static str,
    },
    /// Additional header segments on a PDU that has none. On the wire: Reject 09h.
    #[error("{pdu}: carries {len} bytes of additional header segments; only SCSI Command has any")]
    UnexpectedAhs {
        /// Name of the PDU.
        pdu: &'static str,
        /// TotalAHSLength in bytes.
        len: usize,
    },
    /// A data segment on a PDU that has none. On the wire: Reject 09h.
    #[error("{pdu}: DataSegmentLength is {len}, but this PDU has no data segment")]
    UnexpectedData {
        /// Name of the PDU.
        pdu: &'static str,
        /// DataSegmentLength.
        len: usize,
    },
    /// The data segment of a SCSI Response is not a length and that much sense. On the wire: nothing, targets send it.
    #[error("SCSI Response: SenseLength is {sense_len}, but only {available} bytes follow it")]
    SenseTruncated {
        /// SenseLength, or 2 when even that field is cut.
        sense_len: usize,
        /// Bytes there are.
        available: usize,
    },
    /// The chain of additional header segments is malformed. On the wire: Reject 09h.
    #[error("SCSI Command: additional header segment {index}: {fault}")]
    BadAhs {
        /// Place in the chain, from 0.
        index: usize,
        /// What is wrong.
        fault: AhsFault,
    },
}

/// What is wrong with one additional header segment (RFC 7143 §11.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AhsFault {
    /// AHSLength is zero: even the AHS-specific byte would be missing.
    #[error("AHSLength is 0")]
    ZeroLength,
    /// The segment reaches past TotalAHSLength.
    #[error("AHSLength {ahs_len} needs {needed} bytes, but {available} are left")]
    Truncated {
        /// AHSLength as received.
        ahs_len: usize,
        /// Bytes that the segment takes with header and padding.
        needed: usize,
        /// Bytes left in the chain.
        available: usize,
    },
    /// AHSLength does not fit the type.
    #[error("AHSLength {ahs_len} does not fit AHSType {kind}")]
    WrongLength {
        /// AHSType.
        kind: u8,
        /// AHSLength as received.
        ahs_len: usize,
    },
    /// A type that may stand once stands twice.
    #[error("AHSType {kind} appears twice")]
    Duplicate {
        /// AHSType.
        kind: u8,
    },
}

impl PduError {
    /// The reason code of the Reject that a target answers with (RFC 7143 §11.17.1).
    #[must_use]
    pub const fn reject_reason(&self) -> RejectReason {
        match self {
            Self::UnknownOpcode { .. } => RejectReason::CommandNotSupported,
            Self::Contradiction { .. } => RejectReason::ProtocolError,
            Self::UndefinedValue { .. }
            | Self::UnexpectedAhs { .. }
            | Self::UnexpectedData { .. }
            | Self::SenseTruncated { .. }
            | Self::BadAhs { .. } => RejectReason::InvalidPduField,
        }
    }
}

/// A PDU that cannot be put on the wire. Always our caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The data segment is longer than 24 bits can state.
    #[error("a data segment of {len} bytes does not fit the 24 bits of DataSegmentLength")]
    DataTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The additional header segments are longer than 255 words.
    #[error("additional header segments of {len} bytes do not fit TotalAHSLength")]
    AhsTooLong {
        /// Their length in bytes, with padding.
        len: usize,
    },
    /// The PDU has no data segment, but the caller gave one.
    #[error("{pdu} has no data segment, but {len} bytes were given")]
    UnexpectedData {
        /// Name of the PDU.
        pdu: &'static str,
        /// Bytes given.
        len: usize,
    },
    /// Additional header segments were given for a PDU other than SCSI Command.
    #[error("{pdu} has no additional header segments")]
    UnexpectedAhs {
        /// Name of the PDU.
        pdu: &'static str,
    },
}
