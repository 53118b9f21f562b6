//! What the suites share: starting the programs under test and foreign ones, a scripted iSCSI peer, disk content, power cuts.
//!
//! Nothing here sleeps and hopes: readiness is a message of the process, and every wait has a limit after which the test fails
//! with what the process said. A helper that cannot do its part panics, since that is how a test reports.

pub mod chain;
pub mod content;
pub mod counting_disk;
pub mod crash;
pub mod crash_file;
pub mod cunit;
pub mod faulty_file;
pub mod faulty_relay;
pub mod foreign;
pub mod fuzz;
pub mod gated_disk;
pub mod liar;
pub mod nz4k;
pub mod process;
pub mod random;
pub mod relay;
pub mod report;
pub mod target;
pub mod test_environment;
pub mod tgt;
pub mod unit;
pub mod wire;
