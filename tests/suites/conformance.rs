//! libiscsi's `iscsi-test-cu` against `serve`: it must run to its end without hanging or hurting the process.
//!
//! fixtures/conformance/iscsi-test-cu.txt lists the tests that pass: one that stops passing fails this suite. A test that newly
//! passes is told in the table; `LUNKEEP_BLESS=1 tests/run --only conformance` writes the list anew.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use lunkeep_tests::cunit::{self, SuiteResult, Verdict};
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::{foreign, programs, report};

/// For one suite. The longest takes a few seconds here.
const LIMIT: Duration = Duration::from_secs(90);

fn list() -> PathBuf {
    foreign::root().join("fixtures/conformance/iscsi-test-cu.txt")
}

#[test]
fn iscsi_test_cu_runs_to_its_end_and_passes_no_fewer_tests_than_before() {
    if !foreign::available(&["iscsi-test-cu", "stdbuf"]) {
        return;
    }
    let folder = Folder::new();
    let mut target =
        Target::serve(programs!(), ["--disk", &format!("{},size=256M", folder.name("disk.vhdx"))]);
    let url = target.url(0);
    let mut results = Vec::new();
    for suite in cunit::suites() {
        let result = if suite.ends_with(".MultipathIO") {
            cunit::run(&suite, &[&url, &url], LIMIT)
        } else {
            cunit::run(&suite, &[&url], LIMIT)
        };
        target.assert_healthy();
        results.push(result);
    }
    target.stop();
    let passed = passed(&results);
    if std::env::var_os("LUNKEEP_BLESS").is_some() {
        bless(&passed);
    }
    judge(&results, &passed);
}

fn passed(results: &[SuiteResult]) -> BTreeSet<String> {
    let name = |result: &SuiteResult, test: &str| format!("{}.{test}", result.suite);
    results
        .iter()
        .flat_map(|result| result.tests.iter().map(move |test| (result, test)))
        .filter(|(_, (_, verdict))| *verdict == Verdict::Passed)
        .map(|(result, (test, _))| name(result, test))
        .collect()
}

fn bless(passed: &BTreeSet<String>) {
    let mut text = "# Tests of libiscsi 1.19's iscsi-test-cu that pass against a dynamic VHDX; see tests/suites/conformance.rs.\n".to_owned();
    passed.iter().for_each(|name| text += &format!("{name}\n"));
    std::fs::create_dir_all(list().parent().unwrap()).unwrap();
    std::fs::write(list(), text).unwrap();
}

fn judge(results: &[SuiteResult], passed: &BTreeSet<String>) {
    let listed = std::fs::read_to_string(list()).unwrap();
    let expected: BTreeSet<String> =
        listed.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let newly: Vec<_> = passed.difference(&expected).map(String::as_str).collect();
    let lost: Vec<_> = expected.difference(passed).map(String::as_str).collect();
    let mut table = cunit::table("iscsi-test-cu against a dynamic VHDX", results);
    for (what, names) in [("newly pass", &newly), ("passed before", &lost)] {
        if !names.is_empty() {
            table += &format!("\n  {what}: {}", names.join(" "));
        }
    }
    report::table("conformance", &table);
    let hung: Vec<_> = results.iter().filter(|result| !result.ended).collect();
    for result in results
        .iter()
        .filter(|result| !result.ended || lost.iter().any(|name| name.starts_with(&result.suite)))
    {
        println!("==== {}\n{}", result.suite, result.output);
    }
    assert!(
        hung.is_empty(),
        "did not run to their end: {:?}",
        hung.iter().map(|r| &r.suite).collect::<Vec<_>>()
    );
    assert!(lost.is_empty(), "passed before: {lost:?}");
}
