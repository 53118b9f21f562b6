//! docs/conformance.md says what the tables of the code say, and names tests that are there.

use std::path::Path;

use lunkeep_common::scsi::opcode_table::TABLE;

use super::super::commands::{inquiry_page_codes, log_page_codes};
use super::*;

/// The rows of the table below a heading: name, code, clause and test.
fn rows(page: &str, heading: &str) -> Vec<[String; 4]> {
    let section = page
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("{heading}"));
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.contains("| Code |"));
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
fn every_test_that_the_page_names_is_there() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/device/tests"));
    for heading in ["Commands", "Vital product data", "Mode pages", "Log pages"] {
        for [name, .., test] in rows(&page(), heading) {
            let (module, function) = test.trim_matches('`').split_once("::").unwrap();
            let source = std::fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap();
            assert!(
                source.contains(&format!("fn {function}()")) || source.contains(&format!("fn {function}(")),
                "{name}: {test}"
            );
        }
    }
}
