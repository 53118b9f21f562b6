//! Commands with a range of blocks (SBC-3 §4.5, §5): where it begins, how long it is, and whether the data fits.

use lunkeep_common::scsi::opcode_table::Operation;

use super::super::*;
use super::{COMPARE_MAX, Row, SMALL, TRANSFER_MAX, WRITE_SAME_MAX, in_cdb};

/// Which way the blocks go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    In,
    Out,
    None,
}

/// Where address and count stand: first byte and count of bytes of each.
fn places(len: usize) -> [(usize, usize); 2] {
    match len {
        6 => [(1, 3), (4, 1)],
        10 => [(2, 4), (7, 2)],
        12 => [(2, 4), (6, 4)],
        _ => [(2, 8), (10, 4)],
    }
}

/// CDB bytes for address and count; `None` when they do not fit.
fn range(len: usize, lba: u64, count: u32) -> Option<Vec<(usize, Vec<u8>)>> {
    let [(lba_at, lba_width), (count_at, count_width)] = places(len);
    let lba_max = if len == 6 { 0x1f_ffff } else { u64::MAX >> (64 - 8 * lba_width) };
    let count_max = u32::MAX >> (32 - 8 * count_width);
    (lba <= lba_max && count <= count_max).then(|| {
        vec![
            (lba_at, lba.to_be_bytes()[8 - lba_width..].to_vec()),
            (count_at, count.to_be_bytes()[4 - count_width..].to_vec()),
        ]
    })
}

fn patches(owned: &[(usize, Vec<u8>)]) -> Vec<(usize, &[u8])> {
    owned.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect()
}

fn cdb_len(operation: Operation) -> usize {
    operation.info().usage.len()
}

/// One block at block 0.
fn one(operation: Operation, data: Vec<u8>) -> Row {
    let one = range(cdb_len(operation), 0, 1).unwrap();
    Row::new(operation, &patches(&one), data)
}

/// Ranges that begin or end beyond the medium, with the first block that is not there.
fn beyond(mut row: Row, lbas_only: bool) -> Row {
    let all = |shift: u32| u64::MAX >> shift;
    let ranges = [
        (SMALL, 1, SMALL),
        (SMALL - 1, 2, SMALL),
        (SMALL + 1, 1, SMALL + 1),
        (all(43), 1, all(43)),
        (all(32), 1, all(32)),
        (all(0), 1, all(0)),
        // An offset in bytes, and an end, that have no place in 64 bits.
        (1 << 55, 1, 1 << 55),
        (all(0) - 1, u32::MAX, all(0) - 1),
        (0, u32::MAX, SMALL),
        (0, 0xffff, SMALL),
        (0, 0xff, SMALL),
    ];
    for (lba, count, first) in ranges {
        if lbas_only && (count != 1 || lba == 0) {
            continue;
        }
        if let Some(range) = range(row.cdb.len(), lba, count) {
            row = row.refuse(&format!("{count} from {lba:#x}"), &patches(&range), out_of_range(first));
        }
    }
    // Of no blocks at all: beyond the medium is beyond it (SBC-3 §4.5). In six bytes zero is 256.
    for lba in [SMALL + 1, all(32), all(0)] {
        if let Some(range) = range(row.cdb.len(), lba, 0).filter(|_| !lbas_only) {
            row = row.refuse(&format!("none from {lba:#x}"), &patches(&range), out_of_range(lba));
        }
    }
    row
}

/// A command whose count is bounded by MAXIMUM TRANSFER LENGTH when blocks move.
pub(super) fn row(operation: Operation, data: Data) -> Row {
    let len = cdb_len(operation);
    let out = if data == Data::Out { vec![0x5a; 512] } else { Vec::new() };
    let mut row = beyond(one(operation, out), false);
    if data != Data::None {
        row = bounded(row, TRANSFER_MAX, if data == Data::Out { TRANSFER_MAX } else { 0 });
    }
    if data == Data::Out {
        for announced in [1, 511, 513] {
            let two = range(len, 0, 2).unwrap();
            let what = format!("{announced} bytes for two blocks");
            let wrong = illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT);
            row = row.refuse_with(&what, &patches(&two), vec![0x5a; announced], wrong);
        }
    }
    let last = range(len, SMALL - 1, 1).unwrap();
    let data = row.data.clone();
    row.accept("the last block", &patches(&last), data)
}

