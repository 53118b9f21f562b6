//! Connections that have not finished their login: a bounded number, of which the oldest gives way to the newest.
//!
//! Refusing the newest would let a handful of silent peers keep everybody out for as long as they have to log in; an honest login
//! takes milliseconds, so that it is over long before it is the oldest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// The connections of a server in their login phase.
#[derive(Debug)]
pub(super) struct Logins {
    places: Mutex<Places>,
    max: usize,
}

#[derive(Debug, Default)]
struct Places {
    /// In the order in which they were taken.
    taken: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// A place among them, given back when dropped.
#[derive(Debug)]
pub(super) struct LoginPlace {
    logins: Arc<Logins>,
    number: u64,
    displaced: CancellationToken,
}

impl Logins {
    /// Room for `max` connections, at least one.
    pub(super) fn new(max: usize) -> Self {
        Self { places: Mutex::default(), max: max.max(1) }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, from the oldest connection when there is no other.
    pub(super) fn enter(self: &Arc<Self>) -> LoginPlace {
        let mut places = self.places();
        let (number, displaced) = (places.next, CancellationToken::new());
        places.next += 1;
        places.taken.insert(number, displaced.clone());
        while places.taken.len() > self.max {
            let Some((_, oldest)) = places.taken.pop_first() else { break };
            oldest.cancel();
        }
        LoginPlace { logins: self.clone(), number, displaced }
    }
}

impl LoginPlace {
    /// Ends when a younger connection has taken the place.
    pub(super) fn displaced(&self) -> WaitForCancellationFuture<'_> {
        self.displaced.cancelled()
    }
}

impl Drop for LoginPlace {
    fn drop(&mut self) {
        self.logins.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_a_place_given_back_is_free() {
        let logins = Arc::new(Logins::new(2));
        let first = logins.enter();
        let second = logins.enter();
        assert!(!first.displaced.is_cancelled());
        let third = logins.enter();
        assert!(first.displaced.is_cancelled() && !second.displaced.is_cancelled());
        drop(second);
        let fourth = logins.enter();
        assert!(!third.displaced.is_cancelled() && !fourth.displaced.is_cancelled());
        drop((first, third, fourth));
        assert!(logins.places().taken.is_empty());
    }
}
