//! What a test tells the reader of `tests/run` besides passing and failing: that it was skipped and why, and tables.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// Name of the running test: libtest names the thread after it.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("main").to_owned()
}

/// Says that the running test, or the part `what` of it, does not run here. `tests/run` collects these lines in its table; a
/// test that returns early without calling this would count as passed.
pub fn skip(what: &str, reason: &str) {
    let name = if what.is_empty() { test_name() } else { format!("{} ({what})", test_name()) };
    println!("SKIPPED {name}: {reason}");
    append("LUNKEEP_SKIPS", "", &format!("{name}\t{reason}\n"));
}

/// Prints `text` and leaves it for the summary of `tests/run` under `name`.
pub fn table(name: &str, text: &str) {
    println!("{text}");
    append("LUNKEEP_REPORTS", name, &format!("{}\n", text.trim_end()));
}

/// Whether the long variants of the suites were asked for (`tests/run --full`).
pub fn full() -> bool {
    std::env::var_os("LUNKEEP_FULL").is_some()
}

fn append(variable: &str, file: &str, text: &str) {
    let Some(path) = std::env::var_os(variable) else { return };
    let mut path = PathBuf::from(path);
    if !file.is_empty() {
        path.push(file);
    }
    // One write call, so that the lines of tests that run side by side do not mix.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
