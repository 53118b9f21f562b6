//! libiscsi's tools: `iscsi-ls`, `iscsi-inq`, `iscsi-readcapacity16`, `iscsi-swp`.

use std::process::Command;

use lunkeep_tests::process::{Outcome, run};
use lunkeep_tests::target::{Folder, TOOL_LIMIT, Target};
use lunkeep_tests::{foreign, programs};

use super::formats::FORMATS;

pub(super) const TOOLS: [&str; 4] = ["iscsi-ls", "iscsi-inq", "iscsi-readcapacity16", "iscsi-swp"];

pub(super) fn tool(name: &str, arguments: &[&str]) -> Outcome {
    let mut command: Command = foreign::command(name);
    run(command.args(arguments), TOOL_LIMIT)
}

/// The value of a `key:value` line.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no line {key}: in\n{text}")).trim()
}

#[test]
fn every_format_is_listed_with_its_size_and_its_identity() {
    if !foreign::available(&TOOLS) {
        return;
    }
    for format in FORMATS {
        const SIZE: u64 = 48 << 20;
        let folder = Folder::new();
        let target =
            Target::serve(programs!(), ["--disk", &format.new_disk(&folder.name(format.file), SIZE)]);
        let (url, name) = (target.url(0), format.name);
        let listed = tool("iscsi-ls", &["-s", &format!("iscsi://{}", target.portal())]).expect_success();
        assert!(
            listed.contains(&format!("Target:{} Portal:{},1", target.iqn(), target.portal())),
            "{name}: {listed}"
        );
        let lun = listed.lines().find(|line| line.starts_with("Lun:0")).unwrap_or_default();
        assert!(lun.contains("Type:DIRECT_ACCESS"), "{name}: {listed}");
        let capacity = tool("iscsi-readcapacity16", &[&url]).expect_success();
        assert_eq!(value(&capacity, "LOGICAL BLOCK LENGTH IN BYTES"), format.block.to_string(), "{name}");
        assert_eq!(value(&capacity, "Total size"), SIZE.to_string(), "{name}");
        let inquiry = tool("iscsi-inq", &[&url]).expect_success();
        assert_eq!(value(&inquiry, "Peripheral Device Type"), "DIRECT_ACCESS", "{name}");
        assert_eq!(value(&inquiry, "CmdQue"), "1", "{name}");
        target.stop();
    }
}

#[test]
fn every_vital_product_data_page_of_the_list_can_be_read() {
    if !foreign::available(&TOOLS) {
        return;
    }
    let folder = Folder::new();
    let target = Target::serve(programs!(), ["--disk", &format!("{},size=64M", folder.name("disk.vhdx"))]);
    let url = target.url(0);
    let page = |code: &str| tool("iscsi-inq", &["-e", "1", "-c", code, &url]).expect_success();
    let supported = page("0");
    println!("{supported}");
    for (code, name) in [
        (0x80, "UNIT_SERIAL_NUMBER"),
        (0x83, "DEVICE_IDENTIFICATION"),
        (0xb0, "BLOCK_LIMITS"),
        (0xb1, "BLOCK_DEVICE_CHARACTERISTICS"),
        (0xb2, "LOGICAL_BLOCK_PROVISIONING"),
    ] {
        assert!(supported.contains(name), "page {code:#04x} is not in the list:\n{supported}");
        println!("{}", page(&code.to_string()));
    }
    let provisioning = page("178");
    assert_eq!(value(&provisioning, "lbpu"), "1", "UNMAP is offered:\n{provisioning}");
    let limits = page("176");
    assert_ne!(value(&limits, "maximum unmap lba count"), "0", "{limits}");
    let serial = page("128");
    let written_protected = tool("iscsi-swp", &[&url]).expect_success();
    assert!(written_protected.contains("SWP:0"), "{written_protected}");
    target.stop();
    // Identities never change: the same after a restart.
    let target = Target::serve(programs!(), ["--disk", &folder.name("disk.vhdx")]);
    let url = target.url(0);
    assert_eq!(tool("iscsi-inq", &["-e", "1", "-c", "128", &url]).expect_success(), serial);
    target.stop();
}

#[test]
fn tools_work_with_header_digests() {
    if !foreign::available(&TOOLS) {
        return;
    }
    let folder = Folder::new();
    let target = Target::serve(programs!(), ["--disk", &format!("{},size=64M", folder.name("disk.vhdx"))]);
    for digest in ["crc32c", "none"] {
        let url = format!("{}?header_digest={digest}", target.url(0));
        let capacity = tool("iscsi-readcapacity16", &[&url]).expect_success();
        assert_eq!(value(&capacity, "Total size"), (64 << 20).to_string());
    }
    target.stop();
}

#[test]
fn a_lun_that_does_not_exist_and_a_target_that_does_not_exist_are_refused() {
    if !foreign::available(&TOOLS) {
        return;
    }
    let folder = Folder::new();
    let target = Target::serve(programs!(), ["--disk", &format!("{},size=64M", folder.name("disk.vhdx"))]);
    let url = format!("iscsi://{}/{}/7", target.portal(), target.iqn());
    tool("iscsi-readcapacity16", &[&url]).expect_failure();
    let url = format!("iscsi://{}/iqn.2024-01.invalid:nobody/0", target.portal());
    let refused = tool("iscsi-readcapacity16", &[&url]).expect_failure();
    assert!(refused.contains("Target not found"), "{refused}");
    target.wait_for_log("iqn.2024-01.invalid:nobody");
    target.stop();
}
