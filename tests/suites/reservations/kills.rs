//! The record through `kill -9` at random points of a workload, and through damage.

use std::time::Duration;

use lunkeep_tests::random::Random;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::{programs, report};

use super::*;

fn serve(folder: &Folder) -> Target {
    Target::serve(programs!(), ["--disk", &format!("{},size=16M", folder.name("disk.img"))])
}

fn login(target: &Target, isid: u16) -> Peer {
    let mut peer = Peer::login(target.portal(), &target.iqn(), isid);
    assert!(peer.is_ready(0));
    peer
}

/// Registers with one key after another until the target is killed. Each restart must find the key of the last answered
/// command, or of the one that was under way.
#[test]
fn whatever_was_answered_before_a_kill_is_found_after_it() {
    let rounds = if report::full() { 1000 } else { 8 };
    let seed = lunkeep_tests::random::seed("whatever_was_answered_before_a_kill_is_found_after_it");
    let mut random = Random::new(seed);
    let folder = Folder::new();
    let (mut answered, mut tried) = (0, 0);
    for round in 0..rounds {
        let target = serve(&folder);
        let mut peer = login(&target, 1);
        let found = keys(&mut peer, 0).first().copied().unwrap_or(0);
        assert!(
            found == answered || found == tried,
            "round {round}: {found}, answered {answered}, tried {tried}"
        );
        let delay = Duration::from_micros(random.below(20_000));
        answered = found;
        let killer = std::thread::spawn(move || {
            std::thread::sleep(delay);
            target.kill();
        });
        loop {
            tried = answered + 1;
            let (cdb, list) = basic(6, 0, 0, tried);
            let frame = peer.command_frame(0, &cdb, 0xa1, 24).data(list);
            peer.send(&frame);
            match peer.receive() {
                Some(frame) if frame.bhs[3] == GOOD => {
                    peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
                    answered = tried;
                }
                Some(frame) => panic!("{frame:02x?}"),
                None => break,
            }
        }
        killer.join().unwrap();
    }
    assert!(answered > 0, "no command was ever answered");
}

#[test]
fn a_damaged_record_closes_the_medium_until_it_is_replaced() {
    let folder = Folder::new();
    let target = serve(&folder);
    let mut one = login(&target, 1);
    assert_eq!(persistent_out(&mut one, 0, 0, 0, 0, 1).status, GOOD);
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    target.kill();
    let path = folder.file("disk.img.lunkeep/reservations.json");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 8;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let target = serve(&folder);
    target.wait_for_log("the reservations of a LUN are lost");
    let (mut one, mut two) = (login(&target, 1), login(&target, 2));
    let lost = Some((7, 0x44, 1));
    assert_eq!(one.write_blocks(0, 0, &[1; 512], 512).sense_code(), lost);
    assert_eq!(two.read_blocks(0, 0, 1, 512).sense_code(), lost);
    assert_eq!(persistent_in(&mut one, 0, 1).sense_code(), lost);
    assert_eq!(persistent_out(&mut two, 0, 8, 3, 0, 7).status, GOOD);
    assert_eq!((held(&mut two, 0), keys(&mut two, 0)), (Some((3, 7)), vec![7]));
    assert_eq!(one.write_blocks(0, 0, &[1; 512], 512).status, CONFLICT);
    assert_eq!(two.write_blocks(0, 0, &[1; 512], 512).status, GOOD);
    target.stop();
    let trail = std::fs::read_to_string(folder.file("disk.img.lunkeep/reservations.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(trail.lines().last().unwrap()).unwrap();
    assert_eq!((&last["action"], &last["outcome"]), (&"REPLACE LOST RESERVATION".into(), &"done".into()));
}

#[test]
fn every_change_is_written_down_beside_the_record() {
    let folder = Folder::new();
    let target = serve(&folder);
    let (mut one, mut two) = (login(&target, 1), login(&target, 2));
    assert_eq!(persistent_out(&mut one, 0, 0, 0, 0, 1).status, GOOD);
    assert_eq!(persistent_out(&mut two, 0, 0, 0, 0, 2).status, GOOD);
    assert_eq!(persistent_out(&mut one, 0, 1, 5, 1, 0).status, GOOD);
    assert_eq!(persistent_out(&mut two, 0, 5, 5, 2, 1).status, GOOD);
    target.stop();
    let text = std::fs::read_to_string(folder.file("disk.img.lunkeep/reservations.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["REGISTER", "REGISTER", "RESERVE", "PREEMPT AND ABORT"]);
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["isid"], &last["removed"][0]["isid"]),
        (&"0x800000000002".into(), &"0x800000000001".into())
    );
    assert_eq!((&last["generation"], &last["reservation_type"]), (&3.into(), &5.into()));
}
