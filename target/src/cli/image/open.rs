//! Opening an image for a command.

use std::path::Path;
use std::sync::Arc;

use crate::engine::{HostEnvironment, HostFile};
use crate::image::{Access, BlockFile, Environment, Format, OpenErrorKind, decide};

/// An open, locked file and its format.
pub(super) struct Opened {
    pub(super) file: Arc<dyn BlockFile>,
    pub(super) format: Format,
    pub(super) environment: Arc<dyn Environment>,
}

/// Why it did not work, for people, and whether the format is one that is not served.
pub(super) struct Refused {
    pub(super) message: String,
    pub(super) unsupported: bool,
}

/// Opens the file and decides on its format. Nothing of the image is read but its mark.
pub(super) fn open(path: &Path, format: Option<Format>, access: Access) -> Result<Opened, Refused> {
    let file =
        HostFile::open(path, access).map_err(|e| Refused { message: e.to_string(), unsupported: false })?;
    let format = decide(&file, path, format).map_err(|e| Refused {
        message: format!("{}: {e}", path.display()),
        unsupported: e.kind() == OpenErrorKind::Unsupported,
    })?;
    Ok(Opened { file: Arc::new(file), format, environment: Arc::new(HostEnvironment) })
}
