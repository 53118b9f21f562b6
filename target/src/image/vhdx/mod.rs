//! VHDX, fixed, dynamic and differencing, read and write (MS-VHDX 8.0).
//!
//! | file | idea |
//! |---|---|
//! | `le`, `guid` | fields of structures, known identifiers |
//! | `header`, `region`, `metadata`, `parent_locator`, `bat`, `log_entry` | structures: bytes from and to types |
//! | `container` | the parts of a file, read and checked in order |
//! | `replay`, `overlay` | what a crash left in the log, in place or in memory |
//! | `bat_pages`, `bat_scan`, `trim` | the block allocation table: paged, read as a whole, where content ends |
//! | `bitmaps` | which sectors of a differencing disk are here |
//! | `space`, `mib_map`, `log_writer` | places for blocks, the writing end of the log |
//! | `disk`, `transfer`, `unmap`, `flush` | the open disk |
//! | `create`, `inspect`, `check`, `edit`, `pack` | what is done to a file that is not open |
//!
//! # What is durable before what
//!
//! 1. *Session start*, before the first change: an empty log entry, then both headers with new identifiers and the log's
//!    name, each synced. From here on a crash means a replay.
//! 2. *Write to a block without space*: the payload goes to a place that reads as zero, also after a crash; then the table
//!    in memory says where it is. No sync.
//! 3. *Flush*: one log entry with the changed pages of the table, one sync, answered. Payload and entry may reach the disk
//!    in any order: an entry without its payload shows zeros in a block that no flush has promised.
//! 4. The pages are written in place after that; once a later sync has covered them the log's tail moves on.
//! 5. *Unmap*: the entry becomes "zero" in memory. Its place is reused only after a flush, a punch and another sync
//!    (see `space`).
//! 6. *Differencing*: a table entry or a sector bit takes the parent's bytes out of sight, so the payload comes first: the pages
//!    are copied, then a sync, then the log entries, bitmaps before the table and the table from its end (a chunk's bitmap
//!    entry lies behind those of its blocks), then the sync of the flush.
//! 7. *Close*: flush, pages in place, sync, both headers without the log's name.
//!
//! The first failure to write metadata or to sync poisons the disk: it answers reads, and nothing else. A full file system
//! does not poison it.

mod bat;
mod bat_pages;
mod bat_scan;
mod bitmaps;
mod check;
mod container;
mod create;
mod disk;
mod edit;
mod flush;
mod guid;
mod header;
mod inspect;
mod le;
mod log_entry;
mod log_writer;
mod metadata;
mod mib_map;
mod overlay;
mod pack;
mod parent_locator;
mod region;
mod replay;
mod space;
mod transfer;
mod trim;
mod unmap;

#[cfg(test)]
mod tests;

pub use check::check;
pub use create::{create, create_child, measure};
pub use disk::open;
pub use edit::{expect_parent, resize, set_parent};
pub use inspect::{identity, inspect, link};
pub use pack::compact;

/// What a VHDX file starts with (MS-VHDX 2.2.1).
pub const SIGNATURE: &[u8; 8] = b"vhdxfile";

const MIB: u64 = 1 << 20;
