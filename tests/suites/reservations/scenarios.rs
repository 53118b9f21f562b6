//! What cluster software sends, command by command, from sixteen nodes over real sockets: Windows failover clustering, pacemaker's
//! fence_scsi, multipath's mpathpersist, and VMware.

use lunkeep_tests::programs;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::wire::rw10;

use super::bench::{BLOCK, Bench, Setup, TARGET};
use super::*;

const NODES: u16 = 16;
const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const IGNORE: u8 = 6;
/// Write exclusive, registrants only; and all registrants.
const TYPE: u8 = 5;
const ALL_REGISTRANTS: u8 = 7;

/// What a command comes to when the unit attentions before it have been taken.
fn status(mut send: impl FnMut() -> Answer) -> u8 {
    let attention = |answer: &Answer| matches!(answer.sense_code(), Some((6, ..)));
    (0..8).map(|_| send()).find(|answer| !attention(answer)).expect("unit attentions end").status
}

fn out(peer: &mut Peer, action: u8, kind: u8, key: u64, other: u64) -> u8 {
    status(|| persistent_out(peer, 0, action, kind, key, other))
}

/// REGISTER AND IGNORE EXISTING KEY with or without APTPL.
fn ignore(peer: &mut Peer, key: u64, aptpl: bool) -> u8 {
    let (cdb, mut list) = basic(IGNORE, 0, 0, key);
    list[20] = u8::from(aptpl);
    status(|| peer.command_out(0, &cdb, &list))
}

fn write(peer: &mut Peer) -> u8 {
    status(|| peer.write_blocks(0, 0, &[0x77; BLOCK], BLOCK))
}

fn read(peer: &mut Peer) -> u8 {
    status(|| peer.read_blocks(0, 0, 1, 512))
}

/// Takes the unit attentions; then what is read is what there is.
fn ready(peer: &mut Peer) {
    assert_eq!(status(|| peer.command_in(0, &[0; 6], 0)), GOOD);
}

fn all_keys(peer: &mut Peer) -> Vec<u64> {
    ready(peer);
    keys(peer, 0)
}

fn holder(peer: &mut Peer) -> Option<(u8, u64)> {
    ready(peer);
    held(peer, 0)
}

/// A served unit, and each node on its first path.
fn cluster() -> (Bench, Vec<Peer>) {
    let bench = Bench::of(Setup { groups: &[1, 2], ..Setup::default() });
    bench.disks[0].open();
    let peers = (1..=NODES).map(|isid| bench.login(isid)).collect();
    (bench, peers)
}

/// A key as Windows makes them: unique to the node, with Microsoft's mask in the low half.
fn windows_key(node: usize) -> u64 {
    (node as u64 + 1) << 40 | 0x7466_734d
}

#[test]
fn a_windows_cluster_of_sixteen_validates_defends_and_fails_over() {
    let (bench, mut nodes) = cluster();
    // Each node registers through all its paths, with the same key.
    let mut second: Vec<Peer> = (1..=NODES)
        .map(|isid| {
            let mut peer = Peer::login(bench.portals[1], TARGET, isid);
            assert!(peer.is_ready(0));
            peer
        })
        .collect();
    for (node, (first, second)) in nodes.iter_mut().zip(&mut second).enumerate() {
        let key = windows_key(node);
        assert_eq!((out(first, IGNORE, 0, 0, key), out(second, IGNORE, 0, 0, key)), (GOOD, GOOD));
    }
    let first_key = windows_key(0);
    assert_eq!(holder(&mut nodes[0]), None);
    assert_eq!(out(&mut nodes[0], RESERVE, TYPE, first_key, 0), GOOD);
    for (node, peer) in nodes.iter_mut().enumerate().skip(1) {
        assert_eq!(out(peer, RESERVE, TYPE, windows_key(node), 0), CONFLICT, "{node}");
        assert_eq!((read(peer), write(peer)), (GOOD, GOOD), "registrants have access");
    }
    // A node that is no member may look and not write, not even a fellow's key helps it.
    let mut stranger = bench.login(99);
    assert_eq!((read(&mut stranger), write(&mut stranger)), (GOOD, CONFLICT));
    assert_eq!(out(&mut stranger, PREEMPT, TYPE, first_key, first_key), CONFLICT);
    assert_eq!(out(&mut stranger, CLEAR, 0, first_key, 0), CONFLICT);
    // A round of defence: register again, look, and take foreign keys away.
    assert_eq!(out(&mut stranger, IGNORE, 0, 0, 0xbad), GOOD);
    assert_eq!(out(&mut nodes[0], IGNORE, 0, 0, first_key), GOOD);
    assert_eq!(holder(&mut nodes[0]), Some((TYPE, first_key)));
    let foreign: Vec<u64> =
        all_keys(&mut nodes[0]).into_iter().filter(|key| key & 0xffff_ffff != 0x7466_734d).collect();
    assert_eq!(foreign, [0xbad]);
    assert_eq!(out(&mut nodes[0], PREEMPT, TYPE, first_key, 0xbad), GOOD);
    assert_eq!(write(&mut stranger), CONFLICT);
    // The disk fails over from node to node; the old owner loses both paths at once and cannot strike back.
    for node in 1..nodes.len() {
        let (old, new) = (windows_key(node - 1), windows_key(node));
        assert_eq!(out(&mut nodes[node], IGNORE, 0, 0, new), GOOD);
        assert!(all_keys(&mut nodes[node]).contains(&old), "nobody defends");
        assert_eq!(out(&mut nodes[node], PREEMPT, TYPE, new, old), GOOD);
        assert_eq!(holder(&mut nodes[node]), Some((TYPE, new)));
        assert_eq!(
            (write(&mut nodes[node - 1]), write(&mut second[node - 1])),
            (CONFLICT, CONFLICT),
            "{node}"
        );
        assert_eq!(out(&mut nodes[node - 1], PREEMPT, TYPE, old, new), CONFLICT);
        assert_eq!((write(&mut nodes[node]), write(&mut second[node])), (GOOD, GOOD));
    }
    // A planned move, and the wizard's clean-up.
    let last = nodes.len() - 1;
    assert_eq!(out(&mut nodes[last], RELEASE, TYPE, windows_key(last), 0), GOOD);
    assert_eq!(out(&mut nodes[last], IGNORE, 0, 0, 0), GOOD);
    assert_eq!(out(&mut nodes[0], IGNORE, 0, 0, first_key), GOOD);
    assert_eq!(out(&mut nodes[0], RESERVE, TYPE, first_key, 0), GOOD);
    assert_eq!(out(&mut nodes[0], CLEAR, 0, first_key, 0), GOOD);
    assert_eq!((all_keys(&mut nodes[3]), holder(&mut nodes[3])), (vec![], None));
}

