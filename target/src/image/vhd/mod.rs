//! VHD, the format of Virtual PC and of Hyper-V's generation 1.
//!
//! ```text
//! fixed    [data][footer]
//! dynamic  [footer copy][header][block table] [bitmap][payload] [bitmap][payload] ... [footer]
//! ```
//! Big-endian, 512-byte sectors, at most 2040 GiB. A file is opened by the footer at its end, or when that is missing or
//! damaged by the copy at the start of a dynamic one; a writable open puts the footer back. Everything the metadata
//! points at is checked before the first byte is served (`layout`); the order of writes is in `dynamic`.
//!
//! Not here: differencing disks (refused with their parent's name), resizing, the saved state of virtual machines.

mod bitmap;
mod bytes;
mod check;
mod create;
mod dynamic;
mod fixed;
mod footer;
mod geometry;
mod header;
mod layout;
mod space;
mod table;

use std::io;
use std::sync::Arc;

use super::{
    Access, BlockFile, CheckReport, CreateError, CreateOptions, Disk, Environment, Format, ImageInfo,
    OpenError, OpenErrorKind,
};
use dynamic::DynamicDisk;
use footer::Kind;
use layout::{Found, Layout, Place, Shape, find_footer};
use space::Space;

/// Opens a VHD file.
///
/// # Errors
/// [`OpenError`] when the file is damaged, is a differencing disk, may not be written, or the host fails.
pub fn open(
    file: Arc<dyn BlockFile>,
    access: Access,
    _env: &Arc<dyn Environment>,
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
        Kind::Dynamic => open_dynamic(file, &found, access),
        Kind::Differencing => Err(parent_needed(&*file, &found)),
    }
}

fn open_dynamic(file: Arc<dyn BlockFile>, found: &Found, access: Access) -> Result<Arc<dyn Disk>, OpenError> {
    let layout = Layout::load(&*file, found)?;
    layout.require_sound()?;
    let (shape, end) = (layout.shape, layout.survey.end);
    let mut len = found.len;
    if access == Access::ReadWrite {
        if found.place != Place::End || !shape.is_trimmed(end, len) {
            len = Shape::file_len(end);
        }
        put_in_order(&*file, found, len).map_err(|e| OpenError::io(Format::Vhd, "footer", e))?;
    }
    let space = Space::new(shape, found.footer.clone(), end, len, &layout.survey.gaps);
    Ok(Arc::new(DynamicDisk::new(file, layout, space, access)))
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

fn parent_needed(file: &dyn BlockFile, found: &Found) -> OpenError {
    let names = match Layout::load(file, found) {
        Ok(layout) => layout.header.parent(file).names.join(" or "),
        Err(e) => return e,
    };
    let parent = if names.is_empty() { "without a name".to_owned() } else { names };
    OpenError::new(
        OpenErrorKind::ParentNeeded,
        Some(Format::Vhd),
        "parent",
        format!("{parent} is needed; differencing disks are not served yet"),
    )
    .advise("merge it into its parent first (Merge-VHD), and serve the result")
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
/// [`OpenError`] when the host fails, the file is a differencing disk, or too damaged to look at its blocks.
pub fn check(
    file: &Arc<dyn BlockFile>,
    repair: bool,
    env: &Arc<dyn Environment>,
) -> Result<CheckReport, OpenError> {
    check::check(file, repair, env)
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
