//! Keeps two programs from writing one image.
//!
//! * `flock` (exclusive to write, shared to read) between programs of ours; it belongs to the open file, so it also keeps
//!   one process from opening an image twice.
//! * QEMU does not look at `flock`. It marks what it does with a file by locking single bytes, and looks for locks of
//!   others on them (`RAW_LOCK_PERM_BASE` 100, `RAW_LOCK_SHARED_BASE` 200, one byte per permission). A writable open
//!   locks the whole file for `fcntl` locks too, which keeps QEMU out; a read-only open only looks for a QEMU that may
//!   write.
//!
//! An `fcntl` lock ends when this process closes *any* descriptor of the file. Nothing here opens an image a second time
//! while it is served, except an attempt that `flock` refuses; after such an attempt QEMU is no longer kept out.

use std::fs::File;

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use crate::image::Access;

/// QEMU's byte for "this process writes".
const QEMU_PERM_WRITE: u64 = 101;

/// Takes the locks for `access`. `Ok(false)`: another process has the file.
///
/// A file system without locks (some network and FUSE file systems) is taken as it is: there is nobody to ask.
pub(super) fn take(file: &File, access: Access) -> Result<bool, Errno> {
    let operation = match access {
        Access::ReadOnly => FlockOperation::NonBlockingLockShared,
        Access::ReadWrite => FlockOperation::NonBlockingLockExclusive,
    };
    if !taken(flock(file, operation))? {
        return Ok(false);
    }
    match access {
        Access::ReadOnly => Ok(!qemu_writes(file)),
        Access::ReadWrite => taken(fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)),
    }
}

/// Gives the `flock` back. Closing the file does that too, but not while a program that this process starts at the same
/// moment still holds a copy of the descriptor.
pub(super) fn release(file: &File) {
    // There is nobody to tell, and closing follows.
    let _ = flock(file, FlockOperation::Unlock);
}

fn taken(result: Result<(), Errno>) -> Result<bool, Errno> {
    match result {
        Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => Ok(false),
        Err(e) => Err(e),
    }
}

fn qemu_writes(file: &File) -> bool {
    let wanted = Flock {
        start: QEMU_PERM_WRITE,
        length: 1,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    matches!(fcntl_getlk(file, &wanted), Ok(Some(_)))
}
