//! Text keys: grammar, the table of every key, and lists of pairs (RFC 7143 §6, §12, §13).
//!
//! | module | what |
//! |---|---|
//! | [`grammar`] | one value or one `key=value` pair: bytes to typed values and back |
//! | [`keys`] | the table of every key: who may send it, when, its rule, range and default |
//! | [`pairs`] | an ordered list of pairs, with duplicates detected |
//! | [`transfer`] | text that is spread over several PDUs by the C bit |
//! | [`address`] | `TargetAddress` and the list that answers SendTargets |
//!
//! Invariants: nothing here panics on what a peer sent, and nothing buffers more than
//! [`TEXT_LEN_MAX`](crate::limits::TEXT_LEN_MAX) bytes or [`TEXT_PAIRS_MAX`](crate::limits::TEXT_PAIRS_MAX) pairs.
//!
//! Deliberately not here: which value a negotiation ends with, which is [`crate::login::negotiation`].

pub mod address;
pub mod grammar;
pub mod keys;
pub mod pairs;
pub mod transfer;

pub use address::{DiscoveredTarget, TargetAddress};
pub use keys::{Key, KeyRow, Phase, Role};
pub use pairs::{Pair, Pairs, TextError};
pub use transfer::{TextReceiver, TextSender};
