//! Making a differencing disk, with the arguments of a command.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::open::ParentArgs;
use super::work;
use crate::daemon::child;
use crate::engine::ParentFolders;
use crate::engine::new_file::Existing;
use crate::image::Format;

/// As [`child::create`]; until the name appears it can be stopped.
///
/// # Errors
/// A sentence that names the file; nothing is left behind then.
pub(super) fn create(
    path: &Path,
    format: Format,
    parent: &Path,
    like: (Option<u64>, Option<u64>),
    parents: &ParentArgs,
    (existing, stop): (Existing, &AtomicBool),
) -> Result<u64, String> {
    let folders = ParentFolders::new(&parents.parent_dir)?;
    child::create(path, format, parent, like, &folders, existing, || work::unless_stopped(stop, path))
}
