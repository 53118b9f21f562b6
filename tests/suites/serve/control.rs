//! Changes of a running `serve` by `ctl`: what initiators see, what is in the files afterwards, and what is refused.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use lunkeep_tests::wire::{Answer, Peer, opcode};

use super::*;

const GOOD: u8 = 0;
const BLOCK: usize = 512;

/// Runs `ctl` against a target, which must do what it is told.
fn ctl(target: &Target, arguments: &[&str]) -> Value {
    let outcome = ask(target, arguments);
    assert!(outcome.success(), "{arguments:?}: {outcome}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Runs `ctl` against a target, which must refuse, and gives the reason.
fn ctl_refused(target: &Target, arguments: &[&str]) -> String {
    let outcome = ask(target, arguments);
    assert_eq!(outcome.code(), Some(1), "{arguments:?}: {outcome}");
    outcome.stderr
}

fn ask(target: &Target, arguments: &[&str]) -> Outcome {
    let socket = target.document()["control"].as_str().unwrap().to_owned();
    PROGRAMS.target(["ctl", "--json", "--socket", &socket].iter().chain(arguments).copied())
}

fn serve(disks: &[String]) -> Target {
    Target::serve(PROGRAMS, disks.iter().flat_map(|disk| ["--disk", disk]))
}

fn login(target: &Target, isid: u16) -> Peer {
    Peer::login(target.portal(), &target.iqn(), isid)
}

fn sense(peer: &mut Peer, lun: u8) -> Option<(u8, u8, u8)> {
    peer.command_in(lun, &[0; 6], 0).sense_code()
}

fn write(peer: &mut Peer, lun: u8, lba: u32, byte: u8) -> Answer {
    peer.write_blocks(lun, lba, &[byte; BLOCK], BLOCK)
}

fn byte_at(peer: &mut Peer, lun: u8, lba: u32) -> u8 {
    let read = peer.read_blocks(lun, lba, 1, 512);
    assert_eq!(read.status, GOOD, "{read:?}");
    read.data[0]
}

fn image(arguments: &[&str]) -> Outcome {
    PROGRAMS.target(["image"].iter().chain(arguments).copied())
}

#[test]
fn every_format_grows_while_it_is_served_and_keeps_its_size_and_content() {
    let folder = Folder::new();
    let names = ["a.raw", "b.vhd", "c.vhd,fixed", "d.vhdx", "e.vhdx,fixed"];
    let disks: Vec<String> = names.iter().map(|name| format!("{},size=4M", folder.name(name))).collect();
    let target = serve(&disks);
    let mut peer = login(&target, 1);
    for lun in 0..5 {
        assert!(peer.is_ready(lun));
        assert_eq!(write(&mut peer, lun, 7, 0x5a).status, GOOD);
        let grown = ctl(&target, &["lun", "grow", &lun.to_string(), "8M"]);
        assert_eq!(grown["size"], 8 << 20, "{}", names[usize::from(lun)]);
        assert_eq!(sense(&mut peer, lun), Some((6, 0x2a, 9)), "CAPACITY DATA HAS CHANGED");
        assert_eq!((byte_at(&mut peer, lun, 7), byte_at(&mut peer, lun, 16383)), (0x5a, 0));
        assert_eq!(write(&mut peer, lun, 16383, 0xa5).status, GOOD);
        let reason = ctl_refused(&target, &["lun", "grow", &lun.to_string(), "4M"]);
        assert!(reason.contains("only grow"), "{reason}");
    }
    drop(peer);
    target.stop();
    for name in names {
        let path = folder.name(name.split(',').next().unwrap());
        assert!(image(&["check", &path]).success(), "{name}");
    }
    let again: Vec<String> = names.iter().map(|name| folder.name(name.split(',').next().unwrap())).collect();
    let target = serve(&again);
    let mut peer = login(&target, 1);
    for lun in 0..5 {
        assert!(peer.is_ready(lun));
        assert_eq!((byte_at(&mut peer, lun, 7), byte_at(&mut peer, lun, 16383)), (0x5a, 0xa5));
    }
    drop(peer);
    target.stop();
}

/// Writes counting numbers to one block, one after another, until told to stop; none may fail.
fn count_up(peer: &mut Peer, acknowledged: &AtomicU32, stop: &AtomicBool) {
    let mut number = 0u32;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let data: Vec<u8> = number.to_le_bytes().repeat(BLOCK / 4);
        let written = peer.write_blocks(0, 9, &data, BLOCK);
        assert_eq!(written.status, GOOD, "write {number} failed: {written:?}");
        acknowledged.store(number, Ordering::SeqCst);
    }
}

/// The number in that block of an image.
fn number_in(folder: &Folder, path: &str) -> u32 {
    let raw = folder.name("number.raw");
    let converted = image(&["convert", path, &raw, "--format", "raw"]);
    assert!(converted.success(), "{converted}");
    let content = std::fs::read(&raw).unwrap();
    std::fs::remove_file(&raw).unwrap();
    let block = &content[9 * BLOCK..10 * BLOCK];
    let number = u32::from_le_bytes(block[..4].try_into().unwrap());
    assert!(block.chunks(4).all(|part| part == number.to_le_bytes()), "a torn write");
    number
}

#[test]
fn a_snapshot_under_load_holds_all_that_was_acknowledged_before_it_and_fails_no_command() {
    for format in ["vhdx", "vhd"] {
        let folder = Folder::new();
        let disk = folder.name(&format!("disk.{format}"));
        let target = serve(&[format!("{disk},size=8M")]);
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut peer = login(&target, 1);
        assert!(peer.is_ready(0));
        let mut marks: Vec<(String, u32, u32)> = Vec::new();
        thread::scope(|scope| {
            let writer = scope.spawn(|| count_up(&mut peer, &acknowledged, &stop));
            for _ in 0..3 {
                let seen = acknowledged.load(Ordering::SeqCst);
                while acknowledged.load(Ordering::SeqCst) < seen + 5 && !writer.is_finished() {
                    thread::yield_now();
                }
                let before = acknowledged.load(Ordering::SeqCst);
                let made = ctl(&target, &["lun", "snapshot", "0"]);
                let after = acknowledged.load(Ordering::SeqCst);
                marks.push((made["parent"].as_str().unwrap().to_owned(), before, after));
            }
            stop.store(true, Ordering::SeqCst);
            writer.join().unwrap();
        });
        let status = ctl(&target, &["status"]);
        assert_eq!(status["targets"][0]["luns"][0]["chain"], 4);
        // What was acknowledged and flushed outlives a kill; the configuration still means what was served.
        assert_eq!(peer.command_in(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0).status, GOOD);
        let last = acknowledged.load(Ordering::SeqCst);
        target.kill();
        for (parent, before, after) in &marks {
            let number = number_in(&folder, parent);
            // One more may have been on its way when the answer came.
            assert!((*before..=after + 1).contains(&number), "{format}: {before} <= {number} <= {after} + 1");
        }
        let target = serve(std::slice::from_ref(&disk));
        target.stop();
        assert_eq!(number_in(&folder, &disk), last);
        assert!(image(&["check", &disk]).success());
    }
}

#[test]
fn a_snapshot_that_cannot_be_made_leaves_the_image_served_as_it_was() {
    let folder = Folder::new();
    let target =
        serve(&[format!("{},size=4M", folder.name("a.vhdx")), format!("{},size=4M", folder.name("b.raw"))]);
    let mut peer = login(&target, 1);
    assert!(peer.is_ready(0) && peer.is_ready(1));
    assert_eq!(write(&mut peer, 0, 1, 0x11).status, GOOD);
    // Too long for a name of the file system: found out when the image has been closed already.
    let long = "n".repeat(300);
    let reason = ctl_refused(&target, &["lun", "snapshot", "0", "--name", &long]);
    assert!(reason.contains("long"), "{reason}");
    assert_eq!((sense(&mut peer, 0), byte_at(&mut peer, 0, 1)), (None, 0x11));
    assert_eq!(write(&mut peer, 0, 2, 0x22).status, GOOD);
    assert!(ctl_refused(&target, &["lun", "snapshot", "1"]).contains("raw image"));
    ctl(&target, &["lun", "snapshot", "0", "--name", "one"]);
    assert!(ctl_refused(&target, &["lun", "snapshot", "0", "--name", "one"]).contains("exists already"));
    assert_eq!((byte_at(&mut peer, 0, 1), byte_at(&mut peer, 0, 2)), (0x11, 0x22));
    drop(peer);
    target.stop();
}

#[test]
fn a_reset_brings_the_parent_back_and_every_initiator_is_told() {
    let folder = Folder::new();
    for (format, lun) in [("vhdx", "disk.vhdx"), ("vhd", "disk.vhd")] {
        let disk = folder.name(lun);
        let target = serve(&[format!("{disk},size=8M")]);
        let (mut peer, mut other) = (login(&target, 1), login(&target, 2));
        assert!(peer.is_ready(0) && other.is_ready(0));
        assert!(ctl_refused(&target, &["lun", "reset", "0"]).contains("no differencing disk"));
        assert_eq!(write(&mut peer, 0, 3, 0x33).status, GOOD);
        ctl(&target, &["lun", "snapshot", "0", "--name", "gold"]);
        for round in 0..3 {
            assert_eq!(write(&mut peer, 0, 3, 0x44 + round).status, GOOD);
            assert_eq!(write(&mut peer, 0, 4, 0x55).status, GOOD);
            ctl(&target, &["lun", "reset", "0"]);
            for peer in [&mut peer, &mut other] {
                assert_eq!(sense(peer, 0), Some((6, 0x28, 0)), "{format}: the medium may have changed");
                assert_eq!((byte_at(peer, 0, 3), byte_at(peer, 0, 4)), (0x33, 0));
            }
        }
        assert_eq!(peer.command_in(0, &[0x16, 0, 0, 0, 0, 0], 0).status, GOOD, "RESERVE(6)");
        assert!(ctl_refused(&target, &["lun", "reset", "0"]).contains("reserved"));
        ctl(&target, &["lun", "reset", "0", "--force"]);
        drop((peer, other));
        target.stop();
        assert!(image(&["check", &disk]).success());
    }
}

#[test]
fn a_removed_lun_gives_its_image_back_and_comes_again_with_its_identity() {
    let folder = Folder::new();
    let target =
        serve(&[format!("{},size=4M", folder.name("a.vhdx")), format!("{},size=4M", folder.name("b.vhdx"))]);
    let path = folder.name("b.vhdx");
    let mut peer = login(&target, 1);
    assert!(peer.is_ready(0) && peer.is_ready(1));
    assert_eq!(write(&mut peer, 1, 0, 0x77).status, GOOD);
    let before = ctl(&target, &["status"])["targets"][0]["luns"][1].clone();
    assert!(image(&["resize", &path, "--size", "8M"]).stderr.contains("in use"));
    assert_eq!(ctl(&target, &["lun", "remove", "1"])["closed"], true);
    assert_eq!(sense(&mut peer, 1), Some((5, 0x25, 0)));
    assert_eq!(sense(&mut peer, 0), Some((6, 0x3f, 0x0e)));
    let resized = image(&["resize", &path, "--size", "8M"]);
    assert!(resized.success(), "{resized}");
    let iqn = target.iqn();
    ctl(&target, &["lun", "add", "--target", &iqn, "--number", "1", &path]);
    assert_eq!(sense(&mut peer, 1), Some((6, 0x29, 0)));
    while sense(&mut peer, 1).is_some() {}
    assert_eq!(byte_at(&mut peer, 1, 0), 0x77);
    let after = ctl(&target, &["status"])["targets"][0]["luns"][1].clone();
    for member in ["serial", "naa", "path"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    assert_eq!(after["size"], 8 << 20);
    assert!(ctl_refused(&target, &["lun", "add", &path]).contains("given twice"));
    assert!(ctl_refused(&target, &["lun", "add", &folder.name("no.vhdx")]).contains("does not exist"));
    assert!(ctl_refused(&target, &["lun", "remove", "9"]).contains("no LUN 9"));
    drop(peer);
    target.stop();
}

#[test]
fn the_medium_of_a_removable_lun_is_exchanged_by_eject_and_insert() {
    let folder = Folder::new();
    let other = folder.name("other.raw");
    std::fs::write(&other, [0x99; 1 << 20]).unwrap();
    let target = serve(&[format!("{},size=4M,removable", folder.name("a.vhdx"))]);
    let mut peer = login(&target, 1);
    assert!(peer.is_ready(0));
    assert_eq!(write(&mut peer, 0, 0, 0x12).status, GOOD);
    assert!(ctl_refused(&target, &["lun", "insert", "0", &other]).contains("not ejected"));
    ctl(&target, &["lun", "eject", "0"]);
    assert_eq!(sense(&mut peer, 0), Some((2, 0x3a, 0)));
    ctl(&target, &["lun", "insert", "0", &other]);
    assert_eq!(sense(&mut peer, 0), Some((6, 0x28, 0)));
    while sense(&mut peer, 0).is_some() {}
    assert_eq!(byte_at(&mut peer, 0, 2047), 0x99);
    assert!(image(&["check", &folder.name("a.vhdx")]).success(), "the ejected image is free");
    ctl(&target, &["lun", "eject", "0"]);
    ctl(&target, &["lun", "insert", "0", &folder.name("a.vhdx")]);
    while sense(&mut peer, 0).is_some() {}
    assert_eq!(byte_at(&mut peer, 0, 0), 0x12);
    drop(peer);
    target.stop();
}

#[test]
fn targets_come_and_go_and_initiators_are_asked_to_log_out() {
    let folder = Folder::new();
    let target = serve(&[format!("{},size=4M", folder.name("a.vhdx"))]);
    let name = "iqn.2026-11.org.example:late";
    let disk = format!("{},size=4M", folder.name("late.vhdx"));
    ctl(&target, &["target", "add", name, "--disk", &disk]);
    assert!(ctl_refused(&target, &["target", "add", name, "--disk", &disk]).contains("there already"));
    let mut peer = Peer::login(target.portal(), name, 1);
    assert!(peer.is_ready(0));
    assert_eq!(write(&mut peer, 0, 0, 1).status, GOOD);
    let sessions = ctl(&target, &["session", "list"])["sessions"].clone();
    assert_eq!((&sessions[0]["target"], &sessions[0]["luns"]), (&name.into(), &serde_json::json!([0])));
    let session = sessions[0]["session"].to_string();
    let gone = ctl(&target, &["session", "logout", &session, "--within", "0"]);
    assert_eq!((&gone["obeyed"], &gone["dropped"]), (&0.into(), &1.into()));
    let told: Vec<_> = peer.until_closed().into_iter().map(|frame| (frame.opcode(), frame.bhs[36])).collect();
    assert_eq!(told, [(opcode::ASYNC_MESSAGE, 1), (opcode::ASYNC_MESSAGE, 3)]);
    let mut peer = Peer::login(target.portal(), name, 1);
    assert!(peer.is_ready(0));
    let removed = ctl(&target, &["target", "remove", name, "--within", "0"]);
    assert_eq!(removed["sessions"]["dropped"], 1);
    assert!(image(&["check", &folder.name("late.vhdx")]).success());
    let refused = Peer::login_with(target.portal(), name, 1, &[]).map(drop).unwrap_err();
    assert_eq!((refused.class, refused.detail), (2, 4));
    ctl(&target, &["target", "add", name, "--disk", &folder.name("late.vhdx")]);
    let mut peer = Peer::login(target.portal(), name, 1);
    assert!(peer.is_ready(0));
    assert_eq!(byte_at(&mut peer, 0, 0), 1);
    drop(peer);
    target.stop();
}

#[test]
fn the_control_socket_is_its_users_alone_and_outlives_a_kill_by_nothing() {
    let folder = Folder::new();
    let disk = format!("{},size=1M", folder.name("a.raw"));
    let first = serve(std::slice::from_ref(&disk));
    let socket = first.document()["control"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o7777, 0o600);
    let other = format!("{},size=1M", folder.name("b.raw"));
    let error = refused(&["serve", "--disk", &other, "--listen", "127.0.0.1:0", "--control", &socket], 1);
    assert!(error.contains("another server answers"), "{error}");
    first.kill();
    assert_eq!(PROGRAMS.target(["ctl", "--socket", &socket, "status"]).code(), Some(4));
    let second = serve(std::slice::from_ref(&disk));
    let by_image = PROGRAMS.target(["ctl", "--image", &folder.name("a.raw"), "status"]);
    assert!(by_image.stdout.contains("a.raw"), "{by_image}");
    second.stop();
    assert!(!Path::new(&socket).exists());
    let none = Target::serve(PROGRAMS, ["--disk", &disk, "--no-control"]);
    assert_eq!(none.document()["control"], Value::Null);
    none.stop();
    assert_eq!(PROGRAMS.target(["ctl", "status"]).code(), Some(2), "which server?");
}

/// One exchange with the control socket, as bytes.
fn exchange(target: &Target, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(target.document()["control"].as_str().unwrap()).unwrap();
    // A server that has seen enough may close before all is written.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn nonsense_at_the_control_socket_is_answered_and_harms_nobody() {
    let folder = Folder::new();
    let mut target = serve(&[format!("{},size=1M", folder.name("a.raw"))]);
    let post = |path: &str, body: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        format!("{head}{body}").into_bytes()
    };
    let cases: [(Vec<u8>, &str); 8] = [
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), " 404 "),
        (b"DELETE /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), " 405 "),
        (post("/v1/luns/remove", "{"), " 400 "),
        (post("/v1/luns/remove", "{\"lun\": \"0\", \"more\": 1}"), " 400 "),
        (post("/v1/luns/grow", "{\"lun\": \"x\", \"size\": 1}"), " 400 "),
        (post("/v1/luns", "{\"path\": \"relative.raw\"}"), " 400 "),
        (post("/v1/luns", &format!("{{\"path\": \"/{}\"}}", "x".repeat(1 << 20))), " 400 "),
        (b"\x00\x01\x02 not HTTP at all\r\n\r\n".to_vec(), ""),
    ];
    for (request, status) in cases {
        let answer = exchange(&target, &request);
        let first = answer.lines().next().unwrap_or_default().to_owned();
        assert!(first.contains(status), "{first:?} is not{status}");
        target.assert_healthy();
    }
    let idle: Vec<_> = (0..40)
        .map(|_| UnixStream::connect(target.document()["control"].as_str().unwrap()).unwrap())
        .collect();
    drop(idle);
    while !ask(&target, &["status"]).success() {}
    target.stop();
}

