//! `ctl target`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use lunkeep_common::name::IscsiName;
use lunkeep_common::text::address::TargetAddress;

use super::client::Failure;
use super::{Asking, absolute, lun, show};
use crate::daemon::control::model;
use crate::daemon::disk_flag::DiskFlag;
use crate::daemon::spec::redirect_to;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Add(AddArgs),
    Redirect(RedirectArgs),
    Remove(RemoveArgs),
}

/// Send initiators that log in to a target elsewhere. Sessions that are there stay: `session logout --target` ends them
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").args(["to", "off"]).required(true))]
pub(super) struct RedirectArgs {
    /// Its iSCSI name
    name: IscsiName,
    /// The portal to log in at
    #[arg(long, value_name = "HOST[:PORT]", value_parser = redirect_to)]
    to: Option<TargetAddress>,
    /// From now on (0102h). Without this, for this time (0101h)
    #[arg(long, requires = "to")]
    permanent: bool,
    /// Take initiators in again
    #[arg(long)]
    off: bool,
}

/// Serve one more target
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Its iSCSI name
    name: IscsiName,
    /// An image to serve, with the options of `serve --disk`; may be given several times: LUN 0, 1, ...
    #[arg(long, value_name = "PATH[,OPTIONS]")]
    disk: Vec<DiskFlag>,
    /// A text for people
    #[arg(long, value_name = "TEXT")]
    alias: Option<String>,
    /// User name that initiators log in with, by CHAP
    #[arg(long, value_name = "NAME", requires = "chap_secret_file")]
    chap_user: Option<String>,
    /// File that holds the secret of that user; the server reads it
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    chap_secret_file: Option<PathBuf>,
    /// Initiator that may log in; may be given several times [default: every initiator]
    #[arg(long, value_name = "NAME")]
    allow_initiator: Vec<IscsiName>,
    /// Portal group that leads to it; may be given several times [default: all of them]
    #[arg(long, value_name = "TAG")]
    portal_group: Vec<u16>,
}

/// Stop serving a target: its initiators are asked to log out, and dropped when they do not
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Its iSCSI name
    name: IscsiName,
    /// Seconds that initiators have to log out [default: Time2Wait of each session]
    #[arg(long, value_name = "SECONDS")]
    within: Option<u16>,
}

pub(super) fn run(asking: &Asking, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Add(args) => {
            let luns = args.disk.iter().map(|disk| lun::new_lun(&disk.0));
            let request = model::AddTarget {
                name: args.name.to_string(),
                alias: args.alias.clone(),
                luns: luns.collect::<Result<_, _>>()?,
                chap_user: args.chap_user.clone(),
                chap_secret_file: args.chap_secret_file.as_deref().map(absolute).transpose()?,
                initiators: args.allow_initiator.iter().map(ToString::to_string).collect(),
                portal_groups: args.portal_group.clone(),
                redirect: None,
            };
            asking.post("/v1/targets", &request, |added: &model::TargetChanged| {
                format!("{}: served", added.name)
            })
        }
        Command::Redirect(args) => {
            let to = args.to.as_ref().map(ToString::to_string);
            let redirect = to.map(|to| model::Redirect { to, permanent: args.permanent });
            let request = model::RedirectTarget { name: args.name.to_string(), redirect };
            asking.post("/v1/targets/redirect", &request, show::redirected)
        }
        Command::Remove(RemoveArgs { name, within }) => {
            let request = model::RemoveTarget { name: name.to_string(), within: *within };
            asking.post("/v1/targets/remove", &request, |removed: &model::TargetChanged| {
                format!("{}: served no more; {}", removed.name, show::ended(&removed.sessions))
            })
        }
    }
}
