//! The program.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt as _;

use lunkeep_common::pdu::{InitiatorHeader, TargetHeader};
use lunkeep_tests::content::assert_same;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::relay::{Passed, Relay};
use lunkeep_tests::report::test_name;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::{foreign, programs};
use serde_json::Value;

use super::bench::{Bench, Demand, SIZE, Served, TARGET_USER, USER, run_with_state, with_each_target};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn discovery_lists_the_target_with_its_portal() {
    with_each_target(Demand::Nothing, |bench| {
        let portal = bench.portal.to_string();
        let found = json(&bench.run(&["discover", &portal, "--json"]).expect_success());
        assert_eq!(found[0]["name"], bench.target.as_str());
        assert_eq!(found[0]["portals"][0]["address"], portal.as_str());
        assert_eq!(found[0]["portals"][0]["portal_group"], 1);
        let text = bench.run(&["discover", &portal]).expect_success();
        assert_eq!(text, format!("{portal},1 {}\n", bench.target));
    });
}

#[test]
fn info_tells_size_and_negotiated_digests() {
    with_each_target(Demand::Nothing, |bench| {
        let digests = ["--header-digest", "prefer", "--data-digest", "prefer"];
        let info = bench.run(&[&["info", &bench.url, "--json"][..], &digests].concat()).expect_success();
        let info = json(&info);
        assert_eq!(info["capacity"]["bytes"], SIZE);
        assert_eq!(info["capacity"]["block_length"], 512);
        assert_eq!(info["session"]["header_digest"], true);
        assert_eq!(info["session"]["data_digest"], true);
        assert_eq!(info["session"]["target"], bench.target.as_str());
        assert!(info["device"]["identifiers"].as_array().is_some_and(|all| !all.is_empty()), "{info:#}");
        let luns: Vec<_> = info["luns"].as_array().unwrap().iter().map(|lun| lun.as_str().unwrap()).collect();
        assert!(luns.contains(&bench.lun.to_string().as_str()), "{luns:?}");
        let text = bench.run(&["info", &bench.url]).expect_success();
        assert!(text.contains("16 MiB") && text.contains("header none, data none"), "{text}");
    });
}

#[test]
fn connections_and_the_recovery_level_are_what_both_sides_can_do() {
    let bench = Bench::ours(Demand::Recovery);
    let asked = |connections: &'static str, level: &'static str| {
        let flags = ["--connections", connections, "--error-recovery-level", level];
        let info = bench.run(&[&["info", &bench.url, "--json"][..], &flags].concat()).expect_success();
        let session = json(&info)["session"].clone();
        (session["max_connections"].as_u64().unwrap(), session["error_recovery_level"].as_u64().unwrap())
    };
    assert_eq!((asked("1", "0"), asked("3", "1"), asked("9", "2")), ((1, 0), (3, 1), (4, 2)));
    let copy = bench.folder.name("copy.raw");
    let flags = ["--connections", "4", "--error-recovery-level", "2", "--data-digest", "crc32c"];
    bench.run(&[&["read", &bench.url, "-o", &copy][..], &flags].concat()).expect_success();
    assert_same(&bench.disk(), &bench.folder.file("copy.raw"));
    bench.run(&[&["write", &bench.url, "-i", &copy][..], &flags].concat()).expect_success();
    assert_same(&bench.disk(), &bench.folder.file("copy.raw"));
    let plain = Bench::ours(Demand::Nothing);
    let info = plain.run(&[&["info", &plain.url, "--json"][..], &flags].concat()).expect_success();
    assert_eq!(
        json(&info)["session"]["error_recovery_level"],
        0,
        "a target that offers nothing is served as it is"
    );
    for (flag, value) in [("--connections", "0"), ("--connections", "65"), ("--error-recovery-level", "3")] {
        assert_eq!(plain.run(&["info", &plain.url, flag, value]).code(), Some(2), "{flag} {value}");
    }
}

