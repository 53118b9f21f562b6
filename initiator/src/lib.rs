//! The Lunkeep initiator: discovers, logs in, reads and writes LUNs. A library on tokio and a program.
//!
//! ```no_run
//! use lunkeep_common::scsi::Lun;
//! use lunkeep_initiator::engine::state::StateFolder;
//! use lunkeep_initiator::engine::{Config, Initiator};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let slot = StateFolder::open("/var/lib/node".as_ref())?.take_slot(None)?;
//! let initiator = Initiator::new(Config::new(slot.identity().clone())?);
//! let session = initiator.login(&"10.0.0.1".parse()?, &"iqn.2026-11.org.example:disk".parse()?).await?;
//! let lun = session.lun(Lun(0));
//! lun.ready().await?;
//! let block_len = lun.read_capacity().await?.block_len;
//! let first = lun.read(0, 1, block_len).await?;
//! lun.write(1, first, block_len).await?;
//! lun.flush().await?;
//! session.logout().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 5 | [`cli`] | the command line |
//! | 4 | [`engine`] | sockets, timers, the state folder, handles |
//! | 4 | [`conformance`] | suites that judge any target, on top of `engine` |
//! | 3 | [`session`], [`commands`] | the session as a state machine; typed SCSI operations |
//! | 0 | [`limits`] | bounds |

pub mod cli;
pub mod commands;
pub mod conformance;
pub mod engine;
pub mod limits;
pub mod session;
