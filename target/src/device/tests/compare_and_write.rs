//! COMPARE AND WRITE, ORWRITE and WRITE AND VERIFY.

use super::*;

fn compare(lba: u32, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[13]) = (0x89, blocks);
    cdb[6..10].copy_from_slice(&lba.to_be_bytes());
    cdb
}

fn long(opcode: u8, lba: u32, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[6..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[test]
fn the_second_half_is_written_when_the_first_is_what_is_there() {
    let mut bench = Bench::new();
    let (old, new) = (pattern(16 * 512), vec![0x5a; 16 * 512]);
    bench.medium[8 * 512..24 * 512].copy_from_slice(&old);
    good(bench.run_out(&compare(8, 16), &[old.clone(), new.clone()].concat()));
    assert_eq!(bench.medium[8 * 512..24 * 512], new);
    let refused = sense(bench.run_out(&compare(8, 16), &[old, vec![1; 16 * 512]].concat()));
    assert_eq!((refused.key, refused.asc), (SenseKey::Miscompare, Asc::MISCOMPARE_DURING_VERIFY));
    assert_eq!(refused.information, Some(0), "offset of the first byte that differs");
    assert_eq!(bench.medium[8 * 512..24 * 512], new);
}

#[test]
fn the_place_of_a_miscompare_is_counted_in_bytes_of_the_data() {
    let mut bench = Bench::new();
    let mut expected = vec![0; 2 * 512];
    expected[700] = 1;
    let refused = sense(bench.run_out(&compare(100, 2), &[expected, vec![9; 2 * 512]].concat()));
    assert_eq!(refused.information, Some(700));
    assert!(bench.medium.iter().all(|&byte| byte == 0));
}

#[test]
fn what_is_announced_must_be_both_halves() {
    let mut bench = Bench::new();
    for len in [0, 512, 1536, 4 * 512] {
        let refused = sense(bench.run_out(&compare(0, 1), &vec![0; len]));
        assert_eq!(refused, illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT), "{len}");
    }
    assert_eq!(sense(bench.run_out(&compare(0, 0), &[0; 512])), Sense::invalid_field_in_cdb(13, None));
    good(bench.run(&compare(0, 0)));
    assert_eq!(sense(bench.run(&compare(0, 17))), Sense::invalid_field_in_cdb(13, None), "beyond the limit");
    assert_eq!(bench.ops, []);
}

#[test]
fn or_write_sets_bits_and_clears_none() {
    let mut bench = Bench::new();
    bench.medium[..1024].fill(0x0f);
    good(bench.run_out(&long(0x8b, 1, 1), &[0xa0; 512]));
    assert_eq!((bench.medium[511], bench.medium[512], bench.medium[1024]), (0x0f, 0xaf, 0));
}

#[test]
fn write_and_verify_says_whether_it_compares() {
    for (byte_check, expected) in [(0, false), (2, true)] {
        let mut bench = Bench::new();
        let mut cdb = long(0x8e, 3, 2);
        cdb[1] = byte_check;
        good(bench.run_out(&cdb, &pattern(1024)));
        assert_eq!(bench.medium[3 * 512..5 * 512], pattern(1024));
        assert!(matches!(&bench.ops[..], [MediaOp::WriteAndVerify { compare, .. }] if *compare == expected));
    }
}

#[test]
fn without_a_write_cache_every_write_is_stable_when_it_is_answered() {
    let mut bench = Bench::new();
    let off = [0, 0, 0, 0, 0x08, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    good(bench.run_out(&[0x15, 0x10, 0, 0, 24, 0], &off));
    good(bench.run_out(&write_cdb(Form::Ten, 0, 1), &[1; 512]));
    good(bench.run_out(&compare(0, 1), &[[1; 512], [2; 512]].concat()));
    good(bench.run_out(&long(0x8b, 0, 1), &[4; 512]));
    let fua = |op: &MediaOp| {
        matches!(
            op,
            MediaOp::Write { force_unit_access: true, .. }
                | MediaOp::CompareAndWrite { force_unit_access: true, .. }
                | MediaOp::OrWrite { force_unit_access: true, .. }
        )
    };
    assert!(bench.ops.len() == 3 && bench.ops.iter().all(fua), "{:?}", bench.ops);
    good(bench.run_out(&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[7; 512]));
    assert_eq!(bench.ops.last(), Some(&MediaOp::Flush));
}
