//! The dynamic header: 1024 bytes that tell where the block table is, and for a differencing disk who its parent is.
//!
//! ```text
//!  0 cookie "cxsparse"   8 all ones           16 offset of the block table   24 version 1.0
//! 28 table entries      32 block size         36 checksum                    40 parent's unique id
//! 56 parent's time      64 parent's name, UTF-16BE, 512 bytes
//! 576 eight parent locators of 24 bytes: 0 platform, 4 space, 8 length, 16 offset in the file
//! ```

use uuid::Uuid;

use super::bytes::{be16, be32, be64, checksum, field, put};
use crate::image::{BlockFile, Format, OpenError, ParentInfo};

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 1024;

const COOKIE: &[u8; 8] = b"cxsparse";
const CHECKSUM_AT: usize = 36;
const LOCATORS: std::ops::Range<usize> = 576..768;
const LOCATOR_LEN: usize = 24;
/// Longest locator text that is read: Windows' longest path is 32767 characters.
const MAX_LOCATOR_TEXT: u64 = 65_536;
/// Largest block size: four times what any program is known to write.
const MAX_BLOCK_SIZE: u32 = 1 << 28;

/// A dynamic header whose own fields are sound. What they point at is not checked yet.
#[derive(Clone, Debug)]
pub(super) struct Header {
    bytes: [u8; HEADER_LEN],
}

/// Where a differencing disk keeps one name of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Locator {
    pub(super) platform: [u8; 4],
    pub(super) len: u32,
    pub(super) offset: u64,
}

impl Header {
    /// Takes `bytes` for a header when cookie, checksum, version and block size are right.
    pub(super) fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self, OpenError> {
        let damaged =
            |field: &'static str, detail: String| Err(OpenError::damaged(Format::Vhd, field, detail));
        if !bytes.starts_with(COOKIE) {
            return damaged("dynamic header", "it does not start with cxsparse".to_owned());
        }
        let (stored, computed) = (be32(&bytes, CHECKSUM_AT), checksum(&bytes, CHECKSUM_AT));
        if stored != computed {
            return damaged(
                "dynamic header checksum",
                format!("{stored:#010x}, but the bytes give {computed:#010x}"),
            );
        }
        let major = be16(&bytes, 24);
        if major != 1 {
            return Err(OpenError::unsupported(
                Format::Vhd,
                "dynamic header version",
                format!("{major}.{}; only 1.x is known", be16(&bytes, 26)),
            ));
        }
        let header = Self { bytes };
        let block = header.block_size();
        if !block.is_power_of_two() || !(512..=MAX_BLOCK_SIZE).contains(&block) {
            return damaged(
                "block size",
                format!("{block} bytes; it is a power of two from 512 to {MAX_BLOCK_SIZE}"),
            );
        }
        Ok(header)
    }

    /// A header for a new dynamic disk.
    pub(super) fn new(table_offset: u64, entries: u32, block_size: u32) -> Self {
        let mut bytes = [0; HEADER_LEN];
        put(&mut bytes, 0, COOKIE);
        put(&mut bytes, 8, &u64::MAX.to_be_bytes());
        put(&mut bytes, 16, &table_offset.to_be_bytes());
        put(&mut bytes, 24, &0x0001_0000u32.to_be_bytes());
        put(&mut bytes, 28, &entries.to_be_bytes());
        put(&mut bytes, 32, &block_size.to_be_bytes());
        let sum = checksum(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &sum.to_be_bytes());
        Self { bytes }
    }

    pub(super) fn bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// Where the block table is, in bytes from the start of the file.
    pub(super) fn table_offset(&self) -> u64 {
        be64(&self.bytes, 16)
    }

    /// Entries of the block table.
    pub(super) fn table_entries(&self) -> u32 {
        be32(&self.bytes, 28)
    }

    /// Bytes of payload in a block.
    pub(super) fn block_size(&self) -> u32 {
        be32(&self.bytes, 32)
    }

