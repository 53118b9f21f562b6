//! The open disk: what it is made of, how it is opened, and which of its blocks is where.
//!
//! Each block belongs to one of [`STRIPES`] locks. Whoever reads or writes a block that has space holds its lock shared for
//! as long as the bytes move; whoever gives a block space or takes it away holds it alone. So of two writers to a block
//! without space the second finds the place of the first, and no place changes hands while bytes move to or from it.
//! Nobody waits for a second such lock while holding one.

use std::io::IoSlice;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::bat::{Entry, Shape, State};
use super::bat_pages::{BatPages, ChangeError, Lookup};
use super::container::{Container, Reserved};
use super::flush::Writer;
use super::inspect::link_of;
use super::space::Space;
use super::trim::Extent;
use super::{MIB, transfer};
use crate::image::chain::Backing;
use crate::image::{
    Access, BlockFile, BlockStatus, Disk, DiskError, Environment, FlushGate, Format, Geometry, Health,
    Lineage, OpenError, OpenErrorKind,
};
use crate::limits::MAX_VHDX_FREE_PLACES;

const STRIPES: usize = 256;

/// Updates of the headers that a replay and a session make.
const UPDATES: u64 = 3;

/// Blocks that one call to `block_status` looks at.
const STATUS_BLOCKS: u64 = 4096;

/// An open VHDX file.
#[derive(Debug)]
pub(super) struct Vhdx {
    pub(super) file: Arc<dyn BlockFile>,
    pub(super) env: Arc<dyn Environment>,
    pub(super) health: Health,
    geometry: Geometry,
    pub(super) shape: Shape,
    /// Whether blocks keep their space for ever.
    pub(super) fixed: bool,
    reserved: Reserved,
    extent: Extent,
    /// Length of the file when it was opened. The entries of a page that this session has not changed lie below it.
    opened_len: u64,
    pub(super) bat: BatPages,
    /// The sector bitmaps of a differencing disk.
    pub(super) bitmaps: BatPages,
    /// Held by whoever gives a chunk its bitmap.
    pub(super) new_bitmap: Mutex<()>,
    /// The parent of a differencing disk.
    pub(super) backing: Option<Backing>,
    pub(super) space: Space,
    stripes: Vec<RwLock<()>>,
    pub(super) gate: FlushGate,
    pub(super) writer: Mutex<Writer>,
    /// Whether the file's headers tell of this session.
    pub(super) started: AtomicBool,
    /// Whether payload was written since the last sync began.
    pub(super) unsynced: AtomicBool,
}

/// Opens a VHDX file. Opened read-write, a log that a crash left is replayed in place; read-only, in memory.
///
/// # Errors
/// [`OpenError`] when the file is not a VHDX file that can be served: damaged, with a parent that does not open, or with parts
/// that are required and not known.
pub fn open(
    file: Arc<dyn BlockFile>,
    access: Access,
    env: &Arc<dyn Environment>,
    lineage: &Lineage,
) -> Result<Arc<dyn Disk>, OpenError> {
    Ok(Arc::new(Vhdx::open(file, access, env, lineage)?))
}

/// Where the bytes of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Nowhere: it reads as zero.
    Zero,
    /// At this offset of the file.
    At(u64),
    /// In the parent.
    Parent,
    /// At this offset where the bitmap says so, else in the parent.
    Partial(u64),
}

impl Vhdx {
    pub(super) fn open(
        file: Arc<dyn BlockFile>,
        access: Access,
        env: &Arc<dyn Environment>,
        lineage: &Lineage,
    ) -> Result<Self, OpenError> {
        let mut container = Container::read(&file)?;
        // Before the first change: a child without its parent is left as it is.
        let backing = match link_of(&container.metadata) {
            Some(link) => Some(lineage.open_parent(&link, env)?),
            None => None,
        };
        let mut next = None;
        let file = match access {
            Access::ReadOnly => Arc::clone(&container.view),
            Access::ReadWrite => {
                next = recover(&file, &mut container, env)?;
                file
            }
        };
        let len = file.len().map_err(|e| OpenError::io(Format::Vhdx, "length", e))?;
        let metadata = &container.metadata;
        let shape = container.shape;
        let geometry = Geometry {
            size: metadata.size,
            logical_block: metadata.logical_sector,
            physical_block: metadata.physical_sector.max(metadata.logical_sector),
            allocation_unit: metadata.block_size,
            thin: !metadata.fixed,
            read_only: access == Access::ReadOnly,
        };
        let bat = BatPages::new(Arc::clone(&file), container.regions.bat.start, shape.entries());
        let bitmaps =
            BatPages::bitmaps(Arc::clone(&file), if backing.is_some() { shape.chunks() } else { 0 });
        Ok(Self {
            bitmaps,
            new_bitmap: Mutex::new(()),
            backing,
            env: Arc::clone(env),
            health: Health::new(access),
            geometry,
            shape,
            fixed: metadata.fixed,
            extent: Extent::of(&container, len),
            reserved: container.reserved,
            opened_len: len,
            bat,
            space: Space::new(shape.block_size(), len, next),
            stripes: (0..STRIPES).map(|_| RwLock::new(())).collect(),
            gate: FlushGate::default(),
            writer: Mutex::new(Writer::new(container.headers, container.ring, len)),
            started: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            file,
        })
    }

