//! The conflict matrix as a table that a person can check against the standards.

use std::fmt::Write as _;

use lunkeep_common::scsi::opcode_table::{ReservationRule, TABLE};
use lunkeep_common::scsi::persistent::ReservationType;

use super::*;

/// One line for each command: what holder, registrant and stranger may do under each type, and under a RESERVE of SPC-2.
#[test]
fn every_command_against_every_type_for_holder_registrant_and_stranger() {
    let mut text = String::from(
        "A passes, C conflicts; h holder, r registrant, s stranger; PR OUT, RESERVE and RELEASE have conditions of their own\n",
    );
    let _ = write!(text, "{:<58}", "");
    for kind in ReservationType::ALL {
        let _ = write!(text, " {:<3}", format!("{}", kind as u8));
    }
    text += " SPC-2\n";
    let _ = write!(text, "{:<58}", "");
    text += " hrs hrs hrs hrs hrs hrs hs\n";
    for info in TABLE {
        let forms: &[(&str, bool)] = if info.reservation == ReservationRule::StartStop {
            &[(", starting", true), (", stopping", false)]
        } else {
            &[("", false)]
        };
        for (suffix, starts) in forms {
            let _ = write!(text, "{:<58}", format!("{}{suffix}", info.name));
            for kind in ReservationType::ALL {
                text.push(' ');
                for relation in Relation::ALL {
                    text.push(if passes(info.reservation, *starts, kind, relation) { 'A' } else { 'C' });
                }
            }
            let rule = if *starts { ReservationRule::Allowed } else { info.reservation };
            let spc2 = [true, false].map(|own| if passes_reserved(rule, own) { 'A' } else { 'C' });
            let _ = writeln!(text, " {}{}", spc2[0], spc2[1]);
        }
    }
    insta::assert_snapshot!("matrix", text);
}

#[test]
fn what_can_change_the_medium_conflicts_for_everyone_without_access() {
    use lunkeep_common::scsi::opcode_table::MediumAccess;
    for info in TABLE
        .iter()
        .filter(|info| matches!(info.access, MediumAccess::Write | MediumAccess::Flush | MediumAccess::Erase))
    {
        for kind in ReservationType::ALL {
            assert!(!passes(info.reservation, false, kind, Relation::Stranger), "{info:?} {kind:?}");
            assert_eq!(
                passes(info.reservation, false, kind, Relation::Registrant),
                kind.admits_registrants(),
                "{info:?} {kind:?}"
            );
            assert!(passes(info.reservation, false, kind, Relation::Holder), "{info:?} {kind:?}");
        }
        assert!(!passes_reserved(info.reservation, false), "{info:?}");
    }
}
