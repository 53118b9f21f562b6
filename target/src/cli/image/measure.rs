//! `image measure`.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Serialize;

use super::open::{ParentArgs, open};
use super::{NewImageArgs, OutputArgs, bytes, work};
use crate::daemon::size;
use crate::image::{Access, Format, measure};

/// Tells how many bytes a conversion will need, or a new image of a given size. Nothing is changed
#[derive(Clone, Debug, Args)]
pub(super) struct MeasureArgs {
    /// The image that would be converted
    #[arg(required_unless_present = "size")]
    path: Option<PathBuf>,
    /// The format of that image [default: what its content shows]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Size of a new, empty image instead, such as 10G
    #[arg(long, value_parser = size::parse, conflicts_with = "path")]
    size: Option<u64>,
    #[command(flatten)]
    new: NewImageArgs,
    #[command(flatten)]
    parents: ParentArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was found; all in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Measured {
    format: Format,
    virtual_size: u64,
    /// Length of the file that a conversion makes.
    pub(super) required: u64,
    /// Length of the file when every block has space.
    pub(super) fully_allocated: u64,
    /// What of the disk is not zero, in pieces of 4096.
    pub(super) data: u64,
}

pub(super) fn measure(args: &MeasureArgs, stop: &AtomicBool) -> Result<(), String> {
    let found = measured(args, stop)?;
    let document = serde_json::to_value(found).map_err(|e| e.to_string())?;
    args.output.say(
        &document,
        format_args!(
            "required:         {}\nfully allocated:  {}\nnot zero:         {}",
            bytes(found.required),
            bytes(found.fully_allocated),
            bytes(found.data)
        ),
    )
}

pub(super) fn measured(args: &MeasureArgs, stop: &AtomicBool) -> Result<Measured, String> {
    let Some(format) = args.new.format else {
        return Err("say with --format which format the new image would have".to_owned());
    };
    let of_size = |size| format.measure(&args.new.options(size)).map_err(|e| e.to_string());
    let (virtual_size, file, content) = match &args.path {
        Some(path) => {
            let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let opened = open(path, args.input_format, Access::ReadOnly, &args.parents)
                .map_err(|refused| refused.message)?;
            let disk = opened.disk(Access::ReadOnly).map_err(|e| failed(&e))?;
            let size = disk.geometry().size;
            let file = of_size(size)?;
            let content = work::with_progress(size, stop, |progress| {
                measure::content(&*disk, file.block_size, progress)
            });
            (size, file, content.map_err(|e| failed(&e))?)
        }
        None => {
            let size = args.size.unwrap_or_default();
            (size, of_size(size)?, measure::Content::default())
        }
    };
    Ok(Measured {
        format,
        virtual_size,
        required: file.len(content.blocks),
        fully_allocated: file.len(virtual_size.div_ceil(file.block_size)),
        data: content.data,
    })
}
