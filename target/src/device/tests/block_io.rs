//! READ and WRITE.

use super::*;

fn with_flags(mut cdb: [u8; 16], flags: u8) -> [u8; 16] {
    cdb[1] |= flags;
    cdb
}

#[test]
fn what_is_written_in_any_form_is_read_in_any_form() {
    for (block, forms) in [(512, FORMS), (4096, FORMS)] {
        let mut bench = Bench::with(|config| config.medium.logical_block = block);
        let block = usize::try_from(block).unwrap();
        for (lba, form) in (10..).step_by(3).zip(forms) {
            let data = pattern(3 * block);
            good(bench.run_out(&write_cdb(form, lba, 3), &data));
            for form in forms {
                assert_eq!(good(bench.run(&read_cdb(form, lba, 3))), data, "{form:?}");
            }
        }
    }
}

#[test]
fn offsets_are_lba_times_block_length_and_fua_reaches_the_medium() {
    let mut bench = Bench::with(|config| config.medium.logical_block = 4096);
    let cdb = with_flags(write_cdb(Form::Ten, 3, 1), 0x08);
    good(bench.run_out(&cdb, &[7; 4096]));
    let [MediaOp::Write { offset: 0x3000, force_unit_access: true, data }] = &bench.ops[..] else {
        panic!("{:?}", bench.ops)
    };
    assert_eq!(data.concat(), [7; 4096]);
    good(bench.run_out(&with_flags(write_cdb(Form::Sixteen, 3, 1), 0x10), &[7; 4096]));
    assert!(matches!(bench.ops[1], MediaOp::Write { force_unit_access: false, .. }), "DPO is not FUA");
}

#[test]
fn a_read_with_fua_makes_what_it_reads_stable_first() {
    let read = MediaOp::Read { offset: 512, len: 512 };
    let cdb = with_flags(read_cdb(Form::Twelve, 1, 1), 0x08);
    let mut bench = Bench::new();
    good(bench.run(&cdb));
    assert_eq!(bench.ops, [MediaOp::Flush, read.clone()]);
    let mut bench = Bench::with(|config| config.medium.read_only = true);
    good(bench.run(&cdb));
    assert_eq!(bench.ops, [read], "nothing can be unstable there");
}

#[test]
fn a_length_of_zero_moves_nothing_but_in_six_bytes_it_is_256() {
    let mut bench = Bench::new();
    for form in LONG_FORMS {
        assert!(good(bench.run(&read_cdb(form, 5, 0))).is_empty());
        good(bench.run_out(&write_cdb(form, 5, 0), &[1; 512]));
    }
    assert_eq!(bench.ops, []);
    assert_eq!(good(bench.run(&[0x08, 0, 0, 0, 0, 0])).len(), 256 * 512);
    good(bench.run_out(&[0x0a, 0, 0, 1, 0, 0], &[9; 256 * 512]));
    assert_eq!((bench.medium[511], bench.medium[512], bench.medium[257 * 512 - 1]), (0, 9, 9));
    assert_eq!(bench.medium[257 * 512], 0);
}

#[test]
fn every_range_beyond_the_end_is_out_of_range_with_its_first_block() {
    let mut bench = Bench::new();
    let cases = [
        (BLOCKS, 1, BLOCKS),
        (BLOCKS - 1, 2, BLOCKS),
        (BLOCKS + 1, 0, BLOCKS + 1),
        (BLOCKS - 255, 256, BLOCKS),
        (0x1f_ffff, 1, 0x1f_ffff),
        (0xffff_ffff, 1, 0xffff_ffff),
        (0xffff_ffff, 0, 0xffff_ffff),
        (u64::MAX, 1, u64::MAX),
        (u64::MAX, 0, u64::MAX),
    ];
    for (lba, blocks, first) in cases {
        for form in FORMS {
            let Ok(read) = Cdb::Read(transfer(form, lba, blocks)).encode() else { continue };
            assert_eq!(sense(bench.run(&read)), out_of_range(first), "{form:?} {lba:#x} {blocks}");
            let write = write_cdb(form, lba, blocks);
            assert_eq!(sense(bench.run_out(&write, &pattern(512))), out_of_range(first), "{form:?} {lba:#x}");
        }
    }
    good(bench.run(&read_cdb(Form::Ten, BLOCKS - 1, 1)));
    good(bench.run(&read_cdb(Form::Ten, BLOCKS, 0)));
}

