//! Third-party copy: parameter lists and data of EXTENDED COPY(LID1), of RECEIVE COPY, and of the token commands that Windows calls
//! offloaded data transfer (SPC-4 §5.16, §6.5, §6.22 to §6.28; SBC-3 §5.7, §5.46).
//!
//! What decodes a list says with a [`Sense`](super::Sense) what is wrong with it. Deliberately not here: which logical unit a
//! descriptor names, and everything that needs one.

pub mod list;
pub mod results;
pub mod rod;

pub use list::{Cscd, CscdId, ExtendedCopyList, ListIdUsage, ListLimits, Segment};
pub use results::{CopyStatus, OperatingParameters, RodTokenInformation, TransferCount};
pub use rod::{BlockRange, PopulateTokenList, ROD_TOKEN_LEN, RodToken, WriteUsingTokenList};
