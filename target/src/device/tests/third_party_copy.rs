//! EXTENDED COPY, the token commands and RECEIVE COPY: what is refused before anything is copied, and how a copy meets aborts, fences,
//! and writes.

use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::third_party_copy::results::decode_failure_details;
use lunkeep_common::scsi::third_party_copy::rod::rod_type;
use lunkeep_common::scsi::third_party_copy::{
    BlockRange, CopyStatus, Cscd, CscdId, ExtendedCopyList, ListIdUsage, OperatingParameters,
    PopulateTokenList, RodToken, RodTokenInformation, Segment, TransferCount, WriteUsingTokenList,
};

use super::*;
use crate::device::copy::copy_aborted;
use crate::device::reservation::Record;
use crate::limits::{COPY_CSCDS_MAX, COPY_SEGMENTS_MAX, TOKEN_RANGES_MAX};

const SEGMENT: Segment = Segment {
    source: CscdId::OWN,
    destination: CscdId(0),
    counts_destination: false,
    blocks: 8,
    source_lba: 0,
    destination_lba: 64,
};

fn own_name() -> Designation {
    Designation { association: Association::LogicalUnit, designator: Designator::Naa(config().identity.naa) }
}

fn copy_list(list_identifier: u8) -> ExtendedCopyList {
    let cscd = Cscd { device_type: 0, designation: own_name(), block_len: 512 };
    let usage = ListIdUsage::Hold;
    ExtendedCopyList { list_identifier, usage, cscds: vec![cscd], segments: vec![SEGMENT] }
}

fn cdb(opcode: u8, action: u8, list: u32, len: usize) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, action);
    match (opcode, action) {
        (0x84, 0 | 4) => cdb[2] = list.to_be_bytes()[3],
        (0x84, _) => cdb[2..6].copy_from_slice(&list.to_be_bytes()),
        (0x83, 0) => {}
        _ => cdb[6..10].copy_from_slice(&list.to_be_bytes()),
    }
    cdb[10..14].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
    cdb
}

fn extended_copy(bench: &mut Bench, list: &[u8]) -> Completion {
    bench.run_out(&cdb(0x83, 0, 0, list.len()), list)
}

fn populate(bench: &mut Bench, list: u32, parameters: &PopulateTokenList) -> Completion {
    let parameters = parameters.encode();
    bench.run_out(&cdb(0x83, 0x10, list, parameters.len()), &parameters)
}

fn one_range(lba: u64, blocks: u32) -> PopulateTokenList {
    let ranges = vec![BlockRange { lba, blocks }];
    PopulateTokenList { immediate: false, inactivity_timeout: 0, rod_type: None, ranges }
}

fn information(bench: &mut Bench, list: u32) -> RodTokenInformation {
    RodTokenInformation::decode(&good(bench.run(&cdb(0x84, 7, list, 1024)))).unwrap()
}

/// Makes a token for these blocks.
fn token(bench: &mut Bench, lba: u64, blocks: u32) -> RodToken {
    let list = u32::from(bench.random[39]);
    good(populate(bench, list, &one_range(lba, blocks)));
    let told = information(bench, list);
    assert_eq!((told.service_action, told.status, told.blocks), (0x10, CopyStatus::Completed, blocks.into()));
    *told.token.unwrap()
}

fn state_of(bench: &mut Bench, token: &RodToken) -> Option<Asc> {
    bench.unit.check_token(token, NOW_MS).err().map(|sense| sense.asc)
}

#[test]
fn a_list_that_is_right_becomes_a_copy_whose_status_is_told_once() {
    let mut bench = Bench::new();
    assert_eq!(sense(bench.run(&cdb(0x84, 0, 7, 1024))), Sense::invalid_field_in_cdb(2, None));
    good(extended_copy(&mut bench, &copy_list(7).encode()));
    assert_eq!(bench.copies, [Copy::Segments(copy_list(7))]);
    let status = TransferCount::decode(&good(bench.run(&cdb(0x84, 0, 7, 1024)))).unwrap();
    assert_eq!(status, TransferCount { status: CopyStatus::Completed, segments: 1, bytes: 512 });
    assert_eq!(sense(bench.run(&cdb(0x84, 0, 7, 1024))), Sense::invalid_field_in_cdb(2, None));
    good(extended_copy(&mut bench, &copy_list(7).encode()));
    assert_eq!(decode_failure_details(&good(bench.run(&cdb(0x84, 4, 7, 1024)))), None);
}

