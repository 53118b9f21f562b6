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
        Command::Create(args) => create::create(&args, &AtomicBool::new(false)),
        Command::Info(args) => info::run(&args),
        Command::Check(args) => match check::check(&args) {
            check::CheckExit::Sound => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Command::Convert(args) => convert::convert(&args, &AtomicBool::new(false)),
        Command::Map(args) => tools::map(&args),
        Command::Compare(args) => tools::compare(&args, &AtomicBool::new(false)),
        Command::Digest(args) => tools::digest(&args, &AtomicBool::new(false)),
        Command::Resize(args) => tools::resize(&args, &AtomicBool::new(false)),
        Command::Compact(args) => tools::compact(&args, &AtomicBool::new(false)),
        Command::Snapshot(args) => snapshot::snapshot(&args, &AtomicBool::new(false)),
        Command::Reset(args) => snapshot::reset(&args, &AtomicBool::new(false)),
        Command::Merge(args) => snapshot::merge(&args, &AtomicBool::new(false)),
        Command::Rebase(args) => rebase::rebase(&args, &AtomicBool::new(false)),
        Command::Measure(args) => measure::measure(&args, &AtomicBool::new(false)),
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
    assert!(error.contains("not made"), "{error}");
    let error = execute(&["create", "--size=1G"], &[&folder.path().join("a.vmdk")]).unwrap_err();
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
    std::fs::write(&path, b"KDMV\x01\0\0\0").unwrap();
    assert_eq!(exit(&["check"], &path), check::CheckExit::Unsupported);
    assert_eq!(exit(&["check"], &folder.path().join("absent.vhd")), check::CheckExit::Failed);
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    use crate::image::Access;
    let opened = open::open(path, None, Access::ReadWrite, &open::ParentArgs::default())
        .map_err(|e| e.message)
        .unwrap();
    let disk = opened.disk(Access::ReadWrite).unwrap();
    disk.write_at(&[std::io::IoSlice::new(bytes)], at).unwrap();
    disk.close().unwrap();
}

#[test]
fn the_life_of_a_disk_with_snapshots() {
    for extension in ["vhd", "vhdx"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(format!("{name}.{extension}"));
        let active = path("disk");
        execute(&["create", "--size=8M"], &[&active]).unwrap();
        write(&active, 0, &[1; 4096]);
        execute(&["snapshot"], &[&active]).unwrap();
        write(&active, 4096, &[2; 4096]);
        execute(&["snapshot", "--name=two"], &[&active]).unwrap();
        write(&active, 512, &[3; 512]);
        for image in ["disk", "disk.two", "disk.1"] {
            execute(&["check"], &[&path(image)]).unwrap();
            execute(&["info", "--json"], &[&path(image)]).unwrap();
        }
        let whole = folder.path().join("whole.raw");
        execute(&["convert"], &[&active, &whole]).unwrap();
        let raw = std::fs::read(&whole).unwrap();
        assert_eq!((raw[0], raw[512], raw[1024], raw[4096], raw[8192]), (1, 3, 1, 2, 0), "{extension}");
        execute(&["map"], &[&active]).unwrap();
        // A parent that is in use by another process' child, or is one's own, is left alone.
        let error = execute(&["snapshot", "--name=two"], &[&active]).unwrap_err();
        assert!(error.contains("exists already"), "{error}");
        execute(&["merge", "--replace"], &[&active]).unwrap();
        execute(&["compare"], &[&active, &whole]).unwrap();
        assert!(!path("disk.two").exists());
        write(&active, 0, &[9; 512]);
        let error = execute(&["compare"], &[&active, &whole]).unwrap_err();
        assert!(error.contains("differs first at byte 0"), "{error}");
        execute(&["reset"], &[&active]).unwrap();
        execute(&["compare"], &[&active, &path("disk.1")]).unwrap();
        execute(&["merge"], &[&active]).unwrap();
        execute(&["check"], &[&active]).unwrap();
        assert!(execute(&["merge"], &[&path("disk.1")]).unwrap_err().contains("no parent"));
        assert_eq!(names(folder.path()).len(), 3, "no temporary file is left");
    }
}

