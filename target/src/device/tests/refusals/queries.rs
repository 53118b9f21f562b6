//! Commands that only tell something, and START STOP UNIT: pages, formats and options that there are not. No ALLOCATION LENGTH is
//! ever wrong (SPC-4 §4.3.5.6).

use lunkeep_common::scsi::opcode_table::Operation;

use super::{Row, in_cdb};

pub(super) fn start_stop(operation: Operation) -> Row {
    let row = Row::new(operation, &[(4, &[1])], Vec::new()).free(1, 1, 0x01).free(4, 1, 0x07);
    row.refuse_on_plain_unit("LOEJ where nothing can be ejected", &[(4, &[0x02])], in_cdb(4, Some(1)))
}

pub(super) fn inquiry(operation: Operation) -> Row {
    Row::new(operation, &[], Vec::new())
        .free(1, 1, 0x01)
        .free(3, 2, 0xff)
        .accept("EVPD", &[(1, &[1]), (2, &[0x83])], Vec::new())
        .refuse("PAGE CODE without EVPD", &[(2, &[0x80])], in_cdb(2, None))
        .refuse("no such page", &[(1, &[1]), (2, &[0x7f])], in_cdb(2, None))
        .refuse("no page of protection information", &[(1, &[1]), (2, &[0x84])], in_cdb(2, None))
}

pub(super) fn mode_sense(operation: Operation) -> Row {
    let row = Row::new(operation, &[(2, &[0x3f])], Vec::new()).free(2, 1, 0xc0);
    let row = if operation == Operation::ModeSense6 {
        row.free(1, 1, 0x08).free(4, 1, 0xff)
    } else {
        row.free(1, 1, 0x18).free(7, 2, 0xff)
    };
    row.accept("all subpages", &[(3, &[0xff])], Vec::new())
        .refuse("vendor specific page 0", &[(2, &[0x00])], in_cdb(2, Some(5)))
        .refuse("no such page", &[(2, &[0x02])], in_cdb(2, Some(5)))
        .refuse("no such page, every subpage", &[(2, &[0x1a]), (3, &[0xff])], in_cdb(2, Some(5)))
        .refuse("no such subpage", &[(2, &[0x0a]), (3, &[0x02])], in_cdb(3, None))
        .refuse("no such subpage of all pages", &[(3, &[0xfe])], in_cdb(3, None))
        .refuse("a reserved subpage of all pages", &[(3, &[0x01])], in_cdb(3, None))
}

pub(super) fn log_sense(operation: Operation) -> Row {
    let mut row = Row::new(operation, &[(2, &[0x40])], Vec::new())
        .free(7, 2, 0xff)
        .accept("all subpages", &[(3, &[0xff])], Vec::new())
        .accept("the last parameter", &[(2, &[0x42]), (5, &[0, 6])], Vec::new())
        .refuse("a parameter of no page", &[(5, &[0, 1])], in_cdb(5, None))
        .refuse("beyond the last parameter", &[(2, &[0x42]), (5, &[0, 7])], in_cdb(5, None))
        .refuse("far beyond the last parameter", &[(2, &[0x42]), (5, &[0xff, 0xff])], in_cdb(5, None))
        .refuse("no such page", &[(2, &[0x7e])], in_cdb(2, Some(5)))
        .refuse("no page of buffers", &[(2, &[0x41])], in_cdb(2, Some(5)))
        .refuse("no such page, every subpage", &[(2, &[0x7e]), (3, &[0xff])], in_cdb(2, Some(5)))
        .refuse("no such subpage", &[(2, &[0x42]), (3, &[0xfe])], in_cdb(3, None))
        .refuse("a page whose subpages are not there", &[(2, &[0x42]), (3, &[0x01])], in_cdb(3, None));
    for control in [0x00, 0x80, 0xc0] {
        row = row.refuse("thresholds and defaults", &[(2, &[control | 0x02])], in_cdb(2, Some(7)));
    }
    row
}

pub(super) fn read_defect_data(operation: Operation) -> Row {
    let (byte, row) = if operation == Operation::ReadDefectData10 {
        (2, Row::new(operation, &[], Vec::new()).free(7, 2, 0xff))
    } else {
        // ADDRESS DESCRIPTOR INDEX: the list is empty from wherever it is read.
        (1, Row::new(operation, &[], Vec::new()).free(2, 4, 0xff).free(6, 4, 0xff))
    };
    let at = byte.into();
    row.free(at, 1, 0x18)
        .accept("physical sectors", &[(at, &[0x1d])], Vec::new())
        .refuse("a vendor's format", &[(at, &[0x06])], in_cdb(byte, Some(2)))
        .refuse("a reserved format", &[(at, &[0x1f])], in_cdb(byte, Some(2)))
}

pub(super) fn report_luns(operation: Operation) -> Row {
    let mut row = Row::new(operation, &[], Vec::new()).free(6, 4, 0xff);
    row = row.accept("all", &[(2, &[0x02])], Vec::new());
    for select in [0x03, 0x0f, 0x10, 0x12, 0xff] {
        row = row.refuse("SELECT REPORT", &[(2, &[select])], in_cdb(2, None));
    }
    row
}

pub(super) fn report_identifying(operation: Operation) -> Row {
    let mut row = Row::new(operation, &[], Vec::new()).free(6, 4, 0xff);
    row = row.accept("the types", &[(10, &[0xfe])], Vec::new());
    for kind in [1, 3, 0x3f, 0x40, 0x7e] {
        row = row.refuse("no such type", &[(10, &[kind << 1])], in_cdb(10, Some(7)));
    }
    row
}

pub(super) fn operation_codes(operation: Operation) -> Row {
    let row = Row::new(operation, &[], Vec::new());
    // With REPORTING OPTIONS 000b operation code and service action are ignored.
    let mut row = row.free(2, 1, 0x80).free(3, 1, 0xff).free(4, 2, 0xff).free(6, 4, 0xff);
    for option in 4..8 {
        row = row.refuse("reserved REPORTING OPTIONS", &[(2, &[option, 0x28])], in_cdb(2, Some(2)));
    }
    row.accept("a command that there is not", &[(2, &[1, 0xee])], Vec::new())
        .refuse("one with service actions asked for without", &[(2, &[1, 0x5e])], in_cdb(2, Some(2)))
        .refuse("one without service actions asked for with", &[(2, &[2, 0x28])], in_cdb(2, Some(2)))
}
