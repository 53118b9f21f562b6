//! REPORT LUNS, REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.

use lunkeep_common::scsi::opcode_table::TABLE;
use lunkeep_common::scsi::supported_operations::{CommandTimeouts, decode_all, decode_one};

use super::*;

fn luns(select: u8) -> [u8; 12] {
    [0xa0, 0, select, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]
}

fn codes(options: u8, opcode: u8, action: u8) -> [u8; 12] {
    [0xa3, 0x0c, options, opcode, 0, action, 0, 0, 0xff, 0xff, 0, 0]
}

#[test]
fn report_luns_selects_what_is_asked_for() {
    let mut bench = Bench::new();
    let first = [0, 0, 0, 0, 0, 0, 0, 0];
    let second = [0x41, 0x2c, 0, 0, 0, 0, 0, 0];
    let well_known = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];
    let cases = [(0, vec![first, second]), (1, vec![well_known]), (2, vec![first, second, well_known])];
    for (select, expected) in cases {
        let data = good(bench.run(&luns(select)));
        assert_eq!(data[..8], [0, 0, 0, (expected.len() * 8).try_into().unwrap(), 0, 0, 0, 0]);
        assert_eq!(data[8..], expected.concat());
    }
    for select in [3, 0x10, 0xff] {
        assert_eq!(sense(bench.run(&luns(select))), Sense::invalid_field_in_cdb(2, None));
    }
}

#[test]
fn all_commands_are_those_of_the_table_and_each_can_be_asked_for() {
    let mut bench = Bench::with(|config| config.removable = true);
    let all = decode_all(&good(bench.run(&codes(0, 0, 0)))).unwrap();
    assert_eq!(all.len(), TABLE.len());
    for (command, info) in all.iter().zip(TABLE) {
        assert_eq!(command.opcode, info.opcode);
        let action = info.service_action.unwrap_or(0);
        let (right, wrong) = if info.service_action.is_some() { (2, 1) } else { (1, 2) };
        let one = good(bench.run(&codes(right, info.opcode, action)));
        assert_eq!(decode_one(&one), Some((true, info.usage)), "{info:?}");
        let three = good(bench.run(&codes(3, info.opcode, action)));
        assert_eq!(three, one, "either kind");
        let completion = bench.run(&codes(wrong, info.opcode, action));
        assert_eq!(sense(completion), Sense::invalid_field_in_cdb(2, Some(2)), "{info:?} as the other kind");
    }
}

#[test]
fn commands_that_are_not_there_are_reported_as_not_supported() {
    let mut bench = Bench::new();
    for (options, opcode, action) in
        [(1, 0x4c, 0), (2, 0x5f, 9), (2, 0xa3, 0x1f), (3, 0x28, 1), (3, 0x9e, 0x13)]
    {
        assert_eq!(good(bench.run(&codes(options, opcode, action))), [0, 1, 0, 0], "{options} {opcode:02x}h");
    }
    for options in 4..8 {
        let completion = bench.run(&codes(options, 0x28, 0));
        assert_eq!(sense(completion), Sense::invalid_field_in_cdb(2, Some(2)), "reserved option {options}");
    }
}

#[test]
fn timeouts_descriptors_come_when_they_are_asked_for() {
    let mut bench = Bench::with(|config| config.removable = true);
    let all = good(bench.run(&codes(0x80, 0, 0)));
    assert_eq!(all.len(), 4 + 20 * TABLE.len());
    assert!(all[4..].chunks_exact(20).all(|d| d[5] & 2 != 0 && d[8..10] == [0, 10]));
    let one = good(bench.run(&codes(0x81, 0x28, 0)));
    assert_eq!((one[1], one.len()), (0x83, 4 + 10 + 12));
    assert_eq!(one[14..], [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "nothing is known");
}

#[test]
fn what_goes_over_the_whole_medium_says_how_long_it_may_take() {
    let mut bench = Bench::with(|config| config.medium.size = 1 << 40);
    // 1 TiB at 128 MiB/s and at 8 MiB/s; OVERWRITE up to 31 times.
    for (opcode, action, passes) in [(0x04, 0, 1), (0x48, 2, 1), (0x48, 1, 31)] {
        let options = if opcode == 0x48 { 0x82 } else { 0x81 };
        let one = good(bench.run(&codes(options, opcode, action)));
        let timeouts = CommandTimeouts::decode(&one[one.len() - 12..]).unwrap();
        assert_eq!(timeouts, CommandTimeouts { nominal: passes << 13, recommended: passes << 17 });
    }
    let mut largest = Bench::with(|config| config.medium.size = 1 << 62);
    let one = good(largest.run(&codes(0x82, 0x48, 1)));
    assert_eq!(one[one.len() - 4..], [0xff; 4], "as long as can be told");
}

#[test]
fn a_disk_that_is_not_thin_reports_neither_unmap_nor_its_bit_in_write_same() {
    let mut bench = Bench::with(|config| config.medium.thin = false);
    let all = decode_all(&good(bench.run(&codes(0, 0, 0)))).unwrap();
    assert!(all.iter().all(|command| command.opcode != 0x42));
    assert_eq!(good(bench.run(&codes(1, 0x42, 0))), [0, 1, 0, 0]);
    assert_eq!(good(bench.run(&codes(1, 0x41, 0)))[5], 0x00);
    assert_eq!(good(bench.run(&codes(1, 0x93, 0)))[5], 0x01, "NDOB stays");
}

#[test]
fn only_a_removable_disk_reports_prevention_and_ejecting() {
    for (removable, prevent, bits) in [(false, 1, 0x05), (true, 3, 0x07)] {
        let mut bench = Bench::with(|config| config.removable = removable);
        assert_eq!(good(bench.run(&codes(1, 0x1e, 0)))[1], prevent);
        assert_eq!(good(bench.run(&codes(1, 0x1b, 0)))[8], bits);
    }
}

#[test]
fn task_management_functions_are_those_that_there_are() {
    let mut bench = Bench::new();
    let cdb = |extended| [0xa3, 0x0d, extended, 0, 0, 0, 0, 0, 0, 0xff, 0, 0];
    assert_eq!(good(bench.run(&cdb(0))), [0xd8, 0, 0, 0]);
    assert_eq!(good(bench.run(&cdb(0x80))), [0xd8, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
