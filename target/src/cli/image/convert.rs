//! `image convert`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::json;

use super::open::{ParentArgs, open};
use super::{NewImageArgs, OutputArgs, bytes, must_not_exist, work};
use crate::engine::new_file::{Existing, NewFile};
use crate::engine::{HostEnvironment, HostFile};
use crate::image::copy::{CopyError, copy};
use crate::image::{Access, BlockFile, Environment, Format};

/// Copies an image into a new one of another format or kind. What reads as zero takes no space in the copy. The new name
/// appears when the copy is whole; interrupted, it leaves nothing
#[derive(Clone, Debug, Args)]
pub(super) struct ConvertArgs {
    /// The image to read. It is not changed
    input: PathBuf,
    /// The image to make. Its extension tells the format: .vhdx, .vhd, or .raw, .img, .bin
    output: PathBuf,
    /// The format of the image to read [default: what its content shows]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Replace the new name if there is such a file already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    new: NewImageArgs,
    #[command(flatten)]
    parents: ParentArgs,
    #[command(flatten)]
    print: OutputArgs,
}

/// The conversion itself; `stop` ends it between two steps.
pub(super) fn convert(args: &ConvertArgs, stop: &AtomicBool) -> Result<(), String> {
    let (from, to) = (&args.input, &args.output);
    let format = args.new.format(to)?;
    let existing = if args.force {
        Existing::Replace
    } else {
        must_not_exist(to, "; --force replaces it")?;
        Existing::Keep
    };
    let input =
        open(from, args.input_format, Access::ReadOnly, &args.parents).map_err(|refused| refused.message)?;
    let source = input.disk(Access::ReadOnly).map_err(|e| format!("{}: {e}", from.display()))?;
    // The lock of a file that is to be replaced: nobody may be using it, not even as the source.
    let replaced = match existing {
        Existing::Replace if to.exists() => {
            Some(HostFile::open(to, Access::ReadWrite).map_err(|e| e.to_string())?)
        }
        _ => None,
    };
    let size = source.geometry().size;
    let new = NewFile::beside(to).map_err(|e| e.to_string())?;
    let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", to.display());
    format.create(&*new.file(), &args.new.options(size), &*environment).map_err(|e| failed(&e))?;
    let file: Arc<dyn BlockFile> = new.file();
    let target = format.open(file, Access::ReadWrite, &environment).map_err(|e| failed(&e))?;
    let bar = work::progress_bar(size);
    let copied = copy(&*source, &*target, &mut |done| {
        bar.set_position(done);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    copied.map_err(|e| match e {
        CopyError::Read(e) => format!("{}: {e}", from.display()),
        CopyError::Write(e) => failed(&e),
        CopyError::Stopped => format!("interrupted; {} was not made", to.display()),
    })?;
    target.close().map_err(|e| failed(&e))?;
    drop(target);
    work::unless_stopped(stop, to)?;
    new.commit(existing).map_err(|e| e.to_string())?;
    drop(replaced);
    args.print.say(
        &json!({ "file": to, "format": format, "virtual_size": size, "source": from }),
        format_args!("{}: {format}, {}", to.display(), bytes(size)),
    )
}
