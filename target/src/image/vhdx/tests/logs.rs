//! Replay of logs that this program did not write.

use super::raw_log::{BLOCK, Change, LOG, RING_LEN, RawEntry, base, dirty, entry, lay, name_log, sum};
use super::*;
use crate::image::OpenErrorKind;

/// The first byte of each page of block 0, as a read-only and as a writable open see it; which must be the same. The first must
/// leave the file alone, the second must leave it clean.
fn replayed(file: &Arc<MemoryFile>) -> Vec<u8> {
    let first_bytes =
        |disk: &dyn Disk| -> Vec<u8> { read(disk, 0, 1 << 20).chunks(4096).map(|page| page[0]).collect() };
    let before = bytes_at(&**file, 0, 5 << 20);
    assert!(check(file).is_sound());
    let read_only = first_bytes(&*try_open(file, Access::ReadOnly).unwrap());
    assert!(bytes_at(&**file, 0, 5 << 20) == before, "a read-only open changed the file");
    let disk = open(file);
    assert_eq!(first_bytes(&*disk), read_only);
    drop(disk);
    let info = super::super::inspect(&(Arc::clone(file) as Arc<dyn BlockFile>)).unwrap();
    assert_eq!(info.log.as_deref(), Some("clean"), "replayed once and for all");
    assert_eq!(first_bytes(&*open(file)), read_only);
    read_only
}

fn refusal(file: &Arc<MemoryFile>) -> String {
    let before = bytes_at(&**file, 0, 5 << 20);
    let error = try_open(file, Access::ReadWrite).unwrap_err();
    assert_eq!(try_open(file, Access::ReadOnly).unwrap_err().to_string(), error.to_string());
    assert_eq!(error.kind(), OpenErrorKind::Damaged);
    assert!(bytes_at(&**file, 0, 5 << 20) == before, "a refused file was changed");
    error.to_string()
}

fn pages(changed: &[(usize, u8)]) -> Vec<u8> {
    let mut pages = vec![1; 256];
    for (page, value) in changed {
        pages[*page] = *value;
    }
    pages
}

#[test]
fn a_page_comes_back_whole_with_its_first_and_last_bytes() {
    let page: Vec<u8> = (0..4096_u32).map(|n| (n * 31 + n / 256).to_le_bytes()[0]).collect();
    let changes = vec![Change::Page(BLOCK + 8192, page.clone())];
    let file = dirty(&[(0, RawEntry { changes, ..entry(u64::MAX - 1, 0, &[], 0) }.bytes())]);
    assert_eq!(read(&*try_open(&file, Access::ReadOnly).unwrap(), 8192, 4096), page);
    assert_eq!(read(&*open(&file), 8192, 4096), page);
}

#[test]
fn only_entries_from_the_tail_on_are_applied_and_in_order() {
    // An entry with two pages takes three sectors.
    let at = |n: u8| u64::from(n) * 12_288;
    let laid: Vec<_> =
        (0..5).map(|n| (at(n), entry(10 + u64::from(n), at(2), &[n.into(), 9], 20 + n).bytes())).collect();
    assert_eq!(replayed(&dirty(&laid)), pages(&[(2, 22), (3, 23), (4, 24), (9, 24)]));
}

#[test]
fn a_sequence_and_an_entry_may_go_round_the_end_of_the_ring() {
    let first = RING_LEN - 3 * 4096;
    // The second entry has its header in the last sector and its page in the first.
    let laid = [
        (first, entry(7, first, &[0], 50).bytes()),
        (RING_LEN - 4096, entry(8, first, &[1], 51).bytes()),
        (4096, entry(9, first, &[2], 52).bytes()),
    ];
    assert_eq!(replayed(&dirty(&laid)), pages(&[(0, 50), (1, 51), (2, 52)]));
}

#[test]
fn entries_of_other_logs_and_older_runs_are_left_alone() {
    let other = |sequence, page| RawEntry { log: Uuid::from_u128(9), ..entry(sequence, 0, &[page], 99) };
    let laid = [
        (0, other(5, 0).bytes()),
        (8192, entry(6, 8192, &[1], 60).bytes()),
        (16_384, other(7, 2).bytes()),
        // A run of the same log that was left behind, and one that follows nothing.
        (40_960, entry(3, 40_960, &[3], 99).bytes()),
        (49_152, entry(5, 49_152, &[4], 99).bytes()),
    ];
    assert_eq!(replayed(&dirty(&laid)), pages(&[(1, 60)]));
}

