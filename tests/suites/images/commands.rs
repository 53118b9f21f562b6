//! `lunkeep-target image` as a process: exit codes and signals.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

fn target(args: &[&str], path: &Path) -> lunkeep_tests::process::Outcome {
    let path = path.to_str().unwrap();
    lunkeep_tests::programs!().target(["image"].iter().chain(args).chain([&path]))
}

#[test]
fn a_check_ends_with_the_exit_codes_of_its_help() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    target(&["create", "--size", "10M"], &path).expect_success();
    assert_eq!(target(&["check"], &path).code(), Some(0));
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut footer = [0; 512];
    file.read_exact_at(&mut footer, 0).unwrap();
    file.write_all_at(&footer, len + (1 << 20)).unwrap();
    assert_eq!(target(&["check"], &path).code(), Some(3));
    assert_eq!(target(&["check", "--repair"], &path).code(), Some(0));
    file.write_all_at(&[0, 0, 0, 1], 1536).unwrap();
    assert_eq!(target(&["check"], &path).code(), Some(2));
    assert_eq!(target(&["check", "--json"], &path).code(), Some(2));
    assert_eq!(target(&["check"], &folder.path().join("absent.vhd")).code(), Some(1));
    let foreign = folder.path().join("a.vmdk");
    std::fs::write(&foreign, b"KDMV\x01\0\0\0").unwrap();
    assert_eq!(target(&["check"], &foreign).code(), Some(63));
}

#[test]
fn info_prints_json_that_says_what_the_image_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vhd");
    target(&["create", "--size", "1.5G", "--block-size", "512K"], &path).expect_success();
    let json: serde_json::Value =
        serde_json::from_str(&target(&["info", "--json"], &path).expect_success()).unwrap();
    for (name, value) in [
        ("format", "\"vhd\""),
        ("subformat", "\"dynamic\""),
        ("virtual_size", "1610612736"),
        ("block_size", "524288"),
        ("total_blocks", "3072"),
        ("allocated_blocks", "0"),
        ("logical_sector", "512"),
    ] {
        assert_eq!(json[name].to_string(), value, "{name}");
    }
}

#[test]
fn every_command_prints_json_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |args: &[&str], file: &str| -> serde_json::Value {
        let args = [args, &["--json"]].concat();
        serde_json::from_str(&target(&args, &path(file)).expect_success()).unwrap()
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (base, child, copy) = (text(&path("a.vhdx")), text(&path("b.vhdx")), text(&path("c.vhd")));
    assert_eq!(run(&["create", "--size=8M"], "a.vhdx")["virtual_size"], 8 << 20);
    assert_eq!(run(&["create", "--parent", &base], "b.vhdx")["subformat"], "differencing");
    assert_eq!(run(&["info"], "b.vhdx")["chain"][0]["file"], text(&path("a.vhdx").canonicalize().unwrap()));
    assert_eq!(run(&["check"], "b.vhdx")["errors"], 0);
    assert_eq!(run(&["convert", &child], "c.vhd")["format"], "vhd");
    assert_eq!(run(&["map"], "c.vhd")[0]["data"], false);
    assert_eq!(run(&["compare", &child], "c.vhd")["equal"], true);
    assert_eq!(run(&["digest"], "c.vhd")["digest"], run(&["digest"], "b.vhdx")["digest"]);
    assert_eq!(run(&["measure", "--format=raw"], "c.vhd")["required"], 8 << 20);
    assert_eq!(run(&["resize", "--size=9M"], "c.vhd")["previous_virtual_size"], 8 << 20);
    assert!(run(&["compact"], "c.vhd")["file_size"].is_u64());
    assert_eq!(run(&["snapshot", "--name=x"], "b.vhdx")["snapshot"], text(&path("b.x.vhdx")));
    assert_eq!(run(&["reset"], "b.vhdx")["parent"], text(&path("b.x.vhdx").canonicalize().unwrap()));
    assert_eq!(run(&["rebase", "--parent", &base], "b.vhdx")["copied"], 0);
    assert_eq!(run(&["merge"], "b.vhdx")["merged"], text(&path("a.vhdx").canonicalize().unwrap()));
    std::fs::write(path("d.raw"), vec![1; 9 << 20]).unwrap();
    let differs = target(&["compare", "--json", &copy], &path("d.raw"));
    assert_eq!(differs.code(), Some(1));
    let document: serde_json::Value = serde_json::from_str(&differs.stdout).unwrap();
    assert_eq!((&document["equal"], &document["first_difference"]), (&false.into(), &0.into()));
}
