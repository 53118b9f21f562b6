//! `image snapshot`, `reset`, `merge`: the life of a differencing disk.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::json;

use super::open::Opened;
use super::tools::ImageArg;
use super::{OutputArgs, bytes, child, work};
use crate::daemon::child::snapshot_path;
use crate::engine::HostFile;
use crate::engine::new_file::Existing;
use crate::image::{Access, chain, merge};

/// Keeps the state of an image: its file gets the name of the snapshot, and a new differencing disk takes its place. The new
/// name appears first, then the image is replaced in one step; stopped in between, nothing has happened but the second name
#[derive(Clone, Debug, Args)]
pub(super) struct SnapshotArgs {
    #[command(flatten)]
    image: ImageArg,
    /// Name of the snapshot: IMAGE.NAME.EXTENSION [default: the first free number]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn snapshot(args: &SnapshotArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let base = snapshot_path(&image.path, args.name.as_deref())?;
    // Nobody may write it, and a log that a crash left is replayed now: a parent is never written.
    let opened = image.open(Access::ReadWrite)?;
    let format = opened.format;
    let disk = opened.disk(Access::ReadWrite).map_err(|e| image.failed(e))?;
    disk.close().map_err(|e| image.failed(e))?;
    drop((disk, opened));
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", base.display());
    fs::hard_link(&image.path, &base).map_err(|e| failed(&e))?;
    HostFile::sync_folder_of(&base).map_err(|e| failed(&e))?;
    let how = (Existing::Replace, stop);
    match child::create(&image.path, format, &base, (None, None), &image.parents, how) {
        Ok(size) => args.output.say(
            &json!({ "file": image.path, "format": format, "virtual_size": size, "snapshot": base }),
            format_args!(
                "{}: {format} differencing, {}\n{}: its state until now, which must not change",
                image.path.display(),
                bytes(size),
                base.display()
            ),
        ),
        Err(e) => {
            // The image is as it was; only the second name goes.
            let _ = fs::remove_file(&base);
            Err(e)
        }
    }
}

fn parent_path(image: &ImageArg, opened: &Opened) -> Result<PathBuf, String> {
    let (members, broken) = chain::ancestors(opened.format, &opened.file, &opened.lineage);
    match (members.into_iter().next(), broken) {
        (Some(parent), _) => Ok(parent.label.into()),
        (None, Some(e)) => Err(image.failed(e)),
        (None, None) => Err(image.failed("it has no parent")),
    }
}

/// Throws away all that a differencing disk holds, so that it reads as its parent again. Takes the same time for every size
#[derive(Clone, Debug, Args)]
pub(super) struct ResetArgs {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn reset(args: &ResetArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let opened = image.open(Access::ReadWrite)?;
    let parent = parent_path(image, &opened)?;
    let info = opened.format.inspect(&opened.file).map_err(|e| image.failed(e))?;
    let like = (Some(info.virtual_size), info.block_size);
    // The lock of the old file is held until the new one has its name.
    let how = (Existing::Replace, stop);
    child::create(&image.path, opened.format, &parent, like, &image.parents, how)?;
    drop(opened);
    args.output.say(
        &json!({ "file": image.path, "parent": parent }),
        format_args!("{}: as {} again", image.path.display(), parent.display()),
    )
}

/// Writes what a differencing disk holds into its parent, which then reads as the disk does. Stopped at any point, the disk reads
/// as before, and the merge may be started again. The parent's other children, if it has any, are lost
#[derive(Clone, Debug, Args)]
pub(super) struct MergeArgs {
    #[command(flatten)]
    image: ImageArg,
    /// Let the merged parent take the image's name. Without it both files stay
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn merge(args: &MergeArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let opened = image.open(Access::ReadWrite)?;
    let parent = parent_path(image, &opened)?;
    let info = opened.format.inspect(&opened.file).map_err(|e| image.failed(e))?;
    let file = opened.folders.writable(&parent).map_err(|e| e.to_string())?;
    let size =
        opened.format.inspect(&file.file).map_err(|e| format!("{}: {e}", parent.display()))?.virtual_size;
    if info.virtual_size > size {
        return Err(image.failed(format_args!(
            "it is larger than its parent; first give {} the size {}",
            parent.display(),
            info.virtual_size
        )));
    }
    work::with_progress(info.virtual_size, stop, |progress| {
        merge::merge(opened.format, (&opened.file, opened.key), file, &opened.environment, progress)
    })
    .map_err(|e| image.failed(e))?;
    if args.replace {
        let failed = |e: std::io::Error| format!("{}: {e}", parent.display());
        fs::rename(&parent, &image.path).map_err(failed)?;
        HostFile::sync_folder_of(&image.path).map_err(failed)?;
        HostFile::sync_folder_of(&parent).map_err(failed)?;
        args.output.say(
            &json!({ "file": image.path, "merged": image.path, "parent": parent }),
            format_args!("{}: merged, in place of {}", image.path.display(), parent.display()),
        )
    } else {
        args.output.say(
            &json!({ "file": image.path, "merged": parent, "parent": parent }),
            format_args!("{}: holds all of {} now", parent.display(), image.path.display()),
        )
    }
}
