//! The two headers and how they are rewritten (MS-VHDX 2.2.2).
//!
//! A header is never written over while it is the only good one: the older copy is written with a larger sequence number
//! and synced, then the other. So at any moment at least one copy is whole.

use std::io;

use uuid::Uuid;

use super::le;
use crate::image::BlockFile;

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 4096;
/// Where the two headers are.
pub(super) const HEADER_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
const VERSION: u16 = 1;

/// A header without its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The header with the larger number is the current one.
    pub(super) sequence: u64,
    /// Changes when anything in the file changes.
    pub(super) file_write: Uuid,
    /// Changes when what a user of the disk can see changes.
    pub(super) data_write: Uuid,
    /// Which log entries belong to the file; nil when nothing is to be replayed.
    pub(super) log: Uuid,
    /// Version of the log's format; only 0 exists. Without meaning when `log` is nil.
    pub(super) log_version: u16,
    /// Bytes of the log.
    pub(super) log_length: u32,
    /// Where the log is.
    pub(super) log_offset: u64,
}

impl Header {
    /// Reads a header; `Err` says what is wrong with it.
    pub(super) fn decode(buf: &[u8; HEADER_LEN]) -> Result<Self, String> {
        if !buf.starts_with(b"head") {
            return Err("its signature is not \"head\"".to_owned());
        }
        let (stored, found) = (le::u32_at(buf, 4), checksum(buf));
        if stored != found {
            return Err(format!("its checksum is {stored:08x}, but its bytes give {found:08x}"));
        }
        let version = le::u16_at(buf, 66);
        if version != VERSION {
            return Err(format!("its version is {version}, only {VERSION} is known"));
        }
        Ok(Self {
            sequence: le::u64_at(buf, 8),
            file_write: le::guid_at(buf, 16),
            data_write: le::guid_at(buf, 32),
            log: le::guid_at(buf, 48),
            log_version: le::u16_at(buf, 64),
            log_length: le::u32_at(buf, 68),
            log_offset: le::u64_at(buf, 72),
        })
    }

    /// The bytes of this header.
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut buf = [0; HEADER_LEN];
        le::put(&mut buf, 0, b"head");
        le::put(&mut buf, 8, &self.sequence.to_le_bytes());
        le::put(&mut buf, 16, &self.file_write.to_bytes_le());
        le::put(&mut buf, 32, &self.data_write.to_bytes_le());
        le::put(&mut buf, 48, &self.log.to_bytes_le());
        le::put(&mut buf, 64, &self.log_version.to_le_bytes());
        le::put(&mut buf, 66, &VERSION.to_le_bytes());
        le::put(&mut buf, 68, &self.log_length.to_le_bytes());
        le::put(&mut buf, 72, &self.log_offset.to_le_bytes());
        let sum = checksum(&buf);
        le::put(&mut buf, 4, &sum.to_le_bytes());
        buf
    }
}

/// CRC-32C over `buf` with the four bytes at 4 taken as zero (MS-VHDX 2.2.2, 2.2.3.1, 2.3.1.1).
pub(super) fn checksum(buf: &[u8]) -> u32 {
    let (start, rest) = buf.split_at(buf.len().min(8));
    let mut start = start.to_vec();
    le::put(&mut start, 4, &[0; 4]);
    crc32c::crc32c_append(crc32c::crc32c(&start), rest)
}

/// Both headers as they were found, and which one counts.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    current: Header,
    /// Index of the current one in [`HEADER_OFFSETS`].
    slot: usize,
    /// What is wrong with the other copy, if anything.
    other: Option<String>,
}

impl Headers {
    /// Reads both copies. The outer error is the host's, the inner one says why no header can be used.
    pub(super) fn read(file: &dyn BlockFile) -> io::Result<Result<Self, String>> {
        let mut found = Vec::with_capacity(2);
        for offset in HEADER_OFFSETS {
            let mut buf = [0; HEADER_LEN];
            file.read_exact_at(&mut buf, offset)?;
            found.push(Header::decode(&buf));
        }
        let second = found.pop().unwrap_or_else(|| Err(String::new()));
        let first = found.pop().unwrap_or_else(|| Err(String::new()));
        Ok(Self::choose(first, second))
    }

    fn choose(first: Result<Header, String>, second: Result<Header, String>) -> Result<Self, String> {
        match (first, second) {
            (Ok(a), Ok(b)) if a.sequence == b.sequence && a != b => Err(format!(
                "both have the sequence number {}, but they differ, so neither can be trusted",
                a.sequence
            )),
            // Several programs write two headers that are the same: either will do.
            (Ok(a), Ok(b)) if a.sequence >= b.sequence => Ok(Self { current: a, slot: 0, other: None }),
            (Ok(_), Ok(b)) => Ok(Self { current: b, slot: 1, other: None }),
            (Ok(a), Err(e)) => Ok(Self { current: a, slot: 0, other: Some(e) }),
            (Err(e), Ok(b)) => Ok(Self { current: b, slot: 1, other: Some(e) }),
            (Err(a), Err(b)) => Err(format!("neither is valid: of the first, {a}; of the second, {b}")),
        }
    }

