//! Commands with a parameter list: too short, too long, cut, at odds with itself, and with values that there are not.
//!
//! A list that is shorter than the CDB says, because the initiator announced less, is never processed in part. Reserved bits of a
//! list are ignored, reserved values of a field are not.

use lunkeep_common::scsi::opcode_table::Operation;

use super::super::*;
use super::{DESCRIPTORS_MAX, Row, SMALL, UNMAP_MAX, in_cdb, in_list, length_error};

pub(super) fn format_unit(operation: Operation) -> Row {
    const FMTDATA: u8 = 0x10;
    const LONG: u8 = 0x30;
    let row = Row::new(operation, &[], Vec::new())
        // FMTDATA, and with it CMPLST.
        .accept("with a list", &[(1, &[FMTDATA | 0x08])], vec![0xe8, 0, 0, 0])
        .accept("with a long list", &[(1, &[LONG])], vec![0, 0xf0, 0, 0, 0, 0, 0, 0])
        .refuse("CMPLST without FMTDATA", &[(1, &[0x08])], in_cdb(1, Some(3)))
        .refuse("LONGLIST without FMTDATA", &[(1, &[0x20])], in_cdb(1, Some(5)))
        .refuse_with("FMTDATA with no list", &[(1, &[FMTDATA])], Vec::new(), length_error())
        .refuse_with("a list that is cut", &[(1, &[FMTDATA])], vec![0; 3], length_error())
        .refuse_with("a long list that is cut", &[(1, &[LONG])], vec![0; 7], length_error());
    let lists: [(u8, &[u8], Sense); 9] = [
        (FMTDATA, &[0x01, 0, 0, 0], in_list(0, Some(2))),
        (FMTDATA, &[0x07, 0, 0, 0], in_list(0, Some(2))),
        // DPRY, DCRT, STPF without FOV (SBC-3 §5.3.2.2); IP.
        (FMTDATA, &[0, 0x40, 0, 0], in_list(1, Some(6))),
        (FMTDATA, &[0, 0x20, 0, 0], in_list(1, Some(5))),
        (FMTDATA, &[0, 0x10, 0, 0], in_list(1, Some(4))),
        (FMTDATA, &[0, 0x88, 0, 0], in_list(1, Some(3))),
        // A list of defects; P_I_INFORMATION and PROTECTION INTERVAL EXPONENT.
        (FMTDATA, &[0, 0, 0, 4], in_list(2, None)),
        (LONG, &[0, 0, 0, 0, 0, 0, 1, 0], in_list(4, None)),
        (LONG, &[0, 0, 0, 1, 0, 0, 0, 0], in_list(3, None)),
    ];
    lists.into_iter().fold(row, |row, (flags, list, expected)| {
        row.refuse_with(&format!("{list:02x?}"), &[(1, &[flags])], list.to_vec(), expected)
    })
}

pub(super) fn overwrite(operation: Operation) -> Row {
    let mut row = Row::new(operation, &[(7, &[0, 5])], vec![0x01, 0, 0, 1, 0x77]).free(1, 1, 0xa0);
    let whole = [&[0x9f, 0xff, 2, 0][..], &[0x77; 512]].concat();
    row = row.accept("a whole block, as often as can be", &[(7, &[2, 4])], whole);
    for len in [0u16, 1, 4, 517, 0xffff] {
        row = row.refuse(&format!("a list of {len} bytes"), &[(7, &len.to_be_bytes())], in_cdb(7, None));
    }
    let lists: [(&[u8], Sense); 6] = [
        (&[0x01, 0, 0, 1], length_error()),
        (&[0x00, 0, 0, 1, 0x77], in_list(0, Some(4))),
        (&[0x21, 0, 0, 1, 0x77], in_list(0, Some(6))),
        (&[0x41, 0, 0, 1, 0x77], in_list(0, Some(6))),
        (&[0x01, 0, 0, 0, 0x77], in_list(2, None)),
        (&[0x01, 0, 0, 2, 0x77], in_list(2, None)),
    ];
    lists.into_iter().fold(row, |row, (list, expected)| {
        row.refuse_with(&format!("{list:02x?}"), &[], list.to_vec(), expected)
    })
}

