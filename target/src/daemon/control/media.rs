//! What is done to the image of a served LUN: it grows, gets a snapshot, is reset, gives way to another.
//!
//! All of it happens while no operation is on the disk ([`Medium::exchange`](crate::engine::Medium::exchange)): what was written is made stable, the disk is
//! closed, its file changed as the offline tools change it, and opened again. When something fails on the way, what was there before is
//! served again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Refusal;
use crate::daemon::prepare::{LunImage, PreparedLun};
use crate::daemon::spec::LunSpec;
use crate::daemon::{child, images};
use crate::engine::medium::{ExchangeError, Exchanged};
use crate::engine::new_file::Existing;
use crate::engine::{HostEnvironment, HostFile, ParentFolders};
use crate::image::{Access, BlockFile, Disk, Environment, FileKey, Format, chain};
use crate::limits::MAX_CHAIN_DEPTH;

/// How long operations on the disk may take to end before a change gives up. New ones wait that long at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// A disk that is in place of another, and its file.
type Opened = (Arc<dyn Disk>, Arc<HostFile>);

/// Why the image of this LUN cannot be changed, before anything is begun.
fn writable(lun: &PreparedLun) -> Result<(LunImage, Arc<HostFile>), String> {
    let image = lun.image().clone();
    if lun.disk.geometry().read_only {
        return Err(format!("{} is served read-only", image.spec.path.display()));
    }
    let file = image.file.clone().ok_or_else(|| format!("{} is closed", image.spec.path.display()))?;
    Ok((image, file))
}

fn text<E: std::fmt::Display>(error: ExchangeError<E>) -> String {
    error.to_string()
}

/// Makes what was written stable and closes the disk. In error, answers with a disk to go on with.
fn shut<T>(
    disk: Arc<dyn Disk>,
    reopen: impl FnOnce() -> Result<Arc<dyn Disk>, String>,
) -> Result<(), Exchanged<T, String>> {
    if let Err(error) = disk.flush() {
        return Err((Some(disk), Err(error.to_string())));
    }
    let closed = disk.close();
    drop(disk);
    closed.map_err(|error| match reopen() {
        Ok(disk) => (Some(disk), Err(error.to_string())),
        Err(reopening) => (None, Err(format!("{error}; then it could not be opened again: {reopening}"))),
    })
}

/// Checks that a LUN can be made `size` bytes long.
///
/// # Errors
/// [`Refusal`] with the reason.
pub(super) fn may_grow(lun: &PreparedLun, size: u64) -> Result<(), Refusal> {
    let geometry = lun.disk.geometry();
    if size < geometry.size {
        return Err(Refusal::conflict(format!(
            "it has {} bytes, and while it is served it can only grow: initiators may have data behind the new end. To shrink it, \
             remove the LUN, use `image resize`, and add it again",
            geometry.size
        )));
    }
    if !size.is_multiple_of(geometry.logical_block.into()) {
        return Err(Refusal::malformed(format!(
            "{size} bytes are not a multiple of its blocks of {} bytes",
            geometry.logical_block
        )));
    }
    Ok(())
}

/// Makes the image `size` bytes long.
///
/// # Errors
/// A sentence. The image has its old size then, and is served as before unless the text says otherwise.
pub(super) fn grow(lun: &PreparedLun, parents: &Arc<ParentFolders>, size: u64) -> Result<(), String> {
    let (image, file) = writable(lun)?;
    let reopen = || {
        images::open_file(&image.spec, file.clone(), Access::ReadWrite, parents)
            .map(|open| open.disk)
            .map_err(|error| error.to_string())
    };
    let content: Arc<dyn BlockFile> = file.clone();
    let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let work = |disk: Arc<dyn Disk>| {
        if let Err(given_up) = shut(disk, reopen) {
            return given_up;
        }
        let resized = image.format.resize(&content, size, &environment).map_err(|error| error.to_string());
        match reopen() {
            Ok(disk) => (Some(disk), resized),
            Err(error) => (None, Err(format!("it is not served any more: {error}"))),
        }
    };
    lun.disk.exchange(PATIENCE, work).map_err(text)
}

/// Checks that a LUN can get a snapshot, and says what its file will be called then.
///
/// # Errors
/// [`Refusal`] with the reason.
pub(super) fn may_snapshot(lun: &PreparedLun, name: Option<&str>) -> Result<PathBuf, Refusal> {
    let (image, _) = writable(lun).map_err(Refusal::conflict)?;
    let path = &image.spec.path;
    if image.format == Format::Raw {
        return Err(Refusal::conflict(format!(
            "{} is a raw image, which can have no differencing disk; convert it to VHDX for snapshots",
            path.display()
        )));
    }
    if lun.disk.chain_depth() >= MAX_CHAIN_DEPTH {
        return Err(Refusal::conflict(format!(
            "{} has {MAX_CHAIN_DEPTH} files in its chain already; merge some of them first",
            path.display()
        )));
    }
    child::snapshot_path(path, name).map_err(Refusal::conflict)
}

