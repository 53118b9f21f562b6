//! Why an operation has no result although the session is fine.

use lunkeep_common::pdu::scsi_response::Residual;
use lunkeep_common::scsi::asc::Asc;
use lunkeep_common::scsi::cdb::FieldOverflow;
use lunkeep_common::scsi::{Sense, SenseKey, Status};

/// What the device answered, or why it was not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The device ended the command with another status than GOOD.
    #[error("{operation} ended with {status:?}{}", sense.as_ref().map_or_else(String::new, |sense| format!(": {sense}")))]
    Status {
        /// The command.
        operation: &'static str,
        /// Its status.
        status: Status,
        /// Why; with CHECK CONDITION only, and only if it can be read.
        sense: Option<Sense>,
    },
    /// GOOD with less data than asked for. At fault: the device.
    #[error("{operation} ended well, but brought {got} of {expected} bytes")]
    Short {
        /// The command.
        operation: &'static str,
        /// Bytes asked for.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// GOOD, but not all data was taken. At fault: the device.
    #[error("{operation} ended well, but not with all of its data: {residual:?}")]
    Residual {
        /// The command.
        operation: &'static str,
        /// What the device said.
        residual: Residual,
    },
    /// The data is not what the command returns. At fault: the device.
    #[error("{operation} brought data that cannot be read")]
    Unreadable {
        /// The command.
        operation: &'static str,
    },
    /// A value does not fit the command. At fault: our caller.
    #[error(transparent)]
    Field(#[from] FieldOverflow),
    /// More data than a command can have. At fault: our caller.
    #[error("{operation} of {len} bytes is too long for one command")]
    TransferTooLong {
        /// The command.
        operation: &'static str,
        /// Bytes asked for.
        len: u64,
    },
    /// Data that is not whole blocks. At fault: our caller.
    #[error("{len} bytes are not whole blocks of {block_len} bytes")]
    PartialBlock {
        /// Bytes given.
        len: u64,
        /// Bytes of one block.
        block_len: u32,
    },
}

impl CommandError {
    /// The code of a unit attention: something changed, and the command was not processed.
    #[must_use]
    pub fn unit_attention(&self) -> Option<Asc> {
        match self {
            Self::Status { sense: Some(sense), .. } if sense.key == SenseKey::UnitAttention => {
                Some(sense.asc)
            }
            _ => None,
        }
    }

    /// Whether a reservation stands against the command.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Status { status: Status::ReservationConflict, .. })
    }

    /// Whether the device says that it has no such command, or no such form of it.
    #[must_use]
    pub fn is_not_supported(&self) -> bool {
        match self {
            Self::Status { sense: Some(sense), .. } => {
                sense.key == SenseKey::IllegalRequest
                    && [Asc::INVALID_OPERATION_CODE, Asc::INVALID_FIELD_IN_CDB].contains(&sense.asc)
            }
            _ => false,
        }
    }

    /// Whether the device had no room for the command now and did nothing.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Status { status: Status::Busy | Status::TaskSetFull, .. })
    }
}
