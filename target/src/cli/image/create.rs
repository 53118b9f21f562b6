//! `image create`.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::json;

use super::open::ParentArgs;
use super::{NewImageArgs, OutputArgs, bytes, child, must_not_exist, work};
use crate::daemon::size;
use crate::engine::HostEnvironment;
use crate::engine::new_file::{Existing, NewFile};
use crate::image::Format;

/// Makes a new, empty image. A file that is there already is never touched
#[derive(Clone, Debug, Args)]
pub(super) struct CreateArgs {
    /// The image to make. Its extension tells the format: .vhdx, .vhd, or .raw, .img, .bin
    path: PathBuf,
    /// Size of the disk, such as 10G, 1.5T or a number of bytes [with --parent: the parent's]
    #[arg(long, value_parser = size::parse, required_unless_present = "parent")]
    size: Option<u64>,
    /// Make a differencing disk: what it does not hold itself it reads from this image, which must not change from now on
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["fixed", "sector_size", "phys_sector_size"])]
    parent: Option<PathBuf>,
    #[command(flatten)]
    new: NewImageArgs,
    #[command(flatten)]
    parents: ParentArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes the image; `stop` keeps it from getting its name.
pub(super) fn create(args: &CreateArgs, stop: &AtomicBool) -> Result<(), String> {
    let path = &args.path;
    let format = args.new.format(path)?;
    must_not_exist(path, "; nothing was changed")?;
    if let Some(parent) = &args.parent {
        let size = child::create(
            path,
            format,
            parent,
            (args.size, args.new.block_size),
            &args.parents,
            (Existing::Keep, stop),
        )?;
        return args.output.say(
            &json!({
                "file": path, "format": format, "subformat": "differencing", "virtual_size": size, "parent": parent,
            }),
            format_args!("{}: {format} differencing, {}", path.display(), bytes(size)),
        );
    }
    let size = args.size.unwrap_or_default();
    let new = NewFile::beside(path).map_err(|e| e.to_string())?;
    let options = args.new.options(size);
    format
        .create(&*new.file(), &options, &HostEnvironment)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    work::unless_stopped(stop, path)?;
    new.commit(Existing::Keep).map_err(|e| e.to_string())?;
    // Raw has no kinds: the host decides what takes space.
    let kind = match (format, args.new.fixed) {
        (Format::Raw, _) => None,
        (_, true) => Some("fixed"),
        (_, false) => Some("dynamic"),
    };
    args.output.say(
        &json!({ "file": path, "format": format, "subformat": kind, "virtual_size": size }),
        format_args!(
            "{}: {}, {}",
            path.display(),
            format!("{format} {}", kind.unwrap_or_default()).trim_end(),
            bytes(size)
        ),
    )
}
