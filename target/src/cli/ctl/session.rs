//! `ctl session`.

use clap::{ArgGroup, Args, Subcommand};
use lunkeep_common::name::IscsiName;

use super::client::Failure;
use super::{Asking, show};
use crate::daemon::control::model;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Who is logged in
    List,
    Logout(LogoutArgs),
}

/// Ask initiators to log out, and drop the sessions that do not. They may log in again
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").args(["session", "target"]).required(true))]
pub(super) struct LogoutArgs {
    /// The session, as `session list` numbers it
    session: Option<u16>,
    /// Every session of this target
    #[arg(long, value_name = "NAME")]
    target: Option<IscsiName>,
    /// Seconds that initiators have to log out [default: Time2Wait of each session]
    #[arg(long, value_name = "SECONDS")]
    within: Option<u16>,
}

pub(super) fn run(asking: &Asking, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List => asking.get::<model::Sessions>("/v1/sessions", show::sessions),
        Command::Logout(args) => {
            let request = model::Logout {
                session: args.session,
                target: args.target.as_ref().map(ToString::to_string),
                within: args.within,
            };
            asking.post("/v1/sessions/logout", &request, show::ended)
        }
    }
}
