//! What a run found.

use serde::Serialize;

use super::case::{Case, Verdict};
use super::lab::Facts;

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Where the requirement stands.
    pub clause: &'static str,
    /// What the standard wants.
    pub requirement: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, unless it passed.
    pub reason: Option<String>,
}

/// Cases by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// As the standard wants it.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
    /// The target lacks it.
    pub not_supported: usize,
    /// The caller did not give what they need.
    pub not_run: usize,
}

/// All cases.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `persistent reservations`
    pub suite: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// What the target says of itself.
    pub target: Facts,
    /// Counts.
    pub totals: Totals,
    /// In the order in which they ran.
    pub cases: Vec<CaseReport>,
}

impl CaseReport {
    pub(super) fn new(case: &Case, verdict: Verdict, reason: Option<String>) -> Self {
        let Case { name, clause, requirement, .. } = case.clone();
        Self { name, clause, requirement, verdict, reason }
    }

    /// The first part of the name.
    #[must_use]
    pub fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

impl Totals {
    /// Counts.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a CaseReport>) -> Self {
        let mut totals = Self::default();
        for case in cases {
            *match case.verdict {
                Verdict::Passed => &mut totals.passed,
                Verdict::Failed => &mut totals.failed,
                Verdict::NotSupported => &mut totals.not_supported,
                Verdict::NotRun => &mut totals.not_run,
            } += 1;
        }
        totals
    }
}

impl Report {
    pub(super) fn new(target: Facts, cases: Vec<CaseReport>) -> Self {
        let totals = Totals::of(&cases);
        Self { suite: "persistent reservations", version: env!("CARGO_PKG_VERSION"), target, totals, cases }
    }
}
