//! Reading and writing payload, block by block.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

use super::bat::Entry;
use super::disk::{Mapping, Vhdx};
use crate::image::{Disk, DiskError};

/// The part of a range that falls into one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The block.
    pub(super) block: u64,
    /// Where in the block it starts.
    pub(super) within: u64,
    /// Its bytes.
    pub(super) len: u64,
}

impl Vhdx {
    /// Cuts a range of the disk at block boundaries.
    pub(super) fn pieces(&self, offset: u64, len: u64) -> impl Iterator<Item = Piece> + use<> {
        let size = self.shape.block_size();
        let end = offset.saturating_add(len);
        let mut at = offset;
        std::iter::from_fn(move || {
            let (block, within) = (at / size, at % size);
            let len = (size - within).min(end.checked_sub(at)?);
            at += len;
            (len > 0).then_some(Piece { block, within, len })
        })
    }

    /// Whether a range lies within the disk: the last guard against a caller's mistake reaching another block's bytes.
    pub(super) fn in_range(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.geometry().size)
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the range ends past the disk")
}

fn bytes_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Fills `buf` from `offset`.
pub(super) fn read(disk: &Vhdx, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
    disk.health.readable()?;
    if !disk.in_range(offset, bytes_of(buf.len())) {
        return Err(DiskError::Read(outside()));
    }
    let mut rest = buf;
    for piece in disk.pieces(offset, bytes_of(rest.len())) {
        let (now, later) = rest.split_at_mut(usize::try_from(piece.len).unwrap_or(rest.len()));
        rest = later;
        let _held = disk.share(piece.block);
        disk.health.readable()?;
        match disk.mapping(piece.block)? {
            Mapping::Zero => now.fill(0),
            Mapping::At(place) => read_payload(disk, now, place + piece.within)?,
            Mapping::Parent => disk.read_parent(now, piece.block, piece.within)?,
            Mapping::Partial(place) => read_partial(disk, now, piece, place)?,
        }
    }
    Ok(())
}

fn read_payload(disk: &Vhdx, buf: &mut [u8], at: u64) -> Result<(), DiskError> {
    let there = disk.space.len().saturating_sub(at);
    let (there, past) = buf.split_at_mut(usize::try_from(there).map_or(buf.len(), |n| n.min(buf.len())));
    if !there.is_empty() {
        disk.file.read_exact_at(there, at).map_err(DiskError::Read)?;
    }
    // Old programs let the file end within its last block.
    past.fill(0);
    Ok(())
}

fn read_partial(disk: &Vhdx, buf: &mut [u8], piece: Piece, place: u64) -> Result<(), DiskError> {
    let sector = disk.shape.sector_len();
    let mut rest = buf;
    for (run, here) in disk.runs(piece.block, disk.sectors_of(piece))? {
        let len = usize::try_from((run.end - run.start) * sector).unwrap_or(usize::MAX).min(rest.len());
        let (now, later) = rest.split_at_mut(len);
        rest = later;
        if here {
            read_payload(disk, now, place + run.start * sector)?;
        } else {
            disk.read_parent(now, piece.block, run.start * sector)?;
        }
    }
    Ok(())
}

