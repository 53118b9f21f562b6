//! What is known of a logical unit's registrations and of its reservation.

use std::collections::BTreeMap;

use lunkeep_common::name::TargetPort;
use lunkeep_common::scsi::persistent::{Key, ReservationType};

use super::super::nexus::Nexus;
use super::access::Relation;

/// A registration: its nexus is the key that [`Record`] finds it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its key, not zero.
    pub key: Key,
    /// ALL_TG_PT of the command that made it.
    pub all_target_ports: bool,
}

/// Who holds a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One nexus, which is registered.
    One(Nexus),
    /// Everyone who is registered, and at least one is.
    AllRegistrants,
}

/// A persistent reservation of the logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its type.
    pub kind: ReservationType,
    /// Who holds it; [`Holder::AllRegistrants`] exactly when the type says so.
    pub holder: Holder,
}

impl Reservation {
    /// A reservation that `nexus` makes.
    #[must_use]
    pub fn new(kind: ReservationType, nexus: &Nexus) -> Self {
        let holder =
            if kind.is_all_registrants() { Holder::AllRegistrants } else { Holder::One(nexus.clone()) };
        Self { kind, holder }
    }
}

/// Everything that persistent reservations know of a logical unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// PRGENERATION; it wraps.
    pub generation: u32,
    /// APTPL of the last registration, whoever made it.
    pub activate_persist: bool,
    /// The registrations.
    pub registrations: BTreeMap<Nexus, Registration>,
    /// The reservation.
    pub reservation: Option<Reservation>,
    /// What was here once cannot be known any more (SPC-5 §5.14.5.4): nothing else of this record counts.
    pub lost: bool,
}

impl Record {
    /// A record of which nothing is known any more.
    #[must_use]
    pub fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// The key that a nexus is registered with.
    #[must_use]
    pub fn key_of(&self, nexus: &Nexus) -> Option<Key> {
        self.registrations.get(nexus).map(|registration| registration.key)
    }

    /// Whether a nexus holds the reservation.
    #[must_use]
    pub fn holds(&self, nexus: &Nexus) -> bool {
        self.relation(nexus) == Relation::Holder
    }

    /// What a nexus is to the reservation.
    #[must_use]
    pub fn relation(&self, nexus: &Nexus) -> Relation {
        let registered = self.registrations.contains_key(nexus);
        match &self.reservation {
            _ if !registered => Relation::Stranger,
            Some(Reservation { holder: Holder::AllRegistrants, .. }) => Relation::Holder,
            Some(Reservation { holder: Holder::One(holder), .. }) if holder == nexus => Relation::Holder,
            _ => Relation::Registrant,
        }
    }

    /// Every registered nexus but this one.
    pub(super) fn others<'a>(&'a self, nexus: &'a Nexus) -> impl Iterator<Item = &'a Nexus> {
        self.registrations.keys().filter(move |other| *other != nexus)
    }

    /// The same record where target ports have these relative target port identifiers. A port without one keeps what it has.
    #[must_use]
    pub fn with_port_numbers(&self, number_of: impl Fn(&TargetPort) -> Option<u16>) -> Self {
        let renumbered = |nexus: &Nexus| {
            let relative_target_port = number_of(&nexus.target).unwrap_or(nexus.relative_target_port);
            Nexus { relative_target_port, ..nexus.clone() }
        };
        let registrations = self.registrations.iter().map(|(nexus, kept)| (renumbered(nexus), *kept));
        let reservation = self.reservation.as_ref().map(|Reservation { kind, holder }| {
            let holder = match holder {
                Holder::One(nexus) => Holder::One(renumbered(nexus)),
                Holder::AllRegistrants => Holder::AllRegistrants,
            };
            Reservation { kind: *kind, holder }
        });
        Self { registrations: registrations.collect(), reservation, ..self.clone() }
    }

    /// What is kept through a loss of power.
    #[must_use]
    pub fn survivor(&self, persists: bool) -> Self {
        if persists { self.clone() } else { Self { generation: self.generation, ..Self::default() } }
    }
}
