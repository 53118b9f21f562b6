//! Every field of every VHDX structure with every value that tends to break readers, under right checksums.

use std::process::Command;

use lunkeep_target::image::{BlockFile, MemoryFile};
use lunkeep_tests::fuzz::vhdx::{Patch, STRUCTURES, apply, base, exercise, repair_checksums};
use lunkeep_tests::report;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space of the process that tries the values: anything that allocates by a number of the file passes it.
const MEMORY: u64 = 768 << 20;

const TEST: &str = "images::vhdx_malformed::no_value_of_any_field_does_harm";

/// Widths of the fields of a structure, one after another; a GUID counts as two.
fn fields(structure: usize) -> Vec<(u64, usize)> {
    const GUID: [usize; 2] = [8, 8];
    let widths: Vec<usize> = match structure {
        0 => vec![8, 8],
        1 | 2 => [&[4, 4, 8][..], &GUID, &GUID, &GUID, &[2, 2, 4, 8]].concat(),
        3 | 4 => {
            let entry = [&GUID[..], &[8, 4, 4]].concat();
            [&[4, 4, 4, 4][..], &entry, &entry].concat()
        }
        5 => {
            let entry = [&GUID[..], &[4, 4, 4, 4]].concat();
            [&[8, 2, 2, 4, 8, 8][..], &entry.repeat(5)].concat()
        }
        6 => vec![4, 4, 8, 8, 8, 4, 4],
        7 => vec![8; 9],
        8 => [&[4, 4, 4, 4, 8, 4, 4][..], &GUID, &[8, 8]].concat(),
        // With the only descriptor, and the start of its data sector.
        _ => [&[4, 4, 4, 4, 8, 4, 4][..], &GUID, &[8, 8, 4, 4, 8, 8, 8]].concat(),
    };
    let mut offset = 0;
    let mut fields = Vec::new();
    for width in widths {
        fields.push((offset, width));
        offset += width as u64;
    }
    if structure == 9 {
        fields.extend([(4096, 4), (4100, 4), (8188, 4)]);
    }
    fields
}

fn values(old: u64, width: usize) -> Vec<u64> {
    let max = u64::MAX >> (64 - 8 * width);
    let mut values = vec![
        0,
        1,
        max,
        max / 2 + 1,
        old.wrapping_add(1),
        old.wrapping_sub(1),
        old ^ 4096,
        1 << 20,
        (4 << 20) | 6,
        (4 << 20) | 7,
        (u64::MAX << 20) | 6,
    ];
    if report::full() {
        let more = [2, 7, 511, 4095, 4096, (1 << 20) - 1, (2 << 20) | 6, (5 << 20) | 3, 1 << 30, 1 << 40];
        values.extend(more);
        values.extend([max - 1, max / 2, old.wrapping_mul(2), u64::MAX << 20, (1 << 62) | 6]);
    }
    values.retain(|value| *value <= max && *value != old);
    values.sort_unstable();
    values.dedup();
    values
}

fn try_all() -> usize {
    let mut count = 0;
    for (structure, (name, places, _)) in STRUCTURES.iter().enumerate() {
        // The log counts only when the file was not closed.
        let closed = structure < 8;
        let original = base(closed);
        for (offset, width) in fields(structure) {
            let mut old = [0; 8];
            original.read_exact_at(&mut old[..width], places[0] + offset).unwrap();
            for value in values(u64::from_le_bytes(old), width) {
                let file: MemoryFile = original.clone();
                let patch = Patch { structure, offset, value, width };
                apply(&file, patch);
                repair_checksums(&file);
                println!("{name} {patch:x?}");
                exercise(&file);
                count += 1;
            }
        }
    }
    count
}

#[test]
fn no_value_of_any_field_does_harm() {
    if std::env::var_os("LUNKEEP_CHILD").is_some() {
        let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
        setrlimit(Resource::As, limit).unwrap();
        println!("tried {}", try_all());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env("LUNKEEP_CHILD", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    assert!(output.status.success(), "{last:?}\n{errors}");
    let tried = text.lines().find_map(|line| line.strip_prefix("tried ")).unwrap();
    assert!(tried.parse::<usize>().unwrap() > 500, "{tried}");
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_sound() {
    for closed in [false, true] {
        let original = base(closed);
        let len = original.len().unwrap();
        for end in (0..len).step_by(192 << 10).chain([len - 1, len - 4096, len - 4097]) {
            let file = original.clone();
            file.set_len(end).unwrap();
            exercise(&file);
        }
    }
}
