//! The Lunkeep target: serves virtual disk images as iSCSI LUNs.
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 5 | [`cli`], [`daemon`] | policy: command line, configuration |
//! | 4 | [`engine`], [`store`] | sockets, files, clocks, durable state |
//! | 3 | [`session`], [`device`], [`image`] | state machines without I/O of their own |
//! | 0 | [`limits`] | bounds |
//!
//! ARCHITECTURE.md at the root of the repository tells how a command travels through these.

pub mod cli;
pub mod daemon;
pub mod device;
pub mod engine;
pub mod image;
pub mod limits;
pub mod session;
pub mod store;
