//! LUNs without a logical unit, and the REPORT LUNS well-known logical unit.

use super::*;
use crate::device::absent::answer;

const UNUSED: Lun = Lun(5 << 48);

fn padded(cdb: &[u8]) -> Vec<u8> {
    let mut cdb = cdb.to_vec();
    cdb.resize(16, 0);
    cdb
}

fn ask(lun: Lun, cdb: &[u8]) -> Completion {
    answer(lun, &padded(cdb), &[Lun(1 << 48)])
}

#[test]
fn inquiry_says_that_nothing_can_be_here() {
    let data = good(ask(UNUSED, &[0x12, 0, 0, 0, 0xff, 0]));
    assert_eq!((data[0], data.len()), (0x7f, 96));
    assert_eq!(good(ask(UNUSED, &[0x12, 0, 0, 0, 5, 0])), data[..5]);
    assert_eq!(good(ask(UNUSED, &[0x12, 1, 0, 0, 0xff, 0])), [0x7f, 0, 0, 1, 0]);
    assert_eq!(sense(ask(UNUSED, &[0x12, 1, 0x83, 0, 0xff, 0])), Sense::invalid_field_in_cdb(2, None));
    assert_eq!(sense(ask(UNUSED, &[0x12, 0, 0x83, 0, 0xff, 0])), Sense::invalid_field_in_cdb(2, None));
}

#[test]
fn request_sense_says_so_in_its_data() {
    for descriptor in [0, 1] {
        let data = good(ask(UNUSED, &[0x03, descriptor, 0, 0, 0xff, 0]));
        assert_eq!(Sense::decode(&data), Some(illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED)));
    }
}

#[test]
fn report_luns_is_answered_everywhere() {
    for lun in [Lun(0), UNUSED, Lun::REPORT_LUNS_WELL_KNOWN] {
        let data = good(ask(lun, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]));
        assert_eq!(data, [0, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn everything_else_is_refused() {
    for opcode in 0..=0xff {
        if ![0x03, 0x12, 0xa0].contains(&opcode) {
            let expected = illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED);
            assert_eq!(sense(ask(UNUSED, &[opcode])), expected, "{opcode:02x}h");
        }
    }
    assert_eq!(sense(ask(UNUSED, &[0x12, 2])), illegal(Asc::LOGICAL_UNIT_NOT_SUPPORTED), "malformed");
}

#[test]
fn the_well_known_unit_has_its_four_commands() {
    let lun = Lun::REPORT_LUNS_WELL_KNOWN;
    assert_eq!(good(ask(lun, &[0x12, 0, 0, 0, 0xff, 0]))[0], 0x1e);
    good(ask(lun, &[0x00]));
    let data = good(ask(lun, &[0x03, 0, 0, 0, 0xff, 0]));
    assert_eq!(Sense::decode(&data).unwrap().key, SenseKey::NoSense);
    assert_eq!(sense(ask(lun, &[0x28])), illegal(Asc::INVALID_OPERATION_CODE));
    assert_eq!(sense(ask(lun, &[0xee])), illegal(Asc::INVALID_OPERATION_CODE));
    assert_eq!(sense(ask(lun, &[0xa0, 1])), Sense::invalid_field_in_cdb(1, Some(0)));
}
