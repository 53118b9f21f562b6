//! `image map`, `compare`, `digest`, `resize`, `compact`.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::open::{Opened, ParentArgs, open};
use super::{OutputArgs, bytes, work};
use crate::cli::output;
use crate::daemon::size;
use crate::image::{Access, Format, chain, tools};

/// An image that a command works on.
#[derive(Clone, Debug, Args)]
pub(super) struct ImageArg {
    /// The image
    pub(super) path: PathBuf,
    /// Its format [default: what its content shows]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    #[command(flatten)]
    pub(super) parents: ParentArgs,
}

impl ImageArg {
    pub(super) fn open(&self, access: Access) -> Result<Opened, String> {
        open(&self.path, self.format, access, &self.parents).map_err(|refused| refused.message)
    }

    pub(super) fn failed(&self, e: impl std::fmt::Display) -> String {
        format!("{}: {e}", self.path.display())
    }
}

/// Lists which parts of the disk take space, and whether in this file or in a parent
#[derive(Clone, Debug, Args)]
pub(super) struct MapArgs {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Run {
    start: u64,
    length: u64,
    data: bool,
    own: bool,
}

pub(super) fn map(args: &MapArgs) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| args.image.failed(e);
    let disk = args.image.open(Access::ReadOnly)?.disk(Access::ReadOnly).map_err(|e| failed(&e))?;
    let mut runs = Vec::new();
    tools::map(&*disk, |e| runs.push(Run { start: e.offset, length: e.length, data: e.mapped, own: e.own }))
        .map_err(|e| failed(&e))?;
    if args.output.json {
        return output::json(&runs);
    }
    for run in runs {
        let what = if run.data { "data" } else { "zero" };
        let whose = if run.own { "" } else { ", of a parent" };
        output::line(format_args!("{:>20} {:>20} {what}{whose}", run.start, run.length));
    }
    Ok(())
}

