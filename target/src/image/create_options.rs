//! What a new image shall be like.

/// Whether a new image has all its space from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Every block has its place in the file from the start (the host may still keep them as holes).
    Fixed,
    /// Blocks are added as they are written.
    #[default]
    Dynamic,
}

/// What a new image shall be like. What is `None` takes the default of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateOptions {
    /// Size of the virtual disk in bytes, a multiple of the logical sector size.
    pub size: u64,
    /// Fixed or dynamic. Raw images ignore it: the host decides.
    pub allocation: Allocation,
    /// Bytes of payload in a block.
    pub block_size: Option<u64>,
    /// Logical sector size in bytes: 512 or 4096.
    pub logical_sector: Option<u32>,
    /// Physical sector size in bytes: 512 or 4096.
    pub physical_sector: Option<u32>,
}

impl CreateOptions {
    /// A dynamic image of `size` bytes with the defaults of its format.
    #[must_use]
    pub fn dynamic(size: u64) -> Self {
        Self {
            size,
            allocation: Allocation::Dynamic,
            block_size: None,
            logical_sector: None,
            physical_sector: None,
        }
    }

    /// A fixed image of `size` bytes with the defaults of its format.
    #[must_use]
    pub fn fixed(size: u64) -> Self {
        Self { allocation: Allocation::Fixed, ..Self::dynamic(size) }
    }
}
