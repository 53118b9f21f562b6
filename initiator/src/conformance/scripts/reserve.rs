//! RESERVE, RELEASE and CLEAR.

use super::{ADMITTING, ALL, ALL_REGISTRANTS, EXCLUSIVE, SINGLE, each, one};
use crate::conformance::script::Script;

const RESERVING: &str = "SPC-4 §5.13.9";
const RELEASING: &str = "SPC-4 §5.13.11.2.2";
const CLEARING: &str = "SPC-4 §5.13.11.2.8";
const OUT: &str = "SPC-4 §6.16";
const READ: &str = "SPC-4 §6.15.3";

pub(super) const TABLE: &[Script] = &[
    each(
        "reserve/becomes-holder",
        ALL,
        RESERVING,
        "A registrant reserves and is the holder.",
        "A register 0 a; A reserve a {T}; holder {H} {T}; status A:a*; keys a; A write 11; A block 11",
    ),
    each(
        "reserve/unregistered",
        ALL,
        RESERVING,
        "RESERVE of an unregistered nexus conflicts.",
        "A reserve 0 {T} = conflict; A reserve a {T} = conflict; holder none; B register 0 b; A reserve b {T} = conflict; holder none",
    ),
    each(
        "reserve/wrong-key",
        ALL,
        RESERVING,
        "RESERVE with another key than one's own conflicts.",
        "A register 0 a; A reserve b {T} = conflict; A reserve 0 {T} = conflict; holder none",
    ),
    each(
        "reserve/again",
        ALL,
        RESERVING,
        "The holder may reserve again with the same type.",
        "A register 0 a; A reserve a {T}; A reserve a {T}; holder {H} {T}",
    ),
    each(
        "reserve/another-type",
        ALL,
        RESERVING,
        "The holder that reserves with another type conflicts, and nothing changes.",
        "A register 0 a; A reserve a {T}; A reserve a {U} = conflict; holder {H} {T}",
    ),
    each(
        "reserve/held-by-another",
        SINGLE,
        RESERVING,
        "RESERVE of a registrant that is not the holder conflicts, with the same type too.",
        "A register 0 a; B register 0 b; A reserve a {T}; B reserve b {T} = conflict; B reserve b {U} = conflict; holder a {T}",
    ),
    each(
        "reserve/all-are-holders",
        ALL_REGISTRANTS,
        RESERVING,
        "Every registrant holds an all registrants reservation, so RESERVE with its type is done.",
        "A register 0 a; B register 0 b; A reserve a {T}; B reserve b {T}; B reserve b {U} = conflict; holder 0 {T}; status A:a* B:b*",
    ),
    each(
        "reserve/later-registrant-holds",
        ALL_REGISTRANTS,
        "SPC-4 §5.13.10",
        "Who registers under an all registrants reservation becomes a holder.",
        "A register 0 a; A reserve a {T}; B register 0 b; status A:a* B:b*; B write 11",
    ),
    each(
        "reserve/scope",
        ALL,
        OUT,
        "A scope other than LU_SCOPE is an INVALID FIELD IN CDB.",
        "A register 0 a; A reserve a 1{T} = illegal 24/00; A reserve a f{T} = illegal 24/00; holder none",
    ),
    one(
        "reserve/type",
        OUT,
        "A type that does not exist is an INVALID FIELD IN CDB.",
        "A register 0 a; A reserve a 0 = illegal 24/00; A reserve a 2 = illegal 24/00; A reserve a 4 = illegal 24/00; \
         A reserve a 9 = illegal 24/00; A reserve a a = illegal 24/00; A reserve a f = illegal 24/00; holder none",
    ),
    one(
        "reserve/list-length",
        OUT,
        "A parameter list of RESERVE that is not 24 bytes long is a PARAMETER LIST LENGTH ERROR.",
        "A register 0 a; A reserve a 5 len=16 = illegal 1a/00; A reserve a 5 len=32 = illegal 1a/00; holder none",
    ),
    one(
        "reserve/registration-is-not-enough",
        RESERVING,
        "Registrations alone keep nobody out.",
        "A register 0 a; B write 11; B block 11; holder none",
    ),
    each(
        "reserve/shown-to-all",
        ALL,
        READ,
        "READ RESERVATION shows the same to the holder, to a registrant and to a stranger.",
        "A register 0 a; B register 0 b; A reserve a {T}; A in 1; B in 1; C in 1; holder {H} {T}",
    ),
    each(
        "release/holder",
        ALL,
        RELEASING,
        "The holder releases; registrations stay.",
        "A register 0 a; B register 0 b; A reserve a {T}; A release a {T}; holder none; keys a b; status A:a B:b; C write 11",
    ),
    each(
        "release/told",
        ADMITTING,
        RELEASING,
        "With a registrants type, the other registrants are told RESERVATIONS RELEASED.",
        "A register 0 a; B register 0 b; A reserve a {T}; C tur; A release a {T}; B ua 2a/04; A noua; C noua",
    ),
    each(
        "release/not-told",
        EXCLUSIVE,
        RELEASING,
        "With Write Exclusive and Exclusive Access nobody is told.",
        "A register 0 a; B register 0 b; A reserve a {T}; A release a {T}; B noua; A noua",
    ),
    each(
        "release/by-another-holder",
        ALL_REGISTRANTS,
        RELEASING,
        "Any registrant releases an all registrants reservation, for all.",
        "A register 0 a; B register 0 b; A reserve a {T}; B release b {T}; holder none; keys a b; A ua 2a/04; B noua; C write 11",
    ),
    each(
        "release/not-the-holder",
        SINGLE,
        RELEASING,
        "RELEASE of a registrant that is not the holder is done and changes nothing.",
        "A register 0 a; B register 0 b; A reserve a {T}; B release b {T}; holder a {T}; A noua; C write 11 = conflict",
    ),
    one(
        "release/nothing-held",
        RELEASING,
        "RELEASE without a reservation is done and changes nothing.",
        "A register 0 a; B register 0 b; A release a 5; keys a b; holder none; B noua",
    ),
    each(
        "release/unregistered",
        ALL,
        RELEASING,
        "RELEASE of an unregistered nexus conflicts.",
        "A register 0 a; A reserve a {T}; B release 0 {T} = conflict; B release a {T} = conflict; holder {H} {T}",
    ),
    one(
        "release/unregistered-nothing-held",
        RELEASING,
        "RELEASE of an unregistered nexus conflicts without a reservation too.",
        "A release 0 5 = conflict; A release a 5 = conflict",
    ),
    each(
        "release/wrong-key",
        ALL,
        RELEASING,
        "RELEASE with another key than one's own conflicts.",
        "A register 0 a; A reserve a {T}; A release b {T} = conflict; A release 0 {T} = conflict; holder {H} {T}",
    ),
    each(
        "release/wrong-type",
        ALL,
        RELEASING,
        "RELEASE by the holder with another type is an INVALID RELEASE OF PERSISTENT RESERVATION.",
        "A register 0 a; A reserve a {T}; A release a {U} = illegal 26/04; holder {H} {T}",
    ),
    each(
        "release/then-reserve",
        ALL,
        RELEASING,
        "After RELEASE another registrant can reserve.",
        "A register 0 a; B register 0 b; A reserve a 1; A release a 1; B reserve b {T}; B release b {T}; holder none",
    ),
    each(
        "clear/holder",
        ALL,
        CLEARING,
        "CLEAR by the holder ends the reservation and all registrations.",
        "A register 0 a; B register 0 b; A reserve a {T}; A clear a; keys; holder none; status; C write 11",
    ),
    each(
        "clear/registrant",
        ALL,
        CLEARING,
        "CLEAR by a registrant that is not the holder does the same.",
        "A register 0 a; B register 0 b; A reserve a {T}; B clear b; keys; holder none; A ua 2a/03; B noua; C write 11",
    ),
    each(
        "clear/told",
        ALL,
        CLEARING,
        "All other registrants are told RESERVATIONS PREEMPTED, and nobody else.",
        "A register 0 a; B register 0 b; D register 0 a; A reserve a {T}; C tur; A clear a; B ua 2a/03; D ua 2a/03; A noua; C noua",
    ),
    one(
        "clear/nothing-held",
        CLEARING,
        "CLEAR without a reservation ends all registrations and tells the others.",
        "A register 0 a; B register 0 b; A clear a; keys; B ua 2a/03; A noua",
    ),
    each(
        "clear/unregistered",
        ALL,
        CLEARING,
        "CLEAR of an unregistered nexus conflicts.",
        "A register 0 a; A reserve a {T}; B clear 0 = conflict; B clear a = conflict; keys a; holder {H} {T}",
    ),
    one(
        "clear/unregistered-nothing-held",
        CLEARING,
        "CLEAR of an unregistered nexus conflicts without a reservation too.",
        "A clear 0 = conflict; B register 0 b; A clear b = conflict; keys b",
    ),
    each(
        "clear/wrong-key",
        ALL,
        CLEARING,
        "CLEAR with another key than one's own conflicts.",
        "A register 0 a; A reserve a {T}; A clear b = conflict; A clear 0 = conflict; keys a; holder {H} {T}",
    ),
    one(
        "clear/keys-are-void",
        CLEARING,
        "After CLEAR the old keys are void.",
        "A register 0 a; B register 0 b; A clear a; A reserve a 5 = conflict; B register b c = conflict; B register 0 c; keys c",
    ),
];
