//! Bodies of the fuzz targets, as plain functions.
//!
//! `tests/fuzz` wraps each in a libFuzzer target; the suite `corpora` runs each over its folder in `fixtures/fuzz`, so that
//! a finding of the fuzzer becomes a test by adding the file. A body panics when a property fails.

pub mod pdu;
pub mod text;
pub mod vhdx;

/// A fuzz target: its body, and the inputs that it starts from.
pub struct Target {
    /// Name of the folder in `fixtures/fuzz` and of the libFuzzer target.
    pub name: &'static str,
    /// Runs one input.
    pub body: fn(&[u8]),
    /// The first inputs, by file name. More files may lie beside them.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// Every fuzz target.
pub const TARGETS: &[Target] = &[
    Target { name: "pdu_framer", body: pdu::framer, seeds: pdu::framer_seeds },
    Target { name: "pdu_decode", body: pdu::decode, seeds: pdu::decode_seeds },
    Target { name: "text", body: text::text, seeds: text::text_seeds },
    Target { name: "login", body: text::login, seeds: text::login_seeds },
    Target { name: "vhdx_open", body: vhdx::open, seeds: vhdx::open_seeds },
];
