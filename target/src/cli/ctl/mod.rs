//! `lunkeep-target ctl`: looks at a running `serve` and changes what it serves, over its control socket.

mod client;
mod lun;
mod session;
mod show;
mod target;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Exit, output};
use crate::daemon::control::{address, model};
use crate::store::StateLocation;
use client::{Client, Failure};

/// Looks at a running `serve` and changes what it serves, while it is in use.
#[derive(Debug, Args)]
#[command(after_help = "\
A LUN is named TARGET/NUMBER, or NUMBER alone where one target is served. What is changed holds until `serve` ends; only what \
is done to images (grow, snapshot, reset) stays. docs/control.md has it all.

Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 4 no server answers at the control socket.")]
pub struct CtlArgs {
    #[command(flatten)]
    place: Place,

    /// Print the answer as one JSON document on one line
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

/// Environment variable with the control socket.
const VARIABLE: &str = "LUNKEEP_CONTROL";

/// Where the control socket is.
#[derive(Debug, Args)]
struct Place {
    /// The control socket, as `serve` tells it [default: the environment variable LUNKEEP_CONTROL]
    #[arg(long, value_name = "PATH", global = true, conflicts_with_all = ["state", "image"])]
    socket: Option<PathBuf>,

    /// The folder that `serve` was given with --state or `state`
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "image")]
    state: Option<PathBuf>,

    /// The first image that `serve` was given, when it was given no state folder
    #[arg(long, value_name = "IMAGE", global = true)]
    image: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What is served: targets, LUNs, images
    Status,
    /// LUNs: add, remove, grow, snapshot, reset, eject, insert
    #[command(subcommand)]
    Lun(lun::Command),
    /// Targets: add, remove
    #[command(subcommand)]
    Target(target::Command),
    /// Sessions: list, logout
    #[command(subcommand)]
    Session(session::Command),
}

impl Place {
    fn socket(&self) -> Result<PathBuf, String> {
        match (&self.socket, &self.state, &self.image) {
            (Some(socket), ..) => Ok(socket.clone()),
            (None, Some(state), _) => Ok(state.join(address::NAME)),
            (None, None, Some(image)) => {
                let image = image.canonicalize().map_err(|e| format!("{}: {e}", image.display()))?;
                Ok(StateLocation::BesideImage.folder_of(&image).join(address::NAME))
            }
            (None, None, None) => match std::env::var_os(VARIABLE) {
                Some(socket) => Ok(socket.into()),
                None => Err(format!(
                    "which server? Give --socket PATH, --state DIR or --image IMAGE, or set {VARIABLE}; `serve` tells its control \
                     socket when it starts"
                )),
            },
        }
    }
}

/// A question to the server, and how its answer is shown.
struct Asking {
    client: Client,
    json: bool,
}

impl Asking {
    /// Asks, and prints the answer: as it came, or as `show` puts it for people.
    fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        request: Option<&impl Serialize>,
        show: impl FnOnce(&A) -> String,
    ) -> Result<(), Failure> {
        let body = match request {
            Some(request) => serde_json::to_vec(request).map_err(Failure::nonsense)?,
            None => Vec::new(),
        };
        let answer = self.client.ask(method, path, body)?;
        let value: serde_json::Value = serde_json::from_slice(&answer).map_err(Failure::nonsense)?;
        if self.json {
            output::line(value);
        } else {
            output::line(show(&serde_json::from_value(value).map_err(Failure::nonsense)?));
        }
        Ok(())
    }

    fn get<A: DeserializeOwned>(&self, path: &str, show: impl FnOnce(&A) -> String) -> Result<(), Failure> {
        self.ask(Method::GET, path, None::<&()>, show)
    }

    fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        show: impl FnOnce(&A) -> String,
    ) -> Result<(), Failure> {
        self.ask(Method::POST, path, Some(request), show)
    }
}

/// Runs a `ctl` command.
#[must_use]
pub fn run(args: &CtlArgs) -> Exit {
    let done = args.place.socket().map_err(Failure::Usage).and_then(|socket| {
        let asking = Asking { client: Client::new(socket), json: args.json };
        match &args.command {
            Command::Status => asking.get::<model::Status>("/v1/status", show::status),
            Command::Lun(command) => lun::run(&asking, command),
            Command::Target(command) => target::run(&asking, command),
            Command::Session(command) => session::run(&asking, command),
        }
    });
    match done {
        Ok(()) => Exit::Success,
        Err(failure) => {
            output::error(&failure);
            failure.exit()
        }
    }
}

/// A path as the server, which runs in another folder, understands it.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}
