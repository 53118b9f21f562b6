//! Logical units for a server that runs in the test's own process.

use lunkeep_target::device::{CommandLimits, Identity, LogicalUnitConfig, MediumShape, TaskLimits};
use lunkeep_target::image::Disk;

/// The unit of `disk`, as the program would make it of an image without settings.
#[must_use]
pub fn device(disk: &dyn Disk, naa: Vec<u8>, serial: String) -> LogicalUnitConfig {
    let shape = disk.geometry();
    LogicalUnitConfig {
        identity: Identity {
            naa,
            serial,
            vendor: "LUNKEEP".into(),
            product: "TEST".into(),
            revision: "1".into(),
        },
        medium: MediumShape {
            size: shape.size,
            logical_block: shape.logical_block,
            physical_block: shape.physical_block,
            allocation_unit: shape.allocation_unit,
            thin: shape.thin,
            read_only: shape.read_only,
        },
        commands: CommandLimits::default(),
        tasks: TaskLimits::default(),
        task_aborted_status: false,
        removable: false,
        saved: None,
    }
}
