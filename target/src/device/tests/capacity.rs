//! READ CAPACITY.

use super::*;

const RC10: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const RC16: [u8; 16] = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0];

#[test]
fn capacity_is_the_last_block_and_the_block_length() {
    let mut bench = Bench::new();
    assert_eq!(good(bench.run(&RC10)), [0, 0, 0x0f, 0xff, 0, 0, 2, 0]);
    insta::assert_snapshot!("thin_512e", hex(&good(bench.run(&RC16))));
    let mut bench = Bench::with(|config| {
        config.medium.logical_block = 4096;
        config.medium.thin = false;
    });
    assert_eq!(good(bench.run(&RC10)), [0, 0, 0x01, 0xff, 0, 0, 0x10, 0]);
    insta::assert_snapshot!("thick_4096", hex(&good(bench.run(&RC16))));
}

#[test]
fn a_disk_beyond_32_bits_sends_readers_of_ten_bytes_to_sixteen() {
    for (blocks, expected) in
        [(1 << 32, 0xffff_ffff_u32), ((1 << 32) - 1, 0xffff_fffe), (1 << 33, 0xffff_ffff)]
    {
        let mut bench = Bench::with(|config| config.medium.size = blocks * 512);
        assert_eq!(good(bench.run(&RC10))[..4], expected.to_be_bytes());
        assert_eq!(good(bench.run(&RC16))[..8], (blocks - 1).to_be_bytes());
    }
}

#[test]
fn the_block_address_of_sbc_2_is_refused_and_pmi_alone_is_ignored() {
    let mut bench = Bench::new();
    let (mut address, mut pmi) = (RC10, RC10);
    address[5] = 1;
    pmi[8] = 1;
    assert_eq!(sense(bench.run(&address)), Sense::invalid_field_in_cdb(2, None));
    good(bench.run(&pmi));
}
