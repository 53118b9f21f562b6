//! VHD, the format of Virtual PC and of Hyper-V's generation 1.
//!
//! ```text
//! fixed    [data][footer]
//! dynamic  [footer copy][header][block table] [bitmap][payload] [bitmap][payload] ... [footer]
//! differencing: as dynamic, with the names of the parent between table and blocks
//! ```
//! Big-endian, 512-byte sectors, at most 2040 GiB. A file is opened by the footer at its end, or when that is missing or
//! damaged by the copy at the start of a dynamic one; a writable open puts the footer back. Everything the metadata
//! points at is checked before the first byte is served (`layout`); the order of writes is in `dynamic`.
//!
//! Not here: the saved state of virtual machines.

mod bitmap;
mod bits;
mod bytes;
mod check;
mod create;
mod dynamic;
mod fixed;
mod flush;
mod footer;
mod geometry;
mod header;
mod layout;
mod pack;
mod rebase;
mod resize;
mod space;
mod table;
mod write;

use std::io;
use std::sync::Arc;

use super::pack::PackError;
use super::tools::Progress;
use super::{
    Access, BlockFile, CheckReport, ChildOptions, CreateError, CreateOptions, Disk, Environment, FileSize,
    Format, ImageInfo, Lineage, Link, OpenError, OpenErrorKind, ParentRecord,
};
use dynamic::DynamicDisk;
use footer::Kind;
use layout::{Found, Layout, Place, Shape, find_footer};
use space::Space;

/// Opens a VHD file.
///
/// # Errors
/// [`OpenError`] when the file is damaged, has a parent that does not open, may not be written, or the host fails.
pub fn open(
    file: Arc<dyn BlockFile>,
    access: Access,
    env: &Arc<dyn Environment>,
    lineage: &Lineage,
) -> Result<Arc<dyn Disk>, OpenError> {
    if access == Access::ReadWrite {
        // What a killed process left in the host's cache must not reach the disk later than what we base on it.
        file.sync_data().map_err(|e| OpenError::io(Format::Vhd, "file", e))?;
    }
    let found = find_footer(&*file)?;
    if access == Access::ReadWrite && found.footer.has_saved_state() {
        return Err(OpenError::new(
            OpenErrorKind::NotWritable,
            Some(Format::Vhd),
            "footer saved state",
            "the disk belongs to a virtual machine whose state is saved",
        )
        .advise("start and shut that machine down first, or open the disk read-only"));
    }
    match found.footer.kind()? {
        Kind::Fixed => fixed::open(file, &found, access),
        Kind::Dynamic | Kind::Differencing => open_dynamic(file, &found, access, (env, lineage)),
    }
}

fn open_dynamic(
    file: Arc<dyn BlockFile>,
    found: &Found,
    access: Access,
    (env, lineage): (&Arc<dyn Environment>, &Lineage),
) -> Result<Arc<dyn Disk>, OpenError> {
    let layout = Layout::load(&*file, found)?;
    layout.require_sound()?;
    let backing = match link_of(&*file, found, &layout)? {
        Some(link) => Some(lineage.open_parent(&link, env)?),
        None => None,
    };
    let len = match access {
        Access::ReadWrite => tidy(&*file, found, &layout)?,
        Access::ReadOnly => found.len,
    };
    let (shape, end) = (layout.shape, layout.survey.end);
    let space = Space::new(shape, found.footer.clone(), end, len, &layout.survey.gaps);
    Ok(Arc::new(DynamicDisk::new(file, layout, space, access, backing)))
}

/// Puts the ends of a sound file in order, see [`put_in_order`]. Answers its length.
fn tidy(file: &dyn BlockFile, found: &Found, layout: &Layout) -> Result<u64, OpenError> {
    let mut len = found.len;
    if found.place != Place::End || !layout.shape.is_trimmed(layout.survey.end, len) {
        len = Shape::file_len(layout.survey.end);
    }
    put_in_order(file, found, len).map_err(|e| OpenError::io(Format::Vhd, "footer", e))?;
    Ok(len)
}

/// What a differencing disk says of its parent; `None` for any other disk.
fn link_of(file: &dyn BlockFile, found: &Found, layout: &Layout) -> Result<Option<Link>, OpenError> {
    if found.footer.kind()? != Kind::Differencing {
        return Ok(None);
    }
    Ok(Some(Link {
        format: Format::Vhd,
        names: layout.header.parent_names(file),
        ids: vec![layout.header.parent_id()],
        size: layout.shape.size,
        logical_block: 512,
    }))
}

