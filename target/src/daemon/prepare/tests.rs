//! Opening what is to be served.

use super::*;
use crate::daemon::disk_flag::DiskFlag;
use crate::daemon::spec::default_portals;
use crate::engine::config::Settings;

fn spec(folder: &Path, targets: &[(Option<&str>, &[&str])]) -> ServeSpec {
    let targets = targets.iter().map(|(name, disks)| TargetSpec {
        name: name.map(|name| name.parse().unwrap()),
        alias: None,
        luns: disks
            .iter()
            .zip(0..)
            .map(|(disk, number)| {
                let lun = format!("{}/{disk}", folder.display()).parse::<DiskFlag>().unwrap().0;
                (number, lun)
            })
            .collect(),
        authentication: Authentication::None,
        access: Access::Everyone,
    });
    ServeSpec {
        portals: default_portals(),
        default_portals: true,
        state: StateLocation::BesideImage,
        parent_dirs: Vec::new(),
        targets: targets.collect(),
        discovery: Authentication::None,
        settings: Settings::default(),
        notes: Vec::new(),
    }
}

fn error(spec: &ServeSpec) -> String {
    let opened = Prepared::open(spec).unwrap_err().to_string();
    let checked: Vec<_> = check(spec).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(checked, std::slice::from_ref(&opened), "a check finds what opening finds");
    opened
}

#[test]
fn identities_and_the_made_up_name_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), &[(None, &["a.raw,size=1M", "b.raw,size=1M"])]);
    check(&spec).unwrap();
    let facts = |prepared: &Prepared| {
        let target = &prepared.targets[0];
        let luns: Vec<_> =
            target.luns.values().map(|lun| (lun.naa, lun.serial.clone(), lun.path.clone())).collect();
        (target.name.clone(), luns)
    };
    let first = Prepared::open(&spec).unwrap();
    assert!(first.targets[0].luns.values().all(|lun| lun.created));
    let before = facts(&first);
    assert!(before.0.as_str().ends_with(":a"), "{}", before.0);
    assert_ne!(before.1[0].0, before.1[1].0);
    assert!(first.close().is_empty());
    drop(first);
    check(&spec).unwrap();
    let second = Prepared::open(&spec).unwrap();
    assert!(second.targets[0].luns.values().all(|lun| !lun.created));
    assert_eq!(facts(&second), before);
}

#[test]
fn one_image_is_one_lun_also_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.raw"), [0; 512]).unwrap();
    std::os::unix::fs::symlink("a.raw", folder.path().join("b.raw")).unwrap();
    let error = error(&spec(folder.path(), &[(None, &["a.raw", "b.raw"])]));
    assert!(error.contains("b.raw is given twice, as LUN 0 and as LUN 1"), "{error}");
}

#[test]
fn two_luns_never_share_an_identity() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.raw", "b.raw"] {
        std::fs::write(folder.path().join(name), [0; 512]).unwrap();
    }
    let named = [(Some("iqn.2026-11.org.example:x"), &["a.raw,serial=S1", "b.raw,serial=S1"][..])];
    let error = error(&spec(folder.path(), &named));
    assert!(error.contains("LUN 1 of iqn.2026-11.org.example:x") && error.contains("\"S1\""), "{error}");
}

#[test]
fn two_targets_never_share_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let same = Some("iqn.2026-11.org.example:x");
    let spec = spec(folder.path(), &[(same, &["a.raw,size=1M"]), (same, &["b.raw,size=1M"])]);
    assert!(matches!(Prepared::open(&spec), Err(PrepareError::SameName(_))));
}

#[test]
fn after_a_failure_everything_is_closed_again() {
    let folder = tempfile::tempdir().unwrap();
    let bad = spec(folder.path(), &[(None, &["a.raw,size=1M", "missing.raw"])]);
    assert!(error(&bad).contains("missing.raw does not exist"));
    let good = spec(folder.path(), &[(None, &["a.raw"])]);
    assert!(Prepared::open(&good).unwrap().close().is_empty());
}

#[test]
fn an_image_that_is_being_served_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), &[(None, &["a.raw,size=1M"])]);
    let held = Prepared::open(&spec).unwrap();
    let error = Prepared::open(&spec).unwrap_err().to_string();
    assert!(error.contains("a.raw is in use"), "{error}");
    drop(held);
    Prepared::open(&spec).unwrap();
}

#[test]
fn an_image_that_cannot_be_opened_gets_no_state_and_damaged_state_keeps_the_image_untouched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.vhdx"), "no image").unwrap();
    let bad = spec(folder.path(), &[(None, &["bad.vhdx"])]);
    assert!(error(&bad).contains("bad.vhdx"));
    assert!(!folder.path().join("bad.vhdx.lunkeep").exists());

    let good = spec(folder.path(), &[(None, &["a.raw,size=1M"])]);
    assert!(Prepared::open(&good).unwrap().close().is_empty());
    std::fs::write(folder.path().join("a.raw.lunkeep/identity.json"), "{}").unwrap();
    assert!(error(&good).contains("identity.json is damaged"));
}

#[test]
fn a_size_that_is_not_used_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        Prepared::open(&spec(folder.path(), &[(None, &["a.raw,size=1M"])])).unwrap().notes,
        Vec::<String>::new()
    );
    let notes = Prepared::open(&spec(folder.path(), &[(None, &["a.raw,size=2M"])])).unwrap().notes;
    assert!(notes[0].contains("1048576 bytes"), "{notes:?}");
}
