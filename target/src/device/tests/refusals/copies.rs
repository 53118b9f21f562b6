//! Third-party copy: lists that are cut, at odds with themselves, or name what there is not; and RECEIVE COPY of what was never copied.

use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::opcode_table::Operation;
use lunkeep_common::scsi::third_party_copy::{
    BlockRange, Cscd, CscdId, ExtendedCopyList, ListIdUsage, PopulateTokenList, RodToken, Segment,
    WriteUsingTokenList,
};

use super::super::*;
use super::{Row, SMALL, in_cdb, in_list, length_error};
use crate::limits::{COPY_CSCDS_MAX, COPY_DESCRIPTORS_LEN_MAX, COPY_SEGMENTS_MAX, TOKEN_RANGES_MAX};

fn list() -> ExtendedCopyList {
    let designator = Designator::Naa(config().identity.naa);
    let designation = Designation { association: Association::LogicalUnit, designator };
    let segment = Segment {
        source: CscdId(0),
        destination: CscdId::OWN,
        counts_destination: false,
        blocks: 1,
        source_lba: 0,
        destination_lba: 1,
    };
    ExtendedCopyList {
        list_identifier: 0,
        usage: ListIdUsage::Hold,
        cscds: vec![Cscd { device_type: 0, designation, block_len: 0 }],
        segments: vec![segment],
    }
}

fn populate(ranges: &[(u64, u32)]) -> PopulateTokenList {
    let ranges = ranges.iter().map(|&(lba, blocks)| BlockRange { lba, blocks }).collect();
    PopulateTokenList { immediate: false, inactivity_timeout: 0, rod_type: None, ranges }
}

fn write(ranges: &[(u64, u32)]) -> WriteUsingTokenList {
    let ranges = populate(ranges).ranges;
    WriteUsingTokenList { immediate: false, delete_token: false, offset: 0, token: RodToken::zero(), ranges }
}

fn len(list: &[u8]) -> [u8; 4] {
    u32::try_from(list.len()).unwrap().to_be_bytes()
}

/// Copies something, so that there is a copy to be asked for.
pub(super) fn prepare(bench: &mut Bench, operation: Operation) {
    use Operation::{ReceiveCopyFailureDetailsLid1, ReceiveCopyStatusLid1, ReceiveRodTokenInformation};
    let asked = match operation {
        ReceiveCopyStatusLid1 | ReceiveCopyFailureDetailsLid1 => Operation::ExtendedCopyLid1,
        ReceiveRodTokenInformation => Operation::PopulateToken,
        _ => return,
    };
    let row = super::rows::row(asked);
    good(bench.run_out(&row.cdb, &row.data));
}

pub(super) fn extended_copy(operation: Operation) -> Row {
    let whole = list().encode();
    let mut row = Row::new(operation, &[(10, &len(&whole))], whole.clone())
        .accept("no list", &[(10, &[0; 4])], Vec::new())
        .accept("no descriptors", &[(10, &[0, 0, 0, 16])], vec![0; 16])
        .refuse("a length that nobody announced", &[(10, &[0xff; 4])], length_error())
        .refuse_with("less than the CDB says", &[], whole[..whole.len() - 1].to_vec(), length_error());
    let most = len(&vec![0; 17 + COPY_DESCRIPTORS_LEN_MAX as usize]);
    row = row.refuse("one byte too long", &[(10, &most)], length_error());
    for cut in [1, 15, 16, 47, 75] {
        let cut = whole[..cut].to_vec();
        row = row.refuse_with("a list that is cut", &[(10, &len(&cut))], cut.clone(), length_error());
    }
    let change = |at: usize, value: u8| {
        let mut changed = whole.clone();
        changed[at] = value;
        changed
    };
    let many = |cscds: u16, segments: u16| {
        let one = list();
        let cscds = vec![one.cscds[0].clone(); cscds.into()];
        ExtendedCopyList { cscds, segments: vec![one.segments[0]; segments.into()], ..one }.encode()
    };
    let wrong = [
        ("LIST ID USAGE", change(1, 0x08), in_list(1, Some(4))),
        ("a list identifier that is none", [&[1, 0x18], &whole[2..]].concat(), in_list(0, None)),
        ("INLINE DATA LENGTH", change(15, 1), illegal(Asc::INLINE_DATA_LENGTH_EXCEEDED)),
        ("half a CSCD descriptor", change(3, 16), in_list(2, None)),
        ("a CSCD descriptor of another type", change(16, 0xe0), illegal(Asc::UNSUPPORTED_TARGET_DESCRIPTOR)),
        ("a reserved ASSOCIATION", change(21, 0x33), in_list(20, None)),
        ("a segment of another type", change(48, 3), illegal(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR)),
        ("DESCRIPTOR LENGTH", change(51, 0x17), in_list(50, None)),
        ("half a segment", change(11, 14), in_list(8, None)),
        ("too many CSCDs", many(COPY_CSCDS_MAX + 1, 1), illegal(Asc::TOO_MANY_TARGET_DESCRIPTORS)),
        ("too many segments", many(1, COPY_SEGMENTS_MAX + 1), illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS)),
        ("more descriptors than may be", change(10, 0x10), length_error()),
    ];
    for (what, list, expected) in wrong {
        row = row.refuse_with(what, &[(10, &len(&list))], list.clone(), expected);
    }
    row
}

