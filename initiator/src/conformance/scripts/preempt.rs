//! PREEMPT and PREEMPT AND ABORT, which treat registrations and the reservation alike.

use super::{ALL, ALL_REGISTRANTS, SINGLE, each, one};
use crate::conformance::script::Script;

const PREEMPTING: &str = "SPC-4 §5.13.11.2.4";
const RESERVATION: &str = "SPC-4 §5.13.11.2.5";
const REMOVING: &str = "SPC-4 §5.13.11.2.7";
const OUT: &str = "SPC-4 §6.16";

/// Each row once for PREEMPT and once for PREEMPT AND ABORT.
macro_rules! both {
    ($(one $name:literal, $clause:expr, $requirement:literal, $steps:literal;)* @ $(each $of:literal, $types:expr, $in:expr, $wants:literal, $do:literal;)*) => {
        &[
            $(one(concat!("preempt/", $name), $clause, $requirement, $steps),)*
            $(each(concat!("preempt/", $of), $types, $in, $wants, $do),)*
            $(one(concat!("preempt-and-abort/", $name), $clause, $requirement, $steps),)*
            $(each(concat!("preempt-and-abort/", $of), $types, $in, $wants, $do),)*
        ]
    };
}

pub(super) const TABLE: &[Script] = both! {
    one "unregistered-nothing-held", PREEMPTING, "An unregistered nexus conflicts, without a reservation too.",
        "B register 0 b; A {P} 0 b 1 = conflict; A {P} b b 1 = conflict; keys b; holder none";
    one "no-reservation", REMOVING, "Without a reservation, whoever has the key loses the registration, and no reservation comes to be.",
        "A register 0 a; B register 0 b; C register 0 c; A {P} a b 1; keys a c; holder none; B ua 2a/05; C noua; A noua";
    one "no-reservation-shared-key", REMOVING, "All nexuses with the key lose their registration.",
        "A register 0 a; B register 0 b; C register 0 b; A {P} a b 5; keys a; holder none; B ua 2a/05; C ua 2a/05; A noua";
    one "no-reservation-own-key", REMOVING, "Without a reservation one's own key is removed too, without a unit attention for oneself.",
        "A register 0 a; B register 0 a; C register 0 c; A {P} a a 1; keys c; holder none; B ua 2a/05; A noua";
    one "no-reservation-no-match", PREEMPTING, "Without a reservation, a key that nobody has conflicts.",
        "A register 0 a; B register 0 b; A {P} a f 1 = conflict; keys a b; B noua";
    one "no-reservation-zero", PREEMPTING, "Without a reservation, zero is no key that can be preempted.",
        "A register 0 a; B register 0 b; A {P} a 0 1 = illegal 26/00 | conflict; keys a b; holder none";
    one "list-length", OUT, "A parameter list that is not 24 bytes long is a PARAMETER LIST LENGTH ERROR.",
        "A register 0 a; B register 0 b; A {P} a b 1 len=23 = illegal 1a/00; A {P} a b 1 len=25 = illegal 1a/00; keys a b";
    @
    each "holder", SINGLE, RESERVATION, "With the holder's key the holder loses its registration, and the sender gets the reservation.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} b a {T}; keys b; holder b {T}; status B:b*; A ua 2a/05; B noua; A write 11 = conflict; B write 22; B block 22";
    each "holder-another-type", SINGLE, RESERVATION, "The sender's reservation has the type of the command; other registrants are told RESERVATIONS RELEASED.",
        "A register 0 a; B register 0 b; C register 0 c; D tur; A reserve a {T}; B {P} b a {U}; keys b c; holder b {U}; A ua 2a/05; C ua 2a/04; B noua; D noua";
    each "holder-same-type", SINGLE, RESERVATION, "With an unchanged type other registrants are not told anything.",
        "A register 0 a; B register 0 b; C register 0 c; A reserve a {T}; B {P} b a {T}; keys b c; holder b {T}; A ua 2a/05; C noua";
    each "holder-and-its-other-paths", SINGLE, RESERVATION, "All nexuses with the holder's key lose their registration.",
        "A register 0 a; D register 0 a; B register 0 b; A reserve a {T}; B {P} b a {T}; keys b; holder b {T}; A ua 2a/05; D ua 2a/05; D write 11 = conflict";
    each "self", SINGLE, RESERVATION, "The holder that preempts its own key changes the type and stays registered; other nexuses with its key do not.",
        "A register 0 a; D register 0 a; B register 0 b; A reserve a {T}; A {P} a a {U}; keys a b; holder a {U}; status A:a* B:b; D ua 2a/05; B ua 2a/04; A noua";
    each "registrant", SINGLE, REMOVING, "With the key of registrants that are not the holder these lose their registration; the reservation keeps its type.",
        "A register 0 a; B register 0 b; C register 0 b; A reserve a {T}; A {P} a b {U}; keys a; holder a {T}; B ua 2a/05; C ua 2a/05; A noua; B write 11 = conflict";
    each "registrant-by-another", SINGLE, REMOVING, "A registrant that is not the holder can remove another one.",
        "A register 0 a; B register 0 b; C register 0 c; A reserve a {T}; B {P} b c {U}; keys a b; holder a {T}; C ua 2a/05; A noua; B noua";
    each "own-key-of-a-registrant", SINGLE, REMOVING, "A registrant that is not the holder and names its own key loses its registration.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} b b {T}; keys a; holder a {T}; B noua; A noua; B write 11 = conflict";
    each "no-match", ALL, PREEMPTING, "A key that nobody has conflicts, and nothing changes.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} b f {T} = conflict; keys a b; holder {H} {T}; A noua";
    each "loser", SINGLE, PREEMPTING, "Of two that preempt the same key the second conflicts: it is a compare and swap.",
        "A register 0 a; B register 0 b; C register 0 c; A reserve a {T}; B {P} b a {T}; C {P} c a {T} = conflict; keys b c; holder b {T}";
    each "victim-cannot-strike-back", SINGLE, PREEMPTING, "Who was preempted is not registered any more and conflicts.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} b a {T}; A {P} a b {T} = conflict; A clear a = conflict; A release a {T} = conflict; A reserve a {T} = conflict; keys b; holder b {T}";
    each "zero", SINGLE, OUT, "Zero is an INVALID FIELD IN PARAMETER LIST unless all registrants hold the reservation.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} b 0 {T} = illegal 26/00; keys a b; holder a {T}";
    each "unregistered", ALL, PREEMPTING, "An unregistered nexus conflicts.",
        "A register 0 a; A reserve a {T}; B {P} 0 a {T} = conflict; B {P} a a {T} = conflict; keys a; holder {H} {T}";
    each "wrong-key", ALL, PREEMPTING, "Another key than one's own conflicts.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} a a {T} = conflict; B {P} f a {T} = conflict; B {P} 0 a {T} = conflict; keys a b; holder {H} {T}";
    each "scope-and-type", SINGLE, OUT, "For the holder's key, a scope or type that does not exist is an INVALID FIELD IN CDB.",
        "A register 0 a; B register 0 b; A reserve a {T}; B {P} b a 1{T} = illegal 24/00; B {P} b a 0 = illegal 24/00; B {P} b a 9 = illegal 24/00; keys a b; holder a {T}";
    each "all-registrants", ALL_REGISTRANTS, RESERVATION, "Zero removes all other registrations, and the sender alone holds the type of the command.",
        "A register 0 a; B register 0 b; C register 0 c; A reserve a {T}; B {P} b 0 1; keys b; holder b 1; status B:b*; A ua 2a/05; C ua 2a/05; B noua; A write 11 = conflict";
    each "all-registrants-by-key", ALL_REGISTRANTS, REMOVING, "A key removes whoever has it; the reservation and its type stay.",
        "A register 0 a; B register 0 b; C register 0 c; A reserve a {T}; A {P} a b 1; keys a c; holder 0 {T}; status A:a* C:c*; B ua 2a/05; C noua; A noua; B write 11 = conflict; C write 22";
    each "victim-without-a-session", SINGLE, PREEMPTING, "A registration is removed while its nexus has no session.",
        "A register 0 a; B register 0 b; A reserve a {T}; A logout; B {P} b a {T}; keys b; holder b {T}; A login; A write 11 = conflict; A register a c = conflict";
    each "victim-writes-nothing", ALL, PREEMPTING, "The first write of a preempted nexus is not done: it ends with the unit attention, the next with a conflict.",
        "A register 0 a; B register 0 b; A write 11; A reserve a {T}; A {P} a b {T}; B write 22 = ua 2a/05; B write 33 = conflict; A block 11";
};
