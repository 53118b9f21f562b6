//! Other people's programs: QEMU, libiscsi's tools, tgt. `tests/run` installs them; where one is missing, the test is skipped by
//! name.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::report;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent")
}

/// Where `program` is: among the tools that `tests/run` unpacked, in `PATH`, or in a folder for daemons.
pub fn find(program: &str) -> Option<PathBuf> {
    let unpacked = root().join(".build/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(unpacked)
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Whether every one of `programs` is there; if not, the running test is reported as skipped.
pub fn available(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if !missing.is_empty() {
        report::skip("", &format!("{} not found; tests/run installs it", missing.join(", ")));
    }
    missing.is_empty()
}

/// A command line that begins with `program`.
///
/// # Panics
/// When the program is missing: ask [`available`] first.
pub fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| panic!("{program} not found")))
}
