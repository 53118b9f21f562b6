//! What the framer says about streams: whole, cut, over-long and spoiled ones.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{InitiatorPdu, strategies};
use super::*;

const DIGEST_CHOICES: [Digests; 4] = [
    Digests::NONE,
    Digests { header: true, data: false },
    Digests { header: false, data: true },
    Digests::BOTH,
];

/// A NOP-Out with the given data, as it stands on the wire.
fn ping(data: &[u8], digests: Digests) -> Vec<u8> {
    let mut bhs = [0; BHS_LEN];
    bhs[1] = 0x80;
    let raw = RawPdu { bhs, ahs: Bytes::new(), data: Bytes::copy_from_slice(data) };
    InitiatorPdu::decode(raw).unwrap().encode(digests).unwrap().to_bytes().to_vec()
}

fn framer(digests: Digests) -> Framer {
    let mut framer = Framer::new(FrameLimits::default());
    framer.set_digests(digests);
    framer
}

/// A basic header segment that states lengths.
fn stating(ahs_words: u8, data_len: u32) -> Vec<u8> {
    let mut bhs = vec![0; BHS_LEN];
    bhs[1] = 0x80;
    bhs[4..8].copy_from_slice(&data_len.to_be_bytes());
    bhs[4] = ahs_words;
    bhs
}

#[test]
fn a_pdu_comes_out_when_its_last_byte_is_in_and_not_before() {
    for digests in DIGEST_CHOICES {
        let wire = ping(b"hello", digests);
        let mut framer = framer(digests);
        for byte in &wire[..wire.len() - 1] {
            framer.push(&[*byte]);
            assert_eq!(framer.next_pdu(), Ok(None));
        }
        framer.push(&wire[wire.len() - 1..]);
        assert_eq!(framer.next_pdu().unwrap().unwrap().data, "hello");
        assert_eq!((framer.next_pdu(), framer.buffered()), (Ok(None), 0));
    }
}

#[test]
fn a_data_segment_at_the_limit_passes_and_one_more_byte_fails_on_the_header_alone() {
    let limit = DATA_SEGMENT_LEN_DEFAULT;
    let mut at_limit = framer(Digests::NONE);
    at_limit.push(&stating(0, limit));
    assert_eq!(at_limit.next_pdu(), Ok(None));

    let mut over = framer(Digests::NONE);
    let bhs = stating(0, limit + 1);
    over.push(&bhs[..BHS_LEN - 1]);
    assert_eq!(over.next_pdu(), Ok(None));
    over.push(&bhs[BHS_LEN - 1..]);
    let error = over.next_pdu().unwrap_err();
    assert!(matches!(&error, FrameError::DataTooLong { len: 8193, limit: 8192, .. }), "{error}");
    assert!(error.is_fatal());
    over.push(&ping(b"", Digests::NONE));
    assert_eq!(over.next_pdu(), Err(error), "a fatal error stays");
}

#[test]
fn additional_header_segments_have_a_limit_of_their_own() {
    let limits = FrameLimits { ahs_len: 8, ..FrameLimits::default() };
    let mut framer = Framer::new(limits);
    framer.push(&stating(2, 0));
    framer.push(&[0; 8]);
    assert_eq!(framer.next_pdu().unwrap().unwrap().ahs.len(), 8);
    framer.push(&stating(3, 0));
    assert!(matches!(framer.next_pdu(), Err(FrameError::AhsTooLong { len: 12, limit: 8, .. })));
}

#[test]
fn limits_can_grow_after_login() {
    let mut framer = framer(Digests::NONE);
    framer.set_limits(FrameLimits { data_segment_len: 9000, ..FrameLimits::default() });
    framer.push(&stating(0, 9000));
    framer.push(&[5; 9000]);
    assert_eq!(framer.next_pdu().unwrap().unwrap().data.len(), 9000);
}

#[test]
fn a_stated_length_reserves_memory_only_after_it_was_checked() {
    let mut framer = framer(Digests::NONE);
    framer.push(&stating(0, (1 << 24) - 1));
    assert!(framer.buffer_mut().capacity() < 4 * READ_CHUNK);
    assert!(framer.next_pdu().is_err());
    assert_eq!(framer.buffered(), 0);
}

#[test]
fn the_rest_of_a_large_pdu_fits_into_the_buffer_at_once() {
    let mut framer = Framer::new(FrameLimits { data_segment_len: 1 << 20, ..FrameLimits::default() });
    framer.push(&stating(0, 1 << 20));
    assert_eq!(framer.next_pdu(), Ok(None));
    let buffer = framer.buffer_mut();
    assert!(buffer.capacity() - buffer.len() >= 1 << 20);
    buffer.extend_from_slice(&[3; 1 << 20]);
    assert_eq!(framer.next_pdu().unwrap().unwrap().data.len(), 1 << 20);
}

#[test]
fn data_is_a_slice_of_the_receive_buffer() {
    let mut framer = framer(Digests::NONE);
    let buffer = framer.buffer_mut();
    buffer.extend_from_slice(&ping(&[7; 64], Digests::NONE));
    let expected = buffer[BHS_LEN..].as_ptr();
    assert_eq!(framer.next_pdu().unwrap().unwrap().data.as_ptr(), expected);
}

