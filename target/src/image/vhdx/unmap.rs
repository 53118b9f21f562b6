//! Zeroing and deallocating.
//!
//! A whole block that is given up becomes "zero", never "unmapped": readers by the standard may show anything for the latter.
//! In a differencing disk "zero" also keeps the parent's bytes from showing through. A block of a fixed disk keeps its place whatever happens.

use std::io;
use std::sync::atomic::Ordering;

use super::bat::Entry;
use super::disk::{Mapping, Vhdx};
use super::transfer::Piece;
use crate::image::{Disk, DiskError};

/// Makes the range read as zero; with `may_deallocate` blocks that lie in it as a whole are given up, and the host gets the
/// space of the rest back.
pub(super) fn write_zeroes(
    disk: &Vhdx,
    offset: u64,
    len: u64,
    may_deallocate: bool,
) -> Result<(), DiskError> {
    disk.health.writable()?;
    if !disk.in_range(offset, len) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "the range ends past the disk");
        return Err(DiskError::Write(error));
    }
    for piece in disk.pieces(offset, len) {
        if may_deallocate && !disk.fixed && disk.is_whole(piece) {
            disk.give_up(piece)?;
        } else {
            disk.zero(piece, may_deallocate && !disk.fixed)?;
        }
    }
    Ok(())
}

impl Vhdx {
    /// Whether `piece` is a whole block, or the whole of the last one.
    pub(super) fn is_whole(&self, piece: Piece) -> bool {
        let start = piece.block * self.shape.block_size();
        let end = (start + self.shape.block_size()).min(self.geometry().size);
        piece.within == 0 && start + piece.len == end
    }

    /// Lets a whole block read as zero without space.
    fn give_up(&self, piece: Piece) -> Result<(), DiskError> {
        if self.is_zero_already(piece)? {
            return Ok(());
        }
        self.start_session()?;
        self.relieve()?;
        let _owned = self.own(piece.block);
        self.health.writable()?;
        match self.mapping(piece.block)? {
            Mapping::Zero => Ok(()),
            Mapping::Parent => self.set_entry(piece.block, Entry::ZERO, None),
            Mapping::At(place) | Mapping::Partial(place) => {
                self.set_entry(piece.block, Entry::ZERO, Some(place))
            }
        }
    }

    fn is_zero_already(&self, piece: Piece) -> Result<bool, DiskError> {
        match self.mapping(piece.block)? {
            Mapping::Zero => Ok(true),
            Mapping::Parent => self.is_empty_below(piece),
            Mapping::At(_) | Mapping::Partial(_) => Ok(false),
        }
    }

    fn zero(&self, piece: Piece, may_deallocate: bool) -> Result<(), DiskError> {
        if self.is_zero_already(piece)? {
            return Ok(());
        }
        self.start_session()?;
        self.relieve()?;
        {
            let _held = self.share(piece.block);
            self.health.writable()?;
            if self.zero_here(piece, may_deallocate)? {
                return Ok(());
            }
        }
        let _owned = self.own(piece.block);
        self.health.writable()?;
        if self.zero_here(piece, may_deallocate)? {
            return Ok(());
        }
        if self.is_whole(piece) {
            return self.set_entry(piece.block, Entry::ZERO, None);
        }
        // A new place holds zeros already: only the bits have to say so.
        self.give_place(piece, |_| Ok(()))
    }

    /// Zeroes part of a block, unless that is the parent's and so cannot be zeroed here.
    fn zero_here(&self, piece: Piece, may_deallocate: bool) -> Result<bool, DiskError> {
        let (place, partial) = match self.mapping(piece.block)? {
            Mapping::Zero => return Ok(true),
            Mapping::Parent => return Ok(false),
            Mapping::At(place) => (place, false),
            Mapping::Partial(place) => (place, true),
        };
        // What lies past the end of the file reads as zero already.
        let start = place + piece.within;
        let end = (start + piece.len).min(self.space.len());
        if start < end {
            let file = self.file.as_ref();
            let zeroed =
                if may_deallocate { file.punch_hole(start..end) } else { file.zero_range(start..end) };
            self.unsynced.store(true, Ordering::Release);
            zeroed.map_err(DiskError::of_write)?;
        }
        if partial {
            self.set_bits(piece.block, self.sectors_of(piece))?;
        }
        Ok(true)
    }
}
