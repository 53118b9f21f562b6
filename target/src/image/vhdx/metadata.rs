//! The metadata region: what the virtual disk is (MS-VHDX 2.6).
//!
//! Items are found by their identifier, never by their place. They have no checksum, so every value is checked here.

use std::io;
use std::ops::Range;

use uuid::Uuid;

use super::parent_locator::ParentLocator;
use super::{MIB, guid, le};
use crate::image::{BlockFile, Format, OpenError};

/// Bytes of the metadata table at the start of its region.
pub(super) const TABLE_LEN: usize = 64 << 10;
/// Largest virtual disk.
pub(super) const SIZE_MAX: u64 = 64 << 40;
/// Smallest and largest payload block.
pub(super) const BLOCK_SIZES: (u64, u64) = (MIB, 256 * MIB);
const ENTRIES_MAX: u16 = 2047;
const ITEM_LEN_MAX: u32 = 1 << 20;

const IS_USER: u32 = 1;
const IS_VIRTUAL_DISK: u32 = 2;
const IS_REQUIRED: u32 = 4;

const LEAVE_BLOCKS_ALLOCATED: u32 = 1;
const HAS_PARENT: u32 = 2;

/// What the virtual disk is. All values are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Bytes of a payload block.
    pub(super) block_size: u32,
    /// Whether blocks keep their space for ever: a fixed disk.
    pub(super) fixed: bool,
    /// Bytes of the virtual disk.
    pub(super) size: u64,
    /// Identity of the virtual disk.
    pub(super) disk_id: Uuid,
    /// Bytes of a logical sector: 512 or 4096.
    pub(super) logical_sector: u32,
    /// Bytes of a physical sector: 512 or 4096.
    pub(super) physical_sector: u32,
    /// Where the parent of a differencing disk is.
    pub(super) parent: Option<ParentLocator>,
}

/// Where an item is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The item, in the file.
    pub(super) item: Range<u64>,
    /// Its entry in the table, in the file.
    pub(super) entry: u64,
    /// What all items take, within the region.
    pub(super) taken: Vec<Range<u64>>,
}

/// An entry of the metadata table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    id: Uuid,
    /// Within the region.
    range: Range<u64>,
    flags: u32,
}

impl Metadata {
    /// Where in the file an item and its entry in the table are, when it is there.
    ///
    /// # Errors
    /// As [`Metadata::read`].
    pub(super) fn place(
        file: &dyn BlockFile,
        region: &Range<u64>,
        id: Uuid,
    ) -> Result<Option<Place>, OpenError> {
        let mut table = vec![0; TABLE_LEN];
        let failed = |e| OpenError::io(Format::Vhdx, "metadata", e);
        file.read_exact_at(&mut table, region.start).map_err(failed)?;
        let known = decode_table(&table, region.end - region.start)?;
        let count = usize::from(le::u16_at(&table, 10));
        let entries = table.get(32..).unwrap_or_default().chunks_exact(32).take(count);
        let taken: Vec<Range<u64>> = entries
            .clone()
            .map(|e| {
                u64::from(le::u32_at(e, 16))..u64::from(le::u32_at(e, 16)) + u64::from(le::u32_at(e, 20))
            })
            .collect();
        let item = known.iter().find(|item| item.id == id);
        let entry = entries.zip(0u64..).find(|(e, _)| {
            item.is_some_and(|item| {
                le::guid_at(e, 0) == id && u64::from(le::u32_at(e, 16)) == item.range.start
            })
        });
        Ok(item.zip(entry).map(|(item, (_, n))| Place {
            item: region.start + item.range.start..region.start + item.range.end,
            entry: region.start + 32 + 32 * n,
            taken,
        }))
    }

    /// Reads the metadata in `region`, which lies within `file`.
    pub(super) fn read(file: &dyn BlockFile, region: Range<u64>) -> Result<Self, OpenError> {
        let failed = |e| OpenError::io(Format::Vhdx, "metadata", e);
        let mut table = vec![0; TABLE_LEN];
        file.read_exact_at(&mut table, region.start).map_err(failed)?;
        let items = decode_table(&table, region.end - region.start)?;
        Self::assemble(&items, |range| {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
            file.read_exact_at(&mut bytes, region.start + range.start)?;
            Ok(bytes)
        })
    }

