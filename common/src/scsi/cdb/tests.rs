//! CDBs there and back, and every fault.

use proptest::prelude::*;

use super::*;
use crate::scsi::opcode_table::TABLE;

const ONE_READ: Transfer =
    Transfer { form: Form::Ten, lba: 1, blocks: 1, disable_page_out: false, force_unit_access: false };

/// A CDB of a row of the table, with only bits that are allowed.
fn allowed_cdb() -> impl Strategy<Value = (&'static OperationInfo, Vec<u8>)> {
    (0..TABLE.len(), prop::collection::vec(any::<u8>(), 16)).prop_map(|(row, mut cdb)| {
        let info = &TABLE[row];
        for (at, byte) in cdb.iter_mut().enumerate() {
            *byte &= info.usage.get(at).copied().unwrap_or(0);
        }
        cdb[0] = info.opcode;
        if let Some(action) = info.service_action {
            cdb[1] = cdb[1] & 0xe0 | action;
        }
        (info, cdb)
    })
}

proptest! {
    #[test]
    fn what_is_parsed_encodes_to_the_same_bytes((info, bytes) in allowed_cdb()) {
        let (found, cdb) = Cdb::parse(&bytes).unwrap();
        prop_assert_eq!(found.operation, info.operation);
        prop_assert_eq!(cdb.operation(), Some(info.operation));
        prop_assert_eq!(cdb.encode().unwrap().to_vec(), bytes);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = Cdb::parse(&bytes);
    }
}

#[test]
fn each_form_has_its_fields_where_the_standard_says() {
    let bytes = |form, lba, blocks| Cdb::Read(Transfer { form, lba, blocks, ..ONE_READ }).encode().unwrap();
    assert_eq!(bytes(Form::Six, 0x01_0203, 4)[..6], [0x08, 1, 2, 3, 4, 0]);
    assert_eq!(bytes(Form::Ten, 0x0102_0304, 0x0506)[..10], [0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0]);
    assert_eq!(bytes(Form::Twelve, 0x0102_0304, 0x0506_0708)[..12], [0xa8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    assert_eq!(
        bytes(Form::Sixteen, 0x0102_0304_0506_0708, 0x090a_0b0c),
        [0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0]
    );
}

#[test]
fn zero_in_six_bytes_is_256_blocks() {
    let (_, cdb) = Cdb::parse(&[0x08, 0, 0, 0, 0, 0]).unwrap();
    let expected = Transfer { form: Form::Six, lba: 0, blocks: 256, ..ONE_READ };
    assert_eq!(cdb, Cdb::Read(expected));
    assert_eq!(cdb.encode().unwrap(), [0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_does_not_fit_a_form_is_an_error_and_not_another_command() {
    let field = |transfer| Cdb::Write(transfer).encode().unwrap_err().field;
    let (lba, count) = ("LOGICAL BLOCK ADDRESS", "TRANSFER LENGTH");
    assert_eq!(field(Transfer { form: Form::Six, lba: 0x20_0000, ..ONE_READ }), lba);
    assert_eq!(field(Transfer { form: Form::Six, blocks: 0, ..ONE_READ }), count, "0 would be 256");
    assert_eq!(field(Transfer { form: Form::Six, blocks: 257, ..ONE_READ }), count);
    assert_eq!(field(Transfer { form: Form::Six, force_unit_access: true, ..ONE_READ }), "DPO and FUA");
    assert_eq!(field(Transfer { form: Form::Ten, lba: 1 << 32, ..ONE_READ }), lba);
    assert_eq!(field(Transfer { form: Form::Ten, blocks: 1 << 16, ..ONE_READ }), count);
    assert_eq!(field(Transfer { form: Form::Twelve, lba: 1 << 32, ..ONE_READ }), lba);
    let no_such_form = Verify { form: Form::Six, lba: 0, blocks: 1, disable_page_out: false, byte_check: 0 };
    assert!(Cdb::Verify(no_such_form).encode().is_err());
    let ndob = WriteSame { form: Form::Ten, lba: 0, blocks: 1, unmap: false, no_data_out: true };
    assert_eq!(Cdb::WriteSame(ndob).encode().unwrap_err().field, "NDOB");
    let llbaa = ModeSense {
        form: Form::Six,
        long_lba_accepted: true,
        disable_block_descriptors: false,
        page_control: 0,
        page: 8,
        subpage: 0,
        allocation_length: 255,
    };
    assert_eq!(Cdb::ModeSense(llbaa).encode().unwrap_err().field, "LLBAA");
    let long = ModeSense { long_lba_accepted: false, allocation_length: 256, ..llbaa };
    assert_eq!(Cdb::ModeSense(long).encode().unwrap_err().field, "ALLOCATION LENGTH");
}

#[test]
fn the_form_for_a_range_is_the_shortest_that_holds_it() {
    for (lba, blocks) in
        [(0, 1), (u32::MAX.into(), 0xffff), (1 << 32, 1), (0, 0x1_0000), (u64::MAX, u32::MAX)]
    {
        let form = Form::for_extent(lba, blocks);
        let transfer = Transfer { form, lba, blocks, ..ONE_READ };
        assert!(Cdb::Read(transfer).encode().is_ok());
        let shorter = Cdb::Read(Transfer { form: Form::Ten, ..transfer }).encode();
        assert_eq!(shorter.is_ok(), form == Form::Ten);
    }
}

#[test]
fn each_fault_has_its_own_error_and_sense() {
    assert_eq!(Cdb::parse(&[]).unwrap_err(), CdbError::TooShort(0));
    assert_eq!(Cdb::parse(&[0x28; 9]).unwrap_err(), CdbError::TooShort(9));
    assert_eq!(Cdb::parse(&[0x7f; 16]).unwrap_err(), CdbError::UnknownOpcode(0x7f));
    let action = CdbError::UnknownServiceAction { opcode: 0x9e, service_action: 0x1f };
    assert_eq!(Cdb::parse(&[0x9e, 0x1f]).unwrap_err(), action);
    let reserved = Cdb::parse(&[0, 0, 0, 0x60, 0, 0]).unwrap_err();
    assert_eq!(reserved, CdbError::Reserved { byte: 3, bit: Some(6) });
    assert_eq!(Sense::from(reserved).to_string(), "05/24/00 INVALID FIELD IN CDB (CDB byte 3 bit 6)");
    assert_eq!(Sense::from(CdbError::UnknownOpcode(0x7f)).asc, Asc::INVALID_OPERATION_CODE);
}

#[test]
fn padding_after_the_cdb_is_ignored() {
    assert_eq!(Cdb::parse(&[0, 0, 0, 0, 0, 0, 0xff, 0xff]).unwrap().1, Cdb::TestUnitReady);
}
