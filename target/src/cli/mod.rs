//! The command line of `lunkeep-target`.
//!
//! Each command is a module with its arguments (a clap `Args`) and a `run` that answers with an [`Exit`]. Printing is in
//! [`output`]; what a command does is in the floors below.

pub mod ctl;
pub mod exit;
pub mod image;
pub mod output;
pub mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// Serves virtual disk images as iSCSI LUNs, and works on images.
#[derive(Debug, Parser)]
#[command(name = "lunkeep-target", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve images as LUNs of an iSCSI target until Ctrl-C.
    Serve(serve::ServeArgs),
    /// Make, describe, check and convert disk images: raw, VHD, VHDX.
    Image(image::ImageArgs),
    /// Look at a running `serve`, and change what it serves while it is in use.
    Ctl(ctl::CtlArgs),
}

/// Runs `lunkeep-target` with the process's arguments. A wrong command line ends with [`Exit::Usage`].
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { Exit::Usage } else { Exit::Success }.into();
        }
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args).into(),
        Command::Image(args) => image::run(&args),
        Command::Ctl(args) => ctl::run(&args).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
