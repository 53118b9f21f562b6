//! The part of docs/conformance.md about `iscsi-test-cu`: which tests fail or are skipped on which LUNs, and why.

use std::collections::BTreeSet;

use lunkeep_tests::foreign;

use super::kinds::KINDS;

/// A row of one of the two tables.
#[derive(Debug)]
pub(crate) struct Row {
    /// `SUITE.TEST`.
    pub(crate) tests: Vec<String>,
    /// Names of LUN kinds; "all" has become each of them.
    pub(crate) kinds: Vec<String>,
    pub(crate) reason: String,
}

/// Both tables.
pub(crate) struct Page {
    failed: Vec<Row>,
    skipped: Vec<Row>,
}

impl Page {
    /// Reads the page of this checkout.
    pub(crate) fn read() -> Self {
        let page = std::fs::read_to_string(foreign::root().join("docs/conformance.md")).unwrap();
        let section = |heading: &str| {
            let found = page.split("\n### ").find(|section| section.starts_with(heading));
            rows(found.unwrap_or_else(|| panic!("no section {heading:?} in docs/conformance.md")))
        };
        Self { failed: section("Faults of iscsi-test-cu"), skipped: section("Skipped by iscsi-test-cu") }
    }

    /// Tests that may fail on a kind of LUN. Some do not always.
    pub(crate) fn failed(&self, kind: &str) -> BTreeSet<String> {
        of(&self.failed, kind)
    }

    /// Tests that are skipped on a kind of LUN.
    pub(crate) fn skipped(&self, kind: &str) -> BTreeSet<String> {
        of(&self.skipped, kind)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.failed.iter().chain(&self.skipped)
    }
}

fn of(rows: &[Row], kind: &str) -> BTreeSet<String> {
    let rows = rows.iter().filter(|row| row.kinds.iter().any(|named| named == kind));
    rows.flat_map(|row| row.tests.clone()).collect()
}

fn rows(section: &str) -> Vec<Row> {
    // A row, and not the head of the table, names tests in code font.
    section.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [tests, kinds, reason] = cells[..] else { panic!("not three cells: {line}") };
    let (suite, names) =
        tests.trim_matches('`').split_once('.').unwrap_or_else(|| panic!("no suite: {line}"));
    let all = KINDS.iter().filter(|kind| kind.is_ours()).map(|kind| kind.name.to_owned());
    Row {
        tests: names.split(' ').map(|name| format!("{suite}.{name}")).collect(),
        kinds: if kinds == "all" { all.collect() } else { kinds.split(", ").map(str::to_owned).collect() },
        reason: reason.to_owned(),
    }
}
