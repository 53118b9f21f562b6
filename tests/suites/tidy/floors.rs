//! The import direction: a module names only modules of its own floor and of the floors below.
//!
//! What counts as naming: `crate::x`, `lunkeep_common::x`, and `super::…::x` that climbs to the crate root, in `use` lines (with
//! groups) and in paths alike. The crate root (`lib.rs`, `main.rs`) may name everything. Macros that assemble paths from
//! pieces would escape; the tree has none.

use std::collections::BTreeSet;

use super::source::{File, code_only};

/// Floors from the ground up, as ARCHITECTURE.md shows them.
const FLOORS: [&[&str]; 6] = [
    &["serial", "name", "limits"],
    &["pdu", "text", "scsi"],
    &["login", "window"],
    &["session", "device", "claim", "image"],
    &["engine", "store"],
    &["cli", "daemon", "node"],
];

/// The floor whose modules never name each other: the state machines are joined by the engine alone.
const NO_NEIGHBOURS: usize = 3;

/// Modules that ARCHITECTURE.md's table leaves out for brevity, with their floor: the initiator's typed SCSI operations
/// are a state machine's vocabulary, and its conformance suites stand on its engine.
const UNLISTED: &[(&str, usize)] = &[("commands", 3), ("conformance", 4)];

const CRATES: [&str; 3] = ["common", "target", "initiator"];

fn floor_of(module: &str) -> Option<usize> {
    let listed = FLOORS.iter().position(|floor| floor.contains(&module));
    listed.or_else(|| UNLISTED.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor))
}

/// A source file of one of the three crates.
pub(crate) struct SourceFile {
    name: String,
    krate: &'static str,
    /// Path of the module below the crate root; empty for the root itself.
    module: Vec<String>,
    code: String,
}

impl SourceFile {
    /// `None` for files that are not under a crate's `src`.
    pub(crate) fn of(file: &File) -> Option<Self> {
        if !file.is_rust() {
            return None;
        }
        Self::new(file.path.to_str()?, &file.text)
    }

    fn new(name: &str, text: &str) -> Option<Self> {
        let (krate, path) = CRATES.iter().find_map(|krate| {
            let path = name.strip_prefix(krate)?.strip_prefix("/src/")?;
            Some((*krate, path))
        })?;
        let mut module: Vec<String> = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        Some(Self { name: name.to_owned(), krate, module, code: code_only(text) })
    }
}

/// A module of a crate as some file names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    krate: String,
    module: String,
    line: usize,
}

/// Everything that is wrong with the imports of `files`.
pub(crate) fn violations(files: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    let mut sideways = BTreeSet::new();
    for file in files {
        let Some(own) = file.module.first() else { continue };
        let Some(own_floor) = floor_of(own) else {
            found.push(format!(
                "{}: module `{own}` is on no floor; add it to ARCHITECTURE.md and to this test",
                file.name
            ));
            continue;
        };
        for reference in references(file) {
            let Reference { krate, module, line } = &reference;
            let at = format!("{}:{line}", file.name);
            if krate != file.krate && krate != "common" {
                found.push(format!("{at}: `{}` must not import `lunkeep_{krate}`", file.krate));
                continue;
            }
            let Some(floor) = floor_of(module) else {
                found.push(format!(
                    "{at}: `{module}` is no module on a floor; name the module that defines it"
                ));
                continue;
            };
            if krate == file.krate && module == own {
                continue;
            }
            if floor > own_floor {
                found.push(format!(
                    "{at}: `{own}` (floor {own_floor}) imports `{module}` (floor {floor}): upwards"
                ));
            } else if floor == own_floor
                && floor == NO_NEIGHBOURS
                && krate == file.krate
                && !is_vocabulary(module)
            {
                found.push(format!("{at}: `{own}` imports its neighbour `{module}` on floor {floor}"));
            } else if floor == own_floor && krate == file.krate {
                sideways.insert((file.krate, own.clone(), module.clone()));
            }
        }
    }
    for (krate, a, b) in &sideways {
        if a < b && sideways.contains(&(*krate, b.clone(), a.clone())) {
            found.push(format!("{krate}: `{a}` and `{b}` on one floor import each other"));
        }
    }
    found
}

fn is_vocabulary(module: &str) -> bool {
    UNLISTED.iter().any(|(name, _)| *name == module)
}

/// Modules that `file` names, in order of lines.
fn references(file: &SourceFile) -> Vec<Reference> {
    let tokens = tokens(&file.code);
    let word = |at: usize| tokens.get(at).map(|(_, token)| token.as_str());
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        if start > 0 && word(start - 1) == Some("::") {
            continue;
        }
        let (krate, mut path) = match word(start) {
            Some("crate") => (file.krate.to_owned(), start + 1),
            Some("super") => {
                let mut climbed = 1;
                let mut path = start + 1;
                while word(path) == Some("::") && word(path + 1) == Some("super") {
                    (climbed, path) = (climbed + 1, path + 2);
                }
                // Inline modules make the climb shorter than it looks; a climb that may reach the root counts when it
                // names a module of the tree.
                if climbed < file.module.len() {
                    continue;
                }
                (file.krate.to_owned(), path)
            }
            Some(name) if name.starts_with("lunkeep_") => {
                (name.trim_start_matches("lunkeep_").to_owned(), start + 1)
            }
            _ => continue,
        };
        if word(path) != Some("::") {
            continue;
        }
        path += 1;
        let climbing = word(start) == Some("super");
        for (line, module) in heads(&tokens, path) {
            if !climbing || floor_of(&module).is_some() {
                found.push(Reference { krate: krate.clone(), module, line });
            }
        }
    }
    found
}