    /// The locators that are in use.
    pub(super) fn locators(&self) -> impl Iterator<Item = Locator> {
        let table = self.bytes.get(LOCATORS).unwrap_or_default();
        table
            .chunks(LOCATOR_LEN)
            .map(|l| Locator { platform: field(l, 0), len: be32(l, 8), offset: be64(l, 16) })
            .filter(|l| l.platform != [0; 4])
    }

    /// What a differencing disk tells about its parent: the relative name first, the name in the header last.
    pub(super) fn parent(&self, file: &dyn BlockFile) -> ParentInfo {
        let mut locators: Vec<Locator> = self.locators().collect();
        locators.sort_by_key(|l| &l.platform != b"W2ru");
        let mut names: Vec<String> = locators.iter().filter_map(|l| l.read(file)).collect();
        let in_header: Vec<u8> = self
            .bytes
            .get(64..576)
            .unwrap_or_default()
            .chunks(2)
            .flat_map(|c| [be16(c, 0).to_le_bytes()])
            .flatten()
            .collect();
        names.push(utf16(&in_header));
        names.retain(|name| !name.is_empty());
        names.dedup();
        ParentInfo { id: Some(Uuid::from_bytes(field(&self.bytes, 40)).to_string()), names }
    }
}

impl Locator {
    fn read(&self, file: &dyn BlockFile) -> Option<String> {
        let len = u64::from(self.len).min(MAX_LOCATOR_TEXT);
        let mut text = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut text, self.offset).ok()?;
        match &self.platform {
            b"MacX" => Some(String::from_utf8_lossy(&text).into_owned()),
            b"W2ku" | b"W2ru" => Some(utf16(&text)),
            _ => None,
        }
    }
}

/// Text in UTF-16LE up to the first NUL.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|c| u16::from_le_bytes(field(c, 0))).take_while(|u| *u != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    fn edited(edit: impl FnOnce(&mut [u8; HEADER_LEN])) -> Result<Header, OpenError> {
        let mut bytes = *Header::new(1536, 10, 2 << 20).bytes();
        edit(&mut bytes);
        let sum = checksum(&bytes, CHECKSUM_AT);
        put(&mut bytes, CHECKSUM_AT, &sum.to_be_bytes());
        Header::parse(bytes)
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_a_changed_byte_is_noticed() {
        let header = Header::new(8192, 77, 1 << 20);
        let read = Header::parse(*header.bytes()).unwrap();
        assert_eq!((read.table_offset(), read.table_entries(), read.block_size()), (8192, 77, 1 << 20));
        let mut bad = *header.bytes();
        bad[1000] = 1;
        assert!(Header::parse(bad).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn block_sizes_are_powers_of_two_from_a_sector_up() {
        for (size, good) in
            [(0u32, false), (256, false), (512, true), (3 << 20, false), (1 << 28, true), (1 << 29, false)]
        {
            assert_eq!(edited(|b| put(b, 32, &size.to_be_bytes())).is_ok(), good, "{size}");
        }
    }

    #[test]
    fn the_parent_is_named_by_its_relative_name_first() {
        let file = MemoryFile::default();
        let utf16 = |s: &str| s.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (absolute, relative) = (utf16("C:\\vm\\p.vhd"), utf16(".\\p.vhd"));
        file.write_all_at(&absolute, 4096).unwrap();
        file.write_all_at(&relative, 8192).unwrap();
        let header = edited(|b| {
            for (i, (platform, text, offset)) in
                [(b"W2ku", &absolute, 4096u64), (b"W2ru", &relative, 8192), (b"W2ku", &absolute, 1 << 40)]
                    .into_iter()
                    .enumerate()
            {
                let at = 576 + i * 24;
                put(b, at, platform);
                put(b, at + 8, &u32::try_from(text.len()).unwrap().to_be_bytes());
                put(b, at + 16, &offset.to_be_bytes());
            }
            put(b, 64, &[0, b'p']);
        })
        .unwrap();
        assert_eq!(header.parent(&file).names, [".\\p.vhd", "C:\\vm\\p.vhd", "p"]);
    }
}
