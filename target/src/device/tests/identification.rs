//! Identifying information, timestamps, port groups and the pages that name ports.

use super::*;

const REPORT_TIMESTAMP: [u8; 12] = [0xa3, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0];

fn report(kind: u8) -> [u8; 12] {
    [0xa3, 0x05, 0, 0, 0, 0, 0, 0, 1, 0xff, kind << 1, 0]
}

fn set(kind: u8, len: u16) -> [u8; 12] {
    let [high, low] = len.to_be_bytes();
    [0xa4, 0x06, 0, 0, 0, 0, 0, 0, high, low, kind << 1, 0]
}

#[test]
fn information_is_saved_reported_and_told_to_the_others() {
    let mut bench = Bench::new();
    bench.attach(2);
    assert_eq!(good(bench.run(&report(0))), [0, 0, 0, 0]);
    good(bench.run_out(&set(0, 3), &[9, 8, 7]));
    good(bench.run_out(&set(2, 7), b"rack 4\0"));
    assert_eq!(good(bench.run(&report(0))), [0, 0, 0, 3, 9, 8, 7]);
    assert_eq!(good(bench.run(&report(2)))[4..], *b"rack 4\0");
    assert_eq!(good(bench.run(&report(0x7f))), [0, 0, 0, 12, 0, 0, 0, 64, 4, 0, 1, 0, 0xfe, 0, 0, 0]);
    assert_eq!(bench.take_attentions(2), [Asc::DEVICE_IDENTIFIER_CHANGED]);
    let Some(MediaOp::Save(saved)) = bench.ops.last() else { panic!() };
    let saved = (**saved).clone();
    let mut restarted = Bench::with(|config| config.saved = Some(saved));
    assert_eq!(good(restarted.run(&report(0)))[4..], [9, 8, 7]);
    good(bench.run(&set(0, 0)));
    assert_eq!(good(bench.run(&report(0))), [0, 0, 0, 0], "taken away");
}

#[test]
fn information_that_is_too_long_or_no_text_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(sense(bench.run(&set(0, 65))), Sense::invalid_field_in_cdb(6, None));
    assert_eq!(sense(bench.run(&set(2, 257))), Sense::invalid_field_in_cdb(6, None));
    for kind in [1, 3, 0x7f] {
        assert_eq!(sense(bench.run(&set(kind, 1))), Sense::invalid_field_in_cdb(10, Some(7)));
    }
    assert_eq!(sense(bench.run(&report(1))), Sense::invalid_field_in_cdb(10, Some(7)));
    for text in [&b"abc"[..], b"a\0c\0", b"\xff\0"] {
        let refused = sense(bench.run_out(&set(2, text.len().try_into().unwrap()), text));
        assert_eq!(refused, Sense::invalid_field_in_parameter_list(0, None), "{text:?}");
    }
    let cut = sense(bench.run_out(&set(0, 4), &[1; 3]));
    assert_eq!(cut, illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    assert_eq!(bench.ops, []);
}

