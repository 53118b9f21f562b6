//! The whole suite, against ours and against tgt.

use std::collections::BTreeSet;

use lunkeep_tests::report;
use serde_json::Value;

use super::served::{Served, with_verdict};

fn table(name: &str, report: &Value) -> String {
    let count = |verdict: &str| report["totals"][verdict].as_u64().unwrap();
    format!(
        "reservation conformance of {name} ({}): {} passed, {} failed, {} not supported, {} not run",
        report["target"]["device"].as_str().unwrap(),
        count("passed"),
        count("failed"),
        count("not_supported"),
        count("not_run")
    )
}

#[test]
fn our_target_passes_every_case_that_it_has_the_command_for() {
    let served = Served::ours();
    let (outcome, report) = served.judge_all();
    report::table("reservation-conformance-ours", &table("lunkeep-target", &report));
    assert_eq!(with_verdict(&report, "failed"), [""; 0]);
    assert_eq!(with_verdict(&report, "not_run"), [""; 0]);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.stderr);
    // Commands that we do not have, and nothing about reservations.
    let lacking: BTreeSet<String> = with_verdict(&report, "not_supported")
        .into_iter()
        .filter(|case| !(case.starts_with("matrix/") && case.contains("05/20/00")))
        .collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
    served.assert_healthy();
}

#[test]
fn tgt_is_judged_to_the_end() {
    let Some(served) = Served::tgt() else { return };
    let (outcome, report) = served.judge_all();
    report::table("reservation-conformance-tgt", &table("tgt", &report));
    assert!(matches!(outcome.code(), Some(0 | 8)), "{}", outcome.stderr);
    assert!(report["totals"]["passed"].as_u64().unwrap() > 0, "{}", table("tgt", &report));
}
