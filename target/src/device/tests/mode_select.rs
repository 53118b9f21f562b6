//! MODE SELECT: what changes, what is saved, who is told, and what is refused without a change.

use super::*;

/// MODE SELECT(6) of one page without block descriptor.
fn select(bench: &mut Bench, save: bool, page: &[u8]) -> Completion {
    let list = [&[0, 0, 0, 0], page].concat();
    bench.run_out(&[0x15, 0x10 | u8::from(save), 0, 0, u8::try_from(list.len()).unwrap(), 0], &list)
}

fn page(bench: &mut Bench, control: u8, code: u8) -> Vec<u8> {
    let mut page = good(bench.run(&[0x1a, 8, control << 6 | code, 0, 0xff, 0])).split_off(4);
    page[0] &= 0x3f;
    page
}

/// The control page with these bits of bytes 2, 4 and 5 turned over.
fn control(bench: &mut Bench, flips: [u8; 3]) -> Vec<u8> {
    let mut page = page(bench, 0, 0x0a);
    for (at, flip) in [2, 4, 5].into_iter().zip(flips) {
        page[at] ^= flip;
    }
    page
}

const D_SENSE: [u8; 3] = [0x04, 0, 0];
const SWP: [u8; 3] = [0, 0x08, 0];

#[test]
fn a_change_is_in_force_at_once_and_the_others_are_told() {
    let mut bench = Bench::new();
    bench.attach(2);
    let changed = control(&mut bench, SWP);
    good(select(&mut bench, false, &changed));
    assert_eq!(page(&mut bench, 0, 0x0a), changed);
    let refused = sense(bench.run_out(&write_cdb(Form::Ten, 0, 1), &[1; 512]));
    assert_eq!((refused.key, refused.asc), (SenseKey::DataProtect, Asc::SOFTWARE_WRITE_PROTECTED));
    assert_eq!(good(bench.run(&[0x1a, 0, 0x08, 0, 4, 0]))[2] & 0x80, 0x80, "WP");
    assert_eq!(bench.take_attentions(1), []);
    assert_eq!(bench.take_attentions(2), [Asc::MODE_PARAMETERS_CHANGED]);
    good(select(&mut bench, false, &changed));
    assert_eq!(bench.take_attentions(2), [], "nothing changed");
}

#[test]
fn sense_data_follows_d_sense() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(&[0x28; 16]).sense_format, SenseFormat::Fixed);
    let changed = control(&mut bench, D_SENSE);
    good(select(&mut bench, false, &changed));
    assert_eq!(bench.run(&[0x28; 16]).sense_format, SenseFormat::Descriptor);
    let read = read_cdb(Form::Sixteen, BLOCKS, 1);
    assert_eq!(bench.run(&read).sense_format, SenseFormat::Descriptor);
}

#[test]
fn only_what_was_saved_survives_a_reset_and_a_restart() {
    let mut bench = Bench::new();
    let saved = control(&mut bench, D_SENSE);
    good(select(&mut bench, true, &saved));
    let [MediaOp::Save(kept)] = &bench.ops[..] else { panic!("{:?}", bench.ops) };
    let kept = (**kept).clone();
    let unsaved = control(&mut bench, SWP);
    good(select(&mut bench, false, &unsaved));
    assert_eq!(page(&mut bench, 3, 0x0a), saved, "saved values");
    assert_ne!(page(&mut bench, 0, 0x0a), saved, "current values");
    bench.unit.reset(Reset::LogicalUnit, NexusId(1));
    bench.take_attentions(1);
    assert_eq!(page(&mut bench, 0, 0x0a), saved);
    let mut restarted = Bench::with(|config| config.saved = Some(kept));
    assert_eq!(page(&mut restarted, 0, 0x0a), saved);
    assert_ne!(page(&mut restarted, 2, 0x0a), saved, "default values");
}

#[test]
fn a_save_that_fails_changes_nothing() {
    let mut bench = Bench::new();
    let before = page(&mut bench, 0, 0x0a);
    let list = [&[0, 0, 0, 0], control(&mut bench, SWP).as_slice()].concat();
    let (task, _) = bench.begin(&[0x15, 0x11, 0, 0, 16, 0], 16);
    let Step::Media(MediaOp::Save(_)) = bench.unit.data_out(task, vec![list.into()]) else { panic!() };
    let Step::Done(completion) = bench.unit.media_done(task, Err(MediaFailure::Save)) else { panic!() };
    assert_eq!(sense(completion).asc, Asc::INTERNAL_TARGET_FAILURE);
    assert_eq!(page(&mut bench, 0, 0x0a), before);
}

