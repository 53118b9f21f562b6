//! What a command needs from the medium. The engine runs these against an [`image::Disk`](crate::image::Disk).

use std::ops::Range;

use bytes::Bytes;
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::access_state::AccessState;
use super::parameters::SavedParameters;
use super::task_set::total_len;

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
    /// Read for a third-party copy: of `len` bytes at `offset` as many as make a chunk, or, where the medium has a hole, how long it is.
    ReadForCopy {
        /// First byte.
        offset: u64,
        /// Count of bytes, a multiple of `granule`.
        len: u64,
        /// What comes is a multiple of this many bytes, a power of two not above the chunk.
        granule: u32,
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
    /// Read, and compare with what the initiator sent (VERIFY).
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
    /// Write, make it stable, and read it back (WRITE AND VERIFY). No other write comes in between.
    WriteAndVerify {
        /// First byte.
        offset: u64,
        /// What to write, in order.
        data: Vec<Bytes>,
        /// Compare what is read back with it.
        compare: bool,
    },
    /// Compare with what is there and, when it is the same, write, without any other write in between (COMPARE AND WRITE).
    CompareAndWrite {
        /// First byte.
        offset: u64,
        /// What must be there, in order.
        expected: Vec<Bytes>,
        /// What to write then, of the same length.
        write: Vec<Bytes>,
        /// Answer only when the bytes are on stable storage (FUA).
        force_unit_access: bool,
    },
    /// Write the OR of what is there and `data`, without any other write in between (ORWRITE).
    OrWrite {
        /// First byte.
        offset: u64,
        /// What to set.
        data: Vec<Bytes>,
        /// Answer only when the bytes are on stable storage (FUA).
        force_unit_access: bool,
    },
    /// Bring a range into the host's cache (PRE-FETCH).
    Prefetch {
        /// First byte.
        offset: u64,
        /// Count of bytes.
        len: u64,
    },
    /// Tell which parts of a range have a place in the image (GET LBA STATUS).
    BlockStatus {
        /// First byte.
        offset: u64,
        /// Count of bytes.
        len: u64,
        /// Parts of one status to tell at most; at least one.
        parts: usize,
    },
    /// Make this durable, in place of what was saved before.
    Save(Box<SavedParameters>),
    /// Put everything acknowledged before on stable storage (SYNCHRONIZE CACHE).
    Flush,
}

impl MediaOp {
    /// Whether the operation can change the medium: such tasks must be over before a fence or an abort is answered.
    #[must_use]
    pub const fn changes_medium(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::WriteSame { .. }
                | Self::Unmap { .. }
                | Self::WriteAndVerify { .. }
                | Self::CompareAndWrite { .. }
                | Self::OrWrite { .. }
                // Not the medium, but a change that an abort must wait for all the same.
                | Self::Save(_)
        )
    }

    /// The bytes that it may change, and perhaps some between them; empty when there are none.
    #[must_use]
    pub fn touches(&self) -> Range<u64> {
        let sized = |offset: &u64, len: u64| *offset..offset.saturating_add(len);
        match self {
            Self::Write { offset, data, .. }
            | Self::WriteAndVerify { offset, data, .. }
            | Self::CompareAndWrite { offset, write: data, .. }
            | Self::OrWrite { offset, data, .. } => sized(offset, total_len(data)),
            Self::WriteSame { offset, len, .. } => sized(offset, *len),
            Self::Unmap { ranges } => {
                let start = ranges.iter().map(|(offset, _)| *offset).min().unwrap_or(0);
                start..ranges.iter().map(|(offset, len)| offset.saturating_add(*len)).max().unwrap_or(0)
            }
            Self::Read { .. }
            | Self::ReadForCopy { .. }
            | Self::Verify { .. }
            | Self::Prefetch { .. }
            | Self::BlockStatus { .. }
            | Self::Save(_)
            | Self::Flush => 0..0,
        }
    }
}

/// What came of a [`MediaOp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaReply {
    /// Done; nothing to hand over.
    Done,
    /// The bytes of a [`MediaOp::Read`], or those at the beginning of a [`MediaOp::ReadForCopy`].
    Data(Bytes),
    /// A [`MediaOp::ReadForCopy`] begins with so many bytes that have no place and read as zero.
    Hole(u64),
    /// For a [`MediaOp::BlockStatus`]: parts that follow one another, each with its length in bytes and whether it has a place.
    Status(Vec<(u64, bool)>),
    /// A [`MediaOp::Verify`] found the first difference this many bytes into the range.
    Miscompare {
        /// Bytes from the start of the range to the first difference.
        at: u64,
    },
}

/// Why a [`MediaOp`] failed, as far as an initiator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFailure {
    /// The host could not read.
    Read,
    /// The host could not write or sync, or an earlier failure makes writing unsafe.
    Write,
    /// There is no space left on the host. Reads, and writes where space is allocated, go on.
    NoSpace,
    /// The medium takes no writes.
    ReadOnly,
    /// The image's metadata contradicts itself.
    Damaged,
    /// What must survive a restart could not be made durable.
    Save,
    /// This process does not serve the unit any more. Nothing was done.
    NotServed(AccessState),
}

impl From<MediaFailure> for Sense {
    /// SBC-3 §4.18.1; for a lack of space §4.7.3.6.
    fn from(failure: MediaFailure) -> Self {
        let (key, asc) = match failure {
            MediaFailure::NotServed(access) => {
                let again = Self::new(SenseKey::NotReady, Asc::NOT_READY_CAUSE_NOT_REPORTABLE);
                // An owner again by now: the command may be repeated at once.
                return access.refusal().unwrap_or(again);
            }
            MediaFailure::Read => (SenseKey::MediumError, Asc::UNRECOVERED_READ_ERROR),
            MediaFailure::Write => (SenseKey::MediumError, Asc::WRITE_ERROR),
            MediaFailure::NoSpace => (SenseKey::DataProtect, Asc::SPACE_ALLOCATION_FAILED),
            MediaFailure::ReadOnly => (SenseKey::DataProtect, Asc::WRITE_PROTECTED),
            MediaFailure::Save => (SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE),
            MediaFailure::Damaged => (SenseKey::MediumError, Asc::MEDIUM_FORMAT_CORRUPTED),
        };
        Self::new(key, asc)
    }
}