/// The first path components at `at`: one identifier, or those of a `{…}` group.
fn heads(tokens: &[(usize, String)], at: usize) -> Vec<(usize, String)> {
    let Some((line, token)) = tokens.get(at) else { return Vec::new() };
    if token != "{" {
        return vec![(*line, token.clone())];
    }
    let (mut depth, mut heads, mut expects_head) = (0_usize, Vec::new(), false);
    for (line, token) in &tokens[at..] {
        match token.as_str() {
            "{" => {
                depth += 1;
                expects_head = depth == 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            "," => expects_head = depth == 1,
            _ if expects_head => {
                heads.push((*line, token.clone()));
                expects_head = false;
            }
            _ => {}
        }
    }
    heads
}

/// Identifiers, `::` and single other characters, each with its line (from 1).
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let end = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push((line + 1, rest[..end].to_owned()));
            rest = rest[end..].trim_start();
        }
    }
    found
}

/// Differences between the table of ARCHITECTURE.md (`N  module, module   what`) and the floors that are enforced.
pub(crate) fn table_violations(page: &str) -> Vec<String> {
    let mut shown: Vec<(usize, BTreeSet<&str>)> = Vec::new();
    for line in page.lines() {
        let Some((number, rest)) = line.split_once("  ") else { continue };
        let Ok(floor) = number.parse::<usize>() else { continue };
        let names = rest.split("  ").next().unwrap_or_default();
        shown.push((floor, names.split(',').map(str::trim).collect()));
    }
    let enforced: Vec<(usize, BTreeSet<&str>)> = FLOORS
        .iter()
        .enumerate()
        .rev()
        .map(|(floor, names)| (floor, names.iter().copied().collect()))
        .collect();
    if shown == enforced {
        Vec::new()
    } else {
        vec![format!("ARCHITECTURE.md shows {shown:?}\nthis test enforces {enforced:?}")]
    }
}

#[cfg(test)]
mod tests {
    use super::{SourceFile, table_violations, violations};

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(name, text)| SourceFile::new(name, text).unwrap()).collect();
        violations(&files)
    }

    #[test]
    fn an_import_that_goes_up_is_found_in_every_way_of_writing_it() {
        for text in [
            "use crate::engine::Portal;",
            "use crate::{limits, engine::Portal};",
            "use crate::{\n    limits::{self, A},\n    engine,\n};",
            "fn f() -> crate::engine::Portal { todo() }",
            "pub(crate) use crate :: engine;",
            "use super::engine;",
            "use super::super::engine::Portal;",
            "mod tests { use crate::daemon::Config; }",
            "use crate::Reexported;",
        ] {
            assert_eq!(check(&[("target/src/session/mod.rs", text)]).len(), 1, "{text}");
        }
        assert_eq!(check(&[("target/src/device/inquiry.rs", "use super::super::engine::X;")]).len(), 1);
        assert_eq!(check(&[("common/src/pdu/nop.rs", "use crate::login::Stage;")]).len(), 1);
    }

    #[test]
    fn state_machines_never_import_their_neighbours() {
        assert_eq!(check(&[("target/src/device/mod.rs", "use crate::session::Event;")]).len(), 1);
        assert_eq!(check(&[("target/src/device/mod.rs", "use crate::image::Disk;")]).len(), 1);
        assert_eq!(check(&[("target/src/session/mod.rs", "use crate::device::Step;")]).len(), 1);
    }

    #[test]
    fn the_crates_import_common_and_nothing_else_of_ours() {
        assert_eq!(check(&[("initiator/src/engine/mod.rs", "use lunkeep_target::limits::X;")]).len(), 1);
        assert_eq!(check(&[("target/src/cli.rs", "use lunkeep_initiator::limits;")]).len(), 1);
        assert_eq!(check(&[("common/src/login/mod.rs", "use lunkeep_target::limits;")]).len(), 1);
        assert!(
            check(&[("target/src/session/mod.rs", "use lunkeep_common::{pdu::Pdu, login, window};")])
                .is_empty()
        );
    }

    #[test]
    fn two_modules_of_one_floor_never_import_each_other() {
        let one_way = ("target/src/engine/mod.rs", "use crate::store::Identity;");
        assert!(check(&[one_way]).is_empty());
        assert_eq!(check(&[one_way, ("target/src/store/mod.rs", "use crate::engine::X;")]).len(), 1);
    }

    #[test]
    fn a_module_without_a_floor_is_named() {
        let found = check(&[("target/src/misc/mod.rs", "")]);
        assert!(found.len() == 1 && found[0].contains("`misc`"), "{found:?}");
    }

    #[test]
    fn what_goes_down_or_stays_inside_is_fine() {
        let text = "use crate::session::task::Task; use crate::limits; use super::task; // crate::engine\n\
                    const S: &str = \"crate::engine\"; use std::sync::Arc; use self::x::{crate_like, y};";
        assert!(
            check(&[("target/src/session/mod.rs", text), ("target/src/lib.rs", "pub use crate::engine::X;")])
                .is_empty()
        );
    }

    #[test]
    fn a_table_that_differs_is_found() {
        let page = "5  cli, daemon, node              policy\n4  engine, store                  tokio\n";
        assert_eq!(table_violations(page).len(), 1);
    }
}
