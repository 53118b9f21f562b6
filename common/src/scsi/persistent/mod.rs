//! Persistent reservations as bytes (SPC-4 §6.15, §6.16; SPC-5 for REPLACE LOST RESERVATION): service actions, types,
//! TransportIDs and parameter data, each both ways.
//!
//! What the commands do is the target's; what is legal in which state is too. Here a byte is refused only when it has no
//! meaning at all.

mod parameters_in;
mod parameters_out;
#[cfg(test)]
mod tests;
mod transport_id;

pub use parameters_in::{Capabilities, FullStatus, Held, ReadKeys, ReadReservation, Registrant};
pub use parameters_out::{BasicList, ListError, RegisterAndMoveList};
pub use transport_id::{TransportId, TransportIdError};

use std::fmt;

/// A reservation key. Zero is "no key": nobody is registered with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key(pub u64);

impl Key {
    /// Whether it is no key.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Key {
    /// Sixteen hexadecimal digits after `0x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// SCOPE of a persistent reservation: the logical unit is the only one left (SPC-4 table 65).
pub const SCOPE_LOGICAL_UNIT: u8 = 0;

/// TYPE of a persistent reservation (SPC-4 table 66).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ReservationType {
    /// Others may read.
    WriteExclusive = 1,
    /// Others may do next to nothing.
    ExclusiveAccess = 3,
    /// Registrants may write, others may read.
    WriteExclusiveRegistrantsOnly = 5,
    /// Registrants may read and write.
    ExclusiveAccessRegistrantsOnly = 6,
    /// As 5, and every registrant is a holder.
    WriteExclusiveAllRegistrants = 7,
    /// As 6, and every registrant is a holder.
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All of them, by number.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The type of the low four bits of a byte; `None` for the obsolete and reserved ones.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == bits & 0x0f)
    }

    /// Types 7h and 8h: every registrant holds the reservation.
    #[must_use]
    pub const fn is_all_registrants(self) -> bool {
        matches!(self, Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants)
    }

    /// Types 5h to 8h: being registered gives access.
    #[must_use]
    pub const fn admits_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Types 1h, 5h and 7h: everybody may read.
    #[must_use]
    pub const fn admits_reads(self) -> bool {
        matches!(
            self,
            Self::WriteExclusive | Self::WriteExclusiveRegistrantsOnly | Self::WriteExclusiveAllRegistrants
        )
    }
}

macro_rules! service_actions {
    ($(#[$doc:meta])* $name:ident { $($(#[$row:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $text] $variant = $code),* }

        impl $name {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The service action of the low five bits of a byte; `None` for a reserved one.
            #[must_use]
            pub fn from_bits(bits: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|&action| action as u8 == bits & 0x1f)
            }

            /// The standard's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

service_actions! {
    /// Service action of PERSISTENT RESERVE IN (SPC-4 table 211).
    InAction {
        ReadKeys = 0x00, "READ KEYS";
        ReadReservation = 0x01, "READ RESERVATION";
        ReportCapabilities = 0x02, "REPORT CAPABILITIES";
        ReadFullStatus = 0x03, "READ FULL STATUS";
    }
}

service_actions! {
    /// Service action of PERSISTENT RESERVE OUT (SPC-4 table 221).
    OutAction {
        Register = 0x00, "REGISTER";
        Reserve = 0x01, "RESERVE";
        Release = 0x02, "RELEASE";
        Clear = 0x03, "CLEAR";
        Preempt = 0x04, "PREEMPT";
        PreemptAndAbort = 0x05, "PREEMPT AND ABORT";
        RegisterAndIgnoreExistingKey = 0x06, "REGISTER AND IGNORE EXISTING KEY";
        RegisterAndMove = 0x07, "REGISTER AND MOVE";
        ReplaceLostReservation = 0x08, "REPLACE LOST RESERVATION";
    }
}
