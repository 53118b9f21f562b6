//! Seeded faults: our target, made wrong on the wire. Each must turn cases red that are green without it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lunkeep_tests::liar::{Liar, Lie, Twist};

use super::served::{Served, with_verdict};

fn nothing() -> Twist {
    Box::new(|_| {})
}

/// The cases `only` pass through a relay that does nothing, and the suite goes red with the lie, in a case whose name begins with `red`.
fn is_found_out(only: &[&str], red: &str, requests: Twist, responses: Twist) {
    let served = Served::ours();
    let arguments: Vec<&str> = only.iter().flat_map(|name| ["--only", name]).collect();
    let honest = Liar::to(served.portals[0], nothing(), nothing());
    let (outcome, report) = served.judge(honest.portal(), &arguments);
    assert_eq!(with_verdict(&report, "failed"), [""; 0], "the control");
    assert_eq!(outcome.code(), Some(0), "the control: {}", outcome.stderr);
    let liar = Liar::to(served.portals[0], requests, responses);
    let (outcome, report) = served.judge(liar.portal(), &arguments);
    let failed = with_verdict(&report, "failed");
    assert!(failed.iter().any(|case| case.starts_with(red)), "no case {red} among {failed:#?}");
    assert_eq!(outcome.code(), Some(8), "{}", outcome.stderr);
    served.assert_healthy();
}

/// A lie about responses to one operation code.
fn about(opcode: u8, mut lie: impl FnMut(&mut Lie, [u8; 16]) + Send + 'static) -> Twist {
    Box::new(move |pdu| {
        if let Some(cdb) = pdu.cdb.filter(|cdb| cdb[0] == opcode) {
            lie(pdu, cdb);
        }
    })
}