#[test]
fn the_timestamp_is_the_hosts_until_it_is_set_and_again_after_a_hard_reset() {
    let mut bench = Bench::new();
    bench.attach(2);
    let host = good(bench.run(&REPORT_TIMESTAMP));
    assert_eq!((host[2], &host[4..10]), (3, &NOW_MS.to_be_bytes()[2..]));
    let mut list = [0; 12];
    list[4..10].copy_from_slice(&[0, 0, 0, 0, 0, 77]);
    good(bench.run_out(&[0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0], &list));
    let set = good(bench.run(&REPORT_TIMESTAMP));
    assert_eq!((set[2], &set[4..10]), (2, &[0, 0, 0, 0, 0, 77][..]));
    assert_eq!(bench.take_attentions(2), [Asc::TIMESTAMP_CHANGED]);
    for len in [1, 11, 13] {
        let refused = sense(bench.run(&[0xa4, 0x0f, 0, 0, 0, 0, 0, 0, 0, len, 0, 0]));
        assert_eq!(refused, illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    bench.unit.reset(Reset::TargetWarm, NexusId(1));
    bench.take_attentions(1);
    assert_eq!(good(bench.run(&REPORT_TIMESTAMP)), host);
}

#[test]
fn every_port_is_in_the_one_group_which_is_always_active() {
    let mut bench = Bench::new();
    let groups = good(bench.run(&[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]));
    assert_eq!(groups, [0, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    let extended = good(bench.run(&[0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]));
    assert_eq!(extended[..8], [0, 0, 0, 20, 0x10, 0, 0, 0]);
    assert_eq!(extended[8..], groups[4..]);
    let set = |len: u8| [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, len, 0, 0];
    good(bench.run_out(&set(8), &[0; 8]));
    let standby = [0, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(sense(bench.run_out(&set(8), &standby)), Sense::invalid_field_in_parameter_list(4, Some(3)));
    let other = [0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(sense(bench.run_out(&set(8), &other)), Sense::invalid_field_in_parameter_list(6, None));
    for len in [1, 3, 6, 9] {
        let refused = sense(bench.run_out(&set(len), &vec![0; len.into()]));
        assert_eq!(refused, illegal(Asc::PARAMETER_LIST_LENGTH_ERROR), "{len}");
    }
}

#[test]
fn counters_tell_what_was_moved_and_what_failed() {
    let mut bench = Bench::new();
    let log = |page: u8| [0x4d, 0, 0x40 | page, 0, 0, 0, 0, 0, 0xff, 0];
    good(bench.run_out(&write_cdb(Form::Ten, 0, 2), &[1; 1024]));
    good(bench.run(&read_cdb(Form::Ten, 0, 1)));
    let (task, _) = bench.begin(&read_cdb(Form::Ten, 0, 1), 0);
    bench.unit.media_done(task, Err(MediaFailure::Read));
    let counters = |bytes: u64, errors: u64| {
        let value = |code: u8, value: u64| [&[0, code, 0, 8], &value.to_be_bytes()[..]].concat();
        [value(5, bytes), value(6, errors)].concat()
    };
    assert_eq!(good(bench.run(&log(2)))[4..], counters(1024, 0));
    assert_eq!(good(bench.run(&log(3)))[4..], counters(1024, 1));
    assert_eq!(good(bench.run(&log(0))), [0, 0, 0, 5, 0, 2, 3, 5, 0x2f]);
    let pointed = good(bench.run(&[0x4d, 0, 0x43, 0, 0, 0, 6, 0, 0xff, 0]));
    assert_eq!(pointed[4..], counters(1024, 1)[12..], "PARAMETER POINTER");
    let refusals: [(&[u8], Sense); 5] = [
        (&[0x4d, 0, 0x42, 0, 0, 0, 7, 0, 0xff, 0], Sense::invalid_field_in_cdb(5, None)),
        (&[0x4d, 0, 0x02, 0, 0, 0, 0, 0, 0xff, 0], Sense::invalid_field_in_cdb(2, Some(7))),
        (&[0x4d, 0, 0x4d, 0, 0, 0, 0, 0, 0xff, 0], Sense::invalid_field_in_cdb(2, Some(5))),
        (&[0x4d, 0, 0x42, 1, 0, 0, 0, 0, 0xff, 0], Sense::invalid_field_in_cdb(3, None)),
        (&[0x4d, 1, 0x42, 0, 0, 0, 0, 0, 0xff, 0], Sense::invalid_field_in_cdb(1, Some(0))),
    ];
    for (cdb, expected) in refusals {
        assert_eq!(sense(bench.run(cdb)), expected, "{cdb:02x?}");
    }
}

#[test]
fn defect_lists_are_there_and_empty_and_blocks_of_the_image_have_a_status() {
    let mut bench = Bench::new();
    assert_eq!(good(bench.run(&[0x37, 0, 0x1d, 0, 0, 0, 0, 0, 0xff, 0])), [0, 0x1d, 0, 0]);
    assert_eq!(good(bench.run(&[0xb7, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0])), [0, 0x0b, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        sense(bench.run(&[0x37, 0, 0x06, 0, 0, 0, 0, 0, 0xff, 0])),
        Sense::invalid_field_in_cdb(2, Some(2))
    );
    let mut cdb = [0; 16];
    (cdb[0], cdb[1], cdb[9], cdb[13]) = (0x9e, 0x12, 5, 0xff);
    let expected =
        [&[0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], &[0, 0, 0x0f, 0xfb, 0, 0, 0, 0]].concat();
    assert_eq!(good(bench.run(&cdb)), expected);
    assert!(matches!(&bench.ops[..], [MediaOp::BlockStatus { parts: 15, .. }]), "as many as fit");
}
