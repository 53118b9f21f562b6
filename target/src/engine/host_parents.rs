//! Where the parents of a differencing disk are on this host, and which folders they may be in.
//!
//! A child names its parent itself, so its text decides which file is opened. Therefore a parent is opened read-only, and only
//! inside the folder of the first child or in folders that the user named; links are followed before that is judged.
//!
//! Names come from Windows as often as from here. A relative one starts at the child's folder, with `\` or `/`, and case is
//! ignored where nothing has the exact name. Of a name with a drive, a volume or a server only the last part says anything
//! here: it is looked for beside the child and in the named folders. Which file is the right one the parent's identity
//! tells, not its name.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use super::{HostFile, HostFileError};
use crate::image::{Access, Disk, FileKey, Lineage, ParentFile, ParentRecord, ParentSource};

/// Names in a folder that are looked at when case is ignored.
const NAMES_MAX: usize = 100_000;

/// The folders that may hold parents, and the parents that are open. One for all disks of a process: children of one parent
/// then share it.
#[derive(Debug, Default)]
pub struct ParentFolders {
    folders: Vec<PathBuf>,
    open: Mutex<HashMap<FileKey, Weak<dyn Disk>>>,
}

impl ParentFolders {
    /// Parents may be in `folders` and below, beside the folder of the child.
    ///
    /// # Errors
    /// What the host says of a folder that is not there, with its name.
    pub fn new(folders: &[PathBuf]) -> Result<Arc<Self>, String> {
        let resolve = |path: &PathBuf| {
            let resolved = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
            if resolved.is_dir() { Ok(resolved) } else { Err(format!("{} is no folder", path.display())) }
        };
        let folders = folders.iter().map(resolve).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { folders, open: Mutex::default() }))
    }

    /// The lineage of the open file `child`.
    ///
    /// # Errors
    /// What the host reports.
    pub fn lineage(self: &Arc<Self>, child: &HostFile) -> io::Result<Lineage> {
        let path = child.path().canonicalize()?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut allowed = vec![folder.clone()];
        allowed.extend(self.folders.iter().cloned());
        let source = HostParents {
            child: child.key()?,
            folder,
            allowed: Arc::new(allowed),
            folders: Arc::clone(self),
        };
        Ok(Lineage::new(Arc::new(source)))
    }
}

impl ParentFolders {
    /// The parent at `path`, opened and locked for writing: nobody reads it now, so it has no other child in use.
    ///
    /// # Errors
    /// [`HostFileError`], which names the file.
    pub fn writable(self: &Arc<Self>, path: &Path) -> Result<ParentFile, HostFileError> {
        let named = path;
        let failed = |source| HostFileError::Io { path: named.to_owned(), source };
        let path = named.canonicalize().map_err(failed)?;
        let file = HostFile::open(&path, Access::ReadWrite)?;
        let key = file.key().map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut allowed = vec![folder.clone()];
        allowed.extend(self.folders.iter().cloned());
        let parents =
            HostParents { child: key, folder, allowed: Arc::new(allowed), folders: Arc::clone(self) };
        Ok(ParentFile {
            file: Arc::new(file),
            key,
            label: path.display().to_string(),
            parents: Arc::new(parents),
        })
    }
}

/// What a child in `child_folder` shall say of its parent at `parent`, whose identity is `id`.
///
/// # Errors
/// What the host reports; `InvalidInput` for a name that no Windows path can hold.
pub fn record(parent: &Path, child_folder: &Path, id: Uuid) -> io::Result<ParentRecord> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let parent = parent.canonicalize()?;
    let folder = child_folder.canonicalize()?;
    let text = |path: &Path| match path.to_str() {
        Some(text) if !text.contains('\\') => Ok(text.to_owned()),
        _ => Err(invalid(format!(
            "{} cannot be written in an image: it is not UTF-8 or has a \\",
            path.display()
        ))),
    };
    let mut up = 0;
    let mut base = folder.as_path();
    while !parent.starts_with(base) {
        up += 1;
        base = base.parent().unwrap_or(Path::new("/"));
    }
    let below = parent.strip_prefix(base).unwrap_or(&parent);
    let relative = format!("{}{}", "../".repeat(up), text(below)?);
    let modified = fs::metadata(&parent)?.modified()?.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    Ok(ParentRecord { id, relative, absolute: text(&parent)?, modified })
}

