//! `iscsi-test-cu`, libiscsi's conformance tests: run suite by suite, and what it printed turned into results.
//!
//! The tool ends with exit code 0 even when tests failed, counts a skipped test as passed, and takes all later tests along when one
//! hangs or leaves a reservation behind: hence the parsing, and a process with a time limit for each suite.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use super::foreign;
use super::process::{self, PATIENCE};

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ran and found nothing wrong.
    Passed,
    /// It found something wrong.
    Failed,
    /// It said that it does not apply, or that the target lacks what it tests.
    Skipped,
}

/// What came of one suite.
#[derive(Debug)]
pub struct SuiteResult {
    /// Its name, without the family.
    pub suite: String,
    /// Its tests in order, those that were reached.
    pub tests: Vec<(String, Verdict)>,
    /// Whether the tool ran to its end: `false` when it hung or died.
    pub ended: bool,
    /// Everything that it printed.
    pub output: String,
}

impl SuiteResult {
    /// Number of tests that ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.tests.iter().filter(|(_, v)| *v == verdict).count()
    }
}

/// Names of all suites, as `FAMILY.SUITE`.
pub fn suites() -> Vec<String> {
    let listed = process::run(foreign::command("iscsi-test-cu").arg("-l"), PATIENCE);
    suites_of(&listed.stdout)
}

/// Every suite once: the family ALL repeats those of the others.
fn suites_of(listed: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let names = listed.lines().map(str::trim).filter(|line| line.matches('.').count() == 1);
    names.filter(|name| name.starts_with("ALL.") && seen.insert(*name)).map(str::to_owned).collect()
}

/// Runs one suite with everything allowed that destroys data. `urls` are one or two paths to the same LUN.
pub fn run(suite: &str, urls: &[&str], limit: Duration) -> SuiteResult {
    let mut command = Command::new("sh");
    // Line buffering, or a run that is killed loses what it printed; both outputs as one, or their order is lost.
    command
        .args(["-c", "exec stdbuf -oL \"$0\" \"$@\" 2>&1"])
        .arg(foreign::command("iscsi-test-cu").get_program())
        .args(["-d", "-S", "-V", "-t", suite])
        .args(urls);
    let outcome = process::run(&mut command, limit);
    SuiteResult {
        suite: suite.split_once('.').map_or(suite, |(_, name)| name).to_owned(),
        tests: parse(&outcome.stdout),
        ended: outcome.status.is_some() && outcome.stdout.contains("Run Summary:"),
        output: outcome.stdout,
    }
}

/// Tests and verdicts. A test without a verdict (the tool hung or died in it) failed.
fn parse(output: &str) -> Vec<(String, Verdict)> {
    let mut tests: Vec<(String, Verdict)> = Vec::new();
    let mut skipped = false;
    for line in output.lines() {
        if let Some(rest) = line.trim_start().strip_prefix("Test: ") {
            let (name, rest) = rest.split_once(" ...").unwrap_or((rest, ""));
            // A test that prints nothing has its verdict on the same line.
            let verdict = if rest.starts_with("passed") { Verdict::Passed } else { Verdict::Failed };
            tests.push((name.to_owned(), verdict));
            skipped = rest.contains("[SKIPPED]");
        } else if line.starts_with("passed") {
            if let Some(last) = tests.last_mut() {
                last.1 = if skipped { Verdict::Skipped } else { Verdict::Passed };
            }
        } else if line.contains("[SKIPPED]") {
            skipped = true;
        }
    }
    tests
}

/// A line for each suite and one for the sum, with a column for each run: passed, failed and skipped tests.
pub fn table(title: &str, runs: &[(&str, &[SuiteResult])]) -> String {
    let counts = |result: &SuiteResult| {
        [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(|verdict| result.count(verdict))
    };
    let cell = |[passed, failed, skipped]: [usize; 3], note: &str| {
        format!(" {passed:>4} {failed:>3} {skipped:>3}{note}")
    };
    let mut head = format!("{title} (passed, failed, skipped; * did not end)\n  {:<24}", "suite");
    runs.iter().for_each(|(name, _)| head += &format!(" {name:>12} "));
    let mut suites: Vec<&str> = Vec::new();
    for result in runs.iter().flat_map(|(_, results)| results.iter()) {
        if !suites.contains(&result.suite.as_str()) {
            suites.push(&result.suite);
        }
    }
    let mut out = head;
    for suite in suites {
        out += &format!("\n  {suite:<24}");
        for (_, results) in runs {
            let found = results.iter().find(|result| result.suite == suite);
            out += &found.map_or(" ".repeat(14), |result| {
                format!(" {}", cell(counts(result), if result.ended { " " } else { "*" }))
            });
        }
    }
    out += &format!("\n  {:<24}", "sum");
    for (_, results) in runs {
        let sum = results.iter().map(counts).fold([0; 3], |sum, one| [0, 1, 2].map(|at| sum[at] + one[at]));
        out += &format!(" {}", cell(sum, " "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_as_the_tool_prints_them() {
        let output = "Suite: GetLBAStatus\n  Test: Simple ...\n    [OK] x\npassed\n  Test: BeyondEol ...\n    [FAILED] y\n\
                      FAILED\n    1. file.c:38\n  Test: UnmapSingle ...    [SKIPPED] Logical unit is fully provisioned.\n\
                      passed\n  Test: Late ...\n    [SKIPPED] z is not implemented.\npassed    Send PRIN/READ_KEYS\n  Test: Mute ...passed\n  Test: Bad ...FAILED\n  Test: Hangs ...\n";
        let expected = [
            ("Simple", Verdict::Passed),
            ("BeyondEol", Verdict::Failed),
            ("UnmapSingle", Verdict::Skipped),
            ("Late", Verdict::Skipped),
            ("Mute", Verdict::Passed),
            ("Bad", Verdict::Failed),
            ("Hangs", Verdict::Failed),
        ];
        assert_eq!(parse(output), expected.map(|(name, verdict)| (name.to_owned(), verdict)));
    }

    #[test]
    fn each_suite_is_listed_once() {
        assert_eq!(
            suites_of("ALL\nALL.Read6\nALL.Read6.Simple\nSCSI.Read6\nALL.Write10\n"),
            ["ALL.Read6", "ALL.Write10"]
        );
    }
}
