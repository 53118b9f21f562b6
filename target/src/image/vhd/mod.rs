//! VHD.

use std::sync::Arc;

use super::{
    Access, BlockFile, CheckReport, CreateError, CreateOptions, Disk, Environment, Format, ImageInfo,
    OpenError,
};

const NOT_YET: &str = "this build does not serve VHD";

/// Opens a VHD file.
///
/// # Errors
/// [`OpenError`] when the file is not a VHD file that can be served.
pub fn open(
    _file: Arc<dyn BlockFile>,
    _access: Access,
    _env: &Arc<dyn Environment>,
) -> Result<Arc<dyn Disk>, OpenError> {
    Err(OpenError::unsupported(Format::Vhd, "file", NOT_YET))
}

/// Lays a new VHD image into an empty file and makes it durable.
///
/// # Errors
/// [`CreateError`] when an option has a value that VHD does not allow, or the host cannot write.
pub fn create(
    _file: &dyn BlockFile,
    options: &CreateOptions,
    _env: &dyn Environment,
) -> Result<(), CreateError> {
    Err(CreateError::option(Format::Vhd, "size", options.size, NOT_YET))
}

/// Describes a VHD file without changing it.
///
/// # Errors
/// [`OpenError`] when the file is no VHD file at all.
pub fn inspect(_file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    Err(OpenError::unsupported(Format::Vhd, "file", NOT_YET))
}

/// Checks a VHD file; with `repair`, puts right what can be put right without losing data.
///
/// # Errors
/// [`OpenError`] when the file is no VHD file at all, or the host fails.
pub fn check(
    _file: &Arc<dyn BlockFile>,
    _repair: bool,
    _env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    Err(OpenError::unsupported(Format::Vhd, "file", NOT_YET))
}

/// Whether the file has a footer, at its end or as a copy at its start.
///
/// # Errors
/// What the host reports.
pub(super) fn has_footer(_file: &dyn BlockFile) -> std::io::Result<bool> {
    Ok(false)
}
