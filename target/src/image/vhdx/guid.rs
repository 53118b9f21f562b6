//! The identifiers that MS-VHDX gives to regions and metadata items, and GUIDs as text.
//!
//! In the file the first three fields of a GUID are little-endian; [`Uuid`] holds them in text order, so every
//! comparison here is one of values, never of bytes from different sources.

use uuid::{Uuid, uuid};

/// Region: block allocation table (MS-VHDX 2.2.3.2).
pub(super) const REGION_BAT: Uuid = uuid!("2DC27766-F623-4200-9D64-115E9BFD4A08");
/// Region: metadata (MS-VHDX 2.2.3.2).
pub(super) const REGION_METADATA: Uuid = uuid!("8B7CA206-4790-4B9A-B8FE-575F050F886E");

/// Metadata item: file parameters (MS-VHDX 2.6.2.1).
pub(super) const FILE_PARAMETERS: Uuid = uuid!("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
/// Metadata item: virtual disk size (MS-VHDX 2.6.2.2).
pub(super) const VIRTUAL_DISK_SIZE: Uuid = uuid!("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
/// Metadata item: virtual disk id (MS-VHDX 2.6.2.3).
pub(super) const VIRTUAL_DISK_ID: Uuid = uuid!("BECA12AB-B2E6-4523-93EF-C309E000C746");
/// Metadata item: logical sector size (MS-VHDX 2.6.2.4).
pub(super) const LOGICAL_SECTOR_SIZE: Uuid = uuid!("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
/// Metadata item: physical sector size (MS-VHDX 2.6.2.5).
pub(super) const PHYSICAL_SECTOR_SIZE: Uuid = uuid!("CDA348C7-445D-4471-9CC9-E9885251C556");
/// Metadata item: parent locator (MS-VHDX 2.6.2.6).
pub(super) const PARENT_LOCATOR: Uuid = uuid!("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");
/// Type of the parent locator of a VHDX parent (MS-VHDX 2.6.2.6.3).
pub(super) const PARENT_LOCATOR_VHDX: Uuid = uuid!("B04AEFB7-D19E-4A81-B789-25B8E9445913");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_in_the_file_have_the_first_three_fields_reversed() {
        assert_eq!(
            REGION_BAT.to_bytes_le(),
            [0x66, 0x77, 0xC2, 0x2D, 0x23, 0xF6, 0, 0x42, 0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08]
        );
    }
}
