//! Asynchronous Message (RFC 7143 §11.9).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 32h |
//! | 1 | 80h |
//! | 8-15 | LUN |
//! | 16-19 | FFFFFFFFh |
//! | 24-27 | StatSN |
//! | 28-31 | ExpCmdSN |
//! | 32-35 | MaxCmdSN |
//! | 36 | AsyncEvent |
//! | 37 | AsyncVCode |
//! | 38-39 | Parameter1 |
//! | 40-41 | Parameter2 |
//! | 42-43 | Parameter3 |

use super::fields::{self, FINAL, Fields, u16_at, u32_at};
use super::{Bhs, InitiatorTaskTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// What happened (RFC 7143 §11.9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncEvent {
    /// 0: a SCSI asynchronous event; sense data follows.
    ScsiEvent,
    /// 1: the target asks for a logout within `parameter3` seconds.
    LogoutRequested,
    /// 2: the target drops connection `parameter1`.
    ConnectionDropped,
    /// 3: the target drops all connections of the session.
    SessionDropped,
    /// 4: the target asks for parameter negotiation.
    NegotiationRequested,
    /// 5: all active tasks of the logical unit end (RFC 7143 §4.2.3.4, FastAbort).
    TasksTerminated,
    /// 255, vendor specific, and codes without a meaning here.
    Vendor(u8),
}

/// Asynchronous Message header, opcode 32h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// Event.
    pub event: AsyncEvent,
    /// AsyncVCode.
    pub vendor_code: u8,
    /// Logical unit.
    pub lun: Lun,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// Parameter1.
    pub parameter1: u16,
    /// Parameter2: Time2Wait in seconds for events 2 and 3.
    pub parameter2: u16,
    /// Parameter3: seconds.
    pub parameter3: u16,
}

impl AsyncEvent {
    /// The event of a code; codes that RFC 7143 does not define become [`Self::Vendor`], to be logged and ignored.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::ScsiEvent,
            1 => Self::LogoutRequested,
            2 => Self::ConnectionDropped,
            3 => Self::SessionDropped,
            4 => Self::NegotiationRequested,
            5 => Self::TasksTerminated,
            other => Self::Vendor(other),
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::ScsiEvent => 0,
            Self::LogoutRequested => 1,
            Self::ConnectionDropped => 2,
            Self::SessionDropped => 3,
            Self::NegotiationRequested => 4,
            Self::TasksTerminated => 5,
            Self::Vendor(code) => code,
        }
    }
}

impl AsyncMessage {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x32;

    /// Reads the header. Every value of every field has a meaning.
    #[must_use]
    pub fn decode(bhs: &Bhs) -> Self {
        Self {
            event: AsyncEvent::from_code(bhs[36]),
            vendor_code: bhs[37],
            lun: fields::lun(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            parameter1: u16_at(bhs, 38),
            parameter2: u16_at(bhs, 40),
            parameter3: u16_at(bhs, 42),
        }
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, FINAL)
            .lun(self.lun)
            .itt(InitiatorTaskTag::RESERVED)
            .u32(24, self.stat_sn.0)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u8(36, self.event.code())
            .u8(37, self.vendor_code)
            .u16(38, self.parameter1)
            .u16(40, self.parameter2)
            .u16(42, self.parameter3)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bhs;
    use super::*;

    #[test]
    fn a_message_stands_at_the_offsets_of_the_standard() {
        let message = AsyncMessage {
            event: AsyncEvent::SessionDropped,
            vendor_code: 0x77,
            lun: Lun(0x0001_0203_0405_0607),
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            parameter1: 0x0102,
            parameter2: 0x0304,
            parameter3: 0x0506,
        };
        let wire =
            bhs("32800000 0 00010203 04050607 ffffffff 0 20212223 30313233 40414243 03770102 03040506 0");
        assert_eq!(message.encode(), wire);
        assert_eq!(AsyncMessage::decode(&wire), message);
    }

    #[test]
    fn every_event_code_survives() {
        assert!((0..=255).all(|code| AsyncEvent::from_code(code).code() == code));
    }
}
