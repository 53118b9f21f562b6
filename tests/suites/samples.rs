//! Images that other people's tools made, in the folder that `LUNKEEP_SAMPLES` names: each is served with exactly the content
//! that the folder's MANIFEST.md gives, or refused where it says so. Without the folder the tests say that they were skipped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use lunkeep_target::engine::{HostEnvironment, HostFile, ParentFolders};
use lunkeep_target::image::{
    Access, BlockFile, CreateOptions, Disk, Environment, Format, OpenError, OpenErrorKind, decide,
};
use lunkeep_tests::nz4k::nz4k;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::{programs, report};

/// What the manifest says of one image.
#[derive(Debug, Default)]
struct Sample {
    file: String,
    virtual_size: Option<u64>,
    nz4k: Option<String>,
    refuse: bool,
}

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("LUNKEEP_SAMPLES").map(PathBuf::from);
    if folder.is_none() {
        report::skip("", "LUNKEEP_SAMPLES does not name a folder with sample images");
    }
    folder
}

/// Reads the manifest: a heading with the file's name in backquotes, then lines with `virtual size: N`, "nz4k: `...`" and words
/// that tell that the image must be refused.
fn samples(folder: &Path) -> Vec<Sample> {
    let text = fs::read_to_string(folder.join("MANIFEST.md")).expect("the sample folder has a MANIFEST.md");
    let mut samples: Vec<Sample> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### `").and_then(|rest| rest.split('`').next()) {
            samples.push(Sample { file: name.to_owned(), ..Sample::default() });
        }
        let Some(sample) = samples.last_mut() else { continue };
        if let Some(rest) = line.strip_prefix("- virtual size: ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            sample.virtual_size = digits.parse().ok();
            sample.nz4k =
                rest.split("nz4k: `").nth(1).and_then(|rest| rest.split('`').next()).map(str::to_owned);
        }
        sample.refuse |= line.contains("expected: **refuse") || line.contains("MUST be refused");
    }
    samples
}

/// Unpacks an image as a sparse file under its own name without the packer's extension.
fn unpack(packed: &Path, folder: &Path) -> PathBuf {
    let tool = match packed.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("bz2") => "bzip2",
        Some("gz") => "gzip",
        other => panic!("{}: unknown packer {other:?}", packed.display()),
    };
    let image = folder.join(packed.file_stem().expect("a name"));
    let mut unpacking = Command::new(tool)
        .arg("-dc")
        .stdin(File::open(packed).unwrap_or_else(|e| panic!("{}: {e}", packed.display())))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{tool}: {e}"));
    let copied = Command::new("cp")
        .args(["--sparse=always", "/dev/stdin"])
        .arg(&image)
        .stdin(unpacking.stdout.take().expect("piped"))
        .status()
        .expect("cp");
    assert!(copied.success() && unpacking.wait().expect("waits").success(), "{} unpacks", packed.display());
    image
}

type Opened = (Format, Arc<dyn BlockFile>, Arc<dyn Disk>);

fn open(image: &Path, access: Access) -> Result<Opened, OpenError> {
    let file = HostFile::open(image, access).expect("the host opens it");
    let lineage =
        ParentFolders::new(&[]).and_then(|f| f.lineage(&file).map_err(|e| e.to_string())).expect("a folder");
    let file: Arc<dyn BlockFile> = Arc::new(file);
    let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let format = decide(&*file, image, None)?;
    let disk = format.open_in(Arc::clone(&file), access, &environment, &lineage)?;
    Ok((format, file, disk))
}