#[test]
fn a_data_digest_error_costs_one_pdu() {
    let digests = Digests { header: false, data: true };
    let mut bad = ping(b"spoiled", digests);
    bad[BHS_LEN] ^= 1;
    let mut framer = framer(digests);
    framer.push(&bad);
    framer.push(&ping(b"fine", digests));
    let error = framer.next_pdu().unwrap_err();
    assert!(!error.is_fatal());
    assert!(matches!(&error, FrameError::DataDigest { bhs, .. } if bhs[..] == bad[..BHS_LEN]));
    assert_eq!(framer.next_pdu().unwrap().unwrap().data, "fine");
}

#[test]
fn the_data_digest_covers_the_padding() {
    let digests = Digests { header: false, data: true };
    let mut bad = ping(b"abc", digests);
    bad[BHS_LEN + 3] = 1;
    let mut framer = framer(digests);
    framer.push(&bad);
    assert!(matches!(framer.next_pdu(), Err(FrameError::DataDigest { .. })));
}

#[test]
fn without_a_digest_padding_may_hold_anything() {
    let mut wire = ping(b"abc", Digests::NONE);
    wire[BHS_LEN + 3] = 0xee;
    let mut framer = framer(Digests::NONE);
    framer.push(&wire);
    assert_eq!(framer.next_pdu().unwrap().unwrap().data, "abc");
}

#[test]
fn any_flipped_bit_of_a_header_is_fatal_under_a_header_digest() {
    let wire = ping(b"", Digests::BOTH);
    for bit in 0..wire.len() * 8 {
        let mut wire = wire.clone();
        wire[bit / 8] ^= 1 << (bit % 8);
        let mut framer = framer(Digests::BOTH);
        framer.push(&wire);
        framer.push(&[0; AHS_LEN_MAX]); // a flipped TotalAHSLength moves the digest
        let error = framer.next_pdu().unwrap_err();
        assert!(matches!(error, FrameError::HeaderDigest { .. }), "bit {bit}: {error}");
        assert!(error.is_fatal());
    }
}

#[test]
fn digests_switched_after_login_apply_to_bytes_that_are_already_here() {
    let mut framer = framer(Digests::NONE);
    framer.push(&ping(b"last of the login", Digests::NONE));
    framer.push(&ping(b"first of full feature", Digests::BOTH));
    assert_eq!(framer.next_pdu().unwrap().unwrap().data, "last of the login");
    framer.set_digests(Digests::BOTH);
    assert_eq!(framer.next_pdu().unwrap().unwrap().data, "first of full feature");
}

#[test]
fn a_header_that_was_looked_at_before_the_switch_is_looked_at_again() {
    let wire = ping(b"data", Digests::BOTH);
    let mut spoiled = wire.clone();
    spoiled[BHS_LEN] ^= 1;
    for (wire, is_right) in [(wire, true), (spoiled, false)] {
        let mut framer = framer(Digests::NONE);
        framer.push(&wire[..BHS_LEN]);
        assert_eq!(framer.next_pdu(), Ok(None));
        framer.set_digests(Digests::BOTH);
        framer.push(&wire[BHS_LEN..]);
        assert_eq!(framer.next_pdu().is_ok(), is_right);
    }
}

/// Everything the framer says about a stream that comes in pieces.
fn frame(stream: &[u8], cuts: &[usize], digests: Digests) -> Vec<Result<RawPdu, FrameError>> {
    let mut framer = framer(digests);
    let mut out = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        framer.buffer_mut().extend_from_slice(&stream[from..to]);
        from = to;
        loop {
            match framer.next_pdu() {
                Ok(Some(pdu)) => out.push(Ok(pdu)),
                Ok(None) => break,
                Err(error) if error.is_fatal() => {
                    out.push(Err(error));
                    return out;
                }
                Err(error) => out.push(Err(error)),
            }
        }
    }
    out
}

fn cuts(indices: &[Index], len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = indices.iter().map(|i| i.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #[test]
    fn whole_pdus_survive_any_split(
        pdus in prop::collection::vec(strategies::initiator_pdu(), 1..6),
        indices in prop::collection::vec(any::<Index>(), 0..12),
        choice in 0..4usize,
    ) {
        let digests = DIGEST_CHOICES[choice];
        let stream: Vec<u8> =
            pdus.iter().flat_map(|pdu| pdu.encode(digests).unwrap().to_bytes()).collect();
        let framed = frame(&stream, &cuts(&indices, stream.len()), digests);
        let decoded: Vec<_> = framed.into_iter().map(|raw| InitiatorPdu::decode(raw.unwrap()).unwrap()).collect();
        prop_assert_eq!(decoded, pdus);
    }

    #[test]
    fn spoiled_streams_give_the_same_answers_for_any_split(
        pdus in prop::collection::vec(strategies::initiator_pdu(), 1..5),
        indices in prop::collection::vec(any::<Index>(), 0..12),
        flips in prop::collection::vec((any::<Index>(), 1..=255u8), 1..4),
        choice in 0..4usize,
    ) {
        let digests = DIGEST_CHOICES[choice];
        let mut stream: Vec<u8> =
            pdus.iter().flat_map(|pdu| pdu.encode(digests).unwrap().to_bytes()).collect();
        for (index, mask) in flips {
            let at = index.index(stream.len());
            stream[at] ^= mask;
        }
        let whole = frame(&stream, &[], digests);
        prop_assert_eq!(frame(&stream, &cuts(&indices, stream.len()), digests), whole);
    }
}
