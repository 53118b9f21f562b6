//! Extended INQUIRY Data, page 86h (SPC-4 §7.8.7).

use crate::scsi::bytes::u8_at;

/// What the page says of the logical unit; every feature that has no field here is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedInquiry {
    /// SIMPSUP: SIMPLE task attribute.
    pub simple: bool,
    /// ORDSUP: ORDERED task attribute.
    pub ordered: bool,
    /// HEADSUP: HEAD OF QUEUE task attribute.
    pub head_of_queue: bool,
    /// V_SUP: there is a volatile cache.
    pub volatile_cache: bool,
    /// MAXIMUM SUPPORTED SENSE DATA LENGTH.
    pub max_sense_len: u8,
}

/// PAGE LENGTH.
const LEN: usize = 0x3c;

impl ExtendedInquiry {
    /// The page's body, 60 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[1] = u8::from(self.head_of_queue) << 2 | u8::from(self.ordered) << 1 | u8::from(self.simple);
        out[2] = u8::from(self.volatile_cache);
        out[9] = self.max_sense_len;
        out
    }

    /// Reads a body.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (attributes, cache) = (u8_at(body, 1)?, u8_at(body, 2)?);
        Some(Self {
            simple: attributes & 1 != 0,
            ordered: attributes & 2 != 0,
            head_of_queue: attributes & 4 != 0,
            volatile_cache: cache & 1 != 0,
            max_sense_len: u8_at(body, 9).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_survives_the_wire() {
        let page = ExtendedInquiry {
            simple: true,
            ordered: false,
            head_of_queue: true,
            volatile_cache: true,
            max_sense_len: 252,
        };
        assert_eq!(ExtendedInquiry::decode(&page.encode()), Some(page));
        assert_eq!(ExtendedInquiry::decode(&page.encode()[..2]), None);
    }
}
