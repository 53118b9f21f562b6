//! Exit codes, the same for every command.

use std::process::ExitCode;

/// How a command ended, for the caller of the process. docs/serve.md and README.md list the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did what it was asked to do.
    Success = 0,
    /// It failed: a port is in use, an image cannot be opened or is damaged, the storage failed.
    Failure = 1,
    /// The command line or the configuration is wrong; nothing was begun.
    Usage = 2,
    /// A second signal ended `serve` at once: what was not yet flushed may be lost.
    Killed = 3,
    /// No server answers at the control socket.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