/// The parents of one file.
#[derive(Debug)]
struct HostParents {
    child: FileKey,
    /// The child's folder.
    folder: PathBuf,
    /// Folders that parents may be in.
    allowed: Arc<Vec<PathBuf>>,
    folders: Arc<ParentFolders>,
}

/// What a name in a child's metadata is.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// From the child's folder.
    Relative(PathBuf),
    /// From the root of this host.
    Absolute(PathBuf),
    /// Of another host: only the last part counts.
    Foreign(PathBuf),
}

fn understand(name: &str) -> Option<Name> {
    let path = name.trim().replace('\\', "/");
    let last = || path.rsplit('/').next().filter(|last| !last.is_empty()).map(PathBuf::from);
    let mut start = path.chars();
    let drive =
        matches!((start.next(), start.next()), (Some(letter), Some(':')) if letter.is_ascii_alphabetic());
    if path.contains('\0') {
        None
    } else if drive || path.starts_with("//") {
        last().map(Name::Foreign)
    } else if path.starts_with('/') {
        Some(Name::Absolute(path.into()))
    } else {
        last().map(|_| Name::Relative(path.into()))
    }
}

impl HostParents {
    /// Paths to try, the best first.
    fn candidates(&self, name: &Name) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let (path, first) = match name {
            Name::Relative(path) => (path, walk(&self.folder, path)),
            Name::Absolute(path) => (path, Some(path.clone())),
            Name::Foreign(path) => (path, None),
        };
        paths.extend(first);
        if let Some(last) = path.file_name() {
            let beside = std::iter::once(&self.folder).chain(self.allowed.iter());
            paths.extend(beside.filter_map(|folder| walk(folder, Path::new(last))));
        }
        paths
    }

    fn open(&self, path: &Path) -> Result<ParentFile, String> {
        if !self.allowed.iter().any(|folder| path.starts_with(folder)) {
            return Err(format!(
                "{} is outside the folders in which parents are opened; --parent-dir names another",
                path.display()
            ));
        }
        let file = HostFile::open(path, Access::ReadOnly).map_err(|e| e.to_string())?;
        let key = file.key().map_err(|e| format!("{}: {e}", path.display()))?;
        let parents = Self {
            child: key,
            folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
            allowed: Arc::clone(&self.allowed),
            folders: Arc::clone(&self.folders),
        };
        let label = path.display().to_string();
        Ok(ParentFile { file: Arc::new(file), key, label, parents: Arc::new(parents) })
    }
}

impl ParentSource for HostParents {
    fn child(&self) -> Option<FileKey> {
        Some(self.child)
    }

    fn find(&self, name: &str) -> Result<Option<ParentFile>, String> {
        let Some(name) = understand(name) else { return Ok(None) };
        let mut refused = None;
        for path in self.candidates(&name) {
            let Ok(path) = path.canonicalize() else { continue };
            match self.open(&path) {
                Ok(file) => return Ok(Some(file)),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    fn shared(&self, key: FileKey) -> Option<Arc<dyn Disk>> {
        self.folders.open.lock().unwrap_or_else(PoisonError::into_inner).get(&key)?.upgrade()
    }

    fn share(&self, key: FileKey, parent: &Arc<dyn Disk>) {
        let mut open = self.folders.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, disk| disk.strong_count() > 0);
        open.insert(key, Arc::downgrade(parent));
    }
}

/// The path `relative` from `folder`; each part that is not there is looked for with another case. `None`: there is no such file.
fn walk(folder: &Path, relative: &Path) -> Option<PathBuf> {
    let mut at = folder.to_owned();
    for part in relative.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => at = at.parent()?.to_owned(),
            Component::Normal(name) => {
                let exact = at.join(name);
                at = if exact.exists() { exact } else { at.join(ignoring_case(&at, name.to_str()?)?) };
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(at)
}

fn ignoring_case(folder: &Path, name: &str) -> Option<PathBuf> {
    let wanted = name.to_lowercase();
    let names = fs::read_dir(folder)
        .ok()?
        .take(NAMES_MAX)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut same: Vec<String> = names.filter(|name| name.to_lowercase() == wanted).collect();
    same.sort();
    same.into_iter().next().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_worlds_are_understood() {
        for (text, name) in [
            (".\\p.vhd", Some(Name::Relative("./p.vhd".into()))),
            ("..\\gold\\p.vhd", Some(Name::Relative("../gold/p.vhd".into()))),
            ("C:\\vm\\p.vhd", Some(Name::Foreign("p.vhd".into()))),
            ("\\\\?\\Volume{1234}\\vm\\p.vhd", Some(Name::Foreign("p.vhd".into()))),
            ("\\\\server\\share\\p.vhd", Some(Name::Foreign("p.vhd".into()))),
            ("\\srv\\p.vhd", Some(Name::Absolute("/srv/p.vhd".into()))),
            ("/srv/p.vhd", Some(Name::Absolute("/srv/p.vhd".into()))),
            ("p\0.vhd", None),
            ("C:\\", None),
            ("", None),
        ] {
            assert_eq!(understand(text), name, "{text}");
        }
    }

    struct Lab {
        _folder: tempfile::TempDir,
        root: PathBuf,
    }

    fn lab(files: &[&str]) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, *file).unwrap();
        }
        Lab { _folder: folder, root }
    }

