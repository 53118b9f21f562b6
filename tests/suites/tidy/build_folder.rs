//! The crate in `target/` is source code, so Cargo's build folder must be elsewhere: with Cargo's default, `cargo clean`
//! deletes the crate. CONTRIBUTING.md, "The build folder", tells the whole story.

use std::path::{Path, PathBuf};

/// Names that `.gitignore` hides below `target/` because Cargo would write them there: a source folder of such a name would
/// be left out of every commit without a word.
const HIDDEN: &[&str] = &["debug", "release", "doc", "package", "tmp", "nextest"];

/// `tmpdir` is Cargo's folder for test files, inside the build folder.
pub(crate) fn output_violations(root: &Path, tmpdir: &Path) -> Vec<String> {
    let inside = tmpdir.starts_with(root.join("target"));
    inside
        .then(|| format!("build output lands in the crate folder: {}", tmpdir.display()))
        .into_iter()
        .collect()
}

/// `.cargo/config.toml` must move the build folder.
pub(crate) fn config_violations(text: &str) -> Vec<String> {
    let mut in_build = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_build = line == "[build]";
        }
        if in_build
            && line
                .split_once('=')
                .is_some_and(|(key, value)| key.trim() == "target-dir" && value.trim() == "\".build\"")
        {
            return Vec::new();
        }
    }
    vec![".cargo/config.toml must set [build] target-dir = \".build\"".to_owned()]
}

/// `.gitignore` must not hide the crate folder, as the line that `cargo new` writes would.
pub(crate) fn ignore_violations(text: &str) -> Vec<String> {
    let hides = |line: &&str| {
        matches!(line.trim(), "target" | "/target" | "target/" | "/target/" | "**/target" | "**/target/")
    };
    text.lines().filter(hides).map(|line| format!(".gitignore hides the crate folder: `{line}`")).collect()
}

/// `folders` are paths from the root.
pub(crate) fn folder_violations(folders: &[PathBuf]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for folder in folders {
        let Ok(inside) = folder.strip_prefix("target") else { continue };
        let first = inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
        if first.is_some_and(|name| HIDDEN.contains(&name.as_str())) {
            found.push(format!(
                "{}: Cargo's build folders have that name, and .gitignore hides it",
                folder.display()
            ));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn output_inside_the_crate_folder_is_found() {
    let root = Path::new("/checkout");
    assert_eq!(output_violations(root, Path::new("/checkout/target/tmp")).len(), 1);
    assert!(output_violations(root, Path::new("/checkout/.build/tmp")).is_empty());
}

#[test]
fn a_config_without_the_build_folder_is_found() {
    assert_eq!(config_violations("").len(), 1);
    assert_eq!(config_violations("[net]\ntarget-dir = \".build\"").len(), 1);
    assert_eq!(config_violations("[build]\n# target-dir = \".build\"").len(), 1);
    assert!(config_violations("[build]\ntarget-dir = \".build\"\n").is_empty());
}

#[test]
fn an_ignore_line_for_the_crate_folder_is_found() {
    assert_eq!(ignore_violations("/.build/\n/target\n").len(), 1);
    assert!(ignore_violations("/.build/\n/target/debug/\n").is_empty());
}

#[test]
fn a_source_folder_with_a_hidden_name_is_found() {
    assert_eq!(
        folder_violations(&["target/debug/x".into(), "target/src/debug".into(), "common/doc".into()]).len(),
        1
    );
}
