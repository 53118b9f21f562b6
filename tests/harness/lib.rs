//! What the suites share.

pub mod crash;
pub mod crash_file;
pub mod fuzz;
pub mod random;
pub mod test_environment;
