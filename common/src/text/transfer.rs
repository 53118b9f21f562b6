//! Text that is spread over several PDUs by the C bit (RFC 7143 §6.2, §11.10.4).
//!
//! A pair may be cut anywhere. The other side answers each PDU that has the C bit with a PDU without text, until the one
//! without the C bit has come.

use bytes::Bytes;

use super::pairs::{Pairs, TextError};
use crate::limits::TEXT_LEN_MAX;

/// Collects the text of one direction until a PDU without the C bit.
#[derive(Debug, Default)]
pub struct TextReceiver {
    buffer: Vec<u8>,
    received: usize,
}

impl TextReceiver {
    /// Takes the data segment of one PDU. `None` when more is to come.
    ///
    /// The sum of all that one receiver was given is bounded by [`TEXT_LEN_MAX`].
    ///
    /// # Errors
    /// [`TextError`]; what was collected is dropped.
    pub fn push(&mut self, data: &[u8], continues: bool) -> Result<Option<Pairs>, TextError> {
        self.received = self.received.saturating_add(data.len());
        if self.received > TEXT_LEN_MAX {
            self.buffer = Vec::new();
            return Err(TextError::TooLong);
        }
        if continues {
            self.buffer.extend_from_slice(data);
            return Ok(None);
        }
        if self.buffer.is_empty() {
            return Pairs::decode(data).map(Some);
        }
        let mut whole = std::mem::take(&mut self.buffer);
        whole.extend_from_slice(data);
        Pairs::decode(&whole).map(Some)
    }

    /// Whether a PDU with the C bit came and its end did not.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Hands out the text of one direction in pieces that fit the other side's MaxRecvDataSegmentLength.
#[derive(Debug, Default)]
pub struct TextSender {
    rest: Bytes,
}

/// One piece of text for one PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPiece {
    /// The data segment.
    pub data: Bytes,
    /// The C bit: more is to come.
    pub continues: bool,
}

impl TextSender {
    /// Begins to send a text; a text under way is given up.
    pub fn begin(&mut self, pairs: &Pairs) {
        self.rest = pairs.encode();
    }

    /// The next piece, at most `limit` bytes long. Without text it is empty and the last.
    pub fn next_piece(&mut self, limit: u32) -> TextPiece {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let data = self.rest.split_to(self.rest.len().min(limit));
        TextPiece { data, continues: self.is_pending() }
    }

    /// Whether pieces are left.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests;
