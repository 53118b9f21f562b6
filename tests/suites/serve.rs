//! `lunkeep-target serve` as a process: what it says, whom it lets see what, how it ends, and how it fails.

#[path = "serve/control.rs"]
mod control;
#[path = "serve/kills.rs"]
mod kills;

use std::path::Path;
use std::process::Command;

use lunkeep_tests::process::{Daemon, Outcome, PATIENCE};
use lunkeep_tests::programs;
use lunkeep_tests::target::{Folder, Programs, Target};
use rustix::process::Signal;
use serde_json::Value;

const PROGRAMS: Programs = programs!();

/// Our initiator, with its state in `folder`.
fn initiator(folder: &Folder, arguments: &[&str]) -> Outcome {
    let state = folder.name("initiator");
    PROGRAMS.initiator(arguments.iter().copied().chain(["--state", &state, "--timeout", "20"]))
}

/// What `info --json` says about `url`.
fn info(folder: &Folder, url: &str, more: &[&str]) -> Value {
    let text = initiator(folder, &[&["info", url, "--json"], more].concat()).expect_success();
    serde_json::from_str(&text).unwrap()
}

fn refused(arguments: &[&str], code: i32) -> String {
    let outcome = PROGRAMS.target(arguments);
    assert_eq!(outcome.code(), Some(code), "{outcome}");
    outcome.stderr
}

#[test]
fn what_was_written_is_in_the_file_and_the_lun_is_the_same_after_a_restart() {
    let folder = Folder::new();
    let disk = folder.name("disk.raw");
    let content: Vec<u8> = (0u32..1 << 18).flat_map(u32::to_le_bytes).collect();
    let input = folder.write("input", &content);
    let target = Target::serve(PROGRAMS, ["--disk", &format!("{disk},size=4M")]);
    let before = target.document()["targets"][0].clone();
    assert_eq!(before["luns"][0]["created"], true);
    let write = ["write", "--input", input.to_str().unwrap(), "--offset", "1M", &target.url(0)];
    initiator(&folder, &write).expect_success();
    target.stop();
    assert_eq!(std::fs::read(&disk).unwrap()[1 << 20..2 << 20], content);

    let target = Target::serve(PROGRAMS, ["--disk", &disk]);
    let after = &target.document()["targets"][0];
    assert_eq!(after["luns"][0]["created"], false);
    assert_eq!(after["name"], before["name"]);
    for member in ["serial", "naa", "size", "path"] {
        assert_eq!(after["luns"][0][member], before["luns"][0][member], "{member}");
    }
    let device = info(&folder, &target.url(0), &[])["device"].clone();
    assert_eq!(device["serial"], before["luns"][0]["serial"]);
    let naa = before["luns"][0]["naa"].as_str().unwrap().to_lowercase();
    assert!(device["identifiers"].to_string().to_lowercase().contains(&naa), "{device:#}");
    target.stop();
}

