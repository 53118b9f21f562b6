//! Third-party copies between the units of a target: what lands where, what is refused, and what stops a copy.

use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::third_party_copy::results::decode_failure_details;
use lunkeep_common::scsi::third_party_copy::{
    BlockRange, CopyStatus, Cscd, CscdId, ExtendedCopyList, ListIdUsage, PopulateTokenList, RodToken,
    RodTokenInformation, Segment, TransferCount, WriteUsingTokenList,
};
use lunkeep_common::scsi::{Sense, SenseKey};
use lunkeep_target::image::BlockStatus;
use lunkeep_target::limits::{COPIES_MAX, COPIES_PER_SESSION_MAX};
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::wire::Answer;

use super::*;

const OTHER: &str = "iqn.2024-01.invalid.lunkeep:other";
/// Blocks of a medium.
const BLOCKS: u64 = (16 << 20) / 512;
/// Blocks of a chunk.
const CHUNK: u32 = (1 << 20) / 512;
const COPY_ABORTED: u8 = 0x0a;

/// From where to where: LUN and block of the source, LUN and block of the destination, blocks.
type Extent = ((u8, u64), (u8, u64), u16);

fn copy_list(list_identifier: u8, usage: ListIdUsage, extents: &[Extent]) -> Vec<u8> {
    let cscd = |lun: u8| {
        let designator = Designator::Naa(vec![0x30, 0, 0, 0, 0, 0, 0, lun]);
        let designation = Designation { association: Association::LogicalUnit, designator };
        Cscd { device_type: 0, designation, block_len: 512 }
    };
    let segment = |&((from, source_lba), (to, destination_lba), blocks): &Extent| Segment {
        source: CscdId(from.into()),
        destination: CscdId(to.into()),
        counts_destination: false,
        blocks,
        source_lba,
        destination_lba,
    };
    let segments = extents.iter().map(segment).collect();
    ExtendedCopyList { list_identifier, usage, cscds: vec![cscd(0), cscd(1)], segments }.encode()
}

fn cdb(opcode: u8, action: u8, list: u32, len: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, action);
    match (opcode, action) {
        (0x84, 0 | 4) => cdb[2] = list.to_be_bytes()[3],
        (0x84, _) => cdb[2..6].copy_from_slice(&list.to_be_bytes()),
        (_, 0) => {}
        _ => cdb[6..10].copy_from_slice(&list.to_be_bytes()),
    }
    cdb[10..14].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
    cdb
}

fn copy(peer: &mut Peer, lun: u8, extents: &[Extent]) -> Answer {
    let list = copy_list(0, ListIdUsage::None, extents);
    peer.command_out(lun, &cdb(0x83, 0, 0, list.len()), &list)
}

/// Sends a command with its list as immediate data, does not wait for the answer, and gives the task tag.
fn begin(peer: &mut Peer, lun: u8, cdb: &[u8], list: &[u8]) -> u32 {
    let tag = peer.tag;
    let frame = peer.command_frame(lun, cdb, 0xa1, u32::try_from(list.len()).unwrap()).data(list);
    peer.send(&frame);
    tag
}

fn begin_copy(peer: &mut Peer, lun: u8, extents: &[Extent]) -> u32 {
    let list = copy_list(0, ListIdUsage::None, extents);
    begin(peer, lun, &cdb(0x83, 0, 0, list.len()), &list)
}

/// The answer to what was begun.
fn response(peer: &mut Peer) -> (u8, Option<(u8, u8, u8)>) {
    let frame = peer.expect(opcode::SCSI_RESPONSE);
    peer.exp_stat_sn = frame.word_at(24).wrapping_add(1);
    let sense = Sense::decode(frame.data.get(2..).unwrap_or_default());
    (frame.bhs[3], sense.map(|sense| (sense.key as u8, sense.asc.code, sense.asc.qualifier)))
}

fn aborted(code: u8, qualifier: u8) -> (u8, Option<(u8, u8, u8)>) {
    (CHECK_CONDITION, Some((COPY_ABORTED, code, qualifier)))
}

fn told(answer: &Answer) -> (u8, Option<(u8, u8, u8)>) {
    (answer.status, answer.sense_code())
}

