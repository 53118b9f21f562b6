//! Opens the image of a LUN, and creates it first when it is missing and a size was given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::spec::{CreateSpec, LunSpec};
use crate::engine::ParentFolders;
use crate::engine::new_file::{Existing, NewFile};
use crate::engine::{HostEnvironment, HostFile, HostFileError};
use crate::image::{
    Access, Allocation, BlockFile, CreateError, CreateOptions, Disk, Environment, Format, OpenError, decide,
    raw,
};

/// An open image.
#[derive(Debug)]
pub struct OpenImage {
    /// Its format.
    pub format: Format,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Its file, which stays locked while this lives.
    pub file: Arc<HostFile>,
}

/// Why an image cannot be served. Each error names the file.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such file, and no size to create it with.
    #[error(
        "image {} does not exist. To have it created give its size: --disk {},size=10G on the command line, or size = \"10G\" in its \
         [[target.lun]]",
        path.display(), path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The name of a file that is to be created stands for no format.
    #[error("cannot create {}: its extension stands for no image format; say which it shall be: format=vhdx, vhd or raw", path.display())]
    NoFormat {
        /// The file.
        path: PathBuf,
    },
    /// There is no folder to create it in.
    #[error("cannot create {}: there is no folder {}", path.display(), folder_of(path).display())]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// It could not be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CreateError,
    },
    /// The host's file could not be opened.
    #[error(transparent)]
    File(#[from] HostFileError),
    /// Its content cannot be served.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// A block size was given that an existing image does not have.
    #[error(
        "{} has blocks of {found} bytes, not {wanted}: the image says which it has; leave the block size out",
        path.display()
    )]
    OtherBlockSize {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: u32,
        /// What was asked for.
        wanted: u32,
    },
}

/// Creates the image of `lun` when it is missing. `Ok(true)`: it was made.
///
/// # Errors
/// [`ImageError`]; nothing is left behind then.
pub fn create_if_missing(lun: &LunSpec) -> Result<bool, ImageError> {
    if exists(&lun.path)? {
        return Ok(false);
    }
    let (format, create) = how_to_create(lun)?;
    match create_image(&lun.path, format, create, lun.logical_block) {
        // Another process was faster; its image is opened like any that was there before.
        Err(ImageError::File(HostFileError::Io { source, .. }))
            if source.kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(false)
        }
        other => other.map(|()| true),
    }
}

/// Opens the image of `lun`, which exists. `access` is read-only for a look at it without changing it.
///
/// # Errors
/// [`ImageError`].
pub fn open(lun: &LunSpec, access: Access, parents: &Arc<ParentFolders>) -> Result<OpenImage, ImageError> {
    let file = Arc::new(HostFile::open(&lun.path, access)?);
    open_file(lun, file, access, parents)
}

/// As [`open`], for a file that is open and locked already.
///
/// # Errors
/// [`ImageError`].
pub fn open_file(
    lun: &LunSpec,
    file: Arc<HostFile>,
    access: Access,
    parents: &Arc<ParentFolders>,
) -> Result<OpenImage, ImageError> {
    let failed = |source| ImageError::Open { path: lun.path.clone(), source };
    let lineage =
        parents.lineage(&file).map_err(|source| HostFileError::Io { path: lun.path.clone(), source })?;
    let environment: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let format = decide(&*file, &lun.path, lun.format).map_err(failed)?;
    let content: Arc<dyn BlockFile> = file.clone();
    let disk = match (format, lun.logical_block) {
        (Format::Raw, Some(block)) => raw::open_with_blocks(content, access, block),
        _ => format.open_in(content, access, &environment, &lineage),
    };
    let disk = disk.map_err(failed)?;
    let found = disk.geometry().logical_block;
    match lun.logical_block {
        Some(wanted) if wanted != found => {
            Err(ImageError::OtherBlockSize { path: lun.path.clone(), found, wanted })
        }
        _ => Ok(OpenImage { format, disk, file }),
    }
}

/// What a LUN is opened for.
#[must_use]
pub const fn access_of(lun: &LunSpec) -> Access {
    if lun.read_only { Access::ReadOnly } else { Access::ReadWrite }
}

/// Checks without touching anything that the image can be opened, or created.
///
/// # Errors
/// As [`create_if_missing`] and [`open`].
pub fn check(lun: &LunSpec, parents: &Arc<ParentFolders>) -> Result<(), ImageError> {
    if exists(&lun.path)? {
        let image = open(lun, Access::ReadOnly, parents)?;
        drop(image);
        return Ok(());
    }
    how_to_create(lun).map(|_| ())
}

/// The format and the rest of what the missing image of `lun` is created with.
fn how_to_create(lun: &LunSpec) -> Result<(Format, CreateSpec), ImageError> {
    let create = lun.create.ok_or_else(|| ImageError::Missing { path: lun.path.clone() })?;
    let format = format_of_new(lun)?;
    if !folder_of(&lun.path).is_dir() {
        return Err(ImageError::NoFolder { path: lun.path.clone() });
    }
    Ok((format, create))
}

fn exists(path: &Path) -> Result<bool, ImageError> {
    path.try_exists().map_err(|source| HostFileError::Io { path: path.into(), source }.into())
}

