//! Text negotiation in the full feature phase (RFC 7143 §6.2, §6.3.3, §11.10, §13).

use super::*;

/// What a text request is answered with: its text, or the reason of a Reject.
fn answered(peer: &mut Peer, text: &str) -> String {
    let pdu = ask(peer, 1, TargetTransferTag::RESERVED, text.replace(' ', "\0").as_bytes());
    match pdu.header {
        TargetHeader::TextResponse(response) => {
            assert!(response.is_final && response.ttt == TargetTransferTag::RESERVED, "{text}: {response:?}");
            String::from_utf8_lossy(&pdu.data).replace('\0', " ").trim_end().to_owned()
        }
        TargetHeader::Reject(reject) => format!("Reject {:?}", reject.reason),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn each_key_is_answered_as_its_phase_and_its_kind_ask_for() {
    for (text, expected) in [
        ("", ""),
        // Declared, and in force from here; our own value was declared in the login.
        ("MaxRecvDataSegmentLength=8192 ", ""),
        ("MaxRecvDataSegmentLength=511 ", "Reject ProtocolError"),
        ("MaxRecvDataSegmentLength=8192 MaxRecvDataSegmentLength=8192 ", "Reject ProtocolError"),
        ("InitiatorAlias=node ", ""),
        ("X-com.example.key=1 ", "X-com.example.key=NotUnderstood"),
        ("Nonsense=1 ", "Nonsense=NotUnderstood"),
        // Keys of the login alone (§13: use LO, IO).
        ("HeaderDigest=CRC32C ", "Reject ProtocolError"),
        ("MaxConnections=2 ", "Reject ProtocolError"),
        ("ErrorRecoveryLevel=1 ", "Reject ProtocolError"),
        ("InitiatorName=iqn.2026-11.org.example:other ", "Reject ProtocolError"),
        ("AuthMethod=None ", "Reject ProtocolError"),
        // Keys that only a target sends.
        ("TargetAlias=mine ", "Reject ProtocolError"),
        ("=1 ", "Reject ProtocolError"),
        ("without an equals sign", "Reject ProtocolError"),
    ] {
        assert_eq!(answered(&mut Peer::normal(), text), expected, "{text:?}");
    }
}

#[test]
fn a_refused_negotiation_changes_nothing_and_the_next_one_is_served() {
    let mut peer = Peer::normal();
    assert_eq!(
        answered(&mut peer, "MaxRecvDataSegmentLength=4096 MaxConnections=2 "),
        "Reject ProtocolError"
    );
    assert_eq!(peer.session.connection(CID).unwrap().parameters.peer_max_recv_data_segment_length, 1024);
    assert_eq!(answered(&mut peer, "MaxRecvDataSegmentLength=4096 "), "");
    assert_eq!(peer.session.connection(CID).unwrap().parameters.peer_max_recv_data_segment_length, 4096);
    let task = peer.read(7, 4096);
    peer.good(task, &[1; 4096]);
    let pieces: Vec<_> = peer.sent().iter().map(|pdu| pdu.data.len()).collect();
    assert_eq!(
        pieces,
        [2048, 2048],
        "pieces are as long as MaxBurstLength lets them, which is below the new length"
    );
}

/// One piece of a text request; gives the tag under which it goes on.
fn piece(peer: &mut Peer, ttt: TargetTransferTag, text: &[u8], continues: bool) -> TargetPdu {
    let header = TextRequest {
        immediate: true,
        is_final: !continues,
        continues,
        lun: Lun(0),
        itt: InitiatorTaskTag(1),
        ttt,
        cmd_sn: peer.cmd_sn,
        exp_stat_sn: StatSn(0),
    };
    peer.send(header, text);
    peer.sent_one()
}

fn tag(pdu: &TargetPdu) -> TargetTransferTag {
    let TargetHeader::TextResponse(response) = &pdu.header else { panic!("{pdu:?}") };
    assert!(!response.is_final && pdu.data.is_empty(), "{pdu:?}");
    response.ttt
}

#[test]
fn a_request_in_pieces_is_one_request_wherever_it_is_cut() {
    let whole = b"X-com.example.first=1\0X-com.example.second=2\0";
    for cut in 1..whole.len() - 1 {
        let mut peer = Peer::normal();
        let first = piece(&mut peer, TargetTransferTag::RESERVED, &whole[..cut], true);
        let answer = piece(&mut peer, tag(&first), &whole[cut..], false);
        assert_eq!(
            &answer.data[..],
            b"X-com.example.first=NotUnderstood\0X-com.example.second=NotUnderstood\0",
            "{cut}"
        );
    }
}

#[test]
fn the_reserved_tag_begins_anew_and_what_was_open_is_gone() {
    let mut peer = Peer::normal();
    let first = piece(&mut peer, TargetTransferTag::RESERVED, b"X-com.example.first=", true);
    let open = tag(&first);
    assert_eq!(answered(&mut peer, "Nonsense=1 "), "Nonsense=NotUnderstood");
    let late = piece(&mut peer, open, b"1\0", false);
    assert!(
        matches!(late.header, TargetHeader::Reject(reject) if reject.reason == RejectReason::InvalidPduField)
    );
}
