//! VERIFY.

use lunkeep_common::scsi::cdb::Verify;

use super::*;

fn verify(form: Form, lba: u64, blocks: u32, byte_check: u8) -> [u8; 16] {
    Cdb::Verify(Verify { form, lba, blocks, disable_page_out: false, byte_check }).encode().unwrap()
}

fn miscompare(lba: u64) -> Sense {
    Sense::new(SenseKey::Miscompare, Asc::MISCOMPARE_DURING_VERIFY).with_information(lba)
}

/// A bench whose medium holds a pattern.
fn filled() -> Bench {
    let mut bench = Bench::new();
    bench.medium = pattern(bench.medium.len());
    bench
}

#[test]
fn without_byte_check_the_medium_is_read_and_no_data_is_taken() {
    let mut bench = filled();
    for form in LONG_FORMS {
        bench.ops.clear();
        // Data that an initiator announces all the same is not asked for.
        good(bench.run_out(&verify(form, 4, 2, 0), &[0; 1024]));
        let read = MediaOp::Verify { offset: 4 * 512, len: 1024, compare: None };
        assert_eq!(bench.ops, [MediaOp::Flush, read], "the medium, not the cache");
    }
}

#[test]
fn byte_check_one_compares_every_block() {
    let mut bench = filled();
    for form in LONG_FORMS {
        let mut data = bench.medium[4 * 512..8 * 512].to_vec();
        good(bench.run_out(&verify(form, 4, 4, 1), &data));
        for (at, lba) in [(0, 4), (511, 4), (512, 5), (2047, 7)] {
            data[at] ^= 1;
            assert_eq!(sense(bench.run_out(&verify(form, 4, 4, 1), &data)), miscompare(lba));
            data[at] ^= 1;
        }
    }
}

#[test]
fn byte_check_three_compares_one_block_with_all() {
    let mut bench = Bench::new();
    bench.medium[3 * 512] = 1;
    good(bench.run_out(&verify(Form::Ten, 0, 3, 3), &[0; 512]));
    assert_eq!(sense(bench.run_out(&verify(Form::Ten, 0, 4, 3), &[0; 512])), miscompare(3));
}

#[test]
fn byte_check_two_is_reserved() {
    let mut bench = Bench::new();
    assert_eq!(sense(bench.run(&verify(Form::Ten, 0, 1, 2))), Sense::invalid_field_in_cdb(1, Some(2)));
}

#[test]
fn too_few_bytes_are_not_a_verification() {
    let mut bench = filled();
    for (byte_check, len) in [(1, 0), (1, 512), (1, 1023), (3, 0), (3, 511)] {
        let data = bench.medium[..len].to_vec();
        let completion = bench.run_out(&verify(Form::Sixteen, 0, 2, byte_check), &data);
        assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT), "{byte_check} {len}");
    }
}

#[test]
fn a_length_of_zero_verifies_nothing_and_still_looks_at_the_address() {
    let mut bench = Bench::new();
    for form in LONG_FORMS {
        for byte_check in [0, 1, 3] {
            good(bench.run(&verify(form, 0, 0, byte_check)));
            let completion = bench.run(&verify(form, BLOCKS + 1, 0, byte_check));
            assert_eq!(sense(completion), out_of_range(BLOCKS + 1));
        }
    }
    assert_eq!(bench.ops, []);
}

#[test]
fn ranges_and_lengths_are_checked() {
    let mut bench = Bench::new();
    assert_eq!(sense(bench.run(&verify(Form::Ten, BLOCKS - 1, 2, 0))), out_of_range(BLOCKS));
    assert_eq!(sense(bench.run(&verify(Form::Sixteen, u64::MAX, 1, 1))), out_of_range(u64::MAX));
    good(bench.run(&verify(Form::Twelve, 0, 1024, 0)));
    assert_eq!(sense(bench.run(&verify(Form::Twelve, 0, 1025, 0))), Sense::invalid_field_in_cdb(6, None));
}
