//! Making a differencing disk, for `image create --parent` and `image snapshot`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::open::{ParentArgs, open};
use super::work;
use crate::engine::new_file::{Existing, NewFile};
use crate::engine::{HostEnvironment, host_parents};
use crate::image::{Access, ChildOptions, Format};

/// Makes `path` a child of `parent`, which is opened with all its own parents first. Answers the size of the disk.
///
/// # Errors
/// A sentence that names the file; nothing is left behind then.
pub(super) fn create(
    path: &Path,
    format: Format,
    parent: &Path,
    (size, block_size): (Option<u64>, Option<u64>),
    parents: &ParentArgs,
    (existing, stop): (Existing, &AtomicBool),
) -> Result<u64, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", parent.display());
    let opened = open(parent, None, Access::ReadOnly, parents).map_err(|refused| refused.message)?;
    if opened.format != format {
        return Err(format!(
            "{} is a {} image and cannot be the parent of a {format} image: both have the same format",
            parent.display(),
            opened.format
        ));
    }
    let disk = opened.disk(Access::ReadOnly).map_err(|e| failed(&e))?;
    let geometry = disk.geometry();
    let size = size.unwrap_or(geometry.size);
    if size < geometry.size || format == Format::Vhd && size != geometry.size {
        return Err(format!(
            "the size {size} does not fit the parent's {} bytes: a {format} child {}",
            geometry.size,
            if format == Format::Vhd {
                "has its parent's size"
            } else {
                "is at least as large as its parent"
            }
        ));
    }
    let id = format.identity(&opened.file).map_err(|e| failed(&e))?;
    let folder =
        path.parent().filter(|p| !p.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_owned);
    let record = host_parents::record(parent, &folder, id).map_err(|e| failed(&e))?;
    let options = ChildOptions {
        parent: record,
        size,
        block_size,
        logical_sector: geometry.logical_block,
        physical_sector: geometry.physical_block,
    };
    let new = NewFile::beside(path).map_err(|e| e.to_string())?;
    format
        .create_child(&*new.file(), &options, &HostEnvironment)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    work::unless_stopped(stop, path)?;
    new.commit(existing).map_err(|e| e.to_string())?;
    Ok(size)
}