fn populate(peer: &mut Peer, lun: u8, list: u32, ranges: &[(u64, u32)]) -> RodToken {
    let ranges = ranges.iter().map(|&(lba, blocks)| BlockRange { lba, blocks }).collect();
    let parameters =
        PopulateTokenList { immediate: true, inactivity_timeout: 0, rod_type: None, ranges }.encode();
    let answer = peer.command_out(lun, &cdb(0x83, 0x10, list, parameters.len()), &parameters);
    assert_eq!(told(&answer), (GOOD, None));
    let answer = peer.command_in(lun, &cdb(0x84, 7, list, 1024), 1024);
    let information = RodTokenInformation::decode(&answer.data).unwrap();
    assert_eq!((information.status, information.service_action), (CopyStatus::Completed, 0x10));
    *information.token.unwrap()
}

fn using(token: &RodToken, offset: u64, delete_token: bool, ranges: &[(u64, u32)]) -> Vec<u8> {
    let ranges = ranges.iter().map(|&(lba, blocks)| BlockRange { lba, blocks }).collect();
    WriteUsingTokenList { immediate: false, delete_token, offset, token: token.clone(), ranges }.encode()
}

fn use_token(peer: &mut Peer, lun: u8, list: &[u8]) -> Answer {
    peer.command_out(lun, &cdb(0x83, 0x11, 77, list.len()), list)
}

/// A bench whose gates are open.
fn open_bench() -> Bench {
    let bench = Bench::new();
    bench.disks.iter().for_each(|disk| disk.open());
    bench
}

fn noise(random: &mut Random, blocks: usize) -> Vec<u8> {
    let mut data = vec![0; blocks * BLOCK];
    random.fill(&mut data);
    data
}

fn write(peer: &mut Peer, lun: u8, lba: u64, data: &[u8]) {
    for (at, part) in (0..).zip(data.chunks(1024 * BLOCK)) {
        assert_eq!(peer.write16(lun, lba + at * 1024, part, BLOCK).status, GOOD);
    }
}

fn whole(peer: &mut Peer, lun: u8) -> Vec<u8> {
    peer.read16(lun, 0, u32::try_from(BLOCKS).unwrap(), 512).data
}

#[test]
fn what_is_copied_is_what_the_source_holds_and_holes_stay_holes() {
    let bench = open_bench();
    let mut peer = bench.login(1);
    let mut random = Random::new(seed("what_is_copied_is_what_the_source_holds_and_holes_stay_holes"));
    write(&mut peer, 0, 100, &noise(&mut random, 5000));
    write(&mut peer, 0, 15_000, &noise(&mut random, 3));
    write(&mut peer, 1, 0, &vec![0xee; 30_000 * BLOCK]);
    let list = copy_list(9, ListIdUsage::Hold, &[((0, 50), (1, 7), 20_000), ((0, 100), (1, 29_990), 2)]);
    let answer = peer.command_out(1, &cdb(0x83, 0, 0, list.len()), &list);
    assert_eq!(told(&answer), (GOOD, None));
    let (source, copied) = (whole(&mut peer, 0), whole(&mut peer, 1));
    let mut expected = vec![0xee; 30_000 * BLOCK];
    expected[7 * BLOCK..20_007 * BLOCK].copy_from_slice(&source[50 * BLOCK..20_050 * BLOCK]);
    expected[29_990 * BLOCK..29_992 * BLOCK].copy_from_slice(&source[100 * BLOCK..102 * BLOCK]);
    assert!(copied[..30_000 * BLOCK] == expected, "the content differs");
    let status = peer.command_in(1, &cdb(0x84, 0, 9, 12), 12).data;
    let expected = TransferCount { status: CopyStatus::Completed, segments: 2, bytes: 20_002 * 512 };
    assert_eq!(TransferCount::decode(&status), Some(expected));
    let status = |block: u64| bench.disks[1].block_status(block * 512, 512).unwrap().0;
    assert_eq!([4000, 10_000, 14_957, 25_000].map(status), {
        use BlockStatus::{Deallocated, Mapped};
        [Mapped, Deallocated, Mapped, Mapped]
    });
}

