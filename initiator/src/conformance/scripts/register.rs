//! REGISTER, REGISTER AND IGNORE EXISTING KEY, and what unregistering does.

use super::{ADMITTING, ALL, ALL_REGISTRANTS, EXCLUSIVE, REGISTRANTS_ONLY, SINGLE, each, one};
use crate::conformance::script::Script;

const REGISTERING: &str = "SPC-4 §5.13.7";
const UNREGISTERING: &str = "SPC-4 §5.13.11.2.3";
const GENERATION: &str = "SPC-4 §6.15.2";
const OUT: &str = "SPC-4 §6.16";

pub(super) const TABLE: &[Script] = &[
    one(
        "register/new",
        REGISTERING,
        "An unregistered nexus registers with key zero and a new key.",
        "A register 0 a; keys a; status A:a; holder none",
    ),
    one(
        "register/key-of-nobody",
        REGISTERING,
        "A key other than zero from an unregistered nexus conflicts, and nothing is registered.",
        "A register b a = conflict; keys",
    ),
    one(
        "register/nothing",
        REGISTERING,
        "Zero for both keys from an unregistered nexus is done and changes nothing.",
        "A register 0 0; keys",
    ),
    one(
        "register/nothing-with-a-wrong-key",
        REGISTERING,
        "A key other than zero from an unregistered nexus conflicts even if nothing is to be registered.",
        "A register b 0 = conflict; keys",
    ),
    one(
        "register/wrong-key",
        REGISTERING,
        "A registered nexus that gives another key than its own conflicts, and keeps its key.",
        "A register 0 a; A register b c = conflict; keys a",
    ),
    one(
        "register/zero-of-a-registrant",
        REGISTERING,
        "A registered nexus that gives key zero conflicts.",
        "A register 0 a; A register 0 b = conflict; keys a",
    ),
    one(
        "register/change",
        REGISTERING,
        "A registered nexus changes its key.",
        "A register 0 a; B register 0 b; A register a c; keys b c; status A:c B:b",
    ),
    one(
        "register/change-to-the-same",
        REGISTERING,
        "A registered nexus may register its own key again.",
        "A register 0 a; A register a a; keys a",
    ),
    one(
        "register/old-key-is-void",
        REGISTERING,
        "After a change the old key is no key any more.",
        "A register 0 a; A register a c; A register a d = conflict; A reserve a 5 = conflict; keys c",
    ),
    one(
        "register/same-key-twice",
        REGISTERING,
        "Two nexuses may have the same key; it is listed for each.",
        "A register 0 a; B register 0 a; keys a a; status A:a B:a",
    ),
    one(
        "register/unregister",
        UNREGISTERING,
        "A new key of zero ends the registration of its nexus alone.",
        "A register 0 a; B register 0 b; A register a 0; keys b; B noua; A register a c = conflict",
    ),
    one(
        "register/unregister-with-a-wrong-key",
        UNREGISTERING,
        "A wrong key does not end a registration.",
        "A register 0 a; A register b 0 = conflict; keys a",
    ),
    one(
        "register/ports-of-one-node-are-apart",
        REGISTERING,
        "Another port of the same initiator device is another nexus.",
        "A register 0 a; D register a d = conflict; D register 0 d; keys a d; status A:a D:d",
    ),
    one(
        "register/same-isid-of-another-node",
        REGISTERING,
        "The same ISID under another initiator name is another nexus.",
        "A register 0 a; E register a b = conflict; E register 0 b; keys a b; status A:a E:b",
    ),
    one(
        "register/list-too-short",
        OUT,
        "A parameter list of less than 24 bytes is a PARAMETER LIST LENGTH ERROR.",
        "A register 0 a len=23 = illegal 1a/00; A register 0 a len=0 = illegal 1a/00; keys",
    ),
    one(
        "register/list-too-long",
        OUT,
        "A parameter list of more than 24 bytes without SPEC_I_PT is a PARAMETER LIST LENGTH ERROR.",
        "A register 0 a len=25 = illegal 1a/00; A register 0 a len=28 = illegal 1a/00; keys",
    ),
    one(
        "register/not-subject-to-type",
        OUT,
        "SCOPE and TYPE are ignored.",
        "A out 0 0 a ff; keys a; A out 6 0 b ff; keys b",
    ),
    each(
        "register/under-a-reservation",
        ALL,
        OUT,
        "Whoever is not registered may register under any reservation.",
        "A register 0 a; A reserve a {T}; B register 0 b; keys a b; C ignore 0 c; keys a b c; holder {H} {T}",
    ),
    each(
        "register/change-of-the-holder",
        SINGLE,
        REGISTERING,
        "A holder that changes its key stays the holder, and its new key is shown.",
        "A register 0 a; A reserve a {T}; A register a c; holder c {T}; status A:c*; A write 11; B write 22 = conflict; A release c {T}; holder none",
    ),
    each(
        "register/change-under-all-registrants",
        ALL_REGISTRANTS,
        REGISTERING,
        "A change of a key leaves an all registrants reservation alone.",
        "A register 0 a; B register 0 b; A reserve a {T}; A register a c; holder 0 {T}; status A:c* B:b*",
    ),
    one(
        "ignore/new",
        REGISTERING,
        "REGISTER AND IGNORE EXISTING KEY registers an unregistered nexus, whatever its key.",
        "A ignore f a; keys a; B ignore 0 b; keys a b; status A:a B:b",
    ),
    one(
        "ignore/change",
        REGISTERING,
        "REGISTER AND IGNORE EXISTING KEY changes the key without a look at the old one.",
        "A register 0 a; A ignore f b; keys b; A ignore 0 c; keys c",
    ),
    one(
        "ignore/unregister",
        UNREGISTERING,
        "REGISTER AND IGNORE EXISTING KEY with a new key of zero ends the registration.",
        "A register 0 a; B register 0 b; A ignore f 0; keys b",
    ),
    one(
        "ignore/nothing",
        REGISTERING,
        "REGISTER AND IGNORE EXISTING KEY with zero from an unregistered nexus is done and changes nothing.",
        "A ignore f 0; keys",
    ),
    each(
        "ignore/holder",
        SINGLE,
        REGISTERING,
        "REGISTER AND IGNORE EXISTING KEY by the holder leaves it the holder.",
        "A register 0 a; A reserve a {T}; A ignore 0 c; holder c {T}; A write 11",
    ),
    each(
        "unregister/holder",
        EXCLUSIVE,
        UNREGISTERING,
        "When the holder unregisters the reservation is released, without a unit attention.",
        "A register 0 a; B register 0 b; A reserve a {T}; A register a 0; keys b; holder none; B noua; A noua; C write 11",
    ),
    each(
        "unregister/holder",
        REGISTRANTS_ONLY,
        UNREGISTERING,
        "When the holder unregisters the reservation is released, and every other registrant is told RESERVATIONS RELEASED.",
        "A register 0 a; B register 0 b; A reserve a {T}; C tur; A register a 0; keys b; holder none; B ua 2a/04; A noua; C noua; C write 11",
    ),
    each(
        "unregister/one-of-all",
        ALL_REGISTRANTS,
        UNREGISTERING,
        "An all registrants reservation stays while one registrant is left.",
        "A register 0 a; B register 0 b; A reserve a {T}; A register a 0; keys b; holder 0 {T}; status B:b*; A write 11 = conflict; B write 22",
    ),
    each(
        "unregister/last-of-all",
        ALL_REGISTRANTS,
        UNREGISTERING,
        "An all registrants reservation ends with the last registration.",
        "A register 0 a; B register 0 b; A reserve a {T}; A register a 0; B register b 0; keys; holder none; C write 11",
    ),
    each(
        "unregister/not-the-holder",
        SINGLE,
        UNREGISTERING,
        "A registrant that is not the holder leaves, and the reservation stays.",
        "A register 0 a; B register 0 b; A reserve a {T}; B register b 0; keys a; holder a {T}; A noua; B noua; B write 11 = conflict",
    ),
    each(
        "unregister/access-ends",
        ADMITTING,
        UNREGISTERING,
        "Access that came with a registration ends with it.",
        "A register 0 a; B register 0 b; A reserve a {T}; B write 11; B register b 0; B write 22 = conflict; A block 11",
    ),
    each(
        "unregister/and-return",
        SINGLE,
        UNREGISTERING,
        "A holder that unregistered and registers again holds nothing.",
        "A register 0 a; A reserve a {T}; A register a 0; A register 0 a; holder none; status A:a",
    ),
    one(
        "generation/register",
        GENERATION,
        "PRGENERATION grows by one with each REGISTER and REGISTER AND IGNORE EXISTING KEY that is done.",
        "mark; A register 0 a; generation 1; A register a b; generation 2; A ignore 0 c; generation 3; A register c 0; generation 4",
    ),
    one(
        "generation/refused",
        GENERATION,
        "PRGENERATION does not change with a command that is refused.",
        "A register 0 a; mark; A register b c = conflict; B clear a = conflict; A preempt a f 1 = conflict; generation 0",
    ),
    one(
        "generation/reserve-and-release",
        GENERATION,
        "PRGENERATION does not change with RESERVE and RELEASE.",
        "A register 0 a; mark; A reserve a 1; A release a 1; generation 0",
    ),
    one(
        "generation/clear",
        GENERATION,
        "PRGENERATION grows by one with CLEAR.",
        "A register 0 a; B register 0 b; mark; A clear a; generation 1",
    ),
    one(
        "generation/preempt",
        GENERATION,
        "PRGENERATION grows by one with PREEMPT, however many it removes.",
        "A register 0 a; B register 0 b; C register 0 b; A reserve a 1; mark; A preempt a b 1; generation 1",
    ),
    one(
        "generation/preempt-and-abort",
        GENERATION,
        "PRGENERATION grows by one with PREEMPT AND ABORT.",
        "A register 0 a; B register 0 b; A reserve a 1; mark; A abort a b 1; generation 1",
    ),
    one(
        "generation/register-and-move",
        GENERATION,
        "PRGENERATION grows by one with REGISTER AND MOVE.",
        "A register 0 a; A reserve a 1; mark; A move a b B; generation 1",
    ),
    one(
        "generation/looking",
        GENERATION,
        "PRGENERATION does not change with PERSISTENT RESERVE IN.",
        "A register 0 a; mark; A in 0; A in 1; A in 2; A in 3; generation 0",
    ),
];
