//! SCSI status codes (SAM-5 §5.3.1).

/// The status byte that ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Completed without error.
    Good = 0x00,
    /// Sense data says what happened.
    CheckCondition = 0x02,
    /// PRE-FETCH found all blocks in the cache, and similar.
    ConditionMet = 0x04,
    /// The logical unit cannot take the command now.
    Busy = 0x08,
    /// The command conflicts with a reservation.
    ReservationConflict = 0x18,
    /// No more tasks fit in the task set.
    TaskSetFull = 0x28,
    /// An auto contingent allegiance is in effect.
    AcaActive = 0x30,
    /// Aborted by another nexus while TAS is one.
    TaskAborted = 0x40,
}

impl Status {
    /// The status of a wire byte; `None` for a value that SAM-5 does not define.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        use Status::*;
        [Good, CheckCondition, ConditionMet, Busy, ReservationConflict, TaskSetFull, AcaActive, TaskAborted]
            .into_iter()
            .find(|&status| status as u8 == byte)
    }
}
