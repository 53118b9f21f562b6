//! Every bound of the target, with its reason.

/// Findings of one check that are kept and printed; beyond that they are only counted. A report a person can read.
pub const MAX_CHECK_FINDINGS: usize = 1000;
