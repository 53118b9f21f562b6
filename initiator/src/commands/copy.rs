//! Third-party copy: EXTENDED COPY(LID1), the token commands, and what became of them.

use lunkeep_common::scsi::Cdb;
use lunkeep_common::scsi::third_party_copy::{
    ExtendedCopyList, OperatingParameters, PopulateTokenList, RodTokenInformation, TransferCount,
    WriteUsingTokenList,
};

use super::error::CommandError;
use super::operations::Operation;
use super::request::{Completion, Request, Transfer};

/// Bytes that are asked for of what RECEIVE COPY returns; a token with its frame has 550.
const ALLOCATION: u32 = 1024;

/// A command that sends a list.
fn with_list(
    operation: &'static str,
    list: Vec<u8>,
    cdb: impl FnOnce(u32) -> Cdb,
) -> Result<Request, CommandError> {
    let len = list.len() as u64;
    let parameter_list_length =
        u32::try_from(len).map_err(|_| CommandError::TransferTooLong { operation, len })?;
    Ok(Request::new(cdb(parameter_list_length).encode()?, Transfer::Out(list.into())))
}

fn received(cdb: Cdb) -> Result<Request, CommandError> {
    Ok(Request::new(cdb.encode()?, Transfer::In(ALLOCATION)))
}

/// EXTENDED COPY(LID1); GOOD when all its segments are copied.
#[derive(Clone, Debug)]
pub struct ExtendedCopy(pub ExtendedCopyList);

impl Operation for ExtendedCopy {
    type Output = ();

    fn name(&self) -> &'static str {
        "EXTENDED COPY(LID1)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let cdb = |parameter_list_length| Cdb::ExtendedCopy { parameter_list_length };
        with_list(self.name(), self.0.encode(), cdb)
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

/// RECEIVE COPY OPERATING PARAMETERS: the limits of EXTENDED COPY.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveCopyOperatingParameters;

impl Operation for ReceiveCopyOperatingParameters {
    type Output = OperatingParameters;

    fn name(&self) -> &'static str {
        "RECEIVE COPY OPERATING PARAMETERS"
    }

    fn request(&self) -> Result<Request, CommandError> {
        received(Cdb::ReceiveCopyOperatingParameters { allocation_length: ALLOCATION })
    }

    fn read(&self, completion: Completion) -> Result<OperatingParameters, CommandError> {
        let parameters = OperatingParameters::decode(&completion.data);
        parameters.ok_or(CommandError::Unreadable { operation: self.name() })
    }
}

/// RECEIVE COPY STATUS(LID1): how far the copy with this list identifier is, or was.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveCopyStatus(pub u8);

impl Operation for ReceiveCopyStatus {
    type Output = TransferCount;

    fn name(&self) -> &'static str {
        "RECEIVE COPY STATUS(LID1)"
    }

    fn request(&self) -> Result<Request, CommandError> {
        received(Cdb::ReceiveCopyStatus { list_identifier: self.0, allocation_length: ALLOCATION })
    }

    fn read(&self, completion: Completion) -> Result<TransferCount, CommandError> {
        let status = TransferCount::decode(&completion.data);
        status.ok_or(CommandError::Unreadable { operation: self.name() })
    }
}

/// POPULATE TOKEN; [`ReceiveRodTokenInformation`] brings the token.
#[derive(Clone, Debug)]
pub struct PopulateToken {
    /// LIST IDENTIFIER.
    pub list_identifier: u32,
    /// What the token is to stand for.
    pub list: PopulateTokenList,
}

impl Operation for PopulateToken {
    type Output = ();

    fn name(&self) -> &'static str {
        "POPULATE TOKEN"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let list_identifier = self.list_identifier;
        let cdb = |parameter_list_length| Cdb::PopulateToken { list_identifier, parameter_list_length };
        with_list(self.name(), self.list.encode(), cdb)
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

/// WRITE USING TOKEN; [`ReceiveRodTokenInformation`] tells how much was written.
#[derive(Clone, Debug)]
pub struct WriteUsingToken {
    /// LIST IDENTIFIER.
    pub list_identifier: u32,
    /// The token, and where to.
    pub list: WriteUsingTokenList,
}

impl Operation for WriteUsingToken {
    type Output = ();

    fn name(&self) -> &'static str {
        "WRITE USING TOKEN"
    }

    fn request(&self) -> Result<Request, CommandError> {
        let list_identifier = self.list_identifier;
        let cdb = |parameter_list_length| Cdb::WriteUsingToken { list_identifier, parameter_list_length };
        with_list(self.name(), self.list.encode(), cdb)
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

/// RECEIVE ROD TOKEN INFORMATION of the token command with this list identifier.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveRodTokenInformation(pub u32);

impl Operation for ReceiveRodTokenInformation {
    type Output = RodTokenInformation;

    fn name(&self) -> &'static str {
        "RECEIVE ROD TOKEN INFORMATION"
    }

    fn request(&self) -> Result<Request, CommandError> {
        received(Cdb::ReceiveRodTokenInformation { list_identifier: self.0, allocation_length: ALLOCATION })
    }

    fn read(&self, completion: Completion) -> Result<RodTokenInformation, CommandError> {
        let information = RodTokenInformation::decode(&completion.data);
        information.ok_or(CommandError::Unreadable { operation: self.name() })
    }
}
