//! Third-party copies and reservations: a copy is shut out of every unit like a write of its nexus, at the medium.

use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::third_party_copy::{
    BlockRange, Cscd, CscdId, ExtendedCopyList, ListIdUsage, PopulateTokenList, RodTokenInformation, Segment,
    WriteUsingTokenList,
};
use lunkeep_target::image::Disk as _;
use lunkeep_target::store::Naa;
use lunkeep_tests::wire::{Answer, Peer};

use super::bench::{BLOCK, Bench};
use super::fence::{assert_shut_out, assert_unanswered, begin_basic, begin_out, response};
use super::*;

/// Blocks of a chunk, and chunks of a copy.
const CHUNK: usize = (1 << 20) / BLOCK;
const CHUNKS: usize = 4;
const COPY_ABORTED: (u8, u8, u8) = (0x0a, 0x0d, 0x01);

/// The list of a copy of this many chunks.
fn copy_list(from: u8, to: u8, chunks: usize) -> Vec<u8> {
    let cscd = |lun: u8| {
        let designator = Designator::Naa(Naa::from_random([lun; 8]).to_bytes().to_vec());
        let designation = Designation { association: Association::LogicalUnit, designator };
        Cscd { device_type: 0, designation, block_len: 0 }
    };
    let segment = Segment {
        source: CscdId(0),
        destination: CscdId(1),
        counts_destination: false,
        blocks: u16::try_from(chunks * CHUNK).unwrap(),
        source_lba: 0,
        destination_lba: 0,
    };
    let (cscds, segments) = (vec![cscd(from), cscd(to)], vec![segment]);
    ExtendedCopyList { list_identifier: 0, usage: ListIdUsage::None, cscds, segments }.encode()
}

fn cdb(action: u8, list: &[u8]) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (0x83, action);
    cdb[10..14].copy_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
    cdb
}

fn copy(peer: &mut Peer, lun: u8, from: u8, to: u8) -> Answer {
    let list = copy_list(from, to, 1);
    peer.command_out(lun, &cdb(0, &list), &list)
}

fn fill_source(peer: &mut Peer) {
    for at in 0..2 * CHUNKS {
        let lba = u64::try_from(at * CHUNK / 2).unwrap();
        assert_eq!(peer.write16(1, lba, &vec![0xee; CHUNK / 2 * BLOCK], BLOCK).status, GOOD);
    }
}

/// Begins a copy from LUN 1 to LUN 0, with the command sent to `lun`, and returns when its first chunk waits at the gate.
fn begin_copy(bench: &Bench, peer: &mut Peer, lun: u8) {
    fill_source(peer);
    let list = copy_list(1, 0, CHUNKS);
    let frame = peer.command_frame(lun, &cdb(0, &list), 0xa1, u32::try_from(list.len()).unwrap()).data(list);
    peer.send(&frame);
    bench.disks[0].await_writes(1);
}

/// The bytes of LUN 0 that are not zero.
fn landed(bench: &Bench) -> usize {
    let mut data = vec![0; CHUNKS * CHUNK * BLOCK];
    bench.disks[0].read_at(&mut data, 0).unwrap();
    data.iter().filter(|&&byte| byte != 0).count()
}

/// The answer to what `fencer` sent comes when the chunk that was under way has landed, and nothing lands after it. The copy of
/// `copier` ends with COPY ABORTED.
fn assert_fenced(bench: &Bench, fencer: &mut Peer, copier: &mut Peer) {
    assert_unanswered(bench, fencer);
    bench.disks[0].open();
    assert_eq!(response(fencer).bhs[3], GOOD);
    assert_eq!((bench.disks[0].passed(), landed(bench)), (1, CHUNK * BLOCK), "when the fence is answered");
    let ended = response(copier);
    let sense = Sense::decode(&ended.data[2..]).unwrap();
    assert_eq!((sense.key as u8, sense.asc.code, sense.asc.qualifier), COPY_ABORTED);
    assert_eq!((bench.disks[0].passed(), landed(bench)), (1, CHUNK * BLOCK), "when the copy is over");
    assert_shut_out(copier);
}

#[test]
fn preempt_waits_for_the_chunk_of_a_copy_and_none_lands_after_it() {
    for lun in [1, 0] {
        let bench = Bench::new();
        let (mut one, mut two) = bench.registered();
        assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
        begin_copy(&bench, &mut one, lun);
        begin_basic(&mut two, 4, 1, 2, 1);
        assert_fenced(&bench, &mut two, &mut one);
    }
}

#[test]
fn preempt_and_abort_ends_a_copy_into_the_unit_that_another_unit_was_asked_for() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut two, 0, 1, 5, 2, 0).status, GOOD);
    begin_copy(&bench, &mut one, 1);
    begin_basic(&mut two, 5, 5, 2, 1);
    assert_fenced(&bench, &mut two, &mut one);
}

#[test]
fn preempt_and_abort_that_takes_no_access_away_ends_a_copy_all_the_same() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    begin_copy(&bench, &mut one, 1);
    // There is no reservation: who is not registered any more may still write.
    begin_basic(&mut two, 5, 1, 2, 1);
    assert_unanswered(&bench, &mut two);
    bench.disks[0].open();
    assert_eq!(response(&mut two).bhs[3], GOOD);
    assert_eq!(response(&mut one).bhs[3], CHECK_CONDITION);
    assert_eq!(bench.disks[0].passed(), 1);
}

