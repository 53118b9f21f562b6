//! Conformance suites: judges of *any* target, written from the standards and from nothing else.
//!
//! ```text
//! scripts, matrix, coded --> cases() --> run() --> Report
//!                                         |
//!                     Lab: the target, a janitor, ports A to E with names and ISIDs of their own for each case
//! ```
//!
//! There is one suite so far, persistent reservations (SPC-4 §5.13, §6.15, §6.16). Its cases come from three places: [`scripts`], which
//! are tables of steps that a person can read; `matrix`, which holds every command against every type in every role; and
//! `coded`, for what has to look at bytes or at the clock.
//!
//! * Each case is alone: nobody is registered when it begins, and its ports log in under ISIDs that no other case uses.
//! * Each case ends, however broken the target is: commands, logins and the case as a whole have limits.
//! * The judge shares no code with what it judges: lists, TransportIDs and parameter data are laid out and read in `wire`,
//!   apart from `lunkeep_common`, and the table of the matrix is typed from the standards. Only the names and numbers of commands come
//!   from the common opcode table, so that no command of it can be forgotten.
//! * "Not supported" is an answer with which the standards let a device say that it lacks something (ILLEGAL REQUEST with INVALID
//!   COMMAND OPERATION CODE or INVALID FIELD IN CDB, or a bit of REPORT CAPABILITIES), never a wrong one.
//!
//! Deliberately not here: printing, and the choice of cases by people; see `cli`.

mod case;
mod coded;
mod lab;
mod matrix;
mod port;
mod report;
mod script;
pub mod scripts;
#[cfg(test)]
mod tests;
mod wire;

pub use case::{Case, Need, Stop, Verdict};
pub use lab::{Facts, Portal, Settings};
pub use report::{CaseReport, Report, Totals};
pub use script::{Script, ScriptError};

use lab::Lab;

/// The cases of the persistent reservation suite, in the order in which they run.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = scripts::all().flat_map(Script::cases).collect();
    all.extend(coded::cases());
    all.extend(matrix::cases());
    all
}

/// Runs cases, one after the other, and tells `progress` of each that has ended.
///
/// Everything on the logical unit may be lost: reservations, registrations and data.
///
/// # Errors
/// Why the target could not even be looked at.
pub async fn run(
    settings: Settings,
    cases: &[Case],
    mut progress: impl FnMut(&CaseReport),
) -> Result<Report, String> {
    let mut lab = Lab::open(settings).await?;
    let mut reports = Vec::with_capacity(cases.len());
    for (number, case) in cases.iter().enumerate() {
        let report = lab.judge(number, case).await;
        progress(&report);
        reports.push(report);
    }
    lab.close().await;
    Ok(Report::new(lab.into_facts(), reports))
}