/// What the lists of the two token commands have in common; the ranges begin at `header`.
fn token_row(operation: Operation, header: u16, encode: impl Fn(&[(u64, u32)]) -> Vec<u8>) -> Row {
    let whole = encode(&[(1, 2), (8, 1)]);
    let at = usize::from(header);
    let mut row = Row::new(operation, &[(10, &len(&whole))], whole.clone())
        .free(6, 4, 0xff)
        .accept("no list", &[(10, &[0; 4])], Vec::new())
        .refuse("a length without end", &[(10, &[0xff; 4])], in_cdb(10, None))
        .refuse_with("less than the CDB says", &[], whole[..whole.len() - 1].to_vec(), length_error());
    for cut in [1, at - 1, at, whole.len() - 1] {
        let cut = whole[..cut].to_vec();
        row = row.refuse_with("a list that is cut", &[(10, &len(&cut))], cut.clone(), length_error());
    }
    let change = |at: usize, value: u8| {
        let mut changed = whole.clone();
        changed[at] = value;
        changed
    };
    let many: Vec<_> = (0..=TOKEN_RANGES_MAX).map(|_| (0, 0)).collect();
    let wrong = [
        ("a DATA LENGTH that is too short", [&[0, 29], &whole[2..]].concat(), in_list(0, None)),
        ("no ranges", change(at - 1, 0), in_list(header - 2, None)),
        ("half a range", change(at - 1, 24), in_list(header - 2, None)),
        ("more ranges than there are bytes", change(at - 1, 48), in_list(header - 2, None)),
        ("too many ranges", encode(&many), illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS)),
        ("ranges that overlap", encode(&[(8, 2), (0, 9)]), in_list(header, None)),
        ("beyond the end", encode(&[(0, 1), (SMALL, 1)]), out_of_range(SMALL)),
        ("no blocks beyond the end", encode(&[(SMALL + 1, 0)]), out_of_range(SMALL + 1)),
        ("an end that has no place in 64 bits", encode(&[(u64::MAX, 2)]), out_of_range(u64::MAX)),
    ];
    for (what, list, expected) in wrong {
        row = row.refuse_with(what, &[(10, &len(&list))], list.clone(), expected);
    }
    row
}

pub(super) fn populate_token(operation: Operation) -> Row {
    let mut row = token_row(operation, 16, |ranges| populate(ranges).encode());
    let one = populate(&[(0, 1)]);
    let wrong = [
        (PopulateTokenList { inactivity_timeout: 601, ..one.clone() }, in_list(4, None)),
        (PopulateTokenList { rod_type: Some(0), ..one.clone() }, in_list(8, None)),
        (PopulateTokenList { rod_type: Some(0x0001_0000), ..one.clone() }, in_list(8, None)),
        (PopulateTokenList { rod_type: Some(0xffff_0001), ..one }, in_list(8, None)),
    ];
    for (list, expected) in wrong {
        let list = list.encode();
        row = row.refuse_with("INACTIVITY TIMEOUT, ROD TYPE", &[(10, &len(&list))], list.clone(), expected);
    }
    row
}

pub(super) fn write_using_token(operation: Operation) -> Row {
    let mut row = token_row(operation, 536, |ranges| write(ranges).encode());
    let token = |at: usize, value: u8| {
        let mut list = write(&[(0, 1)]);
        list.token.0[at] = value;
        list.encode()
    };
    let wrong = [
        ("another ROD TYPE", token(0, 0), illegal(Asc::UNSUPPORTED_TOKEN_TYPE)),
        ("ROD TOKEN LENGTH", token(7, 0), illegal(Asc::INVALID_TOKEN_LENGTH)),
    ];
    for (what, list, expected) in wrong {
        row = row.refuse_with(what, &[(10, &len(&list))], list.clone(), expected);
    }
    row
}

/// A RECEIVE COPY, whose list identifier is 0 when something was copied under it.
pub(super) fn receive(operation: Operation) -> Row {
    let row = Row::new(operation, &[], Vec::new()).free(10, 4, 0xff);
    match operation {
        Operation::ReceiveCopyOperatingParameters => row,
        Operation::ReceiveRodTokenInformation => {
            row.refuse("no such list", &[(2, &[0xff; 4])], in_cdb(2, None))
        }
        _ => row.refuse("no such list", &[(2, &[0xff])], in_cdb(2, None)),
    }
}
