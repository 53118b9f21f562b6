//! See `lunkeep_tests::fuzz::pdu::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lunkeep_tests::fuzz::pdu::decode(input));
