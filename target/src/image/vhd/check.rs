//! What can be said about a VHD file without serving it.

use std::ops::Range;
use std::sync::Arc;

use super::bitmap;
use super::fixed;
use super::footer::Kind;
use super::layout::{Found, Layout, Place, UNALLOCATED, find_footer};
use super::tidy;
use crate::image::{BlockFile, CheckReport, Format, ImageInfo, OpenError, Severity};

/// Describes the file.
pub(super) fn inspect(file: &dyn BlockFile) -> Result<ImageInfo, OpenError> {
    let found = find_footer(file)?;
    let kind = found.footer.kind()?;
    let mut info = ImageInfo::new(Format::Vhd, found.disk_size()?, found.len);
    info.creator = Some(found.footer.creator());
    info.ids.insert("disk".to_owned(), found.footer.unique_id().to_string());
    info.warnings.extend(footer_oddities(&found, kind));
    if found.footer.has_saved_state() {
        info.warnings
            .push("it belongs to a virtual machine whose state is saved; it cannot be written".to_owned());
    }
    if info.virtual_size != found.footer.current_size() {
        info.warnings.push(format!(
            "the size is that of its geometry, as Virtual PC shows it; the footer's current size is {}",
            found.footer.current_size()
        ));
    }
    let name = match kind {
        Kind::Fixed => {
            fixed::size(&found)?;
            info.physical_sector = 4096;
            info.subformat = Some("fixed".to_owned());
            return Ok(info);
        }
        Kind::Dynamic => "dynamic",
        Kind::Differencing => "differencing",
    };
    let layout = Layout::load(file, &found)?;
    info.subformat = Some(name.to_owned());
    info.block_size = Some(layout.shape.block_size);
    info.physical_sector = if layout.survey.aligned && layout.shape.block_size >= 4096 { 4096 } else { 512 };
    info.allocated_blocks = Some(layout.survey.allocated);
    info.total_blocks = Some(layout.shape.blocks.into());
    if kind == Kind::Differencing {
        info.parent = Some(layout.header.parent(file));
    }
    info.warnings.extend(layout.survey.faults.into_iter().map(|f| format!("damaged: {f}")));
    Ok(info)
}

/// Checks the file, and with `repair` does what a writable open does: puts footers and end in order.
pub(super) fn check(file: &Arc<dyn BlockFile>, repair: bool) -> Result<CheckReport, OpenError> {
    let found = find_footer(&**file)?;
    let kind = found.footer.kind()?;
    let mut report = CheckReport::default();
    let mut notes = footer_oddities(&found, kind);
    match kind {
        Kind::Fixed => {
            let behind = found.body_end().saturating_sub(fixed::size(&found)?);
            if behind > 0 {
                report.found(Severity::Leak, format!("{behind} bytes between the disk's end and the footer"));
            }
        }
        Kind::Dynamic | Kind::Differencing => {
            let layout = Layout::load(&**file, &found)?;
            for fault in &layout.survey.faults {
                report.found(Severity::Error, fault.clone());
            }
            report.errors = report.errors.max(layout.survey.fault_count);
            if layout.survey.fault_count == 0 {
                if kind == Kind::Dynamic {
                    partial_blocks(&**file, &layout, &mut notes)?;
                }
                let repairable = repair && !found.footer.has_saved_state();
                let mut unused = layout.survey.unused;
                if repairable && (!notes.is_empty() || unused > 0) {
                    unused = put_in_order(&**file, &found, &layout, &mut report)?;
                }
                if unused > 0 {
                    report.found(Severity::Leak, format!("{unused} bytes that no block uses"));
                }
            }
        }
    }
    for note in notes {
        report.found(Severity::Note, note);
    }
    Ok(report)
}

/// What a writable open does. Answers how many unused bytes are left, between blocks.
fn put_in_order(
    file: &dyn BlockFile,
    found: &Found,
    layout: &Layout,
    report: &mut CheckReport,
) -> Result<u64, OpenError> {
    tidy(file, found, layout)?;
    let unused = layout.survey.unused;
    let left = Layout::load(file, &find_footer(file)?)?.survey.unused;
    if left < unused {
        report
            .repaired(Severity::Leak, format!("{} bytes behind the last block were cut off", unused - left));
    }
    Ok(left)
}

fn footer_oddities(found: &Found, kind: Kind) -> Vec<String> {
    let mut notes = Vec::new();
    match found.place {
        Place::End => {}
        Place::ShortEnd => notes.push("the footer has 511 bytes, as very old programs wrote it".to_owned()),
        Place::Start => notes.push(
            "the footer at the end is missing or damaged; the copy at the start is used, and a writable open puts \
             the footer back"
                .to_owned(),
        ),
    }
    if kind != Kind::Fixed && found.place != Place::Start && found.copy.as_ref() != Ok(&found.footer) {
        notes.push(
            "the footer's copy at the start is damaged or differs; a writable open puts it back".to_owned(),
        );
    }
    notes
}

/// How many sectors of `range` hold a byte that is not zero. Holes cost nothing.
fn not_zero(file: &dyn BlockFile, range: Range<u64>, buf: &mut [u8]) -> Result<u64, OpenError> {
    let failed = |e| OpenError::io(Format::Vhd, "block", e);
    let (mut at, mut count) = (range.start, 0);
    while at < range.end {
        let Some(data) = file.next_data(at).map_err(failed)?.filter(|data| data.start < range.end) else {
            break;
        };
        at = data.start.max(at);
        at -= (at - range.start) % 512;
        let end = data.end.next_multiple_of(512).min(range.end);
        while at < end {
            // Both ends are whole sectors of the range.
            let len = (end - at).next_multiple_of(512).min(range.end - at);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
            let part = buf.get_mut(..len).unwrap_or_default();
            file.read_exact_at(part, at).map_err(failed)?;
            let held = part.chunks(512).filter(|sector| sector.iter().any(|byte| *byte != 0)).count();
            count += u64::try_from(held).unwrap_or(0);
            at += u64::try_from(len).unwrap_or(range.end);
        }
    }
    Ok(count)
}

/// Notes blocks with sectors that count as never written although there are bytes in their place.
fn partial_blocks(file: &dyn BlockFile, layout: &Layout, notes: &mut Vec<String>) -> Result<(), OpenError> {
    let read =
        |buf: &mut [u8], at| file.read_exact_at(buf, at).map_err(|e| OpenError::io(Format::Vhd, "block", e));
    let shape = &layout.shape;
    let mut bits = vec![0; usize::try_from(shape.bitmap_len).unwrap_or(0)];
    let mut hidden: u64 = 0;
    let mut partial: u64 = 0;
    let mut buf = vec![0; 64 << 10];
    for (place, block) in layout.table.iter().zip(0u32..).filter(|(place, _)| **place != UNALLOCATED) {
        let at = u64::from(*place) * 512;
        read(&mut bits, at)?;
        let sectors = shape.sectors_in(block);
        if bitmap::is_full(&bits, sectors) {
            continue;
        }
        partial += 1;
        for (run, _) in bitmap::runs(&bits, 0..sectors).filter(|(_, set)| !set) {
            let payload = at + shape.bitmap_len;
            hidden += not_zero(file, payload + run.start * 512..payload + run.end * 512, &mut buf)?;
        }
    }
    if partial > 0 {
        notes.push(format!(
            "{partial} blocks have sectors that were never written and read as zero; {hidden} of these sectors hold \
             other bytes in the file"
        ));
    }
    Ok(())
}
