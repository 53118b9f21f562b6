//! Virtual disks over files: formats, their metadata and its order of writes. Knows no SCSI and opens no file.

pub mod block_file;
pub mod disk;

pub use block_file::BlockFile;
pub use disk::{BlockStatus, Disk, DiskError, Geometry};