#[test]
fn random_copies_within_and_between_units_are_what_a_model_says() {
    let bench = open_bench();
    let mut peer = bench.login(1);
    let mut random = Random::new(seed("random_copies_within_and_between_units_are_what_a_model_says"));
    for lun in 0..2 {
        let at = random.below(BLOCKS - 6000);
        write(&mut peer, lun, at, &noise(&mut random, 6000));
    }
    let mut model = [whole(&mut peer, 0), whole(&mut peer, 1)];
    for _ in 0..40 {
        let (from, to) = (random.index(2), random.index(2));
        let blocks = [1, 9, 3000, 9000][random.index(4)];
        let source = random.below(BLOCKS - blocks);
        // Often near, so that source and destination overlap in one unit, either way.
        let near = (source + random.below(2 * blocks)).saturating_sub(blocks).min(BLOCKS - blocks);
        let destination = if random.one_in(3) { random.below(BLOCKS - blocks) } else { near };
        let lun = |index: usize| u8::try_from(index).unwrap();
        let extent = ((lun(from), source), (lun(to), destination), u16::try_from(blocks).unwrap());
        assert_eq!(told(&copy(&mut peer, lun(random.index(2)), &[extent])), (GOOD, None), "{extent:?}");
        let bytes = |lba: u64| {
            let range = lba * 512..(lba + blocks) * 512;
            usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
        };
        let data = model[from][bytes(source)].to_vec();
        model[to][bytes(destination)].copy_from_slice(&data);
    }
    for (lun, expected) in (0..).zip(&model) {
        assert!(whole(&mut peer, lun) == *expected, "LUN {lun} is not what the model says");
    }
}

#[test]
fn nothing_is_copied_when_a_segment_cannot_be() {
    let bench = open_bench();
    let mut peer = bench.login(1);
    write(&mut peer, 0, 0, &[7; 8 * BLOCK]);
    let good: Extent = ((0, 0), (1, 0), 8);
    let cases: [(Extent, (u8, u8)); 4] = [
        (((0, 0), (2, 0), 8), (0x08, 0x04)),
        (((2, 0), (1, 0), 8), (0x08, 0x04)),
        (((0, BLOCKS - 7), (1, 0), 8), (0x0d, 0x02)),
        (((0, 0), (1, u64::MAX), 8), (0x0d, 0x02)),
    ];
    for (bad, (code, qualifier)) in cases {
        let answer = copy(&mut peer, 0, &[good, bad]);
        assert_eq!(told(&answer), aborted(code, qualifier), "{bad:?}");
        let sense = Sense::decode(&answer.sense).unwrap();
        assert_eq!(
            (sense.key, sense.command_specific),
            (SenseKey::CopyAborted, Some(1)),
            "the second segment"
        );
    }
    let mut other_type = copy_list(0, ListIdUsage::None, &[good]);
    other_type[17] = 1;
    let answer = peer.command_out(0, &cdb(0x83, 0, 0, other_type.len()), &other_type);
    assert_eq!(told(&answer), aborted(0x0d, 0x03));
    let mut other_block = copy_list(0, ListIdUsage::None, &[good]);
    other_block[46] = 16;
    let answer = peer.command_out(0, &cdb(0x83, 0, 0, other_block.len()), &other_block);
    assert_eq!(told(&answer), (CHECK_CONDITION, Some((5, 0x26, 0))));
    assert_eq!(bench.disks[1].passed(), 0);
}

/// A bench with a second target that exports only unit 1.
fn masked_bench() -> Bench {
    let bench = Bench::with(|config| {
        let unit = config.targets[0].luns[1].unit.clone();
        config.targets.push(TargetConfig {
            portal_groups: PortalGroups::All,
            redirect: None,
            name: OTHER.parse().unwrap(),
            alias: None,
            luns: vec![LunConfig { number: 3, unit }],
            authentication: Authentication::NotRequired,
            access: AccessList::Everyone,
        });
    });
    bench.disks.iter().for_each(|disk| disk.open());
    bench
}

#[test]
fn a_session_copies_only_between_units_that_it_sees() {
    let bench = masked_bench();
    let (mut all, mut one) = (bench.login(1), Peer::login(bench.portal, OTHER, 2));
    assert!(one.is_ready(3));
    write(&mut all, 0, 0, &[7; 8 * BLOCK]);
    for hidden in [((0, 0), (1, 0), 8), ((1, 0), (0, 0), 8)] {
        assert_eq!(told(&copy(&mut one, 3, &[hidden])), aborted(0x0d, 0x02), "{hidden:?}");
    }
    let token = populate(&mut all, 0, 1, &[(0, 8)]);
    assert_eq!(told(&use_token(&mut one, 3, &using(&token, 0, false, &[(0, 8)]))), (2, Some((5, 0x23, 4))));
    assert_eq!((bench.disks[0].passed(), bench.disks[1].passed()), (1, 0));
    assert_eq!(told(&copy(&mut one, 3, &[((1, 0), (1, 8), 8)])), (GOOD, None));
    assert_eq!(told(&use_token(&mut all, 1, &using(&token, 0, false, &[(0, 8)]))), (GOOD, None));
    assert_eq!(one.read_blocks(3, 0, 8, 512).data, [7; 8 * BLOCK]);
}

