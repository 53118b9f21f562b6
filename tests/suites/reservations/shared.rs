//! One logical unit that two targets export, each through two portal groups: reservations, fences and unit attentions are one.
//!
//! The second target has the units in turned order, so what is LUN 0 of the first is LUN 1 of the second.

use lunkeep_tests::programs;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::wire::{Frame, INITIATOR, opcode};

use super::bench::{BLOCK, Bench, OTHER, Setup, TARGET};
use super::fence::{assert_waits, begin_basic, begin_out, begin_write, response};
use super::*;

/// The numbers of the four ports: the portal group where it was free, and the lowest that was free where not.
const PORTS: [u16; 4] = [1, 7, 2, 3];

/// A bench and the same initiator port logged in through all four target ports, in the order of [`PORTS`].
fn four() -> (Bench, [Peer; 4]) {
    let bench = Bench::of(Setup { targets: &[TARGET, OTHER], groups: &[1, 7], ..Setup::default() });
    let peers = [(TARGET, 0), (TARGET, 1), (OTHER, 0), (OTHER, 1)].map(|(target, portal)| {
        let mut peer = Peer::login(bench.portals[portal], target, 1);
        assert!(peer.is_ready(0) && peer.is_ready(1));
        peer
    });
    (bench, peers)
}

fn port_name(isid: u16) -> String {
    format!("{INITIATOR},i,0x80000000{isid:04x}")
}

/// REGISTER with flags: ALL_TG_PT is 4, APTPL is 1.
fn register(peer: &mut Peer, lun: u8, key: u64, flags: u8) -> Answer {
    let (cdb, mut list) = basic(0, 0, 0, key);
    list[20] = flags;
    peer.command_out(lun, &cdb, &list)
}

