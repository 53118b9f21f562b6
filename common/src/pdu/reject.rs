//! Reject (RFC 7143 §11.17). The data segment is the header of the PDU that is rejected.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 3Fh |
//! | 1 | 80h |
//! | 2 | Reason |
//! | 16-19 | FFFFFFFFh |
//! | 24-27 | StatSN |
//! | 28-31 | ExpCmdSN |
//! | 32-35 | MaxCmdSN |
//! | 36-39 | DataSN or R2TSN |

use super::error::PduError;
use super::fields::{FINAL, Fields, u32_at};
use super::{Bhs, InitiatorTaskTag};
use crate::serial::{CmdSn, DataSn, StatSn};

/// Why a PDU is rejected (RFC 7143 §11.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RejectReason {
    /// Data (payload) digest error.
    DataDigestError = 0x02,
    /// SNACK reject.
    SnackReject = 0x03,
    /// Protocol error.
    ProtocolError = 0x04,
    /// Command not supported.
    CommandNotSupported = 0x05,
    /// Immediate command reject: too many immediate commands.
    ImmediateCommandReject = 0x06,
    /// Task in progress.
    TaskInProgress = 0x07,
    /// Invalid data ACK.
    InvalidDataAck = 0x08,
    /// Invalid PDU field.
    InvalidPduField = 0x09,
    /// Long operation reject: out of resources now.
    LongOperationReject = 0x0a,
    /// Deprecated: negotiation reset.
    NegotiationReset = 0x0b,
    /// Waiting for logout.
    WaitingForLogout = 0x0c,
}

/// Reject header, opcode 3Fh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Reason.
    pub reason: RejectReason,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// DataSN or R2TSN that the target expects next, for a rejected DataACK.
    pub data_sn: DataSn,
}

impl RejectReason {
    /// Every reason of RFC 7143 §11.17.1.
    pub const ALL: [Self; 11] = [
        Self::DataDigestError,
        Self::SnackReject,
        Self::ProtocolError,
        Self::CommandNotSupported,
        Self::ImmediateCommandReject,
        Self::TaskInProgress,
        Self::InvalidDataAck,
        Self::InvalidPduField,
        Self::LongOperationReject,
        Self::NegotiationReset,
        Self::WaitingForLogout,
    ];
}

impl Reject {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x3f;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined reason.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        let reason = RejectReason::ALL.into_iter().find(|&reason| reason as u8 == bhs[2]);
        Ok(Self {
            reason: reason.ok_or(PduError::UndefinedValue {
                pdu: "Reject",
                field: "Reason",
                value: bhs[2].into(),
            })?,
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            data_sn: DataSn(u32_at(bhs, 36)),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, FINAL)
            .u8(2, self.reason as u8)
            .itt(InitiatorTaskTag::RESERVED)
            .u32(24, self.stat_sn.0)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u32(36, self.data_sn.0)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    #[test]
    fn a_reject_stands_at_the_offsets_of_the_standard() {
        let reject = Reject {
            reason: RejectReason::InvalidPduField,
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            data_sn: DataSn(0x5051_5253),
        };
        let wire = bhs("3f800900 0 0 0 ffffffff 0 20212223 30313233 40414243 50515253 0 0");
        assert_eq!(reject.encode(), wire);
        assert_eq!(Reject::decode(&wire), Ok(reject));
    }

    #[test]
    fn exactly_the_reasons_of_the_standard_decode() {
        for byte in 0..=255 {
            let mut wire = bhs("3f800000 0 0 0 ffffffff 0 0 0 0 0 0 0");
            wire[2] = byte;
            match Reject::decode(&wire) {
                Ok(reject) => assert_eq!(reject.reason as u8, byte),
                Err(error) => {
                    assert!(!(0x02..=0x0c).contains(&byte));
                    assert_eq!(error, undefined("Reject", "Reason", byte.into()));
                }
            }
        }
    }
}
