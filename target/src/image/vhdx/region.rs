//! The region table: where block allocation table and metadata are (MS-VHDX 2.2.3).

use std::ops::Range;

use uuid::Uuid;

use super::header::checksum;
use super::{MIB, guid, le};

/// Bytes of a region table.
pub(super) const TABLE_LEN: usize = 64 << 10;
/// Where its two copies are.
pub(super) const TABLE_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
const ENTRIES_MAX: u32 = 2047;

/// A region of the file, whole MiBs from the second on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// What it is.
    pub(super) id: Uuid,
    /// Where it is.
    pub(super) range: Range<u64>,
    /// Whether a reader must know it.
    pub(super) required: bool,
}

/// What a valid region table says. It is not known yet whether the regions lie within the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionTable {
    /// The block allocation table.
    pub(super) bat: Range<u64>,
    /// The metadata.
    pub(super) metadata: Range<u64>,
    /// Regions of unknown purpose that may be ignored; nothing is ever put there.
    pub(super) optional: Vec<Region>,
}

/// Why a copy of the table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TableError {
    /// The copy is damaged: the other one may help.
    Damaged(String),
    /// The table is whole and asks for what is not known.
    Unknown(Uuid),
}

impl RegionTable {
    /// Reads one copy of the table.
    pub(super) fn decode(buf: &[u8]) -> Result<Self, TableError> {
        let damaged = |detail: String| Err(TableError::Damaged(detail));
        if buf.len() != TABLE_LEN || !buf.starts_with(b"regi") {
            return damaged("its signature is not \"regi\"".to_owned());
        }
        let (stored, found) = (le::u32_at(buf, 4), checksum(buf));
        if stored != found {
            return damaged(format!("its checksum is {stored:08x}, but its bytes give {found:08x}"));
        }
        let count = le::u32_at(buf, 8);
        if count > ENTRIES_MAX {
            return damaged(format!("it claims {count} entries, at most {ENTRIES_MAX} fit"));
        }
        let (mut bat, mut metadata, mut optional) = (None, None, Vec::new());
        for entry in buf.get(16..).unwrap_or_default().chunks_exact(32).take(count as usize) {
            let id = le::guid_at(entry, 0);
            let (offset, length) = (le::u64_at(entry, 16), u64::from(le::u32_at(entry, 24)));
            let end = offset.checked_add(length);
            let Some(end) = end.filter(|_| {
                offset >= MIB && length > 0 && offset.is_multiple_of(MIB) && length.is_multiple_of(MIB)
            }) else {
                return damaged(format!(
                    "region {id} has offset {offset} and length {length}; both must be whole MiBs past the first, and not nothing"
                ));
            };
            let required = le::u32_at(entry, 28) & 1 != 0;
            let known = match id {
                guid::REGION_BAT => &mut bat,
                guid::REGION_METADATA => &mut metadata,
                _ if required => return Err(TableError::Unknown(id)),
                _ => {
                    optional.push(Region { id, range: offset..end, required });
                    continue;
                }
            };
            if known.replace(offset..end).is_some() {
                return damaged(format!("region {id} is there twice"));
            }
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Self { bat, metadata, optional }),
            (None, _) => damaged("it names no block allocation table".to_owned()),
            (_, None) => damaged("it names no metadata region".to_owned()),
        }
    }

    /// The bytes of this table.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = vec![0; TABLE_LEN];
        le::put(&mut buf, 0, b"regi");
        let known = [(guid::REGION_BAT, &self.bat), (guid::REGION_METADATA, &self.metadata)];
        let known = known.map(|(id, range)| Region { id, range: range.clone(), required: true });
        let mut count = 0_u32;
        for (region, entry) in
            known.iter().chain(&self.optional).zip(buf.get_mut(16..).unwrap_or_default().chunks_exact_mut(32))
        {
            le::put(entry, 0, &region.id.to_bytes_le());
            le::put(entry, 16, &region.range.start.to_le_bytes());
            let length = u32::try_from(region.range.end - region.range.start).unwrap_or(u32::MAX);
            le::put(entry, 24, &length.to_le_bytes());
            le::put(entry, 28, &u32::from(region.required).to_le_bytes());
            count += 1;
        }
        le::put(&mut buf, 8, &count.to_le_bytes());
        let sum = checksum(&buf);
        le::put(&mut buf, 4, &sum.to_le_bytes());
        buf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RegionTable {
        RegionTable { bat: 3 * MIB..4 * MIB, metadata: 2 * MIB..3 * MIB, optional: Vec::new() }
    }

    fn optional(required: bool) -> RegionTable {
        let region = Region { id: Uuid::from_u128(5), range: 4 * MIB..6 * MIB, required };
        RegionTable { optional: vec![region], ..table() }
    }

    fn damage(edit: impl FnOnce(&mut Vec<u8>)) -> TableError {
        let mut buf = table().encode();
        edit(&mut buf);
        let sum = checksum(&buf);
        le::put(&mut buf, 4, &sum.to_le_bytes());
        RegionTable::decode(&buf).unwrap_err()
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        assert_eq!(RegionTable::decode(&table().encode()), Ok(table()));
        assert_eq!(RegionTable::decode(&optional(false).encode()), Ok(optional(false)));
    }

    #[test]
    fn an_unknown_region_is_refused_only_when_it_is_required() {
        assert_eq!(
            RegionTable::decode(&optional(true).encode()),
            Err(TableError::Unknown(Uuid::from_u128(5)))
        );
    }

    #[test]
    fn the_known_regions_need_not_be_marked_as_required() {
        let mut buf = table().encode();
        buf[16 + 28] = 0;
        buf[48 + 28] = 0;
        let sum = checksum(&buf);
        le::put(&mut buf, 4, &sum.to_le_bytes());
        assert_eq!(RegionTable::decode(&buf), Ok(table()));
    }

    #[test]
    fn broken_tables_are_told_apart() {
        let text = |e: TableError| match e {
            TableError::Damaged(text) => text,
            TableError::Unknown(id) => panic!("unknown region {id}"),
        };
        assert!(text(damage(|b| b[0] = 0)).contains("signature"));
        assert!(text(damage(|b| le::put(b, 8, &2048_u32.to_le_bytes()))).contains("2048"));
        assert!(text(damage(|b| le::put(b, 8, &1_u32.to_le_bytes()))).contains("no metadata"));
        assert!(text(damage(|b| le::put(b, 32, &(MIB / 2).to_le_bytes()))).contains("whole MiBs"));
        assert!(text(damage(|b| le::put(b, 32, &0_u64.to_le_bytes()))).contains("whole MiBs"));
        assert!(text(damage(|b| le::put(b, 32, &(u64::MAX - MIB + 1).to_le_bytes()))).contains("MiBs"));
        assert!(text(damage(|b| le::put(b, 40, &0_u32.to_le_bytes()))).contains("whole MiBs"));
        assert!(text(damage(|b| b.copy_within(16..48, 48))).contains("twice"));
    }
}
