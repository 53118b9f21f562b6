//! SCSI Command (RFC 7143 §11.3).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | I, 01h |
//! | 1 | F (80h), R (40h), W (20h), ATTR (07h) |
//! | 8-15 | LUN |
//! | 16-19 | Initiator Task Tag |
//! | 20-23 | Expected Data Transfer Length |
//! | 24-27 | CmdSN |
//! | 28-31 | ExpStatSN |
//! | 32-47 | CDB |

use std::borrow::Cow;

use super::error::PduError;
use super::fields::{self, FINAL, Fields, IMMEDIATE, bit, u32_at};
use super::{Ahs, Bhs, InitiatorTaskTag, Pdu};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// Task attribute, ATTR (RFC 7143 §11.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskAttribute {
    /// 0, which targets treat as SIMPLE.
    Untagged = 0,
    /// 1
    Simple = 1,
    /// 2
    Ordered = 2,
    /// 3
    HeadOfQueue = 3,
    /// 4
    Aca = 4,
}

/// SCSI Command header, opcode 01h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// I bit: outside the command window's order.
    pub immediate: bool,
    /// F bit: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R bit: the command is expected to return data.
    pub read: bool,
    /// W bit: the command is expected to take data.
    pub write: bool,
    /// ATTR.
    pub attribute: TaskAttribute,
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Expected Data Transfer Length in bytes: of the write half when both R and W are set.
    pub expected_data_transfer_length: u32,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
    /// The first sixteen bytes of the CDB.
    pub cdb: [u8; 16],
}

/// R bit.
const READ: u8 = 0x40;
/// W bit.
const WRITE: u8 = 0x20;
const NAME: &str = "SCSI Command";

impl TaskAttribute {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Untagged,
            1 => Self::Simple,
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            4 => Self::Aca,
            _ => return None,
        })
    }
}

impl ScsiCommand {
    /// Opcode on the wire, without the I bit.
    pub const OPCODE: u8 = 0x01;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined ATTR; W and F both zero (RFC 7143 §11.3.1); an expected length without a direction
    /// (RFC 7143 §11.3.1).
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        let attribute = bhs[1] & 0x07;
        let [.., c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15] = *bhs;
        let command = Self {
            immediate: fields::immediate(bhs),
            is_final: fields::is_final(bhs),
            read: bhs[1] & READ != 0,
            write: bhs[1] & WRITE != 0,
            attribute: TaskAttribute::from_bits(attribute).ok_or(PduError::UndefinedValue {
                pdu: NAME,
                field: "ATTR",
                value: attribute.into(),
            })?,
            lun: fields::lun(bhs),
            itt: fields::itt(bhs),
            expected_data_transfer_length: u32_at(bhs, 20),
            cmd_sn: CmdSn(u32_at(bhs, 24)),
            exp_stat_sn: StatSn(u32_at(bhs, 28)),
            cdb: [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15],
        };
        let contradiction = |rule| Err(PduError::Contradiction { pdu: NAME, rule });
        if !command.write && !command.is_final {
            return contradiction(
                "F and W are both 0, so unsolicited data would follow a command that takes none (11.3.1)",
            );
        }
        if !command.read && !command.write && command.expected_data_transfer_length != 0 {
            return contradiction("R and W are both 0, but Expected Data Transfer Length is not (11.3.1)");
        }
        Ok(command)
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        let flags = bit(self.is_final, FINAL) | bit(self.read, READ) | bit(self.write, WRITE);
        Fields::new(Self::OPCODE | bit(self.immediate, IMMEDIATE), flags | self.attribute as u8)
            .lun(self.lun)
            .itt(self.itt)
            .u32(20, self.expected_data_transfer_length)
            .u32(24, self.cmd_sn.0)
            .u32(28, self.exp_stat_sn.0)
            .bytes(32, self.cdb)
            .build()
    }

    /// The whole CDB: the sixteen bytes of the header, joined with an extended CDB if there is one. At most
    /// [`CDB_LEN_MAX`](crate::limits::CDB_LEN_MAX) bytes, and never fewer than sixteen: the padding of a shorter CDB stays.
    #[must_use]
    pub fn full_cdb(&self, ahs: &[Ahs]) -> Cow<'_, [u8]> {
        let extension = ahs.iter().find_map(|segment| match segment {
            Ahs::ExtendedCdb(bytes) => Some(bytes),
            _ => None,
        });
        match extension {
            None => Cow::Borrowed(&self.cdb),
            Some(bytes) => Cow::Owned([&self.cdb[..], bytes].concat()),
        }
    }
}

