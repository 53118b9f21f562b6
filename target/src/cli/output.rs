//! The only place that prints. Results go to standard output, errors and notes to standard error.
//!
//! A reader that went away (`lunkeep-target ... | head`) is not an error: what it did not want is dropped.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints `text` and a line end to standard output, at once.
pub fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints `document` as JSON to standard output.
///
/// # Errors
/// When it cannot be JSON.
pub fn json(document: &impl serde::Serialize) -> Result<(), String> {
    line(serde_json::to_string_pretty(document).map_err(|e| e.to_string())?);
    Ok(())
}

/// Prints `error: text` to standard error.
pub fn error(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "error: {text}"));
}

/// Prints `note: text` to standard error.
pub fn note(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "note: {text}"));
}