/// As [`read`], when nothing has to be waited for.
pub(super) fn read_cached(disk: &Vhdx, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
    disk.health.readable()?;
    if !disk.in_range(offset, bytes_of(buf.len())) {
        return Err(DiskError::Read(outside()));
    }
    let mut rest = buf;
    for piece in disk.pieces(offset, bytes_of(rest.len())) {
        let (now, later) = rest.split_at_mut(usize::try_from(piece.len).unwrap_or(rest.len()));
        rest = later;
        let Some(_held) = disk.try_share(piece.block) else { return Ok(false) };
        disk.health.readable()?;
        let Some(mapping) = disk.cached_mapping(piece.block) else { return Ok(false) };
        match mapping? {
            Mapping::Zero => now.fill(0),
            Mapping::Parent => {
                let offset = piece.block * disk.shape.block_size() + piece.within;
                if !disk.backing.as_ref().map_or(Ok(false), |backing| backing.read_cached(now, offset))? {
                    return Ok(false);
                }
            }
            Mapping::Partial(_) => return Ok(false),
            Mapping::At(place) => {
                let at = place + piece.within;
                let whole = at.saturating_add(piece.len) <= disk.space.len();
                if !whole || !disk.file.read_cached_at(now, at).map_err(DiskError::Read)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Writes `bufs` at `offset`.
pub(super) fn write(disk: &Vhdx, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
    let len = bufs.iter().fold(0_u64, |sum, buf| sum.saturating_add(bytes_of(buf.len())));
    disk.health.writable()?;
    if !disk.in_range(offset, len) {
        return Err(DiskError::Write(outside()));
    }
    if len == 0 {
        return Ok(());
    }
    disk.start_session()?;
    let mut cursor = Cursor { bufs, skip: 0 };
    for piece in disk.pieces(offset, len) {
        disk.relieve()?;
        if piece.len == len {
            write_piece(disk, piece, bufs)?;
        } else {
            write_piece(disk, piece, &cursor.take(piece.len))?;
        }
    }
    Ok(())
}

fn write_piece(disk: &Vhdx, piece: Piece, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
    {
        let _held = disk.share(piece.block);
        disk.health.writable()?;
        if write_here(disk, piece, bufs)? {
            return Ok(());
        }
    }
    let _owned = disk.own(piece.block);
    disk.health.writable()?;
    // Another writer may have been here between the two locks.
    if write_here(disk, piece, bufs)? {
        return Ok(());
    }
    disk.give_place(piece, |place| write_payload(disk, place + piece.within, piece.len, bufs))
}

/// Writes to a block that has space. Answers whether it has.
fn write_here(disk: &Vhdx, piece: Piece, bufs: &[IoSlice<'_>]) -> Result<bool, DiskError> {
    match disk.mapping(piece.block)? {
        Mapping::Zero | Mapping::Parent => return Ok(false),
        Mapping::At(place) => write_payload(disk, place + piece.within, piece.len, bufs)?,
        Mapping::Partial(place) => {
            write_payload(disk, place + piece.within, piece.len, bufs)?;
            disk.set_bits(piece.block, disk.sectors_of(piece))?;
        }
    }
    Ok(true)
}

impl Vhdx {
    /// Gives a block without space a place, in which `fill` writes what `piece` of it shall hold; the rest is zero, or the
    /// parent's. The caller holds the block alone.
    pub(super) fn give_place(
        &self,
        piece: Piece,
        fill: impl FnOnce(u64) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let partial = self.mapping(piece.block)? == Mapping::Parent && !self.is_whole(piece);
        if partial {
            self.ensure_bitmap(piece.block)?;
        }
        let place = self.allocate()?;
        let mut given = fill(place);
        if partial {
            given = given.and_then(|()| self.reset_bits(piece.block, self.sectors_of(piece)));
        }
        let entry = if partial { Entry::partial(place) } else { Entry::present(place) };
        let given = given.and_then(|()| self.set_entry(piece.block, entry, None));
        if given.is_err() {
            // It may hold some bytes now, so it has to be punched before another block gets it.
            self.space.give_back([place]);
        }
        given
    }
}

fn write_payload(disk: &Vhdx, at: u64, len: u64, bufs: &[IoSlice<'_>]) -> Result<(), DiskError> {
    let file = disk.file.as_ref();
    disk.space.ensure_len(file, at.saturating_add(len)).map_err(DiskError::of_write)?;
    let written = file.write_all_vectored_at(bufs, at).map_err(DiskError::of_write);
    disk.unsynced.store(true, Ordering::Release);
    written
}

/// Goes through buffers that are consumed in parts.
struct Cursor<'a, 'b> {
    bufs: &'a [IoSlice<'b>],
    /// Bytes of the first buffer that are consumed.
    skip: usize,
}

impl<'a> Cursor<'a, '_> {
    fn take(&mut self, len: u64) -> Vec<IoSlice<'a>> {
        let mut wanted = usize::try_from(len).unwrap_or(usize::MAX);
        let mut taken = Vec::new();
        while wanted > 0 {
            let bufs = self.bufs;
            let Some((first, later)) = bufs.split_first() else { break };
            let rest: &'a [u8] = first.get(self.skip..).unwrap_or_default();
            let (now, left) = rest.split_at(wanted.min(rest.len()));
            if !now.is_empty() {
                taken.push(IoSlice::new(now));
            }
            wanted -= now.len();
            if left.is_empty() {
                (self.bufs, self.skip) = (later, 0);
            } else {
                self.skip += now.len();
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_cut_wherever_the_pieces_need_it() {
        let bytes: Vec<u8> = (0..=99).collect();
        let bufs = [&bytes[..10], &bytes[10..10], &bytes[10..55], &bytes[55..]].map(IoSlice::new);
        let mut cursor = Cursor { bufs: &bufs, skip: 0 };
        let mut seen = Vec::new();
        for len in [3, 7, 1, 40, 30, 19] {
            let taken = cursor.take(len);
            assert_eq!(taken.iter().map(|t| bytes_of(t.len())).sum::<u64>(), len);
            seen.extend(taken.iter().flat_map(|t| t.iter().copied()));
        }
        assert_eq!(seen, bytes);
        assert!(cursor.take(5).is_empty());
    }
}
