//! Saved reports beside each other, as Markdown.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::failure::Failure;
use super::super::output;

#[derive(Deserialize)]
struct Saved {
    target: Target,
    cases: Vec<Entry>,
}

#[derive(Deserialize)]
struct Target {
    device: String,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    clause: String,
    requirement: String,
    verdict: String,
    reason: Option<String>,
}

/// A report with its heading.
struct Column {
    heading: String,
    saved: Saved,
}

const VERDICTS: [&str; 4] = ["passed", "failed", "not_supported", "not_run"];

pub(super) fn print(reports: &[(String, PathBuf)]) -> Result<(), Failure> {
    let columns = reports.iter().map(|(heading, path)| load(heading, path)).collect::<Result<Vec<_>, _>>()?;
    output::line(markdown(&columns).trim_end());
    Ok(())
}

fn load(heading: &str, path: &Path) -> Result<Column, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::local(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let saved = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    Ok(Column { heading: heading.to_owned(), saved })
}

fn markdown(columns: &[Column]) -> String {
    let mut lines = Vec::new();
    let heads: Vec<&str> = columns.iter().map(|column| column.heading.as_str()).collect();
    let rule = |count: usize| format!("|{}", "---|".repeat(count));
    lines.push(format!("| | {} |", heads.join(" | ")));
    lines.push(rule(1 + heads.len()));
    let cells = |cell: &dyn Fn(&Column) -> String| columns.iter().map(cell).collect::<Vec<_>>().join(" | ");
    lines.push(format!("| device | {} |", cells(&|column| column.saved.target.device.clone())));
    for verdict in VERDICTS {
        let count = |column: &Column| {
            column.saved.cases.iter().filter(|case| case.verdict == verdict).count().to_string()
        };
        lines.push(format!("| {} | {} |", verdict.replace('_', " "), cells(&count)));
    }
    lines.push(String::new());
    lines.push(format!("| cases | {} |", heads.join(" | ")));
    lines.push(rule(1 + heads.len()));
    for group in groups(columns, family) {
        let name = &group;
        lines.push(format!("| {name} | {} |", cells(&|column| tally(column, name))));
    }
    for column in columns {
        let missed: Vec<&Entry> = column.saved.cases.iter().filter(|case| case.verdict == "failed").collect();
        if missed.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.push(format!("What {} fails:", column.heading));
        lines.push(String::new());
        lines.push("| case | requirement | found |".to_owned());
        lines.push(rule(3));
        // The types of one case fail alike as a rule: one line for each case, with the reason of the first.
        for name in groups(std::slice::from_ref(column), case_of) {
            let of: Vec<&&Entry> = missed.iter().filter(|case| case_of(&case.name) == name).collect();
            let Some(first) = of.first() else { continue };
            let count = if of.len() == 1 { String::new() } else { format!(" ({} of them)", of.len()) };
            lines.push(format!(
                "| {name}{count} | {} ({}) | {} |",
                first.requirement,
                first.clause,
                first.reason.as_deref().unwrap_or_default().replace('|', "\\|")
            ));
        }
    }
    lines.join("\n")
}

/// Names in the order in which they first appear, each once.
fn groups(columns: &[Column], of: impl Fn(&str) -> String) -> Vec<String> {
    let mut all = Vec::new();
    for case in columns.iter().flat_map(|column| &column.saved.cases) {
        let group = of(&case.name);
        if !all.contains(&group) {
            all.push(group);
        }
    }
    all
}

/// What makes a row of the table: the command in the matrix, the group elsewhere.
fn family(name: &str) -> String {
    let mut parts = name.split('/');
    match (parts.next(), parts.next()) {
        (Some("matrix"), Some(command)) => format!("matrix: {command}"),
        (Some(group), _) => group.to_owned(),
        _ => name.to_owned(),
    }
}

/// A case without its type and role.
pub(super) fn case_of(name: &str) -> String {
    name.split("/type-").next().unwrap_or(name).to_owned()
}

/// `12`, or `10 of 12`, or `not supported`.
fn tally(column: &Column, group: &str) -> String {
    let count = |verdict: Option<&str>| {
        let in_group = |case: &&Entry| family(&case.name) == group;
        let cases = column.saved.cases.iter().filter(in_group);
        cases.filter(|case| verdict.is_none_or(|verdict| case.verdict == verdict)).count()
    };
    let (all, passed, failed) = (count(None), count(Some("passed")), count(Some("failed")));
    let other: Vec<String> = [("not_supported", "not supported"), ("not_run", "not run")]
        .into_iter()
        .filter(|(verdict, _)| count(Some(verdict)) > 0)
        .map(|(verdict, text)| {
            let some = count(Some(verdict));
            if some == all { text.to_owned() } else { format!("{some} {text}") }
        })
        .collect();
    let mut parts = Vec::new();
    if passed > 0 {
        parts.push(format!("{passed} passed"));
    }
    if failed > 0 {
        parts.push(format!("**{failed} failed**"));
    }
    parts.extend(other);
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(heading: &str, cases: &[(&str, &str)]) -> Column {
        let entry = |(name, verdict): &(&str, &str)| Entry {
            name: (*name).into(),
            clause: "SPC-4".into(),
            requirement: "It is so.".into(),
            verdict: (*verdict).into(),
            reason: (*verdict == "failed").then(|| "a | b".into()),
        };
        let saved = Saved { target: Target { device: "X".into() }, cases: cases.iter().map(entry).collect() };
        Column { heading: heading.into(), saved }
    }

    #[test]
    fn reports_stand_beside_each_other_and_failures_are_told_once_for_all_types() {
        let text = markdown(&[
            column(
                "ours",
                &[
                    ("a/b/type-1", "passed"),
                    ("a/b/type-3", "passed"),
                    ("matrix/READ/type-1/holder", "passed"),
                ],
            ),
            column(
                "theirs",
                &[
                    ("a/b/type-1", "failed"),
                    ("a/b/type-3", "failed"),
                    ("matrix/READ/type-1/holder", "not_supported"),
                ],
            ),
        ]);
        assert!(text.contains("| a | 2 passed | **2 failed** |"), "{text}");
        assert!(text.contains("| matrix: READ | 1 passed | not supported |"), "{text}");
        assert!(text.contains("| a/b (2 of them) | It is so. (SPC-4) | a \\| b |"), "{text}");
        assert!(text.contains("What theirs fails:") && !text.contains("What ours fails:"), "{text}");
    }
}
