//! What must survive a restart: the identity of each LUN, its reservations, and the name that a target was first given.
//!
//! Initiators know a LUN by its NAA designator and serial number, never by its number or by its image. Were these to change,
//! a cluster would see its shared disk vanish and a stranger appear. So they are drawn once at random, kept in the *state
//! folder* of the image, and never derived again:
//!
//! * by default the state folder is `IMAGE.lunkeep` beside the image, and moves and is deleted together with it;
//! * with a state folder given for the whole server it is `DIR/luns/NAME-HASH.lunkeep`, bound to the path of the image.
//!
//! Invariants:
//! * a file is either the old or the new one, whole, whenever the power is cut ([`record`]), and the new one once
//!   [`record::save`] has returned;
//! * a damaged file is an error that names the file; a new identity is made only where there was none;
//! * a folder is open in at most one process at a time ([`LunFolder`] holds a lock on it), and an identity that was copied
//!   together with an image is refused as long as the original is there.
//!
//! The reservations of a LUN are kept behind two seams, [`LunStateStore`] and [`Ownership`], so that several gateways can share
//! them; here they are [a record of the same folder](reservations), with an [audit trail](audit) beside it.
//!
//! Beside it are the [relative identifiers of the target ports](ports) that lead to the LUN: registrations refer to them.

pub mod audit;
pub mod error;
pub mod files;
pub mod identity;
pub mod lun_folder;
pub mod lun_state;
pub mod parameters;
pub mod ports;
pub mod record;
pub mod reservations;

pub use audit::AuditTrail;
pub use error::StoreError;
pub use files::{Files, HostFiles};
pub use identity::{LunIdentity, Naa};
pub use lun_folder::{LunFolder, StateLocation};
pub use lun_state::{
    AlwaysOwner, Confirm, Follower, LunStateError, LunStateStore, MemberId, MemoryState, Notice, Ownership,
    SwapTicket,
};
pub use parameters::{FileParameters, MemoryParameters, ParameterStore};
pub use ports::{PortNumbers, TooManyPorts};
pub use reservations::FileState;
