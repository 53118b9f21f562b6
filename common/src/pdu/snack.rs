//! SNACK Request (RFC 7143 §11.16).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 10h |
//! | 1 | 80h, Type (0Fh) |
//! | 8-15 | LUN |
//! | 16-19 | Initiator Task Tag |
//! | 20-23 | Target Transfer Tag or SNACK Tag |
//! | 28-31 | ExpStatSN |
//! | 40-43 | BegRun |
//! | 44-47 | RunLength |

use super::error::PduError;
use super::fields::{self, FINAL, Fields, u32_at};
use super::{Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::StatSn;

/// What is asked for again (RFC 7143 §11.16.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SnackKind {
    /// Data-In or R2T PDUs.
    DataOrR2t = 0,
    /// Status PDUs.
    Status = 1,
    /// Positive acknowledgement of Data-In.
    DataAck = 2,
    /// Data-In again, cut anew.
    RData = 3,
}

/// SNACK Request header, opcode 10h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnackRequest {
    /// Kind.
    pub kind: SnackKind,
    /// Logical unit, for DataACK.
    pub lun: Lun,
    /// Initiator task tag; reserved for Status and DataACK.
    pub itt: InitiatorTaskTag,
    /// Target transfer tag for DataACK, SNACK Tag for R-Data.
    pub ttt: TargetTransferTag,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// BegRun.
    pub beg_run: u32,
    /// RunLength; 0 is everything from BegRun on.
    pub run_length: u32,
}

impl SnackRequest {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x10;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined type.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        Ok(Self {
            kind: match bhs[1] & 0x0f {
                0 => SnackKind::DataOrR2t,
                1 => SnackKind::Status,
                2 => SnackKind::DataAck,
                3 => SnackKind::RData,
                code => {
                    let (pdu, field) = ("SNACK Request", "Type");
                    return Err(PduError::UndefinedValue { pdu, field, value: code.into() });
                }
            },
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
            beg_run: u32_at(bhs, 40),
            run_length: u32_at(bhs, 44),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, FINAL | self.kind as u8)
            .lun(self.lun)
            .itt(self.itt)
            .ttt(self.ttt)
            .u32(28, self.exp_stat_sn.0)
            .u32(40, self.beg_run)
            .u32(44, self.run_length)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    #[test]
    fn a_snack_stands_at_the_offsets_of_the_standard() {
        let snack = SnackRequest {
            kind: SnackKind::DataAck,
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag(0x1415_1617),
            exp_stat_sn: StatSn(0x2021_2223),
            beg_run: 0x3031_3233,
            run_length: 0x4041_4243,
        };
        let wire = bhs("10820000 0 00010203 04050607 10111213 14151617 0 20212223 0 0 30313233 40414243");
        assert_eq!(snack.encode(), wire);
        assert_eq!(SnackRequest::decode(&wire), Ok(snack));
    }

    #[test]
    fn an_undefined_type_is_named() {
        let wire = bhs("10840000 0 0 0 0 0 0 0 0 0 0 0");
        assert_eq!(SnackRequest::decode(&wire), Err(undefined("SNACK Request", "Type", 4)));
    }
}