#[test]
fn a_token_stands_for_its_ranges_in_their_order_until_it_is_deleted() {
    let bench = open_bench();
    let (mut peer, mut other) = (bench.login(1), bench.login(2));
    let mut random = Random::new(seed("a_token_stands_for_its_ranges_in_their_order_until_it_is_deleted"));
    let data = noise(&mut random, 6000);
    write(&mut peer, 0, 0, &data);
    write(&mut peer, 1, 0, &vec![0xee; 9000 * BLOCK]);
    let token = populate(&mut peer, 0, 5, &[(4000, 1000), (10_000, 500), (10, 2000)]);
    let rod =
        [&data[4000 * BLOCK..5000 * BLOCK], &vec![0; 500 * BLOCK], &data[10 * BLOCK..2010 * BLOCK]].concat();
    // Whoever sees the unit may use it.
    let answer = use_token(&mut other, 1, &using(&token, 300, false, &[(7000, 2), (100, 3000)]));
    assert_eq!(told(&answer), (GOOD, None));
    let copied = whole(&mut peer, 1);
    assert!(copied[7000 * BLOCK..7002 * BLOCK] == rod[300 * BLOCK..302 * BLOCK]);
    assert!(copied[100 * BLOCK..3100 * BLOCK] == rod[302 * BLOCK..3302 * BLOCK]);
    assert!(copied[..100 * BLOCK].iter().all(|&byte| byte == 0xee));
    let status = other.command_in(1, &cdb(0x84, 7, 77, 1024), 1024).data;
    let status = RodTokenInformation::decode(&status).unwrap();
    assert_eq!((status.service_action, status.status, status.blocks), (0x11, CopyStatus::Completed, 3002));
    let invalid = (CHECK_CONDITION, Some((5, 0x26, 0)));
    for beyond in [using(&token, 3501, false, &[(0, 1)]), using(&token, 3500, false, &[(0, 1)])] {
        assert_eq!(told(&use_token(&mut peer, 1, &beyond)), invalid);
    }
    assert_eq!(told(&use_token(&mut peer, 1, &using(&token, 3499, true, &[(0, 1)]))), (GOOD, None));
    let gone = use_token(&mut peer, 1, &using(&token, 0, false, &[(0, 1)]));
    assert_eq!(told(&gone), (CHECK_CONDITION, Some((5, 0x23, 9))));
    let mut forged = populate(&mut peer, 0, 6, &[(0, 1)]);
    forged.0[140] ^= 1;
    let unknown = use_token(&mut peer, 1, &using(&forged, 0, false, &[(0, 1)]));
    assert_eq!(told(&unknown), (CHECK_CONDITION, Some((5, 0x23, 4))));
}

#[test]
fn the_zero_token_makes_holes() {
    let bench = open_bench();
    let mut peer = bench.login(1);
    write(&mut peer, 0, 0, &vec![0xee; 1024 * BLOCK]);
    let answer = use_token(&mut peer, 0, &using(&RodToken::zero(), 0, false, &[(8, 512), (1000, 1)]));
    assert_eq!(told(&answer), (GOOD, None));
    let data = peer.read16(0, 0, 1024, 512).data;
    let zero = |block: usize| data[block * BLOCK..(block + 1) * BLOCK].iter().all(|&byte| byte == 0);
    assert_eq!([7, 8, 519, 520, 999, 1000, 1001].map(zero), [false, true, true, false, false, true, false]);
    assert_eq!(bench.disks[0].block_status(8 * 512, 512).unwrap().0, BlockStatus::Deallocated);
}

