//! SYNCHRONIZE CACHE and START STOP UNIT.

use lunkeep_common::scsi::cdb::SynchronizeCache;

use super::*;

const STOP: [u8; 6] = [0x1b, 0, 0, 0, 0, 0];
const START: [u8; 6] = [0x1b, 0, 0, 0, 1, 0];

fn sync(form: Form, lba: u64, blocks: u32, immediate: bool) -> [u8; 16] {
    Cdb::SynchronizeCache(SynchronizeCache { form, lba, blocks, immediate }).encode().unwrap()
}

fn not_ready() -> Sense {
    Sense::new(SenseKey::NotReady, Asc::INITIALIZING_COMMAND_REQUIRED)
}

#[test]
fn synchronize_cache_is_good_only_after_the_flush() {
    for form in [Form::Ten, Form::Sixteen] {
        for immediate in [false, true] {
            let mut bench = Bench::new();
            let (task, step) = bench.begin(&sync(form, 0, 0, immediate), 0);
            assert!(matches!(step, Step::Media(MediaOp::Flush)), "{step:?}");
            let Step::Done(completion) = bench.unit.media_done(task, Ok(MediaReply::Done)) else {
                panic!("not over")
            };
            good(completion);
            let (task, _) = bench.begin(&sync(form, 0, 0, immediate), 0);
            let Step::Done(completion) = bench.unit.media_done(task, Err(MediaFailure::Write)) else {
                panic!("not over")
            };
            assert_eq!(sense(completion).asc, Asc::WRITE_ERROR);
        }
    }
}

#[test]
fn synchronize_cache_checks_its_range_which_may_be_as_large_as_the_disk() {
    let mut bench = Bench::new();
    for form in [Form::Ten, Form::Sixteen] {
        good(bench.run(&sync(form, 0, 4096, false)));
        good(bench.run(&sync(form, BLOCKS, 0, false)));
        assert_eq!(sense(bench.run(&sync(form, 0, 4097, false))), out_of_range(BLOCKS));
        assert_eq!(sense(bench.run(&sync(form, BLOCKS + 1, 0, false))), out_of_range(BLOCKS + 1));
    }
}

#[test]
fn a_read_only_disk_has_nothing_to_make_stable() {
    let mut bench = Bench::with(|config| config.medium.read_only = true);
    good(bench.run(&sync(Form::Ten, 0, 0, false)));
    good(bench.run(&STOP));
    assert_eq!(bench.ops, []);
}

#[test]
fn a_stopped_disk_is_not_ready_until_it_is_started() {
    use lunkeep_common::scsi::opcode_table::{MediumAccess, TABLE};
    let mut bench = Bench::new();
    bench.attach(2);
    good(bench.run(&STOP));
    assert_eq!(bench.ops, [MediaOp::Flush], "the cache is written before it stops");
    for info in TABLE {
        let mut cdb = vec![0; info.usage.len()];
        (cdb[0], cdb[1]) = (info.opcode, info.service_action.unwrap_or(0));
        let needs_medium = info.access != MediumAccess::None || info.opcode == 0;
        if needs_medium {
            assert_eq!(sense(bench.run(&cdb)), not_ready(), "{info:?}");
        } else if info.opcode != START[0] {
            let completion = bench.run(&cdb);
            assert_ne!(completion.sense, Some(not_ready()), "{info:?}");
        }
    }
    let data = good(bench.run(&[0x03, 0, 0, 0, 0xff, 0]));
    assert_eq!(Sense::decode(&data), Some(not_ready()), "REQUEST SENSE tells the same with GOOD");
    bench.nexus = NexusId(2);
    assert_eq!(sense(bench.run(&[0; 6])), not_ready(), "for every nexus");
    good(bench.run(&START));
    good(bench.run(&[0; 6]));
}

#[test]
fn a_disk_whose_cache_cannot_be_written_does_not_stop() {
    let mut bench = Bench::new();
    let (task, _) = bench.begin(&STOP, 0);
    let Step::Done(completion) = bench.unit.media_done(task, Err(MediaFailure::Write)) else {
        panic!("not over")
    };
    assert_eq!(sense(completion).asc, Asc::WRITE_ERROR);
    good(bench.run(&[0; 6]));
}

#[test]
fn no_flush_stops_without_writing_the_cache() {
    let mut bench = Bench::new();
    good(bench.run(&[0x1b, 0, 0, 0, 4, 0]));
    assert_eq!(bench.ops, []);
    assert_eq!(sense(bench.run(&[0; 6])), not_ready());
}

#[test]
fn ejecting_and_power_conditions_are_refused() {
    let mut bench = Bench::new();
    for (byte, value, bit) in [(4, 0x02, 1), (4, 0x03, 1), (4, 0x10, 7), (4, 0xb0, 7), (3, 0x01, 3)] {
        let mut cdb = [0x1b, 0, 0, 0, 0, 0];
        cdb[byte] = value;
        let expected = Sense::invalid_field_in_cdb(byte.try_into().unwrap(), Some(bit));
        assert_eq!(sense(bench.run(&cdb)), expected);
    }
    good(bench.run(&[0; 6]));
}
