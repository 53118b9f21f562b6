//! CHAP, one-way and mutual, with foreign clients.

use std::process::Command;

use lunkeep_tests::process::run;
use lunkeep_tests::target::{Folder, TOOL_LIMIT, Target};
use lunkeep_tests::{foreign, programs};

use super::libiscsi::{TOOLS, tool};

const SECRET: &str = "alice-secret-0001";
const OWN_SECRET: &str = "target-secret-002";

const CONFIG: &str = r#"
[[portal]]
listen = "127.0.0.1:0"

[discovery]
chap = [{ user = "alice", secret_env = "ALICE" }]

[[target]]
name = "iqn.2024-01.invalid.lunkeep:chap"

[[target.lun]]
path = "disk.vhdx"
size = "16M"

[[target.chap]]
user = "alice"
secret_env = "ALICE"
"#;

const MUTUAL: &str = r#"
[target.mutual_chap]
user = "the-target"
secret_env = "TARGET"
"#;

fn serve(folder: &Folder, more: &str) -> Target {
    let config = folder.write("lunkeep.toml", format!("{CONFIG}{more}"));
    Target::configured(programs!(), &config, &[("ALICE", SECRET), ("TARGET", OWN_SECRET)])
}

/// The URL of LUN 0 with a user and a secret.
fn url(target: &Target, secret: &str) -> String {
    format!("iscsi://alice%{secret}@{}/{}/0", target.portal(), target.iqn())
}

#[test]
fn the_right_secret_gets_in_and_others_do_not() {
    if !foreign::available(&TOOLS) {
        return;
    }
    let folder = Folder::new();
    let target = serve(&folder, "");
    let portal = target.portal();
    tool("iscsi-readcapacity16", &[&url(&target, SECRET)]).expect_success();
    let listed = tool("iscsi-ls", &["-s", &format!("iscsi://alice%{SECRET}@{portal}")]).expect_success();
    assert!(listed.contains("Type:DIRECT_ACCESS"), "{listed}");

    let initiator = "iqn.2024-01.invalid:mallory";
    let wrong = tool("iscsi-readcapacity16", &["-i", initiator, &url(&target, "a-wrong-secret-x")]);
    let said = wrong.expect_failure();
    assert!(said.contains("Authentication failure"), "{said}");
    let line = target.wait_for_log("mallory");
    assert!(line.contains("alice"), "the line names the initiator but not the user: {line}");
    assert!(
        !target.log().contains("a-wrong-secret") && !target.log().contains(SECRET),
        "a secret is in the log"
    );

    let without = format!("iscsi://{portal}/{}/0", target.iqn());
    tool("iscsi-readcapacity16", &[&without]).expect_failure();
    tool("iscsi-ls", &[&format!("iscsi://{portal}")]).expect_failure();
    tool("iscsi-ls", &[&format!("iscsi://bob%{SECRET}@{portal}")]).expect_failure();
    // All that harmed nobody.
    tool("iscsi-readcapacity16", &[&url(&target, SECRET)]).expect_success();
    target.stop();
}

#[test]
fn the_target_proves_itself_when_asked() {
    if !foreign::available(&TOOLS) {
        return;
    }
    let folder = Folder::new();
    let target = serve(&folder, MUTUAL);
    let ask = |user: &str, secret: &str| {
        let mut command: Command = foreign::command("iscsi-readcapacity16");
        command
            .arg(url(&target, SECRET))
            .env("LIBISCSI_CHAP_TARGET_USERNAME", user)
            .env("LIBISCSI_CHAP_TARGET_PASSWORD", secret);
        run(&mut command, TOOL_LIMIT)
    };
    ask("the-target", OWN_SECRET).expect_success();
    ask("the-target", "not-its-secret-3").expect_failure();
    ask("another-name", OWN_SECRET).expect_failure();
    ask("the-target", OWN_SECRET).expect_success();
    target.stop();
}

#[test]
fn qemu_writes_and_reads_with_chap() {
    if !foreign::available(&["qemu-io"]) {
        return;
    }
    let folder = Folder::new();
    let target = serve(&folder, "");
    let io = |secret: &str, commands: &[&str]| {
        let options = format!(
            "driver=iscsi,transport=tcp,portal={},target={},lun=0,user=alice,password-secret=chap,header-digest=crc32c",
            target.portal(),
            target.iqn()
        );
        let mut command: Command = foreign::command("qemu-io");
        command.args(["--object", &format!("secret,id=chap,data={secret}"), "--image-opts"]);
        for text in commands {
            command.args(["-c", text]);
        }
        run(command.arg(options), TOOL_LIMIT)
    };
    io(SECRET, &["write -P 0x5a 1M 1M", "flush", "read -P 0x5a 1M 1M"]).expect_success();
    let refused = io("another-secret-4", &["read 0 4k"]).expect_failure();
    assert!(!refused.contains("read 4096/4096"), "{refused}");
    io(SECRET, &["read -P 0x5a 1M 1M"]).expect_success();
    target.stop();
}
