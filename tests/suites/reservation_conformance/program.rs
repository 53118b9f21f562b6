//! The commands around the suite: `pr`, lists, tables, and what they refuse.

use std::process::Command;

use lunkeep_tests::process::{Outcome, PATIENCE, run};
use lunkeep_tests::programs;
use serde_json::Value;

use super::served::Served;

fn pr(served: &Served, action: &str, slot: &str, arguments: &[&str]) -> Outcome {
    let state = served.folder.name("state");
    let url = served.url(served.portals[0]);
    let mut command = Command::new(programs!().initiator);
    command.args(["pr", action, &url, "--state", &state, "--slot", slot]).args(arguments);
    run(&mut command, PATIENCE)
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.expect_success()).unwrap()
}

#[test]
fn a_node_is_fenced_by_hand() {
    let served = Served::ours();
    let node = |slot, action, arguments: &[&str]| pr(&served, action, slot, arguments);
    node("0", "register", &["--key", "0xa1", "--aptpl"]).expect_success();
    node("1", "register", &["--key", "b2", "--ignore"]).expect_success();
    node("0", "reserve", &["--key", "a1", "--type", "wero"]).expect_success();
    let keys = json(node("2", "keys", &["--json"]));
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    let conflict = node("1", "reserve", &["--key", "b2", "--type", "1"]);
    assert_eq!(conflict.code(), Some(7), "{conflict}");
    node("1", "preempt", &["--key", "b2", "--victim", "a1", "--type", "exclusive-access", "--abort"])
        .expect_success();
    let status = json(node("2", "status", &["--json"]));
    assert_eq!(status["reservation"]["type"], 3, "{status:#}");
    assert_eq!(status["reservation"]["key"], "0x00000000000000b2", "{status:#}");
    assert_eq!(status["registrations"].as_array().unwrap().len(), 1, "{status:#}");
    assert_eq!(status["registrations"][0]["holder"], true, "{status:#}");
    let port = status["registrations"][0]["isid"].as_str().unwrap().to_owned();
    let text = node("2", "status", &[]).expect_success();
    assert!(text.contains("type 3 exclusive-access") && text.contains(&port), "{text}");
    let beaten = node("0", "release", &["--key", "a1", "--type", "3"]);
    assert_eq!(beaten.code(), Some(7), "{beaten}");
    node("1", "release", &["--key", "b2", "--type", "3"]).expect_success();
    node("1", "clear", &["--key", "b2"]).expect_success();
    assert!(json(node("2", "keys", &["--json"]))["keys"].as_array().unwrap().is_empty());
}

#[test]
fn a_reservation_is_moved_by_hand() {
    let served = Served::ours();
    let node = |slot, action, arguments: &[&str]| pr(&served, action, slot, arguments);
    node("1", "register", &["--key", "b2"]).expect_success();
    let status = json(node("0", "status", &["--json"]));
    let one = &status["registrations"][0];
    let to = format!("{},i,{}", one["initiator"].as_str().unwrap(), one["isid"].as_str().unwrap());
    node("0", "register", &["--key", "a1"]).expect_success();
    node("0", "reserve", &["--key", "a1", "--type", "1"]).expect_success();
    let port = one["target_port"].to_string();
    node("0", "move", &["--key", "a1", "--new-key", "c3", "--to", &to, "--port", &port, "--unregister"])
        .expect_success();
    let status = json(node("0", "status", &["--json"]));
    assert_eq!(status["reservation"]["key"], "0x00000000000000c3", "{status:#}");
    assert_eq!(status["registrations"].as_array().unwrap().len(), 1, "{status:#}");
}

#[test]
fn what_destroys_must_be_allowed_and_what_is_unknown_is_refused() {
    let served = Served::ours();
    let url = served.url(served.portals[0]);
    for arguments in [&[url.as_str()][..], &[url.as_str(), "--destructive", "--only", "no-such-case"]] {
        let mut command = Command::new(programs!().initiator);
        command
            .args(["conformance", "reservations", "--state", &served.folder.name("state")])
            .args(arguments);
        let outcome = run(&mut command, PATIENCE);
        assert_eq!(outcome.code(), Some(2), "{outcome}");
    }
}

#[test]
fn reports_become_a_table() {
    let served = Served::ours();
    let (outcome, _) = served.judge(served.portals[0], &["--only", "register"]);
    served.folder.write("ours.json", &outcome.stdout);
    let column = format!("ours={}", served.folder.name("ours.json"));
    let table = run(Command::new(programs!().initiator).args(["conformance", "table", &column]), PATIENCE);
    let table = table.expect_success();
    assert!(table.contains("| register |") && table.contains("| failed | 0 |"), "{table}");
}
