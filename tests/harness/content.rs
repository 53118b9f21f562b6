//! Disk content to write and to compare: pseudo-random, sparse, the same for the same seed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::random::Random;

/// Makes a sparse raw disk of `size` bytes at `path`: about a third data in runs of 512 bytes to 256 KiB, some runs of written
/// zeros, the rest holes. The first and the last sector always hold data.
pub fn sparse_disk(path: &Path, size: u64, random: &mut Random) {
    const SECTOR: u64 = 512;
    let file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.set_len(size).expect("room for a sparse file");
    let mut put = |offset: u64, length: u64, zero: bool| {
        let mut bytes = vec![0; usize::try_from(length).expect("a short run")];
        if !zero {
            random.fill(&mut bytes);
        }
        file.write_all_at(&bytes, offset).expect("write content");
        random.next_u64()
    };
    let mut choice = put(0, SECTOR, false);
    let mut at = SECTOR;
    while at < size {
        // Mostly short runs, some long ones, so that block borders of every format fall inside runs and between them.
        let sectors = if choice & 3 == 0 { 1 + (choice >> 8) % 512 } else { 1 + (choice >> 8) % 24 };
        let length = (sectors * SECTOR).min(size - at);
        choice = match (choice >> 40) % 6 {
            0 | 1 => put(at, length, false),
            2 => put(at, length, true),
            // A hole: eight times as long, so that whole blocks stay unallocated.
            _ => {
                at += length * 7;
                choice.rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ at
            }
        };
        at += length;
    }
    put(size - SECTOR, SECTOR, false);
}

/// SHA-256 of a whole file, in hexadecimal.
pub fn sha256(path: &Path) -> String {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).expect("read");
        if count == 0 {
            return hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        }
        hasher.update(&buffer[..count]);
    }
}

/// Fails with the first offset at which the two files differ.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path) {
    let open = |path: &Path| File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (a, b) = (open(left), open(right));
    let (names, size) =
        (format!("{} and {}", left.display(), right.display()), a.metadata().expect("size").len());
    assert_eq!(size, b.metadata().expect("size").len(), "sizes of {names}");
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < size {
        let count = usize::try_from((size - at).min(1 << 20)).expect("at most a buffer");
        a.read_exact_at(&mut x[..count], at).expect("read");
        b.read_exact_at(&mut y[..count], at).expect("read");
        if let Some(first) = x[..count].iter().zip(&y[..count]).position(|(x, y)| x != y) {
            panic!("{names} differ first at byte {}", at + first as u64);
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_disk_is_the_same_for_the_same_seed_and_holds_data_zeros_and_holes() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        const SIZE: u64 = 16 << 20;
        sparse_disk(&a, SIZE, &mut Random::new(1));
        sparse_disk(&b, SIZE, &mut Random::new(1));
        sparse_disk(&c, SIZE, &mut Random::new(2));
        assert_same(&a, &b);
        assert_eq!(sha256(&a), sha256(&b));
        assert_ne!(sha256(&a), sha256(&c));
        let used = a.metadata().unwrap().blocks() * 512;
        assert!(used > SIZE / 20 && used < SIZE * 3 / 4, "{used} of {SIZE} bytes are allocated");
    }

    #[test]
    #[should_panic(expected = "differ first at byte 1500000")]
    fn a_single_wrong_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let mut bytes = vec![7; 2_000_000];
        std::fs::write(&a, &bytes).unwrap();
        bytes[1_500_000] = 8;
        std::fs::write(&b, &bytes).unwrap();
        assert_same(&a, &b);
    }
}