#[test]
fn people_get_the_url_and_the_commands_to_connect_and_sigterm_ends_it_cleanly() {
    let folder = Folder::new();
    let disk = format!("{},size=4M", folder.name("disk.vhdx"));
    let mut command = Command::new(PROGRAMS.target);
    command.args(["serve", "--listen", "127.0.0.1:0", "--iqn", "iqn.2026-11.org.example:t", "--disk", &disk]);
    let mut daemon = Daemon::start(&mut command);
    daemon.wait_for_output(|lines| lines.iter().any(|line| line == "Ctrl-C stops.").then_some(()));
    let text = daemon.output();
    let url = text.split_whitespace().find(|word| word.starts_with("iscsi://127.0.0.1:")).unwrap();
    info(&folder, url, &[]);
    for part in [
        "iscsiadm -m discovery",
        "--login",
        "New-IscsiTargetPortal",
        "Connect-IscsiTarget",
        "iscsi-ls ",
        "iscsi-inq ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(PATIENCE).and_then(|status| status.code()), Some(0), "{daemon}");
}

#[test]
fn a_connection_that_never_logs_in_does_not_keep_it_from_ending() {
    let folder = Folder::new();
    let target = Target::serve(PROGRAMS, ["--disk", &format!("{},size=4M", folder.name("disk.vhdx"))]);
    let idle = std::net::TcpStream::connect(target.portal()).unwrap();
    target.stop();
    drop(idle);
}

/// Two portals of which one is announced, two targets, CHAP, masks.
fn lab(folder: &Folder) -> Target {
    folder.write("alice.secret", "correct horse battery\n");
    folder.write("target.secret", "staple of the target\n");
    let config = folder.write(
        "lab.toml",
        r#"
        state = "state"

        [[portal]]
        listen = "127.0.0.1:0"

        [discovery]
        [[discovery.chap]]
        user = "finder"
        secret_env = "FINDER_SECRET"

        [[target]]
        name = "iqn.2026-11.org.example:guarded"
        alias = "Guarded disks"
        lun = [{ path = "a.vhdx", size = "4M" }, { path = "b.vhd", size = "8M", number = 300, serial = "B-300" }]

        [[target.chap]]
        user = "alice"
        secret_file = "alice.secret"

        [target.mutual_chap]
        user = "lunkeep"
        secret_file = "target.secret"

        [[target.initiator]]
        name = "iqn.2026-11.org.example:all"

        [[target.initiator]]
        name = "iqn.2026-11.org.example:some"
        luns = { 0 = 300 }

        [[target]]
        name = "iqn.2026-11.org.example:open"
        lun = [{ path = "c.raw", size = "1M", read_only = true }]
        "#,
    );
    Target::configured(PROGRAMS, &config, &[("FINDER_SECRET", "a secret for finding")])
}

#[test]
fn each_initiator_sees_the_luns_that_the_file_gives_it() {
    let folder = Folder::new();
    let target = lab(&folder);
    let portal = target.portal();
    let secret = folder.name("alice.secret");
    let own = folder.name("target.secret");
    let url = |lun: u16| format!("iscsi://alice@{portal}/iqn.2026-11.org.example:guarded/{lun}");
    let login = |name: &'static str| {
        let more = ["--initiator-name", name, "--chap-secret-file", &secret, "--target-user", "lunkeep"];
        [&more[..], &["--target-secret-file", &own]].concat()
    };
    let all = login("iqn.2026-11.org.example:all");
    let seen = info(&folder, &url(300), &all);
    assert_eq!(seen["luns"], serde_json::json!(["0", "300"]));
    assert_eq!(seen["device"]["serial"], "B-300");
    assert_eq!(seen["session"]["target_alias"], "Guarded disks");

    let some = login("iqn.2026-11.org.example:some");
    let seen = info(&folder, &url(0), &some);
    assert_eq!(seen["luns"], serde_json::json!(["0"]));
    assert_eq!(
        (&seen["device"]["serial"], &seen["capacity"]["bytes"]),
        (&"B-300".into(), &(8u64 << 20).into())
    );
    initiator(&folder, &[&["info", &*url(300)][..], &some].concat()).expect_failure();

    let stranger = login("iqn.2026-11.org.example:stranger");
    let outcome = initiator(&folder, &[&["info", &*url(0)][..], &stranger].concat());
    assert_eq!(outcome.code(), Some(4), "{outcome}");
    target.stop();
}

#[test]
fn discovery_asks_for_its_own_user_and_tells_each_initiator_its_targets() {
    let folder = Folder::new();
    let target = lab(&folder);
    let portal = target.portal().to_string();
    let secret = folder.write("finder.secret", "a secret for finding\n");
    let login = ["--chap-user", "finder", "--chap-secret-file", secret.to_str().unwrap()];
    let found = |name: &str| {
        let call = [&["discover", &portal, "--initiator-name", name][..], &login].concat();
        initiator(&folder, &call).expect_success()
    };
    let all = found("iqn.2026-11.org.example:all");
    assert!(all.contains("example:guarded") && all.contains("example:open"), "{all}");
    let stranger = found("iqn.2026-11.org.example:stranger");
    assert!(!stranger.contains("example:guarded") && stranger.contains("example:open"), "{stranger}");
    assert_eq!(initiator(&folder, &["discover", &portal]).code(), Some(4));
    assert!(Path::new(&folder.name("state/luns")).is_dir(), "identities are in the state folder");
    target.stop();
}