#[test]
fn a_disk_is_read_as_it_lies_in_its_image_with_and_without_digests() {
    with_each_target(Demand::Nothing, |bench| {
        let copy = bench.folder.name("copy.raw");
        for digest in ["none", "crc32c"] {
            bench
                .run(&["read", &bench.url, "-o", &copy, "--header-digest", digest, "--data-digest", digest])
                .expect_success();
            assert_same(&bench.disk(), &bench.folder.file("copy.raw"));
        }
    });
}

#[test]
fn what_is_written_lies_in_the_image_and_only_there() {
    with_each_target(Demand::Nothing, |bench| {
        let mut random = Random::new(seed(&test_name()));
        let mut expected = fs::read(bench.disk()).unwrap();
        for (digest, blocks) in [("none", 1), ("crc32c", 1), ("none", 5001), ("crc32c", 7777)] {
            let mut data = vec![0; blocks * 512];
            random.fill(&mut data);
            let at = usize::try_from(random.below(SIZE / 512 - blocks as u64)).unwrap() * 512;
            expected[at..at + data.len()].copy_from_slice(&data);
            bench.folder.write("in", &data);
            let (input, offset) = (bench.folder.name("in"), at.to_string());
            let digests = ["--header-digest", digest, "--data-digest", digest];
            let write = ["write", &bench.url, "-i", &input, "--offset", &offset];
            bench.run(&[&write[..], &digests].concat()).expect_success();
            assert!(fs::read(bench.disk()).unwrap() == expected, "{blocks} blocks at byte {at}");
        }
    });
}

#[test]
fn any_range_of_bytes_can_be_read() {
    let bench = Bench::ours(Demand::Nothing);
    let disk = fs::read(bench.disk()).unwrap();
    let len = disk.len();
    for (offset, length) in [(0, 1), (511, 2), (512, 512), (1000, 3_000_000), (len - 1, 1), (len, 0), (7, 0)]
    {
        let (from, count) = (offset.to_string(), length.to_string());
        let out = bench.folder.name("out");
        bench.run(&["read", &bench.url, "--offset", &from, "--length", &count, "-o", &out]).expect_success();
        assert!(fs::read(&out).unwrap() == disk[offset..offset + length], "{length} bytes at {offset}");
    }
}

#[test]
fn nothing_is_written_of_a_file_that_does_not_fit() {
    let bench = Bench::ours(Demand::Nothing);
    let before = fs::read(bench.disk()).unwrap();
    for (len, offset, culprit) in [
        (1000, "0", "pad it first"),
        (512, "100", "--offset 100"),
        (1024, &*(SIZE - 512).to_string(), "beyond the end"),
        (512, &*SIZE.to_string(), "beyond the end"),
    ] {
        bench.folder.write("in", vec![0xee; len]);
        let input = bench.folder.name("in");
        let outcome = bench.run(&["write", &bench.url, "-i", &input, "--offset", offset]);
        assert_eq!(outcome.code(), Some(2), "{outcome}");
        assert!(outcome.stderr.contains(culprit), "{outcome}");
    }
    assert!(fs::read(bench.disk()).unwrap() == before);
}

