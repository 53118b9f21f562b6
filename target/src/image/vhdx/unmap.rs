//! Zeroing and deallocating.
//!
//! A whole block that is given up becomes "zero", never "unmapped": readers by the standard may show anything for the latter.
//! A block of a fixed disk keeps its place whatever happens.

use std::io;
use std::sync::atomic::Ordering;

use super::bat::Entry;
use super::disk::{Mapping, Vhdx};
use super::transfer::Piece;
use crate::image::{Disk, DiskError};

/// Gives up the blocks that lie in the range as a whole, and leaves the rest as it is.
pub(super) fn unmap(disk: &Vhdx, offset: u64, len: u64) -> Result<(), DiskError> {
    begin(disk, offset, len)?;
    if disk.fixed {
        return Ok(());
    }
    for piece in disk.pieces(offset, len).filter(|piece| disk.is_whole(*piece)) {
        disk.give_up(piece.block)?;
    }
    Ok(())
}

/// Makes the range read as zero; with `may_deallocate` blocks that lie in it as a whole are given up.
pub(super) fn write_zeroes(
    disk: &Vhdx,
    offset: u64,
    len: u64,
    may_deallocate: bool,
) -> Result<(), DiskError> {
    begin(disk, offset, len)?;
    for piece in disk.pieces(offset, len) {
        if may_deallocate && !disk.fixed && disk.is_whole(piece) {
            disk.give_up(piece.block)?;
        } else {
            disk.zero(piece)?;
        }
    }
    Ok(())
}

fn begin(disk: &Vhdx, offset: u64, len: u64) -> Result<(), DiskError> {
    disk.health.writable()?;
    if disk.in_range(offset, len) {
        return Ok(());
    }
    Err(DiskError::Write(io::Error::new(io::ErrorKind::InvalidInput, "the range ends past the disk")))
}

impl Vhdx {
    /// Whether `piece` is a whole block, or the whole of the last one.
    fn is_whole(&self, piece: Piece) -> bool {
        let start = piece.block * self.shape.block_size();
        let end = (start + self.shape.block_size()).min(self.geometry().size);
        piece.within == 0 && start + piece.len == end
    }

    fn give_up(&self, block: u64) -> Result<(), DiskError> {
        if self.mapping(block)? == Mapping::Zero {
            return Ok(());
        }
        self.start_session()?;
        self.relieve()?;
        let _owned = self.own(block);
        self.health.writable()?;
        match self.mapping(block)? {
            Mapping::Zero => Ok(()),
            Mapping::At(place) => self.set_entry(block, Entry::ZERO, Some(place)),
        }
    }

    fn zero(&self, piece: Piece) -> Result<(), DiskError> {
        if self.mapping(piece.block)? == Mapping::Zero {
            return Ok(());
        }
        self.start_session()?;
        let _held = self.share(piece.block);
        self.health.writable()?;
        let Mapping::At(place) = self.mapping(piece.block)? else {
            return Ok(());
        };
        // What lies past the end of the file reads as zero already.
        let start = place + piece.within;
        let end = (start + piece.len).min(self.space.len());
        if start < end {
            let zeroed = self.file.zero_range(start..end).map_err(DiskError::of_write);
            self.unsynced.store(true, Ordering::Release);
            zeroed?;
        }
        Ok(())
    }
}
