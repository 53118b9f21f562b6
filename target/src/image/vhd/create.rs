//! New VHD files.
//!
//! dynamic: footer copy at 0, header at 512, table at 1536, then blocks, and the footer. fixed: the disk and the footer.
//! differencing: as dynamic, with the parent's names between table and blocks.

use super::footer::{FOOTER_LEN, Footer, Kind};
use super::header::{Header, Locator, MAX_LOCATOR_TEXT, locator_texts};
use super::layout::Shape;
use crate::image::{
    Allocation, BlockFile, ChildOptions, CreateError, CreateOptions, Environment, FileSize, Format,
};
use crate::limits::MAX_VHD_BLOCKS;

/// 2040 GiB: what 32-bit sector numbers leave after the metadata.
const MAX_SIZE: u64 = 2040 << 30;
const DEFAULT_BLOCK_SIZE: u64 = 2 << 20;
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 4096..=256 << 20;
const HEADER_AT: u64 = 512;
const TABLE_AT: u64 = 1536;

/// Lays a new image into the empty `file` and makes it durable.
pub(super) fn create(
    file: &dyn BlockFile,
    options: &CreateOptions,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    match plan(options)? {
        Plan::Fixed => create_fixed(file, options.size, env),
        Plan::Dynamic(shape, block) => create_dynamic(file, &shape, block, env),
    }
}

/// What is to be made.
enum Plan {
    Fixed,
    /// With this size of a block.
    Dynamic(Shape, u32),
}

fn plan(options: &CreateOptions) -> Result<Plan, CreateError> {
    let refuse = |option, value: u64, rule| Err(CreateError::option(Format::Vhd, option, value, rule));
    if options.size == 0 || !options.size.is_multiple_of(512) || options.size > MAX_SIZE {
        return refuse(
            "size",
            options.size,
            "it is a multiple of 512 bytes, at least 512 and at most 2040 GiB",
        );
    }
    if let Some(size) = options.logical_sector.filter(|s| *s != 512) {
        return refuse("sector size", size.into(), "VHD has 512-byte sectors only; VHDX has others");
    }
    if let Some(size) = options.physical_sector.filter(|s| *s != 4096) {
        return refuse("physical sector size", size.into(), "VHD cannot record it; ours are aligned to 4096");
    }
    match options.allocation {
        Allocation::Fixed => match options.block_size {
            Some(size) => refuse("block size", size, "a fixed VHD has no blocks"),
            None => Ok(Plan::Fixed),
        },
        Allocation::Dynamic => {
            let block_size = options.block_size.unwrap_or(DEFAULT_BLOCK_SIZE);
            let block = u32::try_from(block_size).ok().filter(|_| BLOCK_SIZES.contains(&block_size));
            let Some(block) = block.filter(|b| b.is_power_of_two()) else {
                return refuse("block size", block_size, "it is a power of two from 4096 to 268435456 bytes");
            };
            let shape = Shape::new(options.size, block, TABLE_AT).filter(|s| s.blocks <= MAX_VHD_BLOCKS);
            let Some(shape) = shape.filter(all_fits) else {
                return refuse("block size", block_size, "a disk of this size needs larger blocks");
            };
            Ok(Plan::Dynamic(shape, block))
        }
    }
}

/// How long the file of a new image will be.
pub(super) fn measure(options: &CreateOptions) -> Result<FileSize, CreateError> {
    Ok(match plan(options)? {
        Plan::Fixed => FileSize::constant(4096, options.size + FOOTER_LEN as u64),
        Plan::Dynamic(shape, _) => {
            let table_end = TABLE_AT + table_len(&shape);
            let first = Shape::file_len(shape.slot_after(table_end) + shape.slot_len());
            FileSize {
                block_size: shape.block_size,
                empty: Shape::file_len(table_end),
                first,
                each: shape.stride(),
            }
        }
    })
}

fn table_len(shape: &Shape) -> u64 {
    (u64::from(shape.blocks) * 4).next_multiple_of(512)
}

/// Whether the last block starts where a 32-bit sector number reaches.
fn all_fits(shape: &Shape) -> bool {
    let first = shape.slot_after(TABLE_AT + table_len(shape));
    (first + u64::from(shape.blocks) * shape.stride()) / 512 < u64::from(u32::MAX)
}

