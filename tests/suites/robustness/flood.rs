//! Peers that send much, take nothing, or just sit there.

use lunkeep_tests::wire::{Frame, Peer, opcode, rw10};

use super::bystander::{LUN, Scene};

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let scene = Scene::new();
    let silent: Vec<Peer> = (0..300).map(|_| Peer::connect(scene.target.portal())).collect();
    let mut peer = scene.peer(1);
    assert_eq!(peer.read_blocks(LUN, 0, 8, 512).status, 0);
    drop(silent);
    scene.finish();
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let mut scene = Scene::new();
    let mut first = 0;
    for round in 0..4 {
        for _ in 0..250 {
            drop(Peer::connect(scene.target.portal()));
        }
        scene.bystander_goes_on();
        let memory = scene.target.daemon().resident_memory();
        if round == 0 {
            first = memory;
        }
        assert!(memory < first + (32 << 20), "memory grew from {first} to {memory} bytes");
    }
    scene.finish();
}

#[test]
fn sessions_that_log_in_again_and_again_replace_each_other() {
    let scene = Scene::new();
    let mut peers: Vec<Peer> = (0..60).map(|_| scene.peer(1)).collect();
    let mut last = peers.pop().unwrap();
    assert_eq!(last.read_blocks(LUN, 0, 8, 512).status, 0);
    for mut replaced in peers {
        replaced.until_closed();
    }
    scene.finish();
}

#[test]
fn reads_whose_answers_nobody_takes_fill_no_memory() {
    let scene = Scene::new();
    // Each asks for 1 MiB; together 2 GiB, of which the peers take nothing.
    let mut peers: Vec<Peer> = (1..=4).map(|isid| scene.peer(isid)).collect();
    for peer in &mut peers {
        for _ in 0..512 {
            let frame = peer.command_frame(LUN, &rw10(0x28, 0, 2048), 0xc1, 1 << 20);
            if !peer.send_what_fits(&frame) {
                break;
            }
        }
    }
    scene.finish();
    drop(peers);
}

#[test]
fn pings_whose_answers_nobody_takes_fill_no_memory() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let ping = Frame::new(opcode::NOP_OUT | 0x40)
        .word(16, 7)
        .word(20, u32::MAX)
        .word(24, peer.cmd_sn)
        .word(28, peer.exp_stat_sn)
        .data([0x70; 4096]);
    let mut sent = 0;
    while sent < 100_000 && peer.send_what_fits(&ping) {
        sent += 1;
    }
    println!("{sent} pings of 4 KiB were taken");
    scene.finish();
}

#[test]
fn mistakes_without_end_do_not_fill_the_log() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    let data_that_nobody_asked_for = Frame::new(opcode::DATA_OUT).word(16, 0x1234).word(20, 0x77);
    for _ in 0..5000 {
        peer.send(&data_that_nobody_asked_for);
    }
    (0..5000).for_each(|_| drop(peer.expect(opcode::REJECT)));
    let lines = scene.target.log().lines().count();
    assert!(lines < 200, "{lines} lines");
    scene.finish();
}

#[test]
fn writes_whose_data_never_comes_hold_back_nobody() {
    let scene = Scene::new();
    let mut peers: Vec<Peer> = (1..=4).map(|isid| scene.peer(isid)).collect();
    for peer in &mut peers {
        for number in 0..64_u32 {
            let frame = peer.command_frame(LUN, &rw10(0x2a, number * 2048, 2048), 0xa1, 1 << 20);
            peer.send(&frame);
        }
    }
    // Another session writes to the same unit meanwhile.
    let mut other = scene.peer(9);
    assert_eq!(other.write_blocks(LUN, 0, &[5; 4096], 512).status, 0);
    assert_eq!(other.read_blocks(LUN, 0, 8, 512).data, [5; 4096]);
    scene.finish();
}

#[test]
fn more_commands_than_the_window_allows_are_not_run() {
    let scene = Scene::new();
    let mut peer = scene.peer(1);
    for _ in 0..10_000 {
        let frame = peer.command_frame(LUN, &[0; 6], 0x81, 0);
        if !peer.send_what_fits(&frame) {
            break;
        }
    }
    let answered = peer.until_quiet().len();
    assert!((1..10_000).contains(&answered), "{answered} answers");
    scene.finish();
}
