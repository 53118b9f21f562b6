//! See `lunkeep_tests::fuzz::vhdx::open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lunkeep_tests::fuzz::vhdx::open(input));
