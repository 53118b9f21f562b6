//! libiscsi's `iscsi-test-cu`, whole, against LUNs of several kinds: nothing fails and nothing is skipped but what docs/conformance.md
//! lists, each with its reason. `tests/run --full` runs it against tgt besides, and prints that beside it.
//!
//! Everything is in one process with a thread for each kind, and a target for each, since resets and reservations of one run would
//! disturb another.

#[path = "conformance/kinds.rs"]
mod kinds;
#[path = "conformance/page.rs"]
mod page;

use std::collections::BTreeSet;
use std::time::Duration;

use kinds::{KINDS, Served};
use lunkeep_tests::cunit::{self, SuiteResult, Verdict};
use lunkeep_tests::target::Folder;
use lunkeep_tests::{foreign, report};
use page::Page;

/// For one suite. The longest takes a quarter of a minute when the machine has nothing else to do.
const LIMIT: Duration = Duration::from_secs(180);

/// Names of the tests of a run that ended so, as `SUITE.TEST`.
fn names(results: &[SuiteResult], verdict: Verdict) -> BTreeSet<String> {
    let of = |result: &SuiteResult| {
        let suite = result.suite.clone();
        let tests = result.tests.iter().filter(|(_, found)| *found == verdict);
        tests.map(|(test, _)| format!("{suite}.{test}")).collect::<Vec<_>>()
    };
    results.iter().flat_map(of).collect()
}

/// Runs every suite of the tool, in its own order.
fn run(served: &mut Served) -> Vec<SuiteResult> {
    let [url, second] = served.urls();
    let mut results = Vec::new();
    for suite in cunit::suites() {
        let multipath = suite.ends_with(".MultipathIO");
        let urls: &[&str] = if multipath { &[&url, &second] } else { &[&url] };
        results.push(cunit::run(&suite, urls, LIMIT));
        served.assert_healthy();
    }
    results
}

/// What a run has that the page does not say, or does not have that it says.
fn differences(kind: &str, results: &[SuiteResult], page: &Page) -> Vec<String> {
    let mut wrong = Vec::new();
    for result in results.iter().filter(|result| !result.ended) {
        wrong.push(format!("{kind}: {} did not run to its end", result.suite));
    }
    let (failed, skipped) = (names(results, Verdict::Failed), names(results, Verdict::Skipped));
    wrong.extend(failed.difference(&page.failed(kind)).map(|test| format!("{kind}: {test} failed")));
    let listed = page.skipped(kind);
    wrong.extend(skipped.difference(&listed).map(|test| format!("{kind}: {test} was skipped")));
    wrong.extend(listed.difference(&skipped).map(|test| format!("{kind}: {test} was not skipped")));
    wrong
}

#[test]
fn iscsi_test_cu_fails_and_skips_nothing_but_what_the_page_lists() {
    if !foreign::available(&["iscsi-test-cu", "stdbuf"]) {
        return;
    }
    let with_tgt = report::full() && foreign::available(&["tgtd", "tgtadm"]);
    let kinds: Vec<_> = KINDS.iter().filter(|kind| with_tgt || kind.is_ours()).collect();
    let runs: Vec<(&str, Vec<SuiteResult>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = kinds
            .iter()
            .map(|kind| {
                scope.spawn(|| {
                    let folder = Folder::new();
                    let mut served = kind.serve(&folder);
                    let results = run(&mut served);
                    served.stop();
                    (kind.name, results)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let columns: Vec<(&str, &[SuiteResult])> =
        runs.iter().map(|(name, results)| (*name, results.as_slice())).collect();
    report::table("conformance", &cunit::table("iscsi-test-cu", &columns));
    let page = Page::read();
    let mut wrong = Vec::new();
    for (kind, results) in runs.iter().filter(|(kind, _)| *kind != kinds::TGT) {
        let found = differences(kind, results, &page);
        for result in
            results.iter().filter(|r| found.iter().any(|line| line.contains(&format!(" {}", r.suite))))
        {
            println!("==== {kind} {}\n{}", result.suite, result.output);
        }
        wrong.extend(found);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_test_of_a_disk_that_takes_no_writes_passes_on_one() {
    if !foreign::available(&["iscsi-test-cu", "stdbuf"]) {
        return;
    }
    let folder = Folder::new();
    let mut served = kinds::read_only(&folder);
    let [url, _] = served.urls();
    let result = cunit::run("ALL.ReadOnly", &[&url], LIMIT);
    served.assert_healthy();
    assert_eq!(result.tests, [("ReadOnlySBC".to_owned(), Verdict::Passed)], "{}", result.output);
    served.stop();
}

/// The tool looks at the erasure three seconds after it began it, and again after a reset and a new login: that takes a disk for
/// which an erasure lasts longer than that.
#[test]
fn an_erasure_that_lasts_goes_on_through_every_abort_and_reset() {
    if !report::full() {
        return report::skip("", "it writes 3 GiB; tests/run --full has it");
    }
    if !foreign::available(&["iscsi-test-cu", "stdbuf"]) {
        return;
    }
    let folder = Folder::new();
    let mut served = kinds::large(&folder);
    let [url, _] = served.urls();
    let result = cunit::run("ALL.Sanitize.Reset", &[&url], LIMIT * 5);
    served.assert_healthy();
    assert_eq!(result.tests, [("Reset".to_owned(), Verdict::Passed)], "{}", result.output);
    served.stop();
}

#[test]
fn the_page_names_tests_of_the_tool_and_kinds_that_there_are() {
    let page = Page::read();
    let known: BTreeSet<&str> = KINDS.iter().filter(|kind| kind.is_ours()).map(|kind| kind.name).collect();
    for row in page.rows() {
        assert!(row.kinds.iter().all(|kind| known.contains(kind.as_str())), "{row:?}");
        assert!(!row.tests.is_empty() && row.reason.len() > 20, "{row:?}");
    }
}
