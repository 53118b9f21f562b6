//! PERSISTENT RESERVE OUT (SPC-4 §6.16): scope, type and parameter list. What a right one does is `device::reservation`'s to test.

use lunkeep_common::scsi::opcode_table::Operation;
use lunkeep_common::scsi::persistent::{BasicList, Key, RegisterAndMoveList, TransportId};

use super::super::*;
use super::{KEY, OTHER_KEY, Row, in_cdb, in_list, length_error};
use crate::device::reservation::Record;
use crate::limits::RESERVATION_LIST_LEN_MAX;

/// Write Exclusive.
const KIND: u8 = 1;

fn list(key: u64, service_action_key: u64) -> Vec<u8> {
    BasicList { key: Key(key), service_action_key: Key(service_action_key), ..BasicList::default() }.encode()
}

/// Brings the unit into a state in which the command is accepted.
pub(super) fn prepare(bench: &mut Bench, operation: Operation) {
    use Operation::*;
    let (register, reserve) = (0x06, 0x01);
    let out = |action: u8, kind: u8| vec![0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
    match operation {
        PersistentReserveOutReplaceLostReservation => {
            let unit = LogicalUnit::new(bench.unit.config().clone()).unwrap();
            let record = Record { lost: true, ..Record::default() };
            bench.unit = unit.with_reservations(ReservationSetup { record, ..ReservationSetup::default() });
            bench.attach(1);
        }
        PersistentReserveOutReserve
        | PersistentReserveOutRelease
        | PersistentReserveOutClear
        | PersistentReserveOutPreempt
        | PersistentReserveOutPreemptAndAbort
        | PersistentReserveOutRegisterAndMove => {
            bench.attach(2);
            good(bench.run_out(&out(register, 0), &list(0, KEY)));
            if matches!(operation, PersistentReserveOutRelease | PersistentReserveOutRegisterAndMove) {
                good(bench.run_out(&out(reserve, KIND), &list(KEY, 0)));
            }
            bench.nexus = NexusId(2);
            good(bench.run_out(&out(register, 0), &list(0, OTHER_KEY)));
            bench.nexus = NexusId(1);
        }
        _ => {}
    }
}

/// A service action other than REGISTER AND MOVE.
pub(super) fn row(operation: Operation) -> Row {
    use Operation::*;
    let registers =
        matches!(operation, PersistentReserveOutRegister | PersistentReserveOutRegisterAndIgnoreExistingKey);
    let (key, service_action_key) = match operation {
        _ if registers => (0, KEY),
        PersistentReserveOutReplaceLostReservation => (0, KEY),
        _ => (KEY, OTHER_KEY),
    };
    let right = list(key, service_action_key);
    let mut row = lengths(Row::new(operation, &[(2, &[KIND]), (5, &[0, 0, 0, 24])], right.clone()));
    let scoped = !registers && operation != PersistentReserveOutClear;
    if scoped {
        for scope in [1, 2, 0xf] {
            row = row.refuse("no such SCOPE", &[(2, &[scope << 4 | KIND])], in_cdb(2, Some(7)));
        }
        for kind in [0, 2, 4, 9, 0xf] {
            let what = format!("no such TYPE {kind}");
            let expected = if operation == PersistentReserveOutRelease {
                // Not the type of the reservation (SPC-4 §5.13.11.2.2).
                illegal(Asc::INVALID_RELEASE_OF_PERSISTENT_RESERVATION)
            } else {
                in_cdb(2, Some(3))
            };
            row = row.refuse(&what, &[(2, &[kind])], expected);
        }
    } else {
        row = row.free(2, 1, 0xff);
    }
    let with = |flags: u8| {
        let mut list = right.clone();
        list[20] = flags;
        list
    };
    if !registers {
        row = row.refuse_with("ALL_TG_PT", &[], with(0x04), in_list(20, Some(2)));
    }
    match operation {
        PersistentReserveOutRegister => initiator_ports(row, &right),
        PersistentReserveOutPreempt | PersistentReserveOutPreemptAndAbort => {
            row.refuse_with("a key of zero", &[], list(KEY, 0), in_list(8, None))
        }
        PersistentReserveOutReplaceLostReservation => row
            .refuse_with("a key", &[], list(KEY, KEY), in_list(0, None))
            .refuse_with("no key", &[], list(0, 0), in_list(8, None)),
        _ => row,
    }
    .maybe_initiator_ports(operation != PersistentReserveOutRegister, &right)
}

impl Row {
    /// SPEC_I_PT where it has no meaning.
    fn maybe_initiator_ports(self, meaningless: bool, right: &[u8]) -> Self {
        if !meaningless {
            return self;
        }
        let mut list = [right, &[0; 4]].concat();
        list[20] = 0x08;
        self.refuse_with("SPEC_I_PT", &[(5, &[0, 0, 0, 28])], list, in_list(20, Some(3)))
    }
}

/// PARAMETER LIST LENGTH, and lists that do not have it.
fn lengths(mut row: Row) -> Row {
    let right = row.data.clone();
    for len in [0, 23, 25, RESERVATION_LIST_LEN_MAX + 1, u32::MAX] {
        let mut list = right.clone();
        list.resize(usize::try_from(len).unwrap().min(32), 0);
        row = row.refuse_with(&format!("{len} bytes"), &[(5, &len.to_be_bytes())], list, length_error());
    }
    row.refuse_with("less than the CDB says", &[], right[..16].to_vec(), length_error()).refuse_with(
        "more than is announced",
        &[(5, &[0, 0, 0, 28])],
        right,
        length_error(),
    )
}

/// SPEC_I_PT of REGISTER.
fn initiator_ports(mut row: Row, right: &[u8]) -> Row {
    let with = |stated: u32, ids: &[u8]| {
        let mut list = [right, &stated.to_be_bytes(), ids].concat();
        list[20] = 0x08;
        list
    };
    let id = TransportId::Port(nexus(7).initiator).encode();
    let len = u32::try_from(id.len()).unwrap();
    let mut wrong_protocol = id.clone();
    wrong_protocol[0] = 0x46;
    let unknown = TransportId::Device("iqn.2026-11.org.example:nobody".parse().unwrap()).encode();
    let unknown_len = u32::try_from(unknown.len()).unwrap();
    let good = with(len, &id);
    row = row.accept("SPEC_I_PT", &[(5, &u32::try_from(good.len()).unwrap().to_be_bytes())], good);
    let lists = [
        ("no length of TransportIDs", with(0, &[])[..24].to_vec(), length_error()),
        ("TransportIDs that are cut", with(len, &id[..id.len() - 4]), length_error()),
        ("more than the TransportIDs", with(len - 4, &id), length_error()),
        ("another protocol", with(len, &wrong_protocol), in_list(28, None)),
        ("a port that nobody knows", with(unknown_len, &unknown), in_list(28, None)),
    ];
    for (what, list, expected) in lists {
        let length = u32::try_from(list.len()).unwrap().to_be_bytes();
        row = row.refuse_with(what, &[(5, &length)], list, expected);
    }
    row
}

pub(super) fn register_and_move(operation: Operation) -> Row {
    let list = |key: u64, number: u8, port: u16| {
        RegisterAndMoveList {
            key: Key(KEY),
            service_action_key: Key(key),
            unregister: false,
            activate_persist: false,
            relative_target_port: port,
            transport_id: TransportId::Port(nexus(number).initiator),
        }
        .encode()
    };
    let right = list(OTHER_KEY, 2, 1);
    let len = u32::try_from(right.len()).unwrap();
    let stated = len.to_be_bytes();
    let mut row = Row::new(operation, &[(5, &stated)], right.clone()).free(2, 1, 0xff);
    for len in [0, 23, len - 1, len + 1, RESERVATION_LIST_LEN_MAX + 1, u32::MAX] {
        let mut list = right.clone();
        list.resize(usize::try_from(len).unwrap().min(right.len() + 1), 0);
        row = row.refuse_with(&format!("{len} bytes"), &[(5, &len.to_be_bytes())], list, length_error());
    }
    let (mut short, mut protocol) = (right.clone(), right.clone());
    short[23] -= 4;
    protocol[24] = 0x46;
    row.refuse_with("less than the CDB says", &[], right[..24].to_vec(), length_error())
        .refuse_with("a length of the TransportID that is not so", &[], short, length_error())
        .refuse_with("another protocol", &[], protocol, in_list(24, None))
        .refuse_with("a key of zero", &[], list(0, 2, 1), in_list(8, None))
        .refuse_with("no such target port", &[], list(OTHER_KEY, 2, 9), in_list(18, None))
        .refuse_with("to itself", &[], list(OTHER_KEY, 1, 1), in_list(24, None))
}
