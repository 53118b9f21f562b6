//! What a VHDX file is made of, read in the order in which each part can be trusted: identifier, headers, log, region table,
//! metadata. Nothing is changed here, and nothing is allocated by a number from the file before that was checked against
//! the length of the file.

use std::ops::Range;
use std::sync::Arc;

use super::bat::Shape;
use super::header::Headers;
use super::log_entry::Ring;
use super::metadata::Metadata;
use super::region::{self, RegionTable, TableError};
use super::replay::Replay;
use super::{MIB, SIGNATURE, le};
use crate::image::{BlockFile, Format, OpenError, Severity};

/// Bytes of the identifier's creator text.
const CREATOR_LEN: usize = 512;

/// The parts of a valid file.
#[derive(Debug)]
pub(super) struct Container {
    /// The file as it is, or as it will be after the replay of its log.
    pub(super) view: Arc<dyn BlockFile>,
    /// Length of `view` in bytes.
    pub(super) len: u64,
    /// The program that made the file.
    pub(super) creator: String,
    /// Both headers.
    pub(super) headers: Headers,
    /// Where the log is; a clean file may have none.
    pub(super) ring: Option<Ring>,
    /// What has to be replayed.
    pub(super) replay: Option<Replay>,
    /// Where the other parts are.
    pub(super) regions: RegionTable,
    /// What the disk is.
    pub(super) metadata: Metadata,
    /// How its block allocation table is laid out.
    pub(super) shape: Shape,
    /// Where no block may be.
    pub(super) reserved: Reserved,
    /// What is wrong or odd without keeping the file from being used.
    pub(super) oddities: Vec<(Severity, String)>,
}

/// Ranges of the file that hold something else than blocks, in order and apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved(Vec<(Range<u64>, &'static str)>);

impl Reserved {
    /// Which part of the file `range` touches, if any.
    pub(super) fn hit(&self, range: &Range<u64>) -> Option<&'static str> {
        let after = self.0.partition_point(|(there, _)| there.end <= range.start);
        self.0.get(after).filter(|(there, _)| there.start < range.end).map(|(_, name)| *name)
    }

    /// Where the last of them ends.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(MIB, |(range, _)| range.end)
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter().map(|(range, _)| range)
    }
}

impl Container {
    /// Reads the parts of `file`.
    ///
    /// # Errors
    /// [`OpenError`] that names the part that cannot be used.
    pub(super) fn read(file: &Arc<dyn BlockFile>) -> Result<Self, OpenError> {
        let len = file.len().map_err(|e| OpenError::io(Format::Vhdx, "length", e))?;
        let creator = identifier(file.as_ref(), len)?;
        let headers = Headers::read(file.as_ref())
            .map_err(|e| OpenError::io(Format::Vhdx, "headers", e))?
            .map_err(|detail| damaged("headers", detail))?;
        let mut oddities = Vec::new();
        if let Some((number, reason)) = headers.invalid() {
            // A crash while a header is written leaves this behind; the next session writes both.
            oddities.push((
                Severity::Note,
                format!("header {number} is not valid ({reason}); the other one is used"),
            ));
        }
        let ring = ring(&headers, len)?;
        let dirty = !headers.current().log.is_nil();
        let replay = match ring {
            Some(ring) if dirty => Some(Replay::find(file.as_ref(), ring, headers.current().log)?),
            None if dirty => {
                return Err(damaged("log", "it has to be replayed, but has no length".to_owned()));
            }
            _ => None,
        };
        let view: Arc<dyn BlockFile> = match &replay {
            None => Arc::clone(file),
            Some(replay) => {
                Arc::new(replay.overlay(file).map_err(|e| OpenError::io(Format::Vhdx, "log", e))?)
            }
        };
        let len = view.len().map_err(|e| OpenError::io(Format::Vhdx, "length", e))?;
        let regions = region_table(view.as_ref(), &mut oddities)?;
        let reserved = reserve(&regions, ring, len)?;
        let metadata = Metadata::read(view.as_ref(), regions.metadata.clone())?;
        let shape = Shape::new(metadata.block_size, metadata.size, metadata.logical_sector);
        let shape = if metadata.parent.is_some() { shape.with_bitmaps() } else { shape };
        let entries = shape.entries();
        let fit = (regions.bat.end - regions.bat.start) / 8;
        if entries > fit {
            return Err(damaged(
                "block allocation table",
                format!("the disk needs {entries} entries, but the region holds {fit}"),
            ));
        }
        Ok(Self { view, len, creator, headers, ring, replay, regions, metadata, shape, reserved, oddities })
    }

    /// The bytes of the table that are in use.
    pub(super) fn bat(&self) -> Range<u64> {
        self.regions.bat.start..self.regions.bat.start + self.shape.entries() * 8
    }
}

fn damaged(field: &'static str, detail: String) -> OpenError {
    OpenError::damaged(Format::Vhdx, field, detail)
}

