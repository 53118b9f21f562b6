//! Changing what an image says of itself, while it is not open: its size, and its parent.
//!
//! Each change ends in one write within one sector of the metadata region, which is there or not after a crash. All that it
//! needs is durable before. So the log must be empty, and one that a crash left is replayed first. Only a block allocation table
//! that moves goes through the log: it is named twice in the file, and the size changes with it.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use uuid::Uuid;

use super::bat::PAGE_LEN;
use super::bat_scan::scan;
use super::container::Container;
use super::disk::recover;
use super::log_entry::PageImage;
use super::log_writer::LogWriter;
use super::metadata::{Metadata, Place, SIZE_MAX, TABLE_LEN};
use super::parent_locator::ParentLocator;
use super::region::{RegionTable, TABLE_OFFSETS};
use super::trim::Extent;
use super::{MIB, bat, guid, le};
use crate::image::{BlockFile, Environment, Format, OpenError, OpenErrorKind, ParentRecord};

const SECTOR: u64 = 512;

pub(super) fn failed(field: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |e| OpenError::io(Format::Vhdx, field, e)
}

/// Reads the file and replays its log. The identifiers in its headers are changed, since the file will be.
pub(super) fn begin(
    file: &Arc<dyn BlockFile>,
    env: &Arc<dyn Environment>,
    content_changes: bool,
) -> Result<Container, OpenError> {
    let mut container = Container::read(file)?;
    recover(file, &mut container, env)?;
    let mut container = Container::read(file)?;
    let guid = || env.random_guid().map_err(failed("headers"));
    let (file_write, data_write) = (guid()?, guid()?);
    container
        .headers
        .update(&**file, |header| {
            header.file_write = file_write;
            if content_changes {
                header.data_write = data_write;
            }
        })
        .map_err(failed("headers"))?;
    Ok(container)
}

fn place(container: &Container, file: &dyn BlockFile, id: Uuid) -> Result<Place, OpenError> {
    Metadata::place(file, &container.regions.metadata, id)?
        .ok_or_else(|| OpenError::damaged(Format::Vhdx, "metadata table", "an item is missing"))
}

/// Writes `bytes` where a crash leaves all or nothing of them.
fn write_whole(file: &dyn BlockFile, bytes: &[u8], at: u64) -> Result<(), OpenError> {
    let end = at + u64::try_from(bytes.len()).unwrap_or(u64::MAX / 2);
    if at / SECTOR != (end - 1) / SECTOR {
        return Err(OpenError::unsupported(
            Format::Vhdx,
            "metadata",
            format!("an item at {at} crosses a sector, so that it cannot be changed safely"),
        )
        .advise("convert the image"));
    }
    file.sync_data().map_err(failed("metadata"))?;
    file.write_all_at(bytes, at).map_err(failed("metadata"))?;
    file.sync_data().map_err(failed("metadata"))
}

/// Makes the disk `size` bytes long. What is cut off is zero already; what is new reads as zero.
///
/// What the new size needs is prepared first: entries for the new blocks, in a longer table at the end of the file when the old
/// one has no room, and on a fixed disk the blocks. Nobody looks at these before the size changes.
///
/// # Errors
/// [`OpenError`] when the size is none that the file can have, or the host fails.
pub fn resize(file: &Arc<dyn BlockFile>, size: u64, env: &Arc<dyn Environment>) -> Result<(), OpenError> {
    let found = Container::read(file)?;
    let (old, sector) = (found.metadata.size, u64::from(found.metadata.logical_sector));
    let refuse = |detail: String| Err(OpenError::unsupported(Format::Vhdx, "size", detail));
    if size == 0 || size > SIZE_MAX || !size.is_multiple_of(sector) {
        return refuse(format!("{size} bytes; it is a multiple of {sector} up to 64 TiB, and not zero"));
    }
    let shape = bat::Shape::new(found.metadata.block_size, size, found.metadata.logical_sector);
    let shape = if found.shape.is_differencing() { shape.with_bitmaps() } else { shape };
    let container = begin(file, env, true)?;
    let table = &container.regions.bat;
    let mut moved = None;
    if size > old {
        clear_tail(&container, &**file, old)?;
        let fits = shape.entries() <= (table.end - table.start) / 8;
        let to = if fits { table.clone() } else { longer_table(&container, &**file, shape)? };
        zero(&**file, to.start + container.shape.entries() * 8..to.start + shape.entries() * 8)?;
        if container.metadata.fixed {
            new_blocks(&container, &**file, shape, &to)?;
        }
        moved = (!fits).then_some(to);
    }
    let place = place(&container, &**file, guid::VIRTUAL_DISK_SIZE)?;
    match moved {
        None => write_whole(&**file, &size.to_le_bytes(), place.item.start)?,
        Some(to) => switch_table(container, file, env, to, (place.item.start, size))?,
    }
    if size < old { cut(file) } else { Ok(()) }
}

/// Where in the file there is nothing, from here on.
fn end_of_content(container: &Container, file: &dyn BlockFile) -> Result<u64, OpenError> {
    let len = file.len().map_err(failed("length"))?;
    let end = Extent::of(container, len).end_of_content(file).map_err(failed("block allocation table"))?;
    Ok(end.max(len).next_multiple_of(MIB))
}

