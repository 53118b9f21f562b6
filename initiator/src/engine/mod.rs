//! The tokio adapter: sockets, timers, random bytes and the state folder around the pure state machines.
//!
//! ```text
//! Initiator::discover --- dial --- login --- SendTargets --- logout
//! Initiator::login ------ dial --- login --- driver task <--(channel)-- Session, LunHandle, in any number of tasks
//! ```
//!
//! One task drives a session: it reads, writes, and keeps the time for [`FullFeature`](crate::session::FullFeature). Handles
//! send it requests over a channel and wait for the answers; when the last handle is dropped it logs out.
//!
//! A session has as many connections as were agreed on, by default one. Where error recovery level 2 was agreed, a lost connection is
//! replaced and its commands go on (`joiner`).
//!
//! Deliberately not here: a new session in place of a lost one. A session that is lost stays lost, with [`Error::Lost`] for all that
//! was under way; commands under way then may or may not have been done.

mod config;
mod dial;
mod direct;
mod driver;
mod error;
mod handle;
mod initiator;
mod joiner;
mod login;
pub mod state;
mod wire;

pub use config::{CHAP_ALGORITHMS, Config, Identity, RETAIN_SECONDS, chap};
pub use direct::Direct;
pub use error::{Error, LostCause};
pub use handle::{LunHandle, Session, SessionInfo};
pub use initiator::Initiator;
