//! A process that does not serve the unit: what it answers all the same, and that nothing of the rest reaches the medium.

use lunkeep_common::scsi::opcode_table::TABLE;

use super::*;

/// Names of the commands that do not end as those of the medium do.
fn passed(access: AccessState, asc: Asc) -> Vec<&'static str> {
    let mut bench = Bench::with(|config| config.removable = true);
    bench.unit.set_access(access);
    let mut passed = Vec::new();
    for info in TABLE {
        let mut cdb = vec![0; info.usage.len()];
        (cdb[0], cdb[1]) = (info.opcode, info.service_action.unwrap_or(0));
        if bench.run(&cdb).sense != Some(Sense::new(SenseKey::NotReady, asc)) {
            passed.push(info.name);
        }
    }
    assert_eq!(bench.ops, []);
    passed
}

#[test]
fn in_standby_reservations_and_what_tells_of_the_unit_are_processed() {
    let found = passed(AccessState::Standby, Asc::TARGET_PORT_IN_STANDBY_STATE);
    let other: Vec<_> =
        found.iter().filter(|name| !name.starts_with("PERSISTENT RESERVE")).copied().collect();
    assert_eq!(found.len() - other.len(), 13, "4 service actions of IN, 9 of OUT: {found:?}");
    assert_eq!(
        other,
        [
            "REQUEST SENSE",
            "INQUIRY",
            "MODE SENSE(6)",
            "LOG SENSE",
            "MODE SENSE(10)",
            "REPORT LUNS",
            "REPORT TARGET PORT GROUPS",
            "REPORT SUPPORTED OPERATION CODES",
            "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
            "SET TARGET PORT GROUPS",
        ]
    );
}

#[test]
fn unavailable_it_tells_that_and_no_more() {
    let found = passed(AccessState::Unavailable, Asc::TARGET_PORT_IN_UNAVAILABLE_STATE);
    assert_eq!(
        found,
        ["REQUEST SENSE", "INQUIRY", "REPORT LUNS", "REPORT TARGET PORT GROUPS", "SET TARGET PORT GROUPS",]
    );
}

#[test]
fn a_write_whose_data_comes_after_the_loss_reaches_no_medium() {
    let mut bench = Bench::new();
    let (task, step) = bench.begin(&write_cdb(Form::Ten, 0, 1)[..10], 512);
    assert!(matches!(step, Step::DataOut(512)));
    bench.unit.set_access(AccessState::Standby);
    let Step::Done(done) = bench.unit.data_out(task, vec![Bytes::from_static(&[1; 512])]) else { panic!() };
    assert_eq!(sense(done), Sense::new(SenseKey::NotReady, Asc::TARGET_PORT_IN_STANDBY_STATE));
    assert_eq!(bench.unit.task_count(), 0);
}

#[test]
fn an_operation_that_was_not_begun_says_why() {
    let mut bench = Bench::new();
    for (access, asc) in [
        (AccessState::Standby, Asc::TARGET_PORT_IN_STANDBY_STATE),
        (AccessState::Unavailable, Asc::TARGET_PORT_IN_UNAVAILABLE_STATE),
        (AccessState::Active, Asc::NOT_READY_CAUSE_NOT_REPORTABLE),
    ] {
        let (task, step) = bench.begin(&read_cdb(Form::Ten, 0, 1)[..10], 0);
        assert!(matches!(step, Step::Media(_)));
        let step = bench.unit.media_done(task, Err(MediaFailure::NotServed(access)));
        let Step::Done(done) = step else { panic!("{step:?}") };
        assert_eq!(sense(done), Sense::new(SenseKey::NotReady, asc));
    }
}

#[test]
fn no_erasure_begins_where_the_unit_is_not_served() {
    let mut bench = Bench::new();
    bench.unit.set_access(AccessState::Standby);
    let done = bench.run(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sense(done), Sense::new(SenseKey::NotReady, Asc::TARGET_PORT_IN_STANDBY_STATE));
}
