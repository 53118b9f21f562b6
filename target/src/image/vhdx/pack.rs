//! Moving the last blocks of a file that is not open into gaps before them, and cutting the file off behind what is left.
//!
//! An entry of the table is eight bytes within one sector, which are there or not after a crash, and what it says is durable
//! before it is written. So the log is not used, as in `edit`.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::MIB;
use super::bat::{Entry, State};
use super::bat_scan::scan;
use super::edit::{begin, failed};
use super::trim::Extent;
use crate::image::pack::{Gaps, Item, PackError, pack};
use crate::image::tools::Progress;
use crate::image::{BlockFile, CheckReport, Environment, Format, OpenError};
use crate::limits::MAX_VHDX_PACKED_BLOCKS;

/// Makes the file as short as its blocks allow.
///
/// # Errors
/// [`PackError`]; a file that is not sound is not changed.
pub fn compact(
    file: &Arc<dyn BlockFile>,
    env: &Arc<dyn Environment>,
    progress: Progress<'_>,
) -> Result<(), PackError> {
    let report: CheckReport = super::check(file, false, env)?;
    if let Some(first) = report.findings.first().filter(|_| !report.is_sound()) {
        return Err(OpenError::damaged(Format::Vhdx, "block allocation table", first.message.clone()).into());
    }
    let container = begin(file, env, false)?;
    if container.metadata.fixed {
        return Ok(());
    }
    let (shape, bat) = (container.shape, container.bat());
    let (mut items, mut kept, mut too_many) = (Vec::new(), Vec::new(), false);
    scan(&**file, bat.clone(), |index, entry| {
        let len = match shape.block_of(index) {
            Some(block) if block >= shape.blocks() => return ControlFlow::Continue(()),
            Some(_) => shape.block_size(),
            None => MIB,
        };
        match entry.state() {
            State::FullyPresent | State::PartiallyPresent => {
                items.push(Item { at: entry.offset(), len, id: index });
            }
            // A place that is kept for a block without content.
            _ if entry.claim().is_some() => kept.push((index, entry)),
            _ => {}
        }
        too_many = items.len() + kept.len() > MAX_VHDX_PACKED_BLOCKS;
        if too_many { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if too_many {
        return Err(OpenError::unsupported(
            Format::Vhdx,
            "blocks",
            format!("there are more than {MAX_VHDX_PACKED_BLOCKS} of them, too many to be moved"),
        )
        .advise("convert the image to one with larger blocks")
        .into());
    }
    let write = |index: u64, entry: Entry| file.write_all_at(&entry.0.to_le_bytes(), bat.start + index * 8);
    for (index, entry) in kept {
        write(index, Entry(entry.0 & (MIB - 1)))?;
    }
    file.sync_data()?;
    let mut taken: Vec<Range<u64>> = container.reserved.iter().cloned().collect();
    taken.extend(items.iter().map(|item| item.at..item.at.saturating_add(item.len)));
    let publish = |moved: &[Item]| {
        for item in moved {
            let mut entry = [0; 8];
            file.read_exact_at(&mut entry, bat.start + item.id * 8)?;
            let bits = u64::from_le_bytes(entry) & (MIB - 1);
            write(item.id, Entry(item.at | bits))?;
        }
        Ok(())
    };
    let packed = pack(&**file, items, Gaps::between(MIB, taken), |at| at, publish, progress);
    cut(file, &container).map_err(failed("length"))?;
    packed
}

/// Cuts off what lies behind the last thing in the file.
fn cut(file: &Arc<dyn BlockFile>, container: &super::container::Container) -> std::io::Result<()> {
    let len = file.len()?;
    let end = Extent::of(container, len).end_of_content(&**file)?;
    if end < len {
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok(())
}