/// The format that was asked for, or the one that the name stands for, or VHDX for a name without an extension.
fn format_of_new(lun: &LunSpec) -> Result<Format, ImageError> {
    match (lun.format.or_else(|| Format::of_extension(&lun.path)), lun.path.extension()) {
        (Some(format), _) => Ok(format),
        (None, None) => Ok(Format::Vhdx),
        (None, Some(_)) => Err(ImageError::NoFormat { path: lun.path.clone() }),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The image gets its name when it is whole and durable, so that a crash leaves no half of one. Nothing is overwritten.
fn create_image(
    path: &Path,
    format: Format,
    create: CreateSpec,
    logical_block: Option<u32>,
) -> Result<(), ImageError> {
    let failed = |source| ImageError::Create { path: path.into(), source };
    // A raw disk does not record its block size; it only has to be made of whole blocks.
    let (recorded, whole) = if format == Format::Raw { (None, logical_block) } else { (logical_block, None) };
    if whole.is_some_and(|block| !create.size.is_multiple_of(block.into())) {
        return Err(failed(CreateError::option(
            format,
            "size",
            create.size,
            "it has to be a multiple of the block size",
        )));
    }
    let new = NewFile::beside(path)?;
    let options = CreateOptions {
        logical_sector: recorded,
        ..match create.allocation {
            Allocation::Fixed => CreateOptions::fixed(create.size),
            Allocation::Dynamic => CreateOptions::dynamic(create.size),
        }
    };
    format.create(&*new.file(), &options, &HostEnvironment).map_err(failed)?;
    Ok(new.commit(Existing::Keep)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parents() -> Arc<ParentFolders> {
        ParentFolders::new(&[]).unwrap()
    }

    fn lun(path: &Path, size: Option<u64>) -> LunSpec {
        let create = size.map(|size| CreateSpec { size, allocation: Allocation::Dynamic });
        LunSpec {
            path: path.into(),
            format: None,
            create,
            logical_block: None,
            read_only: false,
            removable: false,
            serial: None,
        }
    }

    #[test]
    fn a_missing_image_with_a_size_is_created_once_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        assert!(create_if_missing(&lun(&path, Some(1 << 20))).unwrap());
        assert!(!create_if_missing(&lun(&path, Some(1 << 20))).unwrap());
        let image = open(&lun(&path, None), Access::ReadWrite, &parents()).unwrap();
        assert_eq!((image.format, image.disk.geometry().size), (Format::Raw, 1 << 20));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_image_without_a_size_is_an_error_with_the_fix() {
        let error = create_if_missing(&lun(Path::new("no/such.vhdx"), None)).unwrap_err().to_string();
        assert!(error.contains("--disk no/such.vhdx,size=10G"), "{error}");
        assert!(matches!(
            check(&lun(Path::new("no/such.vhdx"), None), &parents()),
            Err(ImageError::Missing { .. })
        ));
    }

    #[test]
    fn an_image_that_cannot_be_created_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        let error = create_if_missing(&lun(&path, Some(1000))).unwrap_err();
        assert!(matches!(error, ImageError::Create { .. }), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = folder.path().join("no-folder/a.raw");
        for result in [
            check(&lun(&missing, Some(512)), &parents()),
            create_if_missing(&lun(&missing, Some(512))).map(|_| ()),
        ] {
            assert!(matches!(result, Err(ImageError::NoFolder { .. })));
        }
    }

    #[test]
    fn the_format_of_a_new_image_comes_from_its_name() {
        let format = |name: &str| format_of_new(&lun(Path::new(name), None));
        assert_eq!(format("a.vhd").unwrap(), Format::Vhd);
        assert_eq!(format("a.img").unwrap(), Format::Raw);
        assert_eq!(format("a").unwrap(), Format::Vhdx);
        assert!(matches!(format("a.vmdk"), Err(ImageError::NoFormat { .. })));
    }

    #[test]
    fn a_check_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        check(&lun(&path, Some(1 << 20)), &parents()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_block_size_that_an_existing_image_does_not_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.vhdx");
        create_if_missing(&lun(&path, Some(4 << 20))).unwrap();
        let with_blocks = |block| LunSpec { logical_block: Some(block), ..lun(&path, None) };
        assert!(matches!(
            open(&with_blocks(4096), Access::ReadOnly, &parents()),
            Err(ImageError::OtherBlockSize { .. })
        ));
        assert!(open(&with_blocks(512), Access::ReadOnly, &parents()).is_ok());
    }

    #[test]
    fn a_raw_disk_has_the_block_size_that_is_given_when_it_is_made_and_each_time_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        let with_blocks = |block, size| LunSpec { logical_block: Some(block), ..lun(&path, size) };
        let uneven = create_if_missing(&with_blocks(4096, Some(4096 + 512))).unwrap_err().to_string();
        assert!(uneven.contains("multiple of the block size"), "{uneven}");
        assert!(create_if_missing(&with_blocks(4096, Some(1 << 20))).unwrap());
        for block in [4096, 512] {
            let image = open(&with_blocks(block, None), Access::ReadWrite, &parents()).unwrap();
            assert_eq!(image.disk.geometry().logical_block, block);
        }
        assert_eq!(
            open(&lun(&path, None), Access::ReadWrite, &parents()).unwrap().disk.geometry().logical_block,
            512
        );
    }
}
