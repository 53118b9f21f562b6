//! NOP-Out and NOP-In (RFC 7143 §11.18, §11.19).
//!
//! | bytes | NOP-Out | NOP-In |
//! |---|---|---|
//! | 0 | I, 00h | 20h |
//! | 1 | 80h | 80h |
//! | 8-15 | LUN | LUN |
//! | 16-19 | Initiator Task Tag | Initiator Task Tag |
//! | 20-23 | Target Transfer Tag | Target Transfer Tag |
//! | 24-27 | CmdSN | StatSN |
//! | 28-31 | ExpStatSN | ExpCmdSN |
//! | 32-35 | | MaxCmdSN |

use super::fields::{self, FINAL, Fields, IMMEDIATE, bit, u32_at};
use super::{Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// NOP-Out header, opcode 00h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// I bit.
    pub immediate: bool,
    /// Logical unit, copied from the NOP-In that is answered.
    pub lun: Lun,
    /// Task tag when an answer is wanted; reserved otherwise.
    pub itt: InitiatorTaskTag,
    /// Tag of the NOP-In that is answered; reserved otherwise.
    pub ttt: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// NOP-In header, opcode 20h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Logical unit, to be copied into the NOP-Out.
    pub lun: Lun,
    /// Task tag of the NOP-Out that is answered; reserved otherwise.
    pub itt: InitiatorTaskTag,
    /// Tag when an answer is wanted; reserved otherwise.
    pub ttt: TargetTransferTag,
    /// StatSN: consumed only when a NOP-Out is answered.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}

impl NopOut {
    /// Opcode on the wire, without the I bit.
    pub const OPCODE: u8 = 0x00;

    /// Reads the header. Every value of every field has a meaning.
    #[must_use]
    pub fn decode(bhs: &Bhs) -> Self {
        Self {
            immediate: fields::immediate(bhs),
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            cmd_sn: CmdSn(u32_at(bhs, 24)),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
        }
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE | bit(self.immediate, IMMEDIATE), FINAL)
            .lun(self.lun)
            .itt(self.itt)
            .ttt(self.ttt)
            .u32(24, self.cmd_sn.0)
            .u32(28, self.exp_stat_sn.0)
            .build()
    }
}

impl NopIn {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x20;

    /// Reads the header. Every value of every field has a meaning.
    #[must_use]
    pub fn decode(bhs: &Bhs) -> Self {
        Self {
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
        }
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
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bhs;
    use super::*;

    #[test]
    fn a_ping_and_its_echo_stand_at_the_offsets_of_the_standard() {
        let out = NopOut {
            immediate: true,
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag::RESERVED,
            cmd_sn: CmdSn(0x2021_2223),
            exp_stat_sn: StatSn(0x3031_3233),
        };
        let wire = bhs("40800000 00000000 00010203 04050607 10111213 ffffffff 20212223 30313233 0 0 0 0");
        assert_eq!(out.encode(), wire);
        assert_eq!(NopOut::decode(&wire), out);

        let reply = NopIn {
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
        };
        let wire =
            bhs("20800000 00000000 00010203 04050607 10111213 ffffffff 20212223 30313233 40414243 0 0 0");
        assert_eq!(reply.encode(), wire);
        assert_eq!(NopIn::decode(&wire), reply);
    }
}
