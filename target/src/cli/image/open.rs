//! Opening an image for a command.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::engine::{HostEnvironment, HostFile, ParentFolders};
use crate::image::{
    Access, BlockFile, Disk, Environment, FileKey, Format, Lineage, OpenError, OpenErrorKind, decide,
};

/// Where parents of differencing disks may be.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ParentArgs {
    /// Folder in which parents of differencing disks may be, beside that of the image; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(super) parent_dir: Vec<PathBuf>,
}

/// An open, locked file and its format.
pub(super) struct Opened {
    pub(super) file: Arc<dyn BlockFile>,
    pub(super) format: Format,
    pub(super) environment: Arc<dyn Environment>,
    pub(super) lineage: Lineage,
    pub(super) folders: Arc<ParentFolders>,
    pub(super) key: FileKey,
}

impl Opened {
    /// The disk in the file.
    pub(super) fn disk(&self, access: Access) -> Result<Arc<dyn Disk>, OpenError> {
        self.format.open_in(Arc::clone(&self.file), access, &self.environment, &self.lineage)
    }
}

/// Why it did not work, for people, and whether the format is one that is not served.
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) unsupported: bool,
}

/// Opens the file and decides on its format. Nothing of the image is read but its mark; a parent is not looked for yet.
pub(super) fn open(
    path: &Path,
    format: Option<Format>,
    access: Access,
    parents: &ParentArgs,
) -> Result<Opened, Refused> {
    let failed = |message| Refused { message, unsupported: false };
    let folders = ParentFolders::new(&parents.parent_dir).map_err(failed)?;
    let file = HostFile::open(path, access).map_err(|e| failed(e.to_string()))?;
    let lineage = folders.lineage(&file).map_err(|e| failed(format!("{}: {e}", path.display())))?;
    let key = file.key().map_err(|e| failed(format!("{}: {e}", path.display())))?;
    let format = decide(&file, path, format).map_err(|e| Refused {
        message: format!("{}: {e}", path.display()),
        unsupported: e.kind() == OpenErrorKind::Unsupported,
    })?;
    Ok(Opened { file: Arc::new(file), format, environment: Arc::new(HostEnvironment), lineage, folders, key })
}