    /// Where `block` is now.
    ///
    /// # Errors
    /// [`DiskError::Read`]; [`DiskError::Corrupt`] when its entry makes no sense.
    pub(super) fn mapping(&self, block: u64) -> Result<Mapping, DiskError> {
        let found = self.bat.get(self.shape.index(block)).map_err(DiskError::Read)?;
        self.mapping_of(block, found)
    }

    /// As [`Vhdx::mapping`] when the table's page is in memory, else `None`.
    pub(super) fn cached_mapping(&self, block: u64) -> Option<Result<Mapping, DiskError>> {
        let found = self.bat.peek(self.shape.index(block))?;
        Some(self.mapping_of(block, found))
    }

    fn mapping_of(&self, block: u64, found: Lookup) -> Result<Mapping, DiskError> {
        let limit = if found.page_changed { self.space.len() } else { self.opened_len };
        self.interpret(block, found.entry, limit).map_err(DiskError::Corrupt)
    }

    /// What `entry` says of `block` in a file of which the first `limit` bytes may hold blocks.
    fn interpret(&self, block: u64, entry: Entry, limit: u64) -> Result<Mapping, String> {
        match entry.state() {
            State::NotPresent if self.backing.is_some() => Ok(Mapping::Parent),
            State::NotPresent | State::Undefined | State::Zero | State::Unmapped => Ok(Mapping::Zero),
            State::PartiallyPresent if self.backing.is_none() => {
                Err(format!("block {block} is said to be partly in a parent, but the disk has none"))
            }
            State::Invalid(state) => Err(format!("block {block} has the unknown state {state}")),
            state @ (State::FullyPresent | State::PartiallyPresent) => {
                let offset = entry.offset();
                if offset < MIB || offset >= limit {
                    return Err(format!("block {block} is said to be at {offset}, outside the file"));
                }
                match self.reserved.hit(&(offset..offset.saturating_add(self.shape.block_size()))) {
                    Some(part) => Err(format!("block {block} is said to be at {offset}, over the {part}")),
                    None if state == State::PartiallyPresent => Ok(Mapping::Partial(offset)),
                    None => Ok(Mapping::At(offset)),
                }
            }
        }
    }

    /// Makes `block` what `entry` says. `freed` is the place it had before.
    ///
    /// # Errors
    /// As [`Vhdx::mapping`]; then nothing was changed. A page of the table with an entry that makes no sense is not changed.
    pub(super) fn set_entry(&self, block: u64, entry: Entry, freed: Option<u64>) -> Result<(), DiskError> {
        self.set_index(self.shape.index(block), entry, freed)
    }

    /// As [`Vhdx::set_entry`] for the entry at `index`, which may be that of a bitmap.
    ///
    /// # Errors
    /// As [`Vhdx::set_entry`].
    pub(super) fn set_index(&self, index: u64, entry: Entry, freed: Option<u64>) -> Result<(), DiskError> {
        let check = |index: u64, other: Entry| match self.shape.block_of(index) {
            Some(block) if block < self.shape.blocks() => {
                self.interpret(block, other, self.opened_len).map(|_| ())
            }
            Some(_) => Ok(()),
            None => self.bitmap_offset(index, other, self.opened_len).map(|_| ()),
        };
        self.bat.set(index, entry, freed, check).map_err(|e| match e {
            ChangeError::Read(e) => DiskError::Read(e),
            ChangeError::Damaged(what) => {
                DiskError::Corrupt(format!("{what}; blocks near it cannot be allocated or freed"))
            }
        })
    }

    /// Where `entry` says that the bitmap at `index` is, in a file of which the first `limit` bytes may hold it.
    pub(super) fn bitmap_offset(&self, index: u64, entry: Entry, limit: u64) -> Result<Option<u64>, String> {
        match entry.state() {
            State::FullyPresent if self.backing.is_some() => {
                let offset = entry.offset();
                let fits = offset >= MIB && offset.checked_add(MIB).is_some_and(|end| end <= limit);
                if !fits || self.reserved.hit(&(offset..offset.saturating_add(MIB))).is_some() {
                    return Err(format!(
                        "the bitmap at entry {index} is said to be at {offset}, where it cannot be"
                    ));
                }
                Ok(Some(offset))
            }
            // Without a parent bitmaps mean nothing.
            _ if self.backing.is_none() => Ok(None),
            State::NotPresent => Ok(None),
            state => Err(format!("the bitmap at entry {index} has the state {state:?}")),
        }
    }

