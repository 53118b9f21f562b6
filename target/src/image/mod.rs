//! Virtual disks over files: formats, their metadata and its order of writes. Knows no SCSI and opens no file.
//!
//! [`decide`] tells the format of a file, [`Format`] opens, creates, describes and checks. A format is a folder with the
//! four functions of the table in `format`.

pub mod block_file;
pub mod chain;
pub mod copy;
pub mod create_options;
pub mod disk;
pub mod environment;
pub mod error;
pub mod flush_gate;
pub mod format;
pub mod health;
pub mod io_slices;
pub mod measure;
pub mod memory_file;
pub mod merge;
pub mod pack;
pub mod qcow2;
pub mod raw;
pub mod rebase;
pub mod report;
pub mod tools;
pub mod vhd;
pub mod vhdx;

pub use block_file::BlockFile;
pub use chain::{FileKey, Lineage, Link, ParentFile, ParentSource};
pub use create_options::{Allocation, ChildOptions, CreateOptions, ParentRecord};
pub use disk::{BlockStatus, Disk, DiskError, Geometry};
pub use environment::{Access, Environment};
pub use error::{CreateError, OpenError, OpenErrorKind};
pub use flush_gate::FlushGate;
pub use format::{Format, Probe, decide, probe};
pub use health::Health;
pub use measure::FileSize;
pub use memory_file::MemoryFile;
pub use report::{CheckReport, Finding, ImageInfo, ParentInfo, Severity};
