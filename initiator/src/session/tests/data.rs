//! Data in both directions.

use super::*;

#[test]
fn data_in_pieces_is_put_together_and_ends_with_its_status() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::In(1500));
    let command = peer.command().header;
    assert!(command.read && !command.write && command.is_final);
    assert_eq!(command.expected_data_transfer_length, 1500);
    let data = pattern(1500);
    peer.send(data_in(command.itt, 0, 0, None), data.slice(..512)).unwrap();
    peer.send(data_in(command.itt, 1, 512, None), data.slice(512..1024)).unwrap();
    assert_eq!(peer.event(), None);
    peer.send(data_in(command.itt, 2, 1024, good(Residual::None)), data.slice(1024..)).unwrap();
    let completion = peer.result(ticket).unwrap();
    assert_eq!((completion.status, completion.data), (Status::Good, data));
}

#[test]
fn data_may_be_followed_by_a_response_with_its_residual() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::In(255));
    let itt = peer.command().header.itt;
    peer.send(data_in(itt, 0, 0, None), &b"short"[..]).unwrap();
    let response = ScsiResponse { residual: Residual::Underflow(250), ..response(itt, Status::Good) };
    peer.send(response, Bytes::new()).unwrap();
    let completion = peer.result(ticket).unwrap();
    assert_eq!((&completion.data[..], completion.residual), (&b"short"[..], Residual::Underflow(250)));
}

#[test]
fn data_in_with_a_hole_a_repetition_or_too_much_ends_the_session() {
    let fault = |sn, offset, len| {
        let mut peer = Peer::new();
        peer.submit(Transfer::In(1000));
        let itt = peer.command().header.itt;
        peer.send(data_in(itt, 0, 0, None), pattern(100)).unwrap();
        match peer.send(data_in(itt, sn, offset, None), pattern(len)) {
            Err(SessionError::DataIn { fault, .. }) => Some(fault),
            other => {
                other.unwrap();
                None
            }
        }
    };
    assert_eq!(fault(1, 100, 900), None, "the last byte fits");
    let (expected, found) = (DataSn(1), DataSn(2));
    assert_eq!(fault(2, 100, 100), Some(DataInFault::DataSn { expected, found }));
    assert_eq!(fault(0, 0, 100), Some(DataInFault::DataSn { expected, found: DataSn(0) }));
    assert_eq!(fault(1, 200, 100), Some(DataInFault::Offset { expected: 100, found: 200 }));
    assert_eq!(fault(1, 0, 100), Some(DataInFault::Offset { expected: 100, found: 0 }));
    assert_eq!(fault(1, 100, 901), Some(DataInFault::TooLong { end: 1001, limit: 1000 }));
}

#[test]
fn data_for_a_command_that_takes_none_ends_the_session() {
    let mut peer = Peer::new();
    peer.submit(Transfer::None);
    let itt = peer.command().header.itt;
    assert!(peer.send(data_in(itt, 0, 0, None), pattern(1)).is_err());
}

#[test]
fn a_short_write_goes_with_its_command() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::Out(pattern(512)));
    let command = peer.command();
    assert!(command.header.write && !command.header.read && command.header.is_final);
    assert_eq!(command.data, pattern(512));
    assert_eq!(peer.pdu(), None);
    peer.respond(command.header.itt, Status::Good, &[]);
    assert_eq!(peer.result(ticket).unwrap().status, Status::Good);
}

#[test]
fn the_first_burst_follows_unasked_and_the_rest_waits_for_r2ts() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::Out(pattern(4000)));
    let command = peer.command();
    let itt = command.header.itt;
    assert!(!command.header.is_final, "unsolicited data follows");
    let mut written = command.data.to_vec();
    assert_eq!(written.len(), 512);

    let unsolicited = peer.data_out();
    assert_eq!(unsolicited.header.ttt, TargetTransferTag::RESERVED);
    assert_eq!((unsolicited.header.buffer_offset, unsolicited.header.is_final), (512, true));
    written.extend(unsolicited.data);
    assert_eq!((peer.pdu(), written.len()), (None, 1024));

    peer.send(r2t(itt, 0, 1024, 2048), Bytes::new()).unwrap();
    peer.send(r2t(itt, 1, 3072, 928), Bytes::new()).unwrap();
    let expected = [
        (0x1000, 0, 1024, false),
        (0x1000, 1, 1536, false),
        (0x1000, 2, 2048, false),
        (0x1000, 3, 2560, true),
        (0x1001, 0, 3072, false),
        (0x1001, 1, 3584, true),
    ];
    for (ttt, data_sn, offset, is_final) in expected {
        let Pdu { header, data, .. } = peer.data_out();
        assert_eq!((header.ttt, header.data_sn), (TargetTransferTag(ttt), DataSn(data_sn)));
        assert_eq!((header.buffer_offset, header.is_final, header.itt), (offset, is_final, itt));
        written.extend(data);
    }
    assert_eq!(peer.pdu(), None);
    assert_eq!(written, pattern(4000));
    peer.respond(itt, Status::Good, &[]);
    assert!(peer.result(ticket).is_ok());
}

#[test]
fn negotiated_limits_rule_what_goes_unasked() {
    for (initial_r2t, immediate_data, immediate, unsolicited) in
        [(true, true, 512, 0), (true, false, 0, 0), (false, false, 0, 1024), (false, true, 512, 512)]
    {
        let mut peer = Peer::with(SessionParameters { initial_r2t, immediate_data, ..parameters() });
        peer.submit(Transfer::Out(pattern(4000)));
        let command = peer.command();
        assert_eq!((command.data.len(), command.header.is_final), (immediate, unsolicited == 0));
        let mut followed = 0;
        while let Some(pdu) = peer.pdu() {
            followed += pdu.data.len();
        }
        assert_eq!(followed, unsolicited);
    }
}

