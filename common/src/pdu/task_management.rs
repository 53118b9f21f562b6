//! Task Management Function Request and Response (RFC 7143 §11.5, §11.6).
//!
//! | bytes | request | response |
//! |---|---|---|
//! | 0 | I, 02h | 22h |
//! | 1 | 80h, Function (7Fh) | 80h |
//! | 2 | | Response |
//! | 8-15 | LUN | |
//! | 16-19 | Initiator Task Tag | Initiator Task Tag |
//! | 20-23 | Referenced Task Tag | |
//! | 24-27 | CmdSN | StatSN |
//! | 28-31 | ExpStatSN | ExpCmdSN |
//! | 32-35 | RefCmdSN | MaxCmdSN |
//! | 36-39 | ExpDataSN | |

use super::error::PduError;
use super::fields::{self, FINAL, Fields, IMMEDIATE, bit, u32_at};
use super::{Bhs, InitiatorTaskTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, DataSn, StatSn};

/// Function code (RFC 7143 §11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskManagementFunction {
    /// 1
    AbortTask,
    /// 2
    AbortTaskSet,
    /// 3
    ClearAca,
    /// 4
    ClearTaskSet,
    /// 5
    LogicalUnitReset,
    /// 6
    TargetWarmReset,
    /// 7
    TargetColdReset,
    /// 8
    TaskReassign,
    /// 9 and others: RFC 7144 functions and codes without a meaning here.
    Other(u8),
}

/// Response code (RFC 7143 §11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TaskManagementResult {
    /// Function complete.
    FunctionComplete = 0,
    /// Task does not exist.
    TaskDoesNotExist = 1,
    /// LUN does not exist.
    LunDoesNotExist = 2,
    /// Task still allegiant.
    TaskStillAllegiant = 3,
    /// Task allegiance reassignment not supported.
    ReassignmentNotSupported = 4,
    /// Task management function not supported.
    NotSupported = 5,
    /// Function authorization failed.
    AuthorizationFailed = 6,
    /// Function rejected.
    Rejected = 255,
}

/// Task Management Function Request header, opcode 02h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// I bit.
    pub immediate: bool,
    /// Function.
    pub function: TaskManagementFunction,
    /// Logical unit, for the functions that have one.
    pub lun: Lun,
    /// Initiator task tag of this request.
    pub itt: InitiatorTaskTag,
    /// Task to abort or reassign; reserved otherwise.
    pub referenced_task_tag: InitiatorTaskTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// CmdSN of the task to abort (RefCmdSN).
    pub ref_cmd_sn: CmdSn,
    /// ExpDataSN for TASK REASSIGN.
    pub exp_data_sn: DataSn,
}

/// Task Management Function Response header, opcode 22h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// Result.
    pub response: TaskManagementResult,
    /// Initiator task tag of the request.
    pub itt: InitiatorTaskTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}

impl TaskManagementFunction {
    /// The function of a code of seven bits; codes without a meaning here become [`Self::Other`].
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code & 0x7f {
            1 => Self::AbortTask,
            2 => Self::AbortTaskSet,
            3 => Self::ClearAca,
            4 => Self::ClearTaskSet,
            5 => Self::LogicalUnitReset,
            6 => Self::TargetWarmReset,
            7 => Self::TargetColdReset,
            8 => Self::TaskReassign,
            other => Self::Other(other),
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::AbortTask => 1,
            Self::AbortTaskSet => 2,
            Self::ClearAca => 3,
            Self::ClearTaskSet => 4,
            Self::LogicalUnitReset => 5,
            Self::TargetWarmReset => 6,
            Self::TargetColdReset => 7,
            Self::TaskReassign => 8,
            Self::Other(code) => code & 0x7f,
        }
    }
}

impl TaskManagementResult {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::FunctionComplete,
            1 => Self::TaskDoesNotExist,
            2 => Self::LunDoesNotExist,
            3 => Self::TaskStillAllegiant,
            4 => Self::ReassignmentNotSupported,
            5 => Self::NotSupported,
            6 => Self::AuthorizationFailed,
            255 => Self::Rejected,
            _ => return None,
        })
    }
}

impl TaskManagementRequest {
    /// Opcode on the wire, without the I bit.
    pub const OPCODE: u8 = 0x02;

    /// Reads the header. An unknown function is for the session to answer (response 5), not a malformed PDU.
    #[must_use]
    pub fn decode(bhs: &Bhs) -> Self {
        Self {
            immediate: fields::immediate(bhs),
            function: TaskManagementFunction::from_code(bhs[1]),
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            referenced_task_tag: InitiatorTaskTag(u32_at(bhs, 20)),
            cmd_sn: CmdSn(u32_at(bhs, 24)),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
            ref_cmd_sn: CmdSn(u32_at(bhs, 32)),
            exp_data_sn: DataSn(u32_at(bhs, 36)),
        }
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE | bit(self.immediate, IMMEDIATE), FINAL | self.function.code())
            .lun(self.lun)
            .itt(self.itt)
            .u32(20, self.referenced_task_tag.0)
            .u32(24, self.cmd_sn.0)
            .u32(28, self.exp_stat_sn.0)
            .u32(32, self.ref_cmd_sn.0)
            .u32(36, self.exp_data_sn.0)
            .build()
    }
}

impl TaskManagementResponse {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x22;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined Response.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        Ok(Self {
            response: TaskManagementResult::from_byte(bhs[2]).ok_or(PduError::UndefinedValue {
                pdu: "Task Management Function Response",
                field: "Response",
                value: bhs[2].into(),
            })?,
            itt: fields::itt(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
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
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    #[test]
    fn a_request_stands_at_the_offsets_of_the_standard() {
        let request = TaskManagementRequest {
            immediate: true,
            function: TaskManagementFunction::AbortTask,
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            referenced_task_tag: InitiatorTaskTag(0x2021_2223),
            cmd_sn: CmdSn(0x3031_3233),
            exp_stat_sn: StatSn(0x4041_4243),
            ref_cmd_sn: CmdSn(0x5051_5253),
            exp_data_sn: DataSn(0x6061_6263),
        };
        let wire =
            bhs("42810000 0 00010203 04050607 10111213 20212223 30313233 40414243 50515253 60616263 0 0");
        assert_eq!(request.encode(), wire);
        assert_eq!(TaskManagementRequest::decode(&wire), request);
    }

    #[test]
    fn every_function_code_survives() {
        for code in 0..=0x7f {
            assert_eq!(TaskManagementFunction::from_code(0x80 | code).code(), code, "the top bit is F");
        }
    }

    #[test]
    fn a_response_stands_at_the_offsets_of_the_standard() {
        let response = TaskManagementResponse {
            response: TaskManagementResult::Rejected,
            itt: InitiatorTaskTag(0x1011_1213),
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
        };
        let wire = bhs("2280ff00 0 0 0 10111213 0 20212223 30313233 40414243 0 0 0");
        assert_eq!(response.encode(), wire);
        assert_eq!(TaskManagementResponse::decode(&wire), Ok(response));
    }

    #[test]
    fn an_undefined_response_code_is_an_error() {
        let wire = bhs("22800700 0 0 0 0 0 0 0 0 0 0 0");
        let error = undefined("Task Management Function Response", "Response", 7);
        assert_eq!(TaskManagementResponse::decode(&wire), Err(error));
    }
}
