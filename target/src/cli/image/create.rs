//! `image create`.

use std::path::PathBuf;

use clap::Args;

use super::open::ParentArgs;
use super::{NewImageArgs, bytes, child, must_not_exist};
use crate::cli::output;
use crate::daemon::size;
use crate::engine::HostEnvironment;
use crate::engine::new_file::{Existing, NewFile};
use crate::image::Format;

/// Makes a new, empty image. A file that is there already is never touched
#[derive(Debug, Args)]
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
}

pub(super) fn run(args: &CreateArgs) -> Result<(), String> {
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
            Existing::Keep,
        )?;
        output::line(format_args!("{}: {format} differencing, {}", path.display(), bytes(size)));
        return Ok(());
    }
    let size = args.size.unwrap_or_default();
    let new = NewFile::beside(path).map_err(|e| e.to_string())?;
    let options = args.new.options(size);
    format
        .create(&*new.file(), &options, &HostEnvironment)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    new.commit(Existing::Keep).map_err(|e| e.to_string())?;
    // Raw has no kinds: the host decides what takes space.
    let kind = match (format, args.new.fixed) {
        (Format::Raw, _) => "",
        (_, true) => " fixed",
        (_, false) => " dynamic",
    };
    output::line(format_args!("{}: {format}{kind}, {}", path.display(), bytes(size)));
    Ok(())
}
