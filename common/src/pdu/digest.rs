//! Header and data digests, CRC32C (RFC 7143 §13.1).
//!
//! The only place that names the checksum crate, so that it can be exchanged. A digest stands on the wire with its least
//! significant byte first: RFC 3720 B.4 gives `aa 36 91 8a` for 32 bytes of zeroes.

/// Length of a digest on the wire.
pub const DIGEST_LEN: usize = 4;

/// Which digests a connection uses; none during login (RFC 7143 §6.2.1, §13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digests {
    /// HeaderDigest=CRC32C: over the basic and the additional header segments.
    pub header: bool,
    /// DataDigest=CRC32C: over the data segment and its padding.
    pub data: bool,
}

impl Digests {
    /// No digest at all.
    pub const NONE: Self = Self { header: false, data: false };
    /// Both digests.
    pub const BOTH: Self = Self { header: true, data: true };
}

/// A CRC32C over bytes that come in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Crc32c(u32);

impl Crc32c {
    /// The checksum of no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The checksum of everything so far followed by `bytes`.
    #[must_use]
    pub fn append(self, bytes: &[u8]) -> Self {
        Self(::crc32c::crc32c_append(self.0, bytes))
    }

    /// The number, as formats other than iSCSI store it.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The four bytes in wire order.
    #[must_use]
    pub const fn to_wire(self) -> [u8; DIGEST_LEN] {
        self.0.to_le_bytes()
    }
}

/// The CRC32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> Crc32c {
    Crc32c::new().append(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_rfc_3720_appendix_b_4() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let read_10 = [
            0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0,
            0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
        ];
        for (bytes, digest) in [
            (&[0; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&ascending, [0x4e, 0x79, 0xdd, 0x46]),
            (&descending, [0x5c, 0xdb, 0x3f, 0x11]),
            (&read_10, [0x56, 0x3a, 0x96, 0xd9]),
        ] {
            assert_eq!(crc32c(bytes).to_wire(), digest, "{bytes:02x?}");
        }
    }

    #[test]
    fn pieces_have_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for cut in [0, 1, 7, 128, 255, 256] {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(crc32c(a).append(b), crc32c(&bytes));
        }
    }
}
