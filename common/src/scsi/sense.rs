//! Sense data: what went wrong, in a form that initiators act on (SPC-4 §4.5).

/// Sense key (SPC-4 table 48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// Completed with some recovery.
    RecoveredError = 0x1,
    /// The logical unit is not accessible.
    NotReady = 0x2,
    /// A flaw of the medium.
    MediumError = 0x3,
    /// A failure of the device itself.
    HardwareError = 0x4,
    /// The CDB or parameter list is wrong.
    IllegalRequest = 0x5,
    /// Something changed since the nexus last looked.
    UnitAttention = 0x6,
    /// The medium may not be written.
    DataProtect = 0x7,
    /// A blank medium was met.
    BlankCheck = 0x8,
    /// Vendor specific.
    VendorSpecific = 0x9,
    /// EXTENDED COPY stopped.
    CopyAborted = 0xa,
    /// The device server aborted the command.
    AbortedCommand = 0xb,
    /// Data remained in a buffer.
    VolumeOverflow = 0xd,
    /// Source data did not match.
    Miscompare = 0xe,
    /// Completion of a background operation.
    Completed = 0xf,
}

/// What a CHECK CONDITION carries, before it is laid out as fixed or descriptor format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// INFORMATION field: an LBA or a count, as the command defines it.
    pub information: Option<u64>,
}

impl Sense {
    /// Sense with a key and a code of the table, no information.
    #[must_use]
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, information: None }
    }
}