#[test]
fn a_target_copies_between_luns_of_different_formats_and_block_lengths() {
    let folder = Folder::new();
    let large = format!("{},size=16M", folder.name("large.vhdx"));
    let blocks = format!("{},size=16M,block=4096", folder.name("blocks.raw"));
    let mut target = Target::serve(programs!(), ["--disk", &large, "--disk", &blocks]);
    let run = |arguments: &[&str]| run_with_state(programs!(), &folder, arguments);
    let mut random = Random::new(seed(&test_name()));
    let mut data = vec![0; 5 << 20];
    random.fill(&mut data);
    data[1 << 20..3 << 20].fill(0);
    folder.write("in", &data);
    let (source, destination) = (target.url(0), target.url(1));
    let (input, out) = (folder.name("in"), folder.name("out"));
    run(&["write", &source, "-i", &input, "--offset", "2M"]).expect_success();
    let copied = run(&["copy", &source, "--to", "1", "--length", "8M", "--to-offset", "4K", "--json"]);
    assert_eq!(json(&copied.expect_success())["length"], 8 << 20);
    run(&["read", &destination, "-o", &out]).expect_success();
    let mut expected = vec![0; 16 << 20];
    expected[(2 << 20) + 4096..(7 << 20) + 4096].copy_from_slice(&data);
    assert!(fs::read(&out).unwrap() == expected, "to blocks of 4096 bytes");
    // And back, over itself.
    run(&["copy", &destination, "--to", "0", "--offset", "4K", "--to-offset", "1M", "--length", "15M"])
        .expect_success();
    run(&["read", &source, "--offset", "1M", "-o", &out]).expect_success();
    assert!(fs::read(&out).unwrap() == expected[4096..(15 << 20) + 4096], "to blocks of 512 bytes");
    let uneven = run(&["copy", &source, "--to", "1", "--length", "512"]);
    assert_eq!(uneven.code(), Some(2), "{uneven}");
    let absent = run(&["copy", &source, "--to", "2"]);
    assert_eq!(absent.code(), Some(5), "{absent}");
    target.assert_healthy();
    target.stop();
}

#[test]
fn a_target_that_cannot_copy_is_told_as_that() {
    if !foreign::available(&["tgtd", "tgtadm"]) {
        return;
    }
    let bench = Bench::tgt(Demand::Nothing);
    let outcome = bench.run(&["copy", &bench.url, "--to", &bench.lun.to_string()]);
    assert_eq!(outcome.code(), Some(5), "{outcome}");
    assert!(outcome.stderr.contains("EXTENDED COPY"), "{outcome}");
}

#[test]
fn chap_lets_in_with_the_right_secret_and_not_with_another() {
    with_each_target(Demand::Chap, |bench| {
        let out = bench.folder.name("out");
        let secret = bench.folder.name("secret");
        let read = |more: &[&str]| {
            bench.run(&[&["read", &bench.url, "--length", "512", "-o", &out][..], more].concat())
        };
        read(&["--chap-user", USER, "--chap-secret-file", &secret]).expect_success();
        bench.folder.write("wrong", "a secret of nobody");
        let wrong = bench.folder.name("wrong");
        for refused in [
            &["--chap-user", USER, "--chap-secret-file", &wrong][..],
            &["--chap-user", "nobody", "--chap-secret-file", &secret],
            &[],
        ] {
            let outcome = read(refused);
            assert_eq!(outcome.code(), Some(4), "{outcome}");
            assert!(outcome.stderr.contains(&bench.portal.to_string()), "{outcome}");
        }
    });
}

#[test]
fn a_target_that_cannot_prove_itself_is_not_used() {
    with_each_target(Demand::MutualChap, |bench| {
        let (out, secret) = (bench.folder.name("out"), bench.folder.name("secret"));
        let read = |target_secret: &str| {
            let ours = ["--chap-user", USER, "--chap-secret-file", &secret];
            let theirs = ["--target-user", TARGET_USER, "--target-secret-file", target_secret];
            let read = ["read", &bench.url, "--length", "512", "-o", &out];
            bench.run(&[&read[..], &ours, &theirs].concat())
        };
        read(&bench.folder.name("target-secret")).expect_success();
        bench.folder.write("other", "a secret that differs");
        let outcome = read(&bench.folder.name("other"));
        assert_eq!(outcome.code(), Some(4), "{outcome}");
    });
}

