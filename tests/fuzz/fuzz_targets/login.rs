//! See `lunkeep_tests::fuzz::text::login`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lunkeep_tests::fuzz::text::login(input));
