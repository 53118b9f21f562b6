//! Making a dynamic disk's changes durable. The order is explained in `dynamic`.

use super::dynamic::DynamicDisk;
use super::layout::UNALLOCATED;
use super::space::{Batch, Slot};
use crate::image::{Disk, DiskError};
use crate::limits::MAX_VHD_UNFLUSHED;

impl DynamicDisk {
    /// Keeps the list of what is not durable short.
    pub(super) fn flush_if_much(&self) -> Result<(), DiskError> {
        let waiting = self.lock_space().waiting().max(self.bits.waiting());
        if waiting < MAX_VHD_UNFLUSHED { Ok(()) } else { self.flush() }
    }

    /// One flush, while no other runs.
    pub(super) fn flush_now(&self) -> Result<(), DiskError> {
        let batch = self.lock_space().take_batch(|block| self.table.raw(block), &self.bits);
        match self.write_batch(&batch) {
            Ok(()) => {
                self.bits.written(&batch.bitmaps);
                self.reuse(&batch.freed);
                Ok(())
            }
            Err(DiskError::NoSpace) => {
                // Nothing durable points at anything that is not there: the next flush may try again.
                self.lock_space().put_back(batch, &self.bits);
                Err(DiskError::NoSpace)
            }
            Err(e) => {
                self.health.poison();
                Err(e)
            }
        }
    }

    fn write_batch(&self, batch: &Batch) -> Result<(), DiskError> {
        let places_something = batch.entries.iter().any(|(_, place)| *place != UNALLOCATED);
        if places_something || !batch.bitmaps.is_empty() {
            // Payload, bitmaps and growth before the entries that bring them to light.
            self.file.sync_data().map_err(DiskError::Write)?;
        }
        for dirty in &batch.bitmaps {
            self.file.write_all_at(&dirty.bits, dirty.at).map_err(DiskError::of_write)?;
        }
        for run in batch.entries.chunk_by(|(a, _), (b, _)| a.checked_add(1) == Some(*b)) {
            let Some((first, _)) = run.first() else { continue };
            let bytes: Vec<u8> = run.iter().flat_map(|(_, place)| place.to_be_bytes()).collect();
            let at = self.shape.table_offset + u64::from(*first) * 4;
            self.file.write_all_at(&bytes, at).map_err(DiskError::of_write)?;
        }
        self.file.sync_data().map_err(DiskError::Write)
    }

    /// Gives places back that no durable entry points at any more.
    fn reuse(&self, freed: &[u64]) {
        for at in freed {
            let punched = self.file.punch_hole(*at..*at + self.shape.slot_len());
            if let Err(e) = &punched {
                tracing::warn!(at, error = %e, "cannot give the space of an unmapped block back to the host");
            }
            self.lock_space().give_back(Slot { at: *at, zeroed: punched.is_ok() });
        }
    }

    /// Where the last block ends.
    pub(super) fn end(&self) -> u64 {
        let last = self.table.places().max();
        last.map_or(0, |place| u64::from(place) * 512 + self.shape.slot_len()).max(self.metadata_end())
    }
}
