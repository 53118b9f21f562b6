//! What both ends of Lunkeep must agree on: iSCSI PDUs, text keys, the login state machines and SCSI data.
//!
//! Map of the crate, lowest floor first; imports go down only and `tests/suites/tidy.rs` enforces it:
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 2 | [`login`], [`window`] | state that both sides share |
//! | 1 | [`pdu`], [`text`], [`scsi`] | bytes to typed values and back |
//! | 0 | [`serial`], [`name`], [`limits`] | numbers, names, bounds |
//!
//! Deliberately not here: sockets, files, clocks, threads, randomness. Random bytes and the time are arguments.

pub mod limits;
pub mod login;
pub mod name;
pub mod pdu;
pub mod scsi;
pub mod serial;
pub mod text;
pub mod window;