    fn assemble(
        items: &[Item],
        mut fetch: impl FnMut(&Range<u64>) -> io::Result<Vec<u8>>,
    ) -> Result<Self, OpenError> {
        let mut get = |name: &'static str, id: Uuid, length: Option<u64>| {
            let Some(item) = items.iter().find(|item| item.id == id && item.flags & IS_USER == 0) else {
                return Err(damaged(name, "it is missing".to_owned()));
            };
            let found = item.range.end - item.range.start;
            if length.is_some_and(|length| length != found) {
                return Err(damaged(
                    name,
                    format!("it has {found} bytes instead of {}", length.unwrap_or(0)),
                ));
            }
            fetch(&item.range).map_err(|e| OpenError::io(Format::Vhdx, name, e))
        };
        let parameters = get("file parameters", guid::FILE_PARAMETERS, Some(8))?;
        let size = le::u64_at(&get("virtual disk size", guid::VIRTUAL_DISK_SIZE, Some(8))?, 0);
        let disk_id = le::guid_at(&get("virtual disk id", guid::VIRTUAL_DISK_ID, Some(16))?, 0);
        let logical_sector = le::u32_at(&get("logical sector size", guid::LOGICAL_SECTOR_SIZE, Some(4))?, 0);
        let physical_sector =
            le::u32_at(&get("physical sector size", guid::PHYSICAL_SECTOR_SIZE, Some(4))?, 0);

        let (block_size, flags) = (le::u32_at(&parameters, 0), le::u32_at(&parameters, 4));
        let (smallest, largest) = BLOCK_SIZES;
        if !block_size.is_power_of_two() || !(smallest..=largest).contains(&u64::from(block_size)) {
            return Err(damaged(
                "block size",
                format!("it is {block_size}, it must be a power of two from 1 MiB to 256 MiB"),
            ));
        }
        for (name, sector) in
            [("logical sector size", logical_sector), ("physical sector size", physical_sector)]
        {
            if sector != 512 && sector != 4096 {
                return Err(damaged(name, format!("it is {sector}, it must be 512 or 4096")));
            }
        }
        if size == 0 || size > SIZE_MAX || !size.is_multiple_of(logical_sector.into()) {
            return Err(damaged(
                "virtual disk size",
                format!("it is {size}, it must be a multiple of {logical_sector} up to 64 TiB, and not zero"),
            ));
        }
        let parent = if flags & HAS_PARENT == 0 {
            None
        } else {
            let bytes = get("parent locator", guid::PARENT_LOCATOR, None)?;
            Some(ParentLocator::decode(&bytes).map_err(|e| damaged("parent locator", e))?)
        };
        let fixed = flags & LEAVE_BLOCKS_ALLOCATED != 0;
        Ok(Self { block_size, fixed, size, disk_id, logical_sector, physical_sector, parent })
    }

    /// The table and items for the start of a metadata region; `None` when the parent's names are too long.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let flags = if self.fixed { LEAVE_BLOCKS_ALLOCATED } else { 0 }
            | if self.parent.is_some() { HAS_PARENT } else { 0 };
        let mut parameters = self.block_size.to_le_bytes().to_vec();
        parameters.extend(flags.to_le_bytes());
        let disk = IS_VIRTUAL_DISK | IS_REQUIRED;
        let mut items = vec![
            (guid::FILE_PARAMETERS, IS_REQUIRED, parameters),
            (guid::VIRTUAL_DISK_SIZE, disk, self.size.to_le_bytes().to_vec()),
            (guid::VIRTUAL_DISK_ID, disk, self.disk_id.to_bytes_le().to_vec()),
            (guid::LOGICAL_SECTOR_SIZE, disk, self.logical_sector.to_le_bytes().to_vec()),
            (guid::PHYSICAL_SECTOR_SIZE, disk, self.physical_sector.to_le_bytes().to_vec()),
        ];
        if let Some(parent) = &self.parent {
            items.push((guid::PARENT_LOCATOR, IS_REQUIRED, parent.encode()?));
        }
        let mut buf = vec![0; TABLE_LEN];
        le::put(&mut buf, 0, b"metadata");
        le::put(&mut buf, 10, &u16::try_from(items.len()).unwrap_or(u16::MAX).to_le_bytes());
        let mut at = 32;
        for (id, flags, value) in items {
            let offset = u32::try_from(buf.len()).unwrap_or(u32::MAX);
            le::put(&mut buf, at, &id.to_bytes_le());
            le::put(&mut buf, at + 16, &offset.to_le_bytes());
            le::put(&mut buf, at + 20, &u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
            le::put(&mut buf, at + 24, &flags.to_le_bytes());
            buf.extend(value);
            at += 32;
        }
        Some(buf)
    }
}