/// Compares one image with its entry. `Ok` tells how it went, in a few words.
fn judge(sample: &Sample, image: &Path) -> Result<String, String> {
    let (_, _, disk) = match open(image, Access::ReadOnly) {
        Ok(opened) => opened,
        Err(e) => return judge_refusal(sample, &e),
    };
    if sample.refuse {
        return Err("it is served, but has to be refused".to_owned());
    }
    let expected = (sample.virtual_size, sample.nz4k.clone());
    let found = |disk: &dyn Disk| {
        let digest = nz4k(disk).map_err(|e| e.to_string())?;
        Ok::<_, String>((Some(disk.geometry().size), Some(digest)))
    };
    let same = |what: &str, seen: &(Option<u64>, Option<String>)| {
        if *seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?} instead of {expected:?}")) }
    };
    same("read-only", &found(&*disk)?)?;
    drop(disk);
    let (format, file, disk) = match open(image, Access::ReadWrite) {
        Err(e) if e.kind() == OpenErrorKind::NotWritable && sample.file.contains(".qcow2") => {
            return Ok("qcow2, content as given".to_owned());
        }
        other => other.map_err(|e| format!("writable: {e}"))?,
    };
    same("writable", &found(&*disk)?)?;
    disk.close().map_err(|e| format!("close: {e}"))?;
    let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let check = format.check(&file, false, &environment).map_err(|e| format!("check: {e}"))?;
    if !check.is_sound() {
        return Err(format!("check: {:?}", check.findings));
    }
    drop((disk, file));
    let (_, _, disk) = open(image, Access::ReadOnly).map_err(|e| format!("again: {e}"))?;
    same("after a writable open", &found(&*disk)?)?;
    Ok(format!("{format}, content as given"))
}

/// A refusal is right where the manifest asks for it, of a child without its parent (by the parent), and of a format that is not
/// served (by the format's name).
fn judge_refusal(sample: &Sample, error: &OpenError) -> Result<String, String> {
    let text = error.to_string();
    let by_name = |extension: &str, name: &str| sample.file.contains(extension) && text.contains(name);
    let right = match error.kind() {
        OpenErrorKind::Unsupported => by_name(".qcow2", "qcow2") || by_name(".vmdk", "VMDK"),
        OpenErrorKind::ParentNeeded => sample.refuse && text.contains("parent"),
        _ => sample.refuse,
    };
    if right { Ok(format!("refused: {text}")) } else { Err(format!("refused: {text}")) }
}

#[test]
fn every_sample_is_served_as_its_manifest_says_or_refused() {
    let Some(folder) = folder() else { return };
    let samples = samples(&folder);
    assert!(samples.len() > 1, "the manifest lists images");
    let unpacked = tempfile::tempdir().unwrap();
    let (mut table, mut wrong) = (String::new(), 0);
    for sample in &samples {
        let known = sample.refuse || (sample.virtual_size.is_some() && sample.nz4k.is_some());
        assert!(known, "the manifest says what {} has to be", sample.file);
        let image = unpack(&folder.join(&sample.file), unpacked.path());
        // A child is judged while its parent lies beside it, and neither is written.
        let parent = sample.file.contains("-child").then(|| PathBuf::from("generated/gen-parent.vhdx.xz"));
        let parent = parent.map(|parent| unpack(&folder.join(parent), unpacked.path()));
        let (mark, text) = match judge(sample, &image) {
            Ok(text) => ("ok", text),
            Err(text) => {
                wrong += 1;
                ("WRONG", text)
            }
        };
        fs::remove_file(&image).unwrap();
        parent.iter().for_each(|parent| fs::remove_file(parent).unwrap());
        writeln!(table, "{mark:<6}{:<40}{text}", sample.file).unwrap();
    }
    report::table("samples", &table);
    assert_eq!(wrong, 0, "samples that are not as their manifest says:\n{table}");
}

/// Longest disk that is read as a whole over iSCSI, in a quick run and in a full one; of a longer one only the size is compared.
const READ_MAX: [u64; 2] = [300 << 20, 2 << 30];

