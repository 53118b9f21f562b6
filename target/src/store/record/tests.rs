//! Records through power cuts, flipped bits and lost tails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::store::files::HostFiles;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Record for Note {
    const KIND: &'static str = "note";
    const VERSION: u32 = 1;
}

fn note(text: &str) -> Note {
    Note { text: text.into() }
}

/// A file system with one folder that forgets at a power cut what was not synced: names not synced go back to what they
/// were, and a file not synced is torn to half of its bytes. The power fails just before operation number `cut`.
#[derive(Debug, Default)]
pub(in crate::store) struct ForgetfulFiles {
    state: RefCell<State>,
    cut: usize,
    /// The safeguard that a control takes away.
    without: Option<&'static str>,
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Bytes of each file, and whether they were synced.
    contents: Vec<(Vec<u8>, bool)>,
    done: usize,
}

impl ForgetfulFiles {
    /// Files whose power fails just before operation number `cut`, and in which an operation does nothing.
    pub(in crate::store) fn with_cut(cut: usize, without: Option<&'static str>) -> Self {
        Self { cut, without, ..Self::default() }
    }

    fn step(&self, name: &'static str, operation: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.done == self.cut {
            return Err(io::Error::other("power cut"));
        }
        state.done += 1;
        if self.without != Some(name) {
            operation(&mut state);
        }
        Ok(())
    }

    /// What is found after the power came back, when `names_survived` says whether names that were not synced made it.
    pub(in crate::store) fn after_power_cut(self, names_survived: bool) -> Self {
        let mut state = self.state.into_inner();
        if !names_survived {
            state.names = state.durable_names.clone();
        }
        for (bytes, synced) in &mut state.contents {
            if !*synced {
                bytes.truncate(bytes.len() / 2);
            }
        }
        Self { state: RefCell::new(state), cut: usize::MAX, without: None }
    }
}

impl Files for ForgetfulFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = self.state.borrow();
        Ok(state.names.get(path).map(|&n| state.contents[n].0.clone()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("write", |state| {
            state.contents.push((bytes.to_vec(), false));
            state.names.insert(path.into(), state.contents.len() - 1);
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step("sync_file", |state| {
            let n = state.names[path];
            state.contents[n].1 = true;
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", |state| {
            let n = state.names.remove(from).unwrap();
            state.names.insert(to.into(), n);
        })
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.step("sync_folder", |state| state.durable_names = state.names.clone())
    }
}

/// Replaces "old" by "new" with the power failing before each step in turn and after the last. Answers with what went wrong.
fn cut_everywhere(without: Option<&'static str>) -> Vec<String> {
    let path = Path::new("/s/note.json");
    let mut faults = Vec::new();
    for cut in 0..=4 {
        for names_survived in [false, true] {
            let files = ForgetfulFiles { cut: usize::MAX, ..Default::default() };
            save(&files, path, &note("old")).unwrap();
            let mut state = files.state.into_inner();
            state.done = 0;
            let files = ForgetfulFiles { state: RefCell::new(state), cut, without };
            let acknowledged = save(&files, path, &note("new")).is_ok();
            assert_eq!(acknowledged, cut == 4, "saving takes four steps");
            match load::<Note>(&files.after_power_cut(names_survived), path) {
                Ok(Some(found)) if found == note("new") => {}
                Ok(Some(found)) if found == note("old") && !acknowledged => {}
                other => faults.push(format!("cut {cut}, names survived {names_survived}: {other:?}")),
            }
        }
    }
    faults
}

#[test]
fn a_power_cut_leaves_the_old_record_or_the_new_one_and_the_new_one_once_acknowledged() {
    assert_eq!(cut_everywhere(None), Vec::<String>::new());
}

#[test]
fn control_without_syncing_the_file_a_power_cut_tears_the_record() {
    assert!(cut_everywhere(Some("sync_file")).iter().any(|fault| fault.contains("Damaged")));
}

#[test]
fn control_without_syncing_the_folder_an_acknowledged_record_is_lost() {
    assert!(cut_everywhere(Some("sync_folder")).iter().any(|fault| fault.contains("cut 4")));
}

#[test]
fn a_record_is_read_back_from_the_hosts_files_and_leaves_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note.json");
    assert_eq!(load::<Note>(&HostFiles, &path).unwrap(), None);
    save(&HostFiles, &path, &note("one")).unwrap();
    save(&HostFiles, &path, &note("two")).unwrap();
    assert_eq!(load::<Note>(&HostFiles, &path).unwrap(), Some(note("two")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_flipped_bit_and_every_lost_tail_is_found() {
    let bytes = encode(&note("text")).unwrap();
    assert!(decode::<Note>(&bytes).is_ok());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            // JSON allows a few other spellings of the header line; what counts is that the record stays the same.
            if let Ok(read) = decode::<Note>(&bad) {
                assert_eq!(read, note("text"), "byte {at}, bit {bit}");
            }
        }
        assert!(decode::<Note>(&bytes[..at]).is_err(), "cut to {at} bytes");
    }
}

#[test]
fn a_newer_version_and_another_kind_are_named() {
    let newer =
        String::from_utf8(encode(&note("x")).unwrap()).unwrap().replace("\"version\":1", "\"version\":2");
    assert!(matches!(decode::<Note>(newer.as_bytes()), Err(Fault::Version(2))));
    let other = String::from_utf8(encode(&note("x")).unwrap())
        .unwrap()
        .replace("\"kind\":\"note\"", "\"kind\":\"memo\"");
    assert!(
        matches!(decode::<Note>(other.as_bytes()), Err(Fault::Damaged(reason)) if reason.contains("memo"))
    );
}

#[test]
fn a_file_too_long_for_a_record_is_refused_without_reading_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note.json");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = load::<Note>(&HostFiles, &path).unwrap_err();
    assert!(error.to_string().contains("not a state file"), "{error}");
}
