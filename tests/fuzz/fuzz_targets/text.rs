//! See `lunkeep_tests::fuzz::text::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lunkeep_tests::fuzz::text::text(input));