/// Keeps the state of the image: its file gets the second name `base`, and a new child of that takes its place under the old
/// name. So the configuration, and the identity of the LUN, go on to mean what is served.
///
/// # Errors
/// A sentence. All is as before then, unless the text says otherwise.
pub(super) fn snapshot(lun: &PreparedLun, parents: &Arc<ParentFolders>, base: &Path) -> Result<(), String> {
    let (image, file) = writable(lun)?;
    let path = &image.spec.path;
    let key = file.key().map_err(|error| format!("{}: {error}", path.display()))?;
    let reopen = || -> Result<Arc<dyn Disk>, String> {
        file.own().map_err(|error| format!("{}: {error}", path.display()))?;
        let open = images::open_file(&image.spec, file.clone(), Access::ReadWrite, parents);
        open.map(|open| open.disk).map_err(|error| error.to_string())
    };
    let work = |disk: Arc<dyn Disk>| {
        if let Err(given_up) = shut(disk, reopen) {
            return given_up;
        }
        match put_child(&image, &file, base, parents) {
            Ok((disk, file)) => (Some(disk), Ok(file)),
            Err(error) => match restore(path, base, key).and_then(|()| reopen()) {
                Ok(disk) => (Some(disk), Err(error)),
                Err(after) => (None, Err(format!("{error}; it is not served any more: {after}"))),
            },
        }
    };
    let new = lun.disk.exchange(PATIENCE, work).map_err(text)?;
    lun.image().file = Some(new);
    Ok(())
}

fn put_child(
    image: &LunImage,
    file: &HostFile,
    base: &Path,
    parents: &Arc<ParentFolders>,
) -> Result<Opened, String> {
    let path = &image.spec.path;
    let failed = |error: std::io::Error| format!("{}: {error}", base.display());
    file.share().map_err(|error| format!("{}: {error}", path.display()))?;
    fs::hard_link(path, base).map_err(failed)?;
    HostFile::sync_folder_of(base).map_err(failed)?;
    child::create(path, image.format, base, (None, None), parents, Existing::Replace, || Ok(()))?;
    let open = images::open(&image.spec, Access::ReadWrite, parents).map_err(|error| error.to_string())?;
    Ok((open.disk, open.file))
}

/// Gives the file `key`, which is the parent under the name `base`, its own name back.
fn restore(path: &Path, base: &Path, key: FileKey) -> Result<(), String> {
    let is = |path: &Path| {
        path.metadata().is_ok_and(|found| found.dev() == key.device && found.ino() == key.inode)
    };
    let undone = match (is(path), is(base)) {
        // Renaming one name of a file over another of the same file does nothing.
        (true, true) => fs::remove_file(base),
        (false, true) => fs::rename(base, path),
        (_, false) => Ok(()),
    };
    undone
        .and_then(|()| HostFile::sync_folder_of(path))
        .map_err(|error| format!("{}: {error}", base.display()))
}

/// Throws away what the image holds beyond its parent.
///
/// # Errors
/// A sentence. All is as before then, unless the text says otherwise.
pub(super) fn reset(lun: &PreparedLun, parents: &Arc<ParentFolders>) -> Result<(), String> {
    let (image, file) = writable(lun)?;
    let reopen = || {
        images::open_file(&image.spec, file.clone(), Access::ReadWrite, parents)
            .map(|open| open.disk)
            .map_err(|error| error.to_string())
    };
    let work = |disk: Arc<dyn Disk>| {
        if let Err(given_up) = shut(disk, reopen) {
            return given_up;
        }
        if let Err(error) = put_empty_child(&image, &file, parents) {
            return match reopen() {
                Ok(disk) => (Some(disk), Err(error)),
                Err(after) => (None, Err(format!("{error}; it is not served any more: {after}"))),
            };
        }
        match images::open(&image.spec, Access::ReadWrite, parents) {
            Ok(open) => (Some(open.disk), Ok(open.file)),
            Err(error) => (None, Err(format!("it is not served any more: {error}"))),
        }
    };
    let new = lun.disk.exchange(PATIENCE, work).map_err(text)?;
    lun.image().file = Some(new);
    Ok(())
}

fn put_empty_child(
    image: &LunImage,
    file: &Arc<HostFile>,
    parents: &Arc<ParentFolders>,
) -> Result<(), String> {
    let path = &image.spec.path;
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let lineage = parents.lineage(file).map_err(|error| failed(&error))?;
    let content: Arc<dyn BlockFile> = file.clone();
    let (ancestors, broken) = chain::ancestors(image.format, &content, &lineage);
    let parent: PathBuf = match (ancestors.into_iter().next(), broken) {
        (Some(parent), _) => parent.label.into(),
        (None, Some(error)) => return Err(failed(&error)),
        (None, None) => return Err(failed(&"it has no parent that it could be reset to")),
    };
    let info = image.format.inspect(&content).map_err(|error| failed(&error))?;
    let like = (Some(info.virtual_size), info.block_size);
    child::create(path, image.format, &parent, like, parents, Existing::Replace, || Ok(())).map(|_| ())
}

/// Whether the image of a LUN is a differencing disk.
pub(super) fn is_child(lun: &PreparedLun) -> bool {
    lun.disk.chain_depth() > 1
}

/// Puts the image that `spec` names in place of the one that is in.
///
/// # Errors
/// A sentence; the old one is in then.
pub(super) fn insert(lun: &PreparedLun, parents: &Arc<ParentFolders>, spec: LunSpec) -> Result<(), String> {
    let open = images::open(&spec, images::access_of(&spec), parents).map_err(|error| error.to_string())?;
    let (format, file) = (open.format, open.file);
    let work = |old: Arc<dyn Disk>| {
        if let Err(error) = old.close() {
            tracing::error!(%error, "cannot close the image that was ejected");
        }
        (Some(open.disk), Ok::<_, String>(()))
    };
    lun.disk.exchange(PATIENCE, work).map_err(text)?;
    *lun.image() = LunImage { spec, format, file: Some(file) };
    Ok(())
}
