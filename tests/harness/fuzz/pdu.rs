//! Framer and PDU codecs under arbitrary bytes.

use bytes::Bytes;
use lunkeep_common::limits::AHS_LEN_MAX;
use lunkeep_common::pdu::framer::READ_CHUNK;
use lunkeep_common::pdu::{
    BHS_LEN, Bhs, Digests, FrameError, FrameLimits, Framer, Header, InitiatorHeader, InitiatorPdu, Pdu,
    RawPdu, TargetHeader, TargetPdu,
};

/// Frames a stream in one piece and in small ones: the answers are the same, and the buffer stays within its bound.
///
/// Byte 0 chooses the digests (bits 0 and 1) and the data segment limit (bits 2 and 3), byte 1 the size of the pieces.
pub fn framer(input: &[u8]) {
    let [choice, piece, stream @ ..] = input else { return };
    let digests = Digests { header: choice & 1 != 0, data: choice & 2 != 0 };
    let data_segment_len = [0, 512, 8192, 1 << 18][usize::from(choice >> 2 & 3)];
    let limits = FrameLimits { data_segment_len, ahs_len: AHS_LEN_MAX };
    let whole = frame(stream, stream.len().max(1), limits, digests);
    let pieces = frame(stream, usize::from(*piece).max(1), limits, digests);
    assert_eq!(whole, pieces, "the answers depend on the split");
    for pdu in whole.into_iter().flatten() {
        // Whatever a decoder says, it says it; the next target looks closer.
        let _ = InitiatorPdu::decode(pdu.clone());
        let _ = TargetPdu::decode(pdu);
    }
}

fn frame(
    stream: &[u8],
    piece: usize,
    limits: FrameLimits,
    digests: Digests,
) -> Vec<Result<RawPdu, FrameError>> {
    let mut framer = Framer::new(limits);
    framer.set_digests(digests);
    let largest = BHS_LEN + AHS_LEN_MAX + limits.data_segment_len as usize + 3 + 8;
    let mut answers = Vec::new();
    for bytes in stream.chunks(piece) {
        let buffer = framer.buffer_mut();
        assert!(
            buffer.capacity() <= 2 * (largest + READ_CHUNK) + stream.len(),
            "{} bytes reserved",
            buffer.capacity()
        );
        buffer.extend_from_slice(bytes);
        loop {
            match framer.next_pdu() {
                Ok(None) => break,
                Ok(Some(pdu)) => {
                    assert!(
                        pdu.data.len() <= limits.data_segment_len as usize,
                        "an over-long segment came out"
                    );
                    answers.push(Ok(pdu));
                }
                Err(error) => {
                    let fatal = error.is_fatal();
                    answers.push(Err(error));
                    if fatal {
                        return answers;
                    }
                }
            }
        }
        assert!(framer.buffered() < largest, "a whole PDU was left in the buffer");
    }
    answers
}

/// Decodes one PDU as either side's: what is understood is sent again such that it is understood in the same way.
///
/// The input is a basic header segment, then as many additional header segments as it states, then data.
pub fn decode(input: &[u8]) {
    let Some((bhs, rest)) = input.split_first_chunk::<BHS_LEN>() else { return };
    let (ahs, data) = rest.split_at(rest.len().min(usize::from(bhs[4]) * 4));
    let raw = RawPdu { bhs: *bhs, ahs: Bytes::copy_from_slice(ahs), data: Bytes::copy_from_slice(data) };
    if let Ok(pdu) = InitiatorPdu::decode(raw.clone()) {
        assert_eq!(InitiatorPdu::decode(through_the_wire(&pdu)), Ok(pdu));
    }
    if let Ok(pdu) = TargetPdu::decode(raw) {
        if let TargetHeader::ScsiResponse(_) = pdu.header {
            let _ = lunkeep_common::pdu::scsi_response::split_sense(&pdu.data);
        }
        assert_eq!(TargetPdu::decode(through_the_wire(&pdu)), Ok(pdu));
    }
}

