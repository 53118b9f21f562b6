//! Persistent reservations as a pure function, and the matrix of what they let through.
//!
//! [`apply`] takes a [`Record`], who asks and what for, and answers with the next record and what follows from it
//! ([`Change`]), or with a refusal that changes nothing. [`passes`] says which commands a reservation lets through. Whoever
//! owns the record (the logical unit here, several gateways elsewhere) decides when it becomes true: after the commands that it
//! shuts out are over, and after it is durable.
//!
//! Invariants:
//! * registrations belong to an I_T nexus as a value, so a nexus that logs in again finds its own, and no other does;
//! * with an all-registrants type every registrant holds the reservation: there is no "first" one ([`Holder`]);
//! * the holder of a reservation is always registered, and no registration has the key zero;
//! * a refused command changes nothing, also when only the last of several TransportIDs was wrong.
//!
//! Deliberately not here: the order of fence, disk and answer (`device::unit`), files (`store`).

mod access;
mod apply;
mod preempt;
mod read;
mod record;
mod request;
#[cfg(test)]
pub(super) mod tests;

pub use access::{Relation, passes, passes_reserved};
pub use apply::{Change, Refusal, World, apply};
pub use read::{Reported, read};
pub use record::{Holder, Record, Registration, Reservation};
pub use request::{Parameters, PrOut};
