//! `image create`.

use std::path::PathBuf;

use clap::Args;

use super::{NewImageArgs, bytes, must_not_exist};
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
    /// Size of the disk, such as 10G, 1.5T or a number of bytes
    #[arg(long, value_parser = size::parse)]
    size: u64,
    #[command(flatten)]
    new: NewImageArgs,
}

pub(super) fn run(args: &CreateArgs) -> Result<(), String> {
    let path = &args.path;
    let format = args.new.format(path)?;
    must_not_exist(path, "; nothing was changed")?;
    let new = NewFile::beside(path).map_err(|e| e.to_string())?;
    let options = args.new.options(args.size);
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
    output::line(format_args!("{}: {format}{kind}, {}", path.display(), bytes(args.size)));
    Ok(())
}
