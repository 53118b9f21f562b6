//! Persistent reservation data byte by byte, against hand-made vectors and round trips.

use super::*;
use crate::name::{InitiatorPort, Isid};

fn port(name: &str, last: u8) -> TransportId {
    TransportId::Port(InitiatorPort { name: name.parse().unwrap(), isid: Isid([0x80, 0, 0, 0, 0, last]) })
}

#[test]
fn a_port_is_its_name_and_isid_ended_by_nul_and_padded_to_four() {
    let bytes = port("iqn.2026-11.org:a", 0x1f).encode();
    let mut expected = vec![0x45, 0, 0, 36];
    expected.extend(b"iqn.2026-11.org:a,i,0x80000000001f\0\0");
    assert_eq!(bytes, expected);
    assert_eq!(TransportId::decode(&bytes), Ok((port("iqn.2026-11.org:a", 0x1f), 40)));
}

#[test]
fn a_device_is_its_name_and_never_shorter_than_24_bytes() {
    let id = TransportId::Device("iqn.2026-11.x".parse().unwrap());
    let mut expected = vec![0x05, 0, 0, 20];
    expected.extend(b"iqn.2026-11.x\0\0\0\0\0\0\0");
    assert_eq!(id.encode(), expected);
    assert_eq!(TransportId::decode(&expected), Ok((id, 24)));
}

#[test]
fn a_name_that_fills_its_padding_gets_four_more_bytes_for_the_nul() {
    let id = TransportId::Device("iqn.2026-11.org:abcd".parse().unwrap());
    assert_eq!(id.encode().len(), 28);
    assert_eq!(TransportId::decode(&id.encode()), Ok((id.clone(), 28)));
    let mut without = id.encode();
    without.truncate(24);
    without[3] = 20;
    assert_eq!(TransportId::decode(&without), Err(TransportIdError::Text), "no NUL");
}

#[test]
fn names_compare_after_normalisation_and_the_longest_passes() {
    let mut bytes = port("iqn.2026-11.org:a", 1).encode();
    bytes[4..7].copy_from_slice(b"IQN");
    assert_eq!(TransportId::decode(&bytes).unwrap().0, port("iqn.2026-11.org:a", 1));
    let longest = port(&format!("iqn.2026-11.org:{}", "x".repeat(207)), 1);
    assert_eq!(TransportId::decode(&longest.encode()), Ok((longest.clone(), longest.encode().len())));
}

#[test]
fn every_kind_of_broken_transport_id_is_told_apart() {
    let good = port("iqn.2026-11.org:a", 1).encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        TransportId::decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 0x46), TransportIdError::Format(0x46), "SAS");
    assert_eq!(with(0, 0x85), TransportIdError::Format(0x85), "format 10b");
    assert_eq!(with(3, 37), TransportIdError::Length(37));
    assert_eq!(with(3, 16), TransportIdError::Length(16));
    assert_eq!(with(3, 40), TransportIdError::Truncated(40));
    assert_eq!(with(2, 0xff), TransportIdError::Length(0xff24));
    assert_eq!(with(39, b'x'), TransportIdError::Text, "text after the NUL");
    assert_eq!(with(30, b'g'), TransportIdError::Isid);
    assert!(matches!(with(4, b'x'), TransportIdError::Name(_)));
    assert_eq!(with(4, 0xff), TransportIdError::Text, "not UTF-8");
    for len in 0..good.len() {
        assert!(TransportId::decode(&good[..len]).is_err(), "cut to {len}");
    }
    let mut device = good.clone();
    device[0] = 0x05;
    assert!(matches!(TransportId::decode(&device), Err(TransportIdError::Name(_))), "a device has no ISID");
}