/// fence_scsi --action=on, which unfences a node when it boots.
fn unfence(peer: &mut Peer, key: u64, aptpl: bool) {
    ready(peer);
    let existed = all_keys(peer).contains(&key);
    assert_eq!(ignore(peer, key, aptpl), GOOD);
    if existed {
        // Stale registrations of other ISIDs have the key too: it preempts itself, and registers again when that removed it.
        assert_eq!(out(peer, PREEMPT, TYPE, key, key), GOOD);
        if !all_keys(peer).contains(&key) {
            assert_eq!(ignore(peer, key, aptpl), GOOD);
        }
    }
    if holder(peer).is_none() {
        assert_eq!(out(peer, RESERVE, TYPE, key, 0), GOOD);
    }
}

/// fence_scsi --action=off, as `by` carries it out, with what it verifies.
fn fence(by: &mut Peer, own: u64, victim: u64, aptpl: bool) {
    assert_eq!(ignore(by, own, aptpl), GOOD);
    assert_eq!(out(by, PREEMPT_AND_ABORT, TYPE, own, victim), GOOD);
    assert!(!all_keys(by).contains(&victim));
    assert!(holder(by).is_some());
}

/// fence_scsi --action=monitor, and the watchdog script on the node.
fn is_unfenced(peer: &mut Peer, key: u64) -> bool {
    all_keys(peer).contains(&key)
}

fn served(folder: &Folder) -> Target {
    let disk = format!("{},size=16M", folder.name("disk.img"));
    Target::serve(programs!(), ["--no-force-aptpl", "--disk", &disk])
}

fn log_in_all(target: &Target) -> Vec<Peer> {
    let login = |isid| {
        let mut peer = Peer::login(target.portal(), &target.iqn(), isid);
        assert!(peer.is_ready(0));
        peer
    };
    (1..=NODES).map(login).collect()
}