#[test]
fn a_save_that_landed_is_in_force_although_it_was_aborted_and_a_second_waits_for_it() {
    let mut bench = Bench::new();
    bench.attach(2);
    let changed = control(&mut bench, D_SENSE);
    let list = [&[0, 0, 0, 0], changed.as_slice()].concat();
    let (task, _) = bench.begin(&[0x15, 0x11, 0, 0, 16, 0], 16);
    let Step::Media(MediaOp::Save(_)) = bench.unit.data_out(task, vec![list.clone().into()]) else {
        panic!()
    };
    assert_eq!(bench.run_out(&[0x15, 0x11, 0, 0, 16, 0], &list).status, Status::Busy);
    let aborted = bench.unit.abort_task(NexusId(1), task);
    assert_eq!(aborted.draining.len(), 1);
    assert!(matches!(bench.unit.media_done(task, Ok(MediaReply::Done)), Step::Aborted));
    assert_eq!(page(&mut bench, 0, 0x0a), changed);
}

#[test]
fn what_cannot_be_changed_is_refused_with_a_pointer_and_nothing_changes() {
    let mut bench = Bench::new();
    let before: Vec<_> = [1, 8, 0x0a, 0x1c].map(|code| page(&mut bench, 0, code)).to_vec();
    let wrong = Sense::invalid_field_in_parameter_list;
    let mut queue = control(&mut bench, SWP);
    queue[3] = 0;
    let mut caching = page(&mut bench, 0, 8);
    caching[17] = 0x01;
    let mut short = control(&mut bench, SWP);
    short[1] = 9;
    let good_then_bad = [control(&mut bench, SWP), caching.clone()].concat();
    let cases: Vec<(Vec<u8>, Sense)> = vec![
        (queue, wrong(4 + 3, Some(7))),
        (caching, wrong(4 + 17, Some(0))),
        (short, wrong(4 + 1, None)),
        (good_then_bad, wrong(4 + 12 + 17, Some(0))),
        (vec![0x02, 0x0e, 0, 0], wrong(4, Some(5))),
        (vec![0x0a], illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        (vec![0x0a, 0x0a, 0, 0x10], illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)),
    ];
    for (list, expected) in cases {
        assert_eq!(sense(select(&mut bench, true, &list)), expected, "{list:02x?}");
    }
    let after: Vec<_> = [1, 8, 0x0a, 0x1c].map(|code| page(&mut bench, 0, code)).to_vec();
    assert_eq!((after, &bench.ops[..]), (before, &[][..]));
}

#[test]
fn headers_and_block_descriptors_are_checked() {
    let mut bench = Bench::new();
    let blocks = u32::try_from(BLOCKS).unwrap();
    let run = |bench: &mut Bench, list: &[u8]| {
        bench.run_out(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, u8::try_from(list.len()).unwrap(), 0], list)
    };
    for count in [0, blocks, u32::MAX] {
        let list = [&[0, 0, 0, 0, 0, 0, 0, 8], &count.to_be_bytes()[..], &[0, 0, 2, 0]].concat();
        good(run(&mut bench, &list));
    }
    let wrong_count = [0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 2, 0];
    assert_eq!(sense(run(&mut bench, &wrong_count)), Sense::invalid_field_in_parameter_list(8, None));
    let wrong_len = [0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 4, 0];
    assert_eq!(sense(run(&mut bench, &wrong_len)), Sense::invalid_field_in_parameter_list(13, None));
    let cut = illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(sense(run(&mut bench, &[0; 7])), cut, "shorter than its header");
    assert_eq!(sense(run(&mut bench, &[0, 0, 0, 0, 0, 0, 0, 8, 0])), cut);
    let vendor = sense(bench.run_out(&[0x15, 0, 0, 0, 4, 0], &[0; 4]));
    assert_eq!(vendor, Sense::invalid_field_in_cdb(1, Some(4)), "PF");
    good(bench.run(&[0x15, 0x10, 0, 0, 0, 0]));
}
