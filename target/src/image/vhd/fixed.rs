//! Fixed disks: the disk's bytes, then the footer. They keep all their space, so nothing is deallocated.

use std::sync::Arc;

use super::layout::Found;
use crate::image::raw::RawDisk;
use crate::image::{Access, BlockFile, Disk, Format, Geometry, OpenError};

/// The disk's size, when all of it is in the file.
pub(super) fn size(found: &Found) -> Result<u64, OpenError> {
    let size = found.disk_size()?;
    if size > found.body_end() {
        return Err(OpenError::damaged(
            Format::Vhd,
            "footer current size",
            format!("{size} bytes, but only {} are before the footer", found.body_end()),
        )
        .advise("the file is cut off; restore it from a copy"));
    }
    Ok(size)
}

/// Opens a fixed disk.
pub(super) fn open(
    file: Arc<dyn BlockFile>,
    found: &Found,
    access: Access,
) -> Result<Arc<dyn Disk>, OpenError> {
    let geometry = Geometry {
        size: size(found)?,
        logical_block: 512,
        physical_block: 4096,
        allocation_unit: 4096,
        thin: false,
        read_only: access == Access::ReadOnly,
    };
    Ok(Arc::new(RawDisk::new(file, geometry, access)))
}
