//! UNMAP.

use lunkeep_common::scsi::unmap::{UnmapDescriptor, encode};

use super::*;

fn cdb(len: u16) -> [u8; 10] {
    let [high, low] = len.to_be_bytes();
    [0x42, 0, 0, 0, 0, 0, 0, high, low, 0]
}

fn list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let all: Vec<_> = ranges.iter().map(|&(lba, blocks)| UnmapDescriptor { lba, blocks }).collect();
    encode(&all).unwrap()
}

fn unmap(bench: &mut Bench, ranges: &[(u64, u32)]) -> Completion {
    let list = list(ranges);
    bench.run_out(&cdb(list.len().try_into().unwrap()), &list)
}

#[test]
fn every_range_is_unmapped_in_order() {
    let mut bench = Bench::new();
    bench.medium.fill(1);
    good(unmap(&mut bench, &[(8, 2), (0, 1), (100, 0), (BLOCKS - 1, 1)]));
    let ranges = vec![(8 * 512, 1024), (0, 512), ((BLOCKS - 1) * 512, 512)];
    assert_eq!(bench.ops, [MediaOp::Unmap { ranges }]);
    assert_eq!((bench.medium[0], bench.medium[512]), (0, 1));
}

#[test]
fn nothing_to_unmap_is_no_error() {
    let mut bench = Bench::new();
    good(bench.run(&cdb(0)));
    good(unmap(&mut bench, &[]));
    good(unmap(&mut bench, &[(0, 0), (BLOCKS, 0)]));
    assert_eq!(bench.ops, []);
}

#[test]
fn a_list_shorter_than_its_header_is_a_length_error() {
    let mut bench = Bench::new();
    for len in 1..8 {
        let completion = bench.run_out(&cdb(len), &list(&[(0, 1)])[..len.into()]);
        assert_eq!(sense(completion), illegal(Asc::PARAMETER_LIST_LENGTH_ERROR), "{len}");
    }
    let completion = bench.run_out(&cdb(24), &list(&[(0, 1)])[..7]);
    assert_eq!(sense(completion), illegal(Asc::PARAMETER_LIST_LENGTH_ERROR), "the initiator sent less");
}

#[test]
fn a_descriptor_that_is_cut_is_ignored_but_not_one_that_did_not_come() {
    let mut bench = Bench::new();
    let whole = list(&[(1, 1), (2, 1)]);
    good(bench.run_out(&cdb(39), &whole[..39]));
    assert_eq!(bench.ops, [MediaOp::Unmap { ranges: vec![(512, 512)] }]);
    let completion = bench.run_out(&cdb(40), &whole[..24]);
    assert_eq!(sense(completion), illegal(Asc::PARAMETER_LIST_LENGTH_ERROR), "the initiator sent less");
    assert_eq!(bench.ops.len(), 1);
}

#[test]
fn one_bad_range_stops_all() {
    let mut bench = Bench::new();
    let cases = [
        (BLOCKS, 1, BLOCKS),
        (BLOCKS - 1, 2, BLOCKS),
        (BLOCKS + 1, 0, BLOCKS + 1),
        (u64::MAX, 1, u64::MAX),
        (u64::MAX, u32::MAX, u64::MAX),
        (0, u32::MAX, BLOCKS),
    ];
    for (lba, blocks, first) in cases {
        let completion = unmap(&mut bench, &[(0, 1), (lba, blocks)]);
        assert_eq!(sense(completion), out_of_range(first), "{lba:#x} {blocks}");
    }
    assert_eq!(bench.ops, []);
}

#[test]
fn the_limits_hold_and_point_at_what_was_too_much() {
    let mut bench = Bench::new();
    good(unmap(&mut bench, &[(0, 1); 4]));
    assert_eq!(
        sense(unmap(&mut bench, &[(0, 0); 5])),
        Sense::invalid_field_in_parameter_list(2, None),
        "descriptors"
    );
    good(unmap(&mut bench, &[(0, 1000), (1000, 2000)]));
    let completion = unmap(&mut bench, &[(0, 1000), (1000, 2001)]);
    assert_eq!(sense(completion), Sense::invalid_field_in_parameter_list(8 + 16 + 8, None), "blocks");
}

#[test]
fn a_disk_that_is_not_thin_has_no_such_command() {
    let mut bench = Bench::with(|config| config.medium.thin = false);
    assert_eq!(sense(bench.run(&cdb(24))), illegal(Asc::INVALID_OPERATION_CODE));
}

#[test]
fn the_anchor_bit_is_refused() {
    let mut cdb = cdb(24);
    cdb[1] = 1;
    assert_eq!(sense(Bench::new().run(&cdb)), Sense::invalid_field_in_cdb(1, Some(0)));
}