    impl Lab {
        fn source(&self, child: &str, folders: &[&str]) -> HostParents {
            let folders: Vec<PathBuf> = folders.iter().map(|f| self.root.join(f)).collect();
            let folders = ParentFolders::new(&folders).unwrap();
            let file = HostFile::open(&self.root.join(child), Access::ReadOnly).unwrap();
            let folder = file.path().parent().unwrap().to_owned();
            let mut allowed = vec![folder.clone()];
            allowed.extend(folders.folders.iter().cloned());
            HostParents { child: file.key().unwrap(), folder, allowed: Arc::new(allowed), folders }
        }

        fn found(&self, source: &HostParents, name: &str) -> Result<Option<String>, String> {
            let found = source.find(name)?;
            Ok(found.map(|f| f.label.strip_prefix(&format!("{}/", self.root.display())).unwrap().to_owned()))
        }
    }

    #[test]
    fn a_parent_is_opened_in_allowed_folders_only_and_links_do_not_lead_out() {
        let lab = lab(&["vm/child", "vm/Parent.VHD", "vm/sub/deep", "gold/base", "secret/key"]);
        std::os::unix::fs::symlink(lab.root.join("secret/key"), lab.root.join("vm/innocent")).unwrap();
        std::os::unix::fs::symlink(lab.root.join("secret"), lab.root.join("vm/folder")).unwrap();
        let source = lab.source("vm/child", &[]);
        let some = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(lab.found(&source, ".\\parent.vhd"), some("vm/Parent.VHD"));
        assert_eq!(lab.found(&source, "D:\\other\\PARENT.vhd"), some("vm/Parent.VHD"));
        assert_eq!(lab.found(&source, "SUB\\deep"), some("vm/sub/deep"));
        assert_eq!(lab.found(&source, "..\\vm\\sub\\..\\Parent.VHD"), some("vm/Parent.VHD"));
        assert_eq!(lab.found(&source, "absent.vhd"), Ok(None));
        for outside in ["innocent", "folder\\key", "..\\secret\\key", "..\\gold\\base"] {
            let refused = lab.found(&source, outside).unwrap_err();
            assert!(refused.contains("--parent-dir"), "{outside}: {refused}");
        }
        let absolute = lab.root.join("secret/key").display().to_string();
        assert!(lab.found(&source, &absolute).unwrap_err().contains("--parent-dir"));
        let allowed = lab.source("vm/child", &["gold"]);
        assert_eq!(lab.found(&allowed, "..\\gold\\base"), some("gold/base"));
        assert_eq!(lab.found(&allowed, "C:\\base"), some("gold/base"));
        assert!(lab.found(&allowed, "..\\secret\\key").is_err());
        assert!(ParentFolders::new(&[lab.root.join("absent")]).is_err());
    }

    #[test]
    fn a_record_leads_from_the_child_to_the_parent() {
        let lab = lab(&["vm/a/parent", "vm/b/x", "odd\\name/p"]);
        let record =
            |parent: &str, folder: &str| record(&lab.root.join(parent), &lab.root.join(folder), Uuid::nil());
        assert_eq!(record("vm/a/parent", "vm/a").unwrap().relative, "parent");
        assert_eq!(record("vm/a/parent", "vm/b").unwrap().relative, "../a/parent");
        assert_eq!(record("vm/a/parent", "vm").unwrap().relative, "a/parent");
        assert_eq!(
            record("vm/a/parent", "vm").unwrap().absolute,
            lab.root.join("vm/a/parent").to_str().unwrap()
        );
        assert!(record("odd\\name/p", "vm").is_err());
    }
}
