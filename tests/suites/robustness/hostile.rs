//! PDUs that break the rules in the full feature phase.

use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use lunkeep_tests::wire::{Frame, Peer, opcode, rw10};

use super::bystander::{LUN, Scene};

const CRC: [(&str, &str); 2] = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];

/// The target must have logged a line that names this peer.
#[track_caller]
fn is_named(scene: &Scene, peer: &Peer) -> String {
    scene.target.wait_for_log(&format!("peer={}", peer.address()))
}

/// The target must close the connection, after a Reject or without one, and name the peer in the log.
#[track_caller]
fn is_thrown_out(scene: &Scene, mut peer: Peer) -> Vec<Frame> {
    let address = peer.address();
    let last = peer.until_closed();
    scene.target.wait_for_log(&format!("connection ended peer={address}"));
    last
}

/// A NOP-Out that asks for no answer, with the peer's numbers.
fn nop(peer: &Peer) -> Frame {
    Frame::new(opcode::NOP_OUT | 0x40)
        .word(16, u32::MAX)
        .word(20, u32::MAX)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn)
}

#[test]
fn a_data_segment_longer_than_was_agreed_ends_the_connection() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let huge = nop(&peer).lie(0, 0x00ff_ffff);
    peer.send(&huge);
    let line_of = peer.address();
    is_thrown_out(&scene, peer);
    let line = scene.target.wait_for_log(&format!("connection ended peer={line_of}"));
    assert!(line.contains("16777215"), "the length is not named: {line}");
    scene.finish();
}

#[test]
fn a_header_segment_longer_than_its_pdu_may_have_ends_the_connection() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let frame = nop(&peer).lie(255, 0);
    peer.send(&frame);
    peer.send_bytes(&[0xff; 255 * 4]);
    is_named(&scene, &peer);
    scene.finish();
}

#[test]
fn a_wrong_header_digest_ends_the_connection() {
    let scene = Scene::new();
    let mut peer = scene.peer_with(1, &CRC[..1]);
    peer.ping();
    let mut bytes = nop(&peer).bytes(peer.digests);
    bytes[50] ^= 1;
    peer.send_bytes(&bytes);
    let address = peer.address();
    is_thrown_out(&scene, peer);
    let line = scene.target.wait_for_log(&format!("connection ended peer={address}"));
    assert!(line.contains("digest"), "{line}");
    scene.finish();
}

#[test]
fn a_wrong_data_digest_is_rejected_and_nothing_of_the_data_is_written() {
    let scene = Scene::new();
    let mut peer = scene.peer_with(1, &CRC);
    let before = peer.read_blocks(LUN, 0, 1, 512).data;
    let frame = peer.command_frame(LUN, &rw10(0x2a, 0, 1), 0xa1, 512).data([0xee; 512]);
    let mut bytes = frame.bytes(peer.digests);
    let last = bytes.len() - 1;
    bytes[last] ^= 0x80;
    peer.send_bytes(&bytes);
    // RFC 7143 §11.17.1, reason 02h: at error recovery level 0 the connection may end with it.
    let answer = peer.receive().expect("a Reject");
    assert_eq!((answer.opcode(), answer.bhs[2]), (opcode::REJECT, 2), "{answer:02x?}");
    assert_eq!(
        answer.data[..48],
        frame.bytes(Default::default())[..48],
        "a Reject holds the header in question"
    );
    is_named(&scene, &peer);
    let mut other = scene.peer(2);
    assert_eq!(other.read_blocks(LUN, 0, 1, 512).data, before);
    scene.finish();
}

#[test]
fn opcodes_that_no_initiator_may_send_are_rejected() {
    let scene = Scene::new();
    for (number, code) in [0x07, 0x0f, 0x1f, 0x20, 0x21, 0x25, 0x31, 0x3f].into_iter().enumerate() {
        let mut peer = scene.peer(u16::try_from(number).unwrap() + 1);
        let frame = Frame::new(code | 0x40).word(16, 5).word(24, peer.cmd_sn).word(28, peer.exp_stat_sn);
        peer.send(&frame);
        match peer.receive() {
            Some(answer) => assert_eq!(answer.opcode(), opcode::REJECT, "{code:#04x}: {answer:02x?}"),
            None => drop(is_named(&scene, &peer)),
        }
    }
    scene.finish();
}

