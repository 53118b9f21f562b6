//! The Lunkeep initiator: discovers, logs in, reads and writes LUNs.

pub mod cli;
pub mod commands;
pub mod engine;
pub mod limits;
pub mod session;