/// A copy of the table with room for `shape` at the end of the file, durable.
fn longer_table(
    container: &Container,
    file: &dyn BlockFile,
    shape: bat::Shape,
) -> Result<Range<u64>, OpenError> {
    let at = end_of_content(container, file)?;
    let len = (shape.entries_with_bitmaps().max(shape.entries()) * 8).next_multiple_of(MIB);
    if u32::try_from(len).is_err() {
        return Err(OpenError::unsupported(
            Format::Vhdx,
            "size",
            "the table would be too long for its region",
        ));
    }
    let new = at..at + len;
    let no_table = failed("block allocation table");
    file.set_len(new.end).map_err(&no_table)?;
    scan(file, container.bat(), |index, entry| {
        match file.write_all_at(&entry.0.to_le_bytes(), at + index * 8) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })
    .map_err(&no_table)?;
    // A write that failed above has left a difference, so the copy is compared and not trusted.
    let mut same = true;
    scan(file, container.bat(), |index, entry| {
        let mut copy = [0; 8];
        same = file.read_exact_at(&mut copy, at + index * 8).is_ok() && copy == entry.0.to_le_bytes();
        if same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(&no_table)?;
    if !same {
        return Err(OpenError::new(
            OpenErrorKind::Io,
            Some(Format::Vhdx),
            "block allocation table",
            "the longer copy of it could not be written",
        ));
    }
    file.sync_data().map_err(no_table)?;
    Ok(new)
}

/// Gives space at the end of the file to the blocks by which a fixed disk grows.
fn new_blocks(
    container: &Container,
    file: &dyn BlockFile,
    shape: bat::Shape,
    table: &Range<u64>,
) -> Result<(), OpenError> {
    let old = container.shape.blocks();
    if shape.blocks() == old {
        return Ok(());
    }
    let first = end_of_content(container, file)?;
    let end = first + (shape.blocks() - old) * shape.block_size();
    file.set_len(end).map_err(failed("length"))?;
    file.reserve(first..end).map_err(failed("length"))?;
    for block in old..shape.blocks() {
        let entry = bat::Entry::present(first + (block - old) * shape.block_size());
        file.write_all_at(&entry.0.to_le_bytes(), table.start + shape.index(block) * 8)
            .map_err(failed("block allocation table"))?;
    }
    Ok(())
}

/// Lets the file have its table at `table`, and in the same moment the size `size` at `size_at`: through the log, since that
/// changes both region tables and the metadata (MS-VHDX 2.2.3).
fn switch_table(
    mut container: Container,
    file: &Arc<dyn BlockFile>,
    env: &Arc<dyn Environment>,
    table: Range<u64>,
    (size_at, size): (u64, u64),
) -> Result<(), OpenError> {
    let no_log = failed("log");
    let regions = RegionTable { bat: table, ..container.regions.clone() }.encode();
    let mut pages = Vec::new();
    let mut change = |at: u64, bytes: &[u8]| {
        for (at, bytes) in (at..).step_by(PAGE_LEN).zip(bytes.chunks_exact(PAGE_LEN)) {
            let mut page = Box::new([0; PAGE_LEN]);
            file.read_exact_at(&mut page[..], at)?;
            if page[..] != *bytes {
                page.copy_from_slice(bytes);
                pages.push(PageImage { offset: at, bytes: page });
            }
        }
        Ok(())
    };
    for at in TABLE_OFFSETS {
        change(at, &regions).map_err(&no_log)?;
    }
    // Both pages that the size may lie in.
    let first = size_at / PAGE_LEN as u64 * PAGE_LEN as u64;
    let mut metadata = vec![0; 2 * PAGE_LEN];
    let there = (container.regions.metadata.end - first).min(2 * PAGE_LEN as u64);
    metadata.truncate(usize::try_from(there).unwrap_or(PAGE_LEN));
    file.read_exact_at(&mut metadata, first).map_err(&no_log)?;
    le::put(&mut metadata, usize::try_from(size_at - first).unwrap_or(0), &size.to_le_bytes());
    change(first, &metadata).map_err(&no_log)?;

    let Some(ring) = container.ring else {
        return Err(OpenError::unsupported(Format::Vhdx, "log", "the file has none"));
    };
    let name = env.random_guid().map_err(&no_log)?;
    let mut log = LogWriter::new(ring, name, 1);
    if pages.len() > log.pages_max() {
        return Err(OpenError::unsupported(Format::Vhdx, "log", "it is too short for this change"));
    }
    let len = file.len().map_err(&no_log)?;
    file.sync_data().map_err(&no_log)?;
    log.append(&**file, pages.iter(), len, len.next_multiple_of(MIB)).map_err(&no_log)?;
    file.sync_data().map_err(&no_log)?;
    let headers = failed("headers");
    container.headers.update(&**file, |header| header.log = name).map_err(&headers)?;
    for page in &pages {
        file.write_all_at(&page.bytes[..], page.offset).map_err(&no_log)?;
    }
    file.sync_data().map_err(&no_log)?;
    container.headers.update(&**file, |header| header.log = Uuid::nil()).map_err(headers)
}

/// Cuts off what nothing refers to any more at the end.
fn cut(file: &Arc<dyn BlockFile>) -> Result<(), OpenError> {
    let container = Container::read(file)?;
    let end = Extent::of(&container, container.len).end_of_content(&**file).map_err(failed("length"))?;
    if end < container.len {
        file.set_len(end).and_then(|()| file.sync_data()).map_err(failed("length"))?;
    }
    Ok(())
}

fn zero(file: &dyn BlockFile, range: Range<u64>) -> Result<(), OpenError> {
    if range.is_empty() { Ok(()) } else { file.zero_range(range).map_err(failed("block allocation table")) }
}

/// Zeroes what lies behind the disk's end in its last block.
fn clear_tail(container: &Container, file: &dyn BlockFile, old: u64) -> Result<(), OpenError> {
    let shape = container.shape;
    let block = shape.blocks() - 1;
    let used = old - block * shape.block_size();
    let at = container.regions.bat.start + shape.index(block) * 8;
    let mut entry = [0; 8];
    file.read_exact_at(&mut entry, at).map_err(failed("block allocation table"))?;
    let entry = bat::Entry(u64::from_le_bytes(entry));
    if !matches!(entry.state(), bat::State::FullyPresent | bat::State::PartiallyPresent) {
        return Ok(());
    }
    let range = entry.offset().saturating_add(used)..entry.offset().saturating_add(shape.block_size());
    let range = range.start..range.end.min(container.len);
    if container.reserved.hit(&range).is_some() {
        return Err(OpenError::damaged(
            Format::Vhdx,
            "block allocation table",
            "the last block is over another part",
        ));
    }
    zero(file, range)
}

/// Lets the child in `file` accept its parent with the identity `now` that it has and with the identity `next` that it will get
/// (MS-VHDX 2.6.2.6.3).
///
/// # Errors
/// [`OpenError`] when the file is no differencing disk, its metadata has no room, or the host fails.
pub fn expect_parent(
    file: &Arc<dyn BlockFile>,
    now: Uuid,
    next: Uuid,
    env: &Arc<dyn Environment>,
) -> Result<(), OpenError> {
    replace_locator(file, env, |locator| locator.with_linkages(now, next))
}

/// Lets the child in `file` name `parent` as its parent.
///
/// # Errors
/// As [`expect_parent`].
pub fn set_parent(
    file: &Arc<dyn BlockFile>,
    parent: &ParentRecord,
    env: &Arc<dyn Environment>,
) -> Result<(), OpenError> {
    replace_locator(file, env, |_| ParentLocator::new(parent))
}

fn replace_locator(
    file: &Arc<dyn BlockFile>,
    env: &Arc<dyn Environment>,
    change: impl FnOnce(&ParentLocator) -> ParentLocator,
) -> Result<(), OpenError> {
    let container = begin(file, env, false)?;
    let no_room =
        || OpenError::unsupported(Format::Vhdx, "parent locator", "the metadata region has no room for it");
    let Some(locator) = &container.metadata.parent else {
        return Err(OpenError::unsupported(Format::Vhdx, "parent locator", "the disk has no parent"));
    };
    let bytes = change(locator).encode().ok_or_else(no_room)?;
    let place = place(&container, &**file, guid::PARENT_LOCATOR)?;
    let region = &container.regions.metadata;
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX / 2);
    let at = free_place(place.taken, len, region.end - region.start).ok_or_else(no_room)?;
    file.write_all_at(&bytes, region.start + at).map_err(failed("parent locator"))?;
    let mut entry = [0; 8];
    let (at, len) = (u32::try_from(at), u32::try_from(len));
    let (Ok(at), Ok(len)) = (at, len) else { return Err(no_room()) };
    entry[..4].copy_from_slice(&at.to_le_bytes());
    entry[4..].copy_from_slice(&len.to_le_bytes());
    write_whole(&**file, &entry, place.entry + 16)
}

/// The first place of `len` bytes in a region of `region_len` bytes that no item takes.
fn free_place(mut taken: Vec<Range<u64>>, len: u64, region_len: u64) -> Option<u64> {
    taken.sort_by_key(|range| range.start);
    let mut at = TABLE_LEN as u64;
    for range in taken.iter().filter(|range| !range.is_empty()) {
        if at + len <= range.start {
            break;
        }
        at = at.max(range.end.next_multiple_of(8));
    }
    (at + len <= region_len).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_place_lies_between_items_or_behind_them() {
        const START: u64 = 65_536;
        let taken = vec![START..START + 8, START + 100..START + 200];
        assert_eq!(free_place(taken.clone(), 92, 1 << 20), Some(START + 8));
        assert_eq!(free_place(taken.clone(), 93, 1 << 20), Some(START + 200));
        assert_eq!(free_place(taken, 93, START + 292), None);
        assert_eq!(free_place(Vec::new(), 8, START + 8), Some(START));
    }
}