#[test]
fn all_target_ports_are_those_of_every_target_and_each_has_a_number_of_its_own() {
    let (bench, [mut a, mut b, mut c, mut d]) = four();
    bench.disks[0].open();
    assert_eq!(register(&mut a, 0, 5, 4).status, GOOD);
    let mut expected: Vec<_> = PORTS.iter().map(|&port| (port, 5, false, true, port_name(1))).collect();
    expected.sort();
    for (peer, lun) in [(&mut a, 0), (&mut b, 0), (&mut c, 1), (&mut d, 1)] {
        assert_eq!(full_status(peer, lun), expected);
    }
    assert_eq!(keys(&mut c, 0), Vec::<u64>::new(), "the other unit is another unit");
    assert_eq!(persistent_out(&mut d, 1, 1, 5, 5, 0).status, GOOD);
    assert_eq!(held(&mut a, 0), Some((5, 5)));
    for (peer, lun) in [(&mut a, 0), (&mut b, 0), (&mut c, 1), (&mut d, 1)] {
        assert_eq!(peer.write_blocks(lun, 0, &[1; BLOCK], BLOCK).status, GOOD);
    }
    let mut stranger = Peer::login(bench.portals[1], OTHER, 2);
    assert!(stranger.is_ready(1));
    assert_eq!(stranger.write_blocks(1, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
    // One generation for one command, and one unregistration through one port.
    assert_eq!(persistent_out(&mut b, 0, 0, 0, 5, 0).status, GOOD);
    assert_eq!(full_status(&mut c, 1).iter().map(|found| found.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(persistent_in(&mut c, 1, 0).data[..4], 2u32.to_be_bytes());
}

#[test]
fn additional_length_of_read_keys_is_not_cut_with_the_data() {
    let (_bench, [mut a, ..]) = four();
    assert_eq!(register(&mut a, 0, 5, 4).status, GOOD);
    let cut = a.command_in(0, &[0x5e, 0, 0, 0, 0, 0, 0, 0, 16, 0], 16).data;
    assert_eq!((cut.len(), &cut[4..8]), (16, &[0, 0, 0, 32][..]));
}

#[test]
fn each_path_says_which_port_it_is() {
    let (_bench, peers) = four();
    for (mut peer, (port, lun)) in peers.into_iter().zip(PORTS.into_iter().zip([0, 0, 1, 1])) {
        let page = peer.command_in(lun, &[0x12, 1, 0x83, 0, 255, 0], 255).data;
        // Relative target port identifier: binary, of the target port, type 4.
        let at = page.windows(4).position(|header| header[1] & 0x3f == 0x14 && header[3] == 4).unwrap();
        assert_eq!(page[at + 6..at + 8], port.to_be_bytes(), "{page:02x?}");
    }
}

#[test]
fn a_reservation_moves_to_a_port_of_the_other_target() {
    let (bench, [mut a, _, mut c, mut d]) = four();
    bench.disks[0].open();
    assert_eq!(register(&mut a, 0, 5, 0).status, GOOD);
    assert_eq!(persistent_out(&mut a, 0, 1, 1, 5, 0).status, GOOD);
    let mut id = port_name(1).into_bytes();
    id.resize((id.len() + 1).next_multiple_of(4), 0);
    let mut list = [5u64.to_be_bytes(), 9u64.to_be_bytes()].concat();
    // UNREG, and port 3: portal group 7 of the other target.
    list.extend([0, 2, 0, 3]);
    list.extend(u32::try_from(id.len() + 4).unwrap().to_be_bytes());
    list.extend([0x45, 0]);
    list.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
    list.extend(id);
    let cdb = [0x5f, 7, 0, 0, 0, 0, 0, 0, u8::try_from(list.len()).unwrap(), 0];
    assert_eq!(a.command_out(0, &cdb, &list).status, GOOD);
    assert_eq!(full_status(&mut c, 1), [(3, 9, true, false, port_name(1))]);
    assert_eq!(a.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
    assert_eq!(d.write_blocks(1, 0, &[1; BLOCK], BLOCK).status, GOOD);
}

#[test]
fn a_preempt_through_one_target_waits_for_writes_through_the_other() {
    let (bench, [mut a, _, mut c, _]) = four();
    assert_eq!(register(&mut a, 0, 1, 0).status, GOOD);
    assert_eq!(register(&mut c, 1, 2, 0).status, GOOD);
    assert_eq!(persistent_out(&mut c, 1, 1, 1, 2, 0).status, GOOD);
    begin_write(&mut c, 1, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut a, 4, 1, 1, 2);
    assert_waits(&bench, &mut a, 1);
    assert_eq!(response(&mut c).bhs[3], GOOD, "it had been admitted");
    assert_eq!(c.command_in(1, &[0; 6], 0).sense_code(), Some((6, 0x2a, 5)));
    assert_eq!(c.write_blocks(1, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
}

#[test]
fn a_preempt_and_abort_through_one_target_ends_writes_through_the_other() {
    let (bench, [mut a, _, _, mut d]) = four();
    assert_eq!(register(&mut a, 0, 1, 0).status, GOOD);
    assert_eq!(register(&mut d, 1, 2, 0).status, GOOD);
    assert_eq!(persistent_out(&mut a, 0, 1, 5, 1, 0).status, GOOD);
    begin_write(&mut d, 1, 0);
    bench.disks[0].await_writes(1);
    begin_basic(&mut a, 5, 5, 1, 2);
    assert_waits(&bench, &mut a, 1);
    let codes = [0; 3].map(|_| d.command_in(1, &[0; 6], 0).sense_code());
    assert_eq!(codes, [Some((6, 0x2a, 5)), Some((6, 0x2f, 0)), None], "and no answer to the write");
    assert_eq!(d.write_blocks(1, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
}

#[test]
fn reserve_of_spc2_through_one_target_keeps_the_other_out_after_its_writes() {
    let (bench, [mut a, _, mut c, _]) = four();
    begin_write(&mut c, 1, 0);
    bench.disks[0].await_writes(1);
    begin_out(&mut a, &[0x16, 0, 0, 0, 0, 0], &[]);
    assert_waits(&bench, &mut a, 1);
    assert_eq!(response(&mut c).bhs[3], GOOD);
    assert_eq!(c.write_blocks(1, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
    assert_eq!(c.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, GOOD, "the other unit is not reserved");
}

#[test]
fn a_reset_through_one_target_ends_tasks_of_the_other_and_tells_it() {
    let (bench, [mut a, mut b, mut c, mut d]) = four();
    begin_write(&mut c, 1, 0);
    bench.disks[0].await_writes(1);
    let reset = Frame::new(opcode::TASK_MANAGEMENT | 0x40)
        .flags(0x85)
        .word(16, 0x7777)
        .word(20, u32::MAX)
        .word(24, a.cmd_sn)
        .word(28, a.exp_stat_sn);
    a.send(&reset);
    // The reset has begun when what came after it is answered: only then may the write go on.
    a.ping();
    bench.disks[0].open();
    let answer = a.expect(opcode::TASK_MANAGEMENT_RESPONSE);
    a.exp_stat_sn = answer.word_at(24).wrapping_add(1);
    assert_eq!((answer.bhs[2], bench.disks[0].passed()), (0, 1));
    for (peer, lun) in [(&mut a, 0), (&mut b, 0), (&mut c, 1), (&mut d, 1)] {
        assert_eq!(peer.command_in(lun, &[0; 6], 0).sense_code(), Some((6, 0x29, 3)));
        assert_eq!(peer.command_in(lun ^ 1, &[0; 6], 0).status, GOOD, "the other unit was not reset");
    }
}

const A: &str = "iqn.2024-01.invalid.lunkeep:a";
const B: &str = "iqn.2024-01.invalid.lunkeep:b";
const NEW: &str = "iqn.2024-01.invalid.lunkeep:0";

fn configured(folder: &Folder, targets: &str) -> Target {
    let config = folder.write("lab.toml", format!("[[portal]]\nlisten = \"127.0.0.1:0\"\n{targets}"));
    Target::configured(programs!(), &config, &[])
}

fn login(target: &Target, name: &str) -> Peer {
    let mut peer = Peer::login(target.portal(), name, 1);
    assert!(peer.is_ready(0));
    peer
}

#[test]
fn ports_keep_their_numbers_and_registrations_through_restarts_and_new_targets() {
    let folder = Folder::new();
    let own =
        |name| format!("[[target]]\nname = \"{name}\"\nlun = [{{ path = \"disk.img\", size = \"16M\" }}]\n");
    let same = |name, of| format!("[[target]]\nname = \"{name}\"\nlun = [{{ same_as = \"{of}/0\" }}]\n");
    let target = configured(&folder, &(own(A) + &same(B, A)));
    let luns: Vec<_> = (0..2).map(|at| target.document()["targets"][at]["luns"][0].clone()).collect();
    assert_eq!((&luns[0]["naa"], &luns[0]["path"]), (&luns[1]["naa"], &luns[1]["path"]));
    let mut b = login(&target, B);
    assert_eq!(register(&mut b, 0, 5, 4).status, GOOD);
    assert_eq!(persistent_out(&mut b, 0, 1, 1, 5, 0).status, GOOD);
    let before = full_status(&mut b, 0);
    assert_eq!(before.iter().map(|found| (found.0, found.2)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    target.kill();

    // The image is now another target's, a new target comes before the others, and A is not there at all.
    let target = configured(&folder, &(same(NEW, B) + &own(B)));
    let (mut new, mut b) = (login(&target, NEW), login(&target, B));
    assert_eq!(full_status(&mut new, 0), before);
    assert_eq!(new.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, CONFLICT);
    assert_eq!(b.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, GOOD);
    assert_eq!(register(&mut new, 0, 6, 0).status, GOOD);
    let found: Vec<_> = full_status(&mut b, 0).iter().map(|found| (found.0, found.1)).collect();
    assert_eq!(found, [(1, 5), (2, 5), (3, 6)], "the number of a target that is gone is not given again");
    target.stop();
}

#[test]
fn a_file_that_is_given_twice_without_saying_so_is_refused_and_the_way_out_is_told() {
    let folder = Folder::new();
    let text: String = [A, B]
        .map(|name| {
            format!("[[target]]\nname = \"{name}\"\nlun = [{{ path = \"disk.img\", size = \"16M\" }}]\n")
        })
        .concat();
    let config = folder.write("lab.toml", text);
    let outcome = programs!().target(["serve", "--listen", "127.0.0.1:0", config.to_str().unwrap()]);
    assert_eq!(outcome.status.and_then(|status| status.code()), Some(1));
    assert!(outcome.stderr.contains("same_as"), "{}", outcome.stderr);
}
