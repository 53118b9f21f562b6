//! See `lunkeep_tests::fuzz::pdu::framer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lunkeep_tests::fuzz::pdu::framer(input));
