//! Log entries: how they are laid out, written and read (MS-VHDX 2.3.1).
//!
//! An entry is a header, descriptors and one data sector per data descriptor, all in 4 KiB sectors of the ring. The first
//! eight and the last four bytes of a page travel in its descriptor; their place in the data sector holds a mark and the
//! sequence number, so that a sector that was not written is found out.

use std::io;
use std::ops::Range;

use uuid::Uuid;

use super::region::{TABLE_LEN, TABLE_OFFSETS};
use super::{MIB, header, le};
use crate::image::BlockFile;

/// Bytes of a sector of the log, and of a page that an entry carries.
pub(super) const SECTOR: u32 = 4096;
/// The same for buffers.
pub(super) const SECTOR_LEN: usize = 4096;
const HEADER_LEN: usize = 64;
const DESCRIPTOR_LEN: usize = 32;

/// The part of the file that the log goes round in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// Where it starts, a multiple of 1 MiB.
    pub(super) offset: u64,
    /// Its bytes, a multiple of 1 MiB and not zero.
    pub(super) len: u32,
}

impl Ring {
    /// `pos + by`, round the end.
    pub(super) fn advance(self, pos: u32, by: u32) -> u32 {
        let at = (u64::from(pos) + u64::from(by)) % u64::from(self.len.max(1));
        u32::try_from(at).unwrap_or_default()
    }

    /// The range of the file that it takes.
    pub(super) fn range(self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }

    /// Reads the sector at `pos`.
    pub(super) fn read(self, file: &dyn BlockFile, pos: u32, buf: &mut [u8; SECTOR_LEN]) -> io::Result<()> {
        file.read_exact_at(buf, self.offset + u64::from(pos))
    }

    /// Writes whole sectors at `pos`, going on at the start where they pass the end.
    pub(super) fn write(self, file: &dyn BlockFile, pos: u32, bytes: &[u8]) -> io::Result<()> {
        let to_end = usize::try_from(self.len - pos).unwrap_or(usize::MAX).min(bytes.len());
        let (first, second) = bytes.split_at(to_end);
        file.write_all_at(first, self.offset + u64::from(pos))?;
        if !second.is_empty() {
            file.write_all_at(second, self.offset)?;
        }
        Ok(())
    }
}

/// The header of an entry, without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryHeader {
    /// Bytes of the whole entry.
    pub(super) length: u32,
    /// Where in the ring the oldest entry is that is still needed.
    pub(super) tail: u32,
    /// One more than that of the entry before; never zero.
    pub(super) sequence: u64,
    /// Number of descriptors.
    pub(super) descriptors: u32,
    /// The log it belongs to.
    pub(super) log: Uuid,
    /// The file is at least this long, whatever happens.
    pub(super) flushed_length: u64,
    /// A file this long has room for everything that is allocated.
    pub(super) last_length: u64,
}

/// Bytes of an entry with `pages` data descriptors.
pub(super) fn length_for(pages: u32) -> u32 {
    descriptor_sectors(pages).saturating_add(pages).saturating_mul(SECTOR)
}

fn descriptor_sectors(descriptors: u32) -> u32 {
    let bytes = HEADER_LEN as u64 + DESCRIPTOR_LEN as u64 * u64::from(descriptors);
    u32::try_from(bytes.div_ceil(SECTOR.into())).unwrap_or(u32::MAX)
}

/// A page of the file: where it is and what it shall hold.
#[derive(Debug)]
pub(super) struct PageImage {
    /// A multiple of 4 KiB.
    pub(super) offset: u64,
    /// The bytes.
    pub(super) bytes: Box<[u8; SECTOR_LEN]>,
}

/// The bytes of an entry that carries `pages`; `length` and `descriptors` of `header` are set from them.
pub(super) fn encode<'a>(
    mut header: EntryHeader,
    pages: impl ExactSizeIterator<Item = &'a PageImage>,
) -> Vec<u8> {
    header.descriptors = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    header.length = length_for(header.descriptors);
    let mut buf = vec![0; usize::try_from(header.length).unwrap_or_default()];
    let table_len = usize::try_from(descriptor_sectors(header.descriptors)).unwrap_or_default() * SECTOR_LEN;
    let table_len = table_len.min(buf.len());
    let (table, sectors) = buf.split_at_mut(table_len);
    le::put(table, 0, b"loge");
    le::put(table, 8, &header.length.to_le_bytes());
    le::put(table, 12, &header.tail.to_le_bytes());
    le::put(table, 16, &header.sequence.to_le_bytes());
    le::put(table, 24, &header.descriptors.to_le_bytes());
    le::put(table, 32, &header.log.to_bytes_le());
    le::put(table, 48, &header.flushed_length.to_le_bytes());
    le::put(table, 56, &header.last_length.to_le_bytes());
    let descriptors = table.get_mut(HEADER_LEN..).unwrap_or_default().chunks_exact_mut(DESCRIPTOR_LEN);
    for ((page, descriptor), sector) in pages.zip(descriptors).zip(sectors.chunks_exact_mut(SECTOR_LEN)) {
        let (leading, trailing) = (&page.bytes[..8], &page.bytes[SECTOR_LEN - 4..]);
        le::put(descriptor, 0, b"desc");
        le::put(descriptor, 4, trailing);
        le::put(descriptor, 8, leading);
        le::put(descriptor, 16, &page.offset.to_le_bytes());
        le::put(descriptor, 24, &header.sequence.to_le_bytes());
        let sequence = header.sequence.to_le_bytes();
        sector.copy_from_slice(page.bytes.as_slice());
        le::put(sector, 0, b"data");
        le::put(sector, 4, &sequence[4..]);
        le::put(sector, SECTOR_LEN - 4, &sequence[..4]);
    }
    let sum = header::checksum(&buf);
    le::put(&mut buf, 4, &sum.to_le_bytes());
    buf
}

