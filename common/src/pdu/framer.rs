//! Cuts a byte stream into whole, digest-checked PDUs (RFC 7143 §11.2).
//!
//! The caller reads into [`Framer::buffer_mut`] (or copies with [`Framer::push`]) and then takes PDUs with
//! [`Framer::next_pdu`] until there is none. What comes out does not depend on how the stream was split.
//!
//! Invariants:
//! * A length over a limit is found in the headers, before any byte of the data segment is waited for.
//! * After `next_pdu` answered `None` the buffer holds less than one PDU within the limits, so memory is bounded by the
//!   limits plus one read.
//! * Data segments are slices of the receive buffer. A slice keeps that whole buffer alive; callers that store small
//!   segments for long should copy them.
//!
//! Deliberately not here: any idea of what a PDU means, and recovery. At ErrorRecoveryLevel 0 a header digest error ends
//! the connection; at 1 it could be ridden out only with markers or a lucky length, so it is fatal here.

use bytes::{Bytes, BytesMut};

use super::digest::{DIGEST_LEN, Digests, crc32c};
use super::fields::OPCODE_MASK;
use super::wire::padding;
use super::{BHS_LEN, Bhs};
use crate::limits::{AHS_LEN_MAX, DATA_SEGMENT_LEN_DEFAULT};

/// Least spare room that [`Framer::buffer_mut`] offers to a read, in bytes. Large enough to take many small PDUs with one
/// system call, small enough that an idle connection costs little.
pub const READ_CHUNK: usize = 64 * 1024;

/// A PDU whose lengths and digests are right and whose header nobody has looked into yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPdu {
    /// Basic header segment.
    pub bhs: Bhs,
    /// All additional header segments with their padding.
    pub ahs: Bytes,
    /// Data segment without padding.
    pub data: Bytes,
}

/// What this side takes from its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// The MaxRecvDataSegmentLength that we declared, in bytes.
    pub data_segment_len: u32,
    /// Longest TotalAHSLength in bytes, 0 to [`AHS_LEN_MAX`].
    pub ahs_len: usize,
}

impl Default for FrameLimits {
    /// The limits of the login phase (RFC 7143 §13.12).
    fn default() -> Self {
        Self { data_segment_len: DATA_SEGMENT_LEN_DEFAULT, ahs_len: AHS_LEN_MAX }
    }
}

/// Why a stream gives no PDU. Always the peer's fault, or the network's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The data digest is wrong. The framing is intact, and the next call goes on with the next PDU. On the wire: a target
    /// answers Reject 02h with this header (RFC 7143 §7.8).
    #[error("data digest of a PDU with opcode {:#04x} is {found:#010x}, computed {computed:#010x}", .bhs[0] & OPCODE_MASK)]
    DataDigest {
        /// Header of the PDU, which is lost.
        bhs: Box<Bhs>,
        /// Digest received.
        found: u32,
        /// Digest of the data received.
        computed: u32,
    },
    /// The header digest is wrong, so its lengths mean nothing: the connection must be dropped (RFC 7143 §7.7). On the
    /// wire: nothing.
    #[error(
        "header digest is {found:#010x}, computed {computed:#010x}; the stream cannot be followed further"
    )]
    HeaderDigest {
        /// Digest received.
        found: u32,
        /// Digest of the headers received.
        computed: u32,
    },
    /// DataSegmentLength is above what we declared. On the wire: a target may answer Reject 09h with this header before it
    /// drops the connection.
    #[error(
        "PDU with opcode {:#04x}: DataSegmentLength {len} is above the {limit} bytes that MaxRecvDataSegmentLength allows",
        .bhs[0] & OPCODE_MASK
    )]
    DataTooLong {
        /// Header of the PDU.
        bhs: Box<Bhs>,
        /// DataSegmentLength.
        len: usize,
        /// The limit in force.
        limit: u32,
    },
    /// TotalAHSLength is above our limit. On the wire: as for [`Self::DataTooLong`].
    #[error("PDU with opcode {:#04x}: TotalAHSLength of {len} bytes is above the limit of {limit}", .bhs[0] & OPCODE_MASK)]
    AhsTooLong {
        /// Header of the PDU.
        bhs: Box<Bhs>,
        /// TotalAHSLength in bytes.
        len: usize,
        /// The limit in force.
        limit: usize,
    },
}

impl FrameError {
    /// Whether no further PDU can be found in this stream. [`Framer::next_pdu`] repeats a fatal error for ever.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::DataDigest { .. })
    }
}

/// The receiving half of a connection, without its socket.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    limits: FrameLimits,
    digests: Digests,
    /// The headers at the front of the buffer have a right digest and lengths within the limits.
    headers_checked: bool,
    fatal: Option<FrameError>,
}

/// Where the parts of the PDU at the front of the buffer end.
struct Layout {
    headers: usize,
    data_start: usize,
    data_len: usize,
    end: usize,
}

