//! What keeps `serve` from starting: each mistake has a message that names the culprit, and the exit code of the help text.

use std::net::TcpListener;

use lunkeep_tests::programs;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::wire::Peer;

/// `serve` must end with exit code `code` and say all of `words`.
#[track_caller]
fn refuses(arguments: &[&str], code: i32, words: &[&str]) {
    let outcome = programs!().target([&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
    assert_eq!(outcome.code(), Some(code), "{outcome}");
    for word in words {
        assert!(outcome.stderr.contains(word), "`{word}` is not in: {outcome}");
    }
    assert!(!outcome.stderr.contains("panicked at"), "{outcome}");
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let disk = format!("{},size=8M", folder.name("disk.vhdx"));
    let outcome = programs!().target(["serve", "--listen", &address, "--disk", &disk]);
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(
        outcome.stderr.contains(&address) && outcome.stderr.contains("another program listens"),
        "{outcome}"
    );
}

#[test]
fn a_port_in_use_by_another_lunkeep_is_named_and_the_other_goes_on() {
    let folder = Folder::new();
    let disk = |name: &str| format!("{},size=8M", folder.name(name));
    let target = Target::serve(programs!(), ["--disk", &disk("a.vhdx")]);
    let address = target.portal().to_string();
    let outcome = programs!().target(["serve", "--listen", &address, "--disk", &disk("b.vhdx")]);
    assert!(outcome.code() == Some(1) && outcome.stderr.contains(&address), "{outcome}");
    assert!(Peer::login(target.portal(), &target.iqn(), 1).is_ready(0));
    target.stop();
}

#[test]
fn an_image_that_another_process_serves_is_named_and_the_other_goes_on() {
    let folder = Folder::new();
    let image = folder.name("disk.vhdx");
    let target = Target::serve(programs!(), ["--disk", &format!("{image},size=8M")]);
    refuses(&["--disk", &image], 1, &[&image]);
    assert!(Peer::login(target.portal(), &target.iqn(), 1).is_ready(0));
    target.stop();
}

#[test]
fn a_wrong_key_in_the_configuration_is_named_with_its_line() {
    let folder = Folder::new();
    let config = folder.write(
        "lab.toml",
        "[[target]]\nname = \"iqn.2024-01.invalid:x\"\n\n[[target.lun]]\npaht = \"disk.vhdx\"\n",
    );
    refuses(&[config.to_str().unwrap()], 2, &["lab.toml:5", "`paht`", "`path`"]);
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let folder = Folder::new();
    refuses(&[&folder.name("none.toml")], 2, &["none.toml"]);
}

#[test]
fn an_image_that_is_not_there_is_named_with_what_to_do() {
    let folder = Folder::new();
    refuses(&["--disk", &folder.name("none.vhdx")], 1, &["none.vhdx", "size="]);
}

#[test]
fn a_good_disk_is_not_served_beside_a_bad_one() {
    let folder = Folder::new();
    let good = format!("{},size=8M", folder.name("good.vhdx"));
    let bad = folder.write("bad.vhdx", b"vhdxfile and then nothing that belongs there");
    refuses(&["--disk", &good, "--disk", bad.to_str().unwrap()], 1, &["bad.vhdx"]);
}

#[test]
fn files_that_are_no_images_are_named() {
    let folder = Folder::new();
    let mut noise = vec![0; 3 << 20];
    Random::new(seed(&test_name())).fill(&mut noise);
    for name in ["noise.vhd", "noise.vhdx", "empty.vhd", "empty.vhdx"] {
        let content = if name.starts_with("noise") { &noise[..] } else { &[] };
        let path = folder.write(name, content);
        refuses(&["--disk", path.to_str().unwrap()], 1, &[name]);
    }
}

#[test]
fn images_with_a_changed_byte_are_served_or_refused_and_never_crash() {
    let folder = Folder::new();
    let mut random = Random::new(seed(&test_name()));
    for file in ["disk.vhd", "disk.vhdx"] {
        let made = folder.name(file);
        programs!().target(["image", "create", &made, "--size", "16M"]).expect_success();
        let content = std::fs::read(&made).unwrap();
        let rounds = if lunkeep_tests::report::full() { 2000 } else { 40 };
        for _ in 0..rounds {
            let mut changed = content.clone();
            // Most of the metadata lies at the start: headers, then tables; the footer of a VHD at the end.
            for _ in 0..=random.below(4) {
                let length = changed.len() as u64;
                let at = match random.below(3) {
                    0 => random.below(4096.min(length)),
                    1 => length - 1 - random.below(512.min(length)),
                    _ => random.below(length),
                };
                changed[usize::try_from(at).unwrap()] ^= 1 << random.below(8);
            }
            let path = folder.write(&format!("changed-{file}"), &changed);
            let path = path.to_str().unwrap();
            let checked = programs!().target(["image", "check", path]);
            assert!(checked.code().is_some() && !checked.stderr.contains("panicked at"), "{checked}");
            let tried = programs!().target(["serve", "--check", "--disk", path]);
            assert!(tried.code().is_some() && !tried.stderr.contains("panicked at"), "{tried}");
            if tried.code() != Some(0) {
                assert!(tried.stderr.contains(&format!("changed-{file}")), "the file is not named: {tried}");
            }
        }
    }
}
