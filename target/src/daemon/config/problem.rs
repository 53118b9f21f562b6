//! Problems of a configuration file, each with its line, its column and what to do.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::tables::KEYS;
use crate::daemon::nearest;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text, in bytes; `None` when it is about something that is not there.
    pub at: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Problem {
    /// A problem with the text at `at`.
    pub fn new(at: Option<Range<usize>>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: help.into() }
    }
}

/// The configuration file cannot be used. Its `Display` shows every problem below the other.
#[derive(Clone, Debug)]
pub struct ConfigError {
    file: String,
    text: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// These problems, in the order of the file.
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at.as_ref().map_or(usize::MAX, |at| at.start));
        Self { file: file.into(), text: text.into(), problems }
    }

    /// The file could not be read at all.
    pub(super) fn unreadable(file: String, reason: String) -> Self {
        let problem = Problem::new(None, format!("cannot read the configuration: {reason}"), "");
        Self { file, text: String::new(), problems: vec![problem] }
    }

    /// The text is not TOML, or not of the shape of [`tables`](super::tables).
    pub(super) fn toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().filter(|at| text.get(at.clone()).is_some());
        Self::new(file, text, vec![explain(text, at, error.message())])
    }

    /// The problems, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            show(f, &self.file, &self.text, problem)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, file: &str, text: &str, problem: &Problem) -> fmt::Result {
    match &problem.at {
        None => write!(f, "{file}: {}", problem.message)?,
        Some(at) => {
            let before = text.get(..at.start).unwrap_or_default();
            let number = before.matches('\n').count() + 1;
            let start = before.rfind('\n').map_or(0, |n| n + 1);
            let line = hide_secret(text.get(start..).unwrap_or_default().lines().next().unwrap_or_default());
            let column = before.get(start..).unwrap_or_default().chars().count() + 1;
            let room = line.chars().count().saturating_sub(column - 1).max(1);
            let length =
                text.get(at.clone()).unwrap_or_default().lines().next().unwrap_or_default().chars().count();
            let gutter = " ".repeat(number.to_string().len());
            // A tab stays a tab, so that the marks stand below what they mark.
            let indent: String =
                line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let marks = "^".repeat(length.clamp(1, room));
            writeln!(f, "{file}:{number}:{column}: {}", problem.message)?;
            write!(f, "  {number} | {line}\n  {gutter} | {indent}{marks}")?;
        }
    }
    if !problem.help.is_empty() {
        write!(f, "\n  help: {}", problem.help)?;
    }
    Ok(())
}

/// A line that may be shown: what someone wrote as a secret is not.
fn hide_secret(line: &str) -> Cow<'_, str> {
    let secret = SECRET_KEYS.iter().find_map(|key| {
        let end = line.find(key)? + key.len();
        line.get(end..)?.trim_start().starts_with('=').then_some(end)
    });
    secret.and_then(|end| line.get(..end)).map_or(line.into(), |shown| format!("{shown} = ...").into())
}

const SECRET_KEYS: [&str; 2] = ["secret", "password"];

const NO_SECRET_HERE: &str = "a secret does not stand in this file: put it into a file of its own (`secret_file`) or an \
                              environment variable (`secret_env`)";

/// Keys of other programs, or of good sense, and what stands for them here.
const ELSEWHERE: &[(&str, &str)] = &[
    (SECRET_KEYS[0], NO_SECRET_HERE),
    (SECRET_KEYS[1], NO_SECRET_HERE),
    ("iqn", "the key is `name`"),
    ("file", "the key is `path`"),
    ("image", "the key is `path`"),
    ("ro", "the key is `read_only`"),
    ("block", "the key is `block_size`"),
    ("port", "the port is a part of `listen`, such as listen = \"0.0.0.0:3260\""),
    ("allow", "write one [[target.initiator]] with its `name` for each allowed initiator"),
    ("initiators", "write one [[target.initiator]] with its `name` for each allowed initiator"),
    ("luns", "write one [[target.lun]] for each LUN"),
    ("disk", "write one [[target.lun]] for each disk"),
];

/// Puts what serde and toml say into our words.
fn explain(text: &str, at: Option<Range<usize>>, message: &str) -> Problem {
    let table = at.as_ref().map_or("", |at| table_at(text, at.start));
    let place = if table.is_empty() { "at the top of the file".into() } else { format!("in [{table}]") };
    if let Some(key) = quoted(message, "unknown field `") {
        let keys = keys_of(table);
        let known = |key: &&str| keys.contains(key);
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == key && !known(&key));
        let help = match (elsewhere, nearest::of(key, keys.iter().copied())) {
            (Some((_, help)), _) => (*help).to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`? {}", list(keys)),
            (None, None) => list(keys),
        };
        return Problem::new(at, format!("unknown key `{key}` {place}"), help);
    }
    if let Some(key) = quoted(message, "missing field `") {
        return Problem::new(
            at,
            format!("key `{key}` is missing {place}"),
            format!("add a line `{key} = ...`"),
        );
    }
    let here = at.as_ref().and_then(|at| text.get(at.clone())).unwrap_or_default();
    if message.starts_with("duplicate key") {
        return Problem::new(at, format!("key `{here}` is there twice {place}"), "remove one of them");
    }
    let message = message.trim_end().replace('\n', ", ");
    let message = message.replace("expected u16", "expected a number from 0 to 65535");
    let message = message.replace("expected u32", "expected a number from 0 to 4294967295");
    let key = at.as_ref().and_then(|at| key_of_value_at(text, at.start));
    let message = key.map_or(message.clone(), |key| format!("key `{key}`: {message}"));
    Problem::new(at, message, "")
}

/// The key whose value holds `at`, when both stand on one line.
fn key_of_value_at(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?;
    let (key, _) = before.get(before.rfind('\n').map_or(0, |n| n + 1)..)?.split_once('=')?;
    Some(key.trim())
}

fn list(keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    format!("The keys here are {}", keys.join(", "))
}

/// The word between `start` and the next backtick.
fn quoted<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.split_once(start)?.1.split_once('`').map(|(word, _)| word)
}

/// The table that `at` is in: the one whose header stands last before it. A name within a header is in the table above.
fn table_at(text: &str, at: usize) -> &str {
    let end = text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| at + n);
    let mut line_end = end;
    loop {
        let line_start = text.get(..line_end).and_then(|before| before.rfind('\n')).map_or(0, |n| n + 1);
        let line = text.get(line_start..line_end).unwrap_or_default();
        let name = line.trim_start().trim_start_matches('[');
        if line.trim_start().starts_with('[') {
            let within = text.get(line_end - name.len()..at).filter(|part| !part.contains(']'));
            let whole = name.split(']').next().unwrap_or_default();
            return within.filter(|_| line_end == end).unwrap_or(whole).trim().trim_end_matches('.');
        }
        if line_start == 0 {
            return "";
        }
        line_end = line_start - 1;
    }
}

fn keys_of(table: &str) -> &'static [&'static str] {
    // The CHAP tables of `discovery` have the keys of those of `target`.
    let table = table.replace("discovery.", "target.");
    KEYS.iter().find(|(name, _)| *name == table).map_or(&[], |(_, keys)| keys)
}
