//! Checking an image: what an open looks at, and then every entry of the block allocation table against every other.
//!
//! Blocks are laid over a map with one bit per MiB of the file, so memory follows the file's length (2 MiB for 16 TiB) and
//! not the number of entries.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::MIB;
use super::bat::{Entry, State};
use super::bat_scan::scan;
use super::container::Container;
use super::disk::recover;
use super::mib_map::Map;
use super::replay::Replay;
use super::trim::Extent;
use crate::image::{BlockFile, CheckReport, Environment, Format, OpenError, Severity};
use crate::limits::MAX_VHDX_FILE_LEN;

/// Checks a VHDX file. With `repair`, replays its log in place and cuts off what nothing refers to; nothing else can be
/// put right without a guess.
///
/// # Errors
/// [`OpenError`] when the parts of the file cannot be read, or the host fails.
pub fn check(
    file: &Arc<dyn BlockFile>,
    repair: bool,
    env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport::default();
    let mut container = Container::read(file)?;
    if let Some(entries) = container.replay.as_ref().map(Replay::len) {
        let text = format!("the file was not closed: {entries} log entries are not in place yet");
        if repair {
            recover(file, &mut container, env)?;
            file.sync_data().map_err(|e| OpenError::io(Format::Vhdx, "file", e))?;
            report.repaired(Severity::Error, text);
            container = Container::read(file)?;
        } else {
            report.found(Severity::Note, text + "; a writable open or a repair replays them");
        }
    }
    if repair && let Some(cut) = cut(file.as_ref(), &container)? {
        report.repaired(Severity::Leak, format!("cut {cut} bytes off the end, which nothing referred to"));
        container = Container::read(file)?;
    }
    inspect(&container, &mut report)?;
    Ok(report)
}

/// Cuts off what lies behind the last thing in a file without errors. Tells how much that was.
fn cut(file: &dyn BlockFile, container: &Container) -> Result<Option<u64>, OpenError> {
    let mut found = CheckReport::default();
    inspect(container, &mut found)?;
    let failed = |e| OpenError::io(Format::Vhdx, "file", e);
    let end = Extent::of(container, container.len).end_of_content(file).map_err(failed)?;
    let excess = container.len.saturating_sub(end);
    if excess == 0 || !found.is_sound() {
        return Ok(None);
    }
    file.set_len(end).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    Ok(Some(excess))
}

fn inspect(container: &Container, report: &mut CheckReport) -> Result<(), OpenError> {
    for (severity, text) in &container.oddities {
        report.found(*severity, text.clone());
    }
    if !container.len.is_multiple_of(MIB) {
        report
            .found(Severity::Note, format!("the file's {} bytes are no whole number of MiBs", container.len));
    }
    if container.len > MAX_VHDX_FILE_LEN {
        return Err(OpenError::unsupported(
            Format::Vhdx,
            "length",
            format!("the file has {} bytes, at most {MAX_VHDX_FILE_LEN} can be checked", container.len),
        ));
    }
    let mut map = Map::new(container.len);
    for range in container.reserved.iter() {
        map.take(range);
    }
    let mut blocks = Blocks { container, map, report, without_bitmap: None };
    let bat = container.regions.bat.start;
    let differencing = container.shape.is_differencing();
    scan(container.view.as_ref(), bat..bat + container.shape.entries() * 8, |index, entry| {
        blocks.look(index, entry, differencing);
        ControlFlow::Continue(())
    })
    .map_err(|e| OpenError::io(Format::Vhdx, "block allocation table", e))?;
    blocks.end_chunk(u64::MAX);
    // As in VHD: where no block fits nothing is lost.
    let (end, least) = (blocks.map.end(), container.shape.block_size());
    let lost = blocks.map.free_runs().filter(|run| run.end - run.start >= least || run.end == end);
    let leaked = lost.map(|run| run.end - run.start).sum::<u64>() / MIB;
    if leaked > 0 {
        report.found(Severity::Leak, format!("{leaked} MiB of the file are referred to by nothing"));
    }
    Ok(())
}

struct Blocks<'a> {
    container: &'a Container,
    map: Map,
    report: &'a mut CheckReport,
    /// The chunk that has a partly present block and whose bitmap was not seen yet.
    without_bitmap: Option<u64>,
}

impl Blocks<'_> {
    /// Complains when a chunk before `chunk` has lacked its bitmap.
    fn end_chunk(&mut self, chunk: u64) {
        if let Some(without) = self.without_bitmap.take_if(|without| *without < chunk) {
            let text = format!(
                "blocks of chunk {without} are partly here, but it has no bitmap that says which part"
            );
            self.found(Severity::Error, text);
        }
    }

    fn look(&mut self, index: u64, entry: Entry, differencing: bool) {
        let shape = self.container.shape;
        let block = shape.block_of(index);
        self.end_chunk(block.map_or(index / (shape.bitmap_index(0) + 1), |block| shape.chunk_of(block)));
        if block.is_some_and(|block| block >= self.container.shape.blocks()) {
            return;
        }
        let name = match block {
            Some(block) => format!("block {block}"),
            None => format!("the bitmap at entry {index}"),
        };
        if entry.reserved() != 0 {
            self.found(Severity::Error, format!("{name}: reserved bits {:#x} are set", entry.reserved()));
        }
        if block.is_none() {
            match (entry.state(), differencing) {
                (State::NotPresent, _) => {}
                (State::FullyPresent, true) => {
                    self.without_bitmap = None;
                    self.claim(&name, entry.offset(), MIB);
                }
                (state, _) => self.found(Severity::Error, format!("{name} has the state {state:?}")),
            }
            return;
        }
        if differencing && entry.state() == State::PartiallyPresent {
            self.without_bitmap = block.map(|block| shape.chunk_of(block));
        }
        match entry.state() {
            State::Invalid(state) => {
                self.found(Severity::Error, format!("{name} has the unknown state {state}"));
            }
            State::PartiallyPresent if !differencing => {
                let text = format!("{name} is said to be partly in a parent, but the disk has none");
                self.found(Severity::Error, text);
            }
            State::NotPresent | State::Zero => {
                if entry.offset() != 0 {
                    // Reserved, and ignored by every reader but Hyper-V.
                    self.found(
                        Severity::Note,
                        format!("{name} has no space, but the offset {}", entry.offset()),
                    );
                }
            }
            State::Undefined | State::Unmapped if entry.offset() == 0 => {}
            State::Undefined | State::Unmapped | State::FullyPresent | State::PartiallyPresent => {
                self.claim(&name, entry.offset(), self.container.shape.block_size());
            }
        }
    }

    fn claim(&mut self, name: &str, offset: u64, length: u64) {
        let range = offset..offset.saturating_add(length);
        if offset < MIB || offset >= self.container.len {
            self.found(Severity::Error, format!("{name} is at {offset}, outside the file"));
            return;
        }
        if let Some(part) = self.container.reserved.hit(&range) {
            self.found(Severity::Error, format!("{name} is at {offset}, over the {part}"));
        } else if !self.map.take(&range) {
            self.found(Severity::Error, format!("{name} is at {offset}, where another block is"));
        }
        if range.end > self.container.len {
            self.found(Severity::Note, format!("{name} is at {offset} and cut short by the end of the file"));
        }
    }

    fn found(&mut self, severity: Severity, text: String) {
        self.report.found(severity, text);
    }
}
