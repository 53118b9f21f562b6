//! Configuration files, good and bad.

use std::path::PathBuf;

use lunkeep_common::name::PortalGroupTag;

use super::*;
use crate::daemon::spec::{Access, Authentication, LunSource, LunSpec, LunView};
use crate::engine::config::PortalGroups;
use crate::image::{Allocation, Format};
use crate::store::StateLocation;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/config").join(kind);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn variable(name: &str) -> Option<String> {
    (name == "BOB_SECRET").then(|| "a secret of bob's".to_owned())
}

fn load_fixture(path: &Path) -> Result<ServeSpec, ConfigError> {
    let text = std::fs::read_to_string(path).unwrap();
    parse(path.file_name().unwrap().to_str().unwrap(), &text, path.parent().unwrap(), &variable)
}

#[test]
fn every_good_file_is_accepted() {
    let files = fixtures("good");
    assert!(files.len() >= 2);
    for file in files {
        load(&file, &variable).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_bad_file_is_refused_with_its_message() {
    let files = fixtures("bad");
    assert!(files.len() >= 20);
    for file in files {
        let error = load_fixture(&file).expect_err(&file.display().to_string()).to_string();
        // What the host says about a missing file begins with the folder of the fixtures.
        let error = error.replace(&format!("{}/", file.parent().unwrap().display()), "");
        insta::assert_snapshot!(file.file_stem().unwrap().to_str().unwrap(), error);
    }
}

fn image(lun: &LunSource) -> &LunSpec {
    let LunSource::Image(image) = lun else { panic!("not an image") };
    image
}

#[test]
fn every_key_of_the_full_file_arrives() {
    let path = fixtures("good").into_iter().find(|path| path.ends_with("full.toml")).unwrap();
    let folder = path.parent().unwrap().to_owned();
    let spec = load(&path, &variable).unwrap();
    assert_eq!(spec.state, StateLocation::Folder(folder.join("state")));
    assert!(!spec.default_portals);
    let portals: Vec<_> = spec
        .portals
        .iter()
        .map(|p| (p.listen.to_string(), p.announce.as_ref().map(ToString::to_string), p.group.0))
        .collect();
    assert_eq!(
        portals,
        [("0.0.0.0:3260".into(), Some("storage.example:3260".into()), 1), ("[::1]:3261".into(), None, 2)]
    );
    assert!(matches!(&spec.discovery, Authentication::Chap { users, mutual: Some(_) } if users.len() == 1));

    let settings = &spec.settings;
    assert_eq!(
        (settings.sessions_max, settings.session.queue_depth, settings.session_buffer_bytes),
        (64, 32, 16 << 20)
    );
    let times = [
        settings.login_timeout,
        settings.session.ping_interval,
        settings.session.ping_timeout,
        settings.drain_timeout,
    ];
    assert_eq!(times.map(|time| time.as_secs()), [5, 10, 6, 20]);

    let [cluster, open] = &spec.targets[..] else { panic!("two targets") };
    assert_eq!(cluster.name.as_ref().unwrap().as_str(), "iqn.2026-11.org.example:cluster");
    assert_eq!(cluster.alias.as_deref(), Some("Cluster disks"));
    assert_eq!(cluster.luns.keys().copied().collect::<Vec<_>>(), [0, 5]);
    let quorum = image(&cluster.luns[&0]);
    assert_eq!(quorum.path, folder.join("quorum.vhdx"));
    let create = quorum.create.unwrap();
    assert_eq!(
        (create.size, create.allocation, quorum.logical_block),
        (1 << 30, Allocation::Fixed, Some(4096))
    );
    assert!(!settings.force_aptpl);
    assert_eq!(settings.cold_reset, crate::engine::config::ColdResetPolicy::Nobody);
    let data = image(&cluster.luns[&5]);
    assert_eq!(data.path, Path::new("/srv/images/data.img"));
    assert_eq!((data.format, data.read_only, data.create), (Some(Format::Raw), true, None));
    assert_eq!(data.serial.as_ref().unwrap().as_str(), "DATA-0005");
    let Authentication::Chap { users, mutual: Some(mutual) } = &cluster.authentication else {
        panic!("mutual CHAP")
    };
    assert_eq!(users[0].secret.bytes(), b"correct horse battery");
    assert_eq!(users[1].secret.bytes(), b"a secret of bob's");
    assert_eq!((mutual.name.as_str(), mutual.secret.bytes()), ("lunkeep", &b"staple of the target"[..]));
    let Access::Only(allowed) = &cluster.access else { panic!("only some") };
    let views: Vec<_> = allowed.values().cloned().collect();
    assert_eq!(views, [LunView::All, LunView::Map([(0, 0)].into()), LunView::Map([(0, 5), (1, 0)].into())]);

    let LunSource::SameAs(quorum) = &open.luns[&7] else { panic!("the quorum disk") };
    assert_eq!(quorum.to_string(), "iqn.2026-11.org.example:cluster/0");
    assert_eq!(open.access, Access::Everyone);
    assert!(
        open.portal_groups.contains(PortalGroupTag(2)) && !open.portal_groups.contains(PortalGroupTag(1))
    );
    let redirect = open.redirect.as_ref().unwrap();
    assert_eq!((redirect.to.to_string().as_str(), redirect.permanent), ("[::1]:3270", true));
    assert_eq!((&cluster.portal_groups, &cluster.redirect), (&PortalGroups::All, &None));
    assert_eq!(open.authentication, Authentication::None);
    assert_eq!(image(&open.luns[&0]).create.unwrap().allocation, Allocation::Dynamic);
}

#[test]
fn the_table_of_keys_is_what_the_file_accepts() {
    // Each key alone in its table, with a value of no accepted type: the error must not be "unknown".
    for (table, keys) in tables::KEYS {
        let header = match table {
            "" => String::new(),
            "discovery" | "limits" | "reservations" => format!("[{table}]\n"),
            "target.mutual_chap" | "target.redirect" => format!("[[target]]\n[{table}]\n"),
            nested if nested.contains('.') => format!("[[target]]\n[[{nested}]]\n"),
            table => format!("[[{table}]]\n"),
        };
        for key in keys {
            let error =
                parse("x", &format!("{header}{key} = [[1.5]]\n"), Path::new(""), &variable).unwrap_err();
            assert!(!error.to_string().contains("unknown key"), "[{table}] {key}: {error}");
        }
        let error =
            parse("x", &format!("{header}zzz = 1\n"), Path::new(""), &variable).unwrap_err().to_string();
        assert!(error.contains("unknown key `zzz`"), "{error}");
        for key in keys {
            assert!(error.contains(&format!("`{key}`")), "[{table}] {key}: {error}");
        }
    }
}

#[test]
fn the_documentation_describes_every_key_in_its_table() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/serve.md")).unwrap();
    let configuration = page.split("## Configuration file").nth(1).unwrap().split("\n## ").next().unwrap();
    for (table, keys) in tables::KEYS {
        let section = match table {
            "" => configuration.split("\n### ").next().unwrap(),
            table => configuration
                .split("\n### ")
                .find(|section| section.lines().next().unwrap().contains(&format!("[{table}]")))
                .unwrap_or_else(|| panic!("no section [{table}]")),
        };
        for key in
            keys.iter().filter(|key| !(table.is_empty() && configuration.contains(&format!("[{key}]"))))
        {
            assert!(section.contains(&format!("\n| `{key}` |")), "[{table}] {key}");
        }
        let rows = section.lines().filter(|line| line.starts_with("| `")).count();
        assert!(rows <= keys.len(), "[{table}] describes keys that are not there");
    }
}

#[test]
fn a_secret_that_stands_in_the_file_is_not_shown() {
    for file in fixtures("bad").iter().filter(|path| path.to_str().unwrap().contains("/inline_secret")) {
        assert!(!load_fixture(file).unwrap_err().to_string().contains("horse"), "{}", file.display());
    }
}

#[test]
fn a_file_that_is_missing_or_far_too_long_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.toml");
    assert!(load(&path, &variable).unwrap_err().to_string().contains("lab.toml: cannot read"));
    std::fs::File::create(&path).unwrap().set_len(CONFIG_LEN_MAX + 1).unwrap();
    assert!(load(&path, &variable).unwrap_err().to_string().contains("limit"));
}

#[test]
fn no_text_makes_the_reader_panic() {
    for file in fixtures("good").iter().chain(&fixtures("bad")) {
        let text = std::fs::read_to_string(file).unwrap();
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            for text in [&text[..end], &text[end..]] {
                if let Err(error) = parse("x", text, Path::new(""), &variable) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}