#[test]
fn basic_lists_are_24_bytes_and_longer_only_with_initiator_ports() {
    let list = BasicList {
        key: Key(0x0102_0304_0506_0708),
        service_action_key: Key(0x1112_1314_1516_1718),
        initiator_ports: None,
        all_target_ports: true,
        activate_persist: true,
    };
    let bytes = list.encode();
    let expected =
        [1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0, 0, 0, 0, 0x05, 0, 0, 0];
    assert_eq!(bytes, expected);
    assert_eq!(BasicList::decode(&bytes), Ok(list.clone()));
    assert_eq!(BasicList::decode(&bytes[..23]), Err(ListError::Length(23)));
    assert_eq!(BasicList::decode(&[bytes.as_slice(), &[0; 4]].concat()), Err(ListError::Length(28)));

    let ids = vec![port("iqn.2026-11.org:a", 1), TransportId::Device("iqn.2026-11.org:b".parse().unwrap())];
    let list = BasicList { initiator_ports: Some(ids), ..list };
    let bytes = list.encode();
    assert_eq!((bytes[20], &bytes[24..28]), (0x0d, &[0, 0, 0, 64][..]));
    assert_eq!(BasicList::decode(&bytes), Ok(list.clone()));
    for len in 0..bytes.len() {
        assert!(BasicList::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    let none = BasicList { initiator_ports: Some(vec![]), ..list };
    assert_eq!(none.encode().len(), 28);
    assert_eq!(BasicList::decode(&none.encode()), Ok(none));
}

#[test]
fn register_and_move_lists_hold_one_transport_id_that_fills_them() {
    let list = RegisterAndMoveList {
        key: Key(1),
        service_action_key: Key(2),
        unregister: true,
        activate_persist: true,
        relative_target_port: 0x0304,
        transport_id: port("iqn.2026-11.org:a", 1),
    };
    let bytes = list.encode();
    assert_eq!(bytes[16..24], [0, 3, 3, 4, 0, 0, 0, 40]);
    assert_eq!(bytes.len(), 64);
    assert_eq!(RegisterAndMoveList::decode(&bytes), Ok(list));
    for len in 0..bytes.len() {
        assert!(RegisterAndMoveList::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    let two = [&bytes[..20], &[0, 0, 0, 80], &bytes[24..], &bytes[24..]].concat();
    assert!(matches!(RegisterAndMoveList::decode(&two), Err(ListError::TransportId { byte: 24, .. })));
}

#[test]
fn keys_are_listed_and_a_cut_list_keeps_its_length_and_its_whole_keys() {
    let keys = ReadKeys { generation: 7, keys: vec![Key(1), Key(0xfedc_ba98_7654_3210)] };
    let bytes = keys.encode();
    let expected =
        [0, 0, 0, 7, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10];
    assert_eq!(bytes, expected);
    assert_eq!(ReadKeys::decode(&bytes), Some(keys));
    assert_eq!(ReadKeys::decode(&bytes[..20]).unwrap().keys, [Key(1)]);
    assert_eq!(ReadKeys::decode(&bytes[..7]), None);
}

#[test]
fn a_reservation_is_told_with_key_and_type_or_with_length_zero() {
    let none = ReadReservation { generation: 1, held: None };
    assert_eq!(none.encode(), [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(ReadReservation::decode(&none.encode()), Some(none));
    for kind in ReservationType::ALL {
        let some = ReadReservation { generation: 1, held: Some(Held { key: Key(0xab), kind }) };
        let bytes = some.encode();
        let expected = [0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xab, 0, 0, 0, 0, 0, kind as u8, 0, 0];
        assert_eq!(bytes, expected);
        assert_eq!(ReadReservation::decode(&bytes), Some(some));
        assert_eq!(ReadReservation::decode(&bytes[..16]), None, "cut is not the same as none");
    }
}

#[test]
fn capabilities_have_a_bit_for_each_type() {
    let all = Capabilities {
        replace_lost: true,
        compatible_handling: true,
        specify_initiator_ports: true,
        all_target_ports: true,
        persist_capable: true,
        persist_active: true,
        allow_commands: 1,
        types: ReservationType::ALL.to_vec(),
    };
    assert_eq!(all.encode(), [0, 8, 0x9d, 0x91, 0xea, 0x01, 0, 0]);
    assert_eq!(Capabilities::decode(&all.encode()), Some(all.clone()));
    for kind in ReservationType::ALL {
        let one = Capabilities { types: vec![kind], ..all.clone() };
        assert_eq!(Capabilities::decode(&one.encode()), Some(one));
    }
}

#[test]
fn full_status_lists_each_registrant_with_its_ports_and_a_cut_one_is_left_out() {
    let registrant = |holds| Registrant {
        key: Key(5),
        all_target_ports: true,
        holds,
        relative_target_port: 0x0102,
        transport_id: port("iqn.2026-11.org:a", 1),
    };
    let kind = ReservationType::WriteExclusiveRegistrantsOnly;
    let status = FullStatus { generation: 9, registrants: vec![registrant(Some(kind)), registrant(None)] };
    let bytes = status.encode();
    assert_eq!(bytes[..8], [0, 0, 0, 9, 0, 0, 0, 128]);
    assert_eq!(bytes[8..32], [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 3, 5, 0, 0, 0, 0, 1, 2, 0, 0, 0, 40]);
    assert_eq!(bytes[72 + 12..72 + 14], [2, 0]);
    assert_eq!(FullStatus::decode(&bytes), Some(status.clone()));
    assert_eq!(FullStatus::decode(&bytes[..135]).unwrap().registrants, status.registrants[..1]);
}

#[test]
fn reserved_types_and_service_actions_are_none() {
    assert_eq!((0..16).filter_map(ReservationType::from_bits).collect::<Vec<_>>(), ReservationType::ALL);
    assert_eq!((0..32).filter_map(InAction::from_bits).count(), 4);
    assert_eq!((0..32).filter_map(OutAction::from_bits).count(), 9);
}