/// What the file says of its parent, if it has one.
///
/// # Errors
/// [`OpenError`] when footer or header make no sense.
pub fn link(file: &Arc<dyn BlockFile>) -> Result<Option<Link>, OpenError> {
    let found = find_footer(&**file)?;
    match found.footer.kind()? {
        Kind::Differencing => link_of(&**file, &found, &Layout::load(&**file, &found)?),
        Kind::Fixed | Kind::Dynamic => Ok(None),
    }
}

/// The identity by which children know the file: the footer's unique id.
///
/// # Errors
/// [`OpenError`] when there is no good footer.
pub fn identity(file: &Arc<dyn BlockFile>) -> Result<uuid::Uuid, OpenError> {
    Ok(find_footer(&**file)?.footer.unique_id())
}

/// Makes the file end with a footer close behind the last block, so that the payload of all new blocks is a hole. What lies
/// there after a crash may be payload of blocks that never got an entry. The copy at the start is good at every moment in
/// which the footer at the end is not.
fn put_in_order(file: &dyn BlockFile, found: &Found, len: u64) -> io::Result<()> {
    if found.copy.as_ref() != Ok(&found.footer) {
        file.write_all_at(found.footer.bytes(), 0)?;
        file.sync_data()?;
    }
    if found.place != Place::End || found.len != len {
        file.set_len(len)?;
        file.write_all_at(found.footer.bytes(), len - footer::FOOTER_LEN as u64)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Lays a new VHD image into an empty file and makes it durable.
///
/// # Errors
/// [`CreateError`] when an option has a value that VHD does not allow, or the host cannot write.
pub fn create(
    file: &dyn BlockFile,
    options: &CreateOptions,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    create::create(file, options, env)
}

/// Lays a new differencing disk into an empty file and makes it durable.
///
/// # Errors
/// As [`create`].
pub fn create_child(
    file: &dyn BlockFile,
    options: &ChildOptions,
    env: &dyn Environment,
) -> Result<(), CreateError> {
    create::create_child(file, options, env)
}

/// Moves blocks into gaps before them and cuts the file off.
///
/// # Errors
/// [`PackError`]; a file that is not sound is not changed.
pub fn compact(
    file: &Arc<dyn BlockFile>,
    _env: &Arc<dyn Environment>,
    progress: Progress<'_>,
) -> Result<(), PackError> {
    pack::compact(&**file, progress)
}

/// How long the file of a new image will be.
///
/// # Errors
/// [`CreateError`] when an option has a value that VHD does not allow.
pub fn measure(options: &CreateOptions) -> Result<FileSize, CreateError> {
    create::measure(options)
}

/// Lets the differencing disk in `file` name `parent` as its parent.
///
/// # Errors
/// [`OpenError`] when it is no sound differencing disk, the name is too long, or the host fails.
pub fn set_parent(
    file: &Arc<dyn BlockFile>,
    parent: &ParentRecord,
    _env: &Arc<dyn Environment>,
) -> Result<(), OpenError> {
    rebase::set_parent(&**file, parent)
}

/// Makes the disk `size` bytes long. What is cut off is zero already; what is new reads as zero.
///
/// # Errors
/// [`OpenError`] when the size is none that the file can have, or the host fails.
pub fn resize(file: &Arc<dyn BlockFile>, size: u64, _env: &Arc<dyn Environment>) -> Result<(), OpenError> {
    resize::resize(file, size)
}

/// Describes a VHD file without changing it, a differencing one too.
///
/// # Errors
/// [`OpenError`] when footer, header or table make no sense.
pub fn inspect(file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    check::inspect(&**file)
}

/// Checks a VHD file; with `repair`, puts the footers back and cuts off what nothing refers to at the end.
///
/// # Errors
/// [`OpenError`] when the host fails, or the file is too damaged to look at its blocks.
pub fn check(
    file: &Arc<dyn BlockFile>,
    repair: bool,
    _env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    check::check(file, repair)
}

/// Whether the file has a footer's mark, at its end or as a copy at its start.
///
/// # Errors
/// What the host reports.
pub(super) fn has_footer(file: &dyn BlockFile) -> io::Result<bool> {
    let len = file.len()?;
    for at in [len.checked_sub(512), len.checked_sub(511), (len >= 512).then_some(0)].into_iter().flatten() {
        let mut cookie = [0; 8];
        file.read_exact_at(&mut cookie, at)?;
        if &cookie == footer::COOKIE {
            return Ok(true);
        }
    }
    Ok(false)
}
