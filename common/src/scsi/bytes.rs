//! Big-endian fields at fixed places, without a panic when the bytes are too few.

/// The `N` bytes at `at`, or `None` when they do not all exist.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The byte at `at`.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Two bytes at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// Three bytes at `at`.
pub(crate) fn u24_at(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = array(bytes, at)?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// Four bytes at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// Eight bytes at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// `N` bytes of printable ASCII, padded with spaces on the right (SPC-4 §4.3.1). Other characters become `?`, what does not
/// fit is left out.
#[must_use]
pub fn ascii_field<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.chars()) {
        *to = u8::try_from(from).ok().filter(|b| (0x20..=0x7e).contains(b)).unwrap_or(b'?');
    }
    field
}

/// The text of a space-padded ASCII field. Bytes outside printable ASCII become `?`.
pub(crate) fn text(field: &[u8]) -> String {
    let text: String =
        field.iter().map(|&b| if (0x20..=0x7e).contains(&b) { char::from(b) } else { '?' }).collect();
    text.trim_end_matches([' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_past_the_end_are_absent() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(u64_at(&bytes, 0), Some(0x0102_0304_0506_0708));
        assert_eq!(u64_at(&bytes, 1), None);
        assert_eq!(u24_at(&bytes, 5), Some(0x06_0708));
        assert_eq!(u24_at(&bytes, 6), None);
        assert_eq!(u16_at(&bytes, usize::MAX), None);
    }

    #[test]
    fn ascii_fields_are_padded_and_cleaned() {
        assert_eq!(&ascii_field::<8>("LUNKEEP"), b"LUNKEEP ");
        assert_eq!(&ascii_field::<4>("a\u{e9}\nbc"), b"a??b");
        assert_eq!(text(b"LUNKEEP "), "LUNKEEP");
    }
}