/// Data-In of PERSISTENT RESERVE IN with this service action.
fn parameter_data(action: u8, mut lie: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Twist {
    about(0x5e, move |pdu, cdb| {
        if pdu.opcode() == 0x25 && cdb[1] & 0x1f == action {
            lie(&mut pdu.data);
        }
    })
}

#[test]
fn a_conflict_that_is_answered_with_good_is_found() {
    let lie = about(0x35, |pdu, _| {
        if pdu.status() == Some(0x18) {
            pdu.set_status(0);
        }
    });
    is_found_out(
        &["matrix/SYNCHRONIZE CACHE(10)"],
        "matrix/SYNCHRONIZE CACHE(10)/type-1/stranger",
        nothing(),
        lie,
    );
}

#[test]
fn a_preemption_of_a_key_that_nobody_has_is_found_when_it_succeeds() {
    let lie = about(0x5f, |pdu, cdb| {
        if cdb[1] == 4 && pdu.status() == Some(0x18) {
            pdu.set_status(0);
        }
    });
    is_found_out(&["preempt/no-match", "preempt/loser"], "preempt/no-match", nothing(), lie);
}

#[test]
fn a_wrong_code_of_a_unit_attention_is_found() {
    let lie: Twist = Box::new(|pdu| {
        if pdu.code() == Some((0x2a, 5)) {
            pdu.data[15] = 3;
        }
    });
    is_found_out(&["preempt/holder"], "preempt/holder", nothing(), lie);
}

#[test]
fn an_invalid_release_that_is_answered_with_a_conflict_is_found() {
    let lie = about(0x5f, |pdu, _| {
        if pdu.code() == Some((0x26, 4)) {
            pdu.set_status(0x18);
        }
    });
    is_found_out(&["release/wrong-type"], "release/wrong-type/type-8", nothing(), lie);
}

#[test]
fn a_generation_that_stands_still_is_found() {
    let lie = parameter_data(0, |data| data.iter_mut().take(4).for_each(|byte| *byte = 0));
    is_found_out(&["generation"], "generation/register", nothing(), lie);
}

#[test]
fn keys_in_the_wrong_order_of_bytes_are_found() {
    let lie = parameter_data(3, |data| {
        if data.len() >= 16 {
            data[8..16].reverse();
        }
    });
    is_found_out(&["in/read-full-status", "register/new"], "in/read-full-status", nothing(), lie);
}

#[test]
fn an_additional_length_that_is_cut_with_the_data_is_found() {
    let lie = about(0x5e, |pdu, _| {
        if pdu.opcode() == 0x25 && pdu.data.len() >= 8 {
            let len = u32::try_from(pdu.data.len() - 8).unwrap();
            pdu.data[4..8].copy_from_slice(&len.to_be_bytes());
        }
    });
    is_found_out(&["in/cut-read-keys"], "in/cut-read-keys", nothing(), lie);
}

#[test]
fn a_key_of_a_reservation_that_all_registrants_hold_is_found() {
    let lie = parameter_data(1, |data| {
        if data.len() == 24 && matches!(data[21] & 0x0f, 7 | 8) {
            data[15] = 1;
        }
    });
    is_found_out(&["reserve/becomes-holder"], "reserve/becomes-holder/type-7", nothing(), lie);
}

#[test]
fn registrations_that_end_with_their_session_are_found() {
    // Every login of a port reaches the target with another ISID than the one before, and the answer has the right one again.
    let mut logins: HashMap<[u8; 6], u8> = HashMap::new();
    let names: Arc<Mutex<HashMap<[u8; 6], [u8; 6]>>> = Arc::default();
    let known = names.clone();
    let requests: Twist = Box::new(move |pdu| {
        if pdu.opcode() == 0x03 {
            let isid: [u8; 6] = pdu.header[8..14].try_into().unwrap();
            let first = pdu.data.windows(14).any(|window| window == b"InitiatorName=");
            let count = logins.entry(isid).or_default();
            *count += u8::from(first);
            pdu.header[9] ^= *count;
            known.lock().unwrap().insert(pdu.header[8..14].try_into().unwrap(), isid);
        }
    });
    let responses: Twist = Box::new(move |pdu| {
        if pdu.opcode() == 0x23
            && let Some(isid) = names.lock().unwrap().get(&pdu.header[8..14])
        {
            pdu.header[8..14].copy_from_slice(isid);
        }
    });
    is_found_out(&["session/logout"], "session/logout", requests, responses);
}

#[test]
fn an_aptpl_bit_that_is_ignored_is_found() {
    let lie: Twist = Box::new(|pdu| {
        if pdu.opcode() == 0x01 && pdu.cdb.is_some_and(|cdb| cdb[0] == 0x5f) && pdu.data.len() >= 24 {
            pdu.data[20] &= !1;
        }
    });
    is_found_out(&["aptpl/active"], "aptpl/active", lie, nothing());
}

#[test]
fn a_reservation_that_is_moved_without_its_registration_is_found() {
    // UNREG is set whatever the initiator asked for.
    let lie: Twist = Box::new(|pdu| {
        if pdu.opcode() == 0x01
            && pdu.cdb.is_some_and(|cdb| cdb[0] == 0x5f && cdb[1] == 7)
            && pdu.data.len() >= 24
        {
            pdu.data[17] |= 2;
        }
    });
    is_found_out(&["move/to-an-unregistered-port"], "move/to-an-unregistered-port", lie, nothing());
}

#[test]
fn a_preemption_that_removes_too_little_is_found() {
    // PREEMPT AND ABORT becomes REGISTER AND IGNORE EXISTING KEY of one's own key, which is answered with GOOD.
    let lie: Twist = Box::new(|pdu| {
        if pdu.opcode() == 0x01
            && pdu.cdb.is_some_and(|cdb| cdb[0] == 0x5f && cdb[1] == 5)
            && pdu.data.len() == 24
        {
            pdu.header[33] = 6;
            let own: [u8; 8] = pdu.data[..8].try_into().unwrap();
            pdu.data[8..16].copy_from_slice(&own);
        }
    });
    is_found_out(
        &["preempt-and-abort/registrant", "fence/preempt-and-abort-of-a-registrant/type-5"],
        "fence/preempt-and-abort-of-a-registrant/type-5",
        lie,
        nothing(),
    );
}

#[test]
fn a_target_that_does_not_answer_fails_in_bounded_time() {
    let served = Served::ours();
    // READ RESERVATION is never answered: it is changed into a NOP-Out that wants no answer.
    let lie: Twist = Box::new(|pdu| {
        if pdu.opcode() == 0x01 && pdu.cdb.is_some_and(|cdb| cdb[0] == 0x5e && cdb[1] == 1) {
            pdu.header[16..20].fill(0xff);
            pdu.header[0] = 0x40;
            pdu.header[1] = 0x80;
            pdu.header[20..24].fill(0xff);
        }
    });
    let liar = Liar::to(served.portals[0], lie, nothing());
    let (outcome, report) = served.judge(liar.portal(), &["--only", "register/new", "--timeout", "1"]);
    assert_eq!(with_verdict(&report, "failed").len(), 1, "{outcome}");
    assert_eq!(outcome.code(), Some(8), "{outcome}");
}
