//! `image map`, `compare`, `digest`, `resize`, `compact`.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Serialize;

use super::open::{Opened, ParentArgs, open};
use super::{bytes, work};
use crate::cli::output;
use crate::daemon::size;
use crate::image::{Access, Format, tools};

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
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    if args.json {
        output::line(serde_json::to_string_pretty(&runs).map_err(|e| e.to_string())?);
        return Ok(());
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
    match found.map_err(|e| e.to_string())? {
        Some(at) => Err(format!("the content differs first at byte {at}")),
        None if sizes.0 != sizes.1 => {
            output::line(format_args!("the same content; the sizes are {} and {} bytes", sizes.0, sizes.1));
            Ok(())
        }
        None => {
            output::line("the same content");
            Ok(())
        }
    }
}

/// Prints a digest of the content that does not depend on format, holes or chain
#[derive(Clone, Debug, Args)]
pub(super) struct DigestArgs {
    #[command(flatten)]
    image: ImageArg,
}

pub(super) fn digest(args: &DigestArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let disk = image.open(Access::ReadOnly)?.disk(Access::ReadOnly).map_err(|e| image.failed(e))?;
    let size = disk.geometry().size;
    let digest = work::with_progress(size, stop, |progress| tools::digest(&*disk, progress));
    let text: String = digest.map_err(|e| image.failed(e))?.iter().map(|b| format!("{b:02x}")).collect();
    output::line(format_args!("{text}  {}", image.path.display()));
    Ok(())
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
    output::line(format_args!("{}: {} instead of {}", image.path.display(), bytes(args.size), bytes(old)));
    Ok(())
}

/// Gives back the space of what is zero. Stopped, it has done a part
#[derive(Clone, Debug, Args)]
pub(super) struct CompactArgs {
    #[command(flatten)]
    image: ImageArg,
}

pub(super) fn compact(args: &CompactArgs, stop: &AtomicBool) -> Result<(), String> {
    let image = &args.image;
    let used = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&image.path).map_or(0, |m| m.blocks().saturating_mul(512))
    };
    let before = used();
    let opened = image.open(Access::ReadWrite)?;
    let disk = opened.disk(Access::ReadWrite).map_err(|e| image.failed(e))?;
    if !disk.geometry().thin {
        return Err(image.failed("a fixed disk keeps its space; convert it to a dynamic one"));
    }
    let size = disk.geometry().size;
    let done = work::with_progress(size, stop, |progress| tools::compact(&*disk, progress));
    disk.close().map_err(|e| image.failed(e))?;
    drop((disk, opened));
    done.map_err(|e| image.failed(e))?;
    output::line(format_args!(
        "{}: {} on disk instead of {}",
        image.path.display(),
        bytes(used()),
        bytes(before)
    ));
    Ok(())
}
