//! Reads what a file says about itself, and checks all of it before anything is believed: both footers, the dynamic
//! header, the place of the block table, and every block against the file's end, the metadata and all other blocks.
//!
//! Memory: 4 bytes per block of the disk, and 8 more while the blocks are sorted. [`MAX_VHD_BLOCKS`] bounds it.

use std::ops::Range;

use super::bitmap::bitmap_len;
use super::bytes::be32;
use super::footer::{FOOTER_LEN, Fault, Footer, Kind};
use super::header::{HEADER_LEN, Header};
use crate::image::{BlockFile, Format, OpenError};
use crate::limits::{MAX_VHD_BLOCKS, MAX_VHD_FREE_SLOTS};

/// The table's entry of a block that has no place in the file.
pub(super) const UNALLOCATED: u32 = u32::MAX;
const SECTOR: u64 = 512;
/// How many faults are told one by one.
const MAX_FAULTS: usize = 100;

/// Where the footer was found that describes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The last 512 bytes.
    End,
    /// The last 511 bytes, as very old programs wrote it.
    ShortEnd,
    /// The copy at the start: the footer at the end is missing or damaged.
    Start,
}

/// The footer of a file.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) footer: Footer,
    pub(super) place: Place,
    /// Length of the file.
    pub(super) len: u64,
    /// The copy at the start, or what is wrong with it. Fixed disks have none.
    pub(super) copy: Result<Footer, Fault>,
}

fn host(field: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |e| OpenError::io(Format::Vhd, field, e)
}

fn footer_at(file: &dyn BlockFile, at: u64, len: usize) -> Result<Result<Footer, Fault>, OpenError> {
    let mut bytes = [0; FOOTER_LEN];
    file.read_exact_at(bytes.get_mut(..len).unwrap_or_default(), at).map_err(host("footer"))?;
    Ok(Footer::parse(bytes))
}

/// Finds the footer: at the end, or failing that the copy at the start.
pub(super) fn find_footer(file: &dyn BlockFile) -> Result<Found, OpenError> {
    let len = file.len().map_err(host("file"))?;
    let Some(end) = len.checked_sub(512) else {
        return Err(OpenError::damaged(
            Format::Vhd,
            "file",
            format!("its {len} bytes are less than a footer"),
        ));
    };
    let copy = footer_at(file, 0, FOOTER_LEN)?;
    let at_end = footer_at(file, end, FOOTER_LEN)?;
    let short = footer_at(file, end + 1, FOOTER_LEN - 1)?;
    let (footer, place) = match (&at_end, &short, &copy) {
        (Ok(footer), _, _) => (footer.clone(), Place::End),
        (_, Ok(footer), _) => (footer.clone(), Place::ShortEnd),
        (_, _, Ok(copy)) if matches!(copy.kind(), Ok(Kind::Dynamic | Kind::Differencing)) => {
            (copy.clone(), Place::Start)
        }
        (Err(Fault::NoCookie), _, Err(Fault::Checksum { stored, computed }))
        | (Err(Fault::Checksum { stored, computed }), ..) => {
            return Err(OpenError::damaged(
                Format::Vhd,
                "footer checksum",
                format!("{stored:#010x}, but the bytes give {computed:#010x}, and there is no good copy"),
            ));
        }
        _ => {
            return Err(OpenError::damaged(
                Format::Vhd,
                "footer",
                "there is none, neither at the end of the file nor as a copy at its start",
            ));
        }
    };
    Ok(Found { footer, place, len, copy })
}

impl Found {
    /// Where the bytes end that are not the footer at the end.
    pub(super) fn body_end(&self) -> u64 {
        match self.place {
            Place::End => self.len.saturating_sub(512),
            Place::ShortEnd => self.len.saturating_sub(511),
            Place::Start => self.len,
        }
    }

