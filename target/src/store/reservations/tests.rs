//! The reservation record on disk: what is kept, what damage is found, what a power cut leaves.

use super::*;
use crate::store::record::tests::ForgetfulFiles;

fn nexus(number: u8) -> Nexus {
    Nexus {
        initiator: InitiatorPort {
            name: format!("iqn.2026-11.org:node{number}").parse().unwrap(),
            isid: Isid([0x80, 0, 0, 0, 1, number]),
        },
        target: TargetPort { name: "iqn.2026-11.org:t".parse().unwrap(), portal_group: PortalGroupTag(1) },
        relative_target_port: 1,
    }
}

/// A record of `count` registrations, reserved by the last.
fn record(count: u8, kind: ReservationType) -> Record {
    let registrations = (0..count)
        .map(|n| (nexus(n), Registration { key: Key(u64::MAX - u64::from(n)), all_target_ports: n == 1 }));
    let registrations: std::collections::BTreeMap<_, _> = registrations.collect();
    let reservation = registrations.keys().last().map(|nexus| Reservation::new(kind, nexus));
    Record { generation: count.into(), activate_persist: true, registrations, reservation, lost: false }
}

fn naa() -> Naa {
    Naa::from_random([1; 8])
}

fn path() -> PathBuf {
    "/s/reservations.json".into()
}

#[test]
fn every_kind_of_record_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    let mut file = RecordFile::new(HostFiles, path.clone(), naa());
    let (empty, mut ticket) = file.load().unwrap();
    assert_eq!((empty, ticket), (Record::default(), SwapTicket(0)));
    let kinds = ReservationType::ALL.map(|kind| record(3, kind));
    for record in kinds.into_iter().chain([Record { generation: 9, ..Record::default() }]) {
        ticket = file.swap(ticket, &record).unwrap();
        let found = RecordFile::new(HostFiles, path.clone(), naa()).load().unwrap();
        assert_eq!(found, (record, ticket));
    }
}

#[test]
fn the_largest_record_with_the_longest_names_fits() {
    let mut largest = Record::default();
    for number in 0..crate::limits::REGISTRATIONS_MAX {
        let name = format!("iqn.2026-11.org:{number:0>207}").parse().unwrap();
        let mut nexus = Nexus { initiator: InitiatorPort { name, isid: Isid::default() }, ..nexus(0) };
        nexus.target.name = format!("iqn.2026-11.org:{:0>207}", "t").parse().unwrap();
        largest.registrations.insert(nexus, Registration { key: Key(u64::MAX), all_target_ports: true });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    RecordFile::new(HostFiles, path.clone(), naa()).swap(SwapTicket(0), &largest).unwrap();
    assert_eq!(RecordFile::new(HostFiles, path, naa()).load().unwrap().0, largest);
}

#[test]
fn a_ticket_that_is_out_of_date_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = RecordFile::new(HostFiles, file_in(folder.path()), naa());
    let first = file.swap(SwapTicket(0), &record(1, ReservationType::WriteExclusive)).unwrap();
    let error = file.swap(SwapTicket(0), &Record::default()).unwrap_err();
    assert!(matches!(error, LunStateError::Replaced { expected: 0, found: 1 }));
    assert_eq!(file.load().unwrap(), (record(1, ReservationType::WriteExclusive), first));
}

#[test]
fn the_record_of_another_lun_is_damage_and_not_an_empty_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    RecordFile::new(HostFiles, path.clone(), naa()).swap(SwapTicket(0), &Record::default()).unwrap();
    let error = RecordFile::new(HostFiles, path, Naa::from_random([2; 8])).load().unwrap_err();
    assert!(matches!(error, LunStateError::Damaged { .. }), "{error}");
}

#[test]
fn every_flipped_byte_and_every_lost_tail_is_damage_and_stays_until_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_in(folder.path());
    let old = record(2, ReservationType::WriteExclusive);
    RecordFile::new(HostFiles, path.clone(), naa()).swap(SwapTicket(0), &old).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        for bytes in [&bytes[..], &whole[..at]] {
            std::fs::write(&path, bytes).unwrap();
            match RecordFile::new(HostFiles, path.clone(), naa()).load() {
                Err(LunStateError::Damaged { .. }) => {}
                // Another spelling of the header's JSON: the record itself is what it was.
                Ok((found, _)) => assert_eq!(found, old, "byte {at}"),
                Err(error) => assert!(matches!(error, LunStateError::Store(_)), "byte {at}: {error}"),
            }
        }
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut file = RecordFile::new(HostFiles, path, naa());
    assert!(file.load().is_err());
    let new = record(1, ReservationType::ExclusiveAccess);
    let ticket = file.swap(SwapTicket(0), &new).unwrap();
    assert_eq!(file.load().unwrap(), (new, ticket));
}

#[test]
fn a_record_that_contradicts_itself_is_damage_however_good_its_checksum() {
    let good = Kept::new(naa(), 1, &record(2, ReservationType::WriteExclusive));
    assert!(good.to_record().is_ok());
    let broken: [fn(&mut Kept); 8] = [
        |kept| kept.registrations[0].key = "0x0".into(),
        |kept| kept.registrations[0].key = "17".into(),
        |kept| kept.registrations[0].isid = "0x1000000000000".into(),
        |kept| kept.registrations[0].initiator = "nobody".into(),
        |kept| kept.registrations[1] = kept.registrations[0].clone(),
        |kept| kept.reservation.as_mut().unwrap().kind = 2,
        |kept| kept.reservation.as_mut().unwrap().holder = Some(2),
        |kept| kept.reservation.as_mut().unwrap().holder = None,
    ];
    for (number, breaks) in broken.into_iter().enumerate() {
        let mut kept = good.clone();
        breaks(&mut kept);
        assert!(kept.to_record().is_err(), "{number}");
    }
}

/// Three records, one after the other, with the power failing before each operation on files in turn. Answers with what the
/// next start found that it must not find.
fn cut_everywhere(without: Option<&'static str>) -> Vec<String> {
    let records = [1, 2, 3].map(|count| record(count, ReservationType::WriteExclusiveRegistrantsOnly));
    let mut faults = Vec::new();
    for cut in 0..=12 {
        for names_survived in [false, true] {
            let files = ForgetfulFiles::with_cut(cut, without);
            let mut file = RecordFile::new(files, path(), naa());
            let mut ticket = SwapTicket::default();
            // What was answered, and what was on its way when the power went.
            let (mut answered, mut tried) = (Record::default(), Record::default());
            for record in &records {
                tried = record.clone();
                match file.swap(ticket, record) {
                    Ok(next) => (ticket, answered) = (next, record.clone()),
                    Err(_) => break,
                }
            }
            let files = file.files.after_power_cut(names_survived);
            match RecordFile::new(files, path(), naa()).load() {
                Ok((found, _)) if found == answered || found == tried => {}
                other => faults.push(format!("cut {cut}, names survived {names_survived}: {other:?}")),
            }
        }
    }
    faults
}

#[test]
fn a_power_cut_leaves_what_was_answered_or_what_was_under_way_and_nothing_else() {
    assert_eq!(cut_everywhere(None), Vec::<String>::new());
}

#[test]
fn control_without_syncing_the_file_a_power_cut_damages_the_record() {
    assert_ne!(cut_everywhere(Some("sync_file")), Vec::<String>::new());
}

#[test]
fn control_without_syncing_the_folder_a_power_cut_loses_an_answered_fence() {
    assert_ne!(cut_everywhere(Some("sync_folder")), Vec::<String>::new());
}
