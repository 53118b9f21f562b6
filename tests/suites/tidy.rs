//! Rules about the source tree itself: the import direction, the build folder, text that must not be in it, and the
//! packages that it depends on.
//!
//! Each rule is a function from text to a list of violations, so that a test beside it can feed it a bad snippet: a rule
//! that cannot fail protects nothing. The tests here apply the rules to the tree as it is.

mod tidy {
    pub(crate) mod build_folder;
    pub(crate) mod floors;
    pub(crate) mod packages;
    pub(crate) mod source;
    pub(crate) mod text;
}

use std::fs;

use tidy::source::{self, Tree};
use tidy::{build_folder, floors, packages, text};

/// Fails with all violations at once: one run shows everything that is to be mended.
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn imports_go_down_only() {
    let tree = Tree::read();
    let files: Vec<_> = tree.files.iter().filter_map(floors::SourceFile::of).collect();
    assert!(files.len() > 20, "only {} source files found: the walk is broken", files.len());
    assert_none(&floors::violations(&files));
}

#[test]
fn architecture_md_shows_the_floors_that_are_enforced() {
    let page = fs::read_to_string(source::root().join("ARCHITECTURE.md")).unwrap();
    assert_none(&floors::table_violations(&page));
}

#[test]
fn build_output_never_lands_in_the_crate_folder() {
    let root = source::root();
    let tmpdir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert_none(&build_folder::output_violations(&root, tmpdir));
    assert_none(&build_folder::config_violations(
        &fs::read_to_string(root.join(".cargo/config.toml")).unwrap_or_default(),
    ));
    assert_none(&build_folder::ignore_violations(&fs::read_to_string(root.join(".gitignore")).unwrap()));
    let folders: Vec<_> = Tree::read()
        .files
        .iter()
        .filter_map(|file| file.path.parent().map(std::path::Path::to_path_buf))
        .collect();
    assert_none(&build_folder::folder_violations(&folders));
}

#[test]
fn sources_hold_no_unfinished_code_and_no_path_of_one_machine() {
    let mut violations = Vec::new();
    for file in &Tree::read().files {
        violations.extend(text::machine_path_violations(&file.name(), &file.text));
        if file.is_rust() {
            violations.extend(text::unfinished_violations(&file.name(), &file.text));
        }
    }
    assert_none(&violations);
}

#[test]
fn source_files_hold_one_idea_and_say_which() {
    let mut violations = Vec::new();
    for file in Tree::read().files.iter().filter(|file| file.is_rust()) {
        violations.extend(text::length_violations(&file.name(), &file.text));
        violations.extend(text::module_doc_violations(&file.name(), &file.text));
    }
    assert_none(&violations);
}

#[test]
fn the_lock_file_is_committed_and_names_only_the_public_registry() {
    let root = source::root();
    assert_none(&packages::lock_violations(&fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default()));
    if !root.join(".git").exists() {
        return lunkeep_tests::report::skip("committed", "this is no git checkout");
    }
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "--error-unmatch", "Cargo.lock"]).current_dir(&root);
    match git.output() {
        Ok(tracked) => assert!(tracked.status.success(), "Cargo.lock is not committed: {tracked:?}"),
        Err(error) => lunkeep_tests::report::skip("committed", &format!("git does not run: {error}")),
    }
}

#[test]
fn dependencies_have_permissive_licences() {
    assert_none(&packages::licence_violations(&packages::metadata()));
}

#[test]
fn common_depends_on_no_runtime_clock_or_randomness() {
    assert_none(&packages::common_violations(&packages::metadata()));
}
