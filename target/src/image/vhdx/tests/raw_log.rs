//! Log entries laid out byte by byte from MS-VHDX 2.3.1, without the codec under test, and files that have to replay them.

use super::super::header::Headers;
use super::*;

/// Where the log of a created file is, and its length.
pub(super) const RING: u64 = MIB;
pub(super) const RING_LEN: u64 = MIB;
/// Where block 0 of [`base`] is: what the entries of the tests change.
pub(super) const BLOCK: u64 = 4 * MIB;
/// The log that [`dirty`] files name.
pub(super) const LOG: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

#[derive(Clone, Debug)]
pub(super) enum Change {
    Page(u64, Vec<u8>),
    Zero(u64, u64),
}

#[derive(Clone, Debug)]
pub(super) struct RawEntry {
    pub(super) sequence: u64,
    pub(super) tail: u64,
    pub(super) log: Uuid,
    pub(super) flushed: u64,
    pub(super) last: u64,
    pub(super) changes: Vec<Change>,
}

/// An entry that writes pages full of `value` to pages of block 0.
pub(super) fn entry(sequence: u64, tail: u64, pages: &[u64], value: u8) -> RawEntry {
    let changes = pages.iter().map(|n| Change::Page(BLOCK + n * 4096, vec![value; 4096])).collect();
    RawEntry { sequence, tail, log: LOG, flushed: 5 * MIB, last: 5 * MIB, changes }
}

impl RawEntry {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"loge");
        out.extend([0; 4]);
        out.extend([0; 4]);
        out.extend(u32::try_from(self.tail).unwrap().to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend(u32::try_from(self.changes.len()).unwrap().to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.log.to_bytes_le());
        out.extend(self.flushed.to_le_bytes());
        out.extend(self.last.to_le_bytes());
        for change in &self.changes {
            match change {
                Change::Page(offset, page) => {
                    out.extend(b"desc");
                    out.extend(&page[4092..]);
                    out.extend(&page[..8]);
                    out.extend(offset.to_le_bytes());
                }
                Change::Zero(offset, length) => {
                    out.extend(b"zero");
                    out.extend([0; 4]);
                    out.extend(length.to_le_bytes());
                    out.extend(offset.to_le_bytes());
                }
            }
            out.extend(self.sequence.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(4096), 0);
        for change in &self.changes {
            if let Change::Page(_, page) = change {
                let sequence = self.sequence.to_le_bytes();
                out.extend(b"data");
                out.extend(&sequence[4..]);
                out.extend(&page[8..4092]);
                out.extend(&sequence[..4]);
            }
        }
        let length = u32::try_from(out.len()).unwrap();
        out[8..12].copy_from_slice(&length.to_le_bytes());
        sum(&mut out);
        out
    }
}

/// Sets the checksum of an entry.
pub(super) fn sum(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// A closed file of 8 MiB with 1 MiB blocks, of which only block 0 has a place: full of ones, at [`BLOCK`], the end of the file.
pub(super) fn base() -> Arc<MemoryFile> {
    let file = created(&options(8 * MIB, MIB));
    let disk = open(&file);
    write(&*disk, 0, &vec![1; 1 << 20]);
    disk.close().unwrap();
    assert_eq!(file.len().unwrap(), 5 * MIB);
    // The session's own log would be in the way.
    file.punch_hole(RING..RING + RING_LEN).unwrap();
    file
}

/// Writes entries into the ring, each at its position, round the end.
pub(super) fn lay(file: &MemoryFile, entries: &[(u64, Vec<u8>)]) {
    for (pos, bytes) in entries {
        let to_end = usize::try_from(RING_LEN - pos).unwrap().min(bytes.len());
        file.write_all_at(&bytes[..to_end], RING + pos).unwrap();
        file.write_all_at(&bytes[to_end..], RING).unwrap();
    }
}

/// A file that has to replay `entries`.
pub(super) fn dirty(entries: &[(u64, Vec<u8>)]) -> Arc<MemoryFile> {
    let file = base();
    lay(&file, entries);
    name_log(&file, LOG);
    file
}

/// Makes the headers name `log`.
pub(super) fn name_log(file: &MemoryFile, log: Uuid) {
    let mut headers = Headers::read(file).unwrap().unwrap();
    headers.update(file, |header| header.log = log).unwrap();
}
