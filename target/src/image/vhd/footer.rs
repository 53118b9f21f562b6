//! The footer: 512 bytes at the end of every VHD file, with a copy at the start of dynamic and differencing ones.
//!
//! ```text
//!  0 cookie "conectix"    8 features        12 version 1.0      16 offset of the dynamic header, all ones: fixed
//! 24 seconds since 2000  28 creator         32 creator version  36 creator's host
//! 40 original size       48 current size    56 geometry         60 type
//! 64 checksum            68 unique id       84 saved state      85 reserved, NOT zero in Windows 10's files
//! ```
//! The bytes are kept as they were read, so that writing a footer again changes nothing of what another program put there.

use uuid::Uuid;

use super::bytes::{be16, be32, be64, checksum, field, put};
use super::geometry::Chs;
use crate::image::{Format, OpenError};

/// Bytes of a footer.
pub(super) const FOOTER_LEN: usize = 512;
/// What a footer starts with.
pub(super) const COOKIE: &[u8; 8] = b"conectix";
/// The creator we write: Hyper-V's, since it tells every reader that the current size counts. QEMU before version 10 (Debian 12 has
/// 7.2) takes the geometry, which is up to a cylinder smaller, for every creator that is not on its list, and so would cut
/// off the end of the disk.
pub(super) const CREATOR: &[u8; 4] = b"win ";

const CHECKSUM_AT: usize = 64;
const FIXED_OFFSET: u64 = u64::MAX;
/// 2000-01-01T00:00:00Z in seconds since 1970.
const EPOCH: u64 = 946_684_800;

/// A time as VHD files have it, from seconds since 1970.
pub(super) fn seconds_since_2000(unix_time: u64) -> u32 {
    u32::try_from(unix_time.saturating_sub(EPOCH)).unwrap_or(u32::MAX)
}

/// What kind of disk a footer describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

/// Why 512 bytes are not a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They do not start with the cookie.
    NoCookie,
    /// The checksum does not match.
    Checksum { stored: u32, computed: u32 },
}

/// A footer with a right checksum. Its fields may still be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    bytes: [u8; FOOTER_LEN],
}

impl Footer {
    /// Takes `bytes` for a footer when cookie and checksum are right.
    pub(super) fn parse(bytes: [u8; FOOTER_LEN]) -> Result<Self, Fault> {
        if !bytes.starts_with(COOKIE) {
            return Err(Fault::NoCookie);
        }
        let (stored, computed) = (be32(&bytes, CHECKSUM_AT), checksum(&bytes, CHECKSUM_AT));
        if stored == computed { Ok(Self { bytes }) } else { Err(Fault::Checksum { stored, computed }) }
    }

