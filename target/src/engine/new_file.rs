//! A file that gets its name when it is whole and durable. Until then it has a temporary name beside it, and dropping it
//! leaves nothing.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::{HostFile, HostFileError};
use crate::image::{Access, BlockFile};

/// What a name that is taken means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error, and the file there stays as it is.
    Keep,
    /// It is replaced.
    Replace,
}

/// A file on its way.
#[derive(Debug)]
pub struct NewFile {
    temporary: NamedTempFile,
    file: Arc<HostFile>,
    path: PathBuf,
}

impl NewFile {
    /// An empty file for `path`, beside it under another name.
    ///
    /// # Errors
    /// [`HostFileError`], which names `path`.
    pub fn beside(path: &Path) -> Result<Self, HostFileError> {
        let failed = |source| HostFileError::Io { path: path.to_owned(), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".lunkeep-new-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed)?;
        let file = temporary.reopen().map_err(failed)?;
        let file = Arc::new(HostFile::locked(file, path, Access::ReadWrite)?);
        Ok(Self { temporary, file, path: path.to_owned() })
    }

    /// The file, open and locked for writing.
    #[must_use]
    pub fn file(&self) -> Arc<HostFile> {
        Arc::clone(&self.file)
    }

    /// Makes content and name durable.
    ///
    /// # Errors
    /// [`HostFileError`], which names the file; then nothing is left of it. With [`Existing::Keep`] also when the name is
    /// taken.
    pub fn commit(self, existing: Existing) -> Result<(), HostFileError> {
        let Self { temporary, file, path } = self;
        let failed = |source: io::Error| HostFileError::Io { path: path.clone(), source };
        file.sync_data().map_err(failed)?;
        drop(file);
        match existing {
            Existing::Keep => temporary.persist_noclobber(&path),
            Existing::Replace => temporary.persist(&path),
        }
        .map_err(|e| failed(e.error))?;
        HostFile::sync_folder_of(&path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_name_appears_with_the_whole_content_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        let new = NewFile::beside(&path).unwrap();
        new.file().write_all_at(b"content", 0).unwrap();
        assert!(!path.exists());
        drop(new);
        assert!(names(folder.path()).is_empty(), "given up without a trace");
        let new = NewFile::beside(&path).unwrap();
        new.file().write_all_at(b"content", 0).unwrap();
        new.commit(Existing::Keep).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_eq!(names(folder.path()), ["a.raw"]);
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        std::fs::write(&path, "old").unwrap();
        let error = NewFile::beside(&path).unwrap().commit(Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("a.raw"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        NewFile::beside(&path).unwrap().commit(Existing::Replace).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(names(folder.path()), ["a.raw"]);
    }
}