#[test]
fn pacemaker_fences_sixteen_nodes_with_and_without_aptpl_and_through_a_restart() {
    for aptpl in [true, false] {
        let folder = Folder::new();
        let target = served(&folder);
        let mut nodes = log_in_all(&target);
        let key = |node: usize| 0x3abe_0000 + node as u64;
        for (node, peer) in nodes.iter_mut().enumerate() {
            unfence(peer, key(node), aptpl);
        }
        assert_eq!(all_keys(&mut nodes[0]).len(), usize::from(NODES));
        // Each odd node is fenced by the next one: the holder is not among them, so the reservation stays.
        for victim in (1..nodes.len() - 1).step_by(2) {
            fence(&mut nodes[victim + 1], key(victim + 1), key(victim), aptpl);
            assert_eq!(write(&mut nodes[victim]), CONFLICT);
            assert!(!is_unfenced(&mut nodes[victim], key(victim)));
            assert!(is_unfenced(&mut nodes[victim + 1], key(victim + 1)));
            assert_eq!(write(&mut nodes[victim + 1]), GOOD);
        }
        // The holder is fenced too, and who did it holds.
        fence(&mut nodes[2], key(2), key(0), aptpl);
        assert_eq!(holder(&mut nodes[2]), Some((TYPE, key(2))));
        assert_eq!(write(&mut nodes[0]), CONFLICT);
        drop(nodes);
        target.kill();
        let target = served(&folder);
        let mut nodes = log_in_all(&target);
        if aptpl {
            assert_eq!(
                (write(&mut nodes[0]), write(&mut nodes[1]), write(&mut nodes[2])),
                (CONFLICT, CONFLICT, GOOD)
            );
            assert_eq!(holder(&mut nodes[2]), Some((TYPE, key(2))));
        } else {
            // The trap that force_aptpl is against: the restart has unfenced everybody.
            assert_eq!((all_keys(&mut nodes[0]), holder(&mut nodes[0])), (vec![], None));
            assert_eq!(write(&mut nodes[0]), GOOD);
        }
        // They boot and are unfenced, those that were not fenced with their key already there.
        for (node, peer) in nodes.iter_mut().enumerate() {
            unfence(peer, key(node), aptpl);
            assert_eq!(write(peer), GOOD, "{node}");
        }
        assert_eq!(all_keys(&mut nodes[0]).len(), usize::from(NODES));
        target.stop();
    }
}

#[test]
fn eight_multipath_hosts_of_two_paths_hold_move_and_lose_a_reservation() {
    let (bench, mut first) = cluster();
    first.truncate(8);
    let path = |isid| {
        let mut peer = Peer::login(bench.portals[1], TARGET, isid);
        assert!(peer.is_ready(0));
        peer
    };
    let mut second: Vec<Peer> = (1..=8).map(path).collect();
    let key = |host: usize| 0xaa00 + host as u64;
    // Register on every path; where a path is behind the times, ignore what it has.
    for host in 0..8 {
        assert_eq!(out(&mut first[host], REGISTER, 0, 0, key(host)), GOOD);
        assert_eq!(out(&mut second[host], REGISTER, 0, key(host), key(host)), CONFLICT);
        assert_eq!(out(&mut second[host], IGNORE, 0, 0, key(host)), GOOD);
    }
    ready(&mut first[0]);
    assert_eq!(full_status(&mut first[0], 0).len(), 16);
    // One path holds; through the other one RESERVE conflicts, so it is tried on all.
    assert_eq!(out(&mut first[0], RESERVE, TYPE, key(0), 0), GOOD);
    assert_eq!(out(&mut second[0], RESERVE, TYPE, key(0), 0), CONFLICT);
    assert_eq!(out(&mut second[0], RELEASE, TYPE, key(0), 0), GOOD, "it does nothing there");
    assert_eq!(holder(&mut second[0]), Some((TYPE, key(0))));
    // The holding path dies. A live one preempts its own key, releases, and all register again.
    first.remove(0).logout();
    assert_eq!(out(&mut second[0], PREEMPT, TYPE, key(0), key(0)), GOOD);
    assert_eq!(out(&mut second[0], RELEASE, TYPE, key(0), 0), GOOD);
    assert_eq!(holder(&mut second[0]), None);
    // It comes back: the host's key must be there on another path, before and after it registers.
    let mut back = bench.login(1);
    let before = all_keys(&mut back);
    assert!(before.contains(&key(0)));
    assert_eq!(out(&mut back, REGISTER, 0, 0, key(0)), GOOD);
    assert_eq!(all_keys(&mut back).len(), before.len() + 1, "nobody fenced it meanwhile");
    // A host fences another one: both its paths are out, by one command.
    assert_eq!(out(&mut back, RESERVE, TYPE, key(0), 0), GOOD);
    assert_eq!(out(&mut second[1], PREEMPT_AND_ABORT, TYPE, key(1), key(0)), GOOD);
    assert_eq!((write(&mut back), write(&mut second[0])), (CONFLICT, CONFLICT));
    assert_eq!(holder(&mut second[1]), Some((TYPE, key(1))));
    // A path that comes up now finds its host's key gone, and takes its registration back.
    let mut late = path(9);
    let _ = out(&mut late, IGNORE, 0, 0, key(0));
    assert_eq!(out(&mut late, REGISTER, 0, key(0), 0), GOOD);
    assert!(!all_keys(&mut late).contains(&key(0)));
}

/// COMPARE AND WRITE of one block, which holds a number.
fn increment(peer: &mut Peer, lba: u32, from: u8) -> Answer {
    let [a, b, c, d] = lba.to_be_bytes();
    let cdb = [0x89, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 1, 0, 0];
    let (mut old, mut new) = ([0; BLOCK], [0; BLOCK]);
    (old[0], new[0]) = (from, from.wrapping_add(1));
    peer.command_out(0, &cdb, &[old, new].concat())
}

