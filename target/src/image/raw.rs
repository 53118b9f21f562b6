//! raw.

use std::sync::Arc;

use super::{
    Access, BlockFile, CheckReport, CreateError, CreateOptions, Disk, Environment, Format, ImageInfo,
    OpenError,
};

const NOT_YET: &str = "this build does not serve raw";

/// Opens a raw file.
///
/// # Errors
/// [`OpenError`] when the file is not a raw file that can be served.
pub fn open(
    _file: Arc<dyn BlockFile>,
    _access: Access,
    _env: &Arc<dyn Environment>,
) -> Result<Arc<dyn Disk>, OpenError> {
    Err(OpenError::unsupported(Format::Raw, "file", NOT_YET))
}

/// Lays a new raw image into an empty file and makes it durable.
///
/// # Errors
/// [`CreateError`] when an option has a value that raw does not allow, or the host cannot write.
pub fn create(
    _file: &dyn BlockFile,
    options: &CreateOptions,
    _env: &dyn Environment,
) -> Result<(), CreateError> {
    Err(CreateError::option(Format::Raw, "size", options.size, NOT_YET))
}

/// Describes a raw file without changing it.
///
/// # Errors
/// [`OpenError`] when the file is no raw file at all.
pub fn inspect(_file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    Err(OpenError::unsupported(Format::Raw, "file", NOT_YET))
}

/// Checks a raw file; with `repair`, puts right what can be put right without losing data.
///
/// # Errors
/// [`OpenError`] when the file is no raw file at all, or the host fails.
pub fn check(
    _file: &Arc<dyn BlockFile>,
    _repair: bool,
    _env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    Err(OpenError::unsupported(Format::Raw, "file", NOT_YET))
}
