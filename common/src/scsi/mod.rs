//! SCSI as bytes: CDBs, status, sense, VPD, mode pages and parameter data (SAM-5, SPC-4, SBC-3).

pub mod asc;
mod bytes;
pub mod capacity;
pub mod cdb;
pub mod designator;
pub mod inquiry;
pub mod lba_status;
pub mod log;
pub mod lun;
pub mod mode;
pub mod opcode_table;
pub mod persistent;
pub mod report_luns;
pub mod sense;
pub mod status;
pub mod supported_operations;
pub mod third_party_copy;
pub mod unmap;
pub mod vpd;

pub use asc::Asc;
pub use bytes::ascii_field;
pub use cdb::Cdb;
pub use lun::Lun;
pub use sense::{Sense, SenseFormat, SenseKey};
pub use status::Status;