    /// The disk's size, when it is one that a disk can have.
    pub(super) fn disk_size(&self) -> Result<u64, OpenError> {
        let size = self.footer.disk_size();
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(OpenError::damaged(
                Format::Vhd,
                "footer current size",
                format!("{size} bytes; it is a multiple of 512, and not zero"),
            ));
        }
        Ok(size)
    }
}

/// The figures of a dynamic disk that do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of the disk.
    pub(super) size: u64,
    /// Bytes of payload in a block.
    pub(super) block_size: u64,
    /// Bytes of the bitmap before the payload.
    pub(super) bitmap_len: u64,
    /// Where the block table is.
    pub(super) table_offset: u64,
    /// Blocks that the disk needs.
    pub(super) blocks: u32,
}

impl Shape {
    /// The figures of a disk of `size` bytes. `None` when it needs more blocks than a table can have.
    pub(super) fn new(size: u64, block_size: u32, table_offset: u64) -> Option<Self> {
        let blocks = u32::try_from(size.div_ceil(block_size.into())).ok()?;
        Some(Self {
            size,
            block_size: block_size.into(),
            bitmap_len: bitmap_len(block_size),
            table_offset,
            blocks,
        })
    }

    /// Bytes of a block in the file: bitmap and payload.
    pub(super) fn slot_len(&self) -> u64 {
        self.bitmap_len + self.block_size
    }

    /// What payload is aligned to: 4 KiB as Windows does since version 8, less only where blocks are smaller.
    fn unit(&self) -> u64 {
        if self.block_size < 4096 { SECTOR } else { 4096 }
    }

    /// The first place at or after `end` where a block may start, so that its payload is aligned.
    pub(super) fn slot_after(&self, end: u64) -> u64 {
        (end + self.bitmap_len).next_multiple_of(self.unit()) - self.bitmap_len
    }

    /// Bytes from one block to the next, where we lay them.
    pub(super) fn stride(&self) -> u64 {
        self.slot_after(self.slot_len() + self.slot_after(0)) - self.slot_after(0)
    }

    /// Length of a file whose last block ends at `end`: the footer follows at once. QEMU's next block starts there and its bitmap
    /// takes the footer's place; behind a gap the footer would come to light in that block's payload.
    pub(super) fn file_len(end: u64) -> u64 {
        end.next_multiple_of(SECTOR) + SECTOR
    }

    /// Whether a file of `len` bytes whose last block ends at `end` holds nothing where the next block's payload will be.
    /// Before it are a gap, where bytes do no harm, and the bitmap, which is written with the block.
    pub(super) fn is_trimmed(&self, end: u64, len: u64) -> bool {
        (Self::file_len(end)..=self.slot_after(end) + self.bitmap_len).contains(&len)
    }

    /// Sectors of the disk in `block`: less than a block's in the last one.
    pub(super) fn sectors_in(&self, block: u32) -> u64 {
        let start = u64::from(block) * self.block_size;
        self.block_size.min(self.size.saturating_sub(start)) / SECTOR
    }
}

/// What a look at all blocks gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// What is wrong, the first [`MAX_FAULTS`].
    pub(super) faults: Vec<String>,
    /// How much is wrong.
    pub(super) fault_count: u64,
    /// Room between blocks where another one would fit, at most [`MAX_VHD_FREE_SLOTS`].
    pub(super) gaps: Vec<Range<u64>>,
    /// Bytes in all such room, the tail included.
    pub(super) unused: u64,
    /// Where the last thing ends that the file refers to.
    pub(super) end: u64,
    /// Blocks that have a place.
    pub(super) allocated: u64,
    /// Whether all payload is aligned to 4 KiB.
    pub(super) aligned: bool,
}

impl Survey {
    fn fault(&mut self, text: String) {
        self.fault_count += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        }
    }
}

/// A dynamic or differencing disk, read but not yet judged sound.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    pub(super) header: Header,
    /// One entry per block of the disk; the file's table may be longer.
    pub(super) table: Vec<u32>,
    pub(super) survey: Survey,
    /// Where header, table and locators end.
    pub(super) metadata_end: u64,
}