#[test]
fn initiators_are_told_the_announced_address() {
    let folder = Folder::new();
    let disk = format!("{},size=1M", folder.name("disk.raw"));
    let target = Target::serve(PROGRAMS, ["--disk", &disk, "--announce", "storage.example:3333"]);
    let document = target.document().clone();
    assert_eq!(document["portals"][0]["addresses"], serde_json::json!(["storage.example:3333"]));
    let listen = document["portals"][0]["listen"].as_str().unwrap();
    let found = initiator(&folder, &["discover", listen]).expect_success();
    assert!(found.contains("storage.example:3333,1 "), "{found}");
    target.stop();
}

#[test]
fn a_port_in_use_is_named_with_what_to_do_and_harms_nobody() {
    let folder = Folder::new();
    let mut first = Target::serve(PROGRAMS, ["--disk", &format!("{},size=1M", folder.name("a.raw"))]);
    let portal = first.portal().to_string();
    let disk = format!("{},size=1M", folder.name("b.raw"));
    let error = refused(&["serve", "--disk", &disk, "--listen", &portal], 1);
    assert!(error.contains(&format!("cannot listen on {portal}")) && error.contains("--listen"), "{error}");
    first.assert_healthy();
    info(&folder, &first.url(0), &[]);
    first.stop();
    Target::serve(PROGRAMS, ["--disk", &disk]).stop();
}

#[test]
fn an_image_that_is_being_served_is_refused_to_another_process() {
    let folder = Folder::new();
    let disk = folder.name("a.raw");
    let first = Target::serve(PROGRAMS, ["--disk", &format!("{disk},size=1M")]);
    let error = refused(&["serve", "--disk", &disk, "--listen", "127.0.0.1:0"], 1);
    assert!(error.contains("a.raw is in use: lunkeep-target") && error.contains("(process "), "{error}");
    first.kill();
    Target::serve(PROGRAMS, ["--disk", &disk]).stop();
}

#[test]
fn a_wrong_command_line_or_configuration_ends_with_2_and_names_the_culprit() {
    let folder = Folder::new();
    let config = folder.write("lab.toml", "[[target]]\nname = \"iqn.2026-11.org.example:t\"\nlnu = []\n");
    let error = refused(&["serve", config.to_str().unwrap()], 2);
    assert!(
        error.contains("lab.toml:3:1: unknown key `lnu` in [target]") && error.contains("`lun`"),
        "{error}"
    );
    let error = refused(&["serve", "--disk", "a.vhdx,siz=1G"], 2);
    assert!(error.contains("\"siz\"") && error.contains("Did you mean \"size\"?"), "{error}");
    assert!(refused(&["serve"], 2).contains("--disk"));
    assert!(refused(&["serve", "--disk", "a.vhdx", "--log", "lunkeep_target=loud"], 2).contains("loud"));
}

#[test]
fn an_image_that_is_missing_or_malformed_ends_with_1_and_is_named() {
    let folder = Folder::new();
    let missing = folder.name("missing.vhdx");
    let error = refused(&["serve", "--disk", &missing], 1);
    assert!(error.contains(&format!("--disk {missing},size=10G")), "{error}");
    let bad = folder.write("bad.vhdx", [0x5a; 4096]);
    let error = refused(&["serve", "--disk", bad.to_str().unwrap()], 1);
    assert!(error.contains("bad.vhdx"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_check_tells_everything_that_is_wrong_and_changes_nothing() {
    let folder = Folder::new();
    let good = format!("{},size=1M", folder.name("new.vhdx"));
    let outcome = PROGRAMS.target(["serve", "--check", "--disk", &good]);
    assert!(outcome.stdout.contains("LUNs 1"), "{outcome}");
    assert!(outcome.success());
    let error = refused(
        &[
            "serve",
            "--check",
            "--disk",
            &good,
            "--disk",
            &folder.name("x.vhdx"),
            "--disk",
            &folder.name("y.vhdx"),
        ],
        1,
    );
    assert!(error.contains("x.vhdx") && error.contains("y.vhdx"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn damaged_state_is_named_and_nothing_is_served() {
    let folder = Folder::new();
    let disk = folder.name("a.raw");
    Target::serve(PROGRAMS, ["--disk", &format!("{disk},size=1M")]).stop();
    let file = folder.file("a.raw.lunkeep/identity.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"serial\": \"3", "\"serial\": \"4")).unwrap();
    let error = refused(&["serve", "--disk", &disk, "--listen", "127.0.0.1:0"], 1);
    assert!(error.contains("identity.json is damaged") && error.contains("delete it"), "{error}");
}