/// Serves one image to our initiator and compares what comes with its entry.
fn judge_over_iscsi(sample: &Sample, image: &Path, folder: &Folder) -> Result<String, String> {
    let disk = format!("{},ro", image.display());
    if open(image, Access::ReadOnly).is_err() {
        let outcome = programs!().target(["serve", "--listen", "127.0.0.1:0", "--disk", &disk]);
        let named =
            image.file_name().and_then(|name| name.to_str()).is_some_and(|n| outcome.stderr.contains(n));
        let right = outcome.code() == Some(1) && named && !outcome.stderr.contains("panicked at");
        return if right { Ok("refused by its name".to_owned()) } else { Err(outcome.to_string()) };
    }
    let target = Target::serve(programs!(), ["--disk", &disk]);
    let size = target.document()["targets"][0]["luns"][0]["size"].as_u64();
    if size != sample.virtual_size {
        return Err(format!("size {size:?} instead of {:?}", sample.virtual_size));
    }
    if size.is_some_and(|size| size > READ_MAX[usize::from(report::full())]) {
        target.stop();
        return Ok("size as given".to_owned());
    }
    let (copy, state) = (folder.name("copy.raw"), folder.name("initiator"));
    programs!().initiator(["read", &target.url(0), "--output", &copy, "--state", &state]).expect_success();
    target.stop();
    let (_, _, disk) = open(Path::new(&copy), Access::ReadOnly).map_err(|e| e.to_string())?;
    let digest = nz4k(&*disk).map_err(|e| e.to_string())?;
    if Some(&digest) == sample.nz4k.as_ref() {
        Ok("content as given".to_owned())
    } else {
        Err(format!("{digest} instead of {:?}", sample.nz4k))
    }
}

#[test]
fn samples_are_read_over_iscsi_as_their_manifest_says_or_serve_names_them() {
    let Some(folder) = folder() else { return };
    let scratch = Folder::new();
    let (mut table, mut wrong) = (String::new(), 0);
    for sample in samples(&folder).iter().filter(|sample| !sample.file.contains("-child")) {
        let image = unpack(&folder.join(&sample.file), scratch.path());
        let (mark, text) = match judge_over_iscsi(sample, &image, &scratch) {
            Ok(text) => ("ok", text),
            Err(text) => {
                wrong += 1;
                ("WRONG", text)
            }
        };
        fs::remove_file(&image).unwrap();
        writeln!(table, "{mark:<6}{:<40}{text}", sample.file).unwrap();
    }
    report::table("samples-iscsi", &table);
    assert_eq!(wrong, 0, "samples that are not as their manifest says:\n{table}");
}

/// The parent of this sample is not in the folder. With one that is all zeros in its place, the sample's own sectors remain.
#[test]
fn a_differencing_vhd_of_windows_shows_its_own_sectors_over_an_empty_parent() {
    const CHILD: &str = "dfvfs-win10-differencing-child.vhd.xz";
    let Some(folder) = folder() else { return };
    if !folder.join(CHILD).exists() {
        report::skip("", "the sample folder has no differencing VHD");
        return;
    }
    let unpacked = tempfile::tempdir().unwrap();
    let child = unpack(&folder.join(CHILD), unpacked.path());
    let missing = open(&child, Access::ReadOnly).unwrap_err();
    assert!(missing.to_string().contains("fat-parent.vhd"), "{missing}");
    let parent = unpacked.path().join("Fat-Parent.VHD");
    let file = HostFile::create_new(&parent).unwrap();
    Format::Vhd.create(&file, &CreateOptions::dynamic(4 << 20), &HostEnvironment).unwrap();
    let id = uuid::uuid!("5fa21a55-f394-aa4d-9958-1951a67d5540");
    for at in [0, file.len().unwrap() - 512] {
        let mut footer = [0; 512];
        file.read_exact_at(&mut footer, at).unwrap();
        footer[68..84].copy_from_slice(id.as_bytes());
        footer[64..68].fill(0);
        let sum = footer.iter().fold(0u32, |sum, byte| sum + u32::from(*byte));
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
        file.write_all_at(&footer, at).unwrap();
    }
    drop(file);
    for access in [Access::ReadOnly, Access::ReadWrite, Access::ReadOnly] {
        let (_, _, disk) = open(&child, access).unwrap();
        assert_eq!(nz4k(&*disk).unwrap(), "d29ba6a3ed559ec3e709d66ed90eab1a07d2997a53c87b67d452c178b1c295fe");
        disk.close().unwrap();
    }
}