fn identifier(file: &dyn BlockFile, len: u64) -> Result<String, OpenError> {
    if len < MIB {
        return Err(damaged("file", format!("it is {len} bytes long; the headers alone take 1 MiB")));
    }
    let mut buf = [0; 8 + CREATOR_LEN];
    file.read_exact_at(&mut buf, 0).map_err(|e| OpenError::io(Format::Vhdx, "identifier", e))?;
    if !buf.starts_with(SIGNATURE) {
        return Err(damaged("identifier", "the file does not start with \"vhdxfile\"".to_owned()));
    }
    Ok(le::utf16(&buf[8..]))
}

fn ring(headers: &Headers, len: u64) -> Result<Option<Ring>, OpenError> {
    let header = headers.current();
    if !header.log.is_nil() && header.log_version != 0 {
        return Err(OpenError::unsupported(
            Format::Vhdx,
            "log version",
            format!("it is {}, only 0 is known", header.log_version),
        ));
    }
    let (offset, length) = (header.log_offset, u64::from(header.log_length));
    if length == 0 {
        return Ok(None);
    }
    let fits = offset >= MIB
        && offset.is_multiple_of(MIB)
        && length.is_multiple_of(MIB)
        && offset.checked_add(length).is_some_and(|end| end <= len);
    if !fits {
        return Err(damaged(
            "log",
            format!(
                "offset {offset} and length {length} must be whole MiBs past the first, within the {len} bytes of the file"
            ),
        ));
    }
    Ok(Some(Ring { offset, len: header.log_length }))
}

fn region_table(
    file: &dyn BlockFile,
    oddities: &mut Vec<(Severity, String)>,
) -> Result<RegionTable, OpenError> {
    let mut copies = Vec::with_capacity(2);
    for offset in region::TABLE_OFFSETS {
        let mut buf = vec![0; region::TABLE_LEN];
        file.read_exact_at(&mut buf, offset).map_err(|e| OpenError::io(Format::Vhdx, "region table", e))?;
        copies.push(RegionTable::decode(&buf));
    }
    let unusable = |n: usize, reason: &str| {
        (Severity::Error, format!("region table {n} is not valid ({reason}); the other copy is used"))
    };
    let (second, first) = (copies.pop(), copies.pop());
    match (first, second) {
        (Some(Err(TableError::Unknown(id))), _)
        | (Some(Err(TableError::Damaged(_))), Some(Err(TableError::Unknown(id)))) => {
            Err(OpenError::unsupported(
                Format::Vhdx,
                "region table",
                format!("the file requires knowledge of the region {id}, which is not known here"),
            ))
        }
        (Some(Ok(first)), Some(second)) => {
            match second {
                Ok(second) if second == first => {}
                Ok(_) => oddities
                    .push((Severity::Error, "the two region tables differ; the first is used".to_owned())),
                Err(TableError::Damaged(reason)) => oddities.push(unusable(2, &reason)),
                Err(TableError::Unknown(id)) => {
                    oddities.push(unusable(2, &format!("it requires the region {id}")))
                }
            }
            Ok(first)
        }
        (Some(Err(TableError::Damaged(reason))), Some(Ok(second))) => {
            oddities.push(unusable(1, &reason));
            Ok(second)
        }
        (Some(Err(TableError::Damaged(a))), Some(Err(TableError::Damaged(b)))) => Err(damaged(
            "region table",
            format!("neither copy is valid: of the first, {a}; of the second, {b}"),
        )),
        _ => Err(damaged("region table", "it was not read".to_owned())),
    }
}

/// Puts the parts of the file in order and makes sure that they lie within it and apart.
fn reserve(regions: &RegionTable, ring: Option<Ring>, len: u64) -> Result<Reserved, OpenError> {
    let mut parts = vec![
        (0..MIB, "header section"),
        (regions.bat.clone(), "block allocation table"),
        (regions.metadata.clone(), "metadata region"),
    ];
    parts.extend(ring.map(|ring| (ring.range(), "log")));
    parts.extend(regions.optional.iter().map(|region| (region.range.clone(), "optional region")));
    parts.sort_by_key(|(range, _)| range.start);
    for pair in parts.windows(2) {
        if let [(a, name), (b, other)] = pair
            && a.end > b.start
        {
            return Err(damaged(
                "region table",
                format!("the {name} and the {other} overlap at {}", b.start),
            ));
        }
    }
    if let Some((range, name)) = parts.iter().find(|(range, _)| range.end > len) {
        return Err(damaged(
            "region table",
            format!("the {name} ends at {}, but the file has only {len} bytes", range.end),
        )
        .advise("the file was cut off; restore it from a copy"));
    }
    Ok(Reserved(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ranges_are_hit_by_any_overlap_and_missed_by_neighbours() {
        let reserved = Reserved(vec![(0..10, "a"), (10..20, "b"), (30..40, "c")]);
        for (range, expected) in [
            (0..1, Some("a")),
            (9..10, Some("a")),
            (19..21, Some("b")),
            (20..30, None),
            (20..31, Some("c")),
            (25..50, Some("c")),
            (40..50, None),
        ] {
            assert_eq!(reserved.hit(&range), expected, "{range:?}");
        }
        assert_eq!(reserved.end(), 40);
    }
}