#[test]
fn disks_grow_and_shrink_and_keep_their_content() {
    for (name, more) in
        [("a.vhd", ""), ("b.vhd", "--fixed"), ("c.vhd", "--block-size=4096"), ("d.vhdx", ""), ("e.raw", "")]
    {
        let folder = tempfile::tempdir().unwrap();
        let (image, before) = (folder.path().join(name), folder.path().join("before.raw"));
        let args: Vec<&str> = ["create", "--size=3M", more].into_iter().filter(|a| !a.is_empty()).collect();
        execute(&args, &[&image]).unwrap();
        write(&image, 0, &[1; 4096]);
        write(&image, (3 << 20) - 4096, &[2; 4096]);
        execute(&["convert"], &[&image, &before]).unwrap();
        execute(&["resize", "--size=300M"], &[&image]).unwrap();
        execute(&["check"], &[&image]).unwrap();
        execute(&["compare"], &[&image, &before]).unwrap();
        write(&image, (300 << 20) - 512, &[4; 512]);
        assert!(execute(&["resize", "--size=3M"], &[&image]).unwrap_err().contains("--shrink"), "{name}");
        let error = execute(&["resize", "--size=3M", "--shrink"], &[&image]).unwrap_err();
        assert!(error.contains(&format!("data at byte {}", (300 << 20) - 512)), "{name}: {error}");
        write(&image, (300 << 20) - 512, &[0; 512]);
        execute(&["resize", "--size=3M", "--shrink"], &[&image]).unwrap();
        execute(&["check"], &[&image]).unwrap();
        execute(&["compare"], &[&image, &before]).unwrap();
        execute(&["digest"], &[&image]).unwrap();
    }
}

#[test]
fn compacting_gives_back_what_is_zero() {
    use std::os::unix::fs::MetadataExt;
    for name in ["a.vhd", "b.vhdx", "c.raw"] {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join(name);
        execute(&["create", "--size=40M"], &[&image]).unwrap();
        write(&image, 0, &vec![0; 20 << 20]);
        write(&image, 1 << 20, &[7; 4096]);
        let used = || std::fs::metadata(&image).unwrap().blocks() * 512;
        let before = used();
        execute(&["compact"], &[&image]).unwrap();
        assert!(before > 19 << 20 && used() < 6 << 20, "{name}: {before} and {}", used());
        execute(&["check"], &[&image]).or_else(|e| if e == "Leaks" { Ok(()) } else { Err(e) }).unwrap();
    }
}

#[test]
fn what_is_stopped_before_it_has_its_name_leaves_all_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stopped = AtomicBool::new(true);
    let Command::Create(args) = parse(&["create", "--size=1M", "--fixed"], &[&path("a.vhd")]) else {
        panic!()
    };
    assert!(create::create(&args, &stopped).unwrap_err().contains("interrupted"));
    assert!(names(folder.path()).is_empty());
    execute(&["create", "--size=1M"], &[&path("a.vhdx")]).unwrap();
    let Command::Snapshot(args) = parse(&["snapshot"], &[&path("a.vhdx")]) else { panic!() };
    assert!(snapshot::snapshot(&args, &stopped).unwrap_err().contains("interrupted"));
    assert_eq!(names(folder.path()), [path("a.vhdx")]);
    execute(&["snapshot"], &[&path("a.vhdx")]).unwrap();
    write(&path("a.vhdx"), 0, &[1; 512]);
    let before = std::fs::read(path("a.vhdx")).unwrap();
    let Command::Reset(args) = parse(&["reset"], &[&path("a.vhdx")]) else { panic!() };
    assert!(snapshot::reset(&args, &stopped).unwrap_err().contains("interrupted"));
    assert!(std::fs::read(path("a.vhdx")).unwrap() == before);
    assert_eq!(names(folder.path()).len(), 2);
}

/// A base, a copy of it that was changed since, and a child of the base.
fn family(extension: &str) -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (root, extension) = (folder.path().to_owned(), extension.to_owned());
    let path = move |name: &str| root.join(format!("{name}.{extension}"));
    execute(&["create", "--size=20M"], &[&path("base")]).unwrap();
    for (at, fill) in [(0, 1), (5 << 20, 2), (19 << 20, 3)] {
        write(&path("base"), at, &[fill; 8192]);
    }
    std::fs::copy(path("base"), path("other")).unwrap();
    write(&path("other"), 5 << 20, &[9; 4096]);
    write(&path("other"), 7 << 20, &[9; 512]);
    execute(&["create", "--parent", path("base").to_str().unwrap()], &[&path("child")]).unwrap();
    for (at, fill) in [(512, 4), (12 << 20, 5), (19 << 20, 0)] {
        write(&path("child"), at, &vec![fill; 4096]);
    }
    (folder, path)
}

