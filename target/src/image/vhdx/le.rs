//! Little-endian fields of a structure that was read whole. A field past the end of the bytes reads as zero.

fn bytes<const N: usize>(buf: &[u8], at: usize) -> [u8; N] {
    buf.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

pub(super) fn u16_at(buf: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(buf, at))
}

pub(super) fn u32_at(buf: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(buf, at))
}

pub(super) fn u64_at(buf: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(buf, at))
}

pub(super) fn guid_at(buf: &[u8], at: usize) -> uuid::Uuid {
    uuid::Uuid::from_bytes_le(bytes(buf, at))
}

/// Lays `field` over `buf` at `at`; what would pass the end is left out.
pub(super) fn put(buf: &mut [u8], at: usize, field: &[u8]) {
    if let Some(to) = buf.get_mut(at..).and_then(|rest| rest.get_mut(..field.len())) {
        to.copy_from_slice(field);
    }
}

/// The text of UTF-16LE bytes up to the first NUL; what is no UTF-16 becomes U+FFFD.
pub(super) fn utf16(buf: &[u8]) -> String {
    let units: Vec<u16> =
        buf.chunks_exact(2).map(|pair| u16_at(pair, 0)).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}
