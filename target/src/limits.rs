//! Every bound of the target, with its reason.

/// Findings of one check that are kept and printed; beyond that they are only counted. A report a person can read.
pub const MAX_CHECK_FINDINGS: usize = 1000;

/// Longest file of durable state in bytes. Records are below 1 KiB; a longer file is not ours.
pub const STATE_FILE_LEN_MAX: u64 = 64 * 1024;

/// Longest configuration file in bytes. Thousands of LUNs fit.
pub const CONFIG_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Longest CHAP secret in bytes: what a hash takes does not depend on it, initiators allow 16 to 255.
pub const CHAP_SECRET_LEN_MAX: usize = 255;

/// Longest unit serial number in characters. SPC-4 sets no bound; 64 is more than initiators show.
pub const SERIAL_LEN_MAX: usize = 64;
