//! What the workspace depends on: licences, registry, and the purity of `lunkeep-common`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::source;

/// Licences under which a dependency may be linked into a program under MIT or Apache-2.0 (SPDX identifiers).
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that bring a runtime, a clock, sockets or randomness: `lunkeep-common` takes these as arguments.
const IMPURE: &[&str] = &[
    "async-std",
    "chrono",
    "fastrand",
    "getrandom",
    "mio",
    "rand",
    "rand_core",
    "rustix",
    "smol",
    "socket2",
    "time",
    "tokio",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// `cargo metadata` of the workspace for this host (other platforms' packages may not be downloaded).
pub(crate) fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc -vV names its host");
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host])
        .current_dir(source::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Packages of `metadata` whose licence is not on the list.
pub(crate) fn licence_violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 3, "cargo metadata lists only {} packages", packages.len());
    packages
        .iter()
        .filter(|package| !permitted(text(package, "license")))
        .map(|package| {
            let (name, version, licence) =
                (text(package, "name"), text(package, "version"), text(package, "license"));
            format!("{name} {version}: licence `{licence}` is not on the list")
        })
        .collect()
}

/// Whether an SPDX expression can be met with licences of the list alone. `A/B` is the old way to write `A OR B`.
fn permitted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any_of(&words, &mut at);
    result && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut result = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        // Not `||`, which would leave the rest unread.
        result |= all_of(words, at);
    }
    result
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut result = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at);
    }
    result
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let result = any_of(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return result && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return ALLOWED.contains(&format!("{word} WITH {exception}").as_str());
    }
    ALLOWED.contains(word)
}

/// Packages that `lunkeep-common` reaches (tests aside) and must not.
pub(crate) fn common_violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    let nodes = metadata["resolve"]["nodes"].as_array().expect("resolve");
    let name_of = |id: &str| {
        packages.iter().find(|package| package["id"] == id).map_or("", |package| text(package, "name"))
    };
    let common = packages
        .iter()
        .find(|package| package["name"] == "lunkeep-common")
        .expect("lunkeep-common is a member");
    let mut seen = BTreeSet::from([text(common, "id").to_owned()]);
    let mut open: Vec<String> = seen.iter().cloned().collect();
    while let Some(id) = open.pop() {
        let Some(node) = nodes.iter().find(|node| node["id"] == id.as_str()) else { continue };
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let linked =
                dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null());
            let id = text(dependency, "pkg").to_owned();
            if linked && seen.insert(id.clone()) {
                open.push(id);
            }
        }
    }
    seen.iter()
        .map(|id| name_of(id))
        .filter(|name| IMPURE.contains(name))
        .map(|name| format!("lunkeep-common reaches `{name}`: take what it gives as an argument"))
        .collect()
}

/// A lock file must be there and must name no other registry than the public one.
pub(crate) fn lock_violations(lock: &str) -> Vec<String> {
    let sources: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    if sources.is_empty() {
        return vec!["Cargo.lock is missing or empty".to_owned()];
    }
    let foreign = sources.iter().filter(|source| source.trim_matches('"') != REGISTRY);
    foreign.map(|source| format!("Cargo.lock names another source: {source}")).collect()
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(permitted(good), "{good}");
    }
    for bad in
        ["", "GPL-3.0", "MIT AND GPL-2.0", "(MIT OR ISC) AND LGPL-3.0", "(MIT", "MIT GPL-2.0", "MIT WITH x"]
    {
        assert!(!permitted(bad), "{bad}");
    }
}

#[test]
fn a_package_with_a_copyleft_licence_is_named() {
    let package =
        |name: &str, licence: &str| serde_json::json!({"name": name, "version": "1.0.0", "license": licence});
    let packages =
        vec![package("a", "MIT"), package("b", "MIT"), package("c", "ISC"), package("left", "GPL-3.0-only")];
    let found = licence_violations(&serde_json::json!({ "packages": packages }));
    assert!(found.len() == 1 && found[0].starts_with("left 1.0.0"), "{found:?}");
}

#[test]
fn an_impure_package_is_found_through_others_but_not_among_test_dependencies() {
    let package = |name: &str| serde_json::json!({"name": name, "id": name});
    let dependency =
        |name: &str, kind: Value| serde_json::json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
    let metadata = |kind: Value| {
        serde_json::json!({
            "packages": [package("lunkeep-common"), package("middle"), package("tokio")],
            "resolve": {"nodes": [
                {"id": "lunkeep-common", "deps": [dependency("middle", kind)]},
                {"id": "middle", "deps": [dependency("tokio", Value::Null)]},
                {"id": "tokio", "deps": []},
            ]},
        })
    };
    assert_eq!(common_violations(&metadata(Value::Null)).len(), 1);
    assert!(common_violations(&metadata("dev".into())).is_empty());
}

#[test]
fn a_lock_file_that_names_another_source_is_found() {
    assert_eq!(lock_violations("").len(), 1);
    assert_eq!(lock_violations("source = \"git+https://example.com/x\"").len(), 1);
    assert!(lock_violations(&format!("source = \"{REGISTRY}\"")).is_empty());
}