impl EntryHeader {
    /// Reads the header at the start of `sector`, if that can be one of an entry of `log` in `ring`.
    pub(super) fn decode(sector: &[u8; SECTOR_LEN], ring: Ring, log: Uuid) -> Option<Self> {
        let header = Self {
            length: le::u32_at(sector, 8),
            tail: le::u32_at(sector, 12),
            sequence: le::u64_at(sector, 16),
            descriptors: le::u32_at(sector, 24),
            log: le::guid_at(sector, 32),
            flushed_length: le::u64_at(sector, 48),
            last_length: le::u64_at(sector, 56),
        };
        let sound = sector.starts_with(b"loge")
            && header.log == log
            && header.sequence > 0
            && header.length > 0
            && header.length.is_multiple_of(SECTOR)
            && header.length <= ring.len
            && header.tail.is_multiple_of(SECTOR)
            && header.tail < ring.len
            && descriptor_sectors(header.descriptors) <= header.length / SECTOR;
        sound.then_some(header)
    }

    /// Whether the entry at `pos` is whole: its checksum is right.
    pub(super) fn is_whole(&self, file: &dyn BlockFile, ring: Ring, pos: u32) -> io::Result<bool> {
        let mut sector = [0; SECTOR_LEN];
        let (mut at, mut sum, mut stored) = (pos, 0, 0);
        for n in 0..self.length / SECTOR {
            ring.read(file, at, &mut sector)?;
            if n == 0 {
                stored = le::u32_at(&sector, 4);
                le::put(&mut sector, 4, &[0; 4]);
            }
            sum = crc32c::crc32c_append(sum, &sector);
            at = ring.advance(at, SECTOR);
        }
        Ok(sum == stored)
    }

    /// Calls `change` for each change that the entry at `pos`, which is whole, carries, in order. The inner error says which
    /// rule the entry breaks; changes before that were handed out.
    pub(super) fn visit(
        &self,
        file: &dyn BlockFile,
        ring: Ring,
        pos: u32,
        mut change: impl FnMut(Change<'_>) -> io::Result<()>,
    ) -> io::Result<Result<(), String>> {
        let mut table = [0; SECTOR_LEN];
        let mut data = [0; SECTOR_LEN];
        let sectors = self.length / SECTOR;
        let mut next_data = descriptor_sectors(self.descriptors);
        for n in 0..self.descriptors {
            let at = HEADER_LEN as u64 + DESCRIPTOR_LEN as u64 * u64::from(n);
            let within = usize::try_from(at % u64::from(SECTOR)).unwrap_or_default();
            if n == 0 || within == 0 {
                let sector = u32::try_from(at / u64::from(SECTOR)).unwrap_or_default();
                ring.read(file, ring.advance(pos, sector * SECTOR), &mut table)?;
            }
            let descriptor = table.get(within..).unwrap_or_default();
            let offset = le::u64_at(descriptor, 16);
            if le::u64_at(descriptor, 24) != self.sequence {
                return Ok(Err(format!("descriptor {n} belongs to another entry")));
            }
            if !offset.is_multiple_of(SECTOR.into()) {
                return Ok(Err(format!("descriptor {n} has offset {offset}, which is no multiple of 4096")));
            }
            if descriptor.starts_with(b"zero") {
                let length = le::u64_at(descriptor, 8);
                let end = offset.checked_add(length).filter(|_| length.is_multiple_of(SECTOR.into()));
                let Some(end) = end else {
                    return Ok(Err(format!("descriptor {n} zeroes {length} bytes at {offset}")));
                };
                change(Change::Zero(offset..end))?;
            } else if descriptor.starts_with(b"desc") {
                if next_data >= sectors {
                    return Ok(Err(format!("descriptor {n} has no data sector within the entry")));
                }
                ring.read(file, ring.advance(pos, next_data * SECTOR), &mut data)?;
                next_data += 1;
                let sequence = u64::from(le::u32_at(&data, 4)) << 32 | u64::from(le::u32_at(&data, 4092));
                if !data.starts_with(b"data") || sequence != self.sequence {
                    return Ok(Err(format!("the data sector of descriptor {n} belongs to another entry")));
                }
                le::put(&mut data, 0, descriptor.get(8..16).unwrap_or_default());
                le::put(&mut data, SECTOR_LEN - 4, descriptor.get(4..8).unwrap_or_default());
                change(Change::Page(offset, &data))?;
            } else {
                return Ok(Err(format!("descriptor {n} has an unknown signature")));
            }
        }
        Ok(Ok(()))
    }
}

/// A change to the file that an entry carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// The page at an offset shall hold these bytes.
    Page(u64, &'a [u8; SECTOR_LEN]),
    /// A range shall be zero; both ends are multiples of 4 KiB.
    Zero(Range<u64>),
}

impl Change<'_> {
    /// What it changes.
    pub(super) fn range(&self) -> Range<u64> {
        match self {
            Self::Page(offset, _) => *offset..offset.saturating_add(SECTOR.into()),
            Self::Zero(range) => range.clone(),
        }
    }
}

/// Whether a change to `range` would touch what the log must never change: the header section but for the region tables, which
/// are changed through the log only (MS-VHDX 2.2.3), and itself.
pub(super) fn is_forbidden(range: &Range<u64>, ring: Ring) -> bool {
    let log = ring.range();
    let [first, second] = TABLE_OFFSETS;
    let tables = first..second + TABLE_LEN as u64;
    let in_tables = tables.start <= range.start && range.end <= tables.end;
    !range.is_empty() && (range.start < MIB && !in_tables || range.start < log.end && log.start < range.end)
}
