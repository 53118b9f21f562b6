//! What no file may hold, and what every source file must say.

use super::source::code_only;

/// Longest source file, in lines: beyond it a file holds more than one idea.
const MAX_LINES: usize = 800;

/// What stands for code that is not written yet, was left from a search for a fault, or hides a test from the table that
/// `tests/run` prints (a long test asks the harness instead, which says that it was skipped and why).
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Starts of paths that exist on one machine only. In pieces, since this file is searched too.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tmp/", "wt")];

pub(crate) fn unfinished_violations(name: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for word in UNFINISHED {
            let ends_word = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if line.match_indices(word).any(|(at, _)| !ends_word(at)) {
                found.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    found
}

pub(crate) fn machine_path_violations(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS {
            // After a name the text is part of a relative path.
            let relative =
                |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.)}".contains(c));
            if line.match_indices(path).any(|(at, _)| !relative(at)) {
                found.push(format!("{name}:{}: a path of one machine: {path}", number + 1));
            }
        }
    }
    found
}

pub(crate) fn length_violations(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    (lines > MAX_LINES).then(|| format!("{name}: {lines} lines, at most {MAX_LINES}")).into_iter().collect()
}

/// Every module begins by saying what it is; a shebang line may stand before it.
pub(crate) fn module_doc_violations(name: &str, text: &str) -> Vec<String> {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    let documented = first.is_some_and(|line| line.starts_with("//!"));
    (!documented)
        .then(|| format!("{name}: begins without a `//!` line that says what it is"))
        .into_iter()
        .collect()
}

#[test]
fn unfinished_code_is_found_and_words_in_comments_are_not() {
    let bad = [
        concat!("fn f() { to", "do!() }"),
        concat!("x\nd", "bg!(x);"),
        concat!("std::unimple", "mented!(\"later\")"),
    ];
    for text in bad {
        assert_eq!(unfinished_violations("f.rs", text).len(), 1, "{text}");
    }
    assert!(unfinished_violations("f.rs", "// todo!()\nlet s = \"dbg!\"; my_dbg!(s);").is_empty());
}

#[test]
fn a_machine_path_is_found_wherever_it_stands() {
    let bad = [
        concat!("cd /wo", "rk/x"),
        concat!("\"/ho", "me/someone\""),
        concat!("// see /ro", "ot/.cargo"),
        concat!("/tmp/", "wt/a"),
    ];
    for text in bad {
        assert_eq!(machine_path_violations("f", text).len(), 1, "{text}");
    }
    assert!(
        machine_path_violations("f", concat!("tests/wo", "rk/x, $top/ho", "memade, ./ro", "ot/x")).is_empty()
    );
}

#[test]
fn a_file_that_is_too_long_is_found() {
    assert_eq!(length_violations("f.rs", &"\n".repeat(MAX_LINES + 1)).len(), 1);
    assert!(length_violations("f.rs", &"\n".repeat(MAX_LINES)).is_empty());
}

#[test]
fn a_module_that_does_not_say_what_it_is_is_found() {
    assert_eq!(module_doc_violations("f.rs", "use std::fmt;\n//! Late.").len(), 1);
    assert_eq!(module_doc_violations("f.rs", "").len(), 1);
    assert!(module_doc_violations("f.rs", "\n//! What it is.\n").is_empty());
}
