//! Reservations as initiators see them: case files in a small language, and the mistakes of other targets by name.
//!
//! fixtures/reservations/README.md has the language.

mod bugs;
mod script;

use script::run;

macro_rules! files {
    ($($name:ident: $file:literal;)*) => {$(
        #[test]
        fn $name() {
            run($file, include_str!(concat!("../../../../fixtures/reservations/", $file)));
        }
    )*};
}

files! {
    a_windows_cluster_validates_and_fails_over: "windows.txt";
    pacemaker_fences_with_fence_scsi: "fence_scsi.txt";
    multipath_moves_a_reservation_between_its_paths: "mpathpersist.txt";
    vmware_reserves_for_metadata_with_spc2: "vmware.txt";
    coordinator_disks_are_registered_and_never_reserved: "coordinator.txt";
    registrations_survive_what_they_must: "survival.txt";
    lost_records_are_replaced: "lost.txt";
    both_ways_to_reserve_keep_out_of_each_others_way: "compatible.txt";
    ports_are_registered_for_others: "ports.txt";
}

/// Every file is in the list above.
#[test]
fn every_case_file_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/reservations");
    let source = include_str!("reservations.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || source.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn sixteen_nodes_share_a_unit_and_each_can_fence_each() {
    let mut text = String::new();
    let nodes: Vec<char> = ('a'..='p').collect();
    for (number, node) in (1..).zip(&nodes) {
        text += &format!("{node} register 0 {number} -> good\n");
    }
    text += "a reserve 1 5 -> good\n";
    for pair in nodes.windows(2) {
        let (victim, winner) = (pair[0], pair[1]);
        let (old, new) = (victim as u32 - 96, winner as u32 - 96);
        text += &format!(
            "{winner} abort {new} {old} 5 -> good\n{victim} ua -> 2a05\n{victim} write -> conflict\n"
        );
        text += &format!("{winner} write -> good\n{winner} held -> 5 {new}\n");
    }
    text += "p keys -> 16\n";
    run("sixteen nodes", &text);
}
