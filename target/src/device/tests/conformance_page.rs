//! docs/conformance.md says what the tables of the code say, and names tests that are there.

use std::path::Path;

use lunkeep_common::pdu::task_management::TaskManagementFunction;
use lunkeep_common::scsi::opcode_table::TABLE;
use lunkeep_common::text::keys::{KEYS, Kind};

use super::super::commands::{inquiry_page_codes, log_page_codes};
use super::*;

/// The rows of the table below a heading: name, code, clause and test.
fn rows(page: &str, heading: &str) -> Vec<[String; 4]> {
    let section = page
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("{heading}"));
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.contains("| Clause |"));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| cells(row).try_into().unwrap()).collect()
}

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md")).unwrap()
}

#[test]
fn the_page_has_every_command_of_the_table_and_no_other() {
    let expected: Vec<_> = TABLE
        .iter()
        .map(|info| {
            let action = info.service_action.map(|action| format!("/{action:02x}h")).unwrap_or_default();
            [info.name.to_owned(), format!("{:02x}h{action}", info.opcode), info.clause.to_owned()]
        })
        .collect();
    let found: Vec<_> =
        rows(&page(), "Commands").into_iter().map(|[name, code, clause, _]| [name, code, clause]).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_page_has_every_vital_product_data_mode_and_log_page() {
    let codes = |heading| rows(&page(), heading).into_iter().map(|[_, code, ..]| code).collect::<Vec<_>>();
    let vital: Vec<_> = inquiry_page_codes().map(|code| format!("{code:02x}h")).collect();
    assert_eq!(codes("Vital product data"), vital);
    let logs: Vec<_> = log_page_codes().map(|code| format!("{code:02x}h")).collect();
    assert_eq!(codes("Log pages"), logs);
    let mode = good(Bench::new().run(&[0x1a, 8, 0x3f, 0xff, 0xff, 0]));
    let modes: Vec<_> = lunkeep_common::scsi::mode::pages(&mode[4..])
        .map(|(page, subpage, _)| format!("{page:02x}h/{subpage:02x}h"))
        .collect();
    assert_eq!(codes("Mode pages"), modes);
}

#[test]
fn the_page_has_every_login_key_with_its_rule() {
    let rule = |kind: Kind| match kind {
        Kind::Declaration(_) => "declaration",
        Kind::List(_) => "list",
        Kind::And => "and",
        Kind::Or => "or",
        Kind::Minimum { .. } => "minimum",
        Kind::Maximum { .. } => "maximum",
        Kind::Authentication { .. } => "authentication",
        Kind::Obsolete { .. } => "obsolete",
    };
    let expected: Vec<_> = KEYS
        .iter()
        .map(|row| [row.name.to_owned(), rule(row.kind).to_owned(), format!("RFC 7143 §{}", row.clause)])
        .collect();
    let found: Vec<_> =
        rows(&page(), "Login keys").into_iter().map(|[name, rule, clause, _]| [name, rule, clause]).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_page_has_every_task_management_function_and_tells_those_that_are_not_there() {
    let known = |code: &u8| TaskManagementFunction::from_code(*code) != TaskManagementFunction::Other(*code);
    let expected: Vec<String> = (0..0x80).filter(known).map(|code| code.to_string()).collect();
    let rows = rows(&page(), "Task management functions");
    assert_eq!(rows.iter().map(|[_, code, ..]| code.clone()).collect::<Vec<_>>(), expected);
    // What SAM has a bit for is there when the bit says so.
    let bits = good(Bench::new().run(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]))[0];
    for ([name, ..], bit) in rows.iter().zip([7, 6, 5, 4, 3]) {
        assert_eq!(!name.ends_with("(not there)"), bits >> bit & 1 != 0, "{name}");
    }
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let headings = [
        "Commands",
        "Vital product data",
        "Mode pages",
        "Log pages",
        "Login keys",
        "Task management functions",
    ];
    for [name, .., test] in headings.into_iter().flat_map(|heading| rows(&page(), heading)) {
        let (place, function) = test.trim_matches('`').split_once("::").unwrap();
        let file = if place.ends_with(".rs") {
            root.join(place)
        } else {
            root.join(format!("target/src/device/tests/{place}.rs"))
        };
        let source =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(source.contains(&format!("fn {function}(")), "{name}: {test}");
    }
}