#[test]
fn without_a_list_identifier_nothing_is_kept_and_without_segments_nothing_is_done() {
    let mut bench = Bench::new();
    let list = ExtendedCopyList { usage: ListIdUsage::None, ..copy_list(0) };
    good(extended_copy(&mut bench, &list.encode()));
    assert_eq!(sense(bench.run(&cdb(0x84, 0, 0, 1024))), Sense::invalid_field_in_cdb(2, None));
    good(extended_copy(&mut bench, &ExtendedCopyList { segments: vec![], ..list }.encode()));
    good(extended_copy(&mut bench, &[]));
    assert_eq!(bench.copies.len(), 1);
}

#[test]
fn operating_parameters_are_the_limits_that_hold() {
    let mut bench = Bench::new();
    let told = OperatingParameters::decode(&good(bench.run(&cdb(0x84, 3, 0, 1024)))).unwrap();
    assert_eq!((told.cscds, told.segments), (COPY_CSCDS_MAX, COPY_SEGMENTS_MAX));
    assert_eq!(told.descriptors, [2, 0xe4]);
    let full = |cscds: u16, segments: u16| {
        let one = copy_list(1);
        let cscds = vec![one.cscds[0].clone(); cscds.into()];
        ExtendedCopyList { cscds, segments: vec![SEGMENT; segments.into()], ..one }.encode()
    };
    good(extended_copy(&mut bench, &full(told.cscds, told.segments)));
    let asc = |bench: &mut Bench, list: &[u8]| sense(extended_copy(bench, list)).asc;
    assert_eq!(asc(&mut bench, &full(told.cscds + 1, 1)), Asc::TOO_MANY_TARGET_DESCRIPTORS);
    assert_eq!(asc(&mut bench, &full(1, told.segments + 1)), Asc::TOO_MANY_SEGMENT_DESCRIPTORS);
    let long = vec![0; usize::try_from(told.descriptors_len).unwrap() + 17];
    assert_eq!(asc(&mut bench, &long), Asc::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(bench.copies.len(), 1);
}

#[test]
fn a_failure_is_told_with_its_sense_data_as_often_as_it_is_asked_for() {
    let mut bench = Bench::new();
    let list = copy_list(3).encode();
    let (task, step) = bench.begin(&cdb(0x83, 0, 0, list.len()), list.len());
    assert!(matches!(step, Step::DataOut(_)));
    assert!(matches!(bench.unit.data_out(task, vec![list.into()]), Step::Copy(_)));
    let status = |bench: &mut Bench| TransferCount::decode(&good(bench.run(&cdb(0x84, 0, 3, 12)))).unwrap();
    assert!(bench.unit.copy_reads(task, CopyTotals { segments: 0, bytes: 4096 }));
    for _ in 0..2 {
        let running = TransferCount { status: CopyStatus::InProgress, segments: 0, bytes: 4096 };
        assert_eq!(status(&mut bench), running);
    }
    assert_eq!(sense(bench.run(&cdb(0x84, 4, 3, 255))), Sense::invalid_field_in_cdb(2, None), "it runs");
    let failed = copy_aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, 5);
    let totals = CopyTotals { segments: 5, bytes: 8192 };
    let Step::Done(done) = bench.unit.copy_done(task, totals, Err(failed.clone())) else { panic!() };
    assert_eq!(done, failed);
    let expected = TransferCount { status: CopyStatus::Failed, segments: 5, bytes: 8192 };
    assert_eq!(status(&mut bench), expected);
    for _ in 0..2 {
        let details = good(bench.run(&cdb(0x84, 4, 3, 255)));
        let sense = Sense::decode(decode_failure_details(&details).unwrap()).unwrap();
        assert_eq!((sense.key, sense.asc), (SenseKey::CopyAborted, Asc::THIRD_PARTY_DEVICE_FAILURE));
        assert_eq!(sense.command_specific, Some(5), "the segment");
    }
}

