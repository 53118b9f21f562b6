//! `image rebase`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::json;

use super::open::open;
use super::tools::ImageArg;
use super::{OutputArgs, bytes, work};
use crate::engine::host_parents;
use crate::image::{Access, OpenErrorKind, rebase};

/// Gives a differencing disk another parent. What the new parent says differently is written to the disk first, so that it reads
/// as before; stopped at any point, it does too
#[derive(Clone, Debug, Args)]
pub(super) struct RebaseArgs {
    #[command(flatten)]
    image: ImageArg,
    /// The new parent
    #[arg(long, value_name = "IMAGE")]
    parent: PathBuf,
    /// Only write down the new parent. The old one is not looked at and may be gone; what the disk reads as may change
    #[arg(long = "unsafe")]
    unchecked: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn rebase(args: &RebaseArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let failed = |e: &dyn std::fmt::Display| image.failed(e);
    let of_parent = |e: &dyn std::fmt::Display| format!("{}: {e}", args.parent.display());
    let opened = image.open(Access::ReadWrite)?;
    let format = opened.format;
    let info = format.inspect(&opened.file).map_err(|e| failed(&e))?;
    if info.parent.is_none() {
        return Err(failed(&"it has no parent"));
    }
    let parent =
        open(&args.parent, None, Access::ReadOnly, &image.parents).map_err(|refused| refused.message)?;
    if parent.format != format {
        return Err(of_parent(&format_args!(
            "a {} image cannot be the parent of a {format} image: both have the same format",
            parent.format
        )));
    }
    let base = parent.disk(Access::ReadOnly).map_err(|e| of_parent(&e))?;
    let geometry = base.geometry();
    if geometry.logical_block != info.logical_sector || geometry.size > info.virtual_size {
        return Err(of_parent(&format_args!(
            "its {} bytes in sectors of {} do not fit the disk's {} bytes in sectors of {}",
            geometry.size, geometry.logical_block, info.virtual_size, info.logical_sector
        )));
    }
    let id = format.identity(&parent.file).map_err(|e| of_parent(&e))?;
    let folder = image.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let record = host_parents::record(&args.parent, folder, id).map_err(|e| of_parent(&e))?;
    let mut taken = 0;
    if !args.unchecked {
        let disk = opened.disk(Access::ReadWrite).map_err(|e| match e.kind() {
            OpenErrorKind::ParentNeeded => {
                failed(&format_args!("{e}. Without the old parent only --unsafe is possible"))
            }
            _ => failed(&e),
        })?;
        let size = disk.geometry().size;
        let done = work::with_progress(size, stop, |progress| rebase::take_over(&*disk, &*base, progress));
        disk.close().map_err(|e| failed(&e))?;
        taken = done.map_err(|e| failed(&e))?;
    }
    format.set_parent(&opened.file, &record, &opened.environment).map_err(|e| failed(&e))?;
    args.output.say(
        &json!({ "file": image.path, "parent": args.parent, "copied": taken, "checked": !args.unchecked }),
        format_args!(
            "{}: a child of {} now; {}",
            image.path.display(),
            args.parent.display(),
            if args.unchecked {
                "nothing was compared".to_owned()
            } else {
                format!("{} of the old parent were copied", bytes(taken))
            }
        ),
    )
}