fn through_the_wire<H: Header>(pdu: &Pdu<H>) -> RawPdu {
    let wire = pdu.encode(Digests::BOTH).unwrap();
    let mut framer = Framer::new(FrameLimits { data_segment_len: (1 << 24) - 1, ahs_len: AHS_LEN_MAX });
    framer.set_digests(Digests::BOTH);
    framer.push(&wire.to_bytes());
    framer.next_pdu().unwrap().unwrap()
}

/// One header per opcode with every field set, and some streams.
fn headers() -> Vec<Bhs> {
    // Byte 1 such that the header decodes.
    let opcodes: [(u8, u8); 18] = [
        (0x00, 0x80),
        (0x01, 0xa1),
        (0x02, 0x81),
        (0x03, 0x87),
        (0x04, 0x80),
        (0x05, 0x80),
        (0x06, 0x80),
        (0x10, 0x80),
        (0x20, 0x80),
        (0x21, 0x82),
        (0x22, 0x80),
        (0x23, 0x87),
        (0x24, 0x80),
        (0x25, 0x81),
        (0x26, 0x80),
        (0x31, 0x80),
        (0x32, 0x80),
        (0x3f, 0x80),
    ];
    opcodes
        .into_iter()
        .map(|(opcode, flags)| {
            let mut bhs = [0; BHS_LEN];
            (8..).zip(&mut bhs[8..]).for_each(|(n, byte)| *byte = n);
            (bhs[0], bhs[1]) = (opcode, flags);
            match opcode {
                0x23 => bhs[36..38].fill(0), // Success
                0x3f => bhs[2] = 0x09,       // Invalid PDU field
                _ => {}
            }
            assert!(
                InitiatorHeader::decode(&bhs).is_ok() || TargetHeader::decode(&bhs).is_ok(),
                "{opcode:#x}"
            );
            bhs
        })
        .collect()
}

/// Seeds of [`decode`].
#[must_use]
pub fn decode_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<_> =
        headers().iter().map(|bhs| (format!("opcode-{:02x}", bhs[0]), bhs.to_vec())).collect();
    let mut command = headers()[1].to_vec();
    command[4] = 4;
    command.extend([0, 5, 2, 0, 0, 0, 2, 0, 0, 4, 1, 0, 0xaa, 0xbb, 0xcc, 0]);
    command.extend(b"immediate data");
    seeds.push(("command-with-ahs-and-data".to_owned(), command));
    let mut response = headers()[9].to_vec();
    response[3] = 2;
    response.extend([0, 18, 0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0]);
    seeds.push(("response-with-sense".to_owned(), response));
    seeds
}

/// Seeds of [`framer`].
#[must_use]
pub fn framer_seeds() -> Vec<(String, Vec<u8>)> {
    let stream = |digests| -> Vec<u8> {
        let data: Bytes = (0..37).collect();
        let pdus = headers().into_iter().filter_map(|bhs| InitiatorHeader::decode(&bhs).ok());
        pdus.flat_map(|header| {
            let data = if header.has_data_segment() { data.clone() } else { Bytes::new() };
            Pdu::with_data(header, data).encode(digests).unwrap().to_bytes()
        })
        .collect()
    };
    let choices =
        [("none", Digests::NONE), ("header", Digests { header: true, data: false }), ("both", Digests::BOTH)];
    let mut seeds = Vec::new();
    for (name, digests) in choices {
        let choice = u8::from(digests.header) | u8::from(digests.data) << 1 | 1 << 2;
        let stream = stream(digests);
        seeds.push((format!("stream-digest-{name}"), [&[choice, 7], &stream[..]].concat()));
        let mut spoiled = [&[choice, 50], &stream[..]].concat();
        spoiled[2 + BHS_LEN + 5] ^= 1;
        seeds.push((format!("spoiled-digest-{name}"), spoiled));
    }
    let mut too_long = vec![0x04, 1];
    too_long.extend(headers()[0]);
    too_long[2 + 6] = 0x02;
    too_long[2 + 7] = 0x01;
    seeds.push(("one-byte-over-the-limit".to_owned(), too_long));
    seeds
}
