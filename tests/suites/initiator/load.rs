//! `bench`: load that really reaches the LUN.

use std::fs;

use serde_json::Value;

use super::bench::{Demand, SIZE, with_each_target};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn count(report: &Value, part: &str) -> u64 {
    report[part]["commands"].as_u64().unwrap_or_else(|| panic!("no {part} in {report:#}"))
}

const BRIEF: [&str; 5] = ["--json", "--time", "0.3", "--warmup", "0"];

#[test]
fn a_load_of_reads_changes_nothing_and_is_counted() {
    with_each_target(Demand::Nothing, |bench| {
        let before = fs::read(bench.disk()).unwrap();
        for flags in [
            &["--pattern", "randread", "--sessions", "3", "--queue-depth", "4"][..],
            &["--pattern", "seqread", "--block-size", "64K", "--digests"],
        ] {
            let report =
                json(&bench.run(&[&["bench", &bench.url][..], &BRIEF, flags].concat()).expect_success());
            assert!(count(&report, "total") > 0, "{report:#}");
            assert_eq!(report["span"], SIZE);
            assert!(
                report["reads"].is_null() && report["process"].is_null(),
                "one kind, no process: {report:#}"
            );
            let [p50, p99, max] =
                ["p50", "p99", "max"].map(|key| report["total"]["latency_us"][key].as_f64().unwrap());
            assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{report:#}");
            assert!(report["generator"]["cpu_seconds"].as_f64().unwrap() > 0.0, "{report:#}");
        }
        assert!(fs::read(bench.disk()).unwrap() == before, "the disk changed");
    });
}

#[test]
fn a_load_of_writes_needs_consent_and_stays_within_its_span() {
    with_each_target(Demand::Nothing, |bench| {
        let before = fs::read(bench.disk()).unwrap();
        let load = ["--pattern", "mixed", "--read-share", "50", "--block-size", "8K", "--span", "1M"];
        let without = [&["bench", &bench.url][..], &BRIEF, &load].concat();
        let refused = bench.run(&without);
        assert_eq!(refused.code(), Some(2), "{refused}");
        assert!(refused.stderr.contains("--destructive"), "{refused}");
        assert!(fs::read(bench.disk()).unwrap() == before, "written without consent");

        let pid = std::process::id().to_string();
        let report =
            json(&bench.run(&[&without[..], &["--destructive", "--pid", &pid]].concat()).expect_success());
        assert_eq!(count(&report, "reads") + count(&report, "writes"), count(&report, "total"));
        assert!(count(&report, "reads") > 0 && count(&report, "writes") > 0, "{report:#}");
        assert!(report["process"]["processors"].is_number(), "{report:#}");
        let after = fs::read(bench.disk()).unwrap();
        let (span, rest) = after.split_at(1 << 20);
        assert!(span != &before[..1 << 20], "nothing was written");
        assert!(rest == &before[1 << 20..], "written beyond the span");
    });
}

#[test]
fn a_block_size_or_a_process_that_does_not_fit_is_refused_before_any_load() {
    with_each_target(Demand::Nothing, |bench| {
        for (flags, culprit) in [
            (["--block-size", "1000"], "--block-size 1000"),
            (["--span", "1T"], "--span"),
            (["--pid", "4294967295"], "--pid"),
        ] {
            let refused = bench.run(&[&["bench", &bench.url][..], &flags].concat());
            assert_eq!(refused.code(), Some(2), "{refused}");
            assert!(refused.stderr.contains(culprit), "{refused}");
        }
    });
}
