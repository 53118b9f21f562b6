//! Writing wire vectors as the figures of RFC 7143 §11 show them: twelve words of four bytes.

use super::{BHS_LEN, Bhs, PduError};

/// A header from twelve hexadecimal words; a short word is padded with zeroes on the left.
pub(super) fn bhs(words: &str) -> Bhs {
    let mut bhs = [0; BHS_LEN];
    let words: Vec<u32> = words.split_whitespace().map(|w| u32::from_str_radix(w, 16).unwrap()).collect();
    assert_eq!(words.len(), 12, "a header has twelve words");
    for (chunk, word) in bhs.chunks_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bhs
}

pub(super) fn undefined(pdu: &'static str, field: &'static str, value: u32) -> PduError {
    PduError::UndefinedValue { pdu, field, value }
}
