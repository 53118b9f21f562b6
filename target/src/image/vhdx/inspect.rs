//! Describing an image without changing it.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::bat::State;
use super::bat_scan::scan;
use super::container::Container;
use super::metadata::Metadata;
use crate::image::{BlockFile, Format, ImageInfo, Link, OpenError, ParentInfo};

/// Describes a VHDX file without changing it, differencing disks included.
///
/// # Errors
/// [`OpenError`] when the parts of the file cannot be read.
pub fn inspect(file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
    let container = Container::read(file)?;
    let file_size = file.len().map_err(|e| OpenError::io(Format::Vhdx, "length", e))?;
    let (metadata, header) = (&container.metadata, container.headers.current());
    let mut info = ImageInfo::new(Format::Vhdx, metadata.size, file_size);
    let subformat = match (&metadata.parent, metadata.fixed) {
        (Some(_), _) => "differencing",
        (None, true) => "fixed",
        (None, false) => "dynamic",
    };
    info.subformat = Some(subformat.to_owned());
    info.block_size = Some(container.shape.block_size());
    info.logical_sector = metadata.logical_sector;
    info.physical_sector = metadata.physical_sector;
    info.creator = Some(container.creator.clone()).filter(|creator| !creator.is_empty());
    for (name, id) in [
        ("virtual disk", metadata.disk_id),
        ("file write", header.file_write),
        ("data write", header.data_write),
    ] {
        info.ids.insert(name.to_owned(), id.to_string());
    }
    info.parent = metadata.parent.as_ref().map(|parent| ParentInfo {
        id: parent.linkages().first().map(|id| id.to_string()),
        names: parent.paths(),
    });
    let mut allocated = 0_u64;
    scan(container.view.as_ref(), container.bat(), |index, entry| {
        let present = matches!(entry.state(), State::FullyPresent | State::PartiallyPresent);
        if present && container.shape.block_of(index).is_some() {
            allocated += 1;
        }
        ControlFlow::Continue(())
    })
    .map_err(|e| OpenError::io(Format::Vhdx, "block allocation table", e))?;
    info.allocated_blocks = Some(allocated);
    info.total_blocks = Some(container.shape.blocks());
    info.log = Some(match &container.replay {
        None => "clean".to_owned(),
        Some(replay) => {
            format!("not closed: {} log entries are replayed when it is opened", replay.len())
        }
    });
    info.warnings = container.oddities.into_iter().map(|(_, text)| text).collect();
    Ok(info)
}

/// What the file says of its parent, if it has one.
///
/// # Errors
/// [`OpenError`] when the parts of the file cannot be read.
pub fn link(file: &Arc<dyn BlockFile>) -> Result<Option<Link>, OpenError> {
    Ok(link_of(&Container::read(file)?.metadata))
}

/// The identity by which children know the file: its data write GUID.
///
/// # Errors
/// [`OpenError`] when the parts of the file cannot be read.
pub fn identity(file: &Arc<dyn BlockFile>) -> Result<uuid::Uuid, OpenError> {
    Ok(Container::read(file)?.headers.current().data_write)
}

pub(super) fn link_of(metadata: &Metadata) -> Option<Link> {
    metadata.parent.as_ref().map(|parent| Link {
        format: Format::Vhdx,
        names: parent.paths(),
        ids: parent.linkages(),
        size: metadata.size,
        logical_block: metadata.logical_sector,
    })
}
