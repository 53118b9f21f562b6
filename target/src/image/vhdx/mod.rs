//! VHDX.

use std::sync::Arc;

use super::{
    Access, BlockFile, CheckReport, CreateError, CreateOptions, Disk, Environment, Format, ImageInfo,
    OpenError,
};

/// What a VHDX file starts with (MS-VHDX 2.2.1).
pub const SIGNATURE: &[u8; 8] = b"vhdxfile";

const NOT_YET: &str = "this build does not serve VHDX";

/// Opens a VHDX file.
///
/// # Errors
/// [`OpenError`] when the file is not a VHDX file that can be served.
pub fn open(
    _file: Arc<dyn BlockFile>,
    _access: Access,
    _env: &Arc<dyn Environment>,
) -> Result<Arc<dyn Disk>, OpenError> {
    Err(OpenError::unsupported(Format::Vhdx, "file", NOT_YET))
}

/// Lays a new VHDX image into an empty file and makes it durable.
///
/// # Errors
/// [`CreateError`] when an option has a value that VHDX does not allow, or the host cannot write.
pub fn create(
    _file: &dyn BlockFile,
    options: &CreateOptions,
    _env: &dyn Environment,
) -> Result<(), CreateError> {
    Err(CreateError::option(Format::Vhdx, "size", options.size, NOT_YET))
}

/// Describes a VHDX file without changing it.
///
/// # Errors
/// [`OpenError`] when the file is no VHDX file at all.
pub fn inspect(_file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    Err(OpenError::unsupported(Format::Vhdx, "file", NOT_YET))
}

/// Checks a VHDX file; with `repair`, puts right what can be put right without losing data.
///
/// # Errors
/// [`OpenError`] when the file is no VHDX file at all, or the host fails.
pub fn check(
    _file: &Arc<dyn BlockFile>,
    _repair: bool,
    _env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    Err(OpenError::unsupported(Format::Vhdx, "file", NOT_YET))
}
