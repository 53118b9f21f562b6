//! The image commands, called as functions.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    image: ImageArgs,
}

fn parse(args: &[&str], paths: &[&Path]) -> Command {
    let words = ["image"].iter().chain(args).map(OsString::from).chain(paths.iter().map(|p| p.into()));
    Program::try_parse_from(words).unwrap().image.command
}

fn execute(args: &[&str], paths: &[&Path]) -> Result<(), String> {
    match parse(args, paths) {
        Command::Create(args) => create::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Check(args) => match check::check(&args) {
            check::CheckExit::Sound => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Command::Convert(args) => convert::convert(&args, &AtomicBool::new(false)),
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn a_new_image_is_sound_and_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in
        [("a.vhd", ""), ("b.vhd", "--fixed"), ("c.raw", ""), ("d.img", "--fixed"), ("e", "--format=vhd")]
    {
        let path = folder.path().join(name);
        let args: Vec<&str> = ["create", "--size=1.5M", more].into_iter().filter(|a| !a.is_empty()).collect();
        execute(&args, &[&path]).unwrap();
        execute(&["info"], &[&path]).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(execute(&args, &[&path]).unwrap_err().contains("exists already"), "{name}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        execute(&["check"], &[&path]).unwrap();
    }
    assert_eq!(names(folder.path()).len(), 5, "no temporary file is left");
}

#[test]
fn what_cannot_be_made_names_the_option_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    for (args, word) in [
        (&["create", "--size=1000"][..], "size 1000"),
        (&["create", "--size=3000G"], "size"),
        (&["create", "--size=1G", "--sector-size=4096"], "sector size 4096"),
        (&["create", "--size=1G", "--block-size=3M"], "block size"),
        (&["create", "--size=1G", "--block-size=2M", "--fixed"], "block size"),
    ] {
        let error = execute(args, &[&path]).unwrap_err();
        assert!(error.contains(word) && error.contains("a.vhd"), "{args:?}: {error}");
    }
    let error = execute(&["create", "--size=1G"], &[&folder.path().join("a.qcow2")]).unwrap_err();
    assert!(error.contains("--format"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_copy_has_the_same_content_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut bytes = vec![0; 3 << 20];
    for (at, fill) in [(0, 1), (4096, 2), (1 << 20, 3), ((3 << 20) - 512, 4)] {
        bytes[at..at + 512].fill(fill);
    }
    std::fs::write(path("a.raw"), &bytes).unwrap();
    for (from, to, more) in [
        ("a.raw", "b.vhd", &[][..]),
        ("b.vhd", "c.vhd", &["--fixed"]),
        ("c.vhd", "d.vhd", &["--block-size=4096"]),
        ("d.vhd", "e.raw", &[]),
    ] {
        execute(&[&["convert"], more].concat(), &[&path(from), &path(to)]).unwrap();
        execute(&["check"], &[&path(to)]).unwrap();
    }
    assert!(std::fs::read(path("e.raw")).unwrap() == bytes);
    let small = std::fs::metadata(path("d.vhd")).unwrap().len();
    assert!(small < 64 << 10, "{small} bytes for four blocks");
    let error = execute(&["convert"], &[&path("a.raw"), &path("b.vhd")]).unwrap_err();
    assert!(error.contains("--force"), "{error}");
    execute(&["convert", "--force"], &[&path("a.raw"), &path("b.vhd")]).unwrap();
    let error = execute(&["convert", "--force"], &[&path("b.vhd"), &path("b.vhd")]).unwrap_err();
    assert!(error.contains("in use"), "a copy onto itself: {error}");
    assert_eq!(names(folder.path()).len(), 5, "no temporary file is left");
}

#[test]
fn an_interrupted_copy_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.raw"), folder.path().join("b.vhd"));
    std::fs::write(&from, vec![1; 1 << 20]).unwrap();
    let Command::Convert(args) = parse(&["convert"], &[&from, &to]) else { panic!("not a convert") };
    let error = convert::convert(&args, &AtomicBool::new(true)).unwrap_err();
    assert!(error.contains("interrupted"), "{error}");
    assert_eq!(names(folder.path()), [from]);
}

#[test]
fn checks_end_as_those_of_qemu_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    execute(&["create", "--size=1M"], &[&path]).unwrap();
    let exit = |args: &[&str], path: &Path| match parse(args, &[path]) {
        Command::Check(args) => check::check(&args),
        _ => panic!("not a check"),
    };
    assert_eq!(exit(&["check"], &path), check::CheckExit::Sound);
    let good = std::fs::read(&path).unwrap();
    // A tail that nothing refers to, with the footer behind it.
    let footer = good[..512].to_vec();
    std::fs::write(&path, [&good[..], &[7; 1 << 20], &footer].concat()).unwrap();
    assert_eq!(exit(&["check"], &path), check::CheckExit::Leaks);
    assert_eq!(exit(&["check", "--repair", "--json"], &path), check::CheckExit::Sound);
    assert_eq!(exit(&["check"], &path), check::CheckExit::Sound);
    // A table that points at the header.
    let mut bad = good;
    bad[1536..1540].copy_from_slice(&[0, 0, 0, 1]);
    std::fs::write(&path, &bad).unwrap();
    assert_eq!(exit(&["check"], &path), check::CheckExit::Damaged);
    assert_eq!(exit(&["check", "--repair"], &path), check::CheckExit::Damaged);
    std::fs::write(&path, b"QFI\xfb").unwrap();
    assert_eq!(exit(&["check"], &path), check::CheckExit::Unsupported);
    assert_eq!(exit(&["check"], &folder.path().join("absent.vhd")), check::CheckExit::Failed);
}
