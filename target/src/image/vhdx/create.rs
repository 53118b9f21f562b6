//! Creating an image, laid out as Windows does it: log, metadata, block allocation table, blocks.

use std::io;

use uuid::Uuid;

use super::bat::{Entry, Shape};
use super::header::{HEADER_OFFSETS, Header};
use super::metadata::{BLOCK_SIZES, Metadata, SIZE_MAX};
use super::parent_locator::ParentLocator;
use super::region::{RegionTable, TABLE_OFFSETS};
use super::{MIB, SIGNATURE};
use crate::image::{
    Allocation, BlockFile, ChildOptions, CreateError, CreateOptions, Environment, FileSize, Format,
};

/// Block size when none is asked for: that of Windows.
const BLOCK_SIZE: u64 = 32 * MIB;
/// The same for differencing disks.
const CHILD_BLOCK_SIZE: u64 = 2 * MIB;
const LOGICAL_SECTOR: u32 = 512;
/// Physical sector size when none is asked for: that of Windows.
const PHYSICAL_SECTOR: u32 = 4096;

const LOG: u64 = MIB;
const LOG_LENGTH: u32 = 1 << 20;
const METADATA: u64 = 2 * MIB;
const BAT: u64 = 3 * MIB;

/// Lays a new VHDX image into an empty file and makes it durable. The identifier is written last, so that a file that was
/// not finished is not taken for an image.
///
/// # Errors
/// [`CreateError`] when an option has a value that VHDX does not allow, the file is not empty, or the host cannot write.
pub fn create(
    file: &dyn BlockFile,
    options: &CreateOptions,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    lay_out(file, &metadata(options, env.random_guid()?)?, env)
}

/// Lays a new differencing disk into an empty file and makes it durable.
///
/// # Errors
/// As [`create`].
pub fn create_child(
    file: &dyn BlockFile,
    options: &ChildOptions,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    let like = CreateOptions {
        size: options.size,
        allocation: Allocation::Dynamic,
        block_size: Some(options.block_size.unwrap_or(CHILD_BLOCK_SIZE)),
        logical_sector: Some(options.logical_sector),
        physical_sector: Some(options.physical_sector),
    };
    let parent = Some(ParentLocator::new(&options.parent));
    lay_out(file, &Metadata { parent, ..metadata(&like, env.random_guid()?)? }, env)
}

fn lay_out(file: &dyn BlockFile, metadata: &Metadata, env: &dyn Environment) -> Result<(), CreateError> {
    let Some(encoded) = metadata.encode() else {
        let rule = "its path is longer than a parent locator can hold";
        return Err(CreateError::option(Format::Vhdx, "parent", "", rule));
    };
    if !file.is_empty()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is not empty").into());
    }
    let shape = Shape::new(metadata.block_size, metadata.size, metadata.logical_sector);
    let blocks = first_block(shape);
    let end = if metadata.fixed { blocks + shape.blocks() * shape.block_size() } else { blocks };
    file.set_len(end)?;
    // What the log, metadata and a small table need is there from the start: a full file system then stops a guest's
    // writes, and not the flush of what it has written.
    file.reserve(0..blocks.min(BAT + MIB))?;
    if metadata.fixed {
        file.reserve(blocks..end)?;
        write_bat(file, shape, blocks)?;
    }
    file.write_all_at(&encoded, METADATA)?;
    let regions = RegionTable { bat: BAT..blocks, metadata: METADATA..METADATA + MIB, optional: Vec::new() };
    for offset in TABLE_OFFSETS {
        file.write_all_at(&regions.encode(), offset)?;
    }
    let mut header = Header {
        sequence: 0,
        file_write: env.random_guid()?,
        data_write: env.random_guid()?,
        log: Uuid::nil(),
        log_version: 0,
        log_length: LOG_LENGTH,
        log_offset: LOG,
    };
    for offset in HEADER_OFFSETS {
        header.sequence += 1;
        file.write_all_at(&header.encode(), offset)?;
    }
    file.sync_data()?;
    let mut identifier = SIGNATURE.to_vec();
    let creator = concat!("Lunkeep ", env!("CARGO_PKG_VERSION"));
    identifier.extend(creator.encode_utf16().flat_map(u16::to_le_bytes));
    file.write_all_at(&identifier, 0)?;
    file.sync_data()?;
    Ok(())
}

/// Where blocks begin: behind a table with room for bitmaps, so that the file can become the parent or the child of another
/// without moving the table.
fn first_block(shape: Shape) -> u64 {
    BAT + (shape.entries_with_bitmaps() * 8).next_multiple_of(MIB)
}

/// How long the file of a new image will be.
///
/// # Errors
/// [`CreateError`] when an option has a value that VHDX does not allow.
pub fn measure(options: &CreateOptions) -> Result<FileSize, CreateError> {
    let metadata = metadata(options, Uuid::nil())?;
    let shape = Shape::new(metadata.block_size, metadata.size, metadata.logical_sector);
    let (empty, each) = (first_block(shape), shape.block_size());
    Ok(match metadata.fixed {
        true => FileSize::constant(each, empty + shape.blocks() * each),
        false => FileSize { block_size: each, empty, first: empty + each, each },
    })
}

fn metadata(options: &CreateOptions, disk_id: Uuid) -> Result<Metadata, CreateError> {
    let refuse = |option, value: u64, rule| Err(CreateError::option(Format::Vhdx, option, value, rule));
    let logical_sector = options.logical_sector.unwrap_or(LOGICAL_SECTOR);
    if logical_sector != 512 && logical_sector != 4096 {
        return refuse("sector size", logical_sector.into(), "it must be 512 or 4096");
    }
    let physical_sector = options.physical_sector.unwrap_or(PHYSICAL_SECTOR);
    if physical_sector != 512 && physical_sector != 4096 || physical_sector < logical_sector {
        return refuse(
            "physical sector size",
            physical_sector.into(),
            "it must be 512 or 4096, and not smaller than the logical sector size",
        );
    }
    let block_size = options.block_size.unwrap_or(BLOCK_SIZE);
    let (smallest, largest) = BLOCK_SIZES;
    let fits = block_size.is_power_of_two() && (smallest..=largest).contains(&block_size);
    let Some(block_size) = u32::try_from(block_size).ok().filter(|_| fits) else {
        return refuse("block size", block_size, "it must be a power of two from 1 MiB to 256 MiB");
    };
    let size = options.size;
    if size == 0 || size > SIZE_MAX || !size.is_multiple_of(logical_sector.into()) {
        return refuse("size", size, "it must be a multiple of the sector size up to 64 TiB, and not zero");
    }
    Ok(Metadata {
        block_size,
        fixed: options.allocation == Allocation::Fixed,
        size,
        disk_id,
        logical_sector,
        physical_sector,
        parent: None,
    })
}

/// Writes the table of a disk whose blocks lie one behind the other from `first` on.
fn write_bat(file: &dyn BlockFile, shape: Shape, first: u64) -> io::Result<()> {
    const CHUNK: u64 = 32 << 10;
    let mut index = 0;
    while index < shape.entries() {
        let upto = (index + CHUNK).min(shape.entries());
        let bytes: Vec<u8> = (index..upto)
            .flat_map(|index| {
                let block = shape.block_of(index);
                let entry = block.map_or(Entry(0), |n| Entry::present(first + n * shape.block_size()));
                entry.0.to_le_bytes()
            })
            .collect();
        file.write_all_at(&bytes, BAT + index * 8)?;
        index = upto;
    }
    Ok(())
}