#[test]
fn credentials_can_stand_in_the_url() {
    let bench = Bench::ours(Demand::Chap);
    bench.folder.write("secret", "not this one, the URL comes first");
    let url = bench.url.replacen("iscsi://", &format!("iscsi://{USER}%{}@", super::bench::SECRET), 1);
    bench.run(&["info", &url]).expect_success();
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_names_the_culprit() {
    let bench = Bench::ours(Demand::Nothing);
    let out = bench.folder.name("out");
    let elsewhere = format!("iscsi://{}/iqn.2024-01.invalid:other/0", bench.portal);
    let no_lun = format!("iscsi://{}/{}/77", bench.portal, bench.target);
    let closed = format!("iscsi://127.0.0.1:1/{}/0", bench.target);
    let no_folder = bench.folder.name("no/such/folder/out");
    for (url, output, code, culprit) in [
        (&closed, &out, 3, "127.0.0.1:1"),
        (&elsewhere, &out, 4, "no such target"),
        (&no_lun, &out, 5, "LUN 77"),
        (&bench.url, &no_folder, 1, "no/such/folder"),
        (&"iscsi://nothing".to_owned(), &out, 2, "iscsi://nothing"),
    ] {
        let outcome = bench.run(&["read", url, "--length", "512", "-o", output]);
        assert_eq!(outcome.code(), Some(code), "{outcome}");
        assert!(outcome.stderr.contains(culprit), "{culprit:?} is not in {outcome}");
    }
}

#[test]
fn a_read_only_disk_refuses_a_write_and_keeps_its_content() {
    let bench = Bench::ours(Demand::Nothing);
    let Served::Ours(target) = bench.served else { unreachable!("it is ours") };
    target.stop();
    let folder = bench.folder;
    let before = fs::read(folder.file("disk.raw")).unwrap();
    let disk = format!("{},ro", folder.name("disk.raw"));
    let target = lunkeep_tests::target::Target::serve(lunkeep_tests::programs!(), ["--disk", &disk]);
    folder.write("in", [0xee; 512]);
    let write = ["write", &target.url(0), "-i", &folder.name("in")];
    let outcome = super::bench::run_with_state(lunkeep_tests::programs!(), &folder, &write);
    assert_eq!(outcome.code(), Some(5), "{outcome}");
    assert!(fs::read(folder.file("disk.raw")).unwrap() == before);
}

#[test]
fn data_is_in_the_image_after_the_target_was_killed_right_after_a_write() {
    let bench = Bench::ours(Demand::Nothing);
    bench.folder.write("in", [0x5a; 4096]);
    bench.run(&["write", &bench.url, "-i", &bench.folder.name("in"), "--offset", "1M"]).expect_success();
    let Served::Ours(target) = bench.served else { unreachable!("it is ours") };
    target.kill();
    let mut data = [0; 4096];
    fs::File::open(bench.folder.file("disk.raw")).unwrap().read_exact_at(&mut data, 1 << 20).unwrap();
    assert_eq!(data, [0x5a; 4096]);
}

/// What a write does, as one letter each: W a WRITE, w its status, S SYNCHRONIZE CACHE, s its status, L the logout.
fn trace(passed: &[Passed]) -> String {
    let mut open = HashMap::new();
    let mut trace = String::new();
    for pdu in passed {
        match pdu {
            Passed::Request(InitiatorHeader::ScsiCommand(command)) => {
                let letter = match command.cdb[0] {
                    0x8a => 'W',
                    0x35 => 'S',
                    _ => continue,
                };
                open.insert(command.itt, letter);
                trace.push(letter);
            }
            Passed::Request(InitiatorHeader::LogoutRequest(_)) => trace.push('L'),
            Passed::Response(TargetHeader::ScsiResponse(response)) => {
                trace.extend(open.remove(&response.itt).map(|letter| letter.to_ascii_lowercase()));
            }
            _ => {}
        }
    }
    trace
}

#[test]
fn a_write_is_flushed_after_its_last_status_and_before_the_logout() {
    with_each_target(Demand::Nothing, |bench| {
        let relay = Relay::to(bench.portal);
        bench.folder.write("in", vec![0x77; 5 << 20]);
        let url = bench.url.replacen(&bench.portal.to_string(), &relay.portal().to_string(), 1);
        bench.run(&["write", &url, "-i", &bench.folder.name("in")]).expect_success();
        let trace = trace(&relay.passed());
        let writes = trace.strip_suffix("SsL").unwrap_or_else(|| panic!("no flush at the end: {trace}"));
        assert_eq!(writes.matches('W').count(), 5, "{trace}");
        assert_eq!(writes.matches('w').count(), 5, "{trace}");
    });
}
