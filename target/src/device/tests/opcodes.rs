//! The table and the dispatcher agree, and everything that is not in the table is refused.

use lunkeep_common::scsi::opcode_table::{Operation, OperationInfo, ReservationRule, TABLE};

use super::*;

/// The plainest CDB of a command that is processed.
fn plain(info: &OperationInfo) -> Vec<u8> {
    let mut cdb = vec![0; info.usage.len()];
    cdb[0] = info.opcode;
    cdb[1] = info.service_action.unwrap_or(0);
    match info.operation {
        Operation::ModeSense6 | Operation::ModeSense10 => cdb[2] = 0x3f,
        Operation::StartStopUnit => cdb[4] = 1,
        Operation::LogSense => cdb[2] = 0x40,
        Operation::SanitizeOverwrite => cdb[8] = 5,
        Operation::WriteSame10 => cdb[8] = 1,
        Operation::WriteSame16 => cdb[13] = 1,
        _ => {}
    }
    cdb
}

/// Bytes that the plainest CDB moves to the target.
fn data(info: &OperationInfo) -> &'static [u8] {
    match info.operation {
        Operation::WriteSame10 | Operation::WriteSame16 => &[0x5a; 512],
        Operation::SanitizeOverwrite => &[1, 0, 0, 1, 0x77],
        // A length of zero in six bytes is 256 blocks.
        Operation::Write6 => &[0xa5; 256 * 512],
        _ => &[],
    }
}

#[test]
fn every_command_of_the_table_is_dispatched() {
    let mut bench = Bench::with(|config| config.removable = true);
    for info in TABLE {
        let completion = bench.run_out(&plain(info), data(info));
        match info.reservation {
            // Refused for what they say, not for what they are.
            ReservationRule::PersistentOut => {
                assert_eq!(sense(completion), illegal(Asc::PARAMETER_LIST_LENGTH_ERROR), "{info:?}");
            }
            _ if info.name.starts_with("RECEIVE")
                && info.operation != Operation::ReceiveCopyOperatingParameters =>
            {
                assert_eq!(
                    sense(completion),
                    Sense::invalid_field_in_cdb(2, None),
                    "{info:?}: nothing was copied"
                );
            }
            _ if info.name.starts_with("PRE-FETCH") => assert_eq!(completion.status, Status::ConditionMet),
            _ => drop(good(completion)),
        }
    }
}

#[test]
fn every_other_operation_code_is_refused() {
    let mut bench = Bench::new();
    for opcode in (0..=0xff).filter(|&code| TABLE.iter().all(|info| info.opcode != code)) {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        assert_eq!(sense(bench.run(&cdb)), illegal(Asc::INVALID_OPERATION_CODE), "{opcode:02x}h");
    }
}

#[test]
fn other_service_actions_of_a_known_operation_code_are_an_invalid_field() {
    let mut bench = Bench::new();
    for opcode in [0x48, 0x5e, 0x5f, 0x83, 0x84, 0x9e, 0xa3, 0xa4] {
        for action in 0..0x20 {
            let known = TABLE.iter().any(|i| (i.opcode, i.service_action) == (opcode, Some(action)));
            if !known {
                let mut cdb = [0; 16];
                (cdb[0], cdb[1]) = (opcode, action);
                assert_eq!(sense(bench.run(&cdb)), Sense::invalid_field_in_cdb(1, Some(4)));
            }
        }
    }
}

#[test]
fn protection_information_and_naca_are_refused_at_the_beginning_of_the_field() {
    let mut bench = Bench::new();
    let one = read_cdb(Form::Ten, 0, 1);
    for (byte, value, bit) in [(1, 0x20, 7), (1, 0xe0, 7), (9, 0x04, 2)] {
        let mut cdb = one;
        cdb[byte] |= value;
        let expected = Sense::invalid_field_in_cdb(byte.try_into().unwrap(), Some(bit));
        assert_eq!(sense(bench.run(&cdb)), expected);
    }
}

#[test]
fn a_cdb_that_is_cut_is_refused() {
    let mut bench = Bench::new();
    for cdb in [&[][..], &[0x28], &[0x28, 0, 0, 0, 0, 0, 0, 0, 1]] {
        let step = bench.unit.begin(Command {
            nexus: NexusId(1),
            task: TaskId(99),
            cdb,
            attribute: TaskAttribute::Simple,
            expected_in: 512,
            expected_out: 0,
            now_ms: NOW_MS,
            luns: &[],
        });
        let Step::Done(completion) = step else { panic!("{step:?}") };
        assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_CDB));
    }
}

#[test]
fn a_task_with_the_aca_attribute_is_refused() {
    let mut bench = Bench::new();
    let step = bench.unit.begin(Command {
        nexus: NexusId(1),
        task: TaskId(99),
        cdb: &[0; 16],
        attribute: TaskAttribute::Aca,
        expected_in: 0,
        expected_out: 0,
        now_ms: NOW_MS,
        luns: &[],
    });
    let Step::Done(completion) = step else { panic!("{step:?}") };
    assert_eq!(sense(completion), illegal(Asc::INVALID_MESSAGE));
}
