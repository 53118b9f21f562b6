//! Peers that do not get as far as a session.

use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use lunkeep_tests::wire::{INITIATOR, Peer, login_request, opcode, text_keys};

use super::bystander::Scene;

#[test]
fn bytes_that_are_no_iscsi_end_the_connection() {
    let scene = Scene::new();
    let mut noise = vec![0; 4096];
    Random::new(seed(&test_name())).fill(&mut noise);
    let http =
        b"GET / HTTP/1.1\r\nHost: storage.invalid\r\nUser-Agent: a scanner that looks at every port\r\n\r\n";
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x55; 600]].concat();
    for bytes in [&noise[..], &http[..], &tls, &[0; 48], &[0xff; 48]] {
        let mut peer = Peer::connect(scene.target.portal());
        peer.send_bytes(bytes);
        peer.half_close();
        let address = peer.address();
        peer.until_closed();
        scene.target.wait_for_log(&format!("peer={address}"));
    }
    scene.finish();
}

#[test]
fn a_login_of_16_megabytes_is_refused_before_it_is_read() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.target.portal());
    peer.send(&login_request(0x87, 1, &[]).lie(0, 0x00ff_ffff));
    let address = peer.address();
    peer.until_closed();
    scene.target.wait_for_log(&format!("peer={address}"));
    scene.finish();
}

#[test]
fn each_mistake_of_a_login_has_its_status() {
    let scene = Scene::new();
    let iqn = scene.iqn.as_str();
    let name = ("InitiatorName", INITIATOR);
    let target = ("TargetName", iqn);
    for (what, keys, expected) in [
        ("no initiator name", vec![target], (2, 0x07)),
        ("no target name", vec![name], (2, 0x07)),
        ("a target that is not served", vec![name, ("TargetName", "iqn.2024-01.invalid:other")], (2, 0x03)),
        ("a name that is none", vec![("InitiatorName", "x y"), target], (2, 0x00)),
        ("a session type that is none", vec![name, target, ("SessionType", "Other")], (2, 0x09)),
        ("a key twice", vec![name, target, ("InitialR2T", "Yes"), ("InitialR2T", "No")], (2, 0x00)),
    ] {
        let mut peer = Peer::connect(scene.target.portal());
        peer.send(&login_request(0x87, 1, &keys));
        let answer = peer.receive().unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert_eq!(answer.opcode(), opcode::LOGIN_RESPONSE, "{what}: {answer:02x?}");
        assert_eq!((answer.bhs[36], answer.bhs[37]), expected, "{what}: {answer:02x?}");
        let address = peer.address();
        peer.until_closed();
        scene.target.wait_for_log(&format!("connection ended peer={address}"));
    }
    scene.finish();
}

#[test]
fn a_number_that_is_none_is_rejected_by_its_key_and_the_login_goes_on() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.target.portal());
    let keys = [("InitiatorName", INITIATOR), ("TargetName", &scene.iqn), ("MaxBurstLength", "many")];
    peer.send(&login_request(0x87, 1, &keys));
    let answer = peer.receive().unwrap();
    assert_eq!(answer.bhs[36], 0, "{answer:02x?}");
    let rejected = ("MaxBurstLength".to_owned(), "Reject".to_owned());
    assert!(text_keys(&answer.data).contains(&rejected), "{:?}", text_keys(&answer.data));
    scene.finish();
}

#[test]
fn a_command_before_the_login_is_not_run() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.target.portal());
    let frame = peer.command_frame(0, &[0; 6], 0x81, 0);
    peer.send(&frame);
    let answers = peer.until_closed();
    assert!(!answers.iter().any(|answer| answer.opcode() == opcode::SCSI_RESPONSE), "{answers:02x?}");
    scene.finish();
}

#[test]
fn a_login_that_arrives_byte_by_byte_works() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.target.portal());
    let keys = [("InitiatorName", INITIATOR), ("TargetName", &scene.iqn), ("SessionType", "Normal")];
    for byte in login_request(0x87, 1, &keys).bytes(peer.digests) {
        peer.send_bytes(&[byte]);
    }
    let answer = peer.receive().unwrap();
    assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0), "{answer:02x?}");
    scene.finish();
}

#[test]
fn a_login_that_never_ends_is_ended() {
    let scene = Scene::new();
    let mut peer = Peer::connect(scene.target.portal());
    // Text that is always continued: the C bit, without T.
    let first = login_request(0x44, 1, &[("InitiatorName", INITIATOR), ("TargetName", &scene.iqn)]);
    let mut exp_stat_sn = 0;
    for number in 0..100_000_u32 {
        let text = format!("X-com.example.{number}={}\0", "v".repeat(200));
        let frame = if number == 0 { first.clone() } else { first.clone().data(text) };
        peer.send(&frame.word(28, exp_stat_sn));
        match peer.receive() {
            Some(answer) if answer.bhs[36] == 0 => exp_stat_sn = answer.word_at(24).wrapping_add(1),
            refused => {
                let status = refused.map(|answer| (answer.bhs[36], answer.bhs[37]));
                assert!(status.is_none_or(|(class, _)| class == 2 || class == 3), "{status:02x?}");
                scene.finish();
                return;
            }
        }
    }
    panic!("the target takes login text for ever");
}
