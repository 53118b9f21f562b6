//! Additional sense codes: one table of the codes that this project sends or understands (SPC-4 table D.2).

/// An additional sense code with its qualifier. Written `05/24/00` in conversation, the first number being the sense key,
/// which a code does not fix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asc {
    /// ADDITIONAL SENSE CODE.
    pub code: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub qualifier: u8,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct AscInfo {
    /// The code.
    pub asc: Asc,
    /// The standard's text.
    pub text: &'static str,
    /// Where the standard says when to send it.
    pub clause: &'static str,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $qualifier:literal, $text:literal, $clause:literal;)*) => {
        impl Asc {
            $($(#[$doc])* #[doc = concat!($text, " (", $clause, ").")]
            pub const $name: Self = Self { code: $code, qualifier: $qualifier };)*
        }

        /// Every code with its text, in ascending order.
        pub const TABLE: &[AscInfo] = &[$(AscInfo { asc: Asc::$name, text: $text, clause: $clause }),*];
    };
}

codes! {
    NO_ADDITIONAL_SENSE = 0x00, 0x00, "NO ADDITIONAL SENSE INFORMATION", "SPC-4 §4.5.1";
    NOT_READY_CAUSE_NOT_REPORTABLE = 0x04, 0x00, "LOGICAL UNIT NOT READY, CAUSE NOT REPORTABLE", "SPC-4 §6.47";
    BECOMING_READY = 0x04, 0x01, "LOGICAL UNIT IS IN PROCESS OF BECOMING READY", "SPC-4 §6.47";
    INITIALIZING_COMMAND_REQUIRED = 0x04, 0x02, "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED", "SBC-3 §5.25";
    WRITE_ERROR = 0x0c, 0x00, "WRITE ERROR", "SBC-3 §4.18.1";
    WRITE_ERROR_UNEXPECTED_UNSOLICITED_DATA = 0x0c, 0x0c, "WRITE ERROR - UNEXPECTED UNSOLICITED DATA", "RFC 7143 §11.4.7.2";
    WRITE_ERROR_NOT_ENOUGH_UNSOLICITED_DATA = 0x0c, 0x0d, "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA", "RFC 7143 §11.4.7.2";
    INVALID_FIELD_IN_INFORMATION_UNIT = 0x0e, 0x03, "INVALID FIELD IN COMMAND INFORMATION UNIT", "SPC-4 table D.2";
    UNRECOVERED_READ_ERROR = 0x11, 0x00, "UNRECOVERED READ ERROR", "SBC-3 §4.18.1";
    PARAMETER_LIST_LENGTH_ERROR = 0x1a, 0x00, "PARAMETER LIST LENGTH ERROR", "SPC-4 §4.3.5.6";
    MISCOMPARE_DURING_VERIFY = 0x1d, 0x00, "MISCOMPARE DURING VERIFY OPERATION", "SBC-3 §5.29";
    INVALID_OPERATION_CODE = 0x20, 0x00, "INVALID COMMAND OPERATION CODE", "SPC-4 §4.3.1";
    LBA_OUT_OF_RANGE = 0x21, 0x00, "LOGICAL BLOCK ADDRESS OUT OF RANGE", "SBC-3 §4.5";
    INVALID_FIELD_IN_CDB = 0x24, 0x00, "INVALID FIELD IN CDB", "SPC-4 §4.3.1";
    LOGICAL_UNIT_NOT_SUPPORTED = 0x25, 0x00, "LOGICAL UNIT NOT SUPPORTED", "SAM-5 §5.11";
    INVALID_FIELD_IN_PARAMETER_LIST = 0x26, 0x00, "INVALID FIELD IN PARAMETER LIST", "SPC-4 §4.3.5.6";
    INVALID_RELEASE_OF_PERSISTENT_RESERVATION = 0x26, 0x04, "INVALID RELEASE OF PERSISTENT RESERVATION", "SPC-4 §5.13.11.2.1";
    WRITE_PROTECTED = 0x27, 0x00, "WRITE PROTECTED", "SBC-3 §4.12";
    SPACE_ALLOCATION_FAILED = 0x27, 0x07, "SPACE ALLOCATION FAILED WRITE PROTECT", "SBC-3 §4.7.3.6";
    POWER_ON_RESET = 0x29, 0x00, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED", "SAM-5 §6.2";
    POWER_ON = 0x29, 0x01, "POWER ON OCCURRED", "SAM-5 §6.2";
    SCSI_BUS_RESET = 0x29, 0x02, "SCSI BUS RESET OCCURRED", "SAM-5 §6.2";
    BUS_DEVICE_RESET = 0x29, 0x03, "BUS DEVICE RESET FUNCTION OCCURRED", "SAM-5 §6.2";
    DEVICE_INTERNAL_RESET = 0x29, 0x04, "DEVICE INTERNAL RESET", "SAM-5 §6.2";
    NEXUS_LOSS = 0x29, 0x07, "I_T NEXUS LOSS OCCURRED", "SAM-5 §6.2";
    MODE_PARAMETERS_CHANGED = 0x2a, 0x01, "MODE PARAMETERS CHANGED", "SPC-4 §6.10";
    RESERVATIONS_PREEMPTED = 0x2a, 0x03, "RESERVATIONS PREEMPTED", "SPC-4 §5.13.11.2.8";
    RESERVATIONS_RELEASED = 0x2a, 0x04, "RESERVATIONS RELEASED", "SPC-4 §5.13.11.2.2";
    REGISTRATIONS_PREEMPTED = 0x2a, 0x05, "REGISTRATIONS PREEMPTED", "SPC-4 §5.13.11.2.4";
    CAPACITY_DATA_CHANGED = 0x2a, 0x09, "CAPACITY DATA HAS CHANGED", "SBC-3 §5.16.1";
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = 0x2f, 0x00, "COMMANDS CLEARED BY ANOTHER INITIATOR", "SAM-5 §5.3.3";
    MEDIUM_FORMAT_CORRUPTED = 0x31, 0x00, "MEDIUM FORMAT CORRUPTED", "SBC-3 §4.18.1";
    SAVING_NOT_SUPPORTED = 0x39, 0x00, "SAVING PARAMETERS NOT SUPPORTED", "SPC-4 §6.13.1.4";
    INQUIRY_DATA_CHANGED = 0x3f, 0x03, "INQUIRY DATA HAS CHANGED", "SPC-4 §6.6.1";
    REPORTED_LUNS_CHANGED = 0x3f, 0x0e, "REPORTED LUNS DATA HAS CHANGED", "SPC-4 §6.33";
    INTERNAL_TARGET_FAILURE = 0x44, 0x00, "INTERNAL TARGET FAILURE", "SPC-4 table D.2";
    PERSISTENT_RESERVATION_INFORMATION_LOST = 0x44, 0x01, "PERSISTENT RESERVATION INFORMATION LOST", "SPC-5 §5.14.5.4";
    PROTOCOL_SERVICE_CRC_ERROR = 0x47, 0x05, "PROTOCOL SERVICE CRC ERROR", "RFC 7143 §11.4.7.2";
    INVALID_MESSAGE = 0x49, 0x00, "INVALID MESSAGE ERROR", "SAM-5 §8.6";
    DATA_PHASE_ERROR = 0x4b, 0x00, "DATA PHASE ERROR", "SPC-4 table D.2";
    INVALID_TARGET_PORT_TRANSFER_TAG = 0x4b, 0x01, "INVALID TARGET PORT TRANSFER TAG RECEIVED", "SPC-4 table D.2";
    TOO_MUCH_WRITE_DATA = 0x4b, 0x02, "TOO MUCH WRITE DATA", "SPC-4 table D.2";
    DATA_OFFSET_ERROR = 0x4b, 0x05, "DATA OFFSET ERROR", "SPC-4 table D.2";
    INSUFFICIENT_REGISTRATION_RESOURCES = 0x55, 0x04, "INSUFFICIENT REGISTRATION RESOURCES", "SPC-4 §5.13.7";
}

impl Asc {
    /// The standard's text; `None` for a code that the table does not have.
    #[must_use]
    pub fn text(self) -> Option<&'static str> {
        TABLE.iter().find(|row| row.asc == self).map(|row| row.text)
    }
}

impl std::fmt::Debug for Asc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}/{:02x}", self.code, self.qualifier)?;
        self.text().map_or(Ok(()), |text| write!(f, " {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_without_duplicates() {
        assert!(TABLE.windows(2).all(|pair| pair[0].asc < pair[1].asc));
    }
}
