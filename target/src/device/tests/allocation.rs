//! ALLOCATION LENGTH cuts every kind of data-in and changes nothing else (SPC-4 §4.3.5.6).

use super::*;

/// A CDB and where its ALLOCATION LENGTH is: first byte and count of bytes.
const COMMANDS: &[(&[u8], usize, usize)] = &[
    (&[0x03, 0, 0, 0, 0, 0], 4, 1),
    (&[0x03, 1, 0, 0, 0, 0], 4, 1),
    (&[0x12, 0, 0, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x00, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x80, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x83, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0xb0, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0xb1, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0xb2, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x85, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x86, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x87, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x88, 0, 0, 0], 3, 2),
    (&[0x12, 1, 0x8f, 0, 0, 0], 3, 2),
    (&[0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    (&[0x37, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0xb7, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x4d, 0, 0x42, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    (&[0xa3, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0], 6, 4),
    (&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0x1a, 0, 0x3f, 0xff, 0, 0], 4, 1),
    (&[0x5a, 0x10, 0x3f, 0xff, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x5e, 0x01, 0, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x5e, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], 7, 2),
    (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    (&[0xa0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0xa3, 0x0c, 0x81, 0x28, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
    (&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4),
];

fn with_length(&(cdb, at, width): &(&[u8], usize, usize), length: usize) -> Vec<u8> {
    let mut cdb = cdb.to_vec();
    cdb[at..at + width].copy_from_slice(&(length as u64).to_be_bytes()[8 - width..]);
    cdb
}

#[test]
fn data_is_cut_to_the_allocation_length_and_is_otherwise_the_same() {
    let mut bench = Bench::new();
    for command in COMMANDS {
        let whole = good(bench.run(&with_length(command, (1 << (8 * command.2)) - 1)));
        assert!(whole.len() > 2, "{:02x?}", command.0);
        for length in [0, 1, whole.len() - 1, whole.len(), whole.len() + 1] {
            let cut = good(bench.run(&with_length(command, length)));
            assert_eq!(cut, whole[..length.min(whole.len())], "{:02x?} length {length}", command.0);
        }
    }
}

#[test]
fn every_command_with_an_allocation_length_is_tested() {
    use lunkeep_common::scsi::opcode_table::TABLE;
    // Commands that return something other than medium data and have a length field.
    let expected: Vec<u8> = TABLE
        .iter()
        .filter(|info| !["TEST UNIT READY", "START STOP UNIT", "READ CAPACITY(10)"].contains(&info.name))
        .filter(|info| {
            ![0x15, 0x16, 0x17, 0x1e, 0x48, 0x55, 0x56, 0x57, 0x5f, 0x83, 0xa4].contains(&info.opcode)
        })
        .filter(|info| info.access == lunkeep_common::scsi::opcode_table::MediumAccess::None)
        .map(|info| info.opcode)
        .collect();
    for opcode in expected {
        assert!(COMMANDS.iter().any(|(cdb, ..)| cdb[0] == opcode), "{opcode:02x}h");
    }
}
