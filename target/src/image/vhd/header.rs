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
use super::footer::seconds_since_2000;
use crate::image::{BlockFile, Format, OpenError, ParentInfo, ParentRecord};

/// Bytes of the header.
pub(super) const HEADER_LEN: usize = 1024;

const COOKIE: &[u8; 8] = b"cxsparse";
const CHECKSUM_AT: usize = 36;
const LOCATORS: std::ops::Range<usize> = 576..768;
const LOCATOR_LEN: usize = 24;
/// What locators are read, the best first. `Mac ` is a binary alias that says nothing here.
const PLATFORMS: [&[u8; 4]; 5] = [b"W2ru", b"Wi2r", b"W2ku", b"Wi2k", b"MacX"];
/// Longest locator text that is read: Windows' longest path is 32767 characters.
pub(super) const MAX_LOCATOR_TEXT: u32 = 65_536;
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
        let mut header = Self { bytes: [0; HEADER_LEN] };
        header.fill(table_offset, entries, block_size);
        header.seal();
        header
    }

    /// A header for a new differencing disk. `locators` are written where they say.
    pub(super) fn new_child(
        (table_offset, entries, block_size): (u64, u32, u32),
        parent: &ParentRecord,
        locators: &[Locator],
    ) -> Self {
        Self::new(table_offset, entries, block_size).with_parent(parent, locators)
    }

    /// The same with another parent. `locators` are written where they say.
    pub(super) fn with_parent(&self, parent: &ParentRecord, locators: &[Locator]) -> Self {
        let mut header = self.clone();
        let bytes = &mut header.bytes;
        put(bytes, 40, parent.id.as_bytes());
        put(bytes, 56, &seconds_since_2000(parent.modified).to_be_bytes());
        let name = parent.absolute.rsplit('/').next().unwrap_or_default();
        let name: Vec<u8> = name.encode_utf16().take(255).flat_map(u16::to_be_bytes).collect();
        put(bytes, 64, &[0; 512]);
        put(bytes, 64, &name);
        put(bytes, LOCATORS.start, &[0; LOCATORS.end - LOCATORS.start]);
        for (locator, at) in locators.iter().zip(LOCATORS.step_by(LOCATOR_LEN)) {
            put(bytes, at, &locator.platform);
            put(bytes, at + 4, &locator.len.next_multiple_of(512).to_be_bytes());
            put(bytes, at + 8, &locator.len.to_be_bytes());
            put(bytes, at + 16, &locator.offset.to_be_bytes());
        }
        header.seal();
        header
    }

    fn fill(&mut self, table_offset: u64, entries: u32, block_size: u32) {
        let bytes = &mut self.bytes;
        put(bytes, 0, COOKIE);
        put(bytes, 8, &u64::MAX.to_be_bytes());
        put(bytes, 16, &table_offset.to_be_bytes());
        put(bytes, 24, &0x0001_0000u32.to_be_bytes());
        put(bytes, 28, &entries.to_be_bytes());
        put(bytes, 32, &block_size.to_be_bytes());
    }

    fn seal(&mut self) {
        let sum = checksum(&self.bytes, CHECKSUM_AT);
        put(&mut self.bytes, CHECKSUM_AT, &sum.to_be_bytes());
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

    /// The same with a table of `entries` at `table_offset`.
    pub(super) fn with_table(&self, table_offset: u64, entries: u32) -> Self {
        let mut header = self.clone();
        put(&mut header.bytes, 16, &table_offset.to_be_bytes());
        put(&mut header.bytes, 28, &entries.to_be_bytes());
        header.seal();
        header
    }

    /// The locators that are in use.
    pub(super) fn locators(&self) -> impl Iterator<Item = Locator> {
        let table = self.bytes.get(LOCATORS).unwrap_or_default();
        table
            .chunks(LOCATOR_LEN)
            .map(|l| Locator { platform: field(l, 0), len: be32(l, 8), offset: be64(l, 16) })
            .filter(|l| l.platform != [0; 4])
    }

    /// The identity that the parent of a differencing disk must have.
    pub(super) fn parent_id(&self) -> Uuid {
        Uuid::from_bytes(field(&self.bytes, 40))
    }

    /// The names of the parent: relative ones first, then absolute ones, the bare name in the header last.
    pub(super) fn parent_names(&self, file: &dyn BlockFile) -> Vec<String> {
        let rank = |l: &Locator| PLATFORMS.iter().position(|p| *p == &l.platform);
        let mut locators: Vec<Locator> = self.locators().filter(|l| rank(l).is_some()).collect();
        locators.sort_by_key(rank);
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
        names
    }

    /// What a differencing disk tells about its parent.
    pub(super) fn parent(&self, file: &dyn BlockFile) -> ParentInfo {
        ParentInfo { id: Some(self.parent_id().to_string()), names: self.parent_names(file) }
    }
}

impl Locator {
    fn read(&self, file: &dyn BlockFile) -> Option<String> {
        let len = self.len.min(MAX_LOCATOR_TEXT);
        let mut text = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut text, self.offset).ok()?;
        match &self.platform {
            b"MacX" => Some(path_of_url(&text)),
            b"W2ku" | b"W2ru" => Some(utf16(&text)),
            b"Wi2k" | b"Wi2r" => Some(String::from_utf8_lossy(text.split(|b| *b == 0).next()?).into_owned()),
            _ => None,
        }
    }
}

/// The texts of the locators that name `parent`, by platform, the best first: Windows' relative and absolute path, and a
/// URL as on the Macintosh, in which a path of this host has its own form.
pub(super) fn locator_texts(parent: &ParentRecord) -> [([u8; 4], Vec<u8>); 3] {
    let windows = |path: &str| path.replace('/', "\\").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let relative = if parent.relative.starts_with("..") {
        parent.relative.clone()
    } else {
        format!("./{}", parent.relative)
    };
    [
        (*b"W2ru", windows(&relative)),
        (*b"W2ku", windows(&parent.absolute)),
        (*b"MacX", url_of_path(&parent.absolute).into_bytes()),
    ]
}

fn url_of_path(path: &str) -> String {
    let mut url = "file://".to_owned();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// The path of a `file:` URL (RFC 8089); what is no such URL is taken as a path.
fn path_of_url(url: &[u8]) -> String {
    let rest = url.strip_prefix(b"file://").map(|rest| rest.strip_prefix(b"localhost").unwrap_or(rest));
    let mut rest = rest.unwrap_or(url).split(|b| *b == 0).next().unwrap_or_default();
    let mut path = Vec::with_capacity(rest.len());
    while let Some((byte, later)) = rest.split_first() {
        let digits = later.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()).filter(|_| *byte == b'%') {
            Some(decoded) => {
                path.push(decoded);
                rest = later.get(2..).unwrap_or_default();
            }
            None => {
                path.push(*byte);
                rest = later;
            }
        }
    }
    String::from_utf8_lossy(&path).into_owned()
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
