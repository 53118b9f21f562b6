//! RESERVE and RELEASE, and the exceptions that devices with persistent reservations make for them.

use super::{ADMITTING, ALL, EXCLUSIVE, each, one};
use crate::conformance::case::Need;
use crate::conformance::script::Script;

const SPC2: &str = "SPC-2 §5.5.1";
const COMPATIBLE: &str = "SPC-4 §5.13.3";

pub(super) const TABLE: &[Script] = &[
    one("spc-2/reserve-6", SPC2, "RESERVE(6) keeps others from the medium, RELEASE(6) lets them back.",
        "A write 11; A reserve6; B write 22 = conflict; B read = conflict; A write 33; A release6; B block 33; B write 44"),
    one("spc-2/reserve-10", SPC2, "RESERVE(10) keeps others from the medium, RELEASE(10) lets them back.",
        "A write 11; A reserve10; B write 22 = conflict; B read = conflict; A write 33; A release10; B block 33; B write 44"),
    one("spc-2/forms-are-one", SPC2, "The forms of six and ten bytes are one reservation.",
        "A reserve6; A release10; B write 11; A reserve10; A release6; B write 22"),
    one("spc-2/reserve-again", SPC2, "The holder may reserve again, and one release ends it.",
        "A reserve6; A reserve6; A release6; B write 11"),
    one("spc-2/reserve-of-another", SPC2, "RESERVE of another nexus conflicts.",
        "A reserve6; B reserve6 = conflict; B reserve10 = conflict; A release6; B reserve6; B release6"),
    one("spc-2/release-of-another", SPC2, "RELEASE of another nexus is done and changes nothing.",
        "A reserve6; B release6; B release10; B write 11 = conflict; A release6"),
    one("spc-2/release-of-nothing", SPC2, "RELEASE without a reservation is done.",
        "A release6; A release10; B write 11"),
    one("spc-2/what-passes", SPC2, "INQUIRY and REPORT LUNS pass.",
        "A reserve6; B inquiry; B luns; A release6"),
    one("spc-2/keeps-persistent-commands-out", SPC2, "PERSISTENT RESERVE IN and OUT of another nexus conflict.",
        "A reserve6; B in 0 = conflict; B in 1 = conflict; B register 0 b = conflict; A release6; keys"),
    one("spc-2/ends-with-logout", "RFC 7143 §4.4.3.2", "Logout ends the reservation.",
        "A reserve6; B write 11 = conflict; A logout; B write 22; B block 22"),
    one("spc-2/ends-with-the-connection", "SAM-5 §6.3.4", "The loss of the nexus ends the reservation, at the latest when the port has logged in and out again.",
        "A reserve6; B write 11 = conflict; A cut; A login; A logout; B write 22; B block 22"),
    one("spc-2/ends-with-unit-reset", "SAM-5 §6.3.3", "LOGICAL UNIT RESET of any nexus ends the reservation.",
        "A reserve6; B lureset; B write 22; B block 22"),
    one("spc-2/ends-with-warm-reset", "SAM-5 §6.3.2", "TARGET WARM RESET of any nexus ends the reservation.",
        "A reserve6; B warmreset; B write 22; B block 22"),
    one("spc-2/under-registrations", COMPATIBLE, "RESERVE and RELEASE conflict while somebody is registered and nobody holds a reservation.",
        "A register 0 a; A reserve6 = conflict; B reserve6 = conflict; A reserve10 = conflict; keys a; B write 11"),
    each("spc-2/of-the-holder", ALL, COMPATIBLE, "RESERVE and RELEASE of a holder are done and change nothing.",
        "A register 0 a; A reserve a {T}; A reserve6; A reserve10; A release6; A release10; holder {H} {T}; B write 11 = conflict")
        .needing(&[Need::CompatibleHandling]),
    each("spc-2/of-a-registrant", ADMITTING, COMPATIBLE, "RESERVE and RELEASE of a registrant are done and change nothing where registrants have access.",
        "A register 0 a; B register 0 b; A reserve a {T}; B reserve6; B reserve10; B release6; B release10; holder {H} {T}; A write 11; B write 22; C write 33 = conflict")
        .needing(&[Need::CompatibleHandling]),
    each("spc-2/of-a-registrant", EXCLUSIVE, COMPATIBLE, "RESERVE and RELEASE of a registrant conflict where only the holder has access.",
        "A register 0 a; B register 0 b; A reserve a {T}; B reserve6 = conflict; B reserve10 = conflict; B release6 = conflict; B release10 = conflict; holder a {T}"),
    each("spc-2/of-a-stranger", ALL, COMPATIBLE, "RESERVE and RELEASE of a stranger conflict.",
        "A register 0 a; A reserve a {T}; B reserve6 = conflict; B reserve10 = conflict; B release6 = conflict; B release10 = conflict; holder {H} {T}"),
];
