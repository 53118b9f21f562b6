//! Opening what is to be served.

use super::*;
use crate::daemon::disk_flag::DiskFlag;
use crate::daemon::spec::{Control, default_portals};
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
                (number, LunSource::Image(lun))
            })
            .collect(),
        authentication: Authentication::None,
        access: Access::Everyone,
        portal_groups: PortalGroups::All,
        redirect: None,
    });
    ServeSpec {
        control: Control::default(),
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

const A: &str = "iqn.2026-11.org.example:a";
const B: &str = "iqn.2026-11.org.example:b";

fn with_same(mut spec: ServeSpec, named: &str) -> ServeSpec {
    spec.targets[0].luns.insert(3, LunSource::SameAs(named.parse().unwrap()));
    spec
}

#[test]
fn a_lun_of_two_targets_is_opened_and_closed_once_whichever_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let own = [(Some(B), &["b.raw,size=1M"][..]), (Some(A), &["a.raw,size=1M"][..])];
    let spec = with_same(spec(folder.path(), &own), "iqn.2026-11.org.example:a/0");
    check(&spec).unwrap();
    let prepared = Prepared::open(&spec).unwrap();
    let [b, a] = &prepared.targets[..] else { panic!("two targets") };
    assert!(Arc::ptr_eq(&b.luns[&3], &a.luns[&0]));
    assert!(!Arc::ptr_eq(&b.luns[&0], &a.luns[&0]));
    let numbers: Vec<_> = prepared.port_numbers.iter().map(|(port, n)| (port.name.as_str(), n)).collect();
    assert_eq!(numbers, [(A, 1), (B, 2)]);
    // A LUN remembers the ports that lead to it and no others.
    assert_eq!(b.luns[&0].folder.port_numbers().unwrap().iter().map(|(_, n)| n).collect::<Vec<_>>(), [2]);
    assert_eq!(a.luns[&0].folder.port_numbers().unwrap(), prepared.port_numbers);
    assert!(prepared.close().is_empty());
}

#[test]
fn a_lun_that_is_to_be_the_same_as_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let own = [(Some(A), &["a.raw,size=1M"][..]), (Some(B), &["b.raw,size=1M"][..])];
    drop(Prepared::open(&spec(folder.path(), &own)).unwrap());
    for named in ["iqn.2026-11.org.example:a/0", "iqn.2026-11.org.example:b/1", "iqn.2026-11.org.example:c/0"]
    {
        let error = error(&with_same(spec(folder.path(), &own), named));
        assert!(error.contains("LUN 3 of iqn.2026-11.org.example:a") && error.contains(named), "{error}");
    }
}

#[test]
fn images_of_different_servers_come_together_with_different_port_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = ((Some(A), &["a.raw,size=1M"][..]), (Some(B), &["b.raw,size=1M"][..]));
    for alone in [a, b] {
        let prepared = Prepared::open(&spec(folder.path(), &[alone])).unwrap();
        assert_eq!(prepared.port_numbers.iter().map(|(_, n)| n).collect::<Vec<_>>(), [1]);
    }
    let together = || Prepared::open(&spec(folder.path(), &[a, b])).unwrap().port_numbers;
    let numbers = together();
    let mut found: Vec<_> = numbers.iter().map(|(_, n)| n).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
    assert_eq!(together(), numbers, "and keep them");
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