#[test]
fn of_several_runs_the_one_that_ends_highest_counts_wherever_it_is() {
    let old = (0, entry(100, 0, &[1], 61).bytes());
    let new = (81_920, entry(200, 81_920, &[2], 62).bytes());
    assert_eq!(replayed(&dirty(&[old, new])), pages(&[(2, 62)]));
    let new = (0, entry(200, 0, &[2], 62).bytes());
    let old = (81_920, entry(100, 81_920, &[1], 61).bytes());
    assert_eq!(replayed(&dirty(&[new, old])), pages(&[(2, 62)]));
}

#[test]
fn a_run_whose_tail_lies_outside_it_does_not_count() {
    // Number 12 was lost, so 13 cannot be replayed: its tail is 11.
    let laid = [
        (0, entry(11, 0, &[1], 71).bytes()),
        (8192, {
            let mut torn = entry(12, 0, &[2], 72).bytes();
            torn[5000] ^= 1;
            torn
        }),
        (16_384, entry(13, 0, &[3], 73).bytes()),
    ];
    assert_eq!(replayed(&dirty(&laid)), pages(&[(1, 71)]));
}

#[test]
fn numbers_of_a_run_follow_each_other_without_a_gap() {
    let laid = [(0, entry(11, 0, &[1], 71).bytes()), (8192, entry(13, 0, &[3], 73).bytes())];
    assert_eq!(replayed(&dirty(&laid)), pages(&[(1, 71)]));
}

#[test]
fn a_torn_entry_ends_the_run_before_it() {
    let newest = entry(12, 0, &[2], 72).bytes();
    for sector in 0..2 {
        let mut torn = newest.clone();
        torn[sector * 4096..(sector + 1) * 4096].fill(0);
        let laid = [(0, entry(11, 0, &[1], 71).bytes()), (8192, torn)];
        assert_eq!(replayed(&dirty(&laid)), pages(&[(1, 71)]));
    }
}

#[test]
fn entries_may_carry_nothing_zeros_or_more_than_a_sector_of_descriptors() {
    let nothing = entry(1, 0, &[], 0).bytes();
    assert_eq!(nothing.len(), 4096);
    assert_eq!(replayed(&dirty(&[(0, nothing.clone())])), pages(&[]));

    let zero = Change::Zero(BLOCK + 3 * 4096, 2 * 4096);
    let mixed = RawEntry {
        changes: vec![
            Change::Page(BLOCK + 4 * 4096, vec![80; 4096]),
            zero,
            Change::Page(BLOCK + 3 * 4096, vec![81; 4096]),
            Change::Zero(BLOCK, 0),
        ],
        ..entry(2, 4096, &[], 0)
    };
    let laid = [(0, nothing), (4096, mixed.bytes())];
    assert_eq!(replayed(&dirty(&laid)), pages(&[(3, 81), (4, 0)]));

    // 126 descriptors fit beside the header: 127 and 200 need a second sector of descriptors.
    for count in [125, 126, 127, 200_u64] {
        let many: Vec<u64> = (0..count).collect();
        let file = dirty(&[(0, entry(1, 0, &many, 90).bytes())]);
        let count = usize::try_from(count).unwrap();
        assert_eq!(replayed(&file), pages(&(0..count).map(|n| (n, 90)).collect::<Vec<_>>()), "{count}");
    }
}

#[test]
fn a_clean_header_keeps_valid_entries_from_being_replayed() {
    let file = base();
    lay(&file, &[(0, entry(1, 0, &[1], 99).bytes())]);
    assert_eq!(replayed(&file), pages(&[]));
}