fn create_fixed(file: &dyn BlockFile, size: u64, env: &dyn Environment) -> Result<(), CreateError> {
    let footer = Footer::new(Kind::Fixed, size, env.random_guid()?, env.unix_time());
    file.set_len(size + FOOTER_LEN as u64)?;
    file.reserve(0..size)?;
    file.write_all_at(footer.bytes(), size)?;
    file.sync_data()?;
    Ok(())
}

fn create_dynamic(
    file: &dyn BlockFile,
    shape: &Shape,
    block: u32,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    let footer = Footer::new(Kind::Dynamic, shape.size, env.random_guid()?, env.unix_time());
    let header = Header::new(TABLE_AT, shape.blocks, block);
    lay_out(file, shape, (&footer, &header), &[])?;
    Ok(())
}

/// Lays a differencing disk into the empty `file` and makes it durable.
pub(super) fn create_child(
    file: &dyn BlockFile,
    options: &ChildOptions,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    let refuse = |option, value: u64, rule| Err(CreateError::option(Format::Vhd, option, value, rule));
    let block_size = options.block_size.unwrap_or(DEFAULT_BLOCK_SIZE);
    let block =
        u32::try_from(block_size).ok().filter(|b| b.is_power_of_two() && BLOCK_SIZES.contains(&block_size));
    let Some(block) = block else {
        return refuse("block size", block_size, "it is a power of two from 4096 to 268435456 bytes");
    };
    if options.size == 0 || !options.size.is_multiple_of(512) || options.size > MAX_SIZE {
        return refuse(
            "size",
            options.size,
            "it is a multiple of 512 bytes, at least 512 and at most 2040 GiB",
        );
    }
    let shape = Shape::new(options.size, block, TABLE_AT).filter(|s| s.blocks <= MAX_VHD_BLOCKS);
    let Some(shape) = shape.filter(all_fits) else {
        return refuse("block size", block_size, "a disk of this size needs larger blocks");
    };
    let mut locators = Vec::new();
    let mut at = TABLE_AT + table_len(&shape);
    for (platform, text) in locator_texts(&options.parent) {
        let Some(len) = u32::try_from(text.len()).ok().filter(|len| *len <= MAX_LOCATOR_TEXT) else {
            return Err(CreateError::option(
                Format::Vhd,
                "parent",
                &options.parent.absolute,
                "the path is too long",
            ));
        };
        locators.push((Locator { platform, len, offset: at }, text));
        at += u64::from(len).next_multiple_of(512);
    }
    let footer = Footer::new(Kind::Differencing, options.size, env.random_guid()?, env.unix_time());
    let table: Vec<Locator> = locators.iter().map(|(locator, _)| *locator).collect();
    let header = Header::new_child((TABLE_AT, shape.blocks, block), &options.parent, &table);
    lay_out(file, &shape, (&footer, &header), &locators)?;
    Ok(())
}

/// Writes everything but blocks; the copy of the footer at the start comes last.
fn lay_out(
    file: &dyn BlockFile,
    shape: &Shape,
    (footer, header): (&Footer, &Header),
    locators: &[(Locator, Vec<u8>)],
) -> std::io::Result<()> {
    let table_end = TABLE_AT + table_len(shape);
    let end = locators.last().map_or(table_end, |(l, _)| l.offset + u64::from(l.len));
    let len = Shape::file_len(end);
    file.set_len(len)?;
    for (locator, text) in locators {
        file.write_all_at(text, locator.offset)?;
    }
    let ones = [0xff; 64 * 1024];
    let mut at = TABLE_AT;
    while at < table_end {
        let step = usize::try_from(table_end - at).unwrap_or(usize::MAX).min(ones.len());
        file.write_all_at(ones.get(..step).unwrap_or_default(), at)?;
        at += step as u64;
    }
    file.write_all_at(header.bytes(), HEADER_AT)?;
    file.write_all_at(footer.bytes(), len - FOOTER_LEN as u64)?;
    file.write_all_at(footer.bytes(), 0)?;
    file.sync_data()
}
