//! Giving a differencing disk another parent.
//!
//! The header tells of the parent in two sectors with one checksum, so it cannot be changed in one write. A new header with
//! the names of the new parent is written behind the last block; then the footers, one sector each, say that the header is
//! there. After that the old place is free: the header goes back to it, and the footers with it. A stop in between leaves
//! footers that name a whole header each, of the old parent or of the new one.

use std::ops::Range;

use super::footer::{FOOTER_LEN, Footer, Kind};
use super::header::{HEADER_LEN, Header, Locator, MAX_LOCATOR_TEXT, locator_texts};
use super::layout::{Found, Layout, Shape, UNALLOCATED, find_footer};
use super::tidy;
use crate::image::{BlockFile, Format, OpenError, ParentRecord};

type Text = ([u8; 4], Vec<u8>);

fn failed(e: std::io::Error) -> OpenError {
    OpenError::io(Format::Vhd, "file", e)
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX / 2)
}

/// Lets the disk name `parent` as its parent.
pub(super) fn set_parent(file: &dyn BlockFile, parent: &ParentRecord) -> Result<(), OpenError> {
    let found = find_footer(file)?;
    let refuse = |field, detail: String| Err(OpenError::unsupported(Format::Vhd, field, detail));
    if found.footer.has_saved_state() {
        return refuse(
            "footer saved state",
            "the disk belongs to a virtual machine whose state is saved".to_owned(),
        );
    }
    if found.footer.kind()? != Kind::Differencing {
        return refuse("parent", "the disk has no parent".to_owned());
    }
    let texts = locator_texts(parent);
    if texts.iter().any(|(_, text)| to_u64(text.len()) > u64::from(MAX_LOCATOR_TEXT)) {
        return refuse("parent", format!("the path {} is too long", parent.absolute));
    }
    let layout = Layout::load(file, &found)?;
    layout.require_sound()?;
    tidy(file, &found, &layout)?;
    let found = find_footer(file)?;

    let header_at = beyond(file, &found, &layout, parent, &texts)?;
    switch(file, &found.footer.with_data_offset(header_at))?;
    back(file, &found, &layout, parent, &texts)?;
    switch(file, &found.footer)?;

    let found = find_footer(file)?;
    let layout = Layout::load(file, &found)?;
    tidy(file, &found, &layout).map(|_| ())
}

fn end_of(layout: &Layout) -> u64 {
    layout.survey.end.max(layout.metadata_end).next_multiple_of(512)
}

/// One name after the other from `at` on, and where the last one ends.
fn in_a_row(texts: &[Text], mut at: u64) -> (Vec<Locator>, u64) {
    let mut locators = Vec::new();
    for (platform, text) in texts {
        locators.push(locator(platform, text, at));
        at += to_u64(text.len()).next_multiple_of(512);
    }
    (locators, at)
}

/// Writes names and header behind the last block. Answers where the header is.
fn beyond(
    file: &dyn BlockFile,
    found: &Found,
    layout: &Layout,
    parent: &ParentRecord,
    texts: &[Text],
) -> Result<u64, OpenError> {
    let (locators, at) = in_a_row(texts, end_of(layout));
    let len = Shape::file_len(at + HEADER_LEN as u64);
    // The copy at the start is good while the footer at the end moves.
    file.set_len(len).map_err(failed)?;
    file.write_all_at(found.footer.bytes(), len - FOOTER_LEN as u64).map_err(failed)?;
    write(file, &layout.header.with_parent(parent, &locators), at, &locators, texts)?;
    Ok(at)
}

/// Writes the header in its old place, and the names where there is room between the parts of the file, at best where the old
/// ones are.
fn back(
    file: &dyn BlockFile,
    found: &Found,
    layout: &Layout,
    parent: &ParentRecord,
    texts: &[Text],
) -> Result<(), OpenError> {
    let home = found.footer.data_offset();
    let (shape, slot) = (&layout.shape, layout.shape.slot_len());
    let table = shape.table_offset..shape.table_offset + u64::from(layout.header.table_entries()) * 4;
    let mut taken: Vec<Range<u64>> = vec![0..512, home..home + HEADER_LEN as u64, table];
    let places = layout.table.iter().filter(|place| **place != UNALLOCATED);
    taken.extend(places.map(|place| u64::from(*place) * 512..u64::from(*place) * 512 + slot));
    taken.sort_by_key(|range| range.start);
    let end = end_of(layout);
    let mut fit = |(platform, text): &Text| {
        let len = to_u64(text.len()).next_multiple_of(512);
        let at = gap(&taken, len, end)?;
        taken.insert(taken.partition_point(|range| range.start < at), at..at + len);
        Some(locator(platform, text, at))
    };
    let locators: Option<Vec<Locator>> = texts.iter().map(&mut fit).collect();
    // Without room they stay where they are already.
    let locators = locators.unwrap_or_else(|| in_a_row(texts, end).0);
    write(file, &layout.header.with_parent(parent, &locators), home, &locators, texts)
}

/// The first multiple of 512 with `len` free bytes before `end`.
fn gap(taken: &[Range<u64>], len: u64, end: u64) -> Option<u64> {
    let mut at = 512;
    for range in taken {
        if at + len <= range.start {
            break;
        }
        at = at.max(range.end.next_multiple_of(512));
    }
    (at + len <= end).then_some(at)
}

fn locator(platform: &[u8; 4], text: &[u8], offset: u64) -> Locator {
    Locator { platform: *platform, len: u32::try_from(text.len()).unwrap_or(u32::MAX), offset }
}

fn write(
    file: &dyn BlockFile,
    header: &Header,
    header_at: u64,
    locators: &[Locator],
    texts: &[Text],
) -> Result<(), OpenError> {
    for (locator, (_, text)) in locators.iter().zip(texts) {
        file.write_all_at(text, locator.offset).map_err(failed)?;
    }
    file.write_all_at(header.bytes(), header_at).map_err(failed)?;
    file.sync_data().map_err(failed)
}

/// Writes both footers, the one at the end first: it is the one that counts.
fn switch(file: &dyn BlockFile, footer: &Footer) -> Result<(), OpenError> {
    let end = file.len().map_err(failed)? - FOOTER_LEN as u64;
    for at in [end, 0] {
        file.write_all_at(footer.bytes(), at).map_err(failed)?;
        file.sync_data().map_err(failed)?;
    }
    Ok(())
}
