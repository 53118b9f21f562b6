//! What names other ports: REGISTER AND MOVE, SPEC_I_PT, ALL_TG_PT, and nexuses through two target ports.

use super::{ALL_REGISTRANTS, SINGLE, each, one};
use crate::conformance::case::Need;
use crate::conformance::script::Script;

const MOVING: &str = "SPC-4 §5.13.8";
const REGISTERING: &str = "SPC-4 §5.13.7";
const MOVE_LIST: &str = "SPC-4 §6.16.4";
const LIST: &str = "SPC-4 §6.16.3";

pub(super) const TABLE: &[Script] = &[
    each("move/to-an-unregistered-port", SINGLE, MOVING, "The other port is registered with the new key and becomes the holder with the same type; the sender stays registered.",
        "A register 0 a; A reserve a {T}; A move a b B; keys a b; holder b {T}; status A:a B:b*; B write 11; C write 22 = conflict; B block 11; B noua; A noua"),
    each("move/to-a-registrant", SINGLE, MOVING, "A registrant that gets the reservation gets the new key too.",
        "A register 0 a; B register 0 b; A reserve a {T}; A move a c B; keys a c; holder c {T}; status A:a B:c*; B noua"),
    each("move/and-unregister", SINGLE, MOVING, "With UNREG the sender's registration ends.",
        "A register 0 a; A reserve a {T}; A move a b B unreg; keys b; holder b {T}; status B:b*; A write 11 = conflict; B write 22; B block 22"),
    each("move/to-a-port-without-a-session", SINGLE, MOVING, "The other port need not be logged in.",
        "A register 0 a; B logout; A reserve a {T}; A move a b B unreg; keys b; holder b {T}; B login; B write 11; B block 11"),
    each("move/unregistered", SINGLE, MOVING, "An unregistered nexus conflicts.",
        "A register 0 a; A reserve a {T}; C move 0 b B = conflict; C move a b B = conflict; keys a; holder a {T}"),
    each("move/not-the-holder", SINGLE, MOVING, "A registrant that is not the holder conflicts.",
        "A register 0 a; B register 0 b; A reserve a {T}; B move b c C = conflict; keys a b; holder a {T}"),
    each("move/wrong-key", SINGLE, MOVING, "Another key than one's own conflicts.",
        "A register 0 a; A reserve a {T}; A move f b B = conflict; keys a; holder a {T}"),
    each("move/zero", SINGLE, MOVE_LIST, "A new key of zero is an INVALID FIELD IN PARAMETER LIST.",
        "A register 0 a; A reserve a {T}; A move a 0 B = illegal 26/00; keys a; holder a {T}"),
    each("move/to-oneself", SINGLE, MOVE_LIST, "The sender's own nexus is an INVALID FIELD IN PARAMETER LIST.",
        "A register 0 a; A reserve a {T}; A move a b A = illegal 26/00; keys a; holder a {T}"),
    each("move/to-no-target-port", SINGLE, MOVE_LIST, "A target port that does not exist is an INVALID FIELD IN PARAMETER LIST.",
        "A register 0 a; A reserve a {T}; A move a b B port=65533 = illegal 26/00; keys a; holder a {T}"),
    each("move/all-registrants", ALL_REGISTRANTS, MOVING, "A reservation that all registrants hold cannot be moved.",
        "A register 0 a; A reserve a {T}; A move a b B = conflict; keys a; holder 0 {T}"),
    one("move/nothing-held", MOVING, "Without a reservation it is an INVALID FIELD IN CDB.",
        "A register 0 a; A move a b B = illegal 24/00; keys a"),
    one("spec-i-pt/registers-others", REGISTERING, "With SPEC_I_PT the listed initiator ports are registered too, with the same key.",
        "A register 0 a ports=B,C; keys a a a; status A:a B:a C:a; A reserve a 5; B write 11; C write 22; A block 22; D write 33 = conflict")
        .needing(&[Need::SpecifyInitiatorPorts]),
    one("spec-i-pt/port-without-a-session", REGISTERING, "A listed port need not be logged in.",
        "B logout; A register 0 a ports=B; keys a a; status A:a B:a; A reserve a 5; B login; B write 11; B block 11")
        .needing(&[Need::SpecifyInitiatorPorts]),
    one("spec-i-pt/of-a-registrant", LIST, "SPEC_I_PT from a registered nexus is an INVALID FIELD IN PARAMETER LIST.",
        "A register 0 a; A register a b ports=B = illegal 26/00; keys a")
        .needing(&[Need::SpecifyInitiatorPorts]),
    one("spec-i-pt/cut", LIST, "A TransportID that is cut is refused, and nobody is registered.",
        "A register 0 a ports=! = illegal 26/00 | illegal 1a/00; keys")
        .needing(&[Need::SpecifyInitiatorPorts]),
    one("spec-i-pt/elsewhere", LIST, "SPEC_I_PT is for registrations alone.",
        "A register 0 a; A reserve a 5 ports=B = illegal 26/00 | illegal 1a/00; holder none; A clear a ports=B = illegal 26/00 | illegal 1a/00; keys a"),
    one("spec-i-pt/generation", "SPC-4 §6.15.2", "PRGENERATION grows by one, however many are registered.",
        "mark; A register 0 a ports=B,C; generation 1")
        .needing(&[Need::SpecifyInitiatorPorts]),
    one("all-tg-pt/shown", "SPC-4 §6.15.5", "READ FULL STATUS says that a registration was made for all target ports.",
        "A register 0 a all; status A:a+")
        .needing(&[Need::AllTargetPorts]),
    one("second-portal/another-nexus", REGISTERING, "The same initiator port through another target port is another nexus.",
        "A register 0 a; A2 register a b = conflict; A2 register 0 b; keys a b")
        .needing(&[Need::SecondPortal]),
    each("second-portal/stranger", SINGLE, "SPC-4 §5.13.1", "A reservation through one target port keeps the same initiator out at another one.",
        "A register 0 a; A reserve a {T}; A2 write 11 = conflict; A write 22; A block 22")
        .needing(&[Need::SecondPortal]),
    one("second-portal/preempted-together", "SPC-4 §5.13.11.2.4", "PREEMPT AND ABORT of a key removes its registrations through all target ports.",
        "A register 0 a; A2 register 0 a; B register 0 b; A reserve a 5; B abort b a 5; keys b; holder b 5; A ua 2a/05; A2 ua 2a/05; A2 write 11 = conflict")
        .needing(&[Need::SecondPortal]),
    one("second-portal/all-tg-pt", REGISTERING, "ALL_TG_PT registers the initiator port at every target port.",
        "A register 0 a all; A reserve a 5; A2 write 11; A2 block 11")
        .needing(&[Need::SecondPortal, Need::AllTargetPorts]),
];