#[test]
fn a_write_of_the_source_revokes_its_token_and_nothing_is_copied() {
    let bench = open_bench();
    let mut peer = bench.login(1);
    write(&mut peer, 0, 0, &[7; 8 * BLOCK]);
    let (revoked, kept) = (populate(&mut peer, 0, 1, &[(0, 8)]), populate(&mut peer, 0, 2, &[(0, 4)]));
    assert_eq!(told(&copy(&mut peer, 1, &[((0, 0), (0, 7), 1)])), (GOOD, None), "a copy is a write, too");
    let answer = use_token(&mut peer, 1, &using(&revoked, 0, false, &[(0, 8)]));
    assert_eq!(told(&answer), (CHECK_CONDITION, Some((5, 0x23, 6))));
    assert_eq!(bench.disks[1].passed(), 0);
    assert_eq!(told(&use_token(&mut peer, 1, &using(&kept, 0, false, &[(0, 4)]))), (GOOD, None));
}

#[test]
fn a_token_that_is_revoked_while_it_is_used_copies_nothing_that_came_later() {
    let bench = Bench::new();
    bench.disks[0].open();
    let (mut peer, mut other) = (bench.login(1), bench.login(2));
    write(&mut peer, 0, 0, &vec![7; 3 * CHUNK as usize * BLOCK]);
    let token = populate(&mut peer, 0, 1, &[(0, 3 * CHUNK)]);
    let list = using(&token, 0, false, &[(0, 3 * CHUNK)]);
    begin(&mut peer, 1, &cdb(0x83, 0x11, 77, list.len()), &list);
    bench.disks[1].await_writes(1);
    write(&mut other, 0, u64::from(2 * CHUNK), &[8; BLOCK]);
    bench.disks[1].open();
    assert_eq!(response(&mut peer), (CHECK_CONDITION, Some((5, 0x23, 6))));
    let data = whole(&mut peer, 1);
    assert!(!data.contains(&8) && data.contains(&7));
    let status = peer.command_in(1, &cdb(0x84, 7, 77, 1024), 1024).data;
    let status = RodTokenInformation::decode(&status).unwrap();
    assert_eq!((status.status, status.blocks), (CopyStatus::Failed, CHUNK.into()));
    assert_eq!(Sense::decode(&status.sense).unwrap().asc.code, 0x23);
}

/// Begins a copy of three chunks from LUN 0, which gets the command, to LUN 1, whose gate holds the first one. Gives its tag.
fn stalled_copy(bench: &Bench, peer: &mut Peer) -> u32 {
    bench.disks[0].open();
    write(peer, 0, 0, &vec![7; 3 * CHUNK as usize * BLOCK]);
    let blocks = u16::try_from(3 * CHUNK).unwrap();
    let tag = begin_copy(peer, 0, &[((0, 0), (1, 0), blocks)]);
    bench.disks[1].await_writes(1);
    tag
}

#[test]
fn an_aborted_copy_is_over_when_its_abort_is_answered() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    let task = stalled_copy(&bench, &mut peer);
    let abort = manage(&mut peer, 1, 0, task);
    stays_unanswered(&mut peer);
    bench.disks[1].open();
    assert_eq!(management_result(&mut peer, abort), 0, "function complete");
    assert_eq!(bench.disks[1].passed(), 1);
    // A write that is answered comes after whatever the copy still had to do.
    assert_eq!(peer.write_blocks(1, 20_000, &[1; BLOCK], BLOCK).status, GOOD);
    assert_eq!(bench.disks[1].passed(), 2);
}

#[test]
fn a_reset_of_the_destination_waits_for_the_chunk_and_ends_the_copy() {
    let bench = Bench::new();
    let (mut peer, mut other) = (bench.login(1), bench.login(2));
    stalled_copy(&bench, &mut peer);
    let reset = manage(&mut other, 5, 1, u32::MAX);
    stays_unanswered(&mut other);
    bench.disks[1].open();
    assert_eq!(management_result(&mut other, reset), 0);
    assert_eq!(bench.disks[1].passed(), 1);
    assert_eq!(response(&mut peer), aborted(0x0d, 0x01));
    assert_eq!(bench.disks[1].passed(), 1);
}