/// At most `max` blocks; at the limit `blocks` of them come.
fn bounded(row: Row, max: u32, blocks: u32) -> Row {
    let len = row.cdb.len();
    let [_, (count_at, _)] = places(len);
    let (most, more) = (range(len, 0, max).unwrap(), range(len, 0, max + 1).unwrap());
    let wrong = in_cdb(count_at.try_into().unwrap(), None);
    let data = vec![0x5a; usize::try_from(blocks).unwrap() * 512];
    row.accept("as many as there may be", &patches(&most), data).refuse(
        "one more than there may be",
        &patches(&more),
        wrong,
    )
}

pub(super) fn verify(operation: Operation) -> Row {
    // DPO takes every value, BYTCHK does not.
    let row = row(operation, Data::In).free(1, 1, 0x10);
    let block = pattern(512);
    let wrong = illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT);
    row.accept("BYTCHK 01b", &[(1, &[0x02])], block.clone())
        .accept("BYTCHK 11b", &[(1, &[0x06])], block)
        .refuse("BYTCHK 10b is reserved", &[(1, &[0x04])], in_cdb(1, Some(2)))
        .refuse_with("BYTCHK 01b with less than a block", &[(1, &[0x02])], vec![0; 511], wrong.clone())
        .refuse_with("BYTCHK 11b with no block", &[(1, &[0x06])], Vec::new(), wrong)
}

pub(super) fn write_same(operation: Operation) -> Row {
    let len = cdb_len(operation);
    let [_, (count_at, _)] = places(len);
    let none = range(len, 0, 0).unwrap();
    let wrong = illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT);
    let mut row = bounded(beyond(one(operation, vec![0x5a; 512]), false), WRITE_SAME_MAX, 1)
        // WSNZ (SBC-3 §6.5.3).
        .refuse("a count of zero", &patches(&none), in_cdb(count_at.try_into().unwrap(), None))
        .refuse_on_plain_unit("UNMAP without provisioning", &[(1, &[0x08])], in_cdb(1, Some(3)));
    for announced in [0, 511, 513, 1024] {
        row = row.refuse_with(&format!("{announced} bytes"), &[], vec![0x5a; announced], wrong.clone());
    }
    row = row.free(1, 1, 0x08);
    if len == 16 {
        // NDOB: no block comes.
        row = row.free(1, 1, 0x01).accept("NDOB", &[(1, &[0x01])], Vec::new());
    }
    row
}

pub(super) fn compare_and_write(operation: Operation) -> Row {
    let wrong = illegal(Asc::INVALID_FIELD_IN_INFORMATION_UNIT);
    let both = |blocks: u8| pattern(usize::from(blocks) * 512).repeat(2);
    let mut row = Row::new(operation, &[(13, &[1])], both(1))
        .free(1, 1, 0x18)
        .accept("as many as there may be", &[(13, &[COMPARE_MAX])], both(COMPARE_MAX))
        .accept("none at all", &[(13, &[0])], Vec::new())
        .refuse("one more than there may be", &[(13, &[COMPARE_MAX + 1])], in_cdb(13, None))
        .refuse("none, with data for 256", &[(13, &[0])], in_cdb(13, None));
    for announced in [0, 512, 1023, 1025, 2048] {
        row = row.refuse_with(&format!("{announced} bytes"), &[], vec![0x5a; announced], wrong.clone());
    }
    for (lba, count, first) in [
        (SMALL, 1, SMALL),
        (SMALL - 1, 2, SMALL),
        (0, 0xff, SMALL),
        (u64::MAX, 1, u64::MAX),
        (u64::MAX, 0, u64::MAX),
    ] {
        let bytes = lba.to_be_bytes();
        row = row.refuse(
            &format!("{count} from {lba:#x}"),
            &[(2, &bytes), (13, &[count])],
            out_of_range(first),
        );
    }
    row
}

pub(super) fn get_lba_status(operation: Operation) -> Row {
    let mut row = Row::new(operation, &[(10, &[0, 0, 0, 24])], Vec::new()).free(10, 4, 0xff);
    for lba in [SMALL, SMALL + 1, 1 << 55, u64::MAX] {
        row = row.refuse(&format!("from {lba:#x}"), &[(2, &lba.to_be_bytes())], out_of_range(lba));
    }
    row.accept("the last block", &[(2, &(SMALL - 1).to_be_bytes())], Vec::new())
}
