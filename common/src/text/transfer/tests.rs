//! Text over several PDUs, cut anywhere.

use proptest::prelude::*;

use super::*;

#[test]
fn text_may_be_cut_anywhere() {
    let text = b"InitiatorName=iqn.2026-11.org:a\0SessionType=Discovery\0";
    let whole = Pairs::decode(text).unwrap();
    for cut in 0..=text.len() {
        let mut receiver = TextReceiver::default();
        let (head, tail) = text.split_at(cut);
        assert_eq!(receiver.push(head, true), Ok(None));
        assert_eq!(receiver.push(tail, false), Ok(Some(whole.clone())), "cut at {cut}");
        assert!(!receiver.is_partial());
    }
}

#[test]
fn what_one_side_sends_in_all_is_bounded() {
    let piece = vec![b'A'; TEXT_LEN_MAX / 2];
    let mut receiver = TextReceiver::default();
    assert_eq!(receiver.push(&piece, true), Ok(None));
    assert_eq!(receiver.push(&piece, true), Ok(None));
    assert_eq!(receiver.push(b"A", true), Err(TextError::TooLong));
    assert_eq!(receiver.push(b"", false), Err(TextError::TooLong), "it stays refused");
}

#[test]
fn text_that_is_complete_counts_towards_the_bound_too() {
    let mut receiver = TextReceiver::default();
    let text = format!("K={}\0", "x".repeat(TEXT_LEN_MAX / 2 - 3));
    assert!(receiver.push(text.as_bytes(), false).is_ok());
    assert!(receiver.push(text.as_bytes(), false).is_ok());
    assert_eq!(receiver.push(b"A=\0", false), Err(TextError::TooLong));
}

#[test]
fn nothing_to_send_is_one_empty_last_piece() {
    let piece = TextSender::default().next_piece(8192);
    assert_eq!(piece, TextPiece { data: Bytes::new(), continues: false });
}

proptest! {
    #[test]
    fn what_a_sender_cuts_a_receiver_joins(
        values in proptest::collection::vec("[^\0]{0,50}", 1..20),
        limit in 1u32..200,
    ) {
        let mut pairs = Pairs::new();
        for (i, value) in values.iter().enumerate() {
            pairs.push_named(format!("K{i}"), value.as_str());
        }
        let mut sender = TextSender::default();
        let mut receiver = TextReceiver::default();
        sender.begin(&pairs);
        loop {
            let piece = sender.next_piece(limit);
            prop_assert!(piece.data.len() <= limit as usize);
            let received = receiver.push(&piece.data, piece.continues).unwrap();
            prop_assert_eq!(received.is_some(), !piece.continues);
            if let Some(received) = received {
                prop_assert_eq!(&received, &pairs);
                break;
            }
        }
    }
}