fn damaged(field: &'static str, detail: String) -> OpenError {
    OpenError::damaged(Format::Vhdx, field, detail)
}

fn decode_table(table: &[u8], region_len: u64) -> Result<Vec<Item>, OpenError> {
    let damaged = |detail: String| Err(damaged("metadata table", detail));
    if !table.starts_with(b"metadata") {
        return damaged("its signature is not \"metadata\"".to_owned());
    }
    let count = le::u16_at(table, 10);
    if count > ENTRIES_MAX {
        return damaged(format!("it claims {count} items, at most {ENTRIES_MAX} fit"));
    }
    let mut items: Vec<Item> = Vec::new();
    for entry in table.get(32..).unwrap_or_default().chunks_exact(32).take(count.into()) {
        let id = le::guid_at(entry, 0);
        let (offset, length, flags) = (le::u32_at(entry, 16), le::u32_at(entry, 20), le::u32_at(entry, 24));
        let range = u64::from(offset)..u64::from(offset) + u64::from(length);
        let known = flags & IS_USER == 0
            && [
                guid::FILE_PARAMETERS,
                guid::VIRTUAL_DISK_SIZE,
                guid::VIRTUAL_DISK_ID,
                guid::LOGICAL_SECTOR_SIZE,
                guid::PHYSICAL_SECTOR_SIZE,
                guid::PARENT_LOCATOR,
            ]
            .contains(&id);
        if !known && flags & IS_REQUIRED != 0 {
            return Err(OpenError::unsupported(
                Format::Vhdx,
                "metadata table",
                format!("the file requires knowledge of the metadata item {id}, which is not known here"),
            ));
        }
        // An item without bytes has no place (MS-VHDX 2.6.1.2).
        let placed = length == 0 && offset == 0
            || (TABLE_LEN as u64) <= range.start && length <= ITEM_LEN_MAX && range.end <= region_len;
        if !placed {
            return damaged(format!(
                "item {id} has offset {offset} and length {length}; it must lie between the table and the end of the region, \
                 and be at most 1 MiB long"
            ));
        }
        if known && items.iter().any(|item| item.id == id) {
            return damaged(format!("item {id} is there twice"));
        }
        if known {
            items.push(Item { id, range, flags });
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{MemoryFile, OpenErrorKind};

    fn metadata() -> Metadata {
        Metadata {
            block_size: 2 << 20,
            fixed: false,
            size: 5 << 30,
            disk_id: Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788),
            logical_sector: 512,
            physical_sector: 4096,
            parent: None,
        }
    }

    fn read(bytes: &[u8]) -> Result<Metadata, OpenError> {
        let file = MemoryFile::with_len(2 * MIB);
        file.write_all_at(bytes, MIB).unwrap();
        Metadata::read(&file, MIB..2 * MIB)
    }

    fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> OpenError {
        let mut bytes = metadata().encode().unwrap();
        edit(&mut bytes);
        read(&bytes).unwrap_err()
    }

    #[test]
    fn metadata_reads_back_as_it_was_written() {
        assert_eq!(read(&metadata().encode().unwrap()).unwrap(), metadata());
        let other = Metadata { fixed: true, logical_sector: 4096, size: SIZE_MAX, ..metadata() };
        assert_eq!(read(&other.encode().unwrap()).unwrap(), other);
    }

    #[test]
    fn items_are_found_in_any_order() {
        let mut bytes = metadata().encode().unwrap();
        let first: Vec<u8> = bytes[32..64].to_vec();
        bytes.copy_within(64..96, 32);
        bytes[64..96].copy_from_slice(&first);
        assert_eq!(read(&bytes).unwrap(), metadata());
    }

    #[test]
    fn an_unknown_item_is_refused_only_when_it_is_required() {
        let add = |flags: u32| {
            let mut bytes = metadata().encode().unwrap();
            bytes[10] = 6;
            le::put(&mut bytes, 32 + 5 * 32, &[7; 16]);
            le::put(&mut bytes, 32 + 5 * 32 + 24, &flags.to_le_bytes());
            read(&bytes)
        };
        assert_eq!(add(IS_USER).unwrap(), metadata());
        assert_eq!(add(IS_VIRTUAL_DISK).unwrap(), metadata());
        assert_eq!(add(IS_REQUIRED).unwrap_err().kind(), OpenErrorKind::Unsupported);
        assert_eq!(add(IS_REQUIRED | IS_USER).unwrap_err().kind(), OpenErrorKind::Unsupported);
    }

    #[test]
    fn a_user_item_is_never_taken_for_a_system_item() {
        let error = edited(|b| le::put(b, 32 + 24, &IS_USER.to_le_bytes()));
        assert_eq!(error.field(), "file parameters");
    }

    #[test]
    fn values_out_of_range_name_the_item() {
        let item = |n: usize| TABLE_LEN + [0, 8, 16, 32, 36][n];
        for (n, bytes, field) in [
            (0, 0_u32.to_le_bytes(), "block size"),
            (0, (3_u32 << 20).to_le_bytes(), "block size"),
            (0, (512_u32 << 20).to_le_bytes(), "block size"),
            (0, (512_u32 << 10).to_le_bytes(), "block size"),
            (1, 511_u32.to_le_bytes(), "virtual disk size"),
            (3, 0_u32.to_le_bytes(), "logical sector size"),
            (3, 1024_u32.to_le_bytes(), "logical sector size"),
            (4, u32::MAX.to_le_bytes(), "physical sector size"),
        ] {
            assert_eq!(edited(|b| le::put(b, item(n), &bytes)).field(), field);
        }
        assert_eq!(edited(|b| le::put(b, item(1), &[0; 8])).field(), "virtual disk size");
        assert_eq!(
            edited(|b| le::put(b, item(1), &(SIZE_MAX + 512).to_le_bytes())).field(),
            "virtual disk size"
        );
    }

    #[test]
    fn items_outside_the_region_are_refused_before_they_are_read() {
        for (at, value) in [
            (16, 0_u32),
            (16, (64 << 10) - 1),
            (16, (1 << 20) - 7),
            (16, u32::MAX),
            (20, u32::MAX),
            (20, ITEM_LEN_MAX + 1),
        ] {
            let error = edited(|b| le::put(b, 32 + at, &value.to_le_bytes()));
            assert_eq!(error.field(), "metadata table", "{at} {value}");
        }
        assert_eq!(edited(|b| le::put(b, 32 + 20, &7_u32.to_le_bytes())).field(), "file parameters");
        assert_eq!(edited(|b| b.copy_within(32..48, 64)).field(), "metadata table");
        assert_eq!(edited(|b| le::put(b, 10, &2048_u16.to_le_bytes())).field(), "metadata table");
        assert_eq!(edited(|b| le::put(b, 10, &4_u16.to_le_bytes())).field(), "physical sector size");
        assert_eq!(edited(|b| b[0] = 0).field(), "metadata table");
    }
}
