//! Changing what an image says of itself, while it is not open: its size, and its parent.
//!
//! Each change ends in one write within one sector of the metadata region, which is there or not after a crash. All that it
//! needs is durable before. So the log is not used; it must be empty, and a log that a crash left is replayed first.

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::container::Container;
use super::disk::recover;
use super::metadata::{Metadata, Place, SIZE_MAX, TABLE_LEN};
use super::parent_locator::ParentLocator;
use super::{bat, guid};
use crate::image::{BlockFile, Environment, Format, OpenError};

const SECTOR: u64 = 512;

fn failed(field: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |e| OpenError::io(Format::Vhdx, field, e)
}

/// Reads the file and replays its log. The identifiers in its headers are changed, since the file will be.
fn begin(
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
/// # Errors
/// [`OpenError`] when the size is none that the file can have, or the host fails.
pub fn resize(file: &Arc<dyn BlockFile>, size: u64, env: &Arc<dyn Environment>) -> Result<(), OpenError> {
    let found = Container::read(file)?;
    let (old, sector) = (found.metadata.size, u64::from(found.metadata.logical_sector));
    let refuse = |detail: String| Err(OpenError::unsupported(Format::Vhdx, "size", detail));
    if size == 0 || size > SIZE_MAX || !size.is_multiple_of(sector) {
        return refuse(format!("{size} bytes; it is a multiple of {sector} up to 64 TiB, and not zero"));
    }
    if found.metadata.fixed {
        return refuse("a fixed disk keeps its size; convert it to a dynamic one".to_owned());
    }
    let shape = bat::Shape::new(found.metadata.block_size, size, found.metadata.logical_sector);
    let shape = if found.shape.is_differencing() { shape.with_bitmaps() } else { shape };
    let fit = (found.regions.bat.end - found.regions.bat.start) / 8;
    if shape.entries() > fit {
        return refuse(format!(
            "{size} bytes need {} entries in the block allocation table, which has room for {fit}; convert the image to one with \
             larger blocks",
            shape.entries()
        ));
    }
    let container = begin(file, env, true)?;
    if size > old {
        let bat = container.regions.bat.start;
        let fresh = bat + container.shape.entries() * 8..bat + shape.entries() * 8;
        zero(&**file, fresh)?;
        clear_tail(&container, &**file, old)?;
    }
    let place = place(&container, &**file, guid::VIRTUAL_DISK_SIZE)?;
    write_whole(&**file, &size.to_le_bytes(), place.item.start)
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
