//! The tokio adapter: listener, connections, media operations, files, timers.

pub mod environment;
pub mod host_file;
mod host_lock;

pub use environment::HostEnvironment;
pub use host_file::{HostFile, HostFileError};
