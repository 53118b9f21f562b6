//! Access to the medium and to the parameter data, seen at what they carry. The commands one by one are in the matrix.

use super::{ADMITTING, ALL, EXCLUSIVE, each, one};
use crate::conformance::script::Script;

const ACCESS: &str = "SPC-4 §5.13.1";

pub(super) const TABLE: &[Script] = &[
    each(
        "access/refused-write-leaves-the-block",
        ALL,
        ACCESS,
        "A write that conflicts changes nothing.",
        "A register 0 a; A write 11; A reserve a {T}; B write 22 = conflict; A block 11",
    ),
    each(
        "access/reader",
        &[1, 5, 7],
        ACCESS,
        "With a Write Exclusive type everybody reads.",
        "A register 0 a; A write 11; A reserve a {T}; B block 11; C block 11",
    ),
    each(
        "access/no-reader",
        &[3, 6, 8],
        ACCESS,
        "With an Exclusive Access type a stranger does not read.",
        "A register 0 a; A write 11; A reserve a {T}; B read = conflict; A block 11",
    ),
    each(
        "access/registrant",
        ADMITTING,
        ACCESS,
        "With a registrants type a registrant reads and writes.",
        "A register 0 a; B register 0 b; A reserve a {T}; B write 22; A block 22; B block 22",
    ),
    each(
        "access/registrant-of-an-exclusive-type",
        EXCLUSIVE,
        ACCESS,
        "With Write Exclusive and Exclusive Access a registrant that is not the holder does not write.",
        "A register 0 a; B register 0 b; A write 11; A reserve a {T}; B write 22 = conflict; A block 11",
    ),
    each(
        "access/another-port-of-the-holder",
        ALL,
        ACCESS,
        "Another port of the holder's node is a stranger.",
        "A register 0 a; A write 11; A reserve a {T}; D write 22 = conflict; E write 33 = conflict; A block 11",
    ),
    each(
        "access/looking",
        ALL,
        ACCESS,
        "PERSISTENT RESERVE IN passes every reservation.",
        "A register 0 a; A reserve a {T}; B in 0; B in 1; B in 2; B in 3",
    ),
    one(
        "access/ends-with-the-reservation",
        ACCESS,
        "After the reservation everybody writes again.",
        "A register 0 a; A reserve a 3; B write 11 = conflict; A release a 3; B write 11; B block 11",
    ),
    one(
        "attention/once",
        "SAM-5 §5.14",
        "A unit attention is reported once.",
        "A register 0 a; B register 0 b; A clear a; B tur = ua 2a/03; B tur; B noua",
    ),
    one(
        "attention/not-by-inquiry",
        "SAM-5 §5.14",
        "INQUIRY and REPORT LUNS are done in spite of a unit attention, and leave it.",
        "A register 0 a; B register 0 b; A clear a; B inquiry; B luns; B tur = ua 2a/03",
    ),
    one(
        "attention/of-the-port",
        "SAM-5 §5.14",
        "A unit attention belongs to a nexus, not to all ports of its node.",
        "A register 0 a; B register 0 b; D tur; E tur; B abort b a 5; D noua; E noua; A ua 2a/05",
    ),
    one(
        "attention/two",
        "SAM-5 §5.14",
        "A second event before the first was reported is reported too.",
        "A register 0 a; B register 0 b; A reserve a 5; A release a 5; A abort a b 5; B ua 2a/05; B noua",
    ),
    one(
        "attention/survives-more-traffic",
        "SAM-5 §5.14",
        "A unit attention waits, whatever others send.",
        "A register 0 a; B register 0 b; A clear a; A register 0 a; A reserve a 1; A write 11; A read; A release a 1; B ua 2a/03",
    ),
];
