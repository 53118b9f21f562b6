//! Log pages (SPC-4 §7.3): page header and parameters.

use super::bytes::{u8_at, u16_at};

/// PAGE CODE of Supported Log Pages (SPC-4 §7.3.19).
pub const SUPPORTED_PAGES: u8 = 0x00;
/// PAGE CODE of Write Error Counters (SPC-4 §7.3.24).
pub const WRITE_ERROR_COUNTERS: u8 = 0x02;
/// PAGE CODE of Read Error Counters (SPC-4 §7.3.16).
pub const READ_ERROR_COUNTERS: u8 = 0x03;
/// PAGE CODE of Verify Error Counters (SPC-4 §7.3.23).
pub const VERIFY_ERROR_COUNTERS: u8 = 0x05;
/// PAGE CODE of Informational Exceptions (SPC-4 §7.3.9).
pub const INFORMATIONAL_EXCEPTIONS: u8 = 0x2f;
/// SUBPAGE CODE that asks for the list of pages and subpages.
pub const ALL_SUBPAGES: u8 = 0xff;

/// PARAMETER CODE of error counter pages: total bytes processed.
pub const TOTAL_BYTES_PROCESSED: u16 = 0x0005;
/// PARAMETER CODE of error counter pages: total uncorrected errors.
pub const TOTAL_UNCORRECTED_ERRORS: u16 = 0x0006;

/// A log parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// PARAMETER CODE.
    pub code: u16,
    /// FORMAT AND LINKING: 00b for a counter, 11b for binary data (SPC-4 §7.3.2.2).
    pub format: u8,
    /// The value.
    pub value: Vec<u8>,
}

impl Parameter {
    /// A bounded data counter of eight bytes.
    #[must_use]
    pub fn counter(code: u16, value: u64) -> Self {
        Self { code, format: 0b00, value: value.to_be_bytes().to_vec() }
    }
}

/// A page as LOG SENSE returns it, not yet cut to an allocation length. A subpage sets SPF.
#[must_use]
pub fn encode_page(page: u8, subpage: u8, body: &[u8]) -> Vec<u8> {
    let spf = u8::from(subpage != 0) << 6;
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let body = body.get(..len.into()).unwrap_or(body);
    [&[page & 0x3f | spf, subpage], len.to_be_bytes().as_slice(), body].concat()
}

/// The parameters of a page, one after another.
#[must_use]
pub fn encode_parameters(parameters: &[Parameter]) -> Vec<u8> {
    let mut out = Vec::new();
    for parameter in parameters {
        out.extend(parameter.code.to_be_bytes());
        out.push(parameter.format & 3);
        out.push(u8::try_from(parameter.value.len()).unwrap_or(u8::MAX));
        out.extend(parameter.value.iter().take(u8::MAX.into()));
    }
    out
}

/// Page code, subpage code and parameters of a page that may be cut; `None` without a header. Ends at the first parameter that is
/// cut.
#[must_use]
pub fn decode_page(bytes: &[u8]) -> Option<(u8, u8, Vec<Parameter>)> {
    let (page, subpage, len) = (u8_at(bytes, 0)? & 0x3f, u8_at(bytes, 1)?, u16_at(bytes, 2)?);
    let body = bytes.get(4..)?;
    let mut rest = body.get(..body.len().min(len.into()))?;
    let mut all = Vec::new();
    while let (Some(code), Some(control), Some(len)) = (u16_at(rest, 0), u8_at(rest, 2), u8_at(rest, 3)) {
        let Some(value) = rest.get(4..4 + usize::from(len)) else { break };
        all.push(Parameter { code, format: control & 3, value: value.to_vec() });
        rest = rest.get(4 + usize::from(len)..).unwrap_or_default();
    }
    Some((page, subpage, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_survive_the_wire_and_lose_a_cut_parameter() {
        let parameters =
            vec![Parameter::counter(5, 1 << 40), Parameter { code: 0, format: 3, value: vec![1, 2, 3] }];
        let page = encode_page(WRITE_ERROR_COUNTERS, 0, &encode_parameters(&parameters));
        assert_eq!(decode_page(&page), Some((2, 0, parameters.clone())));
        assert_eq!(decode_page(&page[..page.len() - 1]), Some((2, 0, parameters[..1].to_vec())));
        assert_eq!(decode_page(&page[..3]), None);
    }

    #[test]
    fn a_subpage_says_that_it_is_one() {
        assert_eq!(encode_page(0x00, 0xff, &[]), [0x40, 0xff, 0, 0]);
    }
}
