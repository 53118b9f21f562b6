//! The tokio adapter: listener, connections, media operations, files, timers.
//!
//! One task serves each connection ([`Server`]); media operations run on tokio's blocking pool. The state machines of
//! `session` and `device` are behind locks that are held for one step and never across an await or an operation on a medium.
//! Order of locks: a session's and a unit's lock are never held together.

mod buffers;
pub mod config;
mod connection;
mod copy;
mod directory;
pub mod environment;
mod erase;
mod handle;
pub mod host_file;
mod host_lock;
pub mod host_parents;
mod lane;
mod latch;
mod listener;
mod lock_holder;
mod login;
mod logins;
mod media;
pub mod medium;
pub mod new_file;
mod operation;
mod range_lock;
mod reservations;
pub use handle::{
    ChangeError, LoggedOut, LunStatus, RemovedLun, RemovedTarget, ServerHandle, SessionStatus, TargetStatus,
    Which, shape_of,
};
mod server;
mod session_task;
mod sessions;
mod task_management;
mod topology;
mod transmit;
mod unit;
mod view;

pub use environment::HostEnvironment;
pub use host_file::{HostFile, HostFileError};
pub use host_parents::ParentFolders;
pub use medium::Medium;
pub use server::{Server, ShutdownReport, StartError};