#[test]
fn a_list_identifier_is_busy_while_its_copy_runs() {
    let mut bench = Bench::new();
    let list = copy_list(3).encode();
    let (task, _) = bench.begin(&cdb(0x83, 0, 0, list.len()), list.len());
    assert!(matches!(bench.unit.data_out(task, vec![list.clone().into()]), Step::Copy(_)));
    assert_eq!(sense(extended_copy(&mut bench, &list)), illegal(Asc::OPERATION_IN_PROGRESS));
    good(extended_copy(&mut bench, &copy_list(4).encode()));
    bench.attach(2);
    bench.nexus = NexusId(2);
    good(extended_copy(&mut bench, &list));
}

#[test]
fn what_a_token_command_may_not_say_is_refused_and_pointed_at() {
    let mut bench = Bench::new();
    let field = |byte| Sense::invalid_field_in_parameter_list(byte, None);
    let base = one_range(0, 8);
    let cases = [
        (PopulateTokenList { inactivity_timeout: 601, ..base.clone() }, field(4)),
        (PopulateTokenList { rod_type: Some(0x0001_0000), ..base.clone() }, field(8)),
        (PopulateTokenList { rod_type: Some(rod_type::BLOCK_DEVICE_ZERO), ..base.clone() }, field(8)),
        (one_range(BLOCKS - 1, 2), out_of_range(BLOCKS)),
        (one_range(u64::MAX, 1), out_of_range(u64::MAX)),
    ];
    for (list, expected) in cases {
        assert_eq!(sense(populate(&mut bench, 1, &list)), expected, "{list:?}");
    }
    let ranges = (0..=u64::from(TOKEN_RANGES_MAX)).map(|lba| BlockRange { lba, blocks: 1 }).collect();
    let many = PopulateTokenList { ranges, ..base.clone() };
    assert_eq!(sense(populate(&mut bench, 1, &many)), illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
    assert_eq!(sense(bench.run(&cdb(0x83, 0x10, 1, 1 << 16))), Sense::invalid_field_in_cdb(10, None));
    assert_eq!(sense(bench.run(&cdb(0x84, 7, 1, 1024))), Sense::invalid_field_in_cdb(2, None));
    assert_eq!(bench.copies, []);
    for rod_type in [0x0080_0000, 0x0080_0001, 0x0080_ffff] {
        good(populate(&mut bench, 1, &PopulateTokenList { rod_type: Some(rod_type), ..base.clone() }));
    }
}

#[test]
fn more_than_the_largest_token_transfer_is_refused() {
    let mut bench = Bench::with(|config| config.medium.size = 1 << 30);
    good(populate(&mut bench, 1, &one_range(0, 512 << 10)));
    let refused = sense(populate(&mut bench, 1, &one_range(0, (512 << 10) + 1)));
    assert_eq!(refused, Sense::invalid_field_in_parameter_list(16, None));
}

#[test]
fn write_using_token_takes_two_types_of_tokens_and_checks_its_ranges() {
    let mut bench = Bench::new();
    let write = |bench: &mut Bench, token: RodToken, lba: u64, blocks: u32| {
        let ranges = vec![BlockRange { lba, blocks }];
        let list =
            WriteUsingTokenList { immediate: true, delete_token: false, offset: 0, token, ranges }.encode();
        bench.run_out(&cdb(0x83, 0x11, 9, list.len()), &list)
    };
    let own = token(&mut bench, 0, 8);
    assert_eq!(&own.0[..8], [0, 0x80, 0, 1, 0, 0, 1, 0xf8]);
    assert_eq!((&own.0[16..20], &own.0[20..24]), (&[0xe4, 0, 0, 0][..], &[1, 3, 0, 8][..]));
    assert_eq!((&own.0[48..64], own.0[128]), (&4096u128.to_be_bytes()[..], 7));
    good(write(&mut bench, own.clone(), 64, 8));
    good(write(&mut bench, RodToken::zero(), 64, 8));
    assert_eq!(sense(write(&mut bench, own.clone(), BLOCKS, 1)), out_of_range(BLOCKS));
    let mut other = own;
    other.0[3] = 0;
    assert_eq!(sense(write(&mut bench, other, 64, 8)), illegal(Asc::UNSUPPORTED_TOKEN_TYPE));
    let mut read_only = Bench::with(|config| config.medium.read_only = true);
    let refused = sense(write(&mut read_only, RodToken::zero(), 64, 8));
    assert_eq!(refused, Sense::new(SenseKey::DataProtect, Asc::WRITE_PROTECTED));
}

#[test]
fn a_token_is_revoked_by_whatever_changes_its_blocks_and_by_nothing_else() {
    let mut bench = Bench::new();
    let beside: [(Vec<u8>, Vec<u8>); 3] = [
        (write_cdb(Form::Ten, 7, 1).to_vec(), vec![1; 512]),
        (write_cdb(Form::Ten, 16, 8).to_vec(), vec![1; 4096]),
        (read_cdb(Form::Ten, 8, 8).to_vec(), vec![]),
    ];
    let unmap = |ranges: &[(u64, u32)]| {
        let all =
            ranges.iter().map(|&(lba, blocks)| lunkeep_common::scsi::unmap::UnmapDescriptor { lba, blocks });
        lunkeep_common::scsi::unmap::encode(&all.collect::<Vec<_>>()).unwrap()
    };
    let (around, within) = (unmap(&[(0, 8), (16, 8)]), unmap(&[(0, 1), (15, 1)]));
    let mut keeps = beside.to_vec();
    keeps.push(([&[0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], [0; 6].as_slice()].concat(), around));
    let kept = token(&mut bench, 8, 8);
    for (cdb, data) in keeps {
        good(bench.run_out(&cdb, &data));
        assert_eq!(state_of(&mut bench, &kept), None, "{cdb:02x?}");
    }
    let mut same = [0; 16];
    (same[0], same[9], same[13]) = (0x93, 15, 1);
    let mut compare = [0; 16];
    (compare[0], compare[9], compare[13]) = (0x89, 8, 1);
    let mut or = write_cdb(Form::Sixteen, 9, 1);
    or[0] = 0x8b;
    let mut verify = write_cdb(Form::Ten, 10, 1);
    verify[0] = 0x2e;
    let changes: [(Vec<u8>, Vec<u8>); 7] = [
        (write_cdb(Form::Ten, 15, 2).to_vec(), vec![1; 1024]),
        (same.to_vec(), vec![1; 512]),
        (vec![0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], within),
        (or.to_vec(), vec![1; 512]),
        (verify.to_vec(), vec![1; 512]),
        // It may change them: what comes of it is not known when it is let in.
        (compare.to_vec(), vec![9; 1024]),
        (vec![0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0], vec![]),
    ];
    for (number, (cdb, data)) in (100..).zip(changes) {
        bench.random[39] = number;
        let revoked = token(&mut bench, 8, 8);
        assert_eq!(state_of(&mut bench, &revoked), None);
        bench.run_out(&cdb, &data);
        assert_eq!(state_of(&mut bench, &revoked), Some(Asc::TOKEN_REVOKED), "{cdb:02x?}");
    }
}

#[test]
fn no_token_is_made_while_a_write_of_its_blocks_is_under_way() {
    let mut bench = Bench::new();
    let (task, _) = bench.begin(&write_cdb(Form::Ten, 8, 2), 1024);
    let Step::Media(op) = bench.unit.data_out(task, vec![vec![1; 1024].into()]) else { panic!() };
    assert_eq!(populate(&mut bench, 1, &one_range(9, 4)).status, Status::Busy);
    assert_eq!(sense(bench.run(&cdb(0x84, 7, 1, 1024))), Sense::invalid_field_in_cdb(2, None));
    good(populate(&mut bench, 1, &one_range(10, 4)));
    let reply = bench.execute(op);
    assert!(matches!(bench.unit.media_done(task, Ok(reply)), Step::Done(_)));
    good(populate(&mut bench, 1, &one_range(9, 4)));
}

/// A copy that runs, and a pass into its unit.
fn running_copy(bench: &mut Bench) -> (TaskId, CopyPass) {
    let list = copy_list(1).encode();
    let (task, _) = bench.begin(&cdb(0x83, 0, 0, list.len()), list.len());
    assert!(matches!(bench.unit.data_out(task, vec![list.into()]), Step::Copy(_)));
    (task, bench.unit.join_copy(bench.nexus).unwrap())
}

fn write_leg() -> Leg {
    Leg::Write { offset: 512, data: vec![1; 512].into() }
}

#[test]
fn a_unit_is_known_by_each_of_its_own_names_and_by_no_other() {
    let bench = Bench::new();
    let name = |association, designator| bench.unit.is_named(&Designation { association, designator });
    let naa = config().identity.naa;
    let t10 = |identifier: &str| Designator::T10VendorId {
        vendor: "LUNKEEP".into(),
        identifier: identifier.as_bytes().to_vec(),
    };
    assert!(name(Association::LogicalUnit, Designator::Naa(naa.clone())));
    assert!(name(Association::LogicalUnit, t10("Virtual disk    3600102030405060")));
    assert!(!name(Association::LogicalUnit, t10("Virtual disk    3600102030405061")));
    assert!(!name(Association::LogicalUnit, Designator::Naa(naa[..7].to_vec())));
    assert!(!name(Association::TargetPort, Designator::Naa(naa)));
    assert!(!name(Association::TargetPort, Designator::RelativeTargetPort(1)));
}

/// What the fence waited for is gone.
fn end_fence(bench: &mut Bench, task: TaskId) {
    let mut step = bench.unit.fence_drained(task, Ok(())).remove(0).step;
    while let Step::Record(_) = step {
        step = bench.unit.recorded(task, Ok(())).remove(0).step;
    }
    assert!(matches!(step, Step::Done(_)), "{step:?}");
}

#[test]
fn a_leg_is_a_task_of_its_unit_until_the_medium_has_answered() {
    let mut bench = Bench::new();
    let (task, pass) = running_copy(&mut bench);
    for leg in
        [Leg::Read { offset: 0, len: 512, granule: 512 }, write_leg(), Leg::Zero { offset: 0, len: 4096 }]
    {
        assert_eq!(bench.unit.task_count(), 1);
        let Step::Media(op) = bench.unit.begin_leg(TaskId(900), &pass, leg) else { panic!() };
        assert_eq!(bench.unit.task_count(), 2);
        assert!(!matches!(op, MediaOp::WriteSame { unmap: false, .. }), "holes stay holes");
        let Step::Done(done) = bench.unit.media_done(TaskId(900), Ok(MediaReply::Done)) else { panic!() };
        assert_eq!(done.status, Status::Good);
    }
    assert!(bench.unit.copy_writes(task));
    let beyond = Leg::Read { offset: BLOCKS * 512 - 512, len: 1024, granule: 512 };
    assert!(matches!(bench.unit.begin_leg(TaskId(901), &pass, beyond), Step::Done(_)));
    assert_eq!(bench.unit.task_count(), 1);
}

#[test]
fn every_way_to_abort_ends_the_copy_and_shuts_its_legs_out() {
    type Abort = fn(&mut LogicalUnit, TaskId) -> Aborted;
    let all: [(&str, Abort, bool); 6] = [
        ("ABORT TASK", |unit, task| unit.abort_task(NexusId(1), task), false),
        ("ABORT TASK SET", |unit, _| unit.abort_task_set(NexusId(1)), true),
        ("CLEAR TASK SET", |unit, _| unit.clear_task_set(NexusId(2)), true),
        ("LOGICAL UNIT RESET", |unit, _| unit.reset(Reset::LogicalUnit, NexusId(1)), true),
        ("TARGET COLD RESET", |unit, _| unit.reset(Reset::TargetCold, NexusId(1)), true),
        ("I_T nexus loss", |unit, _| unit.detach(NexusId(1)), true),
    ];
    for (name, abort, shuts_out) in all {
        for writes in [false, true] {
            let mut bench = Bench::new();
            bench.attach(2);
            let (task, pass) = running_copy(&mut bench);
            assert!(!writes || bench.unit.copy_writes(task));
            let aborted = abort(&mut bench.unit, task);
            let ids = |list: &[AbortedTask]| list.iter().map(|aborted| aborted.task).collect::<Vec<_>>();
            let waits = if writes { (vec![task], vec![]) } else { (vec![], vec![task]) };
            assert_eq!((ids(&aborted.draining), ids(&aborted.reading)), waits, "{name} waits for a write");
            assert!(!bench.unit.copy_writes(task), "{name}");
            let step = bench.unit.begin_leg(TaskId(900), &pass, write_leg());
            assert_eq!(matches!(step, Step::Aborted), shuts_out, "{name}: {step:?}");
            if !shuts_out {
                bench.unit.media_done(TaskId(900), Ok(MediaReply::Done));
            }
            let ended = bench.unit.copy_done(task, CopyTotals::default(), Ok(()));
            assert!(matches!(ended, Step::Aborted), "{name}");
            assert_eq!(bench.unit.task_count(), 0, "{name}");
        }
    }
}

#[test]
fn a_fence_waits_for_the_leg_that_passed_and_shuts_the_next_one_out() {
    let mut bench = Bench::new();
    bench.attach(2);
    let pass = bench.unit.join_copy(NexusId(1)).unwrap();
    assert!(matches!(bench.unit.begin_leg(TaskId(900), &pass, write_leg()), Step::Media(_)));
    let mut register = [0; 24];
    register[15] = 2;
    let own = std::mem::replace(&mut bench.nexus, NexusId(2));
    good(bench.run_out(&[0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0], &register));
    let mut reserve = [0; 24];
    reserve[7] = 2;
    let (task, _) = bench.begin(&[0x5f, 1, 1, 0, 0, 0, 0, 0, 24, 0], 24);
    let Step::Fence(fence) = bench.unit.data_out(task, vec![reserve.to_vec().into()]) else { panic!() };
    assert_eq!(fence.drain, [TaskId(900)]);
    for during in [true, false] {
        let step = bench.unit.begin_leg(TaskId(901), &pass, write_leg());
        let Step::Done(refused) = step else { panic!("{step:?}") };
        assert_eq!(refused.status, Status::ReservationConflict);
        let read = bench.unit.begin_leg(TaskId(902), &pass, Leg::Read { offset: 0, len: 512, granule: 512 });
        assert!(matches!(read, Step::Media(_)), "write exclusive lets others read");
        bench.unit.media_done(TaskId(902), Ok(MediaReply::Done));
        if during {
            bench.unit.media_done(TaskId(900), Ok(MediaReply::Done));
            end_fence(&mut bench, task);
        }
    }
    bench.nexus = own;
    let refused = extended_copy(&mut bench, &copy_list(1).encode());
    assert_eq!(refused.status, Status::ReservationConflict);
    assert_ne!(*bench.unit.reservation_record(), Record::default());
}

#[test]
fn a_copy_is_shut_out_of_the_unit_that_got_it_and_waited_for_while_it_writes() {
    for writes in [false, true] {
        let mut bench = Bench::new();
        bench.attach(2);
        let (task, _) = running_copy(&mut bench);
        assert!(!writes || bench.unit.copy_writes(task));
        let own = std::mem::replace(&mut bench.nexus, NexusId(2));
        let (reserve, step) = bench.begin(&[0x16, 0, 0, 0, 0, 0], 0);
        match step {
            Step::Fence(fence) => assert_eq!((&fence.drain[..], writes), (&[task][..], true)),
            step => assert!(matches!(step, Step::Record(_)) && !writes, "{step:?}"),
        }
        assert!(!bench.unit.copy_reads(task, CopyTotals::default()), "so that nothing waits for all of it");
        assert!(!bench.unit.copy_writes(task));
        let failed = copy_aborted(Asc::THIRD_PARTY_DEVICE_FAILURE, 0);
        bench.unit.copy_done(task, CopyTotals::default(), Err(failed));
        if writes {
            end_fence(&mut bench, reserve);
        } else {
            bench.unit.recorded(reserve, Ok(()));
        }
        bench.nexus = own;
        assert_eq!(bench.run(&write_cdb(Form::Ten, 0, 1)).status, Status::ReservationConflict);
    }
}

/// What the operator does to the unit, or to its nexus 1.
type Change = fn(&mut LogicalUnit);

#[test]
fn a_copy_ends_when_its_unit_leaves_or_its_medium_is_changed() {
    let all: [(&str, Change); 3] = [
        ("withdrawn", |unit| drop(unit.begin_withdrawal(&[NexusId(1)]).unwrap())),
        ("replaced", |unit| drop(unit.begin_change(MediumChange::Replaced { force: false }).unwrap())),
        ("ejected", |unit| unit.eject(false).unwrap()),
    ];
    for (name, change) in all {
        let mut bench = Bench::with(|config| config.removable = true);
        let (task, pass) = running_copy(&mut bench);
        assert!(bench.unit.copy_writes(task));
        assert!(matches!(bench.unit.begin_leg(TaskId(900), &pass, write_leg()), Step::Media(_)));
        change(&mut bench.unit);
        let goes_on = bench.unit.copy_writes(task);
        assert_eq!(goes_on, name == "ejected", "the command may be about other units");
        bench.unit.media_done(TaskId(900), Ok(MediaReply::Done));
        assert!(matches!(bench.unit.begin_leg(TaskId(901), &pass, write_leg()), Step::Aborted), "{name}");
        bench.unit.copy_done(task, CopyTotals::default(), Ok(()));
    }
}

#[test]
fn a_token_ends_with_the_content_that_it_stands_for() {
    let shape = |size: u64| MediumShape { size, ..config().medium };
    let mut bench = Bench::with(|config| config.removable = true);
    let (first, second) = (token(&mut bench, 0, 8), {
        bench.random[39] = 1;
        token(&mut bench, BLOCKS - 1, 1)
    });
    bench.unit.begin_change(MediumChange::Same).unwrap();
    bench.unit.end_change(MediumChange::Same, Some(shape(BLOCKS * 512 + 4096))).unwrap();
    assert_eq!((state_of(&mut bench, &first), state_of(&mut bench, &second)), (None, None), "it grew");
    bench.unit.begin_change(MediumChange::Same).unwrap();
    bench.unit.end_change(MediumChange::Same, Some(shape(BLOCKS * 512 - 512))).unwrap();
    let revoked = Some(Asc::TOKEN_REVOKED);
    assert_eq!((state_of(&mut bench, &first), state_of(&mut bench, &second)), (None, revoked), "it shrank");
    bench.unit.eject(false).unwrap();
    assert_eq!(state_of(&mut bench, &first), revoked);
}

#[test]
fn without_a_write_cache_what_a_copy_writes_is_stable() {
    let mut bench = Bench::new();
    let pass = bench.unit.join_copy(NexusId(1)).unwrap();
    bench.unit.state.mode.write_cache = false;
    let Step::Media(op) = bench.unit.begin_leg(TaskId(900), &pass, write_leg()) else { panic!() };
    assert!(matches!(op, MediaOp::Write { force_unit_access: true, .. }));
    let zero = Leg::Zero { offset: 0, len: 512 };
    assert!(matches!(bench.unit.begin_leg(TaskId(901), &pass, zero), Step::Media(MediaOp::WriteSame { .. })));
    let next = bench.unit.media_done(TaskId(901), Ok(MediaReply::Done));
    assert!(matches!(next, Step::Media(MediaOp::Flush)));
}