#[test]
fn data_for_no_task_and_data_past_the_end_of_a_task_change_nothing() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let before = peer.read_blocks(LUN, 0, 64, 512).data;
    let stray =
        Frame::new(opcode::DATA_OUT).word(16, 99).word(20, 77).word(28, peer.exp_stat_sn).data([1; 512]);
    peer.send(&stray);
    drop(peer.until_quiet());

    // An R2T for 32 KiB answered with an offset past its end, then with more data than it asks for.
    for (number, (offset, length)) in [(40_000_u32, 512_usize), (0, 40_960)].into_iter().enumerate() {
        let mut peer = scene.peer(u16::try_from(number).unwrap() + 2);
        let frame = peer.command_frame(LUN, &rw10(0x2a, 0, 64), 0xa1, 32_768);
        peer.send(&frame);
        let r2t = peer.expect(opcode::R2T);
        let data = Frame::new(opcode::DATA_OUT)
            .put(8, &r2t.bhs[8..24])
            .word(28, peer.exp_stat_sn)
            .word(40, offset)
            .data(vec![0xdd; length]);
        peer.send(&data);
        let answers = peer.until_quiet();
        let good = |frame: &Frame| frame.opcode() == opcode::SCSI_RESPONSE && frame.bhs[3] == 0;
        assert!(!answers.iter().any(good), "{answers:02x?}");
    }
    assert_eq!(scene.peer(9).read_blocks(LUN, 0, 64, 512).data, before);
    scene.finish();
}

#[test]
fn a_connection_cut_within_a_pdu_ends_quietly() {
    let scene = Scene::new();
    for cut in [1, 47, 48, 49, 300] {
        let mut peer = scene.peer(1);
        let bytes = peer.command_frame(LUN, &rw10(0x2a, 0, 8), 0xa1, 4096).data([3; 512]).bytes(peer.digests);
        peer.send_bytes(&bytes[..cut]);
        peer.half_close();
        peer.until_closed();
    }
    scene.finish();
}

#[test]
fn commands_outside_the_window_are_ignored() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let next = peer.cmd_sn;
    for far in [next.wrapping_add(0x4000_0000), next.wrapping_sub(1), next.wrapping_add(100_000)] {
        let frame = peer.command_frame(LUN, &[0; 6], 0x81, 0).word(24, far);
        peer.send(&frame);
    }
    peer.cmd_sn = next;
    assert_eq!(peer.command_in(LUN, &[0; 6], 0).status, 0, "the window has moved");
    scene.finish();
}

#[test]
fn a_command_for_a_lun_that_is_not_there_and_one_that_no_device_knows_fail_alone() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let absent = peer.command_in(33, &[0; 6], 0);
    assert_eq!((absent.status, absent.sense_code()), (2, Some((5, 0x25, 0))));
    let unknown = peer.command_in(LUN, &[0xff; 16], 0);
    assert_eq!((unknown.status, unknown.sense_code()), (2, Some((5, 0x20, 0))));
    let beyond = peer.read_blocks(LUN, u32::MAX, 1, 512);
    assert_eq!((beyond.status, beyond.sense_code()), (2, Some((5, 0x21, 0))));
    assert_eq!(peer.command_in(LUN, &[0; 6], 0).status, 0);
    scene.finish();
}

#[test]
fn text_requests_of_nonsense_are_answered_or_rejected() {
    let scene = Scene::new();
    let nonsense: [&[u8]; 6] = [
        b"SendTargets",
        b"=\0",
        b"\xff\xfe=\x80\0",
        b"SendTargets=\0SendTargets=\0",
        &[0; 4000],
        &[b'A'; 8000],
    ];
    for (number, text) in nonsense.into_iter().enumerate() {
        let mut peer = scene.peer(u16::try_from(number).unwrap() + 1);
        let frame = Frame::new(opcode::TEXT | 0x40)
            .word(16, 3)
            .word(20, u32::MAX)
            .word(24, peer.cmd_sn)
            .word(28, peer.exp_stat_sn)
            .data(text);
        peer.send(&frame);
        if let Some(answer) = peer.receive() {
            assert!([opcode::TEXT_RESPONSE, opcode::REJECT].contains(&answer.opcode()), "{answer:02x?}");
        }
    }
    scene.finish();
}

#[test]
fn random_changes_to_well_formed_pdus_hurt_nobody() {
    let mut scene = Scene::new();
    let mut random = Random::new(seed(&test_name()));
    let connections = if lunkeep_tests::report::full() { 20_000 } else { 400 };
    for number in 0..connections {
        let isid = u16::try_from(number % 16).unwrap();
        let mut peer = scene.peer(isid);
        for _ in 0..4 {
            let frame = match random.below(5) {
                0 => nop(&peer),
                1 => peer.command_frame(LUN, &rw10(0x28, 0, 8), 0xc1, 4096),
                2 => peer.command_frame(LUN, &rw10(0x2a, 64, 8), 0xa1, 4096).data([4; 4096]),
                3 => Frame::new(opcode::TASK_MANAGEMENT | 0x40).flags(0x81).word(16, 8).word(24, peer.cmd_sn),
                _ => Frame::new(opcode::TEXT | 0x40)
                    .word(16, 9)
                    .word(20, u32::MAX)
                    .word(24, peer.cmd_sn)
                    .data(*b"SendTargets=\0"),
            };
            let mut bytes = frame.bytes(peer.digests);
            for _ in 0..=random.below(3) {
                let at = random.index(bytes.len().min(56));
                bytes[at] ^= 1 << random.below(8);
            }
            peer.send_bytes(&bytes);
        }
        if number % 8 == 0 {
            scene.bystander_goes_on();
        }
    }
    scene.finish();
}