impl Pdu<ScsiCommand> {
    /// See [`ScsiCommand::full_cdb`].
    #[must_use]
    pub fn full_cdb(&self) -> Cow<'_, [u8]> {
        self.header.full_cdb(&self.ahs)
    }

    /// Expected length of the read half of a bidirectional command, in bytes (RFC 7143 §11.2.2.4).
    #[must_use]
    pub fn bidirectional_read_length(&self) -> Option<u32> {
        self.ahs.iter().find_map(|segment| match segment {
            Ahs::BidirectionalReadLength(len) => Some(*len),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    fn command() -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            is_final: false,
            read: false,
            write: true,
            attribute: TaskAttribute::Simple,
            lun: Lun(0x0001 << 48),
            itt: InitiatorTaskTag(0x2a),
            expected_data_transfer_length: 0x10000,
            cmd_sn: CmdSn(7),
            exp_stat_sn: StatSn(9),
            cdb: [0x2a, 0, 0, 0, 0, 0x10, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
        }
    }

    #[test]
    fn a_write_stands_at_the_offsets_of_the_standard() {
        let wire = bhs(
            "01210000 00000000 00010000 00000000 0000002a 00010000 00000007 00000009 2a000000 00100000 80000000 0",
        );
        assert_eq!(command().encode(), wire);
        assert_eq!(ScsiCommand::decode(&wire), Ok(command()));
    }

    #[test]
    fn flags_have_their_own_bits() {
        let flags = |first, second| {
            let mut wire = command().encode();
            (wire[0], wire[1]) = (first, second);
            ScsiCommand::decode(&wire).unwrap()
        };
        assert!(flags(0x41, 0xa1).immediate);
        let both = flags(0x01, 0xe4);
        assert!(both.is_final && both.read && both.write && !both.immediate);
        assert_eq!(both.attribute, TaskAttribute::Aca);
        assert_eq!(flags(0x01, 0xb8).attribute, TaskAttribute::Untagged, "reserved bits 3 and 4 are ignored");
    }

    #[test]
    fn an_undefined_attribute_is_an_invalid_field() {
        for attribute in 5..=7 {
            let mut wire = command().encode();
            wire[1] = 0xa0 | attribute;
            let error = ScsiCommand::decode(&wire).unwrap_err();
            assert_eq!(error, undefined("SCSI Command", "ATTR", attribute.into()));
            assert_eq!(error.reject_reason(), crate::pdu::reject::RejectReason::InvalidPduField);
        }
    }

    #[test]
    fn a_length_or_unsolicited_data_without_a_direction_is_a_protocol_error() {
        let reject = |flags: u8, len: u32| {
            let wire = ScsiCommand { expected_data_transfer_length: len, ..command() }.encode();
            let mut wire = wire;
            wire[1] = flags;
            ScsiCommand::decode(&wire).map_err(|e| e.reject_reason())
        };
        let protocol_error = Err(crate::pdu::reject::RejectReason::ProtocolError);
        assert_eq!(reject(0x41, 512), protocol_error, "read without F");
        assert_eq!(reject(0x01, 0), protocol_error, "nothing at all");
        assert_eq!(reject(0x81, 1), protocol_error, "length without direction");
        assert!(reject(0x81, 0).is_ok());
        assert!(reject(0xc1, 0).is_ok(), "a direction without a length is allowed");
    }

    #[test]
    fn an_extended_cdb_continues_the_sixteen_bytes() {
        let mut pdu = Pdu::new(command());
        assert_eq!(pdu.full_cdb().len(), 16);
        pdu.ahs = vec![Ahs::BidirectionalReadLength(512), Ahs::ExtendedCdb(vec![0xee; 244].into())];
        let cdb = pdu.full_cdb();
        assert_eq!(cdb.len(), crate::limits::CDB_LEN_MAX);
        assert_eq!((cdb[0], cdb[15], cdb[16], cdb[259]), (0x2a, 0, 0xee, 0xee));
        assert_eq!(pdu.bidirectional_read_length(), Some(512));
    }
}
