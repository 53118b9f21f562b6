//! Changing the size of a disk that is not open.
//!
//! The header's first sector and each footer are written as single sectors, which are there or not after a crash, each after
//! all that it needs is durable. A longer table goes behind the last block: the header says where the table is.

use std::ops::Range;
use std::sync::Arc;

use super::footer::{FOOTER_LEN, Footer, Kind};
use super::layout::{Found, Layout, Shape, UNALLOCATED, find_footer};
use super::{fixed, tidy};
use crate::image::{BlockFile, Format, OpenError};
use crate::limits::MAX_VHD_BLOCKS;

/// 2040 GiB.
const MAX_SIZE: u64 = 2040 << 30;

fn failed(e: std::io::Error) -> OpenError {
    OpenError::io(Format::Vhd, "file", e)
}

/// Makes the disk `size` bytes long. What is cut off is zero already; what is new reads as zero.
pub(super) fn resize(file: &Arc<dyn BlockFile>, size: u64) -> Result<(), OpenError> {
    let refuse = |detail: String| Err(OpenError::unsupported(Format::Vhd, "size", detail));
    if size == 0 || !size.is_multiple_of(512) || size > MAX_SIZE {
        return refuse(format!("{size} bytes; it is a multiple of 512, at least 512 and at most 2040 GiB"));
    }
    let file = &**file;
    let found = find_footer(file)?;
    if found.footer.has_saved_state() {
        return refuse("the disk belongs to a virtual machine whose state is saved".to_owned());
    }
    let footer = found.footer.with_size(size);
    match found.footer.kind()? {
        Kind::Fixed => resize_fixed(file, &found, &footer),
        Kind::Dynamic | Kind::Differencing => resize_dynamic(file, &footer),
    }
}

fn resize_fixed(file: &dyn BlockFile, found: &Found, footer: &Footer) -> Result<(), OpenError> {
    let (old, size) = (fixed::size(found)?, footer.disk_size());
    // There is no copy: the new footer is in its place, in one write, before the old one goes.
    file.write_all_at(footer.bytes(), size).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    if size < old {
        file.set_len(size + FOOTER_LEN as u64).map_err(failed)?;
    } else {
        let footer_was = found.body_end();
        let range: Range<u64> = old.min(footer_was)..found.len.min(size);
        if !range.is_empty() {
            file.zero_range(range).map_err(failed)?;
        }
        file.reserve(old..size).map_err(failed)?;
    }
    file.sync_data().map_err(failed)
}

fn resize_dynamic(file: &dyn BlockFile, footer: &Footer) -> Result<(), OpenError> {
    let size = footer.disk_size();
    let found = find_footer(file)?;
    let mut layout = Layout::load(file, &found)?;
    layout.require_sound()?;
    tidy(file, &found, &layout)?;
    let block_size = layout.header.block_size();
    let shape =
        Shape::new(size, block_size, layout.shape.table_offset).filter(|s| s.blocks <= MAX_VHD_BLOCKS);
    let Some(shape) = shape else {
        return Err(OpenError::unsupported(Format::Vhd, "size", format!("{size} bytes need larger blocks"))
            .advise("convert the image"));
    };
    if size > layout.shape.size {
        clear_tail(file, &layout)?;
    }
    if shape.blocks > layout.header.table_entries() {
        move_table(file, &found, &layout, shape.blocks)?;
        layout = Layout::load(file, &find_footer(file)?)?;
    } else if shape.blocks > layout.shape.blocks {
        // Entries behind the disk's end may be anything.
        let at = |blocks: u32| layout.shape.table_offset + u64::from(blocks) * 4;
        let fresh =
            vec![0xff; usize::try_from(u64::from(shape.blocks - layout.shape.blocks) * 4).unwrap_or(0)];
        file.write_all_at(&fresh, at(layout.shape.blocks)).map_err(failed)?;
    }
    file.sync_data().map_err(failed)?;
    let len = file.len().map_err(failed)?;
    debug_assert!(layout.survey.end <= len);
    file.write_all_at(footer.bytes(), len - FOOTER_LEN as u64).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    file.write_all_at(footer.bytes(), 0).map_err(failed)?;
    file.sync_data().map_err(failed)
}

/// Zeroes what lies behind the disk's end in its last block.
fn clear_tail(file: &dyn BlockFile, layout: &Layout) -> Result<(), OpenError> {
    let shape = &layout.shape;
    let Some(place) = layout.table.last().filter(|place| **place != UNALLOCATED) else { return Ok(()) };
    let payload = u64::from(*place) * 512 + shape.bitmap_len;
    let used = shape.sectors_in(shape.blocks - 1) * 512;
    let range = payload + used..payload + shape.block_size;
    if range.is_empty() { Ok(()) } else { file.zero_range(range).map_err(failed) }
}

/// Writes a table with room for `blocks`, and some more, behind the last block, and then lets the header say so.
fn move_table(file: &dyn BlockFile, found: &Found, layout: &Layout, blocks: u32) -> Result<(), OpenError> {
    let header_at = found.footer.data_offset();
    if !header_at.is_multiple_of(512) {
        return Err(OpenError::unsupported(
            Format::Vhd,
            "footer data offset",
            format!("{header_at:#x}: a header that does not start at a sector cannot be changed safely"),
        )
        .advise("convert the image"));
    }
    let entries = blocks.saturating_add(blocks / 4).min(MAX_VHD_BLOCKS).max(blocks).next_multiple_of(128);
    let at = layout.survey.end.max(layout.metadata_end).next_multiple_of(512);
    let end = at + u64::from(entries) * 4;
    let len = Shape::file_len(end);
    // The copy at the start is good while the footer at the end moves.
    file.set_len(len).map_err(failed)?;
    file.write_all_at(found.footer.bytes(), len - FOOTER_LEN as u64).map_err(failed)?;
    let mut table: Vec<u8> = layout.table.iter().flat_map(|place| place.to_be_bytes()).collect();
    table.resize(usize::try_from(u64::from(entries) * 4).unwrap_or(0), 0xff);
    file.write_all_at(&table, at).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    let header = layout.header.with_table(at, entries);
    // Only the first sector differs.
    file.write_all_at(header.bytes().get(..512).unwrap_or_default(), header_at).map_err(failed)?;
    file.sync_data().map_err(failed)
}