    /// The header that counts.
    pub(super) fn current(&self) -> &Header {
        &self.current
    }

    /// The number (1 or 2) of a header that is not valid, and why.
    pub(super) fn invalid(&self) -> Option<(usize, &str)> {
        self.other.as_deref().map(|reason| (2 - self.slot, reason))
    }

    /// How often [`Headers::update`] can be called before the sequence number is at its end.
    pub(super) fn updates_left(&self) -> u64 {
        (u64::MAX - self.current.sequence) / 2
    }

    /// Writes what `change` makes of the current header to both copies, one after the other, each durable before the next
    /// step (MS-VHDX 2.2.2.1).
    ///
    /// # Errors
    /// What the host reports; `InvalidData` when the sequence number cannot grow any more. Then one copy may be new.
    pub(super) fn update(&mut self, file: &dyn BlockFile, change: impl Fn(&mut Header)) -> io::Result<()> {
        for _ in 0..2 {
            let mut next = self.current.clone();
            change(&mut next);
            next.sequence = next.sequence.checked_add(1).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the header's sequence number is at its end")
            })?;
            let slot = 1 - self.slot;
            let offset = HEADER_OFFSETS.get(slot).copied().unwrap_or_default();
            file.write_all_at(&next.encode(), offset)?;
            file.sync_data()?;
            *self = Self { current: next, slot, other: None };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MemoryFile;

    fn header(sequence: u64) -> Header {
        Header {
            sequence,
            file_write: Uuid::from_u128(1),
            data_write: Uuid::from_u128(2),
            log: Uuid::nil(),
            log_version: 0,
            log_length: 1 << 20,
            log_offset: 1 << 20,
        }
    }

    fn file(first: &[u8], second: &[u8]) -> MemoryFile {
        let file = MemoryFile::with_len(1 << 20);
        file.write_all_at(first, HEADER_OFFSETS[0]).unwrap();
        file.write_all_at(second, HEADER_OFFSETS[1]).unwrap();
        file
    }

    fn read(file: &MemoryFile) -> Result<Headers, String> {
        Headers::read(file).unwrap()
    }

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let header = Header { log: Uuid::from_u128(77), log_version: 3, ..header(u64::MAX) };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn the_larger_sequence_number_counts_wherever_it_is() {
        assert_eq!(read(&file(&header(8).encode(), &header(9).encode())).unwrap().current().sequence, 9);
        assert_eq!(read(&file(&header(10).encode(), &header(9).encode())).unwrap().current().sequence, 10);
    }

    #[test]
    fn equal_headers_are_accepted_and_different_ones_with_equal_numbers_are_not() {
        let mut other = header(5);
        assert_eq!(read(&file(&header(5).encode(), &other.encode())).unwrap().slot, 0);
        other.log = Uuid::from_u128(3);
        assert!(read(&file(&header(5).encode(), &other.encode())).unwrap_err().contains("sequence number 5"));
    }

    #[test]
    fn one_bad_header_is_passed_over_and_two_are_an_error() {
        let mut bad = header(9).encode();
        bad[100] ^= 1;
        let headers = read(&file(&header(5).encode(), &bad)).unwrap();
        assert_eq!(headers.current().sequence, 5);
        assert_eq!(headers.invalid().unwrap().0, 2);
        assert!(read(&file(&[0; 4096], &bad)).unwrap_err().contains("checksum"));
    }

    #[test]
    fn an_update_writes_the_older_copy_first_and_then_the_other() {
        let file = file(&header(5).encode(), &header(6).encode());
        let mut headers = read(&file).unwrap();
        headers.update(&file, |h| h.log = Uuid::from_u128(9)).unwrap();
        let mut buf = [0; HEADER_LEN];
        file.read_exact_at(&mut buf, HEADER_OFFSETS[0]).unwrap();
        assert_eq!(Header::decode(&buf).unwrap().sequence, 7);
        file.read_exact_at(&mut buf, HEADER_OFFSETS[1]).unwrap();
        assert_eq!(Header::decode(&buf).unwrap().sequence, 8);
        assert_eq!(headers.current().log, Uuid::from_u128(9));
    }

    #[test]
    fn a_sequence_number_at_its_end_is_an_error_and_not_a_wrap() {
        let file = file(&header(u64::MAX).encode(), &header(6).encode());
        let mut headers = read(&file).unwrap();
        assert_eq!(headers.update(&file, |_| ()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
