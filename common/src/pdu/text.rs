//! Text Request and Text Response (RFC 7143 §11.10, §11.11).
//!
//! | bytes | request | response |
//! |---|---|---|
//! | 0 | I, 04h | 24h |
//! | 1 | F (80h), C (40h) | F (80h), C (40h) |
//! | 8-15 | LUN | LUN |
//! | 16-19 | Initiator Task Tag | Initiator Task Tag |
//! | 20-23 | Target Transfer Tag | Target Transfer Tag |
//! | 24-27 | CmdSN | StatSN |
//! | 28-31 | ExpStatSN | ExpCmdSN |
//! | 32-35 | | MaxCmdSN |

use super::error::PduError;
use super::fields::{self, CONTINUE, FINAL, Fields, IMMEDIATE, bit, u32_at};
use super::{Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// Text Request header, opcode 04h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// I bit.
    pub immediate: bool,
    /// F bit: last request of the exchange.
    pub is_final: bool,
    /// C bit: the text goes on in the next request.
    pub continues: bool,
    /// Logical unit, copied from the response when the tag is valid.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag that the target handed out, or reserved in the first request.
    pub ttt: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// Text Response header, opcode 24h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F bit: the exchange is over.
    pub is_final: bool,
    /// C bit: the text goes on in the next response.
    pub continues: bool,
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag for the next request, or reserved in the last response.
    pub ttt: TargetTransferTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}

fn check_flags(pdu: &'static str, bhs: &Bhs) -> Result<(), PduError> {
    if fields::is_final(bhs) && fields::continues(bhs) {
        return Err(PduError::Contradiction { pdu, rule: "F and C are both set (11.10.2, 11.11.2)" });
    }
    Ok(())
}

impl TextRequest {
    /// Opcode on the wire, without the I bit.
    pub const OPCODE: u8 = 0x04;

    /// Reads the header.
    ///
    /// # Errors
    /// F and C together.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        check_flags("Text Request", bhs)?;
        Ok(Self {
            immediate: fields::immediate(bhs),
            is_final: fields::is_final(bhs),
            continues: fields::continues(bhs),
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            cmd_sn: CmdSn(u32_at(bhs, 24)),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        let flags = bit(self.is_final, FINAL) | bit(self.continues, CONTINUE);
        Fields::new(Self::OPCODE | bit(self.immediate, IMMEDIATE), flags)
            .lun(self.lun)
            .itt(self.itt)
            .ttt(self.ttt)
            .u32(24, self.cmd_sn.0)
            .u32(28, self.exp_stat_sn.0)
            .build()
    }
}

impl TextResponse {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x24;

    /// Reads the header.
    ///
    /// # Errors
    /// F and C together.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        check_flags("Text Response", bhs)?;
        Ok(Self {
            is_final: fields::is_final(bhs),
            continues: fields::continues(bhs),
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, bit(self.is_final, FINAL) | bit(self.continues, CONTINUE))
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
    fn request_and_response_stand_at_the_offsets_of_the_standard() {
        let request = TextRequest {
            immediate: true,
            is_final: true,
            continues: false,
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag(0x1415_1617),
            cmd_sn: CmdSn(0x2021_2223),
            exp_stat_sn: StatSn(0x3031_3233),
        };
        let wire = bhs("44800000 0 00010203 04050607 10111213 14151617 20212223 30313233 0 0 0 0");
        assert_eq!(request.encode(), wire);
        assert_eq!(TextRequest::decode(&wire), Ok(request));

        let response = TextResponse {
            is_final: false,
            continues: true,
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag(0x1415_1617),
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
        };
        let wire = bhs("24400000 0 00010203 04050607 10111213 14151617 20212223 30313233 40414243 0 0 0");
        assert_eq!(response.encode(), wire);
        assert_eq!(TextResponse::decode(&wire), Ok(response));
    }

    #[test]
    fn the_last_pdu_cannot_be_continued() {
        let wire = bhs("04c00000 0 0 0 0 0 0 0 0 0 0 0");
        assert!(matches!(
            TextRequest::decode(&wire),
            Err(PduError::Contradiction { pdu: "Text Request", .. })
        ));
        assert!(matches!(
            TextResponse::decode(&wire),
            Err(PduError::Contradiction { pdu: "Text Response", .. })
        ));
    }
}
