//! `image check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::open::{ParentArgs, open};
use crate::cli::output;
use crate::image::{Access, CheckReport, Format, OpenErrorKind, Severity};

/// Checks an image for damage
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes, as those of qemu-img check:
   0  nothing is wrong, or all of it was repaired
   1  the check could not be made, for example because the file cannot be read
   2  the image is damaged (or the command line is wrong)
   3  no damage, but the file has space that nothing uses
  63  images of this kind cannot be checked")]
pub(super) struct CheckArgs {
    /// The image
    path: PathBuf,
    /// Its format [default: what its content shows]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Put right what can be put right without losing data
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    parents: ParentArgs,
}

/// How a check ended; the exit codes of `qemu-img check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CheckExit {
    Sound = 0,
    Failed = 1,
    Damaged = 2,
    Leaks = 3,
    Unsupported = 63,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    file: &'a Path,
    format: Format,
    #[serde(flatten)]
    report: &'a CheckReport,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    ExitCode::from(check(args) as u8)
}

pub(super) fn check(args: &CheckArgs) -> CheckExit {
    let path = &args.path;
    let access = if args.repair { Access::ReadWrite } else { Access::ReadOnly };
    let opened = match open(path, args.format, access, &args.parents) {
        Ok(opened) => opened,
        Err(refused) => {
            output::error(refused.message);
            return if refused.unsupported { CheckExit::Unsupported } else { CheckExit::Failed };
        }
    };
    let report = match opened.format.check_in(&opened.file, args.repair, &opened.environment, &opened.lineage)
    {
        Ok(report) => report,
        Err(e) => {
            output::error(format_args!("{}: {e}", path.display()));
            return match e.kind() {
                OpenErrorKind::Unsupported | OpenErrorKind::ParentNeeded => CheckExit::Unsupported,
                _ => CheckExit::Failed,
            };
        }
    };
    if args.json {
        match serde_json::to_string_pretty(&Document { file: path, format: opened.format, report: &report }) {
            Ok(text) => output::line(text),
            Err(e) => {
                output::error(e);
                return CheckExit::Failed;
            }
        }
    } else {
        print(path, opened.format, &report);
    }
    match (report.errors, report.leaks) {
        (0, 0) => CheckExit::Sound,
        (0, _) => CheckExit::Leaks,
        _ => CheckExit::Damaged,
    }
}

fn print(path: &Path, format: Format, report: &CheckReport) {
    for finding in &report.findings {
        let name = match finding.severity {
            Severity::Error => "error",
            Severity::Leak => "leak",
            Severity::Note => "note",
        };
        let repaired = if finding.repaired { " (repaired)" } else { "" };
        output::line(format_args!("{name}: {}{repaired}", finding.message));
    }
    let summary = match (report.errors, report.leaks, report.repaired) {
        (0, 0, 0) => "no errors".to_owned(),
        (0, 0, repaired) => format!("no errors any more, {repaired} repaired"),
        (errors, leaks, repaired) => format!("{errors} errors, {leaks} leaks, {repaired} repaired"),
    };
    output::line(format_args!("{}: {format}, {summary}", path.display()));
}
