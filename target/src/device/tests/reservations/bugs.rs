//! Mistakes that other targets made, each as a case that must not repeat it. What needs a stalled medium is in
//! [`fence`](super::super::fence), what needs a file in `store`.

use super::run;

macro_rules! forbid {
    ($($name:ident: $case:literal;)*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name), $case);
        }
    )*};
}

forbid! {
    preempt_and_abort_of_a_key_that_is_not_the_holders_takes_its_registrations_away: "
        a register 0 1 -> good
        b register 0 2 -> good
        c register 0 3 -> good
        a reserve 1 5 -> good
        b abort 2 3 5 -> good
        c ua -> 2a05
        c write -> conflict
        a keys -> 1 2
        a held -> 5 1";
    unregistering_one_of_all_registrants_keeps_the_reservation: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 8 -> good
        a register 1 0 -> good
        b held -> 8 0
        b ua -> none
        a read -> conflict
        b register 2 0 -> good
        a read -> good";
    reserve_of_a_holder_and_of_a_registrant_ends_good_where_it_does_nothing: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 5 -> good
        a reserve6 -> good
        b reserve6 -> good
        b release10 -> good
        c reserve6 -> conflict
        c release6 -> conflict
        a held -> 5 1";
    a_move_keeps_the_type_and_replaces_the_key_of_a_destination_that_is_registered: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 3 -> good
        a move 1 9 @b unreg -> good
        b held -> 3 9
        b status -> b1:9*
        a read -> conflict";
    generation_counts_unregistrations_and_counts_all_target_ports_once: "
        a generation -> 0
        a register 0 1 alltg -> good
        a generation -> 1
        a status -> a1:1+ a2:1+
        a register 1 0 alltg -> good
        a generation -> 2
        a register 0 1 -> good
        a reserve 1 1 -> good
        a release 1 1 -> good
        a generation -> 3
        a register 7 7 -> conflict
        a generation -> 3";
    release_with_another_type_is_an_invalid_release_and_strangers_conflict: "
        a register 0 1 -> good
        a reserve 1 5 -> good
        a release 1 6 -> 5/2604
        a held -> 5 1
        b reserve 2 1 -> conflict
        b release 2 5 -> conflict
        b clear 2 -> conflict
        a release 1 5 -> good
        b reserve 2 1 -> conflict
        b clear 2 -> conflict";
    write_exclusive_stops_commands_without_data_too: "
        a register 0 1 -> good
        a reserve 1 1 -> good
        b sync -> conflict
        b stop -> conflict
        b unmap -> conflict
        b read -> good
        b start -> good";
    attentions_go_to_the_nexus_and_not_to_every_port_of_its_name: "
        a login
        a2 login
        a register 0 1 -> good
        b register 0 2 -> good
        b clear 2 -> good
        a ua -> 2a03
        a2 ua -> none";
    persistence_can_be_forced_against_initiators_that_do_not_ask: "
        force_aptpl
        a register 0 1 -> good
        a reserve 1 1 -> good
        power cut
        b write -> conflict
        a held -> 1 1";
    full_status_lists_the_last_registrant_and_all_target_ports: "
        a register 0 1 alltg -> good
        b register 0 2 -> good
        b reserve 2 5 -> good
        b status -> a1:1+ a2:1+ b1:2*";
    one_registration_without_aptpl_takes_persistence_away_only_where_that_is_not_forced: "
        a register 0 1 aptpl -> good
        a reserve 1 1 -> good
        b register 0 2 -> good
        power cut
        a keys -> none
        force_aptpl
        a register 0 1 aptpl -> good
        a reserve 1 1 -> good
        b register 0 2 -> good
        power cut
        a keys -> 1 2
        a held -> 1 1";
    attentions_wait_for_registrants_that_are_away: "
        a register 0 1 -> good
        b register 0 2 -> good
        b logout
        a preempt 1 2 1 -> good
        b ua -> 2a05";
    strangers_hold_nothing_under_all_registrants: "
        a register 0 1 -> good
        a reserve 1 7 -> good
        b write -> conflict
        b release 0 7 -> conflict
        a reserve 1 7 -> good
        b read -> good";
    release_under_all_registrants_releases_for_all: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 7 -> good
        b release 2 7 -> good
        a ua -> 2a04
        a held -> none
        c write -> good";
    a_changed_key_is_what_is_read: "
        a register 0 1 -> good
        a reserve 1 1 -> good
        a register 1 fedcba9876543210 -> good
        a held -> 1 fedcba9876543210
        a status -> a1:fedcba9876543210*";
    a_registration_is_the_nexus_and_outlives_its_session: "
        a register 0 1 -> good
        a reserve 1 1 -> good
        a logout
        b login
        b write -> conflict
        a ua -> none
        a write -> good
        a keys -> 1";
    preempt_with_a_key_that_nobody_has_is_a_conflict: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 1 -> good
        b preempt 2 9 1 -> conflict
        b abort 2 9 1 -> conflict
        b preempt 2 0 1 -> 5/2600
        a held -> 1 1";
    registrants_may_verify_where_they_may_read: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 6 -> good
        b verify -> good
        c verify -> conflict";
    release_tells_the_others_under_the_types_that_admit_them_and_preempt_says_registrations: "
        a register 0 1 -> good
        b register 0 2 -> good
        a reserve 1 1 -> good
        a release 1 1 -> good
        b ua -> none
        a reserve 1 6 -> good
        a release 1 6 -> good
        b ua -> 2a04
        a ua -> none
        a preempt 1 2 1 -> good
        b ua -> 2a05";
    a_move_without_a_reservation_is_refused: "
        a register 0 1 -> good
        a move 1 9 @b -> 5/2400
        b move 1 9 @a -> 5/2400
        a keys -> 1";
    a_fenced_node_may_start_the_unit_and_not_stop_it: "
        a register 0 1 -> good
        a reserve 1 3 -> good
        b start -> good
        b stop -> conflict";
    each_path_keeps_a_registration_of_its_own: "
        a register 0 1 -> good
        a2 register 0 1 -> good
        b register 0 2 -> good
        b keys -> 1 1 2
        a register 1 0 -> good
        b keys -> 1 2";
}
