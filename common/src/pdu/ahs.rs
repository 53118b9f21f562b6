//! Additional header segments (RFC 7143 §11.2.2).

use bytes::Bytes;

/// One additional header segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ahs {
    /// The CDB bytes after the sixteenth, without padding (RFC 7143 §11.2.2.3).
    ExtendedCdb(Bytes),
    /// Expected length of the read half of a bidirectional command, in bytes (RFC 7143 §11.2.2.4).
    BidirectionalReadLength(u32),
    /// A type that RFC 7143 does not define.
    Unknown {
        /// AHSType.
        kind: u8,
        /// AHS-specific bytes.
        body: Bytes,
    },
}
