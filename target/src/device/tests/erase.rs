//! SANITIZE and FORMAT UNIT: what is processed meanwhile, how they end, and what they refuse.

use super::*;

const BLOCK_ERASE: [u8; 10] = [0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 0xff, 0];
const EXIT: [u8; 10] = [0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0];

fn begin(bench: &mut Bench, cdb: &[u8]) -> (TaskId, Erase) {
    match bench.begin(cdb, 0) {
        (task, Step::Erase(erase)) => (task, *erase),
        (_, step) => panic!("{step:?}"),
    }
}

fn sense_of(completion: Completion) -> Sense {
    super::sense(completion)
}

#[test]
fn while_it_runs_only_what_looks_at_no_medium_is_processed_and_progress_is_told() {
    use lunkeep_common::scsi::opcode_table::TABLE;
    let cases: [(&[u8], Asc); 2] =
        [(&BLOCK_ERASE, Asc::SANITIZE_IN_PROGRESS), (&[0x04, 0, 0, 0, 0, 0], Asc::FORMAT_IN_PROGRESS)];
    for (cdb, asc) in cases {
        let mut bench = Bench::with(|config| config.removable = true);
        let (task, erase) = begin(&mut bench, cdb);
        assert_eq!(bench.unit.erase_begun(), None, "IMMED is zero");
        erase.progress.set(1, 4);
        let busy = Sense::new(SenseKey::NotReady, asc).with_progress(0x4000);
        let mut passed = Vec::new();
        for info in TABLE {
            let mut cdb = vec![0; info.usage.len()];
            (cdb[0], cdb[1]) = (info.opcode, info.service_action.unwrap_or(0));
            match bench.run(&cdb).sense {
                Some(sense) if sense == busy => {
                    // Nor does it matter what else is wrong with it.
                    *cdb.last_mut().unwrap() |= 0x04;
                    assert_eq!(sense_of(bench.run(&cdb)), busy, "{info:?} with NACA");
                }
                _ => passed.push(info.name),
            }
        }
        let expected = [
            "REQUEST SENSE",
            "INQUIRY",
            "MODE SENSE(6)",
            "READ CAPACITY(10)",
            "LOG SENSE",
            "MODE SENSE(10)",
            "READ CAPACITY(16)",
            "REPORT LUNS",
            "REPORT SUPPORTED OPERATION CODES",
            "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        ];
        assert_eq!(passed, expected);
        assert_eq!(Sense::decode(&good(bench.run(&REQUEST_SENSE))), Some(busy));
        assert_eq!(bench.unit.erase_done(Ok(())), Some((task, Completion::good())));
        good(bench.run(&[0; 6]));
        assert_eq!(bench.ops, []);
    }
}

#[test]
fn a_change_of_reservations_whose_list_comes_while_it_runs_changes_nothing() {
    let mut bench = Bench::new();
    let (register, step) = bench.begin(&[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24);
    assert!(matches!(step, Step::DataOut(24)));
    let (task, _) = begin(&mut bench, &BLOCK_ERASE);
    let mut list = vec![0; 24];
    list[15] = 1;
    let Step::Done(refused) = bench.unit.data_out(register, vec![list.clone().into()]) else { panic!() };
    assert_eq!(sense(refused).asc, Asc::SANITIZE_IN_PROGRESS);
    assert_eq!(*bench.unit.reservation_record(), reservation::Record::default());
    assert_eq!(bench.unit.erase_done(Ok(())), Some((task, Completion::good())));
    good(bench.run_out(&[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list));
}

#[test]
fn with_immed_it_is_answered_when_its_beginning_is_durable() {
    let mut bench = Bench::new();
    let mut cdb = BLOCK_ERASE;
    cdb[1] |= 0x80;
    let (task, _) = begin(&mut bench, &cdb);
    assert_eq!(bench.unit.erase_begun(), Some((task, Completion::good())));
    assert_eq!(sense(bench.run(&[0; 6])).asc, Asc::SANITIZE_IN_PROGRESS);
    assert_eq!(bench.unit.erase_done(Ok(())), None);
    good(bench.run(&[0; 6]));
}

#[test]
fn no_task_management_function_ends_it() {
    let mut bench = Bench::new();
    let (task, erase) = begin(&mut bench, &BLOCK_ERASE);
    let aborted = bench.unit.abort_task(NexusId(1), task);
    assert_eq!((aborted.gone.len(), aborted.draining.len()), (1, 0), "the task ends, nobody waits");
    bench.unit.reset(Reset::TargetCold, NexusId(1));
    bench.take_attentions(1);
    assert!(!erase.progress.is_stopped());
    assert_eq!(sense(bench.run(&[0; 6])).asc, Asc::SANITIZE_IN_PROGRESS);
    assert_eq!(bench.unit.erase_done(Ok(())), None);
    good(bench.run(&[0; 6]));
}

#[test]
fn a_failure_shuts_the_medium_until_an_erasure_succeeds() {
    let mut bench = Bench::new();
    let (task, _) = begin(&mut bench, &BLOCK_ERASE);
    let (answered, completion) = bench.unit.erase_done(Err(MediaFailure::Write)).unwrap();
    let failed = Sense::new(SenseKey::MediumError, Asc::SANITIZE_FAILED);
    assert_eq!((answered, sense(completion)), (task, failed.clone()));
    assert_eq!(sense(bench.run(&read_cdb(Form::Ten, 0, 1))), failed);
    assert_eq!(sense(bench.run(&[0; 6])), failed);
    assert_eq!(sense(bench.run(&EXIT)), Sense::invalid_field_in_cdb(1, Some(4)), "AUSE was zero");
    good(bench.run(&BLOCK_ERASE));
    good(bench.run(&read_cdb(Form::Ten, 0, 1)));
}

#[test]
fn an_unrestricted_failure_can_be_left_and_that_is_made_durable() {
    let mut bench = Bench::new();
    good(bench.run(&EXIT));
    let mut cdb = BLOCK_ERASE;
    cdb[1] |= 0x20;
    begin(&mut bench, &cdb);
    bench.unit.erase_done(Err(MediaFailure::NoSpace));
    good(bench.run(&EXIT));
    assert!(matches!(&bench.ops[..], [MediaOp::Save(saved)] if saved.erasing.is_none()));
    good(bench.run(&read_cdb(Form::Ten, 0, 1)));
}

#[test]
fn one_that_was_cut_off_by_a_restart_has_failed() {
    let mut bench = Bench::new();
    let (_, erase) = begin(&mut bench, &BLOCK_ERASE);
    let mut restarted = Bench::with(|config| config.saved = Some(erase.before.clone()));
    assert_eq!(sense(restarted.run(&read_cdb(Form::Ten, 0, 1))).asc, Asc::SANITIZE_FAILED);
    let mut over = Bench::with(|config| config.saved = Some(erase.after.clone()));
    good(over.run(&read_cdb(Form::Ten, 0, 1)));
}

#[test]
fn write_protection_keeps_it_out() {
    let mut bench = Bench::with(|config| config.medium.read_only = true);
    for cdb in [&BLOCK_ERASE[..], &[0x04, 0, 0, 0, 0, 0]] {
        assert_eq!(sense(bench.run(cdb)).asc, Asc::WRITE_PROTECTED);
    }
}

#[test]
fn overwrite_repeats_its_pattern_in_every_block_and_inverts_every_second_pass() {
    for (flags, expected) in [(0x01, [1, 2, 3, 1]), (0x82, [0xfe, 0xfd, 0xfc, 0xfe]), (0x83, [1, 2, 3, 1])] {
        let mut bench = Bench::new();
        good(bench.run_out(&[0x48, 1, 0, 0, 0, 0, 0, 0, 7, 0], &[flags, 0, 0, 3, 1, 2, 3]));
        assert_eq!(bench.medium[..4], expected, "{flags:02x}h");
        assert_eq!(bench.medium[512..516], expected, "every block begins anew");
    }
}

#[test]
fn parameter_lists_that_say_something_else_are_refused() {
    let mut bench = Bench::new();
    let length = |len: u16| {
        let [high, low] = len.to_be_bytes();
        [0x48, 1, 0, 0, 0, 0, 0, high, low, 0]
    };
    for len in [0, 1, 4, 517] {
        assert_eq!(sense(bench.run(&length(len))), Sense::invalid_field_in_cdb(7, None), "{len}");
    }
    let wrong = Sense::invalid_field_in_parameter_list;
    let lists: [(&[u8], Sense); 6] = [
        (&[0x00, 0, 0, 1, 9], wrong(0, Some(4))),
        (&[0x21, 0, 0, 1, 9], wrong(0, Some(6))),
        (&[0x01, 0, 0, 0, 9], wrong(2, None)),
        (&[0x01, 0, 2, 1, 9], wrong(2, None)),
        (&[0x01, 0, 0, 2, 9], wrong(2, None)),
        (&[0x01, 0, 0, 1, 9, 9], wrong(2, None)),
    ];
    for (list, expected) in lists {
        let cdb = length(list.len().try_into().unwrap());
        assert_eq!(sense(bench.run_out(&cdb, list)), expected, "{list:02x?}");
    }
    assert_eq!(
        sense(bench.run_out(&length(6), &[1, 0, 0, 1, 9])),
        illegal(Asc::PARAMETER_LIST_LENGTH_ERROR),
        "cut"
    );
    let format = |long: bool| [0x04, 0x10 | u8::from(long) << 5, 0, 0, 0, 0];
    let headers: [(bool, &[u8], Sense); 8] = [
        (false, &[0x01, 0, 0, 0], wrong(0, Some(2))),
        (false, &[0, 0x20, 0, 0], wrong(1, Some(5))),
        (false, &[0, 0x88, 0, 0], wrong(1, Some(3))),
        (false, &[0, 0, 0, 8], wrong(2, None)),
        (false, &[0, 0, 0], illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        (true, &[0, 0, 0, 1, 0, 0, 0, 0], wrong(3, None)),
        (true, &[0, 0, 0, 0, 0, 0, 0, 1], wrong(4, None)),
        (true, &[0, 0, 0, 0], illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)),
    ];
    for (long, list, expected) in headers {
        assert_eq!(sense(bench.run_out(&format(long), list)), expected, "{list:02x?}");
    }
    assert_eq!(sense(bench.run(&[0x04, 0x20, 0, 0, 0, 0])), Sense::invalid_field_in_cdb(1, Some(5)));
    good(bench.run_out(&format(true), &[0, 0xa0, 0, 0, 0, 0, 0, 0]));
    good(bench.run_out(&format(false), &[0, 0, 0, 0]));
}
