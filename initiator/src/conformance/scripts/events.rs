//! What reservations live through: logouts, lost connections, session reinstatement, resets, and a loss of power.

use super::{ALL, SINGLE, each, one};
use crate::conformance::case::Need;
use crate::conformance::script::Script;

const SESSIONS: &str = "RFC 7143 §4.4.3.2";
const RESETS: &str = "SPC-4 §5.13.1";
const POWER: &str = "SPC-4 §5.13.5";

const POWER_NEEDS: &[Need] = &[Need::PersistThroughPowerLoss, Need::Restart];

pub(super) const TABLE: &[Script] = &[
    each("session/logout", ALL, SESSIONS, "Registration and reservation live through a logout; the port has both when it logs in again.",
        "A register 0 a; B register 0 b; A reserve a {T}; A logout; keys a b; holder {H} {T}; C write 11 = conflict; A login; A write 22; A block 22; A release a {T}; holder none"),
    each("session/reinstatement", ALL, SESSIONS, "Registration and reservation live through session reinstatement.",
        "A register 0 a; A reserve a {T}; A login; keys a; holder {H} {T}; B write 11 = conflict; A write 22; A block 22; A register a c; keys c"),
    each("session/lost-connection", ALL, SESSIONS, "Registration and reservation live through a connection that breaks.",
        "A register 0 a; A reserve a {T}; A cut; keys a; holder {H} {T}; B write 11 = conflict; A login; A write 22; A block 22"),
    each("session/no-heir", SINGLE, SESSIONS, "No other port inherits a registration whose session has ended.",
        "A register 0 a; A reserve a {T}; A logout; D write 11 = conflict; E write 22 = conflict; D release a {T} = conflict; E clear a = conflict; keys a; holder a {T}"),
    one("session/unregistered-stays-so", SESSIONS, "Logging in again does not register.",
        "A register 0 a; A reserve a 5; B logout; B login; B write 11 = conflict; keys a"),
    one("session/reinstatement-of-a-victim", SESSIONS, "Logging in again does not bring a preempted registration back.",
        "A register 0 a; B register 0 b; A reserve a 5; A abort a b 5; B login; B write 11 = conflict; keys a"),
    one("session/reinstatement-keeps-others", SESSIONS, "Session reinstatement of one port leaves all others alone.",
        "A register 0 a; B register 0 b; A reserve a 5; B login; keys a b; B write 11; A write 22; A noua"),
    each("reset/logical-unit", ALL, RESETS, "LOGICAL UNIT RESET leaves registrations and reservation.",
        "A register 0 a; B register 0 b; A reserve a {T}; B lureset; keys a b; holder {H} {T}; C write 11 = conflict; A write 22; A block 22"),
    each("reset/logical-unit-by-a-stranger", ALL, RESETS, "LOGICAL UNIT RESET by a stranger is done, and gives it no access.",
        "A register 0 a; A reserve a {T}; C lureset; keys a; holder {H} {T}; C write 11 = conflict"),
    one("reset/told", "SAM-5 §6.3.3", "After LOGICAL UNIT RESET the other nexuses are told.",
        "A tur; B tur; A lureset; B tur = ua 29/00 | ua 29/02 | ua 29/03 | ua 29/04"),
    each("reset/warm", SINGLE, RESETS, "TARGET WARM RESET leaves registrations and reservation.",
        "A register 0 a; B register 0 b; A reserve a {T}; B warmreset; keys a b; holder a {T}; C write 11 = conflict; A write 22; A block 22"),
    one("reset/cold-with-aptpl", "RFC 7143 §11.5.1", "TARGET COLD RESET is a loss of power: with APTPL registrations and reservation live through it.",
        "A register 0 a aptpl; A reserve a 5; A coldreset; A login; B login; keys a; holder a 5; B write 11 = conflict; A write 22; A block 22")
        .needing(&[Need::PersistThroughPowerLoss]),
    one("aptpl/active", "SPC-4 §6.15.4", "PTPL_A is what the last registration asked for.",
        "A register 0 a aptpl; persists 1; A register a a; persists 0; A ignore 0 a aptpl; persists 1; B register 0 b; persists 0")
        .needing(&[Need::PersistThroughPowerLoss]),
    one("aptpl/not-by-others", "SPC-4 §6.15.4", "Service actions that are no registrations leave PTPL_A.",
        "A register 0 a aptpl; A reserve a 5; persists 1; A release a 5; persists 1; B register 0 b aptpl; A abort a b 5; persists 1")
        .needing(&[Need::PersistThroughPowerLoss]),
    each("aptpl/survives", ALL, POWER, "With APTPL registrations and reservation live through a loss of power.",
        "A register 0 a aptpl; B register 0 b aptpl; A reserve a {T}; restart; keys a b; holder {H} {T}; A login; B login; C login; C write 11 = conflict; A write 22; A block 22; A release a {T}; holder none")
        .needing(POWER_NEEDS),
    one("aptpl/preemption-survives", POWER, "Who was preempted is still out after a loss of power.",
        "A register 0 a aptpl; B register 0 b aptpl; A reserve a 1; B abort b a 1; restart; keys b; holder b 1; A login; B login; A write 11 = conflict; B write 22")
        .needing(POWER_NEEDS),
    one("aptpl/release-survives", POWER, "A reservation that was released does not come back; the registrations do.",
        "A register 0 a aptpl; A reserve a 1; A release a 1; restart; keys a; holder none; B login; B write 11")
        .needing(POWER_NEEDS),
    one("aptpl/clear-survives", POWER, "What was cleared does not come back.",
        "A register 0 a aptpl; A reserve a 1; A clear a; restart; keys; holder none; B login; B write 11")
        .needing(POWER_NEEDS),
    one("aptpl/zero", POWER, "Without APTPL registrations and reservation end with a loss of power.",
        "A register 0 a; A reserve a 1; restart; keys; holder none; B login; B write 11")
        .needing(&[Need::Restart]),
    one("aptpl/last-one-counts", POWER, "APTPL is one setting of the logical unit: the last registration counts.",
        "A register 0 a aptpl; A reserve a 1; B register 0 b; restart; keys; holder none")
        .needing(POWER_NEEDS),
    one("replace/nothing-is-lost", "SPC-5 §5.14.11.4", "REPLACE LOST RESERVATION is an INVALID FIELD IN CDB where no reservation information is lost, and changes nothing.",
        "A register 0 a; B register 0 b; A reserve a 5; C out 8 0 c 1 = illegal 24/00; B out 8 0 c 1 = illegal 24/00; A out 8 a c 1 = illegal 24/00; keys a b; holder a 5; A noua"),
    one("replace/on-a-free-unit", "SPC-5 §5.14.11.4", "REPLACE LOST RESERVATION is no way to reserve a unit that is free.",
        "A out 8 0 a 1 = illegal 24/00; keys; holder none; B write 11"),
    one("aptpl/told", "SAM-5 §6.3.1", "After a loss of power nexuses are told.",
        "A register 0 a aptpl; restart; A login; A tur = ua 29/00 | ua 29/01 | ua 29/04")
        .needing(POWER_NEEDS),
];