impl Layout {
    /// Reads header and table, and looks at all blocks. Faults of single blocks are in the survey.
    pub(super) fn load(file: &dyn BlockFile, found: &Found) -> Result<Self, OpenError> {
        let damaged = |field: &'static str, detail: String| OpenError::damaged(Format::Vhd, field, detail);
        let at = found.footer.data_offset();
        let body_end = found.body_end();
        let header_area = area(at, HEADER_LEN as u64).filter(|a| a.start >= 512 && a.end <= body_end);
        let Some(header_area) = header_area else {
            return Err(damaged(
                "footer data offset",
                format!("{at:#x} is not inside the file of {} bytes", found.len),
            ));
        };
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, at).map_err(host("dynamic header"))?;
        let header = Header::parse(bytes)?;
        let size = found.disk_size()?;
        let (entries, block_size) = (header.table_entries(), header.block_size());
        let shape = Shape::new(size, block_size, header.table_offset()).filter(|s| s.blocks <= entries);
        let Some(shape) = shape else {
            return Err(damaged(
                "table entries",
                format!("{entries} blocks of {block_size} bytes are less than the disk's {size} bytes"),
            ));
        };
        let table_area = area(shape.table_offset, u64::from(entries) * 4)
            .filter(|a| a.end <= body_end && a.start >= 512 && a.start.is_multiple_of(4));
        let Some(table_area) = table_area else {
            return Err(damaged(
                "table offset",
                format!(
                    "{entries} entries at {:#x} are not inside the file of {} bytes",
                    shape.table_offset, found.len
                ),
            ));
        };
        if shape.blocks > MAX_VHD_BLOCKS {
            return Err(OpenError::unsupported(
                Format::Vhd,
                "block size",
                format!("{} blocks of {block_size} bytes; at most {MAX_VHD_BLOCKS} are served", shape.blocks),
            )
            .advise("convert it to a larger block size"));
        }
        let mut areas =
            vec![(0..512, "footer copy"), (header_area, "dynamic header"), (table_area, "block table")];
        for locator in header.locators() {
            // Only differencing disks have locators; what they point at is theirs.
            areas.extend(area(locator.offset, locator.len.into()).map(|a| (a, "parent locator")));
        }
        areas.sort_by_key(|(a, _)| a.start);
        for pair in areas.windows(2) {
            if let [(a, a_name), (b, b_name)] = pair
                && a.end > b.start
            {
                return Err(damaged(b_name, format!("at {:#x} it overlaps the {a_name}", b.start)));
            }
        }
        let table = read_table(file, &shape)?;
        let survey = survey(&shape, &table, &areas, body_end);
        let metadata_end = areas.iter().map(|(a, _)| a.end).max().unwrap_or(0);
        Ok(Self { shape, header, table, survey, metadata_end })
    }

    /// Refuses a disk with blocks that cannot be where the table says.
    pub(super) fn require_sound(&self) -> Result<(), OpenError> {
        match self.survey.faults.first() {
            None => Ok(()),
            Some(first) => Err(OpenError::damaged(
                Format::Vhd,
                "block table",
                if self.survey.fault_count == 1 {
                    first.clone()
                } else {
                    format!("{first} (and {} more such faults)", self.survey.fault_count - 1)
                },
            )),
        }
    }
}

fn area(start: u64, len: u64) -> Option<Range<u64>> {
    start.checked_add(len).map(|end| start..end)
}

fn read_table(file: &dyn BlockFile, shape: &Shape) -> Result<Vec<u32>, OpenError> {
    // Its place was checked against the file's length, so this is no larger than the file.
    let mut table = Vec::with_capacity(usize::try_from(shape.blocks).unwrap_or(0));
    let mut chunk = vec![0; 64 * 1024];
    let mut at = shape.table_offset;
    let end = at + u64::from(shape.blocks) * 4;
    while at < end {
        let step = (end - at).min(64 * 1024);
        let part = chunk.get_mut(..usize::try_from(step).unwrap_or(0)).unwrap_or_default();
        file.read_exact_at(part, at).map_err(host("block table"))?;
        table.extend(part.chunks_exact(4).map(|entry| be32(entry, 0)));
        at += step;
    }
    Ok(table)
}