#[test]
fn a_rebased_disk_reads_as_before_over_its_new_parent() {
    for extension in ["vhd", "vhdx"] {
        let (folder, path) = family(extension);
        let before = folder.path().join("before.raw");
        execute(&["convert"], &[&path("child"), &before]).unwrap();
        let to = |name: &str| format!("--parent={}", path(name).display());
        execute(&["rebase", &to("other")], &[&path("child")]).unwrap();
        execute(&["compare"], &[&path("child"), &before]).unwrap();
        execute(&["check"], &[&path("child")]).unwrap();
        std::fs::remove_file(path("base")).unwrap();
        execute(&["compare"], &[&path("child"), &before]).unwrap();
        // Back to a base that has no byte in common.
        execute(&["create", "--size=20M"], &[&path("empty")]).unwrap();
        execute(&["rebase", &to("empty")], &[&path("child")]).unwrap();
        std::fs::remove_file(path("other")).unwrap();
        execute(&["compare"], &[&path("child"), &before]).unwrap();
        execute(&["check"], &[&path("child")]).unwrap();
        let error = execute(&["rebase", &to("child")], &[&path("child")]).unwrap_err();
        assert!(error.contains("in use"), "its own parent: {error}");
        let error = execute(&["rebase", &to("empty")], &[&path("empty")]).unwrap_err();
        assert!(error.contains("no parent"), "{error}");
    }
}

#[test]
fn an_unsafe_rebase_changes_the_name_and_nothing_else() {
    for extension in ["vhd", "vhdx"] {
        let (folder, path) = family(extension);
        let to = format!("--parent={}", path("other").display());
        std::fs::remove_file(path("base")).unwrap();
        let error = execute(&["rebase", &to], &[&path("child")]).unwrap_err();
        assert!(error.contains("--unsafe"), "{error}");
        execute(&["rebase", "--unsafe", &to], &[&path("child")]).unwrap();
        execute(&["check"], &[&path("child")]).unwrap();
        let copy = folder.path().join("copy.raw");
        execute(&["convert"], &[&path("child"), &copy]).unwrap();
        let bytes = std::fs::read(copy).unwrap();
        assert_eq!((bytes[5 << 20], bytes[7 << 20], bytes[12 << 20], bytes[19 << 20]), (9, 9, 5, 0));
    }
}

#[test]
fn what_is_measured_is_what_a_conversion_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut bytes = vec![0; 9 << 20];
    for (at, fill) in [(0, 1), (4096, 2), ((2 << 20) - 512, 3), (2 << 20, 3), ((9 << 20) - 512, 4)] {
        bytes[at..at + 512].fill(fill);
    }
    std::fs::write(path("a.raw"), &bytes).unwrap();
    for (n, more) in [
        &["--format=vhd"][..],
        &["--format=vhd", "--fixed"],
        &["--format=vhd", "--block-size=64K"],
        &["--format=vhdx"],
        &["--format=vhdx", "--block-size=1M"],
        &["--format=vhdx", "--fixed"],
        &["--format=raw"],
    ]
    .into_iter()
    .enumerate()
    {
        let to = path(&format!("copy{n}"));
        execute(&[&["convert"], more].concat(), &[&path("a.raw"), &to]).unwrap();
        let Command::Measure(args) = parse(&[&["measure"], more].concat(), &[&path("a.raw")]) else {
            panic!()
        };
        let found = measure::measured(&args, &AtomicBool::new(false)).unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), found.required, "{more:?}");
        // Five stamps, all in pieces of their own.
        assert_eq!(found.data, 5 * 4096, "{more:?}");
        assert!(found.fully_allocated >= found.required);
    }
    execute(&["measure", "--size=1T", "--format=vhdx"], &[]).unwrap();
    assert!(execute(&["measure", "--size=3T", "--format=vhd"], &[]).unwrap_err().contains("size"));
}