#[test]
fn a_named_log_without_a_valid_sequence_is_refused() {
    assert!(refusal(&dirty(&[])).contains("no valid sequence"));
    let file = base();
    lay(&file, &[(0, entry(1, 0, &[1], 99).bytes())]);
    name_log(&file, Uuid::from_u128(1234));
    assert!(refusal(&file).contains("no valid sequence"));
    // A tail that is the start of nothing.
    assert!(refusal(&dirty(&[(0, entry(1, 4096, &[1], 9).bytes())])).contains("no valid sequence"));
    assert!(refusal(&dirty(&[(0, entry(0, 0, &[1], 9).bytes())])).contains("no valid sequence"));
}

#[test]
fn a_file_shorter_than_the_log_knows_it_to_be_is_refused() {
    let long = RawEntry { flushed: 5 * MIB + 1, ..entry(1, 0, &[1], 9) };
    assert!(refusal(&dirty(&[(0, long.bytes())])).contains("cut off"));
    let exact = RawEntry { flushed: 5 * MIB, ..entry(1, 0, &[1], 9) };
    assert_eq!(replayed(&dirty(&[(0, exact.bytes())])), pages(&[(1, 9)]));
}

#[test]
fn changes_to_the_headers_the_log_or_past_the_end_are_refused() {
    let page = |offset| Change::Page(offset, vec![9; 4096]);
    for (change, what) in [
        (page(0), "headers"),
        (page(64 << 10), "headers"),
        (page(MIB - 4096), "headers"),
        (page(MIB), "log"),
        (page(2 * MIB - 4096), "log"),
        (page(5 * MIB), "past the end"),
        (page(u64::MAX - 4095), "past the end"),
        (page(BLOCK + 512), "multiple"),
        (Change::Zero(0, 4096), "headers"),
        (Change::Zero(2 * MIB - 4096, 8192), "log"),
        (Change::Zero(4 * MIB, 1 << 40), "past the end"),
        (Change::Zero(4 * MIB, u64::MAX - 4095), "zeroes"),
        (Change::Zero(4 * MIB, 512), "zeroes"),
    ] {
        let text = format!("{change:?}").chars().take(40).collect::<String>();
        let bad = RawEntry { changes: vec![change], ..entry(2, 0, &[], 0) };
        let good = entry(1, 0, &[1], 9).bytes();
        let laid = [(0, good.clone()), (good.len() as u64, bad.bytes())];
        let error = refusal(&dirty(&laid));
        assert!(error.contains(what), "{text}: {error}");
    }
    let far = RawEntry { last: u64::MAX, ..entry(1, 0, &[], 0) };
    assert!(refusal(&dirty(&[(0, far.bytes())])).contains("asks for a file of"));
}

#[test]
fn an_entry_whose_parts_are_of_another_is_refused() {
    let spoil = |at: usize| {
        let mut bytes = entry(5, 0, &[1], 9).bytes();
        bytes[at] ^= 1;
        sum(&mut bytes);
        refusal(&dirty(&[(0, bytes)]))
    };
    assert!(spoil(64).contains("unknown signature"));
    assert!(spoil(64 + 24).contains("another entry"), "sequence of the descriptor");
    assert!(spoil(4096).contains("another entry"), "signature of the data sector");
    assert!(spoil(4096 + 4).contains("another entry"), "upper half of its sequence");
    assert!(spoil(8191).contains("another entry"), "lower half of its sequence");
    // More descriptors than data sectors.
    let mut bytes = entry(5, 0, &[1, 2], 9).bytes();
    bytes.truncate(8192);
    bytes[8..12].copy_from_slice(&8192_u32.to_le_bytes());
    sum(&mut bytes);
    assert!(refusal(&dirty(&[(0, bytes)])).contains("no data sector"));
}

#[test]
fn a_replay_brings_back_blocks_whose_growth_of_the_file_was_lost() {
    // The page of the table says that block 1 is at 5 MiB; the file ends there.
    let mut table = bytes_at(&*base(), 3 * MIB, 4096);
    table[8..16].copy_from_slice(&((5 * MIB) | 6).to_le_bytes());
    let grown =
        |last| RawEntry { changes: vec![Change::Page(3 * MIB, table.clone())], last, ..entry(1, 0, &[], 0) };
    let file = dirty(&[(0, grown(6 * MIB).bytes())]);
    let disk = try_open(&file, Access::ReadOnly).unwrap();
    assert_eq!(read(&*disk, 0, 1), [1]);
    assert_eq!(read(&*disk, MIB, 1 << 20), vec![0; 1 << 20]);
    drop(disk);
    let disk = open(&file);
    assert_eq!(file.len().unwrap(), 6 * MIB);
    write(&*disk, MIB, &[5; 512]);
    write(&*disk, 2 * MIB, &[6; 512]);
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
    assert_eq!(read(&*open(&file), MIB, 512), [5; 512]);
}