fn survey(shape: &Shape, table: &[u32], areas: &[(Range<u64>, &'static str)], body_end: u64) -> Survey {
    let mut survey = Survey { aligned: true, ..Survey::default() };
    let mut places: Vec<(u32, u32)> = table
        .iter()
        .zip(0u32..)
        .filter(|(at, _)| **at != UNALLOCATED)
        .map(|(at, block)| (*at, block))
        .collect();
    places.sort_unstable();
    survey.allocated = u64::try_from(places.len()).unwrap_or(u64::MAX);
    let mut before: Option<(u64, u32)> = None;
    let mut cursor = 512;
    let mut rest = areas.iter().peekable();
    for (sector, block) in places {
        let start = u64::from(sector) * SECTOR;
        let end = start + shape.slot_len();
        if end > body_end {
            survey.fault(format!(
                "block {block} at {start:#x} needs {} bytes, but the file's data ends at {body_end:#x}",
                shape.slot_len()
            ));
        }
        if let Some((_, name)) = areas.iter().find(|(a, _)| start < a.end && a.start < end) {
            survey.fault(format!("block {block} at {start:#x} overlaps the {name}"));
        }
        if let Some((before_end, other)) = before
            && start < before_end
        {
            survey.fault(format!("blocks {other} and {block} overlap at {start:#x}"));
        }
        while let Some((a, _)) = rest.next_if(|(a, _)| a.start <= start) {
            survey.gap(cursor..a.start, shape);
            cursor = cursor.max(a.end);
        }
        survey.gap(cursor..start, shape);
        survey.aligned &= (start + shape.bitmap_len).is_multiple_of(4096);
        cursor = cursor.max(end);
        before = Some((before.map_or(end, |(e, _)| e.max(end)), block));
    }
    for (a, _) in rest {
        survey.gap(cursor..a.start, shape);
        cursor = cursor.max(a.end);
    }
    survey.end = cursor;
    let tail = body_end.saturating_sub(survey.end);
    // Windows aligns the footer to a page, so up to a bitmap and a page are no leak.
    if tail > shape.bitmap_len + 4096 {
        survey.unused += tail;
    }
    survey
}

impl Survey {
    fn gap(&mut self, gap: Range<u64>, shape: &Shape) {
        let slot = shape.slot_after(gap.start);
        if slot.checked_add(shape.slot_len()).is_some_and(|end| end <= gap.end) {
            self.unused += gap.end - gap.start;
            if self.gaps.len() < MAX_VHD_FREE_SLOTS {
                self.gaps.push(gap);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_blocks_have_aligned_payload_and_the_footer_lies_before_it() {
        for (block, stride) in
            [(2u32 << 20, (2 << 20) + 4096), (4 << 20, (4 << 20) + 4096), (4096, 8192), (512, 1024)]
        {
            let shape = Shape::new(1 << 30, block, 1536).unwrap();
            assert_eq!(shape.stride(), stride, "{block}");
            for end in [1537, 2048, 8192, 8192 + 3584, 12_345_856] {
                let slot = shape.slot_after(end);
                let payload = slot + shape.bitmap_len;
                assert!(slot >= end && slot - end < 4096, "{block} {end}");
                assert!(payload.is_multiple_of(u64::from(block).min(4096)));
                assert_eq!(shape.slot_after(slot + shape.slot_len()), slot + shape.stride());
                assert!(shape.is_trimmed(end, Shape::file_len(end)));
                assert!(shape.is_trimmed(end, payload) && !shape.is_trimmed(end, payload + 512));
            }
        }
    }
}
