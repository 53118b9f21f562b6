//! What commands cost where many are registered, counted in comparisons and copies of nexuses: a command of the medium hardly notices,
//! and a change of reservations costs no more than in proportion.

use lunkeep_common::scsi::persistent::{BasicList, Key, OutAction, ReservationType};

use super::super::nexus::counts;
use super::*;
use crate::device::reservation::{Record, Registration, Reservation};

/// A unit with this many registrants, of which the first one holds; nexus 1 is one of them.
fn with_registrants(count: u16) -> Bench {
    let mut bench = Bench::with(|config| config.tasks = TaskLimits::default());
    let mut record = Record::default();
    let nth = |number: u16| {
        let mut nexus = nexus(1);
        nexus.initiator.isid.0[3..5].copy_from_slice(&number.to_be_bytes());
        nexus
    };
    for number in 0..count {
        let registration = Registration { key: Key(u64::from(number) + 1), all_target_ports: false };
        record.registrations.insert(nth(number), registration);
    }
    record.reservation = Some(Reservation::new(ReservationType::WriteExclusiveRegistrantsOnly, &nth(0)));
    let setup = ReservationSetup { force_persist: true, record, ..Default::default() };
    bench.unit = LogicalUnit::new(bench.unit.config().clone()).unwrap().with_reservations(setup);
    bench.attach(1);
    bench
}

fn out(bench: &mut Bench, action: OutAction, key: u64, other: u64) {
    let list = BasicList { key: Key(key), service_action_key: Key(other), ..Default::default() };
    let kind = ReservationType::WriteExclusiveRegistrantsOnly as u8;
    good(bench.run_out(&[0x5f, action as u8, kind, 0, 0, 0, 0, 0, 24, 0], &list.encode()));
}

/// Counts of each kind of command.
fn costs(count: u16) -> Vec<(&'static str, u64)> {
    type Work = fn(&mut Bench);
    let works: [(&'static str, Work); 9] = [
        ("WRITE", |bench| drop(good(bench.run_out(&write_cdb(Form::Ten, 0, 1)[..10], &[1; 512])))),
        ("READ", |bench| drop(good(bench.run(&read_cdb(Form::Ten, 0, 1)[..10])))),
        ("READ KEYS", |bench| drop(good(bench.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0])))),
        ("READ FULL STATUS", |bench| drop(good(bench.run(&[0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0])))),
        ("REGISTER AND IGNORE", |bench| out(bench, OutAction::RegisterAndIgnoreExistingKey, 0, 1)),
        ("RELEASE", |bench| out(bench, OutAction::Release, 1, 0)),
        ("PREEMPT", |bench| out(bench, OutAction::Preempt, 1, 2)),
        ("PREEMPT AND ABORT", |bench| out(bench, OutAction::PreemptAndAbort, 1, 3)),
        ("CLEAR", |bench| out(bench, OutAction::Clear, 1, 0)),
    ];
    works
        .into_iter()
        .map(|(name, work)| {
            let mut bench = with_registrants(count);
            (name, counts::of(|| work(&mut bench)))
        })
        .collect()
}

#[test]
fn a_command_of_the_medium_compares_a_logarithm_and_a_change_costs_in_proportion() {
    // Every kind of command at the least number that all need, and at far more than a cluster has.
    let (few, many) = (costs(16), costs(1024));
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        if matches!(name, "READ" | "WRITE") {
            // A search of the registrations for each look at the gate; a node of the tree has up to 11 of them.
            assert!(many <= few + 3 * 3 * 11, "{name}: {few} with 16, {many} with 1024");
        } else {
            // A search for each registration at most: were it one for each pair, this would be 64 times as many again.
            assert!(many <= few * (1024 / 16) * 3, "{name}: {few} with 16, {many} with 1024");
        }
    }
}