/// First block and count of blocks.
type Descriptor = (u64, u32);

/// A list of UNMAP: its length fields as they should be, then these descriptors.
fn unmap_list(descriptors: &[Descriptor]) -> Vec<u8> {
    let body = u16::try_from(descriptors.len() * 16).unwrap();
    let mut list = [(body + 6).to_be_bytes(), body.to_be_bytes(), [0; 2], [0; 2]].concat();
    for (lba, blocks) in descriptors {
        list.extend([lba.to_be_bytes().as_slice(), &blocks.to_be_bytes(), &[0; 4]].concat());
    }
    list
}

pub(super) fn unmap(operation: Operation) -> Row {
    let with = |list: Vec<u8>| (u16::try_from(list.len()).unwrap().to_be_bytes(), list);
    let most = vec![(0, UNMAP_MAX / DESCRIPTORS_MAX); DESCRIPTORS_MAX.try_into().unwrap()];
    let (len, list) = with(unmap_list(&most));
    let mut row = Row::new(operation, &[(7, &len)], list)
        .accept("no list", &[(7, &[0, 0])], Vec::new())
        .accept("no descriptors", &[(7, &[0, 8])], unmap_list(&[]))
        .accept("half a descriptor", &[(7, &[0, 16])], unmap_list(&[(SMALL, 1)])[..16].to_vec())
        .refuse_on_plain_unit("not thin", &[], illegal(Asc::INVALID_OPERATION_CODE));
    for len in [1u16, 7] {
        row = row.refuse("a header that is cut", &[(7, &len.to_be_bytes())], length_error());
    }
    row = row.refuse_with("less than the CDB says", &[], unmap_list(&[(0, 1)]), length_error()).refuse_with(
        "a length that nobody announced",
        &[(7, &[0xff, 0xff])],
        unmap_list(&[(0, 1)]),
        length_error(),
    );
    let wrong: [(&str, &[Descriptor], Sense); 7] = [
        ("too many descriptors", &[(0, 1); 3], in_list(2, None)),
        ("too many blocks", &[(0, UNMAP_MAX + 1)], in_list(16, None)),
        ("too many blocks in all", &[(0, UNMAP_MAX), (0, 1)], in_list(32, None)),
        ("beyond the end", &[(SMALL, 1)], out_of_range(SMALL)),
        ("beyond the end after one that is not", &[(0, 1), (SMALL - 1, 2)], out_of_range(SMALL)),
        ("no blocks beyond the end", &[(SMALL + 1, 0)], out_of_range(SMALL + 1)),
        ("an end that has no place in 64 bits", &[(u64::MAX, u32::MAX)], out_of_range(u64::MAX)),
    ];
    for (what, descriptors, expected) in wrong {
        let (len, list) = with(unmap_list(descriptors));
        row = row.refuse_with(what, &[(7, &len)], list, expected);
    }
    row
}

