//! Making a differencing disk, for `image create --parent`, and for snapshots and resets, whether the image is served or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::new_file::{Existing, NewFile};
use crate::engine::{HostEnvironment, HostFile, ParentFolders, host_parents};
use crate::image::{Access, BlockFile, ChildOptions, Environment, Format, decide};

/// Makes `path` a child of `parent`, which is opened with all its own parents first. Answers the size of the disk. `proceed` is asked
/// when the file is whole and has not got its name.
///
/// # Errors
/// A sentence that names the file; nothing is left behind then.
pub fn create(
    path: &Path,
    format: Format,
    parent: &Path,
    (size, block_size): (Option<u64>, Option<u64>),
    parents: &Arc<ParentFolders>,
    existing: Existing,
    proceed: impl FnOnce() -> Result<(), String>,
) -> Result<u64, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", parent.display());
    let file = HostFile::open(parent, Access::ReadOnly).map_err(|e| e.to_string())?;
    let lineage = parents.lineage(&file).map_err(|e| failed(&e))?;
    let found = decide(&file, parent, None).map_err(|e| failed(&e))?;
    if found != format {
        return Err(format!(
            "{} is a {found} image and cannot be the parent of a {format} image: both have the same format",
            parent.display(),
        ));
    }
    let file: Arc<dyn BlockFile> = Arc::new(file);
    let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let disk = format
        .open_in(Arc::clone(&file), Access::ReadOnly, &environment, &lineage)
        .map_err(|e| failed(&e))?;
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
    let id = format.identity(&file).map_err(|e| failed(&e))?;
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
    proceed()?;
    new.commit(existing).map_err(|e| e.to_string())?;
    Ok(size)
}

/// The file that keeps the state of `image` under `name`: IMAGE.NAME.EXTENSION. Without a name, the first number that is free.
///
/// # Errors
/// A sentence, when the name cannot be part of a file name or is taken.
pub fn snapshot_path(image: &Path, name: Option<&str>) -> Result<PathBuf, String> {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    let extension = image.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let named = |name: &str| image.with_file_name(format!("{stem}.{name}{extension}"));
    let path = match name {
        Some(name) if name.is_empty() || name.contains(['/', '\\', '\0']) => {
            return Err(format!("{name:?} cannot be part of a file name"));
        }
        Some(name) => named(name),
        None => {
            let numbers = (1u32..).map(|n| named(&n.to_string()));
            numbers.into_iter().find(|path| !path.exists()).unwrap_or_default()
        }
    };
    match path.try_exists() {
        Ok(false) => Ok(path),
        Ok(true) => Err(format!("{} exists already; give another --name", path.display())),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}
