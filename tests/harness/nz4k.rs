//! A digest of a disk's content that costs nothing for what was never written: SHA-256 over, for every 4096-byte piece that is not all
//! zero, its offset (64 bits, little-endian) and its bytes, and at the end the disk's size.

use lunkeep_target::image::{BlockStatus, Disk, DiskError};
use sha2::{Digest as _, Sha256};

const PIECE: usize = 4096;
const ZEROS: [u8; PIECE] = [0; PIECE];

/// The digest of `disk`, in hexadecimal.
///
/// # Errors
/// What the disk says.
pub fn nz4k(disk: &dyn Disk) -> Result<String, DiskError> {
    let size = disk.geometry().size;
    let mut hasher = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < size {
        let (status, len) = disk.block_status(at, size - at)?;
        // Pieces that straddle a change of status are read: rounding down never skips data.
        let skip_to = (at + len) / PIECE as u64 * PIECE as u64;
        if status == BlockStatus::Deallocated && skip_to > at {
            at = skip_to;
            continue;
        }
        let step = (size - at).min(buf.len() as u64);
        let part = &mut buf[..usize::try_from(step).unwrap_or(0)];
        disk.read_at(part, at)?;
        for (piece, number) in part.chunks(PIECE).zip(0u64..) {
            if piece != &ZEROS[..piece.len()] {
                hasher.update((at + number * PIECE as u64).to_le_bytes());
                hasher.update(piece);
                hasher.update(&ZEROS[piece.len()..]);
            }
        }
        at += step;
    }
    hasher.update(size.to_le_bytes());
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;

    use lunkeep_target::image::raw::open_with_blocks;
    use lunkeep_target::image::{Access, MemoryFile};

    use super::*;

    #[test]
    fn the_digest_is_that_of_the_definition() {
        let file = Arc::new(MemoryFile::with_len((3 << 20) + 512));
        let disk = open_with_blocks(file, Access::ReadWrite, 512).unwrap();
        for (at, fill) in [(8192, 7), ((1 << 20) + 512, 8), (3 << 20, 9)] {
            disk.write_at(&[IoSlice::new(&[fill; 512])], at).unwrap();
        }
        let mut expected = Sha256::new();
        for (offset, within, fill) in [(8192u64, 0, 7), (1 << 20, 512, 8), (3 << 20, 0, 9)] {
            let mut piece = [0; 4096];
            piece[within..within + 512].fill(fill);
            expected.update(offset.to_le_bytes());
            expected.update(piece);
        }
        expected.update(((3u64 << 20) + 512).to_le_bytes());
        let expected: String = expected.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(nz4k(&*disk).unwrap(), expected);
    }
}