#[test]
fn sixteen_esx_hosts_take_locks_by_ats_and_by_reserve_and_share_a_disk_of_a_guest_cluster() {
    let (_bench, mut hosts) = cluster();
    // ATS: whoever loses is told by a miscompare, reads, and tries again with what it found.
    let mut turns = 0;
    for round in 0..hosts.len() {
        for host in &mut hosts {
            let found = host.read_blocks(0, 7, 1, 512).data[0];
            let guess = if turns % 3 == 0 { found.wrapping_sub(1) } else { found };
            let answer = increment(host, 7, guess);
            if guess == found {
                assert_eq!(answer.status, GOOD, "{round}");
            } else {
                assert_eq!(answer.sense_code(), Some((0x0e, 0x1d, 0)), "miscompare");
                assert_eq!(increment(host, 7, found).status, GOOD);
            }
            turns += 1;
            if host.read_blocks(0, 7, 1, 512).data[0] == 250 {
                // Start again before the number runs over.
                assert_eq!(host.write_blocks(0, 7, &[0; BLOCK], BLOCK).status, GOOD);
            }
        }
    }
    // Without ATS: RESERVE(6) around each change of metadata.
    for host in 0..hosts.len() {
        assert_eq!(status(|| hosts[host].command_in(0, &[0x16, 0, 0, 0, 0, 0], 0)), GOOD);
        let other = (host + 1) % hosts.len();
        assert_eq!(status(|| hosts[other].command_in(0, &[0x16, 0, 0, 0, 0, 0], 0)), CONFLICT);
        assert_eq!((write(&mut hosts[host]), write(&mut hosts[other])), (GOOD, CONFLICT));
        if host % 2 == 0 {
            assert_eq!(status(|| hosts[host].command_in(0, &[0x17, 0, 0, 0, 0, 0], 0)), GOOD);
        } else {
            // It hangs: another host resets the unit, which ends its reservation.
            super::interrupted::reset(&mut hosts[other]);
        }
        assert_eq!(write(&mut hosts[other]), GOOD);
    }
    // A cluster of guests: every host registers its guest's key, and all are holders.
    for (host, peer) in hosts.iter_mut().enumerate() {
        assert_eq!(out(peer, REGISTER, 0, 0, host as u64 + 1), GOOD);
    }
    assert_eq!(out(&mut hosts[0], RESERVE, ALL_REGISTRANTS, 1, 0), GOOD);
    for peer in &mut hosts {
        assert_eq!(write(peer), GOOD);
    }
    assert_eq!(out(&mut hosts[1], PREEMPT_AND_ABORT, ALL_REGISTRANTS, 2, 1), GOOD);
    assert_eq!((write(&mut hosts[0]), write(&mut hosts[15])), (CONFLICT, GOOD));
    assert_eq!(holder(&mut hosts[15]), Some((ALL_REGISTRANTS, 0)));
}

/// 32 sessions have more writes at a medium that stands still than there are threads and places for them; nothing of what a cluster
/// needs waits for that.
#[test]
fn while_thirty_two_sessions_saturate_a_medium_that_stands_still_reservations_and_resets_are_answered() {
    let bench = Bench::new();
    let mut writers: Vec<Peer> = (100..132).map(|isid| bench.login(isid)).collect();
    let mut owner = bench.login(1);
    for writer in &mut writers {
        for lba in 0..24 {
            let frame = writer.command_frame(0, &rw10(0x2a, lba, 1), 0xa1, 512).data(vec![0xee; BLOCK]);
            writer.send(&frame);
        }
        writer.ping();
    }
    bench.disks[0].await_writes(2);
    for (round, key) in (1..=20).enumerate() {
        assert_eq!(ignore(&mut owner, key, true), GOOD, "{round}");
        assert_eq!(keys(&mut owner, 0), [key]);
        assert_eq!(held(&mut owner, 0), None);
    }
    // It joins the writers under a type that lets registrants write; of these there is none but it, so RESERVE would wait. A writer
    // registers as fast.
    assert_eq!(out(&mut writers[0], REGISTER, 0, 0, 77), GOOD);
    assert_eq!(out(&mut writers[0], CLEAR, 0, 77, 0), GOOD);
    // A function that ends nothing on the medium is answered, on this unit and on the other.
    assert_eq!(super::interrupted::abort_own_tasks(&mut owner), 0);
    super::interrupted::reset_lun(&mut owner, 1);
    assert_eq!(bench.disks[0].passed(), 0, "all this while the medium stands still");
    assert_eq!(out(&mut owner, REGISTER, 0, 0, 5), GOOD);
}
