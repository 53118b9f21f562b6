//! WRITE SAME.

use lunkeep_common::scsi::cdb::WriteSame;

use super::*;

const TEN: WriteSame = WriteSame { form: Form::Ten, lba: 0, blocks: 1, unmap: false, no_data_out: false };
const SIXTEEN: WriteSame = WriteSame { form: Form::Sixteen, ..TEN };

fn bytes(command: WriteSame) -> [u8; 16] {
    Cdb::WriteSame(command).encode().unwrap()
}

#[test]
fn one_block_is_written_over_the_range_and_no_further() {
    for command in [TEN, SIXTEEN] {
        let mut bench = Bench::new();
        let block = pattern(512);
        good(bench.run_out(&bytes(WriteSame { lba: 5, blocks: 3, ..command }), &block));
        assert_eq!(bench.medium[5 * 512..8 * 512], block.repeat(3));
        assert_eq!((bench.medium[5 * 512 - 1], &bench.medium[8 * 512..9 * 512]), (0, &[0; 512][..]));
    }
}

#[test]
fn unmap_reaches_the_medium_with_its_pattern() {
    let mut bench = Bench::new();
    for unmap in [false, true] {
        good(bench.run_out(&bytes(WriteSame { unmap, blocks: 2, ..SIXTEEN }), &[0; 512]));
        let expected =
            MediaOp::WriteSame { offset: 0, len: 1024, pattern: Bytes::from_static(&[0; 512]), unmap };
        assert_eq!(bench.ops.pop(), Some(expected));
    }
}

#[test]
fn ndob_writes_zeros_without_data() {
    let mut bench = Bench::new();
    bench.medium.fill(1);
    let (_, step) = bench.begin(&bytes(WriteSame { no_data_out: true, ..SIXTEEN }), 0);
    assert!(matches!(step, Step::Media(_)), "no data is asked for");
    good(bench.run(&bytes(WriteSame { no_data_out: true, blocks: 2, ..SIXTEEN })));
    assert_eq!((bench.medium[0], bench.medium[1023], bench.medium[1024]), (0, 0, 1));
    // Ten bytes have no NDOB; the bit was RELADR there and is ignored.
    let mut ten = bytes(TEN);
    ten[1] |= 1;
    assert_eq!(sense(bench.run(&ten)), illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT), "a block must come");
}

#[test]
fn anchor_is_refused() {
    let mut bench = Bench::new();
    for (command, unmap) in [(TEN, false), (TEN, true), (SIXTEEN, false), (SIXTEEN, true)] {
        let mut cdb = bytes(WriteSame { unmap, ..command });
        cdb[1] |= 0x10;
        assert_eq!(sense(bench.run_out(&cdb, &[0; 512])), Sense::invalid_field_in_cdb(1, Some(4)));
    }
}

#[test]
fn unmap_is_refused_where_there_is_no_provisioning() {
    let mut bench = Bench::with(|config| config.medium.thin = false);
    for command in [TEN, SIXTEEN] {
        good(bench.run_out(&bytes(command), &[0; 512]));
        let completion = bench.run_out(&bytes(WriteSame { unmap: true, ..command }), &[0; 512]);
        assert_eq!(sense(completion), Sense::invalid_field_in_cdb(1, Some(3)));
    }
}

#[test]
fn zero_blocks_and_more_than_the_maximum_are_refused() {
    let mut bench = Bench::new();
    for (command, byte) in [(TEN, 7), (SIXTEEN, 10)] {
        for blocks in [0, 2049] {
            let completion = bench.run_out(&bytes(WriteSame { blocks, ..command }), &[0; 512]);
            assert_eq!(sense(completion), Sense::invalid_field_in_cdb(byte, None), "{blocks}");
        }
        good(bench.run_out(&bytes(WriteSame { blocks: 2048, ..command }), &[0; 512]));
    }
}

#[test]
fn a_range_beyond_the_end_is_refused() {
    let mut bench = Bench::new();
    for (lba, blocks, first) in [(BLOCKS, 1, BLOCKS), (BLOCKS - 1, 2, BLOCKS), (BLOCKS + 1, 0, BLOCKS + 1)] {
        for command in [TEN, SIXTEEN] {
            let completion = bench.run_out(&bytes(WriteSame { lba, blocks, ..command }), &[0; 512]);
            assert_eq!(sense(completion), out_of_range(first));
        }
    }
}

#[test]
fn anything_but_one_block_of_data_is_refused() {
    let mut bench = Bench::new();
    for len in [0, 256, 511, 513, 1024] {
        let completion = bench.run_out(&bytes(SIXTEEN), &vec![1; len]);
        assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT), "{len}");
    }
    let (task, step) = bench.begin(&bytes(SIXTEEN), 512);
    assert!(matches!(step, Step::DataOut(512)));
    let Step::Done(completion) = bench.unit.data_out(task, vec![Bytes::from_static(&[1; 100])]) else {
        panic!("not over")
    };
    assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT), "less than announced");
    assert_eq!(bench.ops, []);
}
