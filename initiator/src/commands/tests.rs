//! What operations send, and what they make of answers.

use bytes::Bytes;
use lunkeep_common::pdu::scsi_response::Residual;
use lunkeep_common::scsi::{Asc, Lun, Sense, SenseFormat, SenseKey, Status, asc, report_luns};

use super::*;

fn good(data: impl Into<Bytes>) -> Completion {
    Completion { status: Status::Good, sense: Bytes::new(), data: data.into(), residual: Residual::None }
}

#[test]
fn a_read_asks_for_its_blocks_and_wants_all_of_them() {
    let read = Read { lba: 0x1_0000_0001, blocks: 4, block_len: 512, force_unit_access: true };
    let request = read.request().unwrap();
    assert_eq!(request.cdb, [0x88, 0x08, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0]);
    assert_eq!(request.transfer, Transfer::In(2048));
    assert_eq!(read.finish(good(vec![7; 2048])).unwrap().len(), 2048);
    let short = CommandError::Short { operation: "READ(16)", expected: 2048, got: 2047 };
    assert_eq!(read.finish(good(vec![7; 2047])), Err(short));
    let huge = Read { blocks: u32::MAX, ..read };
    assert!(matches!(huge.request(), Err(CommandError::TransferTooLong { .. })));
}

#[test]
fn a_write_sends_whole_blocks_and_wants_them_taken() {
    let write = Write { lba: 9, data: vec![1; 1024].into(), block_len: 512, force_unit_access: false };
    let request = write.request().unwrap();
    assert_eq!(request.cdb, [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0]);
    assert_eq!(request.transfer, Transfer::Out(vec![1; 1024].into()));
    assert_eq!(write.finish(good(Bytes::new())), Ok(()));
    let partly = Completion { residual: Residual::Underflow(512), ..good(Bytes::new()) };
    assert!(matches!(write.finish(partly), Err(CommandError::Residual { .. })));
    let cut = Write { data: vec![1; 1000].into(), ..write };
    assert_eq!(cut.request(), Err(CommandError::PartialBlock { len: 1000, block_len: 512 }));
}

#[test]
fn a_status_other_than_good_is_an_error_with_its_sense() {
    let sense = Sense::new(SenseKey::UnitAttention, Asc { code: 0x29, qualifier: 0 });
    for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
        let completion = Completion {
            status: Status::CheckCondition,
            sense: sense.encode(format).into(),
            ..good(Bytes::new())
        };
        let error = TestUnitReady.finish(completion).unwrap_err();
        assert_eq!(error.unit_attention(), Some(asc::Asc { code: 0x29, qualifier: 0 }));
        assert!(!error.is_busy());
    }
    for (status, busy) in [
        (Status::CheckCondition, false),
        (Status::Busy, true),
        (Status::TaskSetFull, true),
        (Status::ReservationConflict, false),
        (Status::TaskAborted, false),
        (Status::AcaActive, false),
        (Status::ConditionMet, false),
    ] {
        let error = TestUnitReady.finish(Completion { status, ..good(Bytes::new()) }).unwrap_err();
        assert_eq!((error.is_busy(), error.unit_attention()), (busy, None), "{status:?}");
    }
}

#[test]
fn a_list_of_luns_that_was_cut_is_an_error() {
    let list = report_luns::encode([Lun(0), Lun(1 << 48)]);
    assert_eq!(ReportLuns.finish(good(list.clone())), Ok(vec![Lun(0), Lun(1 << 48)]));
    let cut = ReportLuns.finish(good(list[..16].to_vec()));
    assert_eq!(cut, Err(CommandError::Short { operation: "REPORT LUNS", expected: 16, got: 8 }));
    assert!(ReportLuns.finish(good(Bytes::new())).is_err());
}

#[test]
fn a_capacity_without_a_block_length_is_unreadable() {
    let mut data = vec![0; 32];
    data[7] = 99;
    assert_eq!(
        ReadCapacity16.finish(good(data.clone())),
        Err(CommandError::Unreadable { operation: "READ CAPACITY(16)" })
    );
    data[10] = 2;
    let capacity = ReadCapacity16.finish(good(data)).unwrap();
    assert_eq!((capacity.last_lba, capacity.block_len), (99, 512));
    assert!(ReadCapacity16.finish(good(vec![0xff; 32])).is_err(), "2^64 blocks cannot be");
    assert!(ReadCapacity10.finish(good(vec![0xff; 8])).is_err(), "ask with READ CAPACITY(16)");
}

#[test]
fn a_page_that_was_not_asked_for_is_unreadable() {
    let page = VitalProductData(0x80);
    assert_eq!(page.finish(good(vec![0, 0x80, 0, 2, b'a', b'b'])), Ok(Bytes::from_static(b"ab")));
    assert!(page.finish(good(vec![0, 0x83, 0, 0])).is_err());
    assert!(Inquiry.finish(good(vec![0; 20])).is_err());
}

#[test]
fn a_flush_is_answered_only_when_it_is_done() {
    let request = SynchronizeCache.request().unwrap();
    assert_eq!(request.cdb[..10], [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_copy_sends_its_list_and_says_how_long_it_is() {
    use lunkeep_common::scsi::third_party_copy::{
        BlockRange, ExtendedCopyList, ListIdUsage, PopulateTokenList, RodToken, WriteUsingTokenList,
    };
    let usage = ListIdUsage::None;
    let list = ExtendedCopyList { list_identifier: 0, usage, cscds: vec![], segments: vec![] };
    let request = ExtendedCopy(list.clone()).request().unwrap();
    assert_eq!(request.cdb, [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
    assert_eq!(request.transfer, Transfer::Out(list.encode().into()));
    let ranges = vec![BlockRange { lba: 1, blocks: 2 }];
    let list =
        PopulateTokenList { immediate: false, inactivity_timeout: 0, rod_type: None, ranges: ranges.clone() };
    let request = PopulateToken { list_identifier: 0x0102, list }.request().unwrap();
    assert_eq!(request.cdb, [0x83, 0x10, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 32, 0, 0]);
    let token = RodToken::zero();
    let list = WriteUsingTokenList { immediate: false, delete_token: false, offset: 0, token, ranges };
    let request = WriteUsingToken { list_identifier: 3, list }.request().unwrap();
    assert_eq!(request.cdb, [0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 2, 40, 0, 0]);
    assert_eq!(ReceiveRodTokenInformation(3).request().unwrap().cdb[..6], [0x84, 7, 0, 0, 0, 3]);
    assert_eq!(ReceiveCopyStatus(3).request().unwrap().cdb[..3], [0x84, 0, 3]);
    let unreadable = [
        ReceiveRodTokenInformation(3).finish(good(vec![0; 31])).map(drop).unwrap_err(),
        ReceiveCopyStatus(3).finish(good(vec![0; 11])).map(drop).unwrap_err(),
        ReceiveCopyOperatingParameters.finish(good(vec![0; 43])).map(drop).unwrap_err(),
    ];
    assert!(
        unreadable.iter().all(|error| matches!(error, CommandError::Unreadable { .. })),
        "{unreadable:?}"
    );
}
