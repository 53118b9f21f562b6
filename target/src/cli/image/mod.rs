//! `lunkeep-target image`: makes, describes, checks, converts and changes images.

mod check;
mod child;
mod convert;
mod create;
mod info;
mod measure;
mod open;
mod rebase;
mod snapshot;
mod tools;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};

use super::output;
use crate::daemon::size;
use crate::image::{Allocation, CreateOptions, Format};

/// Works on disk images: raw, VHD, VHDX.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::CreateArgs),
    Info(info::InfoArgs),
    Check(check::CheckArgs),
    Convert(convert::ConvertArgs),
    Map(tools::MapArgs),
    Compare(tools::CompareArgs),
    Digest(tools::DigestArgs),
    Resize(tools::ResizeArgs),
    Compact(tools::CompactArgs),
    Snapshot(snapshot::SnapshotArgs),
    Reset(snapshot::ResetArgs),
    Merge(snapshot::MergeArgs),
    Rebase(rebase::RebaseArgs),
    Measure(measure::MeasureArgs),
}

/// Runs an `image` command. What goes wrong is printed and names the file.
#[must_use]
pub fn run(args: &ImageArgs) -> ExitCode {
    let ended = match &args.command {
        Command::Create(args) => long(args, create::create),
        Command::Info(args) => info::run(args),
        Command::Check(args) => return check::run(args),
        Command::Convert(args) => long(args, convert::convert),
        Command::Map(args) => tools::map(args),
        Command::Compare(args) => long(args, tools::compare),
        Command::Digest(args) => long(args, tools::digest),
        Command::Resize(args) => long(args, tools::resize),
        Command::Compact(args) => long(args, tools::compact),
        Command::Snapshot(args) => long(args, snapshot::snapshot),
        Command::Reset(args) => long(args, snapshot::reset),
        Command::Merge(args) => long(args, snapshot::merge),
        Command::Rebase(args) => long(args, rebase::rebase),
        Command::Measure(args) => long(args, measure::measure),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(error);
            super::Exit::Failure.into()
        }
    }
}

fn long<A: Clone + Send + 'static>(
    args: &A,
    command: fn(&A, &AtomicBool) -> Result<(), String>,
) -> Result<(), String> {
    let args = args.clone();
    work::run(move |stop| command(&args, stop))
}

/// How a command says what it did.
#[derive(Clone, Copy, Debug, Args)]
struct OutputArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// Says `text`, or with `--json` prints `document`.
    fn say(self, document: &serde_json::Value, text: impl std::fmt::Display) -> Result<(), String> {
        if self.json {
            return output::json(document);
        }
        output::line(text);
        Ok(())
    }
}

/// What a new image shall be like: the options that `create` and `convert` share.
#[derive(Clone, Debug, Args)]
struct NewImageArgs {
    /// The format of the new image [default: what the name's extension stands for]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Give every block its place from the start. Without this, blocks are added as they are written
    #[arg(long)]
    fixed: bool,
    /// Bytes in a block, such as 2M [default: 2M for VHD, 32M for VHDX]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    block_size: Option<u64>,
    /// Logical sector size: 512 or 4096 (VHDX only) [default: 512]
    #[arg(long, value_name = "BYTES")]
    sector_size: Option<u32>,
    /// Physical sector size: 512 or 4096 (VHDX only) [default: 4096]
    #[arg(long, value_name = "BYTES")]
    phys_sector_size: Option<u32>,
}

impl NewImageArgs {
    /// The format, asked for or by the name.
    fn format(&self, path: &Path) -> Result<Format, String> {
        self.format.or_else(|| Format::of_extension(path)).ok_or_else(|| {
            format!(
                "{}: the name's extension stands for no format; give --format vhd, vhdx or raw",
                path.display()
            )
        })
    }

    fn options(&self, size: u64) -> CreateOptions {
        CreateOptions {
            size,
            allocation: if self.fixed { Allocation::Fixed } else { Allocation::Dynamic },
            block_size: self.block_size,
            logical_sector: self.sector_size,
            physical_sector: self.phys_sector_size,
        }
    }
}

/// Refuses a name that is taken, before work is done for nothing.
fn must_not_exist(path: &Path, advice: &str) -> Result<(), String> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("{} exists already{advice}", path.display())),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

/// `5 GiB (5368709120 bytes)`; only the bytes when they are fewer than 1024.
fn bytes(count: u64) -> String {
    if count < 1024 { size::display(count) } else { format!("{} ({count} bytes)", size::display(count)) }
}

#[cfg(test)]
mod tests;
