//! SCSI as bytes: CDBs, status, sense, VPD, mode pages and parameter data (SAM-5, SPC-4, SBC-3).

pub mod lun;
pub mod sense;
pub mod status;

pub use lun::Lun;
pub use sense::{Sense, SenseKey};
pub use status::Status;