/// Compares the content of two images, whatever their formats
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes: 0 the same content, 1 different, or it could not be compared")]
pub(super) struct CompareArgs {
    #[command(flatten)]
    image: ImageArg,
    /// The other image
    other: PathBuf,
    /// Its format [default: what its content shows]
    #[arg(short = 'F', long, value_name = "FORMAT")]
    other_format: Option<Format>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn compare(args: &CompareArgs, stop: &AtomicBool) -> Result<(), String> {
    let other =
        ImageArg { path: args.other.clone(), format: args.other_format, parents: args.image.parents.clone() };
    let disk =
        |image: &ImageArg| image.open(Access::ReadOnly)?.disk(Access::ReadOnly).map_err(|e| image.failed(e));
    let (a, b) = (disk(&args.image)?, disk(&other)?);
    let sizes = (a.geometry().size, b.geometry().size);
    let found =
        work::with_progress(sizes.0.max(sizes.1), stop, |progress| tools::compare(&*a, &*b, progress));
    let found = found.map_err(|e| e.to_string())?;
    let document = json!({
        "equal": found.is_none(), "first_difference": found, "virtual_sizes": [sizes.0, sizes.1],
    });
    if let Some(at) = found {
        if args.output.json {
            output::json(&document)?;
        }
        return Err(format!("the content differs first at byte {at}"));
    }
    let more = match sizes.0 == sizes.1 {
        true => String::new(),
        false => format!("; the sizes are {} and {} bytes", sizes.0, sizes.1),
    };
    args.output.say(&document, format_args!("the same content{more}"))
}

/// Prints a digest of the content that does not depend on format, holes or chain
#[derive(Clone, Debug, Args)]
pub(super) struct DigestArgs {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn digest(args: &DigestArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let disk = image.open(Access::ReadOnly)?.disk(Access::ReadOnly).map_err(|e| image.failed(e))?;
    let size = disk.geometry().size;
    let digest = work::with_progress(size, stop, |progress| tools::digest(&*disk, progress));
    let text: String = digest.map_err(|e| image.failed(e))?.iter().map(|b| format!("{b:02x}")).collect();
    args.output.say(
        &json!({ "file": image.path, "digest": text, "virtual_size": size }),
        format_args!("{text}  {}", image.path.display()),
    )
}

/// Gives the disk another size
#[derive(Clone, Debug, Args)]
pub(super) struct ResizeArgs {
    #[command(flatten)]
    image: ImageArg,
    /// The new size, such as 20G
    #[arg(long, value_parser = size::parse)]
    size: u64,
    /// Allow a smaller size, when nothing but zeros is cut off
    #[arg(long)]
    shrink: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn resize(args: &ResizeArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let failed = |e: &dyn std::fmt::Display| image.failed(e);
    let opened = image.open(Access::ReadWrite)?;
    // With its parents, so that what cannot be served is not changed either.
    let disk = opened.disk(Access::ReadWrite).map_err(|e| failed(&e))?;
    let old = disk.geometry().size;
    let mut cut = Ok(None);
    if args.size < old {
        if !args.shrink {
            let (old, new) = (bytes(old), bytes(args.size));
            return Err(failed(&format_args!("{new} is less than its {old}; --shrink allows that")));
        }
        let (parents, _) = chain::ancestors(opened.format, &opened.file, &opened.lineage);
        if let Some(parent) = parents.first().filter(|parent| parent.info.virtual_size > args.size) {
            return Err(failed(&format_args!(
                "a child is at least as large as its parent, and {} has {}",
                parent.label,
                bytes(parent.info.virtual_size)
            )));
        }
        cut = work::with_progress(old, stop, |progress| tools::shrinkable(&*disk, args.size, progress));
    }
    disk.close().map_err(|e| failed(&e))?;
    drop(disk);
    if let Some(at) = cut.map_err(|e| failed(&e))? {
        return Err(failed(&format_args!(
            "there is data at byte {at}, which would be cut off; nothing was changed"
        )));
    }
    opened.format.resize(&opened.file, args.size, &opened.environment).map_err(|e| failed(&e))?;
    args.output.say(
        &json!({ "file": image.path, "virtual_size": args.size, "previous_virtual_size": old }),
        format_args!("{}: {} instead of {}", image.path.display(), bytes(args.size), bytes(old)),
    )
}

/// Gives back the space of what is zero, and moves blocks so that the file gets shorter. Stopped, it has done a part
#[derive(Clone, Debug, Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    image: ImageArg,
    /// Do not look for zeros, only move blocks
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn compact(args: &CompactArgs, stop: &AtomicBool) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let image = &args.image;
    let sizes = || {
        let found = std::fs::metadata(&image.path);
        found.map_or((0, 0), |m| (m.len(), m.blocks().saturating_mul(512)))
    };
    let before = sizes();
    let opened = image.open(Access::ReadWrite)?;
    // With its parents, so that what cannot be served is not changed either.
    let disk = opened.disk(Access::ReadWrite).map_err(|e| image.failed(e))?;
    if !disk.geometry().thin {
        return Err(image.failed("a fixed disk keeps its space; convert it to a dynamic one"));
    }
    let size = disk.geometry().size;
    let done = match args.quick {
        true => Ok(()),
        false => work::with_progress(size, stop, |progress| tools::compact(&*disk, progress)),
    };
    disk.close().map_err(|e| image.failed(e))?;
    drop(disk);
    done.map_err(|e| image.failed(e))?;
    work::with_progress(sizes().0, stop, |progress| {
        opened.format.compact(&opened.file, &opened.environment, progress)
    })
    .map_err(|e| image.failed(e))?;
    drop(opened);
    let after = sizes();
    args.output.say(
        &json!({
            "file": image.path, "file_size": after.0, "previous_file_size": before.0,
            "disk_usage": after.1, "previous_disk_usage": before.1,
        }),
        format_args!(
            "{}: {} on disk instead of {}, a file of {} instead of {}",
            image.path.display(),
            bytes(after.1),
            bytes(before.1),
            bytes(after.0),
            bytes(before.0)
        ),
    )
}
