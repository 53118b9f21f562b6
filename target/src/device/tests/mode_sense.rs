//! MODE SENSE: pages byte by byte, and which are asked for.

use super::*;

#[test]
fn all_pages_in_six_and_ten_bytes() {
    let mut bench = Bench::new();
    insta::assert_snapshot!("six", hex(&good(bench.run(&[0x1a, 0, 0x3f, 0xff, 0xff, 0]))));
    insta::assert_snapshot!("ten", hex(&good(bench.run(&[0x5a, 0, 0x3f, 0xff, 0, 0, 0, 1, 0, 0]))));
    insta::assert_snapshot!("ten_long_lba", hex(&good(bench.run(&[0x5a, 0x10, 0x08, 0, 0, 0, 0, 1, 0, 0]))));
}

#[test]
fn defaults_and_saved_values_are_the_current_ones_at_first() {
    let mut bench = Bench::new();
    let values =
        |bench: &mut Bench, control: u8| good(bench.run(&[0x1a, 8, control << 6 | 0x3f, 0xff, 0xff, 0]));
    assert_eq!(values(&mut bench, 0), values(&mut bench, 2));
    assert_eq!(values(&mut bench, 0), values(&mut bench, 3));
    insta::assert_snapshot!("changeable", hex(&values(&mut bench, 1)));
}

/// Page and subpage codes that MODE SENSE(6) without block descriptor returns.
fn codes(bench: &mut Bench, page: u8, subpage: u8) -> Result<Vec<(u8, u8)>, Sense> {
    let completion = bench.run(&[0x1a, 8, page, subpage, 0xff, 0]);
    match completion.sense {
        Some(sense) => Err(sense),
        None => {
            let data = good(completion);
            Ok(lunkeep_common::scsi::mode::pages(&data[4..]).map(|(page, sub, _)| (page, sub)).collect())
        }
    }
}

#[test]
fn page_and_subpage_codes_choose_the_pages() {
    let mut bench = Bench::new();
    type Codes = &'static [(u8, u8)];
    let cases: [(u8, u8, Codes); 6] = [
        (0x3f, 0x00, &[(1, 0), (8, 0), (0x0a, 0), (0x1c, 0)]),
        (0x3f, 0xff, &[(1, 0), (8, 0), (0x0a, 0), (0x0a, 1), (0x1c, 0)]),
        (0x0a, 0x00, &[(0x0a, 0)]),
        (0x0a, 0x01, &[(0x0a, 1)]),
        (0x0a, 0xff, &[(0x0a, 0), (0x0a, 1)]),
        (0x08, 0xff, &[(8, 0)]),
    ];
    for (page, subpage, expected) in cases {
        assert_eq!(codes(&mut bench, page, subpage).as_deref(), Ok(expected), "{page:02x}/{subpage:02x}");
    }
    assert_eq!(codes(&mut bench, 0x02, 0), Err(Sense::invalid_field_in_cdb(2, Some(5))), "unknown page");
    assert_eq!(codes(&mut bench, 0x08, 1), Err(Sense::invalid_field_in_cdb(3, None)), "unknown subpage");
    assert_eq!(codes(&mut bench, 0x3f, 1), Err(Sense::invalid_field_in_cdb(3, None)), "reserved subpage");
}

#[test]
fn a_read_only_disk_says_so() {
    let mut bench = Bench::with(|config| config.medium.read_only = true);
    assert_eq!(good(bench.run(&[0x1a, 0, 0x08, 0, 4, 0]))[2], 0x90, "WP and DPOFUA");
    assert_eq!(good(Bench::new().run(&[0x1a, 0, 0x08, 0, 4, 0]))[2], 0x10, "DPOFUA only");
}

#[test]
fn block_descriptors_tell_the_size_unless_they_are_disabled() {
    let mut bench = Bench::with(|config| config.medium.size = (1 << 32) * 512);
    let six = good(bench.run(&[0x1a, 0, 0x08, 0, 0xff, 0]));
    assert_eq!((six[3], &six[4..12]), (8, &[0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0][..]), "more than 32 bits");
    let ten = good(bench.run(&[0x5a, 0x10, 0x08, 0, 0, 0, 0, 0, 0xff, 0]));
    assert_eq!((ten[4], ten[7]), (1, 16), "LONGLBA");
    assert_eq!(ten[8..24], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    let none = good(bench.run(&[0x5a, 0x18, 0x08, 0, 0, 0, 0, 0, 0xff, 0]));
    assert_eq!((none[4], none[7], none[8]), (0, 0, 0x88), "PS and the page code");
}
