//! Serial numbers with the wrapping comparison of RFC 1982, as RFC 7143 §4.2.2.1 asks.
//!
//! Each counter of the protocol has its own type, so that a StatSN cannot be compared with a CmdSN.

use std::cmp::Ordering;
use std::fmt;

macro_rules! serial {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub u32);

        impl $name {
            /// The number `n` steps later, wrapping at 2^32.
            #[must_use]
            pub const fn plus(self, n: u32) -> Self {
                Self(self.0.wrapping_add(n))
            }

            /// The number that follows this one.
            #[must_use]
            pub const fn next(self) -> Self {
                self.plus(1)
            }

            /// Returns this number and moves the counter to the next one.
            pub const fn advance(&mut self) -> Self {
                let current = *self;
                *self = current.next();
                current
            }

            /// Steps from `earlier` to this number, wrapping: 0 when they are equal.
            #[must_use]
            pub const fn distance_from(self, earlier: Self) -> u32 {
                self.0.wrapping_sub(earlier.0)
            }
        }

        impl PartialOrd for $name {
            /// RFC 1982 §3.2: numbers that are exactly 2^31 apart have no order.
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                match self.0.wrapping_sub(other.0) {
                    0 => Some(Ordering::Equal),
                    0x8000_0000 => None,
                    ahead if ahead < 0x8000_0000 => Some(Ordering::Greater),
                    _ => Some(Ordering::Less),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

serial! {
    /// Command sequence number, one sequence per session (RFC 7143 §4.2.2.1).
    CmdSn
}
serial! {
    /// Status sequence number, one sequence per connection (RFC 7143 §4.2.2.2).
    StatSn
}
serial! {
    /// Data sequence number, one sequence per command direction or R2T (RFC 7143 §4.2.2.3).
    DataSn
}
serial! {
    /// R2T sequence number, one sequence per command (RFC 7143 §4.2.2.3).
    R2tSn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps_around_zero() {
        assert!(CmdSn(0) > CmdSn(u32::MAX));
        assert!(CmdSn(u32::MAX) < CmdSn(5));
        assert!(CmdSn(7) >= CmdSn(7));
    }

    #[test]
    fn numbers_half_the_space_apart_have_no_order() {
        assert_eq!(CmdSn(0).partial_cmp(&CmdSn(0x8000_0000)), None);
        assert!(CmdSn(0x7fff_ffff) > CmdSn(0));
        assert!(CmdSn(0x8000_0001) < CmdSn(0));
    }

    #[test]
    fn advance_returns_the_old_number_and_wraps() {
        let mut n = StatSn(u32::MAX);
        assert_eq!(n.advance(), StatSn(u32::MAX));
        assert_eq!(n, StatSn(0));
        assert_eq!(StatSn(2).distance_from(StatSn(u32::MAX)), 3);
    }
}
