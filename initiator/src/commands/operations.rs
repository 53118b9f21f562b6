//! The operations that this crate knows: each makes a [`Request`] and reads its data.

use bytes::Bytes;
use lunkeep_common::scsi::capacity::Capacity;
use lunkeep_common::scsi::cdb::{
    Form, SynchronizeCache as SynchronizeCacheFields, Transfer as BlockTransfer,
};
use lunkeep_common::scsi::inquiry::StandardInquiry;
use lunkeep_common::scsi::report_luns;
use lunkeep_common::scsi::vpd;
use lunkeep_common::scsi::{Cdb, Lun, Status};

use super::error::CommandError;
use super::request::{Completion, Request, Transfer};
use crate::limits::LUNS_MAX;

/// A SCSI command with a typed result.
pub trait Operation {
    /// What a GOOD status brings.
    type Output;

    /// The standard's name of the command, for messages.
    fn name(&self) -> &'static str;

    /// The command as it is sent.
    ///
    /// # Errors
    /// A value that the command has no room for.
    fn request(&self) -> Result<Request, CommandError>;

    /// Reads the data of a GOOD completion.
    ///
    /// # Errors
    /// Data that is too short or is not what the command returns.
    fn read(&self, completion: Completion) -> Result<Self::Output, CommandError>;

    /// The result of a completion with any status.
    ///
    /// # Errors
    /// A status other than GOOD; those of [`Operation::read`].
    fn finish(&self, completion: Completion) -> Result<Self::Output, CommandError> {
        if completion.status == Status::Good {
            return self.read(completion);
        }
        let sense = completion.decoded_sense();
        Err(CommandError::Status { operation: self.name(), status: completion.status, sense })
    }
}

/// TEST UNIT READY.
#[derive(Clone, Copy, Debug)]
pub struct TestUnitReady;

impl Operation for TestUnitReady {
    type Output = ();

    fn name(&self) -> &'static str {
        "TEST UNIT READY"
    }

    fn request(&self) -> Result<Request, CommandError> {
        Ok(Request::new(Cdb::TestUnitReady.encode()?, Transfer::None))
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

/// INQUIRY for the standard data.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry;

impl Operation for Inquiry {
    type Output = StandardInquiry;

    fn name(&self) -> &'static str {
        "INQUIRY"
    }

    fn request(&self) -> Result<Request, CommandError> {
        inquiry(false, 0, 255)
    }

    fn read(&self, completion: Completion) -> Result<StandardInquiry, CommandError> {
        StandardInquiry::decode(&completion.data).ok_or(CommandError::Unreadable { operation: self.name() })
    }
}

/// INQUIRY for a vital product data page; the result is the page's body.
#[derive(Clone, Copy, Debug)]
pub struct VitalProductData(pub u8);

impl Operation for VitalProductData {
    type Output = Bytes;

    fn name(&self) -> &'static str {
        "INQUIRY (vital product data)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        inquiry(true, self.0, 4096)
    }

    fn read(&self, completion: Completion) -> Result<Bytes, CommandError> {
        let body = vpd::decode_page(self.0, &completion.data);
        body.map(|body| completion.data.slice_ref(body))
            .ok_or(CommandError::Unreadable { operation: self.name() })
    }
}

fn inquiry(vital_product_data: bool, page_code: u8, allocation_length: u16) -> Result<Request, CommandError> {
    let cdb = Cdb::Inquiry { vital_product_data, page_code, allocation_length };
    Ok(Request::new(cdb.encode()?, Transfer::In(allocation_length.into())))
}

/// READ CAPACITY(16).
#[derive(Clone, Copy, Debug)]
pub struct ReadCapacity16;

impl Operation for ReadCapacity16 {
    type Output = Capacity;

    fn name(&self) -> &'static str {
        "READ CAPACITY(16)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let cdb = Cdb::ReadCapacity16 { allocation_length: 32 };
        Ok(Request::new(cdb.encode()?, Transfer::In(32)))
    }

    fn read(&self, completion: Completion) -> Result<Capacity, CommandError> {
        checked(Capacity::decode_16(&completion.data), self.name())
    }
}

/// READ CAPACITY(10), for devices that do not know the longer one. `None` when the device says that it needs it.
#[derive(Clone, Copy, Debug)]
pub struct ReadCapacity10;

impl Operation for ReadCapacity10 {
    type Output = Capacity;

    fn name(&self) -> &'static str {
        "READ CAPACITY(10)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        Ok(Request::new(Cdb::ReadCapacity10.encode()?, Transfer::In(8)))
    }

    fn read(&self, completion: Completion) -> Result<Capacity, CommandError> {
        checked(Capacity::decode_10(&completion.data), self.name())
    }
}