#[test]
fn initiators_are_sent_to_where_the_target_is_by_the_file_and_by_ctl() {
    let folder = Folder::new();
    let iqn = "iqn.2026-11.org.example:moved";
    let there = Target::serve(
        PROGRAMS,
        ["--disk", &format!("{},size=1M,serial=THERE", folder.name("there.raw")), "--iqn", iqn],
    );
    let config = folder.write(
        "here.toml",
        format!(
            "state = \"state\"\n[[portal]]\nlisten = \"127.0.0.1:0\"\n[[target]]\nname = \"{iqn}\"\n\
             lun = [{{ path = \"here.raw\", size = \"1M\", serial = \"HERE\" }}]\n\
             redirect = {{ to = \"{}\" }}\n",
            there.portal()
        ),
    );
    let here = Target::configured(PROGRAMS, &config, &[]);
    let url = format!("iscsi://{}/{iqn}/0", here.portal());
    let serial = || info(&folder, &url, &[])["device"]["serial"].clone();
    assert_eq!(serial(), "THERE");
    let off = ctl(&here, &["target", "redirect", iqn, "--off"]);
    assert_eq!(off["redirect"], Value::Null);
    assert_eq!(serial(), "HERE");
    let to = there.portal().to_string();
    ctl(&here, &["target", "redirect", iqn, "--to", &to, "--permanent"]);
    assert_eq!(serial(), "THERE");
    assert_eq!(ctl(&here, &["status"])["targets"][0]["redirect"]["to"], to);
    here.stop();
    there.stop();
}
