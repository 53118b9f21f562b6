//! Typed SCSI operations on a LUN.