#[test]
fn a_new_session_of_the_same_port_begins_when_the_copy_of_the_old_one_is_over() {
    let bench = Bench::new();
    let mut old = bench.login(1);
    stalled_copy(&bench, &mut old);
    let mut new = Peer::connect(bench.portal);
    let keys = [
        ("InitiatorName", lunkeep_tests::wire::INITIATOR),
        ("TargetName", TARGET),
        ("SessionType", "Normal"),
    ];
    new.send(&login_request(0x87, 1, &keys));
    old.until_closed();
    assert_eq!(bench.disks[1].passed(), 0);
    bench.disks[1].open();
    let answer = new.receive().expect("a login response");
    assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0));
    // The old session may have got on with its copy until it ended.
    let before = bench.disks[1].passed();
    let mut other = bench.login(2);
    assert_eq!(other.write_blocks(1, 20_000, &[1; BLOCK], BLOCK).status, GOOD);
    assert_eq!(bench.disks[1].passed(), before + 1, "nothing of the copy lands any more");
}

#[test]
fn the_removal_of_either_lun_waits_for_the_chunk_and_ends_the_copy() {
    for removed in [0, 1] {
        let bench = Bench::new();
        let mut peer = bench.login(1);
        stalled_copy(&bench, &mut peer);
        let handle = bench.server.as_ref().unwrap().handle();
        let target = TARGET.parse().unwrap();
        let removal = bench.runtime.spawn(async move { handle.remove_lun(&target, removed.into()).await });
        while peer.command_in(removed, &[0; 6], 0).sense_code() != Some((5, 0x25, 0)) {}
        stays_unanswered(&mut peer);
        assert!(!removal.is_finished(), "LUN {removed}: a chunk is on its way to the medium");
        bench.disks[1].open();
        assert_eq!(response(&mut peer), aborted(0x0d, 0x01), "LUN {removed}");
        bench.runtime.block_on(removal).unwrap().unwrap();
        assert_eq!(bench.disks[1].passed(), 1, "LUN {removed}");
    }
}

#[test]
fn a_medium_that_fails_is_told_with_the_segment_and_kept_for_failure_details() {
    let bench = open_bench();
    let mut peer = bench.login(1);
    write(&mut peer, 0, 0, &[7; 8 * BLOCK]);
    bench.disks[1].break_medium();
    let list = copy_list(4, ListIdUsage::Hold, &[((0, 0), (0, 8), 8), ((0, 0), (1, 0), 8)]);
    let answer = peer.command_out(0, &cdb(0x83, 0, 0, list.len()), &list);
    assert_eq!(told(&answer), aborted(0x0d, 0x01));
    let details = peer.command_in(0, &cdb(0x84, 4, 4, 255), 255).data;
    let sense = Sense::decode(decode_failure_details(&details).unwrap()).unwrap();
    assert_eq!((sense.key, sense.command_specific), (SenseKey::CopyAborted, Some(1)));
    let status = TransferCount::decode(&peer.command_in(0, &cdb(0x84, 0, 4, 12), 12).data).unwrap();
    assert_eq!(status, TransferCount { status: CopyStatus::Failed, segments: 1, bytes: 4096 });
}

#[test]
fn more_copies_than_there_may_be_are_told_to_come_later() {
    let bench = Bench::new();
    bench.disks[0].open();
    let sessions = COPIES_MAX / COPIES_PER_SESSION_MAX;
    let mut peers: Vec<_> = (1..=sessions).map(|isid| bench.login(isid)).collect();
    let mut late = bench.login(99);
    write(&mut late, 0, 0, &[7; BLOCK]);
    let further = ((0, 0), (1, 9000), 1);
    for (number, peer) in (0..sessions).zip(&mut peers) {
        for lba in 0..COPIES_PER_SESSION_MAX {
            begin_copy(peer, 0, &[((0, 0), (1, u64::from(100 * number + lba)), 1)]);
        }
        bench.disks[1].await_writes(usize::from((number + 1) * COPIES_PER_SESSION_MAX));
        assert_eq!(told(&copy(peer, 0, &[further])), (8, None), "BUSY: the session has its share");
    }
    assert_eq!(told(&copy(&mut late, 0, &[further])), (8, None), "BUSY: there are no more");
    bench.disks[1].open();
    for peer in &mut peers {
        (0..COPIES_PER_SESSION_MAX).for_each(|_| assert_eq!(response(peer), (GOOD, None)));
        assert_eq!(told(&copy(peer, 0, &[further])), (GOOD, None));
    }
    assert_eq!(told(&copy(&mut late, 0, &[further])), (GOOD, None));
}
