//! `ctl lun`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use lunkeep_common::name::IscsiName;

use super::client::Failure;
use super::{Asking, absolute, show};
use crate::daemon::control::model;
use crate::daemon::disk_flag::DiskFlag;
use crate::daemon::size;
use crate::daemon::spec::{LunAddress, LunSpec};
use crate::image::{Allocation, Format};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Add(AddArgs),
    Remove(NameArgs),
    Grow(GrowArgs),
    Snapshot(SnapshotArgs),
    Reset(ForceArgs),
    Eject(EjectArgs),
    Insert(InsertArgs),
}

/// Serve one more LUN. Initiators that are logged in see it at once
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["disk", "same_as"]).required(true))]
pub(super) struct AddArgs {
    /// The image, with the options of `serve --disk`: size=10G, format=vhdx, fixed, ro, removable, block=4096, serial=TEXT
    #[arg(value_name = "PATH[,OPTIONS]")]
    disk: Option<DiskFlag>,
    /// Export the LUN of another target
    #[arg(long, value_name = "TARGET/NUMBER")]
    same_as: Option<LunAddress>,
    /// The target; may be left out where one is served
    #[arg(long, value_name = "NAME")]
    target: Option<IscsiName>,
    /// Number of the LUN [default: the lowest that is free]
    #[arg(long, value_name = "N")]
    number: Option<u16>,
}

/// Stop serving a LUN. Returns when nothing of it can reach the image any more, which is then closed
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// TARGET/NUMBER, or NUMBER where one target is served
    lun: String,
}

/// Make a LUN larger
#[derive(Debug, Args)]
pub(super) struct GrowArgs {
    /// TARGET/NUMBER, or NUMBER where one target is served
    lun: String,
    /// The new size, such as 20G
    #[arg(value_parser = size::parse)]
    size: u64,
}

/// Keep the state of a LUN: its file gets the name of the snapshot, and a new differencing disk takes its place
#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
    /// TARGET/NUMBER, or NUMBER where one target is served
    lun: String,
    /// Name of the snapshot: IMAGE.NAME.EXTENSION [default: the first free number]
    #[arg(long)]
    name: Option<String>,
}

/// Throw away all that the differencing disk of a LUN holds, so that it reads as its parent again
#[derive(Debug, Args)]
pub(super) struct ForceArgs {
    /// TARGET/NUMBER, or NUMBER where one target is served
    lun: String,
    /// Also while an initiator has it reserved
    #[arg(long)]
    force: bool,
}

/// Eject the medium of a removable LUN
#[derive(Debug, Args)]
pub(super) struct EjectArgs {
    /// TARGET/NUMBER, or NUMBER where one target is served
    lun: String,
    /// Also while an initiator prevents the removal
    #[arg(long)]
    force: bool,
}

/// Put a medium into a removable LUN whose medium was ejected
#[derive(Debug, Args)]
pub(super) struct InsertArgs {
    /// TARGET/NUMBER, or NUMBER where one target is served
    lun: String,
    /// The image [default: the one that was ejected]
    path: Option<PathBuf>,
    /// Its format [default: name and content decide]
    #[arg(long, value_name = "FORMAT", requires = "path")]
    format: Option<Format>,
    /// Logical block size of a raw image: 512 or 4096
    #[arg(long, value_name = "BYTES", requires = "path")]
    block_size: Option<u32>,
    /// Refuse writes
    #[arg(long, requires = "path")]
    read_only: bool,
}

pub(super) fn run(asking: &Asking, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Add(args) => {
            let mut lun = match (&args.disk, &args.same_as) {
                (Some(disk), _) => new_lun(&disk.0)?,
                (None, same_as) => {
                    let same_as = same_as.as_ref().map(ToString::to_string);
                    model::NewLun { same_as, ..model::NewLun::default() }
                }
            };
            lun.number = args.number;
            let request = model::AddLun { target: args.target.as_ref().map(ToString::to_string), lun };
            asking.post("/v1/luns", &request, show::lun_changed("served"))
        }
        Command::Remove(NameArgs { lun }) => {
            let request = model::LunName { lun: lun.clone() };
            asking.post("/v1/luns/remove", &request, show::lun_removed)
        }
        Command::Grow(GrowArgs { lun, size }) => {
            let request = model::GrowLun { lun: lun.clone(), size: *size };
            asking.post("/v1/luns/grow", &request, show::lun_changed("grown"))
        }
        Command::Snapshot(SnapshotArgs { lun, name }) => {
            let request = model::SnapshotLun { lun: lun.clone(), name: name.clone() };
            asking.post("/v1/luns/snapshot", &request, show::snapshot)
        }
        Command::Reset(ForceArgs { lun, force }) => {
            let request = model::ForceLun { lun: lun.clone(), force: *force };
            asking.post("/v1/luns/reset", &request, show::lun_changed("as its parent again"))
        }
        Command::Eject(EjectArgs { lun, force }) => {
            let request = model::ForceLun { lun: lun.clone(), force: *force };
            asking.post("/v1/luns/eject", &request, show::lun_changed("ejected"))
        }
        Command::Insert(args) => {
            let request = model::InsertMedium {
                lun: args.lun.clone(),
                path: args.path.as_deref().map(absolute).transpose()?,
                format: args.format.map(|format| format.name().to_owned()),
                block_size: args.block_size,
                read_only: args.read_only,
            };
            asking.post("/v1/luns/insert", &request, show::lun_changed("in"))
        }
    }
}

/// What a `--disk` says, for the server.
pub(super) fn new_lun(spec: &LunSpec) -> Result<model::NewLun, Failure> {
    Ok(model::NewLun {
        number: None,
        path: Some(absolute(&spec.path)?),
        same_as: None,
        format: spec.format.map(|format| format.name().to_owned()),
        size: spec.create.map(|create| create.size),
        fixed: spec.create.is_some_and(|create| create.allocation == Allocation::Fixed),
        block_size: spec.logical_block,
        read_only: spec.read_only,
        removable: spec.removable,
        serial: spec.serial.as_ref().map(|serial| serial.as_str().to_owned()),
    })
}