    /// Finds places that nothing uses, for new blocks. For the start of a session, when the file's table is the newest and durable.
    pub(super) fn find_free_places(&self) {
        if self.fixed {
            return;
        }
        let (file, len) = (self.file.as_ref(), self.opened_len);
        match self.extent.free_places(file, &self.reserved, len, MAX_VHDX_FREE_PLACES) {
            Ok(places) => self.space.give_back(places),
            Err(error) => tracing::warn!(%error, "cannot look for unused space of a VHDX file"),
        }
    }

    /// Length that the file had when it was opened.
    pub(super) fn opened_len(&self) -> u64 {
        self.opened_len
    }

    /// A new place for a sector bitmap.
    ///
    /// # Errors
    /// As [`Disk::write_at`].
    pub(super) fn allocate_bitmap(&self) -> Result<u64, DiskError> {
        let file = self.file.as_ref();
        let fresh = || self.extent.fresh_space(file);
        self.space.allocate_fresh(file, MIB, fresh).map_err(DiskError::of_write)
    }

    /// A new place for a block.
    ///
    /// # Errors
    /// As [`Disk::write_at`].
    pub(super) fn allocate(&self) -> Result<u64, DiskError> {
        let file = self.file.as_ref();
        self.space.allocate(file, || self.extent.fresh_space(file)).map_err(DiskError::of_write)
    }

    /// Holds `block` against changes of its place. Not for callers that already hold a block.
    pub(super) fn share(&self, block: u64) -> RwLockReadGuard<'_, ()> {
        self.stripe(block).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Vhdx::share`], unless that had to wait.
    pub(super) fn try_share(&self, block: u64) -> Option<RwLockReadGuard<'_, ()>> {
        match self.stripe(block).try_read() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Holds `block` alone, to change its place. Not for callers that already hold a block.
    pub(super) fn own(&self, block: u64) -> RwLockWriteGuard<'_, ()> {
        self.stripe(block).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody holds any block that was held when this was called.
    pub(super) fn drain(&self) {
        for block in 0..STRIPES as u64 {
            drop(self.own(block));
        }
    }

    fn stripe(&self, block: u64) -> &RwLock<()> {
        &self.stripes[usize::try_from(block % STRIPES as u64).unwrap_or_default()]
    }
}

/// Brings in place what the log holds, and cuts off what no entry speaks of. Tells where nothing is from on, if it had to
/// find out.
pub(super) fn recover(
    file: &Arc<dyn BlockFile>,
    container: &mut Container,
    env: &Arc<dyn Environment>,
) -> Result<Option<u64>, OpenError> {
    let not_writable = |field: &'static str, detail: &'static str| {
        Err(OpenError::new(OpenErrorKind::NotWritable, Some(Format::Vhdx), field, detail)
            .advise("open it read-only, or convert it"))
    };
    if container.ring.is_none() {
        return not_writable("log", "it has no length, so no change could survive a crash");
    }
    if container.headers.updates_left() < UPDATES {
        return not_writable("header", "its sequence number is at its end");
    }
    let Some(replay) = container.replay.take() else {
        return Ok(None);
    };
    tracing::info!(entries = replay.len(), "replaying the log of a VHDX file that was not closed");
    let file = file.as_ref();
    let failed = |e| OpenError::io(Format::Vhdx, "log", e);
    replay.apply(file).map_err(failed)?;
    let file_write = env.random_guid().map_err(failed)?;
    container
        .headers
        .update(file, |header| {
            header.file_write = file_write;
            header.log = uuid::Uuid::nil();
        })
        .map_err(|e| OpenError::io(Format::Vhdx, "headers", e))?;
    let len = file.len().map_err(failed)?;
    let end = Extent::of(container, len).end_of_content(file).map_err(failed)?;
    if end < len {
        file.set_len(end).map_err(failed)?;
    }
    Ok(Some(end))
}

impl Disk for Vhdx {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        transfer::read(self, buf, offset)
    }

    fn read_cached_at(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        transfer::read_cached(self, buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        transfer::write(self, bufs, offset)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        super::unmap::write_zeroes(self, offset, len, may_deallocate)
    }

    fn flush(&self) -> Result<(), DiskError> {
        super::flush::flush(self)
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        self.health.readable()?;
        let (mut status, mut covered) = (BlockStatus::Deallocated, 0);
        for (n, piece) in (0..STATUS_BLOCKS).zip(self.pieces(offset, len)) {
            let (now, len) = self.status(piece)?;
            if n > 0 && now != status {
                break;
            }
            status = now;
            covered += len;
            if len < piece.len {
                break;
            }
        }
        Ok((status, covered))
    }

    fn holds(&self, offset: u64, len: u64) -> Result<(bool, u64), DiskError> {
        self.health.readable()?;
        self.pieces(offset, len).next().map_or(Ok((true, len)), |piece| self.is_here(piece))
    }

    fn chain_depth(&self) -> usize {
        1 + self.backing.as_ref().map_or(0, |backing| backing.disk().chain_depth())
    }

    fn close(&self) -> Result<(), DiskError> {
        super::flush::close(self)
    }
}
