//! Every bound of the target, with its reason.

/// Findings of one check that are kept and printed; beyond that they are only counted. A report a person can read.
pub const MAX_CHECK_FINDINGS: usize = 1000;

/// Longest file of durable state in bytes. Records are below 1 KiB; a longer file is not ours.
pub const STATE_FILE_LEN_MAX: u64 = 64 * 1024;