    /// A footer for a new file.
    pub(super) fn new(kind: Kind, size: u64, id: Uuid, unix_time: u64) -> Self {
        let mut bytes = [0; FOOTER_LEN];
        let (code, data_offset): (u32, u64) = match kind {
            Kind::Fixed => (2, FIXED_OFFSET),
            Kind::Dynamic => (3, 512),
            Kind::Differencing => (4, 512),
        };
        let seconds = seconds_since_2000(unix_time);
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, 8, &2u32.to_be_bytes());
        put(&mut bytes, 12, &0x0001_0000u32.to_be_bytes());
        put(&mut bytes, 16, &data_offset.to_be_bytes());
        put(&mut bytes, 24, &seconds.to_be_bytes());
        put(&mut bytes, 28, CREATOR);
        put(&mut bytes, 32, &0x0001_0000u32.to_be_bytes());
        put(&mut bytes, 36, b"Wi2k");
        put(&mut bytes, 40, &size.to_be_bytes());
        put(&mut bytes, 48, &size.to_be_bytes());
        put(&mut bytes, 56, &Chs::for_size(size).to_bytes());
        put(&mut bytes, 60, &code.to_be_bytes());
        put(&mut bytes, 68, id.as_bytes());
        let sum = checksum(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &sum.to_be_bytes());
        Self { bytes }
    }

    /// The bytes, as they were read.
    pub(super) fn bytes(&self) -> &[u8; FOOTER_LEN] {
        &self.bytes
    }

    /// The same with the dynamic header at `offset`.
    pub(super) fn with_data_offset(&self, offset: u64) -> Self {
        let mut bytes = self.bytes;
        put(&mut bytes, 16, &offset.to_be_bytes());
        let sum = checksum(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &sum.to_be_bytes());
        Self { bytes }
    }

    /// The same for a disk of `size` bytes. The original size stays; a geometry that spoke of the size gets the new one.
    pub(super) fn with_size(&self, size: u64) -> Self {
        let mut bytes = self.bytes;
        put(&mut bytes, 48, &size.to_be_bytes());
        put(&mut bytes, 56, &Chs::for_size(size).to_bytes());
        if self.creator_id() == *b"vpc " {
            // Its files are as large as their geometry, which not every size is.
            put(&mut bytes, 28, CREATOR);
        }
        let sum = checksum(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &sum.to_be_bytes());
        Self { bytes }
    }

    /// The kind of disk, when version and type are ones that exist.
    pub(super) fn kind(&self) -> Result<Kind, OpenError> {
        let major = be16(&self.bytes, 12);
        if major != 1 {
            return Err(OpenError::unsupported(
                Format::Vhd,
                "footer version",
                format!("{major}.{}; only 1.x is known", be16(&self.bytes, 14)),
            ));
        }
        match be32(&self.bytes, 60) {
            2 => Ok(Kind::Fixed),
            3 => Ok(Kind::Dynamic),
            4 => Ok(Kind::Differencing),
            other => Err(OpenError::damaged(
                Format::Vhd,
                "footer disk type",
                format!("{other}; it is 2 (fixed), 3 (dynamic) or 4 (differencing)"),
            )),
        }
    }

    /// Where the dynamic header is.
    pub(super) fn data_offset(&self) -> u64 {
        be64(&self.bytes, 16)
    }

    /// The program that made the file, for people.
    pub(super) fn creator(&self) -> String {
        let name: [u8; 4] = self.creator_id();
        let name: String = name
            .iter()
            .filter(|b| **b != 0)
            .map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '?' })
            .collect();
        format!("{} {}.{}", name.trim_end(), be16(&self.bytes, 32), be16(&self.bytes, 34))
    }

    fn creator_id(&self) -> [u8; 4] {
        field(&self.bytes, 28)
    }

    /// What the field for the size says.
    pub(super) fn current_size(&self) -> u64 {
        be64(&self.bytes, 48)
    }

    /// The geometry that the file records.
    pub(super) fn chs(&self) -> Chs {
        Chs::from_bytes(field(&self.bytes, 56))
    }

    /// The size of the disk in bytes. Virtual PC shows what its geometry can address, unless that is the largest geometry
    /// there is; every other creator means the current size, even where a geometry of whole cylinders is smaller (the
    /// tail holds the second partition table).
    pub(super) fn disk_size(&self) -> u64 {
        let (current, chs) = (self.current_size(), self.chs());
        if &self.creator_id() == b"vpc " && !chs.is_maximum() && chs.bytes() != 0 {
            current.min(chs.bytes())
        } else {
            current
        }
    }

    /// The disk's identity.
    pub(super) fn unique_id(&self) -> Uuid {
        Uuid::from_bytes(field(&self.bytes, 68))
    }

    /// Whether the disk belongs to a virtual machine that sleeps: writing would pull the disk from under it.
    pub(super) fn has_saved_state(&self) -> bool {
        self.bytes.get(84).is_some_and(|b| *b == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(edit: impl FnOnce(&mut [u8; FOOTER_LEN])) -> Footer {
        let mut bytes = *Footer::new(Kind::Dynamic, 10 << 30, Uuid::nil(), EPOCH + 7).bytes();
        edit(&mut bytes);
        let sum = checksum(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &sum.to_be_bytes());
        Footer::parse(bytes).unwrap()
    }

    #[test]
    fn every_single_changed_byte_is_noticed() {
        let good = *Footer::new(Kind::Fixed, 1 << 20, Uuid::from_u128(7), EPOCH).bytes();
        Footer::parse(good).unwrap();
        for at in 0..FOOTER_LEN {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert!(Footer::parse(bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn reserved_bytes_that_are_not_zero_are_accepted_and_kept() {
        let footer = with(|b| b[200] = 0x55);
        assert_eq!(footer.bytes()[200], 0x55);
        assert_eq!(be32(footer.bytes(), 24), 7);
    }

    #[test]
    fn only_virtual_pc_without_the_largest_geometry_means_the_geometry() {
        let chs = Chs { cylinders: 100, heads: 16, sectors: 63 };
        for (creator, chs, expected) in [
            (b"vpc ", chs, chs.bytes()),
            (b"vpc ", Chs::MAXIMUM, 10 << 30),
            (b"vpc ", Chs { cylinders: 0, heads: 0, sectors: 0 }, 10 << 30),
            (b"win ", chs, 10 << 30),
            (b"qemu", chs, 10 << 30),
            (b"dutl", chs, 10 << 30),
        ] {
            let footer = with(|b| {
                put(b, 28, creator);
                put(b, 56, &chs.to_bytes());
            });
            assert_eq!(footer.disk_size(), expected, "{} {chs:?}", footer.creator());
        }
    }

    #[test]
    fn unknown_versions_and_types_are_refused() {
        assert!(with(|b| put(b, 12, &[0, 2])).kind().unwrap_err().to_string().contains("version"));
        for code in [0u32, 1, 5, 6, u32::MAX] {
            assert!(with(|b| put(b, 60, &code.to_be_bytes())).kind().is_err(), "{code}");
        }
    }
}
