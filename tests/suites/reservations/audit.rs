//! Every kind of change, and every kind of failure, is a line of the audit trail that a program can follow.

use std::sync::Arc;
use std::time::Duration;

use lunkeep_target::engine::config::{ReservationConfig, Settings};
use lunkeep_target::store::{AuditTrail, FileState, Naa};
use lunkeep_tests::wire::{Frame, INITIATOR, opcode};
use serde_json::Value;

use super::bench::{Bench, Setup};
use super::fence::{assert_unanswered, begin_basic, begin_out, begin_write, response};
use super::*;

/// A bench whose LUN 0 has an audit trail in a folder of its own.
fn audited(drain_timeout: Duration) -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileState::new(folder.path().join("record/reservations.json"), Naa::from_random([9; 8]));
    std::fs::create_dir(folder.path().join("record")).unwrap();
    let audit = AuditTrail::in_folder(folder.path());
    let reservations = ReservationConfig {
        store: Arc::new(store),
        audit: Some(Arc::new(audit)),
        ..ReservationConfig::in_memory()
    };
    let settings = Settings { drain_timeout, ..Settings::default() };
    (Bench::of(Setup { settings, reservations: Some(reservations), ..Setup::default() }), folder)
}

fn lines(folder: &tempfile::TempDir) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path().join("reservations.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Action, outcome and generation of each line.
fn told(folder: &tempfile::TempDir) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let line =
        |line: Value| (text(&line["action"]), text(&line["outcome"]), line["generation"].as_u64().unwrap());
    lines(folder).into_iter().map(line).collect()
}

#[test]
fn each_service_action_that_changes_something_is_told_with_its_generation() {
    let (bench, folder) = audited(Duration::from_secs(10));
    bench.disks[0].open();
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    let good = |peer: &mut Peer, action, kind, key, other| {
        // A unit attention may come first.
        let mut answers = (0..3).map(|_| persistent_out(peer, 0, action, kind, key, other).status);
        let status = answers.find(|&status| status != CHECK_CONDITION);
        assert_eq!(status, Some(GOOD), "{action}");
    };
    begin_out(&mut one, &[0x16, 0, 0, 0, 0, 0], &[]);
    assert_eq!(response(&mut one).bhs[3], GOOD);
    assert_eq!(one.command_in(0, &[0x17, 0, 0, 0, 0, 0], 0).status, GOOD);
    good(&mut one, 0, 0, 0, 1);
    good(&mut two, 6, 0, 0, 2);
    good(&mut one, 1, 1, 1, 0);
    // What changes nothing is not told.
    good(&mut one, 1, 1, 1, 0);
    assert_eq!(persistent_out(&mut two, 0, 1, 1, 2, 0).status, CONFLICT);
    good(&mut one, 2, 1, 1, 0);
    good(&mut one, 1, 5, 1, 0);
    good(&mut two, 4, 5, 2, 1);
    let mut id = format!("{INITIATOR},i,0x800000000001").into_bytes();
    id.resize((id.len() + 1).next_multiple_of(4), 0);
    let mut list = [2u64.to_be_bytes(), 3u64.to_be_bytes()].concat();
    list.extend([0, 0, 0, 1]);
    list.extend(u32::try_from(id.len() + 4).unwrap().to_be_bytes());
    list.extend([0x45, 0]);
    list.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
    list.extend(id);
    let cdb = [0x5f, 7, 0, 0, 0, 0, 0, 0, u8::try_from(list.len()).unwrap(), 0];
    assert_eq!(two.command_out(0, &cdb, &list).status, GOOD);
    good(&mut two, 5, 5, 2, 3);
    good(&mut two, 3, 0, 2, 0);
    let expected = [
        ("RESERVE of SPC-2", 0),
        ("REGISTER", 1),
        ("REGISTER AND IGNORE EXISTING KEY", 2),
        ("RESERVE", 2),
        ("RELEASE", 2),
        ("RESERVE", 2),
        ("PREEMPT", 3),
        ("REGISTER AND MOVE", 4),
        ("PREEMPT AND ABORT", 5),
        ("CLEAR", 6),
    ];
    let expected = expected.map(|(action, generation)| (action.to_owned(), "done".to_owned(), generation));
    assert_eq!(told(&folder), expected);
    let preempt = &lines(&folder)[6];
    assert_eq!(preempt["initiator"], INITIATOR);
    assert_eq!((&preempt["isid"], &preempt["key"]), (&"0x800000000002".into(), &"0x0000000000000002".into()));
    assert_eq!(preempt["removed"][0]["isid"], "0x800000000001", "{preempt}");
    assert_eq!(preempt["removed"][0]["key"], "0x0000000000000001", "{preempt}");
    assert_eq!((&preempt["reservation_type"], &preempt["registrations"]), (&5.into(), &1.into()));
}

#[test]
fn a_fence_that_fails_or_is_given_up_is_told_with_the_reason() {
    let (bench, folder) = audited(Duration::from_millis(200));
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 1, 2, 1);
    assert_eq!(response(&mut two).bhs[3], CHECK_CONDITION);
    let last = told(&folder).pop().unwrap();
    assert_eq!(
        (last.0.as_str(), last.1.as_str()),
        ("PREEMPT", "failed: operations on the medium took too long")
    );

    let (bench, folder) = audited(Duration::from_secs(30));
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 1, 2, 1);
    assert_unanswered(&bench, &mut two);
    let abort = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x82)
        .word(16, 0x7777)
        .word(20, u32::MAX)
        .word(24, two.cmd_sn)
        .word(28, two.exp_stat_sn);
    two.send(&abort);
    assert_eq!(two.expect(opcode::TASK_MANAGEMENT_RESPONSE).bhs[2], 0);
    bench.disks[0].open();
    drop(bench);
    let last = told(&folder).pop().unwrap();
    assert_eq!(last.1, "failed: the command was aborted, or another came before it");

    let (bench, folder) = audited(Duration::from_secs(30));
    bench.disks[0].open();
    let (mut one, _two) = bench.registered();
    std::fs::remove_dir_all(folder.path().join("record")).unwrap();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, CHECK_CONDITION);
    let last = told(&folder).pop().unwrap();
    assert_eq!((last.0.as_str(), last.1.as_str()), ("RESERVE", "failed: the record could not be kept"));
}
