//! Logout Request and Logout Response (RFC 7143 §11.14, §11.15).
//!
//! | bytes | request | response |
//! |---|---|---|
//! | 0 | I, 06h | 26h |
//! | 1 | 80h, Reason Code (7Fh) | 80h |
//! | 2 | | Response |
//! | 16-19 | Initiator Task Tag | Initiator Task Tag |
//! | 20-21 | CID | |
//! | 24-27 | CmdSN | StatSN |
//! | 28-31 | ExpStatSN | ExpCmdSN |
//! | 32-35 | | MaxCmdSN |
//! | 40-41 | | Time2Wait |
//! | 42-43 | | Time2Retain |

use super::error::PduError;
use super::fields::{self, FINAL, Fields, IMMEDIATE, bit, u16_at, u32_at};
use super::{Bhs, InitiatorTaskTag};
use crate::name::Cid;
use crate::serial::{CmdSn, StatSn};

/// Why an initiator logs out (RFC 7143 §11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogoutReason {
    /// Close the session.
    CloseSession = 0,
    /// Close one connection.
    CloseConnection = 1,
    /// Remove one connection for recovery.
    RemoveForRecovery = 2,
}

/// Answer to a logout (RFC 7143 §11.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogoutResult {
    /// Closed.
    Closed = 0,
    /// CID not found.
    CidNotFound = 1,
    /// Connection recovery is not supported.
    RecoveryNotSupported = 2,
    /// Cleanup failed.
    CleanupFailed = 3,
}

/// Logout Request header, opcode 06h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// I bit.
    pub immediate: bool,
    /// Reason.
    pub reason: LogoutReason,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// The connection to close; meaningful unless the session is closed.
    pub cid: Cid,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// Logout Response header, opcode 26h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// Result.
    pub response: LogoutResult,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Time2Wait in seconds.
    pub time2wait: u16,
    /// Time2Retain in seconds.
    pub time2retain: u16,
}

impl LogoutRequest {
    /// Opcode on the wire, without the I bit.
    pub const OPCODE: u8 = 0x06;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined reason code.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        Ok(Self {
            immediate: fields::immediate(bhs),
            reason: match bhs[1] & 0x7f {
                0 => LogoutReason::CloseSession,
                1 => LogoutReason::CloseConnection,
                2 => LogoutReason::RemoveForRecovery,
                code => {
                    let (pdu, field) = ("Logout Request", "Reason Code");
                    return Err(PduError::UndefinedValue { pdu, field, value: code.into() });
                }
            },
            itt: fields::itt(bhs),
            cid: Cid(u16_at(bhs, 20)),
            cmd_sn: CmdSn(u32_at(bhs, 24)),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE | bit(self.immediate, IMMEDIATE), FINAL | self.reason as u8)
            .itt(self.itt)
            .u16(20, self.cid.0)
            .u32(24, self.cmd_sn.0)
            .u32(28, self.exp_stat_sn.0)
            .build()
    }
}

impl LogoutResponse {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x26;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined Response.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        Ok(Self {
            response: match bhs[2] {
                0 => LogoutResult::Closed,
                1 => LogoutResult::CidNotFound,
                2 => LogoutResult::RecoveryNotSupported,
                3 => LogoutResult::CleanupFailed,
                code => {
                    let (pdu, field) = ("Logout Response", "Response");
                    return Err(PduError::UndefinedValue { pdu, field, value: code.into() });
                }
            },
            itt: fields::itt(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            time2wait: u16_at(bhs, 40),
            time2retain: u16_at(bhs, 42),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, FINAL)
            .u8(2, self.response as u8)
            .itt(self.itt)
            .u32(24, self.stat_sn.0)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u16(40, self.time2wait)
            .u16(42, self.time2retain)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    #[test]
    fn request_and_response_stand_at_the_offsets_of_the_standard() {
        let request = LogoutRequest {
            immediate: true,
            reason: LogoutReason::RemoveForRecovery,
            itt: InitiatorTaskTag(0x1011_1213),
            cid: Cid(0x1415),
            cmd_sn: CmdSn(0x2021_2223),
            exp_stat_sn: StatSn(0x3031_3233),
        };
        let wire = bhs("46820000 0 0 0 10111213 14150000 20212223 30313233 0 0 0 0");
        assert_eq!(request.encode(), wire);
        assert_eq!(LogoutRequest::decode(&wire), Ok(request));

        let response = LogoutResponse {
            response: LogoutResult::CleanupFailed,
            itt: InitiatorTaskTag(0x1011_1213),
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            time2wait: 0x5051,
            time2retain: 0x5253,
        };
        let wire = bhs("26800300 0 0 0 10111213 0 20212223 30313233 40414243 0 50515253 0");
        assert_eq!(response.encode(), wire);
        assert_eq!(LogoutResponse::decode(&wire), Ok(response));
    }

    #[test]
    fn undefined_codes_are_named() {
        let wire = bhs("06830400 0 0 0 0 0 0 0 0 0 0 0");
        assert_eq!(LogoutRequest::decode(&wire), Err(undefined("Logout Request", "Reason Code", 3)));
        assert_eq!(LogoutResponse::decode(&wire), Err(undefined("Logout Response", "Response", 4)));
    }
}
