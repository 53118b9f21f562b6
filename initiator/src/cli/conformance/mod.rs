//! `conformance`: judges a target by the standards.

mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::connection::ConnectionArguments;
use super::failure::{Exit, Failure};
use super::output;
use super::url::{self, Url};
use crate::conformance::{self, Case, CaseReport, Portal, Report, Settings, Totals, Verdict};

/// Longest command limit of the suite: cases wait for several of them.
const LIMIT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Persistent reservations: every service action, type, role and command, with up to five initiator ports. Ends all reservations
    /// and overwrites data of the LUN.
    Reservations(Box<Reservations>),
    /// Print reports that were saved with --json as a Markdown table, one column for each.
    Table {
        /// Heading and file, for example tgt=tgt.json.
        #[arg(required = true, value_name = "HEADING=FILE", value_parser = heading)]
        reports: Vec<(String, PathBuf)>,
    },
}

#[derive(Debug, Args)]
struct Reservations {
    /// iscsi://[user[%password]@]host[:port]/target/lun
    #[arg(value_parser = url::parse, required_unless_present = "list")]
    url: Option<Url>,
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Allow it to end all reservations of the LUN, to overwrite its data, and to reset the target.
    #[arg(long, required_unless_present = "list")]
    destructive: bool,
    /// The same LUN through another target port.
    #[arg(long, value_name = "URL", value_parser = url::parse)]
    second_portal: Option<Url>,
    /// Run the cases with this name, or whose names begin with it and a slash; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the cases, with what they want and where it stands, and run nothing.
    #[arg(long)]
    list: bool,
    /// Shell command that restarts the target as a loss of power would, and ends when it is done. Without it, what needs it is not run.
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// Use the initiator name as it is for all ports, which then differ in their ISIDs alone. For targets that admit few names.
    #[arg(long)]
    one_name: bool,
    /// Print each case when it has ended.
    #[arg(long)]
    verbose: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    clause: &'static str,
    requirement: &'a str,
    steps: Option<String>,
}

fn heading(text: &str) -> Result<(String, PathBuf), String> {
    let (heading, file) = text.split_once('=').ok_or("not of the form HEADING=FILE")?;
    Ok((heading.to_owned(), file.into()))
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.action {
        Action::Table { reports } => table::print(reports),
        Action::Reservations(reservations) => reservations.run().await,
    }
}

impl Reservations {
    async fn run(&self) -> Result<(), Failure> {
        let cases = self.cases()?;
        let url = match &self.url {
            Some(url) if !self.list => url,
            _ => return self.print_list(&cases),
        };
        let settings = self.settings(url)?;
        let verbose = self.verbose;
        let progress = output::progress_of(cases.len(), !verbose && !self.connection.json);
        let report = conformance::run(settings, &cases, |case| {
            progress.inc(1);
            if verbose {
                output::note(line(case));
            }
        })
        .await
        .map_err(|error| Failure { exit: Exit::Unreachable, message: error })?;
        progress.finish_and_clear();
        if self.connection.json {
            output::json(&report);
        } else {
            output::line(text(&report));
        }
        let Totals { failed, .. } = report.totals;
        if failed == 0 {
            return Ok(());
        }
        Err(Failure {
            exit: Exit::Nonconforming,
            message: format!("the target failed {failed} of {} cases", cases.len()),
        })
    }

    /// The cases that are asked for.
    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let mut cases = conformance::cases();
        for only in &self.only {
            if !cases.iter().any(|case| matches(&case.name, only)) {
                return Err(Failure::usage(format!("there is no case {only:?}; --list shows them")));
            }
        }
        if !self.only.is_empty() {
            cases.retain(|case| self.only.iter().any(|only| matches(&case.name, only)));
        }
        Ok(cases)
    }

    fn settings(&self, url: &Url) -> Result<Settings, Failure> {
        let mut seed = [0; 3];
        getrandom::fill(&mut seed).map_err(|error| {
            Failure::local(format!("the operating system gives no random bytes: {error}"))
        })?;
        let portal =
            |url: &Url| Portal { address: url.portal.clone(), target: url.target.clone(), lun: url.lun };
        Ok(Settings {
            portal: portal(url),
            second: self.second_portal.as_ref().map(portal),
            name: self.connection.name()?,
            one_name: self.one_name,
            authentication: self.connection.authentication(url.user.as_deref(), url.password.as_deref())?,
            offer: self.connection.offer()?,
            command_limit: self.connection.limit().min(LIMIT_MAX),
            restart: self.restart_command.clone(),
            seed,
        })
    }

    fn print_list(&self, cases: &[Case]) -> Result<(), Failure> {
        if self.connection.json {
            fn listed(case: &Case) -> Listed<'_> {
                let Case { name, clause, requirement, .. } = case;
                Listed { name, clause, requirement, steps: case.steps() }
            }
            output::json(&cases.iter().map(listed).collect::<Vec<_>>());
            return Ok(());
        }
        for case in cases {
            output::line(format_args!("{}\n    {} ({})", case.name, case.requirement, case.clause));
        }
        output::line(format_args!("{} cases", cases.len()));
        Ok(())
    }
}

fn matches(name: &str, only: &str) -> bool {
    name.strip_prefix(only).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn line(case: &CaseReport) -> String {
    let reason = case.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("{:<14} {}{reason}", case.verdict.text(), case.name)
}

/// What did not pass, with the requirement and the reason; a line for each group; the totals.
fn text(report: &Report) -> String {
    let mut lines = vec![format!("{} of {}", report.suite, report.target.device)];
    // What is not supported is so with every type and in every role, as a rule.
    for verdict in [Verdict::NotRun, Verdict::NotSupported] {
        let mut folded: Vec<(String, &CaseReport, usize)> = Vec::new();
        for case in report.cases.iter().filter(|case| case.verdict == verdict) {
            let name = table::case_of(&case.name);
            match folded.iter_mut().find(|(known, first, _)| *known == name && first.reason == case.reason) {
                Some((_, _, count)) => *count += 1,
                None => folded.push((name, case, 1)),
            }
        }
        for (name, case, count) in folded {
            let reason = case.reason.as_deref().unwrap_or_default();
            let count = if count == 1 { String::new() } else { format!(" ({count} cases)") };
            lines.push(format!("{:<14} {name}{count}: {reason}", verdict.text()));
        }
    }
    for case in report.cases.iter().filter(|case| case.verdict == Verdict::Failed) {
        lines.push(line(case));
        lines.push(format!("{:15}{} ({})", "", case.requirement, case.clause));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:<20}{:>8}{:>8}{:>15}{:>9}",
        "group", "passed", "failed", "not supported", "not run"
    ));
    let mut groups: Vec<&str> = Vec::new();
    for case in &report.cases {
        if !groups.contains(&case.group()) {
            groups.push(case.group());
        }
    }
    for group in groups {
        lines.push(row(group, Totals::of(report.cases.iter().filter(|case| case.group() == group))));
    }
    lines.push(row("all", report.totals));
    lines.join("\n")
}

fn row(name: &str, totals: Totals) -> String {
    let Totals { passed, failed, not_supported, not_run } = totals;
    format!("{name:<20}{passed:>8}{failed:>8}{not_supported:>15}{not_run:>9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_chooses_itself_and_what_is_below_it() {
        assert!(matches("reserve/scope/type-1", "reserve/scope"));
        assert!(matches("reserve/scope/type-1", "reserve"));
        assert!(matches("reserve/scope/type-1", "reserve/scope/type-1"));
        assert!(!matches("reserve/scope/type-1", "reserve/sco"));
        assert!(!matches("preempt-and-abort/self/type-1", "preempt"));
    }
}