#[test]
fn a_replay_cuts_off_what_no_entry_speaks_of() {
    let file = dirty(&[(0, entry(1, 0, &[1], 9).bytes())]);
    file.write_all_at(&[7; 4096], 9 * MIB).unwrap();
    let disk = open(&file);
    assert_eq!(file.len().unwrap(), 5 * MIB);
    // What grows there again is zero.
    write(&*disk, 5 * MIB, &[8; 512]);
    assert!(read(&*disk, 5 * MIB + 512, 8192).iter().all(|b| *b == 0));
    disk.close().unwrap();
    assert_eq!(complaints(&file), [""; 0]);
}

#[test]
fn a_replay_that_is_interrupted_is_done_again() {
    let laid = [(0, entry(1, 0, &[1, 2, 3], 9).bytes())];
    for offset in [BLOCK + 4096, BLOCK + 8192, 64 << 10, 128 << 10] {
        let file = dirty(&laid);
        let probe = ProbeFile::new(&file);
        probe.set(Some(Fault::Write(offset, offset + 4096, io::ErrorKind::Other)));
        let failed = super::super::open(
            Arc::clone(&probe) as Arc<dyn BlockFile>,
            Access::ReadWrite,
            &env(),
            &Lineage::none(),
        );
        assert_eq!(failed.unwrap_err().kind(), OpenErrorKind::Io);
        assert_eq!(replayed(&file), pages(&[(1, 9), (2, 9), (3, 9)]));
    }
}

#[test]
fn a_log_version_counts_only_when_there_is_something_to_replay() {
    let with_version = |log: Uuid| {
        let file = dirty(&[(0, entry(1, 0, &[1], 9).bytes())]);
        let mut headers = super::super::header::Headers::read(&*file).unwrap().unwrap();
        headers
            .update(&*file, |header| {
                header.log_version = 1;
                header.log = log;
            })
            .unwrap();
        file
    };
    assert_eq!(
        try_open(&with_version(LOG), Access::ReadOnly).unwrap_err().kind(),
        OpenErrorKind::Unsupported
    );
    let file = with_version(Uuid::nil());
    let disk = open(&file);
    write(&*disk, 0, &[3; 512]);
    disk.flush().unwrap();
    // The session's own log is of the known version.
    assert_eq!(read(&*open(&killed(&file)), 0, 512), [3; 512]);
}

#[test]
fn a_ring_full_of_entries_that_overlap_is_given_up_early() {
    let file = base();
    let mut header = entry(1, 0, &[], 0).bytes();
    header[8..12].copy_from_slice(&u32::try_from(RING_LEN).unwrap().to_le_bytes());
    for pos in (0..RING_LEN).step_by(4096) {
        file.write_all_at(&header, MIB + pos).unwrap();
    }
    name_log(&file, LOG);
    assert!(refusal(&file).contains("honest"));
}

#[test]
fn a_repair_replays_the_log() {
    let file = dirty(&[(0, entry(1, 0, &[1], 9).bytes())]);
    let file_dyn: Arc<dyn BlockFile> = Arc::clone(&file) as _;
    let report = super::super::check(&file_dyn, true, &env()).unwrap();
    assert!(report.is_sound() && report.repaired == 1, "{report:?}");
    assert_eq!(check(&file).findings.len(), 0);
    assert_eq!(replayed(&file), pages(&[(1, 9)]));
    // A clean file has only its unused end to lose.
    file.set_len(12 * MIB).unwrap();
    let report = super::super::check(&file_dyn, true, &env()).unwrap();
    assert!(report.is_sound() && report.repaired == 1 && report.leaks == 0, "{report:?}");
    assert_eq!(file.len().unwrap(), 5 * MIB);
}