/// The caching page with WCE.
const CACHING: [u8; 20] = [0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The caching page with one byte changed.
fn caching(at: usize, value: u8) -> Vec<u8> {
    let mut page = CACHING.to_vec();
    page[at] = value;
    page
}

pub(super) fn mode_select(operation: Operation) -> Row {
    let six = operation == Operation::ModeSelect6;
    let head = if six { 4u16 } else { 8 };
    let (header, at) = if six { (vec![0; 4], 4) } else { (vec![0; 8], 7) };
    let length = |len: usize| {
        if six {
            vec![u8::try_from(len).unwrap()]
        } else {
            u16::try_from(len).unwrap().to_be_bytes().to_vec()
        }
    };
    let list = |page: &[u8]| [&header, page].concat();
    let whole = list(&CACHING);
    let mut row = Row::new(operation, &[(1, &[0x10]), (at, &length(whole.len()))], whole.clone())
        .free(1, 1, 0x01)
        .accept("no list", &[(at, &length(0))], Vec::new())
        .accept("no pages", &[(at, &length(header.len()))], header.clone())
        .refuse("PF", &[(1, &[0x00])], in_cdb(1, Some(4)))
        .refuse_with("less than the CDB says", &[], list(&[]), length_error())
        .refuse_with(
            "a page that is cut",
            &[(at, &length(whole.len() - 1))],
            whole[..whole.len() - 1].to_vec(),
            length_error(),
        )
        .refuse_with("a page of one byte", &[(at, &length(header.len() + 1))], list(&[0x08]), length_error());
    for len in [1, header.len() - 1] {
        row = row.refuse("a header that is cut", &[(at, &length(len))], length_error());
    }
    // Bits that nobody gave a name to, and lengths that only grow by the list.
    let all = if six { vec![0xff] } else { vec![0xff, 0xff] };
    row = row.refuse("a length that nobody announced", &[(at, &all)], length_error());
    let exceptions: &[u8] = &[0x1c, 0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pages: Vec<(&str, Vec<u8>, Sense)> = vec![
        ("no such page", vec![0x02, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], in_list(head, Some(5))),
        ("no such subpage", vec![0x4a, 0x05, 0, 0x1c, 0, 0, 0, 0], in_list(head + 1, None)),
        ("PAGE LENGTH too short", caching(1, 0x0a), in_list(head + 1, None)),
        ("PAGE LENGTH too long", caching(1, 0x13), in_list(head + 1, None)),
        ("RCD", caching(2, 0x05), in_list(head + 2, Some(0))),
        ("DEMAND READ RETENTION PRIORITY", caching(3, 0x10), in_list(head + 3, Some(7))),
        ("WRITE RETENTION PRIORITY", caching(3, 0x01), in_list(head + 3, Some(3))),
        ("MAXIMUM PRE-FETCH", caching(9, 0x01), in_list(head + 8, None)),
        ("DRA", caching(12, 0x20), in_list(head + 12, Some(5))),
        ("NUMBER OF CACHE SEGMENTS", caching(13, 0x01), in_list(head + 13, None)),
        ("a reserved byte", caching(16, 0x01), in_list(head + 16, Some(0))),
        (
            "QUEUE ALGORITHM MODIFIER",
            vec![0x0a, 0x0a, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0],
            in_list(head + 3, Some(7)),
        ),
        ("TST", vec![0x0a, 0x0a, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], in_list(head + 2, Some(7))),
        ("QERR", vec![0x0a, 0x0a, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0], in_list(head + 3, Some(2))),
        (
            "DEXCPT after a page that is right",
            [&CACHING, &exceptions[..2], &[0], &exceptions[3..]].concat(),
            in_list(head + 22, Some(3)),
        ),
        ("MRIE", [&exceptions[..3], &[6], &exceptions[4..]].concat(), in_list(head + 3, Some(3))),
    ];
    for (what, page, expected) in pages {
        let list = list(&page);
        row = row.refuse_with(what, &[(at, &length(list.len()))], list, expected);
    }
    descriptors(row, six, &length)
}

/// Block descriptors of MODE SELECT.
fn descriptors(mut row: Row, six: bool, length: &dyn Fn(usize) -> Vec<u8>) -> Row {
    let (at, head, len_at) = if six { (4, 4u16, 3) } else { (7, 8, 6) };
    let header = |len: u8, long: bool| {
        if six { vec![0, 0, 0, len] } else { vec![0, 0, 0, 0, u8::from(long), 0, 0, len] }
    };
    let short: [u8; 8] = [0, 0, 0, 64, 0, 0, 2, 0];
    let with = |header: Vec<u8>, descriptor: &[u8]| [&header, descriptor].concat();
    let good = with(header(8, false), &short);
    row = row.accept("the block descriptor as it is", &[(at, &length(good.len()))], good);
    let mut lists = vec![
        ("half a descriptor", with(header(4, false), &short[..4]), in_list(len_at, None)),
        ("two descriptors", with(header(16, false), &[short, short].concat()), in_list(len_at, None)),
        ("a descriptor that is cut", with(header(8, false), &short[..7]), length_error()),
        ("another capacity", with(header(8, false), &[0, 0, 0, 65, 0, 0, 2, 0]), in_list(head, None)),
        (
            "another block length",
            with(header(8, false), &[0, 0, 0, 64, 0, 0, 16, 0]),
            in_list(head + 5, None),
        ),
    ];
    if !six {
        let long = [&[0; 7][..], &[64, 0, 0, 0, 0, 0, 0, 16, 0]].concat();
        lists.push(("a short one with LONGLBA", with(header(8, true), &short), in_list(len_at, None)));
        lists.push((
            "another block length with LONGLBA",
            with(header(16, true), &long),
            in_list(head + 12, None),
        ));
    }
    for (what, list, expected) in lists {
        row = row.refuse_with(what, &[(at, &length(list.len()))], list, expected);
    }
    row
}

pub(super) fn set_identifying(operation: Operation) -> Row {
    let mut row = Row::new(operation, &[(6, &[0, 0, 0, 3])], b"abc".to_vec())
        .accept("none", &[(6, &[0, 0, 0, 0])], Vec::new())
        .accept("as long as it can be", &[(6, &[0, 0, 0, 64])], vec![7; 64])
        .accept("text", &[(6, &[0, 0, 0, 3]), (10, &[0x04])], b"ab\0".to_vec())
        .refuse("one byte more", &[(6, &[0, 0, 0, 65])], in_cdb(6, None))
        .refuse("text of one byte more", &[(6, &[0, 0, 1, 1]), (10, &[0x04])], in_cdb(6, None))
        .refuse("a length without end", &[(6, &[0xff; 4])], in_cdb(6, None))
        .refuse_with("less than the CDB says", &[], b"ab".to_vec(), length_error())
        .refuse("more than is announced", &[(6, &[0, 0, 0, 64])], length_error())
        .refuse("text without its end", &[(10, &[0x04])], in_list(0, None))
        .refuse_with("text that goes on after its end", &[(10, &[0x04])], b"a\0\0".to_vec(), in_list(0, None))
        .refuse_with("text that is none", &[(10, &[0x04])], vec![0xff, 0xfe, 0], in_list(0, None));
    for kind in [1, 3, 0x3f, 0x40, 0x7f] {
        row = row.refuse("no such type", &[(10, &[kind << 1])], in_cdb(10, Some(7)));
    }
    row
}

pub(super) fn set_port_groups(operation: Operation) -> Row {
    let list = |state: u8, group: u8| vec![0, 0, 0, 0, state, 0, 0, group];
    let mut row = Row::new(operation, &[(6, &[0, 0, 0, 8])], list(0, 0))
        .accept("no list", &[(6, &[0; 4])], Vec::new())
        .accept("no groups", &[(6, &[0, 0, 0, 4])], vec![0; 4])
        .refuse_with("less than the CDB says", &[], vec![0; 4], length_error())
        .refuse_with("half a descriptor", &[(6, &[0, 0, 0, 6])], vec![0; 6], length_error())
        .refuse_with("no such group", &[], list(0, 1), in_list(6, None));
    for len in [1u32, 3, 9, 12, u32::MAX] {
        row = row.refuse(&format!("{len} bytes"), &[(6, &len.to_be_bytes())], length_error());
    }
    for state in [1, 2, 3, 4, 0xe, 0xf] {
        row = row.refuse_with("a state that it cannot be in", &[], list(state, 0), in_list(4, Some(3)));
    }
    row
}

pub(super) fn set_timestamp(operation: Operation) -> Row {
    let list = vec![0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0];
    let mut row = Row::new(operation, &[(6, &[0, 0, 0, 12])], list.clone())
        .accept("no list", &[(6, &[0; 4])], Vec::new())
        .refuse_with("less than the CDB says", &[], list[..11].to_vec(), length_error());
    for len in [1u32, 11, 13, u32::MAX] {
        row = row.refuse(&format!("{len} bytes"), &[(6, &len.to_be_bytes())], length_error());
    }
    row
}
