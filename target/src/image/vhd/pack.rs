//! Moving the last blocks of a file that is not open into gaps before them, and cutting the file off behind what is left.

use std::ops::Range;

use super::footer::Kind;
use super::header::HEADER_LEN;
use super::layout::{Layout, UNALLOCATED, find_footer};
use super::tidy;
use crate::image::pack::{Gaps, Item, PackError, pack};
use crate::image::tools::Progress;
use crate::image::{BlockFile, Format, OpenError, OpenErrorKind};

/// Makes the file as short as its blocks allow.
pub(super) fn compact(file: &dyn BlockFile, progress: Progress<'_>) -> Result<(), PackError> {
    let found = find_footer(file)?;
    if found.footer.kind()? == Kind::Fixed {
        return Ok(());
    }
    if found.footer.has_saved_state() {
        return Err(OpenError::new(
            OpenErrorKind::NotWritable,
            Some(Format::Vhd),
            "footer saved state",
            "the disk belongs to a virtual machine whose state is saved",
        )
        .into());
    }
    let layout = Layout::load(file, &found)?;
    layout.require_sound()?;
    tidy(file, &found, &layout)?;
    let shape = layout.shape;
    let items: Vec<Item> = (0u64..)
        .zip(&layout.table)
        .filter(|(_, place)| **place != UNALLOCATED)
        .map(|(block, place)| Item { at: u64::from(*place) * 512, len: shape.slot_len(), id: block })
        .collect();
    let table = shape.table_offset..shape.table_offset + u64::from(layout.header.table_entries()) * 4;
    let header_at = found.footer.data_offset();
    let mut taken: Vec<Range<u64>> = vec![0..512, header_at..header_at + HEADER_LEN as u64, table];
    taken
        .extend(layout.header.locators().filter_map(|l| Some(l.offset..l.offset.checked_add(l.len.into())?)));
    taken.extend(items.iter().map(|item| item.at..item.at + item.len));
    let publish = |moved: &[Item]| {
        for item in moved {
            let place = u32::try_from(item.at / 512).unwrap_or(UNALLOCATED);
            file.write_all_at(&place.to_be_bytes(), shape.table_offset + item.id * 4)?;
        }
        Ok(())
    };
    let packed = pack(file, items, Gaps::between(512, taken), |at| shape.slot_after(at), publish, progress);
    // Also of a part that was moved.
    let found = find_footer(file)?;
    let layout = Layout::load(file, &found)?;
    tidy(file, &found, &layout)?;
    packed
}
