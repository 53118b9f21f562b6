//! What a format needs from outside: how it may use a file, random identifiers and the time. This room has neither a clock
//! nor randomness of its own, so that tests can repeat what they saw.

use std::fmt;
use std::io;

use uuid::Uuid;

/// What an image is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing of the file is changed, not even to repair what a crash left behind.
    ReadOnly,
    /// The file may be changed, from the moment it is opened (log replay, cutting off a leaked tail).
    ReadWrite,
}

/// Randomness and time, given by the engine.
pub trait Environment: Send + Sync + fmt::Debug {
    /// A random identifier (RFC 9562 version 4).
    ///
    /// # Errors
    /// When the host has no randomness to give.
    fn random_guid(&self) -> io::Result<Uuid>;

    /// The identity that a file gets when its content is about to change, where the format has one. Random, unless whoever
    /// opened the file has told its children already.
    ///
    /// # Errors
    /// As [`Environment::random_guid`].
    fn content_guid(&self) -> io::Result<Uuid> {
        self.random_guid()
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    fn unix_time(&self) -> u64;
}
