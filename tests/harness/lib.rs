//! What the suites share.

pub mod crash;
pub mod crash_file;
pub mod random;
pub mod test_environment;
