//! Every fuzz target over its corpus in `fixtures/fuzz`, under a stable compiler and without libFuzzer.

use std::fs;
use std::path::PathBuf;

use lunkeep_tests::fuzz::{TARGETS, Target};

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/fuzz").join(target.name)
}

#[test]
fn every_input_of_every_corpus_passes() {
    for target in TARGETS {
        let mut inputs: Vec<_> =
            fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for path in inputs {
            println!("{}", path.display()); // The last line of a failed run names the culprit.
            (target.body)(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn the_seeds_in_the_corpora_are_those_of_the_code() {
    for target in TARGETS {
        for (name, bytes) in (target.seeds)() {
            let path = folder(target).join(&name);
            if std::env::var_os("LUNKEEP_WRITE_SEEDS").is_some() {
                fs::create_dir_all(folder(target)).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            let stored = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; {HOW}", path.display()));
            assert!(stored == bytes, "{} is not what the code makes; {HOW}", path.display());
        }
    }
}

const HOW: &str = "LUNKEEP_WRITE_SEEDS=1 cargo test -p lunkeep-tests --test corpora writes the seeds";

#[test]
fn every_target_has_its_wrapper_and_every_corpus_its_target() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    names.sort();
    let listed = |folder: &str, suffix: &str| {
        let mut found: Vec<String> = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .map(|name| name.trim_end_matches(suffix).to_owned())
            .collect();
        found.sort();
        found
    };
    assert_eq!(listed("fuzz/fuzz_targets", ".rs"), names);
    assert_eq!(listed("../fixtures/fuzz", ""), names);
    let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml does not build {name}");
    }
}
