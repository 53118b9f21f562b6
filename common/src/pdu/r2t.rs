//! Ready To Transfer (RFC 7143 §11.8).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 31h |
//! | 1 | 80h |
//! | 8-15 | LUN |
//! | 16-19 | Initiator Task Tag |
//! | 20-23 | Target Transfer Tag |
//! | 24-27 | StatSN |
//! | 28-31 | ExpCmdSN |
//! | 32-35 | MaxCmdSN |
//! | 36-39 | R2TSN |
//! | 40-43 | Buffer Offset |
//! | 44-47 | Desired Data Transfer Length |

use super::error::PduError;
use super::fields::{self, FINAL, Fields, u32_at};
use super::{Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, R2tSn, StatSn};

/// R2T header, opcode 31h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2t {
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag that the Data-Out PDUs must carry; never reserved.
    pub ttt: TargetTransferTag,
    /// The next StatSN; not consumed.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// R2TSN.
    pub r2t_sn: R2tSn,
    /// Buffer offset in bytes.
    pub buffer_offset: u32,
    /// Desired Data Transfer Length in bytes: above 0, at most MaxBurstLength.
    pub desired_data_transfer_length: u32,
}

const NAME: &str = "Ready To Transfer";

impl R2t {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x31;

    /// Reads the header.
    ///
    /// # Errors
    /// A reserved Target Transfer Tag (RFC 7143 §11.8.5); a length of zero (RFC 7143 §11.8.4).
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        let r2t = Self {
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            r2t_sn: R2tSn(u32_at(bhs, 36)),
            buffer_offset: u32_at(bhs, 40),
            desired_data_transfer_length: u32_at(bhs, 44),
        };
        if r2t.ttt == TargetTransferTag::RESERVED {
            return Err(PduError::UndefinedValue {
                pdu: NAME,
                field: "Target Transfer Tag",
                value: u32::MAX,
            });
        }
        if r2t.desired_data_transfer_length == 0 {
            let rule = "Desired Data Transfer Length is 0 (11.8.4)";
            return Err(PduError::Contradiction { pdu: NAME, rule });
        }
        Ok(r2t)
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, FINAL)
            .lun(self.lun)
            .itt(self.itt)
            .ttt(self.ttt)
            .u32(24, self.stat_sn.0)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u32(36, self.r2t_sn.0)
            .u32(40, self.buffer_offset)
            .u32(44, self.desired_data_transfer_length)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    #[test]
    fn an_r2t_stands_at_the_offsets_of_the_standard() {
        let r2t = R2t {
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag(0x1415_1617),
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            r2t_sn: R2tSn(5),
            buffer_offset: 0x5051_5253,
            desired_data_transfer_length: 0x6061_6263,
        };
        let wire = bhs(
            "31800000 0 00010203 04050607 10111213 14151617 20212223 30313233 40414243 00000005 50515253 60616263",
        );
        assert_eq!(r2t.encode(), wire);
        assert_eq!(R2t::decode(&wire), Ok(r2t.clone()));

        let empty = R2t { desired_data_transfer_length: 0, ..r2t.clone() }.encode();
        assert!(matches!(R2t::decode(&empty), Err(PduError::Contradiction { .. })));
        let untagged = R2t { ttt: TargetTransferTag::RESERVED, ..r2t }.encode();
        assert_eq!(R2t::decode(&untagged), Err(undefined(NAME, "Target Transfer Tag", u32::MAX)));
    }
}
