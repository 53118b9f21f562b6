//! What a logical unit is made from: who it is, its shape and its limits.

use lunkeep_common::scsi::capacity::Capacity;

use super::parameters::SavedParameters;
use crate::limits;

/// What initiators know a logical unit by. It never changes while reservations refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// NAA designator (SPC-4 §7.8.6.6): 8 bytes, or 16 for NAA 6h.
    pub naa: Vec<u8>,
    /// Unit serial number in printable ASCII (SPC-4 §7.8.16).
    pub serial: String,
    /// T10 vendor identification, at most 8 characters.
    pub vendor: String,
    /// Product identification, at most 16 characters.
    pub product: String,
    /// Product revision level, at most 4 characters.
    pub revision: String,
}

/// Shape of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumShape {
    /// Size in bytes, a multiple of `logical_block`.
    pub size: u64,
    /// Bytes in a logical block: a power of two from 512.
    pub logical_block: u32,
    /// Bytes in a physical block: a power of two, at least `logical_block`.
    pub physical_block: u32,
    /// Bytes in a unit of allocation.
    pub allocation_unit: u32,
    /// Whether blocks can be deallocated (UNMAP); deallocated blocks must read as zero.
    pub thin: bool,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// Bounds on single commands, in bytes unless they say otherwise. Reported in the Block Limits page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// READ, WRITE and VERIFY.
    pub transfer: u32,
    /// WRITE SAME.
    pub write_same: u32,
    /// COMPARE AND WRITE, in logical blocks.
    pub compare_and_write: u8,
    /// UNMAP, all descriptors together, in logical blocks.
    pub unmap_blocks: u32,
    /// Descriptors in one UNMAP.
    pub unmap_descriptors: u32,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            transfer: limits::TRANSFER_LEN_MAX,
            write_same: limits::WRITE_SAME_LEN_MAX,
            compare_and_write: limits::COMPARE_AND_WRITE_BLOCKS_MAX,
            unmap_blocks: limits::UNMAP_BLOCKS_MAX,
            unmap_descriptors: limits::UNMAP_DESCRIPTORS_MAX,
        }
    }
}

/// Bounds on the task set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// Tasks of one nexus.
    pub per_nexus: usize,
    /// Tasks of all nexuses.
    pub total: usize,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self { per_nexus: limits::TASKS_PER_NEXUS_MAX, total: limits::TASKS_PER_UNIT_MAX }
    }
}

/// Everything that a logical unit is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalUnitConfig {
    /// Who it is.
    pub identity: Identity,
    /// Its medium.
    pub medium: MediumShape,
    /// Bounds on commands.
    pub commands: CommandLimits,
    /// Bounds on the task set.
    pub tasks: TaskLimits,
    /// Default of TAS of the control mode page: a task that another nexus aborts ends with TASK ABORTED instead of in silence with
    /// a unit attention (SPC-4 §7.5.8).
    pub task_aborted_status: bool,
    /// RMB: the medium can be ejected and loaded, and its removal prevented.
    pub removable: bool,
    /// What was saved before; `None` when nothing ever was.
    pub saved: Option<SavedParameters>,
}

/// A shape that no logical unit can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a medium of {} bytes with logical blocks of {} and physical blocks of {} bytes cannot be a logical unit: block \
     sizes must be powers of two from 512, the physical not the smaller, and the size a positive multiple of the logical",
    .0.size, .0.logical_block, .0.physical_block
)]
pub struct InvalidShape(pub MediumShape);

impl MediumShape {
    /// Itself, when a logical unit can have this shape.
    pub(super) fn checked(self) -> Result<Self, InvalidShape> {
        let power = |len: u32| len >= 512 && len.is_power_of_two();
        let fits = power(self.logical_block)
            && power(self.physical_block)
            && self.physical_block >= self.logical_block
            && self.size != 0
            && self.size.is_multiple_of(self.logical_block.into());
        if fits { Ok(self) } else { Err(InvalidShape(self)) }
    }

    /// Count of logical blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.size / u64::from(self.logical_block)
    }

    /// Logical blocks in a physical block.
    pub(super) const fn blocks_per_physical(&self) -> u32 {
        self.physical_block / self.logical_block
    }

    /// READ CAPACITY data.
    pub(super) fn capacity(&self) -> Capacity {
        Capacity {
            last_lba: self.blocks() - 1,
            block_len: self.logical_block,
            // At most 22: both are powers of two from 512 to 2^31.
            physical_exponent: u8::try_from(self.blocks_per_physical().ilog2()).unwrap_or(0),
            lowest_aligned_lba: 0,
            thin: self.thin,
            reads_zero: self.thin,
            protection: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_cannot_be_are_refused_by_name() {
        let good = MediumShape {
            size: 1 << 20,
            logical_block: 512,
            physical_block: 4096,
            allocation_unit: 1 << 20,
            thin: true,
            read_only: false,
        };
        assert_eq!(good.checked(), Ok(good));
        let bad = [
            MediumShape { size: 0, ..good },
            MediumShape { size: 513, ..good },
            MediumShape { logical_block: 0, ..good },
            MediumShape { logical_block: 520, ..good },
            MediumShape { logical_block: 4096, physical_block: 512, ..good },
            MediumShape { physical_block: 5000, ..good },
        ];
        for shape in bad {
            assert_eq!(shape.checked(), Err(InvalidShape(shape)));
        }
        assert!(InvalidShape(bad[1]).to_string().contains("513 bytes"));
    }
}
