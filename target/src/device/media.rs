//! What a command needs from the medium. The engine runs these against an [`image::Disk`](crate::image::Disk).

use bytes::Bytes;

/// One operation on the medium. Offsets and lengths are in bytes of the virtual disk and lie within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaOp {
    /// Read `len` bytes at `offset`.
    Read {
        /// First byte.
        offset: u64,
        /// Count of bytes.
        len: u32,
    },
    /// Write the bytes of `data`, one after another, at `offset`.
    Write {
        /// First byte.
        offset: u64,
        /// What to write, in order.
        data: Vec<Bytes>,
        /// Answer only when the bytes are on stable storage (FUA).
        force_unit_access: bool,
    },
    /// Write and then read back and compare (WRITE AND VERIFY).
    Verify {
        /// First byte.
        offset: u64,
        /// Count of bytes.
        len: u64,
        /// Bytes to compare with; `None` checks only that the medium can be read. When shorter than `len` it repeats
        /// (BYTCHK 11b: one block against many).
        compare: Option<Vec<Bytes>>,
    },
    /// Write `pattern` again and again over `len` bytes (WRITE SAME). `pattern` is one block.
    WriteSame {
        /// First byte.
        offset: u64,
        /// Count of bytes, a multiple of the pattern's length.
        len: u64,
        /// One block.
        pattern: Bytes,
        /// The blocks may be deallocated when the pattern is all zero.
        unmap: bool,
    },
    /// Deallocate ranges where the medium can (UNMAP).
    Unmap {
        /// First byte and count of bytes of each range.
        ranges: Vec<(u64, u64)>,
    },
    /// Put everything acknowledged before on stable storage (SYNCHRONIZE CACHE).
    Flush,
}

impl MediaOp {
    /// Whether the operation can change the medium: such tasks must be over before a fence or an abort is answered.
    #[must_use]
    pub const fn changes_medium(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteSame { .. } | Self::Unmap { .. })
    }
}

/// What came of a [`MediaOp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaReply {
    /// Done; nothing to hand over.
    Done,
    /// The bytes of a [`MediaOp::Read`].
    Data(Bytes),
    /// A [`MediaOp::Verify`] found the first difference this many bytes into the range.
    Miscompare {
        /// Bytes from the start of the range to the first difference.
        at: u64,
    },
}
