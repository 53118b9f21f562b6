//! Reservations over real sockets: fences against a medium that stalls, and records through kills and damage.

/// The model that the target's own tests judge by.
#[allow(dead_code, reason = "the target's tests read more of it")]
#[path = "../../target/src/device/reservation/tests/history.rs"]
mod history;
#[allow(dead_code, reason = "the target's tests read more of it")]
#[path = "../../target/src/device/reservation/tests/rules.rs"]
mod rules;

#[path = "reservations/audit.rs"]
mod audit;
#[path = "reservations/bench.rs"]
mod bench;
#[path = "reservations/copy.rs"]
mod copy;
#[path = "reservations/costs.rs"]
mod costs;
#[path = "reservations/fence.rs"]
mod fence;
#[path = "reservations/gateways.rs"]
mod gateways;
#[path = "reservations/interrupted.rs"]
mod interrupted;
#[path = "reservations/kill_workload.rs"]
mod kill_workload;
#[path = "reservations/kills.rs"]
mod kills;
#[path = "reservations/scenarios.rs"]
mod scenarios;
#[path = "reservations/shared.rs"]
mod shared;

use lunkeep_tests::wire::{Answer, Peer};

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const CONFLICT: u8 = 0x18;

/// PERSISTENT RESERVE OUT with the basic list.
fn persistent_out(
    peer: &mut Peer,
    lun: u8,
    action: u8,
    kind: u8,
    key: u64,
    service_action_key: u64,
) -> Answer {
    let (cdb, list) = basic(action, kind, key, service_action_key);
    peer.command_out(lun, &cdb, &list)
}

fn basic(action: u8, kind: u8, key: u64, service_action_key: u64) -> ([u8; 10], Vec<u8>) {
    let mut list = [key.to_be_bytes(), service_action_key.to_be_bytes()].concat();
    list.resize(24, 0);
    ([0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], list)
}

/// PERSISTENT RESERVE IN.
fn persistent_in(peer: &mut Peer, lun: u8, action: u8) -> Answer {
    peer.command_in(lun, &[0x5e, action, 0, 0, 0, 0, 0, 0x10, 0, 0], 4096)
}

/// The registrants of READ FULL STATUS: relative target port, key, whether it holds the reservation, whether for all target ports, name
/// of the initiator port. In ascending order.
fn full_status(peer: &mut Peer, lun: u8) -> Vec<(u16, u64, bool, bool, String)> {
    let answer = persistent_in(peer, lun, 3);
    assert_eq!(answer.status, GOOD, "{answer:?}");
    let (mut rest, mut found) = (&answer.data[8..], Vec::new());
    while !rest.is_empty() {
        let length = 24 + u32::from_be_bytes(rest[20..24].try_into().unwrap()) as usize;
        let name = rest[28..length].split(|&byte| byte == 0).next().unwrap();
        found.push((
            u16::from_be_bytes([rest[18], rest[19]]),
            u64::from_be_bytes(rest[..8].try_into().unwrap()),
            rest[12] & 1 != 0,
            rest[12] & 2 != 0,
            String::from_utf8(name.to_vec()).unwrap(),
        ));
        rest = &rest[length..];
    }
    found.sort();
    found
}

/// Keys in ascending order.
fn keys(peer: &mut Peer, lun: u8) -> Vec<u64> {
    let answer = persistent_in(peer, lun, 0);
    assert_eq!(answer.status, GOOD, "{answer:?}");
    let mut keys: Vec<u64> =
        answer.data[8..].chunks_exact(8).map(|key| u64::from_be_bytes(key.try_into().unwrap())).collect();
    keys.sort_unstable();
    keys
}

/// Type and key of the reservation.
fn held(peer: &mut Peer, lun: u8) -> Option<(u8, u64)> {
    let answer = persistent_in(peer, lun, 1);
    assert_eq!(answer.status, GOOD, "{answer:?}");
    let key = answer.data.get(8..16)?.try_into().ok()?;
    Some((answer.data[21], u64::from_be_bytes(key)))
}
