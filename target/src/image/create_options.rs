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

/// How a new differencing disk tells which file its parent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRecord {
    /// The parent's identity.
    pub id: uuid::Uuid,
    /// Its path from the child's folder, with `/` between the parts.
    pub relative: String,
    /// Its path from the root, with `/` between the parts.
    pub absolute: String,
    /// When it was changed last, in seconds since 1970-01-01T00:00:00Z.
    pub modified: u64,
}

/// What a new differencing disk shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildOptions {
    /// The parent.
    pub parent: ParentRecord,
    /// Size of the virtual disk in bytes: the parent's.
    pub size: u64,
    /// Bytes of payload in a block; `None`: 2 MiB.
    pub block_size: Option<u64>,
    /// The parent's logical sector size in bytes.
    pub logical_sector: u32,
    /// The parent's physical sector size in bytes.
    pub physical_sector: u32,
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