#[test]
fn an_r2t_during_unsolicited_data_is_served_after_it() {
    let mut peer = Peer::with(SessionParameters { immediate_data: false, ..parameters() });
    peer.submit(Transfer::Out(pattern(2048)));
    let itt = peer.command().header.itt;
    assert_eq!(peer.data_out().header.buffer_offset, 0);
    peer.send(r2t(itt, 0, 1024, 1024), Bytes::new()).unwrap();
    let offsets: Vec<u32> = std::iter::from_fn(|| peer.pdu())
        .map(|pdu| match pdu.header {
            InitiatorHeader::DataOut(header) => header.buffer_offset,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(offsets, [512, 1024, 1536]);
}

#[test]
fn an_r2t_that_cannot_be_served_ends_the_session() {
    let fault = |r2ts: &[(u32, u32, u32)]| {
        let mut peer = Peer::new();
        peer.submit(Transfer::Out(pattern(4000)));
        let itt = peer.command().header.itt;
        let mut last = Ok(());
        for &(sn, offset, len) in r2ts {
            last = peer.send(r2t(itt, sn, offset, len), Bytes::new());
        }
        match last {
            Err(SessionError::R2t { fault, .. }) => Some(fault),
            other => {
                other.unwrap();
                None
            }
        }
    };
    assert_eq!(fault(&[(0, 1952, 2048)]), None, "the last byte may be asked for");
    let out_of_range = |end| R2tFault::OutOfRange { offset: 1952 + 1, end, available: 4000 };
    assert_eq!(fault(&[(0, 1953, 2048)]), Some(out_of_range(4001)));
    assert_eq!(fault(&[(0, 1953, u32::MAX)]), Some(out_of_range(1953 + u64::from(u32::MAX))));
    assert_eq!(fault(&[(0, 0, 2049)]), Some(R2tFault::TooLong { len: 2049, limit: 2048 }));
    let (expected, found) = (R2tSn(0), R2tSn(1));
    assert_eq!(fault(&[(1, 0, 512)]), Some(R2tFault::R2tSn { expected, found }));
    assert_eq!(fault(&[(0, 0, 512), (1, 512, 512)]), None);
    assert_eq!(fault(&[(0, 0, 512), (1, 512, 512), (2, 1024, 512)]), Some(R2tFault::TooMany { limit: 2 }));
}

#[test]
fn large_writes_share_the_wire_and_let_commands_pass() {
    let mut peer = Peer::with(SessionParameters { initial_r2t: true, ..parameters() });
    peer.submit(Transfer::Out(pattern(2560)));
    peer.submit(Transfer::Out(pattern(2560)));
    let (a, b) = (peer.command().header.itt, peer.command().header.itt);
    peer.send(r2t(a, 0, 512, 2048), Bytes::new()).unwrap();
    peer.send(r2t(b, 0, 512, 2048), Bytes::new()).unwrap();
    assert_eq!(peer.data_out().header.itt, a);
    assert_eq!(peer.data_out().header.itt, b);
    peer.submit(Transfer::In(512));
    assert!(peer.command().header.read, "a small command goes before the rest of the data");
    let order: Vec<_> = (0..6).map(|_| peer.data_out().header.itt).collect();
    assert_eq!(order, [a, b, a, b, a, b]);
    assert_eq!(peer.pdu(), None);
}

#[test]
fn a_task_whose_r2t_came_early_gets_no_more_turns_than_others() {
    let unsolicited = SessionParameters { immediate_data: false, first_burst_length: 2048, ..parameters() };
    let mut peer = Peer::with(unsolicited);
    peer.submit(Transfer::Out(pattern(4096)));
    let a = peer.command().header.itt;
    peer.data_out();
    peer.send(r2t(a, 0, 2048, 2048), Bytes::new()).unwrap();
    (0..3).for_each(|_| assert!(peer.data_out().header.buffer_offset < 2048));
    peer.submit(Transfer::Out(pattern(4096)));
    let b = peer.command().header.itt;
    (0..4).for_each(|_| assert_eq!(peer.data_out().header.itt, b));
    peer.send(r2t(b, 0, 2048, 2048), Bytes::new()).unwrap();
    let order: Vec<_> = (0..8).map(|_| peer.data_out().header.itt).collect();
    assert_eq!(order, [a, b, a, b, a, b, a, b]);
}

#[test]
fn unsolicited_data_is_complete_before_the_next_command_goes_out() {
    let mut peer = Peer::new();
    peer.submit(Transfer::Out(pattern(1024)));
    peer.submit(Transfer::None);
    let first = peer.command().header.itt;
    assert_eq!(peer.data_out().header.itt, first);
    assert_ne!(peer.command().header.itt, first);
}

#[test]
fn data_still_to_send_is_dropped_when_the_command_ends_early() {
    let mut peer = Peer::new();
    let ticket = peer.submit(Transfer::Out(pattern(4000)));
    let itt = peer.command().header.itt;
    peer.send(r2t(itt, 0, 1024, 2048), Bytes::new()).unwrap();
    peer.respond(itt, Status::CheckCondition, &[0x70, 0, 5]);
    assert_eq!(&peer.result(ticket).unwrap().sense[..], [0x70, 0, 5]);
    assert_eq!(peer.pdu(), None);
    peer.send(r2t(itt, 1, 3072, 100), Bytes::new()).unwrap();
    assert_eq!(peer.pdu(), None, "an R2T that crossed the response on its way asks for nothing");
}