/// A capacity with which one can reckon.
fn checked(capacity: Option<Capacity>, operation: &'static str) -> Result<Capacity, CommandError> {
    capacity
        .filter(|capacity| capacity.block_len > 0 && capacity.last_lba < u64::MAX)
        .ok_or(CommandError::Unreadable { operation })
}

/// REPORT LUNS, all but well-known logical units.
#[derive(Clone, Copy, Debug)]
pub struct ReportLuns;

impl Operation for ReportLuns {
    type Output = Vec<Lun>;

    fn name(&self) -> &'static str {
        "REPORT LUNS"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let allocation_length = u32::try_from(8 + LUNS_MAX * 8).unwrap_or(u32::MAX);
        let cdb = Cdb::ReportLuns { select_report: 0, allocation_length };
        Ok(Request::new(cdb.encode()?, Transfer::In(allocation_length)))
    }

    fn read(&self, completion: Completion) -> Result<Vec<Lun>, CommandError> {
        let unreadable = CommandError::Unreadable { operation: self.name() };
        let (luns, len) = report_luns::decode(&completion.data).ok_or(unreadable)?;
        let (expected, got) = (u64::from(len), luns.len() as u64 * 8);
        if got < expected {
            return Err(CommandError::Short { operation: self.name(), expected, got });
        }
        Ok(luns)
    }
}

/// READ(16).
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// First block.
    pub lba: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Bytes of one block.
    pub block_len: u32,
    /// Read from the medium, not from a cache.
    pub force_unit_access: bool,
}

impl Read {
    fn len(&self) -> Result<u32, CommandError> {
        let len = u64::from(self.blocks) * u64::from(self.block_len);
        u32::try_from(len).map_err(|_| CommandError::TransferTooLong { operation: self.name(), len })
    }
}

impl Operation for Read {
    type Output = Bytes;

    fn name(&self) -> &'static str {
        "READ(16)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let cdb = Cdb::Read(sixteen(self.lba, self.blocks, self.force_unit_access));
        Ok(Request::new(cdb.encode()?, Transfer::In(self.len()?)))
    }

    fn read(&self, completion: Completion) -> Result<Bytes, CommandError> {
        let (expected, got) = (u64::from(self.len()?), completion.data.len() as u64);
        if got != expected {
            return Err(CommandError::Short { operation: self.name(), expected, got });
        }
        Ok(completion.data)
    }
}

/// WRITE(16).
#[derive(Clone, Debug)]
pub struct Write {
    /// First block.
    pub lba: u64,
    /// Whole blocks.
    pub data: Bytes,
    /// Bytes of one block.
    pub block_len: u32,
    /// Answer only when the data is on stable storage.
    pub force_unit_access: bool,
}

impl Operation for Write {
    type Output = ();

    fn name(&self) -> &'static str {
        "WRITE(16)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let (len, block_len) = (self.data.len() as u64, u64::from(self.block_len));
        if block_len == 0 || !len.is_multiple_of(block_len) {
            return Err(CommandError::PartialBlock { len, block_len: self.block_len });
        }
        let blocks = u32::try_from(len / block_len)
            .map_err(|_| CommandError::TransferTooLong { operation: self.name(), len })?;
        let cdb = Cdb::Write(sixteen(self.lba, blocks, self.force_unit_access));
        Ok(Request::new(cdb.encode()?, Transfer::Out(self.data.clone())))
    }

    fn read(&self, completion: Completion) -> Result<(), CommandError> {
        // GOOD with an underflow: the device took less than it was given.
        match completion.residual {
            lunkeep_common::pdu::scsi_response::Residual::None => Ok(()),
            residual => Err(CommandError::Residual { operation: self.name(), residual }),
        }
    }
}

fn sixteen(lba: u64, blocks: u32, force_unit_access: bool) -> BlockTransfer {
    BlockTransfer { form: Form::Sixteen, lba, blocks, disable_page_out: false, force_unit_access }
}

/// SYNCHRONIZE CACHE(10) of the whole unit; answered when everything that was written is on stable storage.
#[derive(Clone, Copy, Debug)]
pub struct SynchronizeCache;

impl Operation for SynchronizeCache {
    type Output = ();

    fn name(&self) -> &'static str {
        "SYNCHRONIZE CACHE(10)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let fields = SynchronizeCacheFields { form: Form::Ten, lba: 0, blocks: 0, immediate: false };
        Ok(Request::new(Cdb::SynchronizeCache(fields).encode()?, Transfer::None))
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}
