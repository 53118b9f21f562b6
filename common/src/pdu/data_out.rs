//! SCSI Data-Out (RFC 7143 §11.7).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 05h |
//! | 1 | F (80h) |
//! | 8-15 | LUN |
//! | 16-19 | Initiator Task Tag |
//! | 20-23 | Target Transfer Tag |
//! | 28-31 | ExpStatSN |
//! | 36-39 | DataSN |
//! | 40-43 | Buffer Offset |

use super::fields::{self, FINAL, Fields, bit, u32_at};
use super::{Bhs, InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{DataSn, StatSn};

/// SCSI Data-Out header, opcode 05h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// F bit: last PDU of this sequence.
    pub is_final: bool,
    /// Logical unit; meaningful when the target transfer tag is not reserved.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag of the R2T that asked for the data; reserved for unsolicited data.
    pub ttt: TargetTransferTag,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// DataSN.
    pub data_sn: DataSn,
    /// Buffer offset in bytes.
    pub buffer_offset: u32,
}

impl DataOut {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x05;

    /// Reads the header. Every value of every field has a meaning.
    #[must_use]
    pub fn decode(bhs: &Bhs) -> Self {
        Self {
            is_final: fields::is_final(bhs),
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            ttt: fields::ttt(bhs),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
            data_sn: DataSn(u32_at(bhs, 36)),
            buffer_offset: u32_at(bhs, 40),
        }
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        Fields::new(Self::OPCODE, bit(self.is_final, FINAL))
            .lun(self.lun)
            .itt(self.itt)
            .ttt(self.ttt)
            .u32(28, self.exp_stat_sn.0)
            .u32(36, self.data_sn.0)
            .u32(40, self.buffer_offset)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bhs;
    use super::*;

    #[test]
    fn data_out_stands_at_the_offsets_of_the_standard() {
        let data = DataOut {
            is_final: true,
            lun: Lun(0x0001_0203_0405_0607),
            itt: InitiatorTaskTag(0x1011_1213),
            ttt: TargetTransferTag(0x2021_2223),
            exp_stat_sn: StatSn(0x3031_3233),
            data_sn: DataSn(0x4041_4243),
            buffer_offset: 0x5051_5253,
        };
        let wire = bhs("05800000 0 00010203 04050607 10111213 20212223 0 30313233 0 40414243 50515253 0");
        assert_eq!(data.encode(), wire);
        assert_eq!(DataOut::decode(&wire), data);
        assert_eq!(DataOut { is_final: false, ..data }.encode()[1], 0);
    }
}