#[test]
fn the_maximum_transfer_length_is_allowed_and_one_more_block_is_not() {
    let mut bench = Bench::new();
    for (form, byte) in [(Form::Ten, 7), (Form::Twelve, 6), (Form::Sixteen, 10)] {
        assert_eq!(good(bench.run(&read_cdb(form, 0, 1024))).len(), 1024 * 512);
        let expected = Sense::invalid_field_in_cdb(byte, None);
        assert_eq!(sense(bench.run(&read_cdb(form, 0, 1025))), expected);
        assert_eq!(sense(bench.run_out(&write_cdb(form, 0, 1025), &pattern(1025 * 512))), expected);
    }
    let mut large = Bench::with(|config| config.medium.size = 1 << 42);
    let expected = Sense::invalid_field_in_cdb(6, None);
    assert_eq!(
        sense(large.run(&read_cdb(Form::Twelve, 0, 0x80_0001))),
        expected,
        "more than 32 bits of bytes"
    );
}

#[test]
fn a_write_that_announces_less_writes_the_blocks_that_come() {
    let mut bench = Bench::new();
    let data = pattern(1024);
    good(bench.run_out(&write_cdb(Form::Ten, 8, 3), &data));
    assert_eq!(bench.medium[8 * 512..10 * 512], data);
    assert_eq!(bench.medium[10 * 512..11 * 512], [0; 512]);
    bench.ops.clear();
    good(bench.run_out(&write_cdb(Form::Ten, 8, 3), &[]));
    assert_eq!(bench.ops, [], "nothing announced, nothing written");
}

#[test]
fn a_write_that_announces_part_of_a_block_writes_nothing() {
    let mut bench = Bench::new();
    for len in [1, 200, 511, 513, 1023] {
        let completion = bench.run_out(&write_cdb(Form::Sixteen, 8, 2), &vec![1; len]);
        assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT), "{len}");
    }
    assert_eq!(bench.ops, []);
}

#[test]
fn more_data_than_was_asked_for_writes_nothing() {
    let mut bench = Bench::new();
    let (task, step) = bench.begin(&write_cdb(Form::Ten, 0, 1), 1024);
    assert!(matches!(step, Step::DataOut(512)));
    let Step::Done(completion) = bench.unit.data_out(task, vec![Bytes::from(vec![1; 1024])]) else {
        panic!("not over")
    };
    assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT));
}

#[test]
fn a_read_only_disk_refuses_every_write_before_it_takes_data() {
    let mut bench = Bench::with(|config| config.medium.read_only = true);
    let protected = Sense::new(SenseKey::DataProtect, Asc::WRITE_PROTECTED);
    let mut cdbs: Vec<Vec<u8>> = FORMS.map(|form| write_cdb(form, 0, 1).to_vec()).to_vec();
    cdbs.push(vec![0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    cdbs.push(vec![0x41, 8, 0, 0, 0, 0, 0, 0, 1, 0]);
    cdbs.push(vec![0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    cdbs.push(vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0]);
    for cdb in cdbs {
        let (_, step) = bench.begin(&cdb, 0);
        let Step::Done(completion) = step else { panic!("{step:?}") };
        assert_eq!(sense(completion), protected, "{cdb:02x?}");
    }
    good(bench.run(&read_cdb(Form::Ten, 0, 1)));
}

#[test]
fn a_failure_of_the_medium_becomes_sense() {
    let cases = [
        (MediaFailure::Read, "03/11/00 UNRECOVERED READ ERROR"),
        (MediaFailure::Write, "03/0c/00 WRITE ERROR"),
        (MediaFailure::NoSpace, "07/27/07 SPACE ALLOCATION FAILED WRITE PROTECT"),
        (MediaFailure::ReadOnly, "07/27/00 WRITE PROTECTED"),
        (MediaFailure::Damaged, "03/31/00 MEDIUM FORMAT CORRUPTED"),
    ];
    for (failure, expected) in cases {
        let mut bench = Bench::new();
        let (task, step) = bench.begin(&read_cdb(Form::Ten, 0, 1), 0);
        assert!(matches!(step, Step::Media(_)));
        let Step::Done(completion) = bench.unit.media_done(task, Err(failure)) else { panic!("not over") };
        assert_eq!(sense(completion).to_string(), expected);
        assert_eq!(bench.unit.task_count(), 0);
    }
}

#[test]
fn an_answer_of_the_medium_that_does_not_fit_is_never_good() {
    let mut bench = Bench::new();
    let (task, _) = bench.begin(&read_cdb(Form::Ten, 0, 1), 0);
    let Step::Done(completion) = bench.unit.media_done(task, Ok(MediaReply::Done)) else {
        panic!("not over")
    };
    assert_eq!(sense(completion), Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE));
}