#[test]
fn reserve_of_spc2_waits_for_the_chunk_of_a_copy_and_none_lands_after_it() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.login(1), bench.login(2));
    begin_copy(&bench, &mut two, 1);
    begin_out(&mut one, &[0x16, 0, 0, 0, 0, 0], &[]);
    assert_fenced(&bench, &mut one, &mut two);
}

#[test]
fn no_fence_waits_for_a_source_that_stalls() {
    for action in [4, 5] {
        let bench = Bench::new();
        bench.disks[0].open();
        let (mut one, mut two) = bench.registered();
        assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
        fill_source(&mut one);
        bench.disks[1].hold_reads();
        let list = copy_list(1, 0, CHUNKS);
        begin_out(&mut one, &cdb(0, &list), &list);
        bench.disks[1].await_read();
        assert_eq!(persistent_out(&mut two, 0, action, 1, 2, 1).status, GOOD, "while the read stalls");
        bench.disks[1].release_reads();
        if action == 4 {
            assert_eq!(response(&mut one).bhs[3], CHECK_CONDITION, "the copy is over");
        }
        // Aborted or not: a copy that would still write would do so before this ends.
        for _ in 0..20 {
            assert_eq!(copy(&mut two, 1, 1, 1).status, GOOD);
        }
        assert_eq!((bench.disks[0].passed(), landed(&bench)), (0, 0));
    }
}

#[test]
fn a_token_is_written_under_the_reservations_of_its_destination() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    fill_source(&mut one);
    let blocks = u32::try_from(CHUNKS * CHUNK).unwrap();
    let ranges = vec![BlockRange { lba: 0, blocks }];
    let list =
        PopulateTokenList { immediate: false, inactivity_timeout: 0, rod_type: None, ranges: ranges.clone() }
            .encode();
    assert_eq!(one.command_out(1, &cdb(0x10, &list), &list).status, GOOD);
    let told = one.command_in(1, &[0x84, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0], 1024).data;
    let token = *RodTokenInformation::decode(&told).unwrap().token.unwrap();
    let list =
        WriteUsingTokenList { immediate: false, delete_token: false, offset: 0, token, ranges }.encode();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    assert_eq!(two.command_out(0, &cdb(0x11, &list), &list).status, CONFLICT);
    let frame = one.command_frame(0, &cdb(0x11, &list), 0xa1, u32::try_from(list.len()).unwrap()).data(list);
    one.send(&frame);
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 1, 2, 1);
    assert_fenced(&bench, &mut two, &mut one);
}

#[test]
fn a_copy_from_or_to_a_unit_that_another_has_reserved_is_refused_and_changes_nothing() {
    // Write exclusive lets others read, exclusive access does not.
    for (kind, to_it, from_it) in [(1, false, true), (3, false, false), (5, false, true), (6, false, false)] {
        let bench = Bench::new();
        bench.disks[0].open();
        let (mut one, mut two) = (bench.login(1), bench.login(2));
        assert_eq!(persistent_out(&mut two, 0, 0, 0, 0, 2).status, GOOD);
        assert_eq!(persistent_out(&mut two, 0, 1, kind, 2, 0).status, GOOD);
        fill_source(&mut one);
        let before = bench.disks[1].passed();
        let expected = |allowed| if allowed { (GOOD, None) } else { (CHECK_CONDITION, Some(COPY_ABORTED)) };
        let told = |answer: &Answer| (answer.status, answer.sense_code());
        assert_eq!(told(&copy(&mut one, 1, 1, 0)), expected(to_it), "type {kind}");
        assert_eq!((bench.disks[0].passed(), landed(&bench)), (0, 0), "type {kind}");
        assert_eq!(copy(&mut one, 0, 1, 0).status, CONFLICT, "asked of the unit itself");
        assert_eq!(told(&copy(&mut one, 1, 0, 1)), expected(from_it), "type {kind}");
        assert_eq!(bench.disks[1].passed(), before + usize::from(from_it), "type {kind}");
        // The holder's own copies pass.
        assert_eq!(told(&copy(&mut two, 1, 1, 0)), (GOOD, None), "type {kind}");
        assert_eq!(bench.disks[0].passed(), 1, "type {kind}");
    }
}

/// A control: what the other tests look at does tell a copy that goes past the gate of its destination.
#[test]
fn a_copy_that_asked_no_unit_would_land_after_the_fence_is_answered() {
    let bench = Bench::new();
    let (mut one, mut two) = bench.registered();
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    let disk = bench.disks[0].clone();
    let copier = std::thread::spawn(move || {
        for chunk in 0..CHUNKS {
            let data = vec![0xee; CHUNK * BLOCK];
            let offset = u64::try_from(chunk * data.len()).unwrap();
            disk.write_at(&[std::io::IoSlice::new(&data)], offset).unwrap();
        }
    });
    bench.disks[0].await_writes(1);
    begin_basic(&mut two, 4, 1, 2, 1);
    assert_eq!(response(&mut two).bhs[3], GOOD, "the fence knows of nothing that it would wait for");
    assert_eq!((bench.disks[0].passed(), landed(&bench)), (0, 0), "when the fence is answered");
    bench.disks[0].open();
    copier.join().unwrap();
    assert_eq!((bench.disks[0].passed(), landed(&bench)), (CHUNKS, CHUNKS * CHUNK * BLOCK));
}
