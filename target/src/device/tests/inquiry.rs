//! INQUIRY: every page byte by byte.

use super::*;

fn page(bench: &mut Bench, code: u8) -> String {
    hex(&good(bench.run(&[0x12, 1, code, 0xff, 0xff, 0])))
}

#[test]
fn standard_data_names_the_device_and_its_standards() {
    insta::assert_snapshot!("standard", hex(&good(Bench::new().run(&[0x12, 0, 0, 0xff, 0xff, 0]))));
}

#[test]
fn vital_product_data_of_a_thin_disk() {
    let mut bench = Bench::new();
    for code in [0x00, 0x80, 0x83, 0x8f, 0xb0, 0xb1, 0xb2] {
        insta::assert_snapshot!(format!("thin_{code:02x}"), page(&mut bench, code));
    }
}

#[test]
fn vital_product_data_of_a_disk_that_is_not_thin_claims_no_unmap() {
    let mut bench = Bench::with(|config| {
        config.medium.thin = false;
        config.medium.logical_block = 4096;
    });
    for code in [0xb0, 0xb2] {
        insta::assert_snapshot!(format!("thick_4096_{code:02x}"), page(&mut bench, code));
    }
}

#[test]
fn the_unmap_granularity_stays_below_what_one_write_same_10_can_count() {
    for (allocation_unit, reported) in
        [(1 << 20, 2048), (16 << 20, 32_768), (32 << 20, 32_768), (256 << 20, 32_768)]
    {
        let mut bench = Bench::with(|config| config.medium.allocation_unit = allocation_unit);
        let data = good(bench.run(&[0x12, 1, 0xb0, 0xff, 0xff, 0]));
        assert_eq!(u32::from_be_bytes(data[28..32].try_into().unwrap()), reported);
    }
}

#[test]
fn an_unmap_granularity_of_one_block_is_not_reported() {
    let mut bench = Bench::with(|config| {
        config.medium.logical_block = 4096;
        config.medium.physical_block = 4096;
        config.medium.allocation_unit = 4096;
    });
    let data = good(bench.run(&[0x12, 1, 0xb0, 0xff, 0xff, 0]));
    // OPTIMAL UNMAP GRANULARITY; UGAVALID and UNMAP GRANULARITY ALIGNMENT.
    assert_eq!((&data[28..32], &data[32..36]), (&[0; 4][..], &[0; 4][..]));
}

#[test]
fn the_list_of_pages_names_exactly_the_pages_that_are_there() {
    let mut bench = Bench::new();
    let listed = good(bench.run(&[0x12, 1, 0, 0xff, 0xff, 0]))[4..].to_vec();
    for code in 0..=0xff {
        let completion = bench.run(&[0x12, 1, code, 0xff, 0xff, 0]);
        if listed.contains(&code) {
            let data = good(completion);
            assert_eq!((data[0], data[1]), (0, code));
            assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])), data.len() - 4);
        } else {
            assert_eq!(sense(completion), Sense::invalid_field_in_cdb(2, None));
        }
    }
}

#[test]
fn a_page_code_without_evpd_is_refused() {
    let expected = Sense::invalid_field_in_cdb(2, None);
    assert_eq!(sense(Bench::new().run(&[0x12, 0, 0x80, 0, 0xff, 0])), expected);
}

#[test]
fn a_sixteen_byte_naa_designator_is_told_whole() {
    let naa: Vec<u8> = (0x60..0x70).collect();
    let mut bench = Bench::with(|config| config.identity.naa = naa.clone());
    let data = good(bench.run(&[0x12, 1, 0x83, 0xff, 0xff, 0]));
    assert!(data.windows(20).any(|part| part[..4] == [1, 3, 0, 16] && part[4..] == naa));
}
