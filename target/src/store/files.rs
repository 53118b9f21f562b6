//! The few operations on the host's files that durable state needs, as a seam: tests put a file system behind it that
//! forgets what was not synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::limits::STATE_FILE_LEN_MAX;

/// Operations on files and folders. Nothing is durable before the sync of the file (its bytes) and of its folder (its name).
pub trait Files {
    /// The whole file, or `None` when there is none.
    ///
    /// # Errors
    /// What the host reports; `FileTooLarge` above [`STATE_FILE_LEN_MAX`].
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Makes `path` a file of these bytes, replacing what was there.
    ///
    /// # Errors
    /// What the host reports.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Returns when the bytes of the file are on stable storage.
    ///
    /// # Errors
    /// What the host reports.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Gives the file `from` the name `to` in the same folder, replacing what was there in one step.
    ///
    /// # Errors
    /// What the host reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns when the names in the folder are on stable storage.
    ///
    /// # Errors
    /// What the host reports.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// The host's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(STATE_FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > STATE_FILE_LEN_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {STATE_FILE_LEN_MAX} bytes, so it is not a state file"),
            ));
        }
        Ok(Some(bytes))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // fsync works on the file, whichever descriptor it is called through.
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}