impl Framer {
    /// A framer with the given limits and without digests, as a login begins.
    #[must_use]
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Sets the limits for every PDU that has not been returned yet.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
        self.headers_checked = false;
    }

    /// Switches digests for every byte that has not been framed yet: to be called between the PDU that ends the login
    /// and the next call of [`Framer::next_pdu`].
    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
        self.headers_checked = false;
    }

    /// Appends received bytes by copying them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer to read into, with room for the rest of the PDU that has begun and for no less than [`READ_CHUNK`]
    /// bytes, unless a quarter of that is free anyway. Append to it only.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        // Before the header is checked its lengths may be anything, and must not make us allocate.
        let missing = match self.layout() {
            Some(layout) if self.headers_checked => layout.end.saturating_sub(self.buffer.len()),
            _ => 0,
        };
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < missing.max(READ_CHUNK / 4) {
            self.buffer.reserve(missing.max(READ_CHUNK));
        }
        &mut self.buffer
    }

    /// Bytes received and not yet returned. A connection that ends while this is not zero was cut inside a PDU.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole PDU, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// See [`FrameError`]; after one that is not [fatal](FrameError::is_fatal) the next call goes on with the next PDU.
    pub fn next_pdu(&mut self) -> Result<Option<RawPdu>, FrameError> {
        if let Some(error) = &self.fatal {
            return Err(error.clone());
        }
        let taken = self.take();
        if let Err(error) = &taken
            && error.is_fatal()
        {
            self.fatal = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        taken
    }

    fn take(&mut self) -> Result<Option<RawPdu>, FrameError> {
        let Some(layout) = self.layout() else { return Ok(None) };
        if !self.check_headers(&layout)? || self.buffer.len() < layout.end {
            return Ok(None);
        }
        self.headers_checked = false;
        let pdu = self.buffer.split_to(layout.end).freeze();
        let mut bhs = [0; BHS_LEN];
        bhs.copy_from_slice(&pdu[..BHS_LEN]);
        let padded_end = layout.data_start + layout.data_len + padding(layout.data_len);
        if self.digests.data && layout.data_len > 0 {
            let found = digest_at(&pdu, padded_end);
            let computed = crc32c(&pdu[layout.data_start..padded_end]).value();
            if found != computed {
                return Err(FrameError::DataDigest { bhs: Box::new(bhs), found, computed });
            }
        }
        // An empty slice must not keep the receive buffer alive.
        let part = |from, to| if from == to { Bytes::new() } else { pdu.slice(from..to) };
        Ok(Some(RawPdu {
            bhs,
            ahs: part(BHS_LEN, layout.headers),
            data: part(layout.data_start, layout.data_start + layout.data_len),
        }))
    }

    /// Lengths of the PDU at the front, as its header states them; `None` before its basic header segment is whole.
    fn layout(&self) -> Option<Layout> {
        let bhs = self.buffer.first_chunk::<BHS_LEN>()?;
        let headers = BHS_LEN + usize::from(bhs[4]) * 4;
        let data_start = headers + if self.digests.header { DIGEST_LEN } else { 0 };
        let data_len = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let data_digest = if self.digests.data && data_len > 0 { DIGEST_LEN } else { 0 };
        let end = data_start + data_len + padding(data_len) + data_digest;
        Some(Layout { headers, data_start, data_len, end })
    }

    /// Whether the headers are there and their digest and lengths are right; `false` when more bytes are needed to say.
    ///
    /// Without a header digest the lengths are judged as soon as they are there. With one, they are the peer's word only
    /// after the digest is seen to be right, which is at most 1024 bytes later.
    fn check_headers(&mut self, layout: &Layout) -> Result<bool, FrameError> {
        if self.headers_checked {
            return Ok(true);
        }
        if self.digests.header {
            if self.buffer.len() < layout.data_start {
                return Ok(false);
            }
            let found = digest_at(&self.buffer, layout.headers);
            let computed = crc32c(&self.buffer[..layout.headers]).value();
            if found != computed {
                return Err(FrameError::HeaderDigest { found, computed });
            }
        }
        self.check_lengths(layout)?;
        self.headers_checked = true;
        Ok(true)
    }

    fn check_lengths(&self, layout: &Layout) -> Result<(), FrameError> {
        let Some(bhs) = self.buffer.first_chunk::<BHS_LEN>() else { return Ok(()) };
        let ahs_len = layout.headers - BHS_LEN;
        if ahs_len > self.limits.ahs_len {
            let (bhs, limit) = (Box::new(*bhs), self.limits.ahs_len);
            return Err(FrameError::AhsTooLong { bhs, len: ahs_len, limit });
        }
        if layout.data_len > self.limits.data_segment_len as usize {
            let (bhs, limit) = (Box::new(*bhs), self.limits.data_segment_len);
            return Err(FrameError::DataTooLong { bhs, len: layout.data_len, limit });
        }
        Ok(())
    }
}

/// The digest that stands at `at`; the caller has made sure that it is there.
fn digest_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
