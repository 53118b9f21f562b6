//! The command line.

use std::process::ExitCode;

/// Runs `lunkeep-target` with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
