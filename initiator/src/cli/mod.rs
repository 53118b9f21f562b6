//! The command line of `lunkeep-initiator`.
//!
//! Each command is a module with its arguments and a `run`. What a command prints is made in `output`; how it ends is a
//! [`Failure`] with one of the documented exit codes.

mod bench;
mod conformance;
mod connection;
mod copy;
mod discover;
mod failure;
mod info;
mod output;
mod pr;
mod read;
mod retry;
mod size;
mod transfer;
mod url;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use failure::{Exit, Failure};

/// Discovers iSCSI targets, and reads, writes and copies their LUNs.
#[derive(Debug, Parser)]
#[command(name = "lunkeep-initiator", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a local failure: a file, the state folder, this machine
  2  a wrong command line
  3  the portal cannot be reached, or does not answer in time
  4  the target refused the login
  5  the device refused a command
  6  the session broke; commands under way may or may not have been done
  7  a reservation of somebody else stands against the command (RESERVATION CONFLICT)
  8  the target failed a case of a conformance suite

Environment: LUNKEEP_LOG sets what is logged to standard error (error, warn, info, debug, trace).";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the targets that a portal offers.
    Discover(discover::Arguments),
    /// Show what a LUN is and how the session to it was negotiated.
    Info(info::Arguments),
    /// Look at and change the persistent reservations of a LUN.
    Pr(pr::Arguments),
    /// Judge a target by the standards.
    Conformance(conformance::Arguments),
    /// Read a LUN into a file.
    Read(read::Arguments),
    /// Write a file to a LUN, and flush the LUN's cache.
    Write(write::Arguments),
    /// Have the target copy one of its LUNs to another, and flush that one's cache.
    Copy(copy::Arguments),
    /// Put load on a LUN and measure it.
    Bench(bench::Arguments),
}

/// Runs `lunkeep-initiator` with the process's arguments. A wrong command line ends with [`Exit::Usage`].
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Success }.into();
        }
    };
    start_log();
    match run(cli.command) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            output::error(&failure);
            failure.exit.into()
        }
    }
}

fn start_log() {
    let filter = EnvFilter::try_from_env("LUNKEEP_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // Fails only when a program around us logs already.
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init());
}

fn run(command: Command) -> Result<(), Failure> {
    let mut builder = match command {
        // Its sessions never wait for each other, so a second thread would only add switches.
        Command::Bench(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Discover(arguments) => discover::run(&arguments).await,
            Command::Info(arguments) => info::run(&arguments).await,
            Command::Conformance(arguments) => conformance::run(&arguments).await,
            Command::Pr(arguments) => pr::run(&arguments).await,
            Command::Read(arguments) => read::run(&arguments).await,
            Command::Write(arguments) => write::run(&arguments).await,
            Command::Copy(arguments) => copy::run(&arguments).await,
            Command::Bench(arguments) => bench::run(&arguments).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(help.contains(&format!("\n  {}  ", exit as u8)), "{exit:?}");
        }
    }
}
