//! SCSI Data-In (RFC 7143 §11.7).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 25h |
//! | 1 | F (80h), A (40h), O (04h), U (02h), S (01h) |
//! | 3 | Status |
//! | 8-15 | LUN |
//! | 16-19 | Initiator Task Tag |
//! | 20-23 | Target Transfer Tag |
//! | 24-27 | StatSN |
//! | 28-31 | ExpCmdSN |
//! | 32-35 | MaxCmdSN |
//! | 36-39 | DataSN |
//! | 40-43 | Buffer Offset |
//! | 44-47 | Residual Count |

use super::error::PduError;
use super::fields::{self, CONTINUE, FINAL, Fields, bit, u32_at};
use super::scsi_response::{OVERFLOW, Residual, UNDERFLOW};
use super::{Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::{Lun, Status};
use crate::serial::{CmdSn, DataSn, StatSn};

/// Status that the last Data-In carries in place of a SCSI Response (RFC 7143 §11.7.3): never CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataInStatus {
    /// SCSI status.
    pub status: Status,
    /// Residual.
    pub residual: Residual,
}

/// SCSI Data-In header, opcode 25h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// F bit: last PDU of this sequence.
    pub is_final: bool,
    /// A bit: the target asks for a DataACK SNACK (error recovery level 1 and up).
    pub acknowledge: bool,
    /// S bit with its status; StatSN is meaningful only then.
    pub status: Option<DataInStatus>,
    /// Logical unit; set when `acknowledge` is.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag for the DataACK; reserved when `acknowledge` is not set.
    pub ttt: TargetTransferTag,
    /// StatSN; 0 on the wire and here when there is no status.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// DataSN.
    pub data_sn: DataSn,
    /// Buffer offset in bytes.
    pub buffer_offset: u32,
}

/// S bit.
const STATUS: u8 = 0x01;
const NAME: &str = "SCSI Data-In";

impl DataIn {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x25;

    /// Reads the header. Status, residual and StatSN are looked at only when S is set.
    ///
    /// # Errors
    /// S without F; overflow and underflow together; a status other than GOOD, CONDITION MET and their like
    /// (RFC 7143 §11.7.2, §11.7.3).
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        let is_final = fields::is_final(bhs);
        let has_status = bhs[1] & STATUS != 0;
        let contradiction = |rule| Err(PduError::Contradiction { pdu: NAME, rule });
        if has_status && !is_final {
            return contradiction("S is set without F (11.7.3)");
        }
        let status = if has_status {
            let status = Status::from_byte(bhs[3]).ok_or(PduError::UndefinedValue {
                pdu: NAME,
                field: "Status",
                value: bhs[3].into(),
            })?;
            if status == Status::CheckCondition {
                return contradiction("CHECK CONDITION needs a SCSI Response, for its sense data (11.7.3)");
            }
            let (overflow, underflow) = (bhs[1] & OVERFLOW != 0, bhs[1] & UNDERFLOW != 0);
            match Residual::from_bits(overflow, underflow, u32_at(bhs, 44)) {
                Some(residual) => Some(DataInStatus { status, residual }),
                None => return contradiction("overflow and underflow are both set (11.4.1)"),
            }
        } else {
            None
        };
        Ok(Self {
            is_final,
            acknowledge: bhs[1] & CONTINUE != 0,
            status,
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            stat_sn: if has_status { StatSn(u32_at(bhs, 24)) } else { StatSn(0) },
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            data_sn: DataSn(u32_at(bhs, 36)),
            buffer_offset: u32_at(bhs, 40),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        let flags = bit(self.is_final, FINAL) | bit(self.acknowledge, CONTINUE);
        let (flags, status, stat_sn, residual) = match self.status {
            None => (flags, 0, 0, 0),
            Some(DataInStatus { status, residual }) => {
                let (bits, count) = residual.to_bits(OVERFLOW, UNDERFLOW);
                (flags | STATUS | bits, status as u8, self.stat_sn.0, count)
            }
        };
        Fields::new(Self::OPCODE, flags)
            .u8(3, status)
            .lun(self.lun)
            .itt(self.itt)
            .ttt(self.ttt)
            .u32(24, stat_sn)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u32(36, self.data_sn.0)
            .u32(40, self.buffer_offset)
            .u32(44, residual)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    fn data_in() -> DataIn {
        DataIn {
            is_final: true,
            acknowledge: false,
            status: Some(DataInStatus { status: Status::Good, residual: Residual::Underflow(0x6061_6263) }),
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag::RESERVED,
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            data_sn: DataSn(5),
            buffer_offset: 0x5051_5253,
        }
    }

    #[test]
    fn data_in_with_status_stands_at_the_offsets_of_the_standard() {
        let wire = bhs(
            "25830000 0 00010203 04050607 10111213 ffffffff 20212223 30313233 40414243 00000005 50515253 60616263",
        );
        assert_eq!(data_in().encode(), wire);
        assert_eq!(DataIn::decode(&wire), Ok(data_in()));
    }

    #[test]
    fn without_s_the_status_fields_are_neither_sent_nor_read() {
        let plain = DataIn { status: None, stat_sn: StatSn(0), acknowledge: true, ..data_in() };
        let mut wire = plain.encode();
        assert_eq!(wire[1], 0xc0);
        assert_eq!((wire[3], &wire[24..28], &wire[44..48]), (0, &[0; 4][..], &[0; 4][..]));
        wire[1] |= 0x06;
        wire[3] = 0x99;
        wire[24..28].fill(0xee);
        wire[44..48].fill(0xee);
        assert_eq!(DataIn::decode(&wire), Ok(plain));
    }

    #[test]
    fn a_status_that_cannot_stand_here_is_an_error() {
        let with = |flags, status| {
            let mut wire = data_in().encode();
            (wire[1], wire[3]) = (flags, status);
            DataIn::decode(&wire)
        };
        assert!(matches!(with(0x01, 0), Err(PduError::Contradiction { .. })), "S without F");
        assert!(matches!(with(0x87, 0), Err(PduError::Contradiction { .. })), "O and U");
        assert!(matches!(with(0x81, 0x02), Err(PduError::Contradiction { .. })), "CHECK CONDITION");
        assert_eq!(with(0x81, 0x01), Err(undefined("SCSI Data-In", "Status", 1)));
        assert!(with(0x81, 0x04).is_ok());
    }
}
